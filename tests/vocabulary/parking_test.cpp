// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <stop_token>
#include <thread>

#include <weir/detail/parking.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::deadline;
using weir::time_point;
using weir::detail::parker;
using weir::detail::wait_list;
using weir::detail::waiter;
using weir::detail::wake_reason;
using weir::testing::manual_clock;

TEST_CASE("an unpark before the park is not lost", "[parking]") {
  manual_clock clock;
  parker p;
  p.unpark();
  CHECK(p.park_until(clock.source(), deadline::never()));
}

TEST_CASE("a park ends at its deadline on the manual clock, without real time", "[parking]") {
  manual_clock clock;
  waiter w;
  wake_reason why{};
  std::thread sleeper{[&] { why = sleep(w, clock.source(), time_point{1h}, {}); }};
  clock.await_sleepers(1);
  clock.advance(1h - 1ns);
  CHECK(clock.sleepers() == 1);
  clock.advance(1ns);
  sleeper.join();
  CHECK(why == wake_reason::deadline_reached);
  CHECK(clock.sleepers() == 0);
}

TEST_CASE("a deadline that has passed is reached at once", "[parking]") {
  waiter w;
  CHECK(sleep(w, weir::steady_clock{}, weir::steady_clock::now() - 1s, {}) == wake_reason::deadline_reached);
}

TEST_CASE("an unpark or a stop ends a sleep without a deadline", "[parking]") {
  manual_clock clock;
  waiter w;
  std::stop_source stop;
  wake_reason why{};
  SECTION("unpark") {
    std::thread sleeper{[&] { why = sleep(w, clock.source(), deadline::never(), stop.get_token()); }};
    w.park.unpark();
    sleeper.join();
    CHECK(why == wake_reason::unparked);
  }
  SECTION("stop") {
    std::thread sleeper{[&] { why = sleep(w, clock.source(), deadline::never(), stop.get_token()); }};
    stop.request_stop();
    sleeper.join();
    CHECK(why == wake_reason::stop_requested);
  }
}

TEST_CASE("a real clock wakes a sleeper too", "[parking]") {
  waiter w;
  CHECK(sleep(w, weir::steady_clock{}, weir::steady_clock::now() + 2ms, {}) == wake_reason::deadline_reached);
  CHECK(sleep(w, weir::coarse_clock{}, weir::coarse_clock::now() + 2ms, {}) == wake_reason::deadline_reached);
}

TEST_CASE("waiters leave the list in the order they came, from any place in it", "[parking]") {
  wait_list list;
  waiter a, b, c;
  CHECK(list.empty());
  list.push_back(a);
  list.push_back(b);
  list.push_back(c);
  list.remove(b);
  list.remove(b);  // no effect
  CHECK(list.front() == &a);
  list.remove(a);
  CHECK(list.front() == &c);
  list.push_back(b);
  list.remove(c);
  CHECK(list.front() == &b);
  list.remove(b);
  CHECK(list.empty());
}
