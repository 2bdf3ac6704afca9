// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "support/fault_loop.hpp"

namespace weir_test {

enum class struck { leader, waiter };

/// Three callers of one key share a call: one leads it, two join; the fault strikes the leader or the last.
/// Whatever happens, nobody else is disturbed, nobody is left asleep, and nothing stays in flight.
///
/// \param ask  `ask(work)` asks the component for its key and gives back the number in the value; the clock of
///             the component must stand.
template <class Component, class Ask>
void share_a_call(fault& next, Component& component, struck who, Ask ask) {
  constexpr int thrown = -2;
  std::atomic<bool> entered = false;
  std::atomic<int> gone = 0;
  std::latch joined{1};
  const auto work = [&] {
    entered = true;
    joined.wait();
    fault::point("work");
    return faulty{7};
  };
  const auto instead = [] { return faulty{9}; };
  const auto start = [&](bool is_struck, const auto& call) {
    return std::async(std::launch::async, [&, is_struck] {
      int got = thrown;
      const auto step = [&] { got = ask(call); };
      is_struck ? next.strike(step) : fault::came_out(step);
      ++gone;
      return got;
    });
  };
  const auto await = [](auto&& reached) {
    while (!reached()) std::this_thread::yield();
  };

  auto leading = start(who == struck::leader, work);
  await([&] { return entered || gone == 1; });
  auto waiting = start(false, instead);
  await([&] { return component.stats().joined == 1 || gone > 0; });
  auto last = start(who == struck::waiter, instead);
  await([&] { return component.stats().joined == 2 || gone > 0; });
  joined.count_down();
  const int leader = leading.get();
  const int waiter = waiting.get();
  const int other = last.get();

  if (who == struck::waiter) {
    CHECK(leader == 7);
    CHECK(waiter == 7);
    CHECK(other == (next.happened() ? thrown : 7));
  } else if (!entered) {  // it failed before it led: the others go on without it
    CHECK(leader == thrown);
    CHECK(waiter == 9);
    CHECK(other == 9);
  } else {  // its failure is everybody's, or its alone once there is a value
    CHECK(leader == (next.happened() ? thrown : 7));
    CHECK((waiter == 7 || (waiter == thrown && next.happened())));
    CHECK(other == waiter);
  }
  CHECK(component.stats().in_flight == 0);
  const int afterwards = ask(instead);
  CHECK((afterwards == 7 || afterwards == 9));
}

}  // namespace weir_test
