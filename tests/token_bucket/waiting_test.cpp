// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::outcome;
using weir::rate;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

TEST_CASE("a caller that is cancelled already takes nothing", "[token_bucket][waiting]") {
  // TB-22
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 3}, clock.source()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(bucket.acquire(1, stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK(bucket.available_approx() == 3);
}

TEST_CASE("a waiter gets its tokens at the instant they are there", "[token_bucket][waiting]") {
  // TB-22
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 3}, clock.source()};
  CHECK(bucket.acquire(2));
  outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire(3); }};
  clock.await_sleepers(1);
  clock.advance(200ms - 1ns);
  CHECK(clock.sleepers() == 1);
  clock.advance(1ns);
  waiter.join();
  CHECK(got);
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.stats().used == 1);
}

TEST_CASE("a waiter that is stopped gives back exactly what it booked", "[token_bucket][waiting]") {
  // TB-22
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 3}, clock.source()};
  CHECK(bucket.acquire(2));
  std::stop_source stop;
  outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire(3, stop.get_token()); }};
  clock.await_sleepers(1);
  clock.advance(100ms);
  stop.request_stop();
  waiter.join();
  CHECK(got.error().reason == refusal_reason::cancelled);
  CHECK(bucket.available_approx() == 2);
  CHECK(bucket.try_acquire(2));
}

TEST_CASE("a stop at the instant of the grant leaves the tokens with one side", "[token_bucket][waiting]") {
  for (int round = 0; round < 50; ++round) {
    manual_clock clock;
    basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 1, .initial = 0}, clock.source()};
    std::stop_source stop;
    outcome<void> got;
    std::thread waiter{[&] { got = bucket.acquire(1, stop.get_token()); }};
    clock.await_sleepers(1);
    if (round % 2 == 0) {
      clock.advance(100ms);
      stop.request_stop();
    } else {
      stop.request_stop();
      clock.advance(100ms);
    }
    waiter.join();
    CHECK(bucket.available_approx() == (got ? 0 : 1));
    if (round % 2 == 0) CHECK(got);
  }
}

TEST_CASE("what cannot make its deadline is refused at once", "[token_bucket][waiting]") {
  // TB-16, TB-22: nobody moves the clock here
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 3}, clock.source()};
  CHECK(bucket.acquire_for(2, 100ms));
  const auto refused = bucket.acquire_for(3, 199ms);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == weir::refusal{refusal_reason::timed_out, 200ms});
  CHECK(bucket.acquire_until(3, time_point{199ms}).error().reason == refusal_reason::timed_out);
  CHECK(bucket.available_approx() == 1);
  CHECK(bucket.acquire_until(1, time_point{-1s}));  // there now, whatever the deadline
}

TEST_CASE("a deadline at the very instant of the grant is met", "[token_bucket][waiting]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 3, .initial = 0}, clock.source()};
  outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire_for(2, 200ms); }};
  clock.await_sleepers(1);
  clock.advance(200ms);
  waiter.join();
  CHECK(got);
}

TEST_CASE("waiting at rate zero is refused at once, never slept out", "[token_bucket][waiting]") {
  // TB-17
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::zero(), .burst = 1}, clock.source()};
  CHECK(bucket.acquire());
  CHECK(bucket.acquire().error() == weir::refused_for_ever(refusal_reason::rate_limited));
  CHECK(bucket.acquire_for(1, 1h).error() == weir::refused_for_ever(refusal_reason::rate_limited));
}

TEST_CASE("waiters are served in the order they came, and nobody passes them", "[token_bucket][waiting]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 100ms}, .burst = 2, .initial = 0}, clock.source()};
  std::vector<outcome<void>> got(3);
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i < got.size(); ++i) {
    // The big one first: it is not starved by the small ones behind it.
    waiters.emplace_back([&, i] { got[i] = bucket.acquire(i == 0 ? 2 : 1); });
    clock.await_sleepers(i + 1);
  }
  clock.advance(100ms);
  CHECK_FALSE(bucket.try_acquire());
  CHECK(clock.sleepers() == 3);
  for (std::size_t i = 0; i < got.size(); ++i) {
    clock.advance(100ms);
    waiters[i].join();
    CHECK(got[i]);
    CHECK(clock.sleepers() == got.size() - i - 1);
    CHECK_FALSE(bucket.try_acquire());
  }
  clock.advance(100ms);
  CHECK(bucket.try_acquire());
}

TEST_CASE("a waiter keeps its time when the bucket is reconfigured", "[token_bucket][waiting]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 1s}, .burst = 1, .initial = 0}, clock.source()};
  outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire(); }};
  clock.await_sleepers(1);
  bucket.reconfigure({.rate = rate{1, 1h}, .burst = 1});
  clock.advance(1s);
  waiter.join();
  CHECK(got);
}

TEST_CASE("waiting works on the clock of the standard library", "[token_bucket][waiting]") {
  weir::token_bucket bucket{{.rate = rate{1, 1ms}, .burst = 1, .initial = 0}};
  const auto start = weir::steady_clock::now();
  CHECK(bucket.acquire());
  CHECK(bucket.acquire());
  CHECK(weir::steady_clock::now() - start >= 1ms);
}

namespace {

/// Whoever sleeps is told to stop; some reads later time goes past every wait.
struct racing_clock {
  struct state {
    std::int64_t now = 0;
    int reads_left = 0;
    int reads_from_stop = 0;
    std::stop_source stop;
  };
  state* s;

  [[nodiscard]] time_point now() const noexcept {
    const time_point seen{weir::duration{s->now}};
    if (s->reads_left != 0 && --s->reads_left == 0) s->now += 3'600'000'000'001;
    return seen;
  }
  void wake_at(time_point, weir::timer_target&) const {
    s->reads_left = std::exchange(s->reads_from_stop, 0);  // time moves on once
    s->stop.request_stop();
  }
  void forget(weir::timer_target&) const noexcept {}
};
static_assert(weir::waking_clock<racing_clock>);

template <class Bucket, class Options>
void race(const Options& options) {
  int stopped = 0;
  for (int reads = 1; reads <= 6; ++reads) {
    racing_clock::state state;
    state.reads_from_stop = reads;
    Bucket bucket{options, racing_clock{&state}};
    REQUIRE(bucket.try_acquire());
    const bool acquired = bucket.acquire(1, state.stop.get_token()).has_value();
    state.now = std::max<std::int64_t>(state.now, 3'600'000'000'001);
    INFO(reads);
    // Whoever did not get it has left it.
    CHECK(bucket.available_approx() == (acquired ? 0 : 1));
    stopped += acquired ? 0 : 1;
  }
  CHECK(stopped > 0);
  CHECK(stopped < 6);
}

}  // namespace

TEST_CASE("a waiter that is stopped as its tokens come has them or leaves them", "[token_bucket]") {
  const weir::token_bucket_options hourly{.rate = weir::rate::every(1h), .burst = 1};
  race<weir::basic_token_bucket<racing_clock>>(hourly);
  race<weir::basic_multi_token_bucket<racing_clock>>(
      std::vector<weir::bandwidth>{{.rate = hourly.rate, .burst = hourly.burst}});
}
