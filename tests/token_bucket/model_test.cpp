// SPDX-License-Identifier: BSL-1.0
// Random scripts against a bucket written down in the most literal way, in 128 bits.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

#include "token_bucket/reference.hpp"

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::duration;
using weir::rate;
using weir::time_point;
using weir::testing::manual_clock;
using weir_test::literal_bucket;
using weir_test::wide;

namespace {

struct setting {
  std::int64_t tokens;
  std::int64_t per;
  std::int64_t burst;
};

template <class Random>
setting draw(Random& random) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  constexpr std::int64_t periods[]{1, 10, 1000, 1'000'000, 1'000'000'000, 60'000'000'000, 86'400'000'000'000};
  for (;;) {
    setting s{1 + below(below(2) == 0 ? 100 : 1'500'000'000), periods[below(7)], 1 + below(1 << below(20))};
    const std::int64_t common = std::gcd(s.tokens, s.per);
    if (s.tokens / common > (std::int64_t{1} << 31)) continue;
    if (wide{s.burst} * (s.per / common) <= wide{1} << 61) return s;
  }
}

}  // namespace

TEST_CASE("every answer is that of the literal bucket", "[token_bucket][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  std::int64_t grants = 0;
  std::int64_t refusals = 0;
  for (int round = 0; round < 400; ++round) {
    const setting s = draw(random);
    CAPTURE(s.tokens, s.per, s.burst);
    const std::int64_t initial = below(s.burst + 1);
    manual_clock clock{time_point{duration{below(1'000'000'000'000)}}};
    basic_token_bucket bucket{{.rate = rate{s.tokens, duration{s.per}}, .burst = s.burst, .initial = initial},
                              clock.source()};
    literal_bucket model{s.tokens, s.per, s.burst, wide{initial} * s.per,
                         clock.now().time_since_epoch().count()};
    bool same = true;
    for (int i = 0; i < 500 && same; ++i) {
      // Steps around the time of a token, and now and then far beyond the range of one word.
      const std::int64_t token = std::max<std::int64_t>(2, 2 * s.per / s.tokens);
      const std::int64_t step = below(50) == 0 ? below(std::int64_t{1} << (20 + below(33))) : below(token);
      clock.advance(duration{step});
      model.settle(clock.now().time_since_epoch().count());
      same = same && bucket.available_approx() == model.tokens();
      const std::int64_t n = 1 + below(below(3) == 0 ? s.burst : std::min<std::int64_t>(3, s.burst));
      switch (below(4)) {
        case 0: {
          // booked ahead and cancelled at once: as if it had not been
          auto booked = bucket.reserve(static_cast<std::uint64_t>(n));
          if (booked) {
            same =
                same && booked->act_at() == clock.now() + duration{static_cast<std::int64_t>(model.wait(n))};
            if (below(2) == 0) {
              booked->cancel();
            } else {
              std::move(*booked).use();
              model.units -= wide{n} * model.q;
            }
          }
          break;
        }
        default: {
          const auto answer = bucket.try_acquire(static_cast<std::uint64_t>(n));
          const wide wait = model.wait(n);
          same = same && answer.has_value() == model.take(n);
          if (!answer) same = same && answer.error().retry_after->count() == wait;
          (answer ? grants : refusals) += 1;
        }
      }
      same = same && bucket.available_approx() == model.tokens();
    }
    CHECK(same);
  }
  CHECK(grants > 1000);
  CHECK(refusals > 1000);
}

TEST_CASE("no window grants more than burst and rate allow, whatever the clock does",
          "[token_bucket][model]") {
  // I1, I3
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  for (int round = 0; round < 100; ++round) {
    setting s = draw(random);
    s.burst = std::min<std::int64_t>(s.burst, 50);
    manual_clock clock{time_point{1000h}};
    basic_token_bucket bucket{{.rate = rate{s.tokens, duration{s.per}}, .burst = s.burst}, clock.source()};
    struct grant {
      std::int64_t at;  // the latest instant that the clock had shown
      std::int64_t n;
    };
    std::vector<grant> grants;
    std::int64_t now = clock.now().time_since_epoch().count();
    std::int64_t latest = now;
    const std::int64_t token = std::max<std::int64_t>(2, s.per / s.tokens);
    for (int i = 0; i < 300; ++i) {
      now += below(5) == 0 ? -below(3 * token) : below(2 * token);
      latest = std::max(latest, now);
      clock.set(time_point{duration{now}});
      const std::int64_t n = 1 + below(std::min<std::int64_t>(4, s.burst));
      if (bucket.try_acquire(static_cast<std::uint64_t>(n))) grants.push_back({latest, n});
    }
    bool held = true;
    for (std::size_t a = 0; a < grants.size(); ++a) {
      wide sum = 0;
      for (std::size_t b = a; b < grants.size(); ++b) {
        sum += grants[b].n;
        held = held && sum <= s.burst + wide{grants[b].at - grants[a].at} * s.tokens / s.per;
      }
    }
    CHECK(held);
    CHECK_FALSE(grants.empty());
  }
}
