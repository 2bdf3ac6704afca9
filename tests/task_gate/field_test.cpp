// SPDX-License-Identifier: BSL-1.0
// What has gone wrong in the gates, semaphores and bulkheads of others, and must not here.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::run_result;
using weir::task_gate;
using weir::testing::manual_clock;

namespace {

using manual_gate = weir::basic_task_gate<manual_clock::view>;

template <class Gate>
void await_waiting(const Gate& gate, std::size_t count) {
  while (gate.stats().waiting != count) std::this_thread::yield();
}

/// A clock of a sleeper that is told of its time at once, and does something before it looks at it.
struct instant_clock {
  [[nodiscard]] weir::time_point now() const noexcept { return *time; }
  void wake_at(weir::time_point at, weir::timer_target& target) const {
    *time = at;
    target.wake();
    (*meanwhile)();
  }
  void forget(weir::timer_target&) const noexcept {}
  weir::time_point* time = nullptr;
  const std::function<void()>* meanwhile = nullptr;
};
static_assert(weir::waking_clock<instant_clock>);

}  // namespace

// failsafe#393, failsafe#400, failsafe#365
TEST_CASE("a waiter that timed out takes no permit with it", "[task_gate][field]") {
  manual_clock clock;
  manual_gate gate{{}, clock.source()};
  for (int round = 0; round != 3; ++round) {
    auto held = gate.try_enter();
    REQUIRE(held);
    std::thread waiter{[&] {
      if (gate.enter_for(10ms)) std::terminate();
    }};
    clock.await_sleepers(1);
    clock.advance(10ms);
    waiter.join();
    held.reset();
    CHECK(gate.is_as_new());
  }
}

// failsafe#393, golang/go#63615
TEST_CASE(
    "a waiter that is granted a place at the instant its time is up either has it or leaves it to others",
    "[task_gate][field]") {
  weir::time_point time{};
  std::function<void()> meanwhile;
  weir::basic_task_gate<instant_clock> gate{{}, instant_clock{&time, &meanwhile}};
  SECTION("the place is free before it gives up") {
    auto held = gate.try_enter();
    meanwhile = [&] { held.reset(); };  // its time is up already, and it has not looked yet
    const auto got = gate.enter_for(1s);
    CHECK(got);
    CHECK(time == weir::time_point{1s});
  }
  SECTION("the place is free after it gave up") {
    auto held = gate.try_enter();
    meanwhile = [] {};
    CHECK(gate.enter_for(1s).error() == refusal{refusal_reason::timed_out});
    held.reset();
  }
  CHECK(gate.stats().running == 0);
  CHECK(gate.try_enter());
}

// golang/go#37852, embassy#6964
TEST_CASE("the first in line that is cancelled lets in all that fit behind it", "[task_gate][field]") {
  task_gate gate{{.capacity = 3}};
  auto held = gate.try_enter();
  std::stop_source stop;
  std::thread big{[&] { static_cast<void>(gate.enter(stop.get_token(), 3)); }};
  await_waiting(gate, 1);
  std::atomic<int> in{0};
  std::vector<std::thread> small;
  std::atomic<bool> leave{false};
  for (std::size_t i = 0; i != 2; ++i) {
    small.emplace_back([&] {
      const auto pass = gate.enter();
      ++in;
      while (!leave) std::this_thread::yield();
    });
    await_waiting(gate, 2 + i);
  }
  stop.request_stop();
  big.join();
  while (in != 2) std::this_thread::yield();
  CHECK(gate.stats().running == 3);
  leave = true;
  for (auto& t : small) t.join();
}

// golang/go#63615
TEST_CASE("a cancel that came before the place was free wins, and the place goes to the next",
          "[task_gate][field]") {
  // The one in front cannot come back before the place is free: it waits for this thread.
  for (int round = 0; round != 50; ++round) {
    task_gate gate;
    auto held = gate.try_enter();
    std::stop_source stop;
    outcome<task_gate::pass> first = refusal{refusal_reason::busy};
    outcome<task_gate::pass> second = refusal{refusal_reason::busy};
    std::thread a{[&] { first = gate.enter(stop.get_token()); }};
    await_waiting(gate, 1);
    std::thread b{[&] { second = gate.enter(); }};
    await_waiting(gate, 2);
    stop.request_stop();
    held.reset();
    a.join();
    const bool let_in = first.has_value();
    if (let_in) std::move(*first).release();
    b.join();
    REQUIRE_FALSE(let_in);
    REQUIRE(first.error() == refusal{refusal_reason::cancelled});
    REQUIRE(second);
  }
}

// resilience4j#332, #333, #263, #264; freertos-addons#57
TEST_CASE("a pass that is dropped, thrown past or moved away gives its place back", "[task_gate][field]") {
  task_gate gate;
  static_cast<void>(gate.try_enter());
  CHECK(gate.stats().running == 0);
  try {
    const auto held = gate.try_enter();
    REQUIRE(held);
    throw std::runtime_error{"cancelled"};
  } catch (const std::runtime_error&) {
  }
  CHECK(gate.stats().running == 0);
  {
    auto held = gate.try_enter();
    const auto owner = std::make_shared<task_gate::pass>(std::move(*held));
    std::thread{[other = owner] {}}.join();
    CHECK(gate.stats().running == 1);
  }
  CHECK(gate.is_as_new());
}

// NCL#78
TEST_CASE("as many as the capacity are let in, and not one more", "[task_gate][field]") {
  for (const std::uint32_t capacity : {1U, 2U, 7U}) {
    task_gate gate{{.capacity = capacity}};
    std::vector<task_gate::pass> in;
    while (auto pass = gate.try_enter()) in.push_back(std::move(*pass));
    CHECK(in.size() == capacity);
    CHECK_FALSE(gate.try_enter(capacity));
    in.pop_back();
    CHECK_FALSE(gate.try_enter(2));
    CHECK(gate.try_enter(1));
  }
}

// failsafe#328
TEST_CASE("no more wait than may, and one that is refused for that disturbs nobody", "[task_gate][field]") {
  task_gate gate{{.max_waiting = 1}};
  auto held = gate.try_enter();
  outcome<task_gate::pass> waited = refusal{refusal_reason::busy};
  std::thread waiter{[&] { waited = gate.enter(); }};
  await_waiting(gate, 1);
  CHECK(gate.enter().error() == refusal{refusal_reason::full});
  CHECK(gate.enter_for(1h).error() == refusal{refusal_reason::full});
  CHECK(gate.enter({}, 2).error().reason == refusal_reason::exceeds_capacity);
  CHECK(gate.stats().refused == 3);
  // The owner of a coalesced run has promised it.
  bool ran = false;
  std::thread owner{[&] { gate.run_coalesced([&] { ran = true; }); }};
  await_waiting(gate, 2);
  held.reset();
  waiter.join();
  CHECK(waited);
  std::move(*waited).release();
  owner.join();
  CHECK(ran);

  task_gate impatient{{.max_waiting = 0}};
  const auto inside = impatient.enter();
  CHECK(inside);
  CHECK(impatient.enter().error() == refusal{refusal_reason::full});
  CHECK(impatient.stats().waiting == 0);
}

// failsafe-go#76
TEST_CASE("a wait ends at its bound, and not before", "[task_gate][field]") {
  manual_clock clock;
  manual_gate gate{{}, clock.source()};
  const auto held = gate.try_enter();
  std::atomic<bool> done{false};
  std::thread waiter{[&] {
    static_cast<void>(gate.enter_for(100ms));
    done = true;
  }};
  clock.await_sleepers(1);
  clock.advance(100ms - 1ns);
  CHECK(gate.stats().waiting == 1);
  CHECK_FALSE(done);
  clock.advance(1ns);
  waiter.join();
  CHECK(done);
}

// resilience4j SemaphoreBulkhead.changeConfig
TEST_CASE("who lowers the capacity does not wait for those inside", "[task_gate][field]") {
  task_gate gate{{.capacity = 5}};
  auto held = gate.try_enter(5);
  gate.set_capacity(1);  // returns, although nobody can leave but this thread
  CHECK(gate.stats().running == 5);
  CHECK(gate.stats().capacity == 1);
  gate.set_capacity(5);
  held.reset();
  CHECK(gate.is_as_new());
}

// cron#366; failsafe-go, panic between the step before and the step after
TEST_CASE("a task that throws or a trigger that comes as it does leaves the gate usable",
          "[task_gate][field]") {
  task_gate gate;
  int runs = 0;
  CHECK_THROWS_AS(gate.run_coalesced([&] {
    if (++runs == 1) {
      gate.run_coalesced([] {});
      throw std::runtime_error{"task"};
    }
  }),
                  std::runtime_error);
  CHECK(runs == 2);
  CHECK(gate.run_if_idle([] {}) == run_result::ran);
  CHECK(gate.is_as_new());
}

// folly and std semaphores: released by hand, once too often
TEST_CASE("to leave twice mints no place", "[task_gate][field]") {
  task_gate gate;
  auto held = gate.try_enter();
  std::move(*held).release();
  std::move(*held).release();
  task_gate::pass moved{std::move(*held)};
  std::move(moved).release();
  const auto one = gate.try_enter();
  CHECK(one);
  CHECK_FALSE(gate.try_enter());
}

// pytorch#177884, llvm#46357, llvm#77659, libcoro#388, folly#2080
TEST_CASE("no wake-up is lost when places change hands as fast as they can", "[task_gate][field][stress]") {
  for (const std::uint32_t capacity : {1U, 2U}) {
    task_gate gate{{.capacity = capacity}};
    std::atomic<std::uint64_t> stays{0};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t != 6; ++t) {
        threads.emplace_back([&] {
          for (int i = 0; i != 2'000; ++i) {
            if (const auto pass = gate.enter()) ++stays;
          }
        });
      }
    }
    CHECK(stays == 12'000);
    CHECK(gate.is_as_new());
  }
}

// libcudacxx#140
TEST_CASE("a try does not wait, whoever waits", "[task_gate][field]") {
  task_gate gate;
  auto held = gate.try_enter();
  std::thread waiter{[&] { static_cast<void>(gate.enter()); }};
  await_waiting(gate, 1);
  for (int i = 0; i != 100; ++i) CHECK_FALSE(gate.try_enter());
  held.reset();
  waiter.join();
  CHECK(gate.try_enter());
}
