// SPDX-License-Identifier: BSL-1.0
// Whatever throws inside or on the way in: the gate is left, and those who wait are let in.
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <future>
#include <latch>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>

#include <weir/task_gate.hpp>

#include "support/broken_clock.hpp"
#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::basic_task_gate;
using weir::run_result;
using weir::task_gate;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;

namespace {

template <class Gate>
void await_waiting(const Gate& gate, std::size_t count) {
  while (gate.stats().waiting != count) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a task that throws lets in who waits to enter, and tells who waits for the end",
          "[task_gate][fault]") {
  const int faults = fault_loop("task_gate", "task", [](fault& next) {
    task_gate gate;
    std::latch inside{1}, awaited{1};
    auto runner = std::async(std::launch::async, [&] {
      return next.strike([&] {
        gate.run_if_idle([&] {
          inside.count_down();
          awaited.wait();
          fault::point("task");
        });
      });
    });
    inside.wait();
    auto entrant = std::async(std::launch::async, [&] { return gate.enter().has_value(); });
    auto watcher = std::async(std::launch::async, [&] { return gate.wait_idle().has_value(); });
    await_waiting(gate, 1);
    awaited.count_down();
    const bool thrown = runner.get();
    CHECK(thrown == next.happened());
    CHECK(entrant.get());
    CHECK(watcher.get());
    CHECK(gate.stats().ran == 1);
    CHECK(gate.stats().running == 0);
    CHECK(gate.run_if_idle([] {}) == run_result::ran);
  });
  CHECK(faults == 1);
}

TEST_CASE("whichever coalesced run throws, every run that was promised is made", "[task_gate][fault]") {
  constexpr int promised = 4;
  const int faults = fault_loop("task_gate", "task", [](fault& next) {
    task_gate gate;
    int runs = 0;
    std::future<bool> entrant;
    std::latch inside{1}, awaited{1};
    auto owner = std::async(std::launch::async, [&] {
      return next.strike([&] {
        gate.run_coalesced([&] {
          if (++runs == 1) inside.count_down(), awaited.wait();
          if (runs < promised) gate.run_coalesced([] {});
          fault::point("task");
        });
      });
    });
    inside.wait();
    CHECK(gate.run_coalesced([] {}) == run_result::coalesced);
    entrant = std::async(std::launch::async, [&] { return gate.enter().has_value(); });
    await_waiting(gate, 1);
    awaited.count_down();
    const bool thrown = owner.get();
    CHECK(thrown == next.happened());
    CHECK(entrant.get());
    CHECK(runs == promised);
    CHECK(gate.stats().ran == promised);
    CHECK(gate.wait_idle_for(0ns));
    CHECK(gate.run_coalesced([] {}) == run_result::ran);
  });
  CHECK(faults == promised);
}

TEST_CASE("a task is neither copied nor moved", "[task_gate][fault]") {
  for (const char* const kind : {"copy", "move", "assign"}) {
    const int faults = fault_loop("task_gate", kind, [](fault& next) {
      task_gate gate;
      const auto task = [owned = faulty{1}] { static_cast<void>(owned); };
      next.strike_through([&] {
        gate.run_if_idle(task);
        gate.run_coalesced(task);
      });
      CHECK(gate.stats().ran == 2);
    });
    CHECK(faults == 0);
  }
}

TEST_CASE("entering, running and leaving need no memory", "[task_gate][fault]") {
  const int faults = fault_loop("task_gate", "allocation", [](fault& next) {
    task_gate gate;
    next.strike_through([&] {
      static_cast<void>(gate.try_enter());
      gate.run_if_idle([] {});
      gate.run_coalesced([] {});
      const auto inside = gate.enter();
      static_cast<void>(gate.enter_for(1us));
      static_cast<void>(gate.wait_idle_for(1us));
      gate.close();
    });
    CHECK(gate.stats().refused == 2);  // not vacuous
  });
  CHECK(faults == 0);
}

TEST_CASE("memory that runs out in a wait or in a complaint changes nothing", "[task_gate][fault]") {
  const int faults = fault_loop("task_gate", "allocation", [](fault& next) {
    manual_clock clock;
    basic_task_gate gate{{}, faulty_clock{clock, faulty_clock::time::leaps}};
    std::optional held = gate.try_enter();
    bool complained = false;
    const bool silent = next.strike_through([&] {
      try {
        gate.set_capacity(0);
      } catch (const std::invalid_argument&) {
        complained = true;
      }
    });
    CHECK(complained != silent);
    CHECK(gate.stats().capacity == 1);
    next.strike_through([&] { static_cast<void>(gate.enter_for(1s)); });
    CHECK(gate.stats().waiting == 0);
    held.reset();
    CHECK(gate.try_enter());
    CHECK(gate.wait_idle_for(0s));
  });
  CHECK(faults >= 2);
}

TEST_CASE("whichever timer fails, the wait throws and leaves nothing behind", "[task_gate][fault]") {
  const int faults = fault_loop("task_gate", "timer", [](fault& next) {
    manual_clock clock;
    basic_task_gate gate{{.capacity = 2}, faulty_clock{clock, faulty_clock::time::leaps}};
    auto held = gate.try_enter();
    const auto threw = [&](auto&& wait) {
      const auto refused = gate.stats().refused;
      const bool thrown = next.strike_through(wait);
      CHECK(gate.stats().refused == refused + (thrown ? 0 : 1));
      CHECK(gate.stats().waiting == 0);
      CHECK(gate.try_enter());  // nobody stands in the way
    };
    threw([&] { static_cast<void>(gate.enter_for(1s, {}, 2)); });
    threw([&] { static_cast<void>(gate.enter_until(clock.now() + 1s, {}, 2)); });
    threw([&] { static_cast<void>(gate.wait_idle_for(1s)); });
    held.reset();
    CHECK(gate.wait_idle());
    CHECK(gate.try_enter(2));
  });
  CHECK(faults == 3);
}

TEST_CASE("a wait whose timer fails does not hold up who waits already", "[task_gate][fault]") {
  const int faults = fault_loop("task_gate", "timer", [](fault& next) {
    manual_clock clock;
    basic_task_gate gate{{}, faulty_clock{clock, faulty_clock::time::leaps}};
    auto held = gate.try_enter();
    auto entrant = std::async(std::launch::async, [&] { return gate.enter().has_value(); });
    auto watcher = std::async(std::launch::async, [&] { return gate.wait_idle().has_value(); });
    await_waiting(gate, 1);
    next.strike_through([&] { static_cast<void>(gate.enter_for(1s)); });
    CHECK(gate.stats().waiting == 1);
    next.strike_through([&] { static_cast<void>(gate.wait_idle_for(1s)); });
    held.reset();
    CHECK(entrant.get());
    CHECK(watcher.get());
    CHECK(gate.wait_idle());
  });
  CHECK(faults == 2);
}

TEST_CASE("who waits behind one whose timer fails gets in where that one did not fit", "[task_gate][fault]") {
  using weir_test::broken_clock;
  std::function<void()> meanwhile;
  basic_task_gate gate{{.capacity = 2}, broken_clock{&meanwhile}};
  const auto held = gate.try_enter();
  std::future<bool> behind;
  meanwhile = [&] {
    behind = std::async(std::launch::async, [&] { return gate.enter().has_value(); });
    await_waiting(gate, 2);
  };
  CHECK_THROWS_AS(gate.enter_for(1s, {}, 2), std::bad_alloc);
  CHECK(behind.get());
}

TEST_CASE("a pass with a lease needs memory once, and without it nothing changes",
          "[task_gate][lease][fault]") {
  for (const bool waits : {false, true}) {
    const int faults = fault_loop("task_gate", "allocation", [waits](fault& next) {
      manual_clock clock;
      basic_task_gate gate{{.lease = 1s}, faulty_clock{clock, faulty_clock::time::leaps}};
      bool entered = false;
      const bool thrown = next.strike_through(
          [&] { entered = waits ? gate.enter().has_value() : gate.try_enter().has_value(); });
      CHECK(thrown != entered);
      CHECK(gate.is_as_new());
      CHECK(gate.stats().refused == 0);
    });
    CHECK(faults == 1);
  }
}

TEST_CASE("runs in a gate with leases need no memory", "[task_gate][lease][fault]") {
  const int faults = fault_loop("task_gate", "allocation", [](fault& next) {
    task_gate gate{{.lease = 1h}};
    next.strike_through([&] {
      gate.run_if_idle([] {});
      gate.run_coalesced([] {});
      static_cast<void>(gate.wait_idle());
    });
    CHECK(gate.stats().ran == 2);
  });
  CHECK(faults == 0);
}

TEST_CASE("a timer for the end of a lease that fails ends the wait of one who enters, not of an owner",
          "[task_gate][lease][fault]") {
  const int faults = fault_loop("task_gate", "timer", [](fault& next) {
    manual_clock clock;
    basic_task_gate gate{{.lease = 1s}, faulty_clock{clock, faulty_clock::time::leaps}};
    auto held = gate.try_enter();
    bool entered = false;
    const bool thrown = next.strike_through([&] { entered = gate.enter().has_value(); });
    CHECK(thrown != entered);
    CHECK(gate.stats().waiting == 0);
    held.reset();
    CHECK(gate.wait_idle_for(0s));

    held = gate.try_enter();
    int runs = 0;
    auto owner = std::async(std::launch::async,
                            [&] { return next.strike([&] { gate.run_coalesced([&] { ++runs; }); }); });
    if (gate.stats().running == 1) held.reset();  // or nobody would wake an owner whose timer has failed
    CHECK_FALSE(owner.get());
    CHECK(runs == 1);
    held.reset();
    CHECK(gate.is_as_new());
  });
  CHECK(faults >= 1);
}
