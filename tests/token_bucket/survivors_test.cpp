// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the bucket would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <stop_token>
#include <thread>
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
using weir::testing::manual_clock;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();

using bucket_type = weir::basic_token_bucket<manual_clock::view>;

constexpr time_point at(std::int64_t nanoseconds) { return time_point{duration{nanoseconds}}; }

/// Who books is gone without having used it.
void book_and_drop(bucket_type& bucket, std::uint64_t n) { static_cast<void>(bucket.reserve(n)); }

}  // namespace

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

TEST_CASE("a rate of nothing is no token a second, and has whole tokens to lose", "[token_bucket]") {
  CHECK(rate::zero() == rate::per_second(0));
  CHECK(bucket_limits::of(0, 1'000, 7).cost == 1);
  CHECK(bucket_limits::of(0, 1'000, 7).capacity() == 7);
}

TEST_CASE("a limited bucket must be told its burst", "[token_bucket]") {
  manual_clock clock;
  CHECK_THROWS_AS((bucket_type{{.rate = rate::every(10ms)}, clock.source()}), std::invalid_argument);
  CHECK_NOTHROW(bucket_type{{.rate = rate::unlimited()}, clock.source()});
}

TEST_CASE("a clock that steps back behind a change finds the bucket as it was then", "[token_bucket]") {
  manual_clock clock{at(0)};
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 9, .initial = 0}, clock.source()};
  clock.set(at(50));
  bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 8});
  clock.set(at(20));
  CHECK(bucket.available_approx() == 5);
  bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 7});
  CHECK(bucket.available_at(at(50)) == 5);
}

TEST_CASE("no wait leads past the end of time", "[token_bucket]") {
  manual_clock clock{time_point::max() - 5ns};
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 9, .initial = 0}, clock.source()};
  CHECK(bucket.try_acquire().error().retry_after == 5ns);
  bucket_type old{{.rate = rate{1, 10ns}, .burst = 1}, clock.source()};
  CHECK(old.try_acquire());
  CHECK(old.try_acquire_at(time_point::min()).error().retry_after == duration::max());
}

TEST_CASE("before the origin no time has passed", "[token_bucket]") {
  const bucket_core core{bucket_limits{3, 7, 10}, at(5), 7};
  for (const std::int64_t ns : {std::numeric_limits<std::int64_t>::min(), std::int64_t{4}, std::int64_t{5}}) {
    CHECK(core.ticks(at(ns)) == 0);
    CHECK(core.in_range(at(ns)));
  }
  CHECK(core.ticks(at(6)) == 3);
}

TEST_CASE("to move the origin keeps the part of a nanosecond", "[token_bucket]") {
  bucket_core core{bucket_limits{3, 7, 10}, at(0), 7};
  core.rebase(at(2));
  CHECK(core.full_at == 1);
  CHECK(core.origin == at(2));
}

TEST_CASE("a booking far ahead of the latest gives nothing back, however fast the rate", "[token_bucket]") {
  const bucket_core core{bucket_limits{bucket_limits::speed_limit, 1, 1 << 20}, {}};
  CHECK(core.refundable(1 << 20, {at(0), 0}, {at(std::int64_t{1} << 40), 0}) == 0);
  CHECK(core.refundable(1 << 20, {at(0), 0}, {at(0), 1}) == (1 << 20) - 1);
}

TEST_CASE("a change of the burst shares out the last token as well, and takes all of it away",
          "[token_bucket]") {
  manual_clock clock;
  const auto left = [&](std::int64_t burst, std::int64_t held, std::int64_t next, held_tokens kept) {
    bucket_type bucket{{.rate = rate::zero(), .burst = burst, .initial = held}, clock.source()};
    bucket.reconfigure({.rate = rate::zero(), .burst = next}, kept);
    return bucket.available_at(clock.now());
  };
  CHECK(left(2, 1, 10, held_tokens::proportional) == 5);
  CHECK(left(5, 1, 1, held_tokens::additive) == 0);
  manual_clock other;
  bucket_type bucket{{.rate = rate::zero(), .burst = 4, .initial = 2}, other.source()};
  bucket.reconfigure({.rate = rate::zero(), .burst = 8});
  CHECK(bucket.available_at(other.now()) == 2);
}

TEST_CASE("a clock that begins before its epoch brings no tokens from after it", "[token_bucket]") {
  manual_clock clock{at(-1'000'000)};
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 4, .initial = 0}, clock.source()};
  CHECK_FALSE(bucket.try_acquire());
  SECTION("and a later booking is leaned on for as long as it is later") {}
  SECTION("nor does a booking of nothing change that") { book_and_drop(bucket, 0); }
  auto first = bucket.reserve(2);
  auto second = bucket.reserve(1);
  REQUIRE((first && second));
  CHECK(second->act_at() == clock.now() + 30ns);
  first->cancel();
  CHECK(bucket.available_at(clock.now()) == -2);
}

TEST_CASE("of two bookings that act at once the first gives back all that it took", "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 4}, clock.source()};
  SECTION("in a new bucket") {}
  SECTION("after a reset") { bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 4}, held_tokens::reset); }
  SECTION("after a change") { bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 4}); }
  auto first = bucket.reserve();
  auto second = bucket.reserve();
  REQUIRE((first && second));
  CHECK(first->act_at() == second->act_at());
  first->cancel();
  CHECK(bucket.available_at(clock.now()) == 3);
}

TEST_CASE("a booking leans on those that stand, to the tick", "[token_bucket]") {
  manual_clock clock;
  SECTION("not on one that was undone") {
    bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 4, .initial = 0}, clock.source()};
    auto first = bucket.reserve(3);
    book_and_drop(bucket, 3);
    auto third = bucket.reserve(1);
    REQUIRE((first && third));
    CHECK(third->act_at() == clock.now() + 40ns);
    first->cancel();
    CHECK(bucket.available_at(clock.now()) == -4 + 2);
  }
  SECTION("within a nanosecond") {
    bucket_type bucket{{.rate = rate{3, 7ns}, .burst = 4, .initial = 0}, clock.source()};
    auto first = bucket.reserve(4);
    auto second = bucket.reserve(1);
    REQUIRE((first && second));
    first->cancel();
    CHECK(bucket.available_at(clock.now()) == -5 + 3);
  }
  SECTION("after a change too") {
    bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 4, .initial = 0}, clock.source()};
    auto first = bucket.reserve(2);
    auto second = bucket.reserve(1);
    REQUIRE((first && second));
    bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 4});
    first->cancel();
    CHECK(bucket.available_at(clock.now()) == -3 + 1);
  }
}

TEST_CASE("a bucket is full after an age, whatever its rate", "[token_bucket]") {
  manual_clock clock{at(0)};
  bucket_type bucket{{.rate = rate{3, 7ns}, .burst = 5}, clock.source()};
  CHECK(bucket.try_acquire(5));
  // Three ticks for each nanosecond are more than 64 bits hold.
  constexpr time_point late = at(std::int64_t{1} << 62);
  CHECK(bucket.is_full_at(late));
  CHECK(bucket.is_as_new_at(late));
  CHECK(bucket.available_at(late) == 5);
  CHECK_FALSE(bucket.is_full_at(at(0)));
}

TEST_CASE("to lift the limit ends every debt, also that of a booking not yet cancelled", "[token_bucket]") {
  manual_clock clock{at(0)};
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 3, .initial = 0}, clock.source()};
  auto booked = bucket.reserve(3);
  REQUIRE(booked);
  bucket.reconfigure({.rate = rate::unlimited()});
  clock.advance(5ns);
  booked->cancel();
  CHECK(bucket.stats().cancelled == 1);
  CHECK(bucket.is_full_at(at(0)));
  CHECK(bucket.is_full_at(clock.now()));
  bucket.reconfigure({.rate = rate{1, 10ns}, .burst = 3});
  CHECK(bucket.is_full_at(clock.now()));
}

TEST_CASE("nothing is granted at once and for now, even in debt", "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 3, .initial = 0}, clock.source()};
  auto booked = bucket.reserve(3);
  REQUIRE(booked);
  CHECK_FALSE(bucket.try_acquire(1));
  CHECK(bucket.try_acquire(0));
  auto nothing = bucket.reserve(0);
  REQUIRE(nothing);
  CHECK(nothing->act_at() == clock.now());
  CHECK(bucket.available_at(clock.now()) == -3);
}

TEST_CASE("what is there is booked, however short the wait may be", "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 3, .initial = 2}, clock.source()};
  auto booked = bucket.reserve(2, -1ns);
  REQUIRE(booked);
  CHECK(booked->act_at() == clock.now());
  CHECK_FALSE(bucket.reserve(1, 9ns));
  CHECK(bucket.reserve(1, 10ns));
}

TEST_CASE("a booking reaches 2^61 ticks ahead and no further", "[token_bucket]") {
  manual_clock clock{at(0)};
  constexpr std::int64_t burst = bucket_core::reach / 2;
  bucket_type bucket{{.rate = rate{1, 1ns}, .burst = burst, .initial = 0}, clock.source()};
  auto near = bucket.reserve(burst);
  auto far = bucket.reserve(burst);
  REQUIRE((near && far));
  CHECK(far->act_at() == at(bucket_core::reach));
  const auto beyond = bucket.reserve(1);
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().reason == weir::refusal_reason::rate_limited);
  CHECK(beyond.error().retry_after == duration{bucket_core::reach + 1});
}

TEST_CASE("a clock that steps back after a booking stands until it has caught up", "[token_bucket]") {
  manual_clock clock{at(0)};
  bucket_type bucket{{.rate = rate{1, 10ns}, .burst = 3, .initial = 0}, clock.source()};
  clock.advance(30ns);
  auto booked = bucket.reserve();
  REQUIRE(booked);
  CHECK(bucket.available_at(at(30)) == 2);
  CHECK(bucket.available_at(at(10)) == 2);
}

TEST_CASE("to give back after an age moves the origin on", "[token_bucket]") {
  manual_clock clock{at(0)};
  constexpr std::int64_t burst = bucket_core::range;
  bucket_type bucket{{.rate = rate{1, 1ns}, .burst = burst, .initial = 0}, clock.source()};
  auto booked = bucket.reserve(burst);
  REQUIRE(booked);
  clock.set(booked->act_at());
  booked->cancel();
  CHECK(bucket.available_at(clock.now()) == burst);
  CHECK(bucket.available_at(at(0)) == burst);
}

TEST_CASE("who is told that a wait was cancelled finds the tokens given back", "[token_bucket]") {
  struct told {
    std::function<void()>* call;
    void on_refused(const weir::refusal&) const noexcept { (*call)(); }
  };
  manual_clock clock;
  std::function<void()> look;
  weir::basic_token_bucket<manual_clock::view, told> bucket{
      {.rate = rate{1, 10ns}, .burst = 3, .initial = 1}, clock.source(), told{&look}};
  std::int64_t found = least;
  look = [&] { found = bucket.available_at(clock.now()); };
  std::stop_source stop;
  weir::outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire(2, stop.get_token()); }};
  clock.await_sleepers(1);
  CHECK(bucket.available_at(clock.now()) == -1);
  stop.request_stop();
  waiter.join();
  CHECK_FALSE(got);
  CHECK(found == 1);
}
