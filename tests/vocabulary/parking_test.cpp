// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_template_test_macros.hpp>

#include <atomic>
#include <exception>
#include <stop_token>
#include <thread>

#include <weir/detail/parking.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::deadline;
using weir::time_point;
using weir::detail::basic_parker;
using weir::detail::basic_wait_list;
using weir::detail::basic_waiter;
using weir::detail::condition_bell;
using weir::detail::wake_reason;
using weir::testing::manual_clock;

#if defined(__linux__)
#define BELLS weir::detail::futex_bell, condition_bell
#else
#define BELLS condition_bell
#endif

TEMPLATE_TEST_CASE("an unpark before the park is not lost", "[parking]", BELLS) {
  manual_clock clock;
  basic_parker<TestType> p;
  p.unpark();
  CHECK(p.park_until(clock.source(), deadline::never()));
}

TEMPLATE_TEST_CASE("a park ends at its deadline on the manual clock, without real time", "[parking]", BELLS) {
  manual_clock clock;
  basic_waiter<TestType> w;
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

TEMPLATE_TEST_CASE("a deadline that has passed is reached at once", "[parking]", BELLS) {
  basic_waiter<TestType> w;
  CHECK(sleep(w, weir::steady_clock{}, weir::steady_clock::now() - 1s, {}) == wake_reason::deadline_reached);
}

TEMPLATE_TEST_CASE("an unpark or a stop ends a sleep without a deadline", "[parking]", BELLS) {
  manual_clock clock;
  basic_waiter<TestType> w;
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

TEMPLATE_TEST_CASE("a real clock wakes a sleeper too", "[parking]", BELLS) {
  basic_waiter<TestType> w;
  CHECK(sleep(w, weir::steady_clock{}, weir::steady_clock::now() + 2ms, {}) == wake_reason::deadline_reached);
  CHECK(sleep(w, weir::coarse_clock{}, weir::coarse_clock::now() + 2ms, {}) == wake_reason::deadline_reached);
}

TEMPLATE_TEST_CASE("waiters leave the list in the order they came, from any place in it", "[parking]",
                   BELLS) {
  basic_wait_list<TestType> list;
  basic_waiter<TestType> a, b, c;
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

TEMPLATE_TEST_CASE("a token that comes at the deadline is taken", "[parking]", BELLS) {
  manual_clock clock;
  basic_parker<TestType> p;
  p.unpark();
  CHECK(p.park_until(clock.source(), time_point{}));
  CHECK_FALSE(p.park_until(clock.source(), time_point{}));
}

TEMPLATE_TEST_CASE("tokens do not add up", "[parking]", BELLS) {
  manual_clock clock;
  basic_parker<TestType> p;
  p.unpark();
  p.unpark();
  CHECK(p.park_until(clock.source(), deadline::never()));
  CHECK_FALSE(p.park_until(clock.source(), time_point{}));
}

TEMPLATE_TEST_CASE("a deadline at the end of all time is waited for on any clock", "[parking]", BELLS) {
  const auto wakes = [](auto clock, deadline until) {
    basic_parker<TestType> p;
    bool unparked = false;
    std::thread sleeper{[&] { unparked = p.park_until(clock, until); }};
    p.unpark();
    sleeper.join();
    return unparked;
  };
  const deadline last = time_point::max() - 1ns;
  CHECK(wakes(weir::steady_clock{}, last));
  CHECK(wakes(weir::coarse_clock{}, last));
}

// pytorch#177884, llvm#46357, llvm#77659: wake-ups that were lost
TEMPLATE_TEST_CASE("no token is lost when two hand it to and fro as fast as they can", "[parking][stress]",
                   BELLS) {
  constexpr int rounds = 20'000;
  basic_parker<TestType> ping, pong;
  int ball = 0;
  std::thread other{[&] {
    for (int i = 0; i != rounds; ++i) {
      if (!ping.park_until(weir::steady_clock{}, deadline::never())) std::terminate();
      ++ball;
      pong.unpark();
    }
  }};
  int returned = 0;
  for (int i = 0; i != rounds; ++i) {
    ++ball;
    ping.unpark();
    // A deadline that does not come, or none.
    const deadline until = i % 2 == 0 ? deadline::never() : deadline::after(weir::steady_clock::now(), 1h);
    returned += pong.park_until(weir::steady_clock{}, until) ? 1 : 0;
  }
  other.join();
  CHECK(returned == rounds);
  CHECK(ball == 2 * rounds);
}

TEMPLATE_TEST_CASE("a waiter may be gone while the wake for it is under way", "[parking][stress]", BELLS) {
  for (int round = 0; round != 3'000; ++round) {
    std::atomic<basic_parker<TestType>*> where{nullptr};
    std::thread waker{[&] {
      basic_parker<TestType>* p = nullptr;
      while ((p = where.load()) == nullptr) std::this_thread::yield();
      p->unpark();
    }};
    {
      basic_parker<TestType> p;
      where.store(&p);
      if (!p.park_until(weir::steady_clock{}, deadline::never())) std::terminate();
    }
    volatile unsigned char reused[sizeof(basic_parker<TestType>)];
    for (auto& byte : reused) byte = 0xff;
    waker.join();
  }
  SUCCEED("no sanitizer has seen a touch of what was gone");
}
