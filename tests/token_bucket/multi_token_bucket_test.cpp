// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

#include "token_bucket/bandwidths_reference.hpp"

using namespace std::chrono_literals;
using weir::bandwidth;
using weir::duration;
using weir::held_tokens;
using weir::outcome;
using weir::rate;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;
using weir_test::literal_bandwidths;
using weir_test::wide;

namespace {

using bucket_type = weir::basic_multi_token_bucket<manual_clock::view>;

const bandwidth quick{.rate = {1, 10ns}, .burst = 3};
const bandwidth slow{.rate = {1, 100ns}, .burst = 5};

static_assert(!std::is_copy_constructible_v<bucket_type>);
static_assert(std::is_nothrow_move_constructible_v<bucket_type::reservation>);
static_assert(noexcept(std::declval<bucket_type&>().try_acquire()));

std::string message_of(const std::vector<bandwidth>& bands) {
  try {
    weir::multi_token_bucket bucket{bands};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("bands that cannot be are refused with a sentence that says what was given",
          "[multi_token_bucket]") {
  CHECK(message_of({}) == "multi_token_bucket: needs a bandwidth, got none");
  CHECK(message_of({quick, {.rate = {1, 1s}, .burst = 0}}) == "token_bucket: burst must be positive, got 0");
  const time_point at{};
  CHECK(message_of({{.rate = {0, 1s}, .burst = 1, .refill_at = at}}) ==
        "multi_token_bucket: tokens that come at once must be from 1 to 2^61, got 0");
  CHECK(message_of({{.rate = {1, 0s}, .burst = 1, .refill_at = at}}) ==
        "token_bucket: rate must be for a positive duration, got nanoseconds: 0");
  CHECK(message_of({{.rate = {1, 1s}, .burst = 1, .initial = 2, .refill_at = at}}) ==
        "multi_token_bucket: initial must be from 0 to burst, got 2");
  CHECK(message_of({{.rate = {1, 1s}, .burst = 1, .initial = -1, .refill_at = at}}) ==
        "multi_token_bucket: initial must be from 0 to burst, got -1");
  CHECK(message_of({{.rate = rate::unlimited(), .refill_at = at}, quick}) == "none");
}

TEST_CASE("what one band refuses is taken from none", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  CHECK(bucket.available_approx() == 3);
  CHECK(bucket.try_acquire(3));
  CHECK(bucket.try_acquire().error().retry_after == 10ns);
  clock.advance(20ns);
  CHECK(bucket.try_acquire(2));
  clock.advance(30ns);  // the slow one is empty now, the quick one full
  const auto refused = bucket.try_acquire(2);
  CHECK(refused.error() == weir::refusal{refusal_reason::rate_limited, 150ns});
  CHECK(bucket.try_acquire(4).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  clock.advance(50ns);
  CHECK(bucket.available_approx() == 1);
  CHECK(bucket.try_acquire());
  clock.advance(200ns);
  CHECK(bucket.try_acquire(2));  // of the quick one nothing was lost
  CHECK(bucket.try_acquire(0));
}

TEST_CASE("every verb answers too much, never and nothing in the same way", "[multi_token_bucket]") {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  manual_clock clock;
  bucket_type bucket{{quick, {.rate = rate::zero(), .burst = 2, .initial = 0}}, clock.source()};
  const auto too_much = weir::refused_for_ever(refusal_reason::exceeds_capacity);
  const auto never = weir::refused_for_ever(refusal_reason::rate_limited);
  for (const std::uint64_t n : {std::uint64_t{3}, huge}) {
    CHECK(bucket.try_acquire(n).error() == too_much);
    CHECK(bucket.acquire(n).error() == too_much);
    CHECK(bucket.reserve(n).error() == too_much);
  }
  CHECK(bucket.try_acquire().error() == never);
  CHECK(bucket.acquire().error() == never);
  CHECK(bucket.acquire_for(1, 1h).error() == never);
  CHECK(bucket.reserve().error() == never);
  CHECK(bucket.acquire_for(0, -1s));
  CHECK(bucket.reserve(0)->act_at() == clock.now());
  bucket_type open{{{.rate = rate::unlimited()}, {.rate = rate::unlimited()}}, clock.source()};
  CHECK(open.try_acquire(huge));
  CHECK(open.available_approx() == std::numeric_limits<std::int64_t>::max());
  CHECK(open.is_full_at(clock.now()));
  CHECK(open.is_as_new_at(clock.now()));
}

TEST_CASE("a clock that steps back mints nothing in any band", "[multi_token_bucket]") {
  manual_clock clock{time_point{100ns}};
  bucket_type bucket{{quick, slow}, clock.source()};
  CHECK(bucket.try_acquire(3));
  clock.set(time_point{0ns});
  CHECK(bucket.try_acquire().error().retry_after == 110ns);
  clock.set(time_point{100ns});
  CHECK_FALSE(bucket.try_acquire());
  clock.set(time_point{110ns});
  CHECK(bucket.try_acquire());
  CHECK_FALSE(bucket.try_acquire());
}

TEST_CASE("who has booked is not passed, and while he waits nothing is there", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  CHECK(bucket.try_acquire(3));
  auto two = bucket.reserve(3);
  REQUIRE(two);
  CHECK(two->act_at() == time_point{100ns});  // the slow one had 2
  clock.advance(99ns);
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.try_acquire().error().retry_after == 101ns);
  CHECK_FALSE(bucket.is_full_at(clock.now()));
  clock.advance(1ns);
  std::move(*two).use();
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.stats().used == 1);
}

TEST_CASE("a booking counts in every band when it acts, not when the quickest would have let it",
          "[multi_token_bucket]") {
  // The quick band would be full again long before the slow one lets the booking act; in the window that begins
  // there it grants its burst and no more.
  manual_clock clock;
  bucket_type bucket{{quick, {.rate = {100, 10'000ns}, .burst = 100, .initial = 0}}, clock.source()};
  auto booked = bucket.reserve(3);
  CHECK(booked->act_at() == time_point{300ns});
  clock.set(booked->act_at());
  std::move(*booked).use();
  bucket.add(0);
  CHECK_FALSE(bucket.try_acquire());
  bucket.reconfigure({quick, {.rate = rate::unlimited()}});
  CHECK_FALSE(bucket.try_acquire());
  clock.advance(10ns);
  CHECK(bucket.try_acquire());
  CHECK_FALSE(bucket.try_acquire());
}

TEST_CASE("a cancelled booking is as if it had never been, whoever has booked since",
          "[multi_token_bucket]") {
  manual_clock clock;
  const auto never = [&](bool cancelled) {
    bucket_type bucket{{quick, slow}, clock.source()};
    CHECK(bucket.try_acquire(3));
    std::vector<time_point> acts;
    if (cancelled) {
      auto first = bucket.reserve(2);
      auto second = bucket.reserve(3);
      second->cancel();
      first->cancel();
    }
    for (const std::uint64_t n : {2U, 3U, 1U}) {
      auto booked = bucket.reserve(n);
      acts.push_back(booked->act_at());
      std::move(*booked).use();
    }
    return acts;
  };
  CHECK(never(true) == never(false));
  bucket_type bucket{{quick, slow}, clock.source()};
  auto first = bucket.reserve(3);
  auto second = bucket.reserve(3);
  CHECK(second->act_at() == clock.now() + 100ns);
  first->cancel();
  clock.set(second->act_at());
  std::move(*second).use();
  CHECK(bucket.available_approx() == 0);  // of the quick one
  clock.advance(30ns);
  CHECK(bucket.available_approx() == 2);  // of the slow one, which was full and lost 3
  CHECK(bucket.stats().cancelled == 1);
}

TEST_CASE("a booking whose time has come gives nothing back", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  auto gone = bucket.reserve(3);
  clock.advance(1ns);
  CHECK(bucket.try_acquire(0));
  gone->cancel();
  CHECK(bucket.available_approx() == 0);
  auto now = bucket.reserve(1);
  CHECK(now->act_at() == clock.now() + 9ns);
  clock.advance(9ns);
  now->cancel();  // at that very instant it does
  CHECK(bucket.available_approx() == 1);
}

TEST_CASE("a reservation ends once, wherever it was moved to", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  auto first = std::move(bucket.reserve(1)).value();
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
  CHECK(bucket.available_approx() == 3);
  CHECK(bucket.stats().used == 0);
  CHECK(bucket.stats().cancelled == 2);
}

TEST_CASE("waiters of several bands are served in the order they came", "[multi_token_bucket][waiting]") {
  manual_clock clock;
  bucket_type bucket{{quick, {.rate = {1, 100ns}, .burst = 3, .initial = 0}}, clock.source()};
  std::vector<outcome<void>> got(3);
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i < got.size(); ++i) {
    waiters.emplace_back([&, i] { got[i] = bucket.acquire(i == 0 ? 2 : 1); });
    clock.await_sleepers(i + 1);
  }
  clock.advance(100ns);
  CHECK(clock.sleepers() == 3);
  for (std::size_t i = 0; i < got.size(); ++i) {
    clock.advance(100ns);
    waiters[i].join();
    CHECK(got[i]);
    CHECK(clock.sleepers() == got.size() - i - 1);
    CHECK_FALSE(bucket.try_acquire());
  }
}

TEST_CASE("a waiter for several bands that is stopped gives everything back",
          "[multi_token_bucket][waiting]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  CHECK(bucket.try_acquire(3));
  std::stop_source stop;
  outcome<void> got;
  std::thread waiter{[&] { got = bucket.acquire(3, stop.get_token()); }};
  clock.await_sleepers(1);
  stop.request_stop();
  waiter.join();
  CHECK(got.error().reason == refusal_reason::cancelled);
  clock.advance(20ns);
  CHECK(bucket.available_approx() == 2);
  CHECK(bucket.acquire(1, stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK(bucket.available_approx() == 2);
  const auto refused = bucket.acquire_for(3, 9ns);
  CHECK(refused.error() == weir::refusal{refusal_reason::timed_out, 80ns});
  CHECK(bucket.reserve(3, 79ns).error() == weir::refusal{refusal_reason::timed_out, 80ns});
  CHECK(bucket.stats().refused == 2);
  CHECK(bucket.acquire_until(2, time_point{-1s}));  // there now, whatever the deadline
}

TEST_CASE("other bands keep what those in their place held, by the policy", "[multi_token_bucket]") {
  struct row {
    held_tokens kept;
    std::int64_t burst, after;
  };
  const time_point soon{1h};
  for (const row& r : std::vector<row>{{held_tokens::keep, 20, 6},
                                       {held_tokens::keep, 4, 4},
                                       {held_tokens::proportional, 20, 12},
                                       {held_tokens::additive, 20, 16},
                                       {held_tokens::additive, 2, 0},
                                       {held_tokens::reset, 20, 20}}) {
    for (const bool from_lump : {false, true}) {
      for (const bool to_lump : {false, true}) {
        INFO(static_cast<int>(r.kept) << " burst " << r.burst << from_lump << to_lump);
        manual_clock clock;
        bandwidth before{.rate = {1, 1h}, .burst = 10};
        bandwidth after{.rate = {1, 1h}, .burst = r.burst};
        if (from_lump) before.refill_at = soon;
        if (to_lump) after.refill_at = soon;
        bucket_type bucket{{before}, clock.source()};
        CHECK(bucket.try_acquire(4));
        CHECK(bucket.is_as_new_at(soon + 4h));
        bucket.reconfigure({after, {.rate = {1, 1h}, .burst = 50}}, r.kept);
        CHECK(bucket.available_approx() == r.after);
        CHECK_FALSE(bucket.is_as_new_at(clock.now() + 1000h));
      }
    }
  }
}

TEST_CASE("what was booked keeps its time when the bands change, and who comes later is behind it",
          "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, {.rate = {1, 100ns}, .burst = 3, .initial = 0}}, clock.source()};
  auto booked = bucket.reserve(2);
  CHECK(booked->act_at() == time_point{200ns});
  CHECK_THROWS_AS(bucket.reconfigure({}), std::invalid_argument);
  CHECK_THROWS_AS(bucket.reconfigure({{.rate = {1, 1s}, .burst = 0}}), std::invalid_argument);
  SECTION("kept") {
    bucket.reconfigure({quick});
    CHECK(bucket.try_acquire().error().retry_after == 200ns);
    CHECK(bucket.reserve(1)->act_at() == time_point{200ns});
    booked->cancel();  // too late: it was settled by the change
    CHECK(bucket.try_acquire().error().retry_after == 200ns);
  }
  SECTION("forgotten") {
    bucket.reconfigure({quick}, held_tokens::reset);
    CHECK(bucket.try_acquire(3));
    booked->cancel();
    CHECK(bucket.available_approx() == 0);
  }
}

TEST_CASE("a bucket of several bands is as new when each of them is", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, slow}, clock.source()};
  CHECK(bucket.is_as_new_at(clock.now()));
  CHECK(bucket.try_acquire());
  CHECK_FALSE(bucket.is_as_new_at(time_point{99ns}));
  CHECK(bucket.is_as_new_at(time_point{100ns}));
  CHECK(bucket.is_as_new_at(time_point::max()));
  bucket.force_add(9);
  CHECK_FALSE(bucket.is_as_new_at(time_point{100ns}));
  bucket_type part{{quick, {.rate = {1, 10ns}, .burst = 3, .initial = 1}}, clock.source()};
  CHECK_FALSE(part.is_as_new_at(clock.now() + 1h));
  bucket_type still{{{.rate = rate::zero(), .burst = 3, .initial = 1}}, clock.source()};
  CHECK(still.is_as_new_at(clock.now()));
  for (const bool prorated : {false, true}) {
    bucket_type lumps{{{.rate = {5, 100ns}, .burst = 5, .refill_at = time_point{1us}, .prorated = prorated}},
                      clock.source()};
    CHECK(lumps.is_as_new_at(time_point{999ns}) == !prorated);  // one made then would start with less
    CHECK(lumps.is_as_new_at(time_point{1us}));
  }
}

TEST_CASE("the ends of time neither overflow nor mint in any band", "[multi_token_bucket]") {
  for (const std::int64_t tokens : {1, 999'999'999}) {
    manual_clock clock{time_point::min()};
    bucket_type bucket{{{.rate = rate::per_second(tokens), .burst = 5},
                        {.rate = {5, 1ns}, .burst = 5, .refill_at = time_point::min()}},
                       clock.source()};
    CHECK(bucket.try_acquire(5));
    CHECK(bucket.try_acquire_at(time_point::max(), 5));
    CHECK_FALSE(bucket.try_acquire_at(time_point::max()));
    CHECK_FALSE(bucket.try_acquire_at(time_point::min()));
    CHECK(bucket.available_at(time_point::min()) == 0);
  }
}

TEST_CASE("every answer for several bands is that of the literal ones", "[multi_token_bucket][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  int granted = 0;
  int refused = 0;
  int cancelled = 0;
  for (int round = 0; round != 600; ++round) {
    CAPTURE(round);
    manual_clock clock{time_point{duration{below(1000)}}};
    std::vector<bandwidth> bands;
    for (std::int64_t i = 1 + below(3); i != 0; --i) {
      const std::int64_t burst = 1 + below(8);
      bandwidth b{
          .rate = {1 + below(7), duration{1 + below(60)}}, .burst = burst, .initial = below(burst + 1)};
      if (below(4) == 0) b.refill_at = time_point{duration{below(1500)}};
      bands.push_back(b);
    }
    std::int64_t least = bands[0].burst;
    for (const bandwidth& b : bands) least = std::min(least, b.burst);
    bucket_type bucket{bands, clock.source()};
    literal_bandwidths model{bands, clock.now().time_since_epoch().count()};
    struct booking {
      bucket_type::reservation right;
      int id;
    };
    std::vector<booking> held;
    bool same = true;
    for (int step = 0; step != 60 && same; ++step) {
      clock.advance(duration{below(3) == 0 ? 0 : below(40)});
      const wide now = clock.now().time_since_epoch().count();
      const std::int64_t n = 1 + below(least);
      const wide at = model.fits_at(now, n);
      const auto wait = static_cast<std::int64_t>(model.ceil_ns(at) - now);
      switch (below(8)) {
        case 0:
        case 1:
        case 2: {
          const auto got = bucket.try_acquire(static_cast<std::uint64_t>(n));
          same = same && got.has_value() == (wait == 0);
          if (!got) same = same && got.error().retry_after == duration{wait};
          if (got) model.happens({-1, model.fine(now), n});
          (got ? granted : refused) += 1;
          break;
        }
        case 3:
        case 4:
        case 5: {
          auto got = bucket.reserve(static_cast<std::uint64_t>(n));
          same = same && got && got->act_at() == clock.now() + duration{wait};
          if (!got) break;
          model.happens({step, at, n});
          held.push_back({std::move(*got), step});
          break;
        }
        case 6: {
          if (held.empty()) break;
          const auto which = held.begin() + below(static_cast<std::int64_t>(held.size()));
          model.undo(which->id, now);
          held.erase(which);  // drops it
          ++cancelled;
          break;
        }
        default: {
          const bool force = below(2) == 0;
          const std::int64_t gift = below(4);
          force ? bucket.force_add(static_cast<std::uint64_t>(gift))
                : bucket.add(static_cast<std::uint64_t>(gift));
          model.give(now, gift, force ? literal_bandwidths::kind::forced : literal_bandwidths::kind::added);
        }
      }
      same = same && bucket.available_approx() == model.tokens(now);
    }
    CHECK(same);
    for (booking& b : held) std::move(b.right).use();
  }
  CHECK(granted > 1000);
  CHECK(refused > 1000);
  CHECK(cancelled > 1000);
}

TEST_CASE("what was given while somebody waited is there when nobody does any more", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{{.rate = rate::every(1s), .burst = 10, .initial = 0}}, clock.source()};
  auto booked = bucket.reserve(10);
  REQUIRE(booked);
  bucket.add(5);
  CHECK(bucket.available_approx() == 0);
  booked->cancel();
  CHECK(bucket.available_approx() == 5);
  CHECK(bucket.try_acquire(5));
  CHECK(bucket.try_acquire().error().retry_after == 1s);
}

TEST_CASE("what is taken after a gift stays taken when the booking before it is cancelled",
          "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{{.rate = {1, 1ns}, .burst = 2}}, clock.source()};
  CHECK(bucket.try_acquire(2));
  auto booked = bucket.reserve();
  bucket.add(4);
  clock.advance(1ns);
  CHECK(bucket.try_acquire());
  booked->cancel();
  CHECK(bucket.available_approx() == 1);
}

TEST_CASE("a booking of nothing undoes nothing", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{{.rate = rate::every(1s), .burst = 10, .initial = 0}}, clock.source()};
  auto first = bucket.reserve(1);
  bucket.add(9);
  {
    const auto nothing = bucket.reserve(0);
  }
  const auto second = bucket.reserve(9);
  REQUIRE(second);
  CHECK(second->act_at() == clock.now() + 1s);
  std::move(*first).use();
}

TEST_CASE("first tokens a long time away take nothing from the start", "[multi_token_bucket]") {
  manual_clock clock;
  const bandwidth far{.rate = {1'000'000'000, 1ns},
                      .burst = 1'000'000'001,
                      .refill_at = time_point{duration::max() / 2},
                      .prorated = true};
  CHECK(bucket_type{{far}, clock.source()}.available_approx() == 1'000'000'001);
  const bandwidth never{.rate = {1000, 1s}, .burst = 1001, .refill_at = time_point::max(), .prorated = true};
  CHECK(bucket_type{{never}, clock.source()}.available_approx() == 1001);
}

TEST_CASE("what would come after the end of time is not booked, wherever time began",
          "[multi_token_bucket]") {
  for (const duration start : {duration{10s}, duration{-10s}}) {
    manual_clock clock{time_point{start}};
    const bandwidth century{
        .rate = {1, 24h * 365 * 100}, .burst = 10, .initial = 0, .refill_at = time_point{start + 5s}};
    bucket_type bucket{{century}, clock.source()};
    CHECK(bucket.reserve(10).error() == weir::refused_for_ever(refusal_reason::rate_limited));
    CHECK(bucket.reserve(1).has_value());
  }
}
