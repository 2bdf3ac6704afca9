// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::duration;
using weir::held_tokens;
using weir::rate;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::token_bucket_options;
using weir::testing::manual_clock;

namespace {

using bucket_type = basic_token_bucket<manual_clock::view>;

static_assert(!std::is_copy_constructible_v<bucket_type>);
static_assert(!std::is_move_constructible_v<bucket_type>);
static_assert(std::is_nothrow_move_constructible_v<bucket_type::reservation>);
static_assert(!std::is_copy_constructible_v<bucket_type::reservation>);
static_assert(noexcept(std::declval<weir::token_bucket&>().try_acquire()));

// One cache line.
static_assert(sizeof(weir::token_bucket) == 64 && alignof(weir::token_bucket) == 64);
static_assert(sizeof(basic_token_bucket<weir::coarse_clock>) == 64);

struct listener {
  std::vector<refusal>* heard;
  void on_refused(const refusal& why) const noexcept { heard->push_back(why); }
};

std::string message_of(const token_bucket_options& options) {
  try {
    weir::token_bucket bucket{options};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("a bucket works on the clock of the standard library", "[token_bucket]") {
  weir::token_bucket bucket{{.rate = rate{1, 24h}, .burst = 2}};
  CHECK(bucket.try_acquire());
  CHECK(bucket.try_acquire());
  const auto refused = bucket.try_acquire();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == refusal_reason::rate_limited);
  CHECK(refused.error().retry_after > 23h);
  CHECK(refused.error().retry_after <= 24h);
}

TEST_CASE("a bucket that cannot be is refused with a sentence that says what was given", "[token_bucket]") {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  CHECK(message_of({.rate = rate::per_second(1), .burst = 0}) ==
        "token_bucket: burst must be positive, got 0");
  CHECK(message_of({.rate = rate::per_second(1), .burst = -1}) ==
        "token_bucket: burst must be positive, got -1");
  CHECK(message_of({.rate = rate::per_second(-1), .burst = 1}) ==
        "token_bucket: rate must not be negative, got -1");
  CHECK(message_of({.rate = rate{1, 0s}, .burst = 1}) ==
        "token_bucket: rate must be for a positive duration, got nanoseconds: 0");
  CHECK(message_of({.rate = rate::every(-1ns), .burst = 1}) ==
        "token_bucket: rate must be for a positive duration, got nanoseconds: -1");
  CHECK(message_of({.rate = rate::per_second(1), .burst = 1, .initial = 2}) ==
        "token_bucket: initial must be from 0 to burst, got 2");
  CHECK(message_of({.rate = rate::per_second(1), .burst = 1, .initial = -1}) ==
        "token_bucket: initial must be from 0 to burst, got -1");
  CHECK(message_of({.rate = rate{1, 24h}, .burst = most}).find("2^61 ns, got a burst of") !=
        std::string::npos);
  CHECK(message_of({.rate = rate::zero(), .burst = most}).find("2^61, got") != std::string::npos);
  CHECK(message_of({.rate = rate{most, 1s}, .burst = 1}).find("2^31 tokens in lowest terms") !=
        std::string::npos);
}

TEST_CASE("asking for more than the burst is refused for ever and takes nothing", "[token_bucket]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 3}, clock.source()};
  for (const std::uint64_t n : {std::uint64_t{4}, std::numeric_limits<std::uint64_t>::max()}) {
    CHECK(bucket.try_acquire(n).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
    CHECK(bucket.acquire(n).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
    CHECK(bucket.reserve(n).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  }
  CHECK(bucket.available_approx() == 3);
}

TEST_CASE("hundreds of millions a second come out exactly", "[token_bucket]") {
  // GCRA-07, and the longest and shortest rates there are
  for (const std::int64_t tokens :
       {300'000'000, 600'000'000, 700'000'000, 999'999'999, 1'000'000'000, 3, 1}) {
    INFO(tokens);
    manual_clock clock{time_point{12'345'678'901ns}};
    basic_token_bucket bucket{{.rate = rate::per_second(tokens), .burst = tokens, .initial = 0},
                              clock.source()};
    for (int second = 0; second < 5; ++second) {
      clock.advance(1s - 1ns);
      CHECK(bucket.available_approx() == tokens - 1);
      clock.advance(1ns);
      CHECK(bucket.try_acquire(static_cast<std::uint64_t>(tokens)));
    }
  }
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate{1, 24h}, .burst = 400, .initial = 0}, clock.source()};
  clock.advance(24h * 365 - 1ns);
  CHECK(bucket.available_approx() == 364);
  clock.advance(1ns);
  CHECK(bucket.available_approx() == 365);
}

TEST_CASE("a caller that is always there gets the rate, not a rounded one", "[token_bucket]") {
  // GCRA-07
  for (const std::int64_t tokens : {300'000'000, 600'000'000, 700'000'000, 999'999'999, 3'000}) {
    INFO(tokens);
    manual_clock clock;
    // Booking, with a burst of 1: the k-th acts when k tokens have come, to the nanosecond.
    basic_token_bucket booked{{.rate = rate::per_second(tokens), .burst = 1, .initial = 0}, clock.source()};
    bool exact = true;
    for (std::int64_t k = 1; k <= 30'000; ++k) {
      auto one = booked.reserve(1);
      exact = exact && one->act_at() == time_point{duration{(k * 1'000'000'000 - 1) / tokens + 1}};
      std::move(*one).use();
    }
    CHECK(exact);
    // Asking each nanosecond.  A burst of 1 could not hold the fraction of a token that comes between.
    basic_token_bucket asked{{.rate = rate::per_second(tokens), .burst = 2, .initial = 0}, clock.source()};
    std::int64_t granted = 0;
    for (int ns = 1; ns <= 100'000; ++ns) {
      granted += asked.try_acquire_at(time_point{duration{ns}}) ? 1 : 0;
    }
    CHECK(granted == tokens / 10'000);
  }
}

TEST_CASE("the ends of time neither overflow nor mint", "[token_bucket]") {
  for (const std::int64_t tokens : {1, 999'999'999}) {
    manual_clock clock{time_point::min()};
    basic_token_bucket bucket{{.rate = rate::per_second(tokens), .burst = 5}, clock.source()};
    CHECK(bucket.try_acquire(5));
    CHECK(bucket.try_acquire_at(time_point::max(), 5));
    CHECK_FALSE(bucket.try_acquire_at(time_point::max()));
    CHECK_FALSE(bucket.try_acquire_at(time_point::min()));
    CHECK(bucket.reserve(1)->act_at() == time_point::max());
  }
}

TEST_CASE("a reservation that is dropped gives its tokens back, one that is used does not",
          "[token_bucket]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 4}, clock.source()};
  {
    auto dropped = bucket.reserve(3);
    REQUIRE(dropped);
    CHECK(bucket.available_approx() == 1);
  }
  CHECK(bucket.available_approx() == 4);
  auto used = bucket.reserve(3);
  REQUIRE(used);
  std::move(*used).use();
  CHECK(bucket.available_approx() == 1);
  CHECK(bucket.stats().used == 1);
  CHECK(bucket.stats().cancelled == 1);
}

TEST_CASE("a reservation ends once, wherever it was moved to", "[token_bucket]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 4}, clock.source()};
  auto first = std::move(bucket.reserve(2)).value();
  auto second = std::move(bucket.reserve(2)).value();
  auto moved = std::move(first);
  CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move)
  std::move(first).use();
  first.cancel();
  CHECK(bucket.available_approx() == 0);
  second = std::move(moved);  // what was in `second` is cancelled
  CHECK(bucket.available_approx() == 2);
  second.cancel();
  second.cancel();
  std::move(second).use();
  CHECK(bucket.available_approx() == 4);
  CHECK(bucket.stats().used == 0);
  CHECK(bucket.stats().cancelled == 2);
}

TEST_CASE("a reconfigured bucket does with its tokens what it is told", "[token_bucket]") {
  struct row {
    held_tokens kept;
    std::int64_t held, burst, after;
  };
  const std::vector<row> rows{{held_tokens::keep, 6, 20, 6},        {held_tokens::keep, 6, 4, 4},
                              {held_tokens::keep, -3, 4, -3},       {held_tokens::proportional, 6, 20, 12},
                              {held_tokens::proportional, 6, 5, 3}, {held_tokens::proportional, -3, 20, -3},
                              {held_tokens::additive, 6, 20, 16},   {held_tokens::additive, 6, 5, 1},
                              {held_tokens::additive, 6, 2, 0},     {held_tokens::additive, -3, 20, 7},
                              {held_tokens::additive, -3, 5, -3},   {held_tokens::reset, 6, 20, 20},
                              {held_tokens::reset, -3, 5, 5}};
  for (const row& r : rows) {
    INFO(static_cast<int>(r.kept) << " held " << r.held << " burst " << r.burst);
    manual_clock clock;
    basic_token_bucket bucket{{.rate = rate::per_second(7), .burst = 10}, clock.source()};
    CHECK(bucket.try_acquire(r.held >= 0 ? static_cast<std::uint64_t>(10 - r.held) : 10));
    auto debt = bucket.reserve(r.held < 0 ? static_cast<std::uint64_t>(-r.held) : 0);
    bucket.reconfigure({.rate = rate{1, 1h}, .burst = r.burst}, r.kept);
    CHECK(bucket.available_approx() == r.after);
    std::move(*debt).use();
  }
}

TEST_CASE("a bucket can become unlimited, limited again, and stand still", "[token_bucket]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 2}, clock.source()};
  auto held = bucket.reserve(2);
  bucket.reconfigure({.rate = rate::unlimited()});
  for (int i = 0; i < 100; ++i) CHECK(bucket.try_acquire(1'000'000));
  CHECK(bucket.is_full_at(clock.now()));
  bucket.reconfigure({.rate = rate::per_second(1), .burst = 3});
  held->cancel();  // of before the tokens were forgotten: nothing comes back
  CHECK(bucket.available_approx() == 3);
  CHECK(bucket.try_acquire(2));
  bucket.reconfigure({.rate = rate::zero(), .burst = 3});
  clock.advance(1000h);
  CHECK(bucket.available_approx() == 1);
  CHECK(bucket.try_acquire());
  CHECK(bucket.try_acquire().error() == weir::refused_for_ever(refusal_reason::rate_limited));
}

TEST_CASE("a reconfiguration that is refused changes nothing", "[token_bucket]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 2}, clock.source()};
  CHECK_THROWS_AS(bucket.reconfigure({.rate = rate::per_second(1), .burst = 0}), std::invalid_argument);
  CHECK(bucket.try_acquire(2));
  clock.advance(1s);
  CHECK(bucket.available_approx() == 1);
}

TEST_CASE("a bucket is as new exactly when it is full again", "[token_bucket]") {
  // GCRA-08, the exact rule
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(3), .burst = 1}, clock.source()};
  CHECK(bucket.is_full_at(clock.now()));
  CHECK(bucket.try_acquire());
  CHECK_FALSE(bucket.is_full_at(time_point{333'333'333ns}));
  CHECK(bucket.is_full_at(time_point{333'333'334ns}));
}

TEST_CASE("each refusal is heard, and only bookings are counted", "[token_bucket]") {
  manual_clock clock;
  std::vector<refusal> heard;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 1}, clock.source(), listener{&heard}};
  CHECK(bucket.try_acquire());
  CHECK_FALSE(bucket.try_acquire());
  CHECK_FALSE(bucket.try_acquire(2));
  CHECK_FALSE(bucket.reserve(1, 999ms));
  CHECK_FALSE(bucket.acquire_for(1, 999ms));
  CHECK(heard == std::vector<refusal>{{refusal_reason::rate_limited, 1s},
                                      {refusal_reason::exceeds_capacity, std::nullopt},
                                      {refusal_reason::timed_out, 1s},
                                      {refusal_reason::timed_out, 1s}});
  CHECK(bucket.stats().used == 0);
  CHECK(bucket.stats().refused == 2);
}

TEST_CASE("an observer that asks for it is told of each grant, and counts whole requests", "[token_bucket]") {
  struct grants {
    std::vector<std::uint64_t>* heard;
    void on_granted(std::uint64_t n) const noexcept { heard->push_back(n); }
    static void on_refused(const refusal&) noexcept {}
  };
  static_assert(weir::grant_observer<grants>);
  static_assert(!weir::grant_observer<listener>);
  manual_clock clock;
  std::vector<std::uint64_t> heard;
  weir::request_counts counts;
  basic_token_bucket told{{.rate = rate::per_second(1), .burst = 6}, clock.source(), grants{&heard}};
  basic_token_bucket counted{
      {.rate = rate::per_second(1), .burst = 6}, clock.source(), weir::counting_observer{counts}};
  const auto play = [](auto& bucket) {
    CHECK(bucket.try_acquire(0));
    CHECK(bucket.try_acquire(2));
    CHECK(bucket.acquire(3));
    CHECK_FALSE(bucket.try_acquire(7));
    CHECK_FALSE(bucket.acquire_for(2, 999ms));
    std::move(*bucket.reserve(1)).use();
    bucket.reserve(1)->cancel();
    bucket.reconfigure({.rate = rate::unlimited()});
    std::move(*bucket.reserve(9)).use();
    CHECK(bucket.stats().used == 2);
    CHECK(bucket.stats().cancelled == 1);
    CHECK(bucket.stats().refused == 1);
  };
  play(told);
  play(counted);
  CHECK(heard == std::vector<std::uint64_t>{0, 2, 3, 1, 9});
  CHECK(counts.granted.value() == 5);
  CHECK(counts.refused.value() == 2);
}
