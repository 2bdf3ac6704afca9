// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the gate would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <functional>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::refused_for_ever;
using weir::run_result;
using weir::task_gate;
using weir::testing::manual_clock;

namespace {

using manual_gate = weir::basic_task_gate<manual_clock::view>;

template <class Gate>
void await_waiting(const Gate& gate, std::size_t count) {
  while (gate.stats().waiting != count) std::this_thread::yield();
}

/// Asks the gate whose refusals it is told of: not possible under the gate's lock.
struct inquisitive {
  const std::function<void()>* ask;
  void on_refused(const refusal&) noexcept { (*ask)(); }
};

}  // namespace

TEST_CASE("a pass that is assigned over gives back its own units, then holds the other's", "[task_gate]") {
  task_gate gate{{.capacity = 5}};
  auto one = gate.try_enter(3);
  auto two = gate.try_enter(2);
  const auto number = two->number();
  *one = std::move(*two);
  CHECK(gate.stats().running == 2);
  CHECK(one->number() == number);
  one.reset();
  CHECK(gate.stats().running == 0);
}

TEST_CASE("a new gate has counted nothing and timed nothing", "[task_gate]") {
  const task_gate gate;
  const weir::task_gate_stats seen = gate.stats();
  CHECK(seen.expired + seen.ran + seen.skipped + seen.coalesced + seen.refused == 0);
  CHECK(seen.longest == 0ns);
}

TEST_CASE("all who wait for idleness are told of it", "[task_gate]") {
  manual_clock clock;
  manual_gate gate{{}, clock.source()};
  auto held = gate.try_enter();
  outcome<> one = refusal{refusal_reason::busy}, two = one;
  std::thread first{[&] { one = gate.wait_idle_for(1h); }};
  std::thread second{[&] { two = gate.wait_idle_for(1h); }};
  clock.await_sleepers(2);
  held.reset();
  const bool told = gate.is_as_new();  // nobody is watched any more
  clock.advance(1h);                   // or they never end
  first.join();
  second.join();
  CHECK(told);
  CHECK(one);
  CHECK(two);
}

TEST_CASE("every verb takes one unit unless told otherwise", "[task_gate]") {
  task_gate gate{{.capacity = 9}};
  const auto tried = gate.try_enter();
  CHECK(gate.stats().running == 1);
  const auto entered = gate.enter();
  CHECK(gate.stats().running == 2);
  const auto in_time = gate.enter_for(1h);
  CHECK(gate.stats().running == 3);
  const auto until = gate.enter_until(weir::deadline::never());
  CHECK(gate.stats().running == 4);
  CHECK(gate.run_if_idle([&] { CHECK(gate.stats().running == 5); }) == run_result::ran);
  CHECK(gate.run_coalesced([&] { CHECK(gate.stats().running == 5); }) == run_result::ran);
  CHECK(gate.stats().running == 4);
}

TEST_CASE("a coalesced run that had to wait takes one unit and gives one back", "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  auto held = gate.try_enter(2);
  std::uint32_t running = 0;
  std::thread owner{[&] { gate.run_coalesced([&] { running = gate.stats().running; }); }};
  await_waiting(gate, 1);
  held.reset();
  owner.join();
  CHECK(running == 1);
  CHECK(gate.stats().running == 0);
}

TEST_CASE("a gate is as new while it is open, empty and of its first capacity", "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  CHECK(gate.is_as_new());
  {
    const auto inside = gate.try_enter();
    CHECK_FALSE(gate.is_as_new());
    gate.set_capacity(3);  // two are free, as in a new one
    CHECK_FALSE(gate.is_as_new());
  }
  CHECK_FALSE(gate.is_as_new());
  gate.set_capacity(2);
  CHECK(gate.is_as_new());
  CHECK_FALSE(gate.closed());
  gate.close();
  CHECK(gate.closed());
  CHECK_FALSE(gate.is_as_new());
}

TEST_CASE("a close that turns away the first in line lets in the owner behind it", "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  auto held = gate.try_enter();
  outcome<task_gate::pass> big = refusal{refusal_reason::busy};
  std::thread wants_both{[&] { big = gate.enter({}, 2); }};
  await_waiting(gate, 1);
  std::atomic<bool> ran{false};
  std::thread owner{[&] { gate.run_coalesced([&] { ran = true; }); }};
  await_waiting(gate, 2);
  gate.close();
  owner.join();  // one unit was free all the time
  wants_both.join();
  CHECK(ran);
  CHECK(big.error() == refused_for_ever(refusal_reason::closed));
}

TEST_CASE("one who waits for the end of a coalesced run sees it end once", "[task_gate]") {
  manual_clock clock;
  manual_gate gate{{}, clock.source()};
  outcome<> idle = refusal{refusal_reason::busy};
  std::thread watcher;
  int runs = 0;
  SECTION("when nothing more is owed") {
    gate.run_coalesced([&] {
      ++runs;
      watcher = std::thread{[&] { idle = gate.wait_idle_for(1h); }};
      clock.await_sleepers(1);
    });
    CHECK(runs == 1);
  }
  SECTION("when one more run is owed") {
    gate.run_coalesced([&] {
      if (++runs == 2) return;
      watcher = std::thread{[&] { idle = gate.wait_idle_for(1h); }};
      clock.await_sleepers(1);
      CHECK(gate.run_coalesced([] {}) == run_result::coalesced);
    });
    CHECK(runs == 2);
  }
  watcher.join();
  CHECK(idle);
  CHECK(gate.is_as_new());
  CHECK(gate.run_coalesced([&] { ++runs; }) == run_result::ran);
}

TEST_CASE("what a timer throws comes out of wait_idle, and the gate is told of no refusal", "[task_gate]") {
  const std::function<void()> nothing = [] {};
  weir::basic_task_gate gate{{}, weir_test::broken_clock{&nothing}};
  auto held = gate.try_enter();
  CHECK_THROWS_AS(gate.wait_idle_for(1s), std::bad_alloc);
  CHECK_THROWS_AS(gate.enter_for(1s), std::bad_alloc);
  CHECK(gate.stats().refused == 0);
  held.reset();
  CHECK(gate.is_as_new());
}

TEST_CASE("an observer may ask the gate, whichever refusal it is told of", "[task_gate]") {
  std::function<void()> ask;
  weir::basic_task_gate<weir::steady_clock, inquisitive> gate{{}, {}, {&ask}};
  std::uint64_t told = 0;
  ask = [&] { told = gate.stats().refused; };
  auto held = gate.try_enter();
  CHECK(gate.wait_idle_for(0ns).error() == refusal{refusal_reason::timed_out});
  CHECK(told == 1);
  CHECK(gate.enter_for(0ns).error() == refusal{refusal_reason::timed_out});
  CHECK(told == 2);
  CHECK(gate.enter({}, 2).error() == refused_for_ever(refusal_reason::exceeds_capacity));
  CHECK(told == 3);
  held.reset();
}

TEST_CASE("a run that is owed when the gate closes takes its unit and gives it back", "[task_gate]") {
  task_gate gate;
  int runs = 0;
  CHECK(gate.run_coalesced([&] {
    CHECK(gate.stats().running == 1);
    if (++runs == 2) return;
    CHECK(gate.run_coalesced([] {}) == run_result::coalesced);
    gate.close();
  }) == run_result::ran);
  CHECK(runs == 2);
  CHECK(gate.stats().running == 0);
  CHECK(gate.wait_idle_for(0ns));
}
