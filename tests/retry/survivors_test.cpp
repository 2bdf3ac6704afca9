// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of retry would have noticed.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <stop_token>
#include <vector>

#include <weir/backoff.hpp>
#include <weir/retry.hpp>
#include <weir/retry_budget.hpp>
#include <weir/testing/manual_clock.hpp>

#include "retry/support.hpp"

using namespace std::chrono_literals;
using retry_test::leaping_clock;
using weir::backoff_jitter;
using weir::backoff_options;
using weir::duration;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

using policy = weir::basic_retry<leaping_clock::view>;
using options = weir::basic_retry_options<leaping_clock::view>;
using budget = weir::basic_retry_budget<manual_clock::view>;

/// S. Vigna's splitmix64, as a number in [0, 1).
class splitmix64 {
 public:
  explicit splitmix64(std::uint64_t seed) noexcept : state_{seed} {}
  double operator()() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return std::ldexp(static_cast<double>((z ^ (z >> 31)) >> 11), -53);
  }

 private:
  std::uint64_t state_;
};

}  // namespace

TEST_CASE("the defaults of retry are those that are documented", "[retry]") {
  const auto made = [](auto o) { return o; };  // not at compile time
  const auto backoff = made(backoff_options{});
  CHECK(backoff.base == 100ms);
  CHECK(backoff.cap == 20s);
  CHECK(backoff.jitter == backoff_jitter::full);
  CHECK(made(options{}).max_attempts == 3);
  CHECK(made(weir::window_budget{}).window == 10s);
  CHECK(made(weir::window_budget{}).min_per_second == 10);
}

TEST_CASE("a bound of an option is within it", "[retry]") {
  CHECK_NOTHROW(weir::validate({.factor = 1}));
  CHECK_THROWS_AS(weir::validate({.factor = 0.99}), std::invalid_argument);
  CHECK_NOTHROW(weir::validate({.proportion = 0}));
  CHECK_THROWS_AS(weir::validate({.proportion = -0.01}), std::invalid_argument);
  CHECK_NOTHROW(weir::retry_budget{weir::token_budget{.per_success = 1000}});
  CHECK_NOTHROW(weir::retry_budget{weir::window_budget{.window = 10ns}});
  CHECK_NOTHROW(weir::retry_budget{weir::window_budget{.window = 1000s, .min_per_second = 1'000'000'000}});
  CHECK_THROWS_WITH(
      (weir::retry_budget{weir::window_budget{.window = 2000s, .min_per_second = 1'000'000'000}}),
      Catch::Matchers::ContainsSubstring("got 2000000000000."));
}

TEST_CASE("a draw from an empty interval is its beginning", "[retry]") {
  CHECK(weir::draw_between(5ns, 3ns, 0.5) == 5ns);
}

TEST_CASE("a refusal of a kind unknown here is not retried", "[retry]") {
  CHECK_FALSE(weir::retry_transient{}(refusal{static_cast<refusal_reason>(99)}).again);
}

TEST_CASE("the delays are those of splitmix64 from the seed, hints between them", "[retry]") {
  const backoff_options backoff{.base = 1ms, .cap = 1h, .jitter = backoff_jitter::decorrelated};
  leaping_clock clock;
  policy retry{options{.max_attempts = 12, .backoff = backoff, .budget = weir::no_retry_budget{}, .seed = 7},
               clock.source()};
  const auto hint = [](std::uint32_t attempt) { return attempt % 4 == 0 ? duration{10s} : duration{}; };
  (void)retry.call([&](std::uint32_t attempt) -> weir::outcome<int> {
    return refusal{refusal_reason::busy, hint(attempt)};
  });

  std::vector<duration> expected;
  splitmix64 draw{7};
  duration previous = backoff.base;
  std::uint32_t step = 0;
  for (std::uint32_t attempt = 1; attempt != 12; ++attempt) {
    const duration own = weir::backoff_delay(backoff, step++, previous, draw());
    const bool hinted = hint(attempt) > 0ns;
    expected.push_back(hinted ? std::max(own, hint(attempt)) : own);
    previous = hinted ? backoff.base : own;
    if (hinted) step = 0;
  }
  CHECK(clock.slept == expected);
}

TEST_CASE("a delay uses every bit of its draw", "[retry]") {
  const backoff_options backoff{.base = 1h, .cap = 1h, .jitter = backoff_jitter::full};  // 2^42 ns
  leaping_clock clock;
  policy retry{options{.max_attempts = 5, .backoff = backoff, .budget = weir::no_retry_budget{}, .seed = 7},
               clock.source()};
  (void)retry.call([] { return weir::outcome<int>{refusal{refusal_reason::busy}}; });

  std::vector<duration> expected;
  splitmix64 draw{7};
  for (std::uint32_t step = 0; step != 4; ++step)
    expected.push_back(weir::backoff_delay(backoff, step, 1h, draw()));
  CHECK(clock.slept == expected);
}

TEST_CASE("policies without a seed draw delays of their own", "[retry]") {
  const auto slept = [] {
    leaping_clock clock;
    policy retry{options{.backoff = {.base = 1h, .cap = 1h}}, clock.source()};
    (void)retry.call([] { return weir::outcome<int>{refusal{refusal_reason::busy}}; });
    CHECK(clock.slept.size() == 2);
    return clock.slept;
  };
  CHECK(slept() != slept());
}

TEST_CASE("the first delay is the base, and one of nothing is no sleep", "[retry]") {
  leaping_clock clock;
  const auto fail = [] { return weir::outcome<int>{refusal{refusal_reason::busy}}; };
  SECTION("the base") {
    policy retry{options{.backoff = {.jitter = backoff_jitter::none}}, clock.source()};
    (void)retry.call(fail);
    CHECK(clock.slept == std::vector<duration>{100ms, 200ms});
  }
  SECTION("nothing") {
    policy retry{options{.backoff = {.base = 0ns}}, clock.source()};
    (void)retry.call(fail);
    CHECK(clock.slept.empty());
    CHECK(retry.stats().retries == 2);
  }
}

TEST_CASE("a call that was never tried counts by its cause", "[retry]") {
  leaping_clock clock;
  policy retry{options{}, clock.source()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(retry.call([] { return 1; }, {}, stop.get_token()).error() == refusal{refusal_reason::cancelled});
  CHECK(retry.stats().cancelled == 1);
  CHECK(retry.call([] { return 1; }, clock.now).error() == refusal{refusal_reason::timed_out});
  CHECK(retry.stats().past_deadline == 1);
}

TEST_CASE("without a budget a sleep that ends too late ends the call", "[retry]") {
  leaping_clock clock;
  clock.overshoot = 1h;
  policy retry{options{.budget = weir::no_retry_budget{}, .seed = 1}, clock.source()};
  CHECK_FALSE(
      retry.call([] { return weir::outcome<int>{refusal{refusal_reason::busy}}; }, clock.now + 30min));
  CHECK(retry.stats().past_deadline == 1);
}

TEST_CASE("a budget is exact to a millionth of a retry", "[retry]") {
  manual_clock clock;
  SECTION("token form") {
    budget b{weir::token_budget{.capacity = 1, .per_success = 0.999999}, clock.source()};
    CHECK(b.try_withdraw());
    b.deposit();
    CHECK_FALSE(b.try_withdraw());
  }
  SECTION("window form") {
    budget b{weir::window_budget{.ratio = 0.999999, .min_per_second = 0}, clock.source()};
    b.deposit();
    CHECK_FALSE(b.try_withdraw());
    CHECK(b.available_approx() == 0);
    clock.advance(2s);  // another slot
    b.deposit();
    CHECK(b.try_withdraw());
    CHECK_FALSE(b.try_withdraw());
  }
  SECTION("window form, in a slot that is used for the first time") {
    clock.set(time_point{1s});
    budget b{weir::window_budget{.ratio = 0.999999, .min_per_second = 0}, clock.source()};
    b.deposit();
    CHECK_FALSE(b.try_withdraw());
    b.deposit();
    CHECK(b.try_withdraw());
    CHECK_FALSE(b.try_withdraw());
  }
  SECTION("window form, from before its first slots") {
    budget b{weir::window_budget{.ratio = 0.999995, .min_per_second = 0}, clock.source()};
    b.deposit();
    CHECK_FALSE(b.try_withdraw());
  }
}

TEST_CASE("a success counts to the end of its window, before the clock's zero too", "[retry]") {
  for (const duration earned : {duration{-500ms}, duration{-1s}}) {  // both in the slot from -1 s to 0
    manual_clock clock{time_point{earned}};
    budget b{weir::window_budget{.window = 10s, .ratio = 1, .min_per_second = 0}, clock.source()};
    b.deposit();
    CHECK(b.available_approx() == 1);
    clock.set(time_point{9s - 1ns});
    CHECK(b.available_approx() == 1);
    clock.advance(1ns);
    CHECK(b.available_approx() == 0);
  }
}

TEST_CASE("a retry that is given back counts when it was taken, unless that is a window ago", "[retry]") {
  manual_clock clock;
  budget b{weir::window_budget{.window = 10s, .ratio = 1, .min_per_second = 0}, clock.source()};
  b.deposit();
  clock.set(time_point{5s});
  b.refund(time_point{5s});
  clock.set(time_point{11s});
  CHECK(b.available_approx() == 1);  // that of the success is over
  b.deposit();
  b.refund(time_point{1s});  // a window ago
  CHECK(b.available_approx() == 2);
  b.refund(time_point{2s});  // just not
  CHECK(b.available_approx() == 3);
}
