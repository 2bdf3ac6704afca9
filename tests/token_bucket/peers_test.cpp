// SPDX-License-Identifier: BSL-1.0
// What other limiters got wrong, each named after what must hold.  More of it stands where it belongs: in the tables,
// and in hostile_test.cpp.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <latch>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::duration;
using weir::rate;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

using bucket_type = basic_token_bucket<manual_clock::view>;

}  // namespace

TEST_CASE("the slowest rate there is waits its time out and overflows nowhere", "[token_bucket][peers]") {
  // golang/go#71154
  constexpr duration interval{std::int64_t{1} << 61};
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(interval), .burst = 1, .initial = 0}, clock.source()};
  CHECK(bucket.try_acquire().error() == weir::refusal{refusal_reason::rate_limited, interval});
  CHECK(bucket.acquire_for(1, interval - 1ns).error() == weir::refusal{refusal_reason::timed_out, interval});
  auto booked = bucket.reserve();
  REQUIRE(booked);
  CHECK(booked->act_at() == clock.now() + interval);
  CHECK(bucket.reserve().error() == weir::refusal{refusal_reason::rate_limited, 2 * interval});
  clock.advance(interval - 1ns);
  CHECK(bucket.available_approx() == -1);
  clock.advance(1ns);
  CHECK(bucket.available_approx() == 0);
}

TEST_CASE("a new bucket holds its burst, however long or short the clock has run", "[token_bucket][peers]") {
  // facebook/folly#2430; resilience4j#61
  for (const time_point start : {time_point::min(), time_point{-1ns}, time_point{}, time_point{1ns},
                                 time_point{1h}, time_point::max() - 1h}) {
    for (const rate r : {rate::per_second(1000), rate{1, 10'000s}}) {
      manual_clock clock{start};
      bucket_type bucket{{.rate = r, .burst = 10}, clock.source()};
      CHECK(bucket.try_acquire(10));
      CHECK_FALSE(bucket.try_acquire());
    }
  }
}

TEST_CASE("after a debt and a long idleness the burst is there, no more", "[token_bucket][peers]") {
  // Failsafe: 19 permits at once for 2 a second; uber-go/ratelimit#106: any number after idling
  manual_clock clock;
  bucket_type bucket{{.rate = rate::per_second(2), .burst = 2}, clock.source()};
  for (int i = 0; i != 10; ++i) std::move(*bucket.reserve(2)).use();
  CHECK(bucket.available_approx() == -18);
  clock.advance(9s);
  CHECK(bucket.available_approx() == 0);
  for (const duration idle : {duration{10s}, duration{12h}, duration{144h}}) {
    clock.advance(idle);
    CHECK(bucket.available_approx() == 2);
    CHECK(bucket.try_acquire(2));
    CHECK_FALSE(bucket.try_acquire());
  }
}

TEST_CASE("a debt of more tokens than 32 bits count stays a debt", "[token_bucket][peers]") {
  // resilience4j: at 1.5e9 permits the debt wraps to +1294967296
  manual_clock clock;
  bucket_type bucket{{.rate = rate::per_second(1'000), .burst = 1'500'000'000}, clock.source()};
  for (int i = 0; i != 5; ++i) std::move(*bucket.reserve(1'500'000'000)).use();
  CHECK(bucket.available_approx() == -6'000'000'000);
  CHECK_FALSE(bucket.try_acquire());
  clock.advance(6'000'000s);
  CHECK(bucket.available_approx() == 0);
}

TEST_CASE("waiters that ask at once are let go one after the other, never together",
          "[token_bucket][peers]") {
  // golang/go#43858, #45245
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(10ms), .burst = 1, .initial = 0}, clock.source()};
  constexpr std::size_t count = 6;
  std::atomic<int> let_go{0};
  std::latch start{count};
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i != count; ++i) {
    waiters.emplace_back([&] {
      start.arrive_and_wait();
      if (bucket.acquire()) ++let_go;
    });
  }
  clock.await_sleepers(count);
  for (std::size_t i = 1; i <= count; ++i) {
    clock.advance(10ms - 1ns);
    CHECK(clock.sleepers() == count - i + 1);
    clock.advance(1ns);
    while (let_go != static_cast<int>(i)) std::this_thread::yield();
    CHECK(clock.sleepers() == count - i);
  }
  for (std::thread& w : waiters) w.join();
}

TEST_CASE("a retry at the instant that a refusal names is granted, a nanosecond earlier it is not",
          "[token_bucket][peers]") {
  // boinkor-net/governor#241, bucket4j#88, nano-node#5105
  for (const rate r : {rate{3, 10ns}, rate{7, 1us}, rate::per_second(600'000'000), rate{1, 24h}}) {
    for (std::uint64_t n = 1; n <= 5; ++n) {
      manual_clock clock{time_point{12'345ns}};
      bucket_type bucket{{.rate = r, .burst = 5}, clock.source()};
      CHECK(bucket.try_acquire(5));
      clock.advance(1ns);
      const auto refused = bucket.try_acquire(n);
      if (refused) continue;  // the quickest are there by then
      clock.advance(*refused.error().retry_after - 1ns);
      if (*refused.error().retry_after > 1ns) CHECK_FALSE(bucket.try_acquire(n));
      clock.advance(1ns);
      CHECK(bucket.try_acquire(n));
    }
  }
}

TEST_CASE("no options are taken for others, and none that were taken are lost", "[token_bucket][peers]") {
  // resilience4j#1396, #2277; governor#39; userver's pair of fields set one by one
  manual_clock clock;
  bucket_type bucket{{.rate = rate::per_second(1), .burst = 2}, clock.source()};
  for (std::int64_t k = 1; k != 50; ++k) {
    bucket.reconfigure({.rate = rate::per_second(k), .burst = 10 * k}, weir::held_tokens::reset);
    CHECK(bucket.available_approx() == 10 * k);
    CHECK(bucket.try_acquire(static_cast<std::uint64_t>(10 * k)));
    clock.advance(1s);
    CHECK(bucket.available_approx() == k);
  }
}
