// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include <weir/backoff.hpp>

using namespace std::chrono_literals;
using weir::backoff_delay;
using weir::backoff_growth;
using weir::backoff_jitter;
using weir::backoff_options;
using weir::duration;
using weir::plain_delay;

TEST_CASE("delays grow by their form up to the cap", "[retry]") {  // RT-01
  struct row {
    backoff_options options;
    std::vector<duration> delays;
  };
  const auto forever = duration::max();
  const std::vector<row> rows{
      {{.base = 2s, .factor = 2, .cap = 30s}, {2s, 4s, 8s, 16s, 30s, 30s}},
      {{.base = 500ms, .factor = 1.5, .cap = forever}, {500ms, 750ms, 1125ms, 1687500us}},
      {{.base = 1s, .factor = 2, .cap = forever}, {1s, 2s, 4s, 8s}},
      {{.growth = backoff_growth::linear, .base = 1s, .cap = forever}, {1s, 2s, 3s, 4s}},
      {{.growth = backoff_growth::linear, .base = 2s, .cap = 5s}, {2s, 4s, 5s, 5s}},
      {{.growth = backoff_growth::constant, .base = 3s, .cap = 3s}, {3s, 3s, 3s}},
      {{.base = 0s, .factor = 2, .cap = forever}, {0s, 0s, 0s}},
  };
  for (const row& r : rows) {
    for (std::uint32_t n = 0; n < r.delays.size(); ++n) CHECK(plain_delay(r.options, n) == r.delays[n]);
  }
}

TEST_CASE("what would overflow is the cap, at any attempt", "[retry]") {  // RT-02
  for (const auto growth : {backoff_growth::exponential, backoff_growth::linear}) {
    for (const duration cap : {duration::max(), duration{24h}}) {
      const backoff_options o{.growth = growth, .base = 24h, .factor = 2, .cap = cap};
      for (const std::uint32_t n : {200'000U, 1'000'000U, std::numeric_limits<std::uint32_t>::max()}) {
        CHECK(plain_delay(o, n) == cap);
      }
    }
  }
  CHECK(plain_delay({.base = 1s, .cap = duration::max()}, 1000) == duration::max());
  CHECK(plain_delay({.base = 1s, .cap = 24h}, 1000) == 24h);
  CHECK(plain_delay({.base = 0s, .factor = 1e300, .cap = 1s}, 4'000'000'000U) == 0s);
}

TEST_CASE("a draw falls between its ends, in proportion", "[retry]") {  // RT-04
  struct row {
    int low, high;
    double r;
    int result;
  };
  for (const row& t : std::vector<row>{{10, 100, 0, 10},
                                       {10, 100, 0.25, 32},
                                       {10, 100, 0.5, 55},
                                       {10, 100, 0.75, 77},
                                       {10, 100, 1, 100},
                                       {50, 500, 0.25, 162},
                                       {5000, 50000, 0.25, 16250}}) {
    CHECK(weir::draw_between(duration{t.low}, duration{t.high}, t.r) == duration{t.result});
  }
  CHECK(weir::draw_between(0ns, duration::max(), 1) == duration::max());
  CHECK(weir::draw_between(5ns, 5ns, 0.5) == 5ns);

  // The rows of the table with a factor or an absolute width; theirs grows as r falls, ours with r.
  struct spread {
    int delay;
    double proportion;
    double r;
    int result;
  };
  for (const spread& t : std::vector<spread>{{100, 0.5, 0, 150},
                                             {100, 0.5, 0.25, 125},
                                             {100, 0.5, 0.5, 100},
                                             {100, 0.5, 0.75, 75},
                                             {100, 0.5, 1, 50},
                                             {500, 0.5, 0.25, 625},
                                             {500, 0.5, 0.75, 375},
                                             {50000, 0.1, 0.25, 52500}}) {
    const backoff_options o{.growth = backoff_growth::constant,
                            .base = duration{t.delay},
                            .cap = duration::max(),
                            .jitter = backoff_jitter::proportional,
                            .proportion = t.proportion};
    CHECK(backoff_delay(o, 0, o.base, 1 - t.r) == duration{t.result});
  }
}

TEST_CASE("full, equal and decorrelated jitter are as published", "[retry]") {  // RT-05
  struct row {
    backoff_jitter jitter;
    std::uint32_t n;
    duration previous;
    double r;
    duration delay;
  };
  using enum backoff_jitter;
  for (const row& t : std::vector<row>{{none, 3, 0ms, 0.5, 800ms},
                                       {full, 0, 0ms, 0.5, 50ms},
                                       {full, 3, 0ms, 0.5, 400ms},
                                       {full, 10, 0ms, 0.5, 1000ms},
                                       {full, 3, 0ms, 0, 0ms},
                                       {equal, 3, 0ms, 0, 400ms},
                                       {equal, 3, 0ms, 1, 800ms},
                                       {equal, 10, 0ms, 0.5, 1500ms},
                                       {decorrelated, 0, 100ms, 0.5, 200ms},
                                       {decorrelated, 1, 200ms, 0.5, 350ms},
                                       {decorrelated, 2, 1000ms, 1, 2000ms}}) {
    const backoff_options o{.base = 100ms, .cap = 2000ms, .jitter = t.jitter};
    CHECK(backoff_delay(o, t.n, t.previous, t.r) == t.delay);
  }
}

TEST_CASE("jitter survives the cap and never exceeds it", "[retry]") {  // RT-17
  constexpr std::uint32_t seed = 17;
  INFO("seed " << seed);
  std::mt19937_64 random{seed};
  std::uniform_real_distribution<double> uniform{0, 1};
  constexpr int draws = 20'000;
  using enum backoff_jitter;
  for (const auto jitter : {full, equal, proportional, decorrelated}) {
    const backoff_options o{.base = 500ms, .cap = 10s, .jitter = jitter};
    int at_cap = 0;
    duration largest{};
    duration smallest = duration::max();
    for (int i = 0; i < draws; ++i) {
      const duration d = backoff_delay(o, 20, o.cap, uniform(random));
      at_cap += d == o.cap ? 1 : 0;
      largest = std::max(largest, d);
      smallest = std::min(smallest, d);
    }
    CHECK(largest <= o.cap);
    CHECK(smallest >= 0s);
    CHECK(smallest < 6s);
    if (jitter == decorrelated) {
      CHECK(std::abs(at_cap / double{draws} - 0.678) < 0.02);
    } else {
      CHECK(at_cap == 0);
    }
  }
}

TEST_CASE("no delay is negative or above the cap, at the ends of every range", "[retry]") {
  using enum backoff_jitter;
  constexpr std::int64_t odd = (std::int64_t{1} << 53) + 3;  // what a double cannot hold
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (const auto jitter : {none, full, equal, proportional, decorrelated}) {
    for (const auto growth :
         {backoff_growth::constant, backoff_growth::linear, backoff_growth::exponential}) {
      for (const std::int64_t base : {std::int64_t{0}, std::int64_t{1}, odd, most - 1, most}) {
        for (const std::int64_t cap : {base, base + (most - base) / 2, most}) {
          for (const double proportion : {0.0, 0.5, 1.0}) {
            const backoff_options o{growth, duration{base}, 1e300, duration{cap}, jitter, proportion};
            validate(o);
            for (const std::uint32_t n : {0U, 1U, 63U, std::numeric_limits<std::uint32_t>::max()}) {
              for (const double r : {0.0, 0.5, 1 - 0x1p-53}) {
                const duration d = backoff_delay(o, n, o.cap, r);
                CAPTURE(static_cast<int>(jitter), static_cast<int>(growth), base, cap, proportion, n, r,
                        d.count());
                if (d < 0ns || d > o.cap) FAIL("out of range");
              }
            }
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("a back-off out of range is refused with the value that was given", "[retry]") {
  CHECK_THROWS_AS(weir::validate({.base = -1ns}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.base = 2s, .cap = 1s}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.factor = 0.5}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.factor = std::nan("")}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.factor = std::numeric_limits<double>::infinity()}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.proportion = 1.5}), std::invalid_argument);
  CHECK_THROWS_AS(weir::validate({.proportion = std::nan("")}), std::invalid_argument);
  CHECK_NOTHROW(weir::validate({.base = 0ns}));
}
