// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

#include "fuzz/leaping_clock.hpp"

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::run_result;
using weir::testing::manual_clock;

namespace {

using gate_type = weir::basic_task_gate<manual_clock::view>;
using pass = gate_type::pass;

/// Of one place and a lease of ten milliseconds, unless told otherwise.
struct leased {
  explicit leased(std::uint32_t capacity = 1) : gate{{.capacity = capacity, .lease = 10ms}, clock.source()} {}
  manual_clock clock;
  gate_type gate;
};

/// One that waits on a thread of its own.
struct caller {
  template <class Enter>
  explicit caller(Enter enter) : thread{[this, enter] { result.emplace(enter()); }} {}
  outcome<pass>& join() {
    thread.join();
    return *result;
  }
  std::optional<outcome<pass>> result;
  std::thread thread;
};

template <class Gate>
void await_waiting(const Gate& gate, std::size_t count) {
  while (gate.stats().waiting != count) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a lease ends exactly at its time, and not before", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  REQUIRE(old);
  t.clock.advance(10ms - 1ns);
  CHECK(*old);
  CHECK_FALSE(t.gate.try_enter());
  t.clock.advance(1ns);
  CHECK_FALSE(*old);
  CHECK(t.gate.try_enter());
  CHECK(t.gate.stats().expired == 1);
}

TEST_CASE("the release of a pass whose lease has ended has no effect on the new owner",
          "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  t.clock.advance(10ms);
  auto next = t.gate.try_enter();
  REQUIRE(next);
  std::move(*old).release();
  old.reset();
  CHECK(t.gate.stats().running == 1);
  CHECK_FALSE(t.gate.try_enter());
  CHECK(*next);
  next.reset();
  CHECK(t.gate.is_as_new());
}

TEST_CASE("a pass released when its lease has ended counts as expired, whether anybody looked or not",
          "[task_gate][lease]") {
  leased t;
  auto late = t.gate.try_enter();
  t.clock.advance(10ms);
  SECTION("nobody has looked") {}
  SECTION("somebody has") { CHECK(t.gate.stats().running == 0); }
  std::move(*late).release();
  CHECK(t.gate.stats().expired == 1);
  CHECK(t.gate.is_as_new());
}

TEST_CASE("the new owner has the greater number, whoever is asked first", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  t.clock.advance(10ms);
  auto next = t.gate.try_enter();
  const auto later = next->number();
  const auto earlier = old->number();  // asked when it is too late
  CHECK(earlier < later);
  CHECK(earlier > 0);
  pass moved{std::move(*old)};
  CHECK(moved.number() == earlier);
}

TEST_CASE("a pass released in time gives its units back once, and counts as no expiry",
          "[task_gate][lease]") {
  leased t{3};
  auto two = t.gate.try_enter(2);
  auto one = t.gate.try_enter();
  CHECK_FALSE(t.gate.try_enter());
  std::move(*two).release();
  CHECK_FALSE(*two);
  CHECK(t.gate.stats().running == 1);
  t.clock.advance(1h);
  CHECK(t.gate.stats().running == 0);
  CHECK(t.gate.stats().expired == 1);
  CHECK(t.gate.try_enter(3));
  std::move(*one).release();
  CHECK(t.gate.is_as_new());
}

TEST_CASE("leases end one after the other, each with its own units", "[task_gate][lease]") {
  leased t{6};
  auto first = t.gate.try_enter(3);
  t.clock.advance(4ms);
  auto second = t.gate.try_enter(2);
  t.clock.advance(4ms);
  auto third = t.gate.try_enter();
  std::move(*second).release();  // from the middle
  CHECK(t.gate.stats().running == 4);
  t.clock.advance(2ms);
  CHECK(t.gate.stats().running == 1);
  CHECK((!*first && *third));
  t.clock.advance(8ms);
  CHECK(t.gate.stats().running == 0);
  CHECK(t.gate.stats().expired == 2);
}

TEST_CASE("one that waits is woken when the lease ends, with a lease of its own", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  caller waiter{[&] { return t.gate.enter(); }};
  t.clock.await_sleepers(1);
  t.clock.advance(10ms - 1ns);
  CHECK(t.gate.stats().waiting == 1);
  t.clock.advance(1ns);
  auto& next = waiter.join();
  REQUIRE(next);
  CHECK(next->number() > old->number());
  t.clock.advance(10ms - 1ns);
  CHECK(*next);
  t.clock.advance(1ns);
  CHECK_FALSE(*next);
}

TEST_CASE("those in line enter in order at the end of one lease after the other", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  std::vector<std::unique_ptr<caller>> line;
  for (std::size_t i = 1; i != 4; ++i) {
    line.push_back(std::make_unique<caller>([&] { return t.gate.enter(); }));
    await_waiting(t.gate, i);
  }
  std::uint64_t last = old->number();
  for (std::size_t i = 0; i != line.size(); ++i) {
    t.clock.await_sleepers(1);
    t.clock.advance(10ms);
    auto& next = line[i]->join();
    REQUIRE(next);
    CHECK(next->number() > last);
    last = next->number();
    CHECK(t.gate.stats().waiting == line.size() - i - 1);
  }
  CHECK(t.gate.stats().expired == 3);
}

TEST_CASE("one behind another that gives up looks for the end of the lease in its place",
          "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  caller first{[&] { return t.gate.enter_for(5ms); }};
  await_waiting(t.gate, 1);
  caller second{[&] { return t.gate.enter(); }};
  await_waiting(t.gate, 2);
  t.clock.await_sleepers(1);
  t.clock.advance(5ms);
  CHECK(first.join().error() == refusal{refusal_reason::timed_out});
  t.clock.await_sleepers(1);
  t.clock.advance(5ms);
  CHECK(second.join());
}

TEST_CASE("a place that a lease frees at the deadline of a waiter is the waiter's", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  caller waiter{[&] { return t.gate.enter_for(10ms); }};
  t.clock.await_sleepers(1);
  t.clock.advance(10ms);
  CHECK(waiter.join());
}

TEST_CASE("nobody comes past the first in line when a lease ends", "[task_gate][lease]") {
  leased t{2};
  auto one = t.gate.try_enter();
  t.clock.advance(5ms);
  auto two = t.gate.try_enter();
  caller both{[&] { return t.gate.enter({}, 2); }};
  await_waiting(t.gate, 1);
  t.clock.await_sleepers(1);
  t.clock.advance(5ms);                // one unit is free
  CHECK_FALSE(t.gate.try_enter());     // but not past the one who waits
  CHECK(t.gate.stats().waiting == 1);  // who needs the other too
  t.clock.await_sleepers(1);
  t.clock.advance(5ms);
  CHECK(both.join());
  CHECK(t.gate.stats().running == 2);
}

TEST_CASE("who tries when a lease has ended finds what it left, though the one in line has not looked yet",
          "[task_gate][lease]") {
  weir_test::leaping_clock clock;
  weir::basic_task_gate gate{{.capacity = 2, .lease = 10ms}, clock.source()};
  auto held = gate.try_enter(2);
  REQUIRE(held);
  bool entered = false;
  clock.meanwhile = [&] {  // the other one stands in line, and sleeps
    CHECK(!gate.try_enter());
    clock.now += 10ms;
    entered = gate.try_enter().has_value();
    CHECK(!gate.try_enter(2));
    clock.meanwhile = nullptr;
  };
  CHECK(gate.enter_for(1s));
  CHECK(entered);
  CHECK(!*held);
}

TEST_CASE("a close refuses those who wait for the end of a lease", "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  caller waiter{[&] { return t.gate.enter(); }};
  t.clock.await_sleepers(1);
  t.gate.close();
  CHECK(waiter.join().error() == weir::refused_for_ever(refusal_reason::closed));
  t.clock.advance(10ms);
  CHECK_FALSE(t.gate.try_enter());
  CHECK(t.gate.wait_idle_for(0ns));
}

TEST_CASE("who waits for idleness waits for the last lease, and no longer", "[task_gate][lease]") {
  leased t{2};
  auto one = t.gate.try_enter();
  t.clock.advance(4ms);
  auto two = t.gate.try_enter();
  std::atomic<bool> idle{false};
  std::thread watcher{[&] { idle = t.gate.wait_idle_for(1h).has_value(); }};
  t.clock.await_sleepers(1);
  t.clock.advance(6ms);
  t.clock.await_sleepers(1);
  CHECK_FALSE(idle);
  t.clock.advance(4ms);
  watcher.join();
  CHECK(idle);
}

TEST_CASE("a pass whose lease has ended may outlive the gate", "[task_gate][lease]") {
  manual_clock clock;
  auto gate = std::make_unique<gate_type>(weir::task_gate_options{.lease = 10ms}, clock.source());
  auto old = gate->try_enter();
  const auto number = old->number();
  clock.advance(10ms);
  SECTION("which was idle") {
    gate->close();
    CHECK(gate->wait_idle());
  }
  SECTION("which was not looked at since") {}
  gate.reset();
  CHECK_FALSE(*old);
  CHECK(old->number() == number);
  old.reset();
}

TEST_CASE("a live set_capacity counts what ended leases have given back", "[task_gate][lease]") {
  leased t{2};
  auto both = t.gate.try_enter(2);
  t.gate.set_capacity(1);
  CHECK_FALSE(t.gate.try_enter());
  t.clock.advance(10ms);
  auto next = t.gate.try_enter();
  REQUIRE(next);
  CHECK_FALSE(t.gate.try_enter());
  t.gate.set_capacity(3);
  CHECK(t.gate.try_enter(2));
  std::move(*both).release();
  CHECK(t.gate.stats().running == 1);
}

TEST_CASE("a run may outlive its lease: others enter beside it, and it leaves without effect",
          "[task_gate][lease]") {
  leased t;
  std::optional<pass> beside;
  CHECK(t.gate.run_if_idle([&] {
    CHECK(t.gate.run_if_idle([] { FAIL("too early"); }) == run_result::skipped);
    t.clock.advance(10ms);
    beside = t.gate.try_enter();
  }) == run_result::ran);
  REQUIRE(beside);
  CHECK(t.gate.stats().running == 1);
  CHECK(t.gate.stats().expired == 1);
  CHECK(t.gate.stats().longest == 0ms);  // of those that ended in their time
  CHECK(t.gate.run_if_idle([] {}) == run_result::skipped);
}

TEST_CASE("a run that has outlived its lease touches the gate no more, and is not counted as one",
          "[task_gate][lease]") {
  manual_clock clock;
  std::optional<gate_type> gate{std::in_place, weir::task_gate_options{.lease = 10ms}, clock.source()};
  gate->run_if_idle([&] { clock.advance(9ms); });
  CHECK(gate->stats().ran == 1);
  CHECK(gate->stats().longest == 9ms);
  gate->run_if_idle([&] {
    clock.advance(10ms);
    gate->close();
    CHECK(gate->wait_idle());
    CHECK(gate->stats().ran == 1);
    CHECK(gate->stats().expired == 1);
    gate.reset();
  });
}

TEST_CASE("a trigger is left to the owner of an overlong run, which runs once more", "[task_gate][lease]") {
  leased t;
  int runs = 0;
  CHECK(t.gate.run_coalesced([&] {
    if (++runs == 2) return;
    t.clock.advance(10ms);
    const auto beside = t.gate.try_enter();
    CHECK(beside);
    CHECK(t.gate.run_coalesced([] { FAIL("overlap"); }) == run_result::coalesced);
  }) == run_result::ran);
  CHECK(runs == 2);
  CHECK(t.gate.is_as_new());
}

TEST_CASE("the owner of a coalesced run waits for its place no longer than the lease on it",
          "[task_gate][lease]") {
  leased t;
  auto old = t.gate.try_enter();
  int runs = 0;
  std::thread owner{[&] { CHECK(t.gate.run_coalesced([&] { ++runs; }) == run_result::ran); }};
  t.clock.await_sleepers(1);
  t.clock.advance(10ms);
  owner.join();
  CHECK(runs == 1);
  CHECK(t.gate.is_as_new());
}

TEST_CASE("a task that throws in a gate with leases leaves", "[task_gate][lease]") {
  leased t;
  CHECK_THROWS_AS(t.gate.run_if_idle([] { throw std::runtime_error{"task"}; }), std::runtime_error);
  CHECK(t.gate.stats().running == 0);
  CHECK(t.gate.stats().expired == 0);
}

TEST_CASE("a clock that steps back ends no lease early and prolongs none that has begun",
          "[task_gate][lease]") {
  leased t{2};
  t.clock.advance(1s);
  auto first = t.gate.try_enter();
  t.clock.set(weir::time_point{});
  CHECK(t.gate.stats().running == 1);
  auto second = t.gate.try_enter();  // begins when the first did: time stands still
  REQUIRE(second);
  t.clock.set(weir::time_point{1s + 10ms});
  CHECK(t.gate.stats().running == 0);
}

TEST_CASE("a lease longer than all time never ends", "[task_gate][lease]") {
  manual_clock clock{weir::time_point{1h}};
  gate_type gate{{.lease = weir::duration::max()}, clock.source()};
  auto held = gate.try_enter();
  clock.set(weir::time_point::max());
  CHECK(*held);
  CHECK_FALSE(gate.try_enter());
}

TEST_CASE("a lease that is not positive is a clear error", "[task_gate][lease]") {
  for (const weir::duration bad : {weir::duration{0}, weir::duration{-1}}) {
    try {
      gate_type gate{{.lease = bad}, manual_clock{}.source()};
      FAIL("accepted");
    } catch (const std::invalid_argument& e) {
      CHECK(std::string{e.what()} ==
            "task_gate: lease must be positive, got " + std::to_string(bad.count()) + " ns");
    }
  }
}

TEST_CASE("leases that end while eight threads come and go lose no unit and mint none",
          "[task_gate][lease][stress]") {
  weir::task_gate gate{{.capacity = 3, .lease = 20us}};
  std::atomic<std::uint64_t> entered{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 8; ++t) {
      threads.emplace_back([&, t] {
        std::uint64_t last = 0;
        for (int i = 0; i != 500; ++i) {
          std::optional<weir::task_gate::pass> mine;
          if ((i + t) % 3 == 0) {
            mine = gate.try_enter(2);
          } else if (auto got = gate.enter()) {
            mine.emplace(std::move(*got));
          }
          if (!mine) continue;
          ++entered;
          if (mine->number() <= last) std::terminate();
          last = mine->number();
          if (i % 5 == 0) {
            while (*mine) std::this_thread::yield();  // outlives its lease
          }
        }
      });
    }
    for (std::uint32_t i = 0; i != 500; ++i) gate.set_capacity(2 + i % 3);
    gate.set_capacity(3);
  }
  CHECK(gate.wait_idle());
  CHECK(gate.is_as_new());
  CHECK(gate.try_enter(3));
  CHECK(entered > 0);
  CHECK(gate.stats().expired > 0);
}
