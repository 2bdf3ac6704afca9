// SPDX-License-Identifier: BSL-1.0
// Scripts for several bandwidths; each row runs on the core and on the shell.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <weir/detail/bandwidth_core.hpp>
#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::bandwidth;
using weir::basic_multi_token_bucket;
using weir::duration;
using weir::rate;
using weir::refusal_reason;
using weir::time_point;
using weir::detail::bandwidth_core;
using weir::testing::manual_clock;

namespace {

using bucket_type = basic_multi_token_bucket<manual_clock::view>;

constexpr time_point origin{100'000s};

bandwidth even(std::int64_t burst, std::int64_t refill, std::int64_t initial) {
  return {.rate = {refill, 100ns}, .burst = burst, .initial = initial};
}
bandwidth even_in_ten(std::int64_t burst, std::int64_t refill, std::int64_t initial) {
  return {.rate = {refill, 10ns}, .burst = burst, .initial = initial};
}
bandwidth aligned(std::int64_t burst, std::int64_t refill, duration first) {
  return {.rate = {refill, 60s}, .burst = burst, .refill_at = time_point{first}};
}

}  // namespace

TEST_CASE("B4J-02: the wait is that of the band that has the longest", "[multi_token_bucket][table]") {
  struct row {
    std::int64_t n;
    std::vector<bandwidth> bands;
    duration wait;
  };
  const std::vector<row> rows{
      {10, {even(10, 10, 0)}, 100ns},
      {10, {even(10, 2, 0)}, 500ns},
      {7, {even(10, 10, 4)}, 30ns},
      // More than the band ever holds: the core says when as many will have come, the shell never.
      {11, {even(10, 10, 4)}, 70ns},
      {3, {even(10, 10, 1), even_in_ten(5, 5, 2)}, 20ns},
      {3, {even_in_ten(5, 5, 2), even(10, 10, 1)}, 20ns},
      {3, {even_in_ten(5, 5, 5), even(10, 10, 3)}, 0ns},
  };
  for (std::size_t i = 0; i != rows.size(); ++i) {
    const row& r = rows[i];
    INFO("row " << i);
    const bandwidth_core core{r.bands, origin};
    CHECK(core.fits_at(origin, r.n)->ceil() == origin + r.wait);

    manual_clock clock{origin};
    bucket_type bucket{r.bands, clock.source()};
    const auto got = bucket.try_acquire(static_cast<std::uint64_t>(r.n));
    CHECK(got.has_value() == (r.wait == 0ns));
    if (!got && r.n <= 10) CHECK(got.error() == weir::refusal{refusal_reason::rate_limited, r.wait});
    if (r.n > 10) CHECK(got.error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  }
}

TEST_CASE("B4J-07: a band that is refilled all at once starts with its share of the time that is left",
          "[multi_token_bucket][table]") {
  struct row {
    duration now, first;
    std::int64_t burst, refill, initial;
  };
  const std::vector<row> rows{
      {60s, 60s, 400, 400, 400},  {20s, 60s, 400, 400, 266}, {20s, 60s, 400, 300, 300},
      {20s, 60s, 400, 200, 333},  {20s, 60s, 400, 100, 366}, {60s + 1ms, 60s, 400, 100, 400},
      {20s, 180s, 400, 100, 400}, {20s, 60s, 100, 400, 100}, {59s, 60s, 100, 400, 6},
  };
  for (std::size_t i = 0; i != rows.size(); ++i) {
    const row& r = rows[i];
    INFO("row " << i);
    std::vector<bandwidth> bands{aligned(r.burst, r.refill, r.first)};
    bands[0].prorated = true;
    CHECK(bandwidth_core{bands, time_point{r.now}}.tokens(time_point{r.now}) == r.initial);
    manual_clock clock{time_point{r.now}};
    bucket_type bucket{bands, clock.source()};
    CHECK(bucket.available_approx() == r.initial);
  }
}

TEST_CASE("B4J-08: what is refilled all at once is there at its instant, not before",
          "[multi_token_bucket][table]") {
  const std::vector<bandwidth> bands{aligned(400, 200, 120s)};
  const auto at = [](std::int64_t s) { return time_point{std::chrono::seconds{s}}; };
  SECTION("core") {
    bandwidth_core core{bands, at(80)};
    CHECK(core.tokens(at(80)) == 400);
    core.take(at(80), 400);
    CHECK(core.tokens(at(90)) == 0);
    CHECK(core.fits_at(at(90), 1)->ceil() == at(120));
    CHECK(core.tokens(at(120)) == 200);
    CHECK(core.tokens(at(165)) == 200);
    CHECK(core.tokens(at(180)) == 400);
    CHECK(core.tokens(at(240)) == 400);
    core.take(at(240), 400);
    CHECK(core.fits_at(at(240), 401)->ceil() == at(420));
  }
  SECTION("shell") {
    manual_clock clock{at(80)};
    bucket_type bucket{bands, clock.source()};
    CHECK(bucket.available_approx() == 400);
    CHECK(bucket.try_acquire(400));
    clock.set(at(90));
    CHECK(bucket.available_approx() == 0);
    CHECK(bucket.try_acquire().error().retry_after == 30s);
    for (const auto& [s, held] : {std::pair{119, 0}, {120, 200}, {165, 200}, {180, 400}, {240, 400}}) {
      clock.set(at(s));
      CHECK(bucket.available_approx() == held);
    }
    CHECK(bucket.try_acquire(400));
    // More than it holds is never granted; booked one after the other it comes to the same.
    CHECK(bucket.try_acquire(401).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
    auto most = bucket.reserve(400);
    auto one = bucket.reserve(1);
    CHECK(most->act_at() == at(360));
    CHECK(one->act_at() == at(240) + 180s);
  }
}

TEST_CASE("B4J-10: what is given goes up to the burst, beyond it only by force",
          "[multi_token_bucket][table]") {
  struct row {
    std::int64_t holding;
    bool force;
    std::int64_t n, after;
  };
  const std::vector<row> rows{{0, false, 50, 50}, {50, false, 100, 100}, {100, false, 1, 100},
                              {0, true, 50, 50},  {50, true, 100, 150},  {100, true, 20, 120}};
  const auto both = {bandwidth{.rate = {100, 100ns}, .burst = 100},
                     bandwidth{.rate = {100, 100s}, .burst = 100, .refill_at = origin + 50s}};
  for (bandwidth band : both) {
    for (std::size_t i = 0; i != rows.size(); ++i) {
      const row& r = rows[i];
      INFO("row " << i << (band.refill_at ? ", all at once" : ", evenly"));
      band.initial = r.holding;
      bandwidth_core core{{band}, origin};
      core.add(origin, r.n, r.force);
      CHECK(core.tokens(origin) == r.after);

      manual_clock clock{origin};
      bucket_type bucket{{band}, clock.source()};
      r.force ? bucket.force_add(static_cast<std::uint64_t>(r.n))
              : bucket.add(static_cast<std::uint64_t>(r.n));
      CHECK(bucket.available_approx() == r.after);
      // Nothing comes back above the burst, and nothing is taken away.
      clock.advance(1000s);
      CHECK(bucket.available_approx() == std::max<std::int64_t>(100, r.after));
      CHECK(bucket.is_full_at(clock.now()) == (r.after <= 100));
      CHECK(bucket.try_acquire(30));
      CHECK(bucket.available_approx() == std::max<std::int64_t>(100, r.after) - 30);
    }
  }
}

TEST_CASE("the scripts of one band are those of a token bucket", "[multi_token_bucket][table]") {
  // B4J-01, B4J-04, B4J-05, B4J-11, B4J-13 and GCRA-01 once more, on an even band.
  struct request {
    duration at;
    std::uint64_t n;
    std::optional<duration> wait;  // granted if it is none
    std::int64_t left;
  };
  struct script {
    std::string name;
    bandwidth band;
    std::vector<request> rows;
  };
  const std::vector<script> scripts{
      {"B4J-01 remainder on top",
       {.rate = {100, 1000ns}, .burst = 100, .initial = 90},
       {{17ns, 92, 3ns, 91}, {20ns, 92, {}, 0}}},
      {"B4J-01 a full bucket drops the remainder",
       {.rate = {100, 1000ns}, .burst = 100, .initial = 0},
       {{18888ns, 100, {}, 0}, {18897ns, 1, 1ns, 0}, {18898ns, 1, {}, 0}}},
      {"B4J-04",
       {.rate = {10, 100ns}, .burst = 10, .initial = 0},
       {{97ns, 9, {}, 0}, {97ns, 1, 3ns, 0}, {100ns, 1, {}, 0}, {100ns, 1, 10ns, 0}}},
      {"B4J-05",
       {.rate = {1, 1s}, .burst = 4, .initial = 1},
       {{0ns, 1, {}, 0}, {200ms, 1, 800ms, 0}, {200ms, 3, 2800ms, 0}}},
      {"B4J-11",
       {.rate = {100, 100ns}, .burst = 100, .initial = 70},
       {{0ns, 80, 10ns, 70}, {0ns, 70, {}, 0}}},
      {"B4J-13", {.rate = rate::per_second(20), .burst = 100}, {{5s, 100, {}, 0}, {6s, 21, 50ms, 20}}},
      {"GCRA-01",
       {.rate = {1, 500ms}, .burst = 2},
       {{0ms, 1, {}, 1}, {1ms, 1, {}, 0}, {2ms, 1, 498ms, 0}, {1002ms, 1, {}, 1}}},
  };
  for (const script& s : scripts) {
    INFO(s.name);
    manual_clock clock{origin};
    bandwidth_core core{{s.band}, origin};
    bucket_type bucket{{s.band}, clock.source()};
    for (const request& r : s.rows) {
      const time_point t = origin + r.at;
      clock.set(t);
      CHECK(core.fits_at(t, static_cast<std::int64_t>(r.n))->ceil() == t + r.wait.value_or(0ns));
      if (!r.wait) core.take(t, static_cast<std::int64_t>(r.n));
      CHECK(core.tokens(t) == r.left);
      const auto got = bucket.try_acquire(r.n);
      CHECK(got.has_value() == !r.wait);
      if (!got) CHECK(got.error().retry_after == r.wait);
      CHECK(bucket.available_approx() == r.left);
    }
  }
}
