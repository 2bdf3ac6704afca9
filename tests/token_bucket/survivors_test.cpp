// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the bucket would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::duration;
using weir::held_tokens;
using weir::rate;
using weir::time_point;
using weir::detail::bucket_core;
using weir::detail::bucket_instant;
using weir::detail::bucket_limits;
using weir::detail::multiply_divide;
using weir::testing::manual_clock;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();

using bucket_type = weir::basic_token_bucket<manual_clock::view>;

}  // namespace

TEST_CASE("a product is divided downwards and stops at the ends of its type", "[token_bucket]") {
  const auto divided = [](std::int64_t a, std::int64_t b, std::int64_t c) {
    return multiply_divide(a, b, c);
  };
  CHECK(divided(7, 3, 2) == 10);
  CHECK(divided(-7, 3, 2) == -11);
  CHECK(divided(-6, 1, 2) == -3);
  CHECK(divided(most, 1, 1) == most);
  CHECK(divided(most, 3, 2) == most);
  CHECK(divided(most, most, 1) == most);
  CHECK(divided(least, 1, 1) == least);
  CHECK(divided(least, 3, 2) == least);
  CHECK(divided(least, most, 1) == least);
}

TEST_CASE("the bounds of a bucket are within them", "[token_bucket]") {
  const auto of = [](std::int64_t tokens, std::int64_t per, std::int64_t burst) {
    return bucket_limits::of(tokens, per, burst);
  };
  constexpr auto capacity = bucket_limits::capacity_limit;
  constexpr auto speed = bucket_limits::speed_limit;
  CHECK(of(0, 1, capacity).burst == capacity);
  CHECK_THROWS_AS(of(0, 1, capacity + 1), std::invalid_argument);
  CHECK(of(1, 1, capacity).capacity() == capacity);
  CHECK_THROWS_AS(of(1, 1, capacity + 1), std::invalid_argument);
  CHECK(of(1, 3, capacity / 3).burst == capacity / 3);
  CHECK(of(speed, 1, 1).speed == speed);
  CHECK_THROWS_AS(of(speed + 1, 1, 1), std::invalid_argument);
}

TEST_CASE("a booking may give back just what no later one leans on", "[token_bucket]") {
  const auto at = [](std::int64_t whole, std::int64_t part) {
    return bucket_instant{time_point{duration{whole}}, part};
  };
  int given = 0;
  for (const std::int64_t speed : {1, 3, 7}) {
    for (const std::int64_t cost : {2, 10}) {
      const bucket_core core{bucket_limits{speed, cost, 100}, {}};
      for (const std::int64_t n : {1, 2, 5}) {
        for (std::int64_t act = 0; act != 4 * speed; ++act) {
          for (std::int64_t newest = 0; newest != 60 * speed; ++newest) {
            const std::int64_t amount = n * cost;
            const std::int64_t free = std::clamp<std::int64_t>(amount - (newest - act), 0, amount);
            const auto told =
                core.refundable(n, at(act / speed, act % speed), at(newest / speed, newest % speed));
            if (told != free) {
              FAIL_CHECK("speed " << speed << ", cost " << cost << ", " << n << " at " << act << ", newest "
                                  << newest);
            }
            given += told == free ? 1 : 0;
          }
        }
      }
      CHECK(core.refundable(1, at(0, 0), bucket_instant{time_point::max(), 0}) == 0);
    }
  }
  CHECK(given == 2 * 3 * 4 * 60 * (1 * 1 + 3 * 3 + 7 * 7));
  const bucket_core still{bucket_limits{0, 1, 100}, {}};
  CHECK(still.refundable(3, at(0, 0), at(50, 0)) == 3);
}

TEST_CASE("a wait is rounded up to whole nanoseconds, and there is none for nothing", "[token_bucket]") {
  for (const std::int64_t speed : {1, 3}) {
    const bucket_core core{bucket_limits{speed, 2, 10}, {}};
    CHECK(core.wait_for(-5) == duration::zero());
    CHECK(core.wait_for(0) == duration::zero());
    CHECK(core.wait_for(1) == 1ns);
    CHECK(core.wait_for(speed) == 1ns);
    CHECK(core.wait_for(speed + 1) == 2ns);
    CHECK(core.instant({}, 0).whole == time_point{});
  }
  const bucket_core still{bucket_limits{0, 1, 10}, {}};
  CHECK_FALSE(still.wait_for(1));
  CHECK(still.wait_for(0) == duration::zero());
  CHECK(still.instant({}, 7).whole == time_point{});
}

TEST_CASE("a bucket is as new if it was not reconfigured and holds what it began with, for good",
          "[token_bucket]") {
  manual_clock clock;
  const auto as_new = [&](const bucket_type& b) { return b.is_as_new_at(clock.now()); };
  SECTION("full at first") {
    bucket_type bucket{{.rate = rate::every(10ms), .burst = 3}, clock.source()};
    CHECK(as_new(bucket));
    CHECK(bucket.try_acquire(2));
    CHECK_FALSE(as_new(bucket));
    CHECK_FALSE(bucket.is_as_new_at(clock.now() + 20ms - 1ns));
    CHECK(bucket.is_as_new_at(clock.now() + 20ms));
    CHECK(bucket.is_as_new_at(time_point::max()));
    CHECK(bucket.is_full_at(time_point::max()));
    CHECK_FALSE(bucket.is_full_at(clock.now() + 20ms - 1ns));
    clock.advance(20ms);
    CHECK(as_new(bucket));
    bucket.reconfigure({.rate = rate::every(10ms), .burst = 3});
    CHECK_FALSE(as_new(bucket));
  }
  SECTION("not full at first") {
    bucket_type bucket{{.rate = rate::every(10ms), .burst = 3, .initial = 1}, clock.source()};
    CHECK_FALSE(as_new(bucket));
  }
  SECTION("never refilled") {
    bucket_type bucket{{.rate = rate::zero(), .burst = 3, .initial = 1}, clock.source()};
    CHECK(as_new(bucket));
    CHECK(bucket.is_as_new_at(time_point::max()));
    CHECK(bucket.try_acquire());
    CHECK_FALSE(as_new(bucket));
  }
  SECTION("unlimited") {
    bucket_type bucket{{.rate = rate::unlimited(), .burst = 3}, clock.source()};
    CHECK(bucket.try_acquire(2));
    CHECK(as_new(bucket));
    CHECK(bucket.available_at(clock.now()) == most);
    CHECK(bucket.is_full_at(clock.now()));
  }
}

TEST_CASE("a reservation is of one token unless told otherwise", "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(10ms), .burst = 3}, clock.source()};
  auto booked = bucket.reserve();
  REQUIRE(booked);
  CHECK(bucket.available_at(clock.now()) == 2);
}

TEST_CASE("what is given back after a change of the cost is as many tokens, not as many ticks",
          "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(10ms), .burst = 4}, clock.source()};
  CHECK(bucket.try_acquire(3));
  auto booked = bucket.reserve(3);
  REQUIRE(booked);
  bucket.reconfigure({.rate = rate::every(20ms), .burst = 4});
  CHECK(bucket.available_at(clock.now()) == -2);
  booked->cancel();
  CHECK(bucket.available_at(clock.now()) == 1);
}
