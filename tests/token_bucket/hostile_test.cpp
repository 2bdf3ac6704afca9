// SPDX-License-Identifier: BSL-1.0
// What broke it once, and what was tried to break it.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::duration;
using weir::held_tokens;
using weir::rate;
using weir::refusal_reason;
using weir::refused_for_ever;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

using bucket_type = basic_token_bucket<manual_clock::view>;

}  // namespace

TEST_CASE("regression: answers stay exact when the clock steps back after the time range was moved on",
          "[token_bucket]") {
  // A prime rate: the range is half a second.
  const rate prime{2'147'483'647, 24h};
  manual_clock clock;
  bucket_type bucket{{.rate = prime, .burst = 20'000, .initial = 0}, clock.source()};
  clock.advance(600ms);
  const auto there = bucket.try_acquire(20'000);  // refused, and the range is moved on
  REQUIRE_FALSE(there);
  const time_point due = clock.now() + *there.error().retry_after;

  clock.set(time_point{100ms});
  const auto back = bucket.try_acquire(20'000);
  REQUIRE_FALSE(back);
  CHECK(clock.now() + *back.error().retry_after == due);
  auto booked = bucket.reserve(20'000);
  REQUIRE(booked);
  CHECK(booked->act_at() == due);
  booked->cancel();

  clock.set(due - 1ns);
  CHECK_FALSE(bucket.try_acquire(20'000));
  clock.set(due);
  CHECK(bucket.try_acquire(20'000));
}

TEST_CASE("regression: a booking cancelled at once takes nothing, also in a gap that another one left",
          "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(10ns), .burst = 10, .initial = 0}, clock.source()};
  auto first = bucket.reserve(8);
  auto later = bucket.reserve(1);
  CHECK(later->act_at() == time_point{90ns});
  first->cancel();  // all but the token that `later` leans on
  CHECK(bucket.available_approx() == -2);
  auto between = bucket.reserve(1);
  auto last = bucket.reserve(1);
  CHECK(between->act_at() == time_point{30ns});
  CHECK(last->act_at() == time_point{40ns});
  last->cancel();
  CHECK(bucket.available_approx() == -3);
  between->cancel();
  CHECK(bucket.available_approx() == -2);
  later->cancel();
  CHECK(bucket.available_approx() == -1);  // the last again, but the tokens it leaned on stay spent
}

TEST_CASE("regression: what was booked before a reset holds back nothing of what is booked after it",
          "[token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{.rate = rate::every(1h), .burst = 10, .initial = 0}, clock.source()};
  auto forgotten = bucket.reserve(10);
  bucket.reconfigure({.rate = rate::every(1h), .burst = 10, .initial = 0}, held_tokens::reset);
  auto first = bucket.reserve(4);
  auto second = bucket.reserve(1);
  first->cancel();
  CHECK(bucket.available_approx() == -2);  // 4 less the one that `second` leans on
  second->cancel();
  forgotten->cancel();
  CHECK(bucket.available_approx() == -1);
}

TEST_CASE("bookings that come and go leave every window in its bound, the last one leaves no trace",
          "[token_bucket][model]") {
  // I1.  One token takes a whole number of ns, so that bookings act at their exact instants.
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  struct grant {
    time_point at;
    std::int64_t n;
  };
  struct booked {
    bucket_type::reservation right;
    std::int64_t n;
  };
  int over = 0;
  int traces = 0;
  int cancelled = 0;
  for (int round = 0; round < 5000; ++round) {
    const std::int64_t interval = 1 + below(6);
    const std::int64_t burst = 1 + below(10);
    manual_clock clock;
    bucket_type bucket{{.rate = rate::every(duration{interval}), .burst = burst, .initial = below(burst + 1)},
                       clock.source()};
    std::vector<grant> grants;
    std::vector<booked> waiting;
    const auto advance = [&](std::int64_t by) {
      clock.advance(duration{by});
      std::erase_if(waiting, [&](booked& b) {
        if (b.right.act_at() > clock.now()) return false;
        grants.push_back({b.right.act_at(), b.n});
        std::move(b.right).use();
        return true;
      });
    };
    for (int i = 0; i < 25; ++i) {
      const std::int64_t n = 1 + below(burst);
      switch (below(6)) {
        case 0:
          advance(below(3 * interval));
          break;
        case 1:
          if (bucket.try_acquire(static_cast<std::uint64_t>(n))) grants.push_back({clock.now(), n});
          break;
        case 2: {
          const std::int64_t before = bucket.available_approx();
          bucket.reserve(static_cast<std::uint64_t>(n))->cancel();
          traces += bucket.available_approx() == before ? 0 : 1;
          break;
        }
        case 3:
          waiting.push_back({*bucket.reserve(static_cast<std::uint64_t>(n)), n});
          advance(0);
          break;
        default:
          if (waiting.empty()) break;
          const auto one = waiting.begin() + below(static_cast<std::int64_t>(waiting.size()));
          one->right.cancel();
          waiting.erase(one);
          ++cancelled;
      }
    }
    advance(1000);
    std::ranges::sort(grants, {}, &grant::at);
    for (std::size_t a = 0; a < grants.size(); ++a) {
      std::int64_t sum = 0;
      for (std::size_t b = a; b < grants.size(); ++b) {
        sum += grants[b].n;
        over += sum > burst + (grants[b].at - grants[a].at).count() / interval ? 1 : 0;
      }
    }
  }
  CHECK(over == 0);
  CHECK(traces == 0);
  CHECK(cancelled > 1000);
}

TEST_CASE("every verb answers nothing, too much and far too much in the same way", "[token_bucket]") {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  const auto too_much = refused_for_ever(refusal_reason::exceeds_capacity);
  for (const rate r : {rate::zero(), rate::per_second(3)}) {
    manual_clock clock;
    bucket_type bucket{{.rate = r, .burst = 5, .initial = 0}, clock.source()};
    CHECK(bucket.try_acquire(0));
    CHECK(bucket.acquire(0));
    CHECK(bucket.acquire_for(0, -1s));
    CHECK(bucket.reserve(0)->act_at() == clock.now());
    for (const std::uint64_t n : {std::uint64_t{6}, huge}) {
      CHECK(bucket.try_acquire(n).error() == too_much);
      CHECK(bucket.acquire(n).error() == too_much);
      CHECK(bucket.acquire_for(n, duration::max()).error() == too_much);
      CHECK(bucket.acquire_until(n, time_point::min()).error() == too_much);
      CHECK(bucket.reserve(n, duration::min()).error() == too_much);
    }
    CHECK(bucket.available_approx() == 0);
  }
  manual_clock clock;
  bucket_type open{{.rate = rate::unlimited()}, clock.source()};
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{6}, huge}) {
    CHECK(open.try_acquire(n));
    CHECK(open.acquire_until(n, time_point::min()));
    CHECK(open.reserve(n, duration::min())->act_at() == clock.now());
  }
  CHECK(open.is_full_at(clock.now()));
  bucket_type still{{.rate = rate::zero(), .burst = 2}, clock.source()};
  CHECK(still.acquire_until(2, time_point::min()));  // what is there is taken, however late it is
  CHECK(still.reserve(1).error() == refused_for_ever(refusal_reason::rate_limited));
  CHECK(still.acquire_for(1, 1h).error() == refused_for_ever(refusal_reason::rate_limited));
}
