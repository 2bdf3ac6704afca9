// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <cstdint>
#include <stdexcept>

#include <weir/retry_budget.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::time_point;
using weir::token_budget;
using weir::window_budget;
using weir::testing::manual_clock;
using budget_on_manual = weir::basic_retry_budget<manual_clock::view>;

TEST_CASE("an empty window budget gives nothing", "[retry]") {  // RT-10
  manual_clock clock;
  budget_on_manual b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 0}, clock.source()};
  CHECK_FALSE(b.try_withdraw());
}

TEST_CASE("what was earned expires with the window", "[retry]") {  // RT-11
  manual_clock clock;
  budget_on_manual b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 0}, clock.source()};
  b.deposit();
  b.deposit();
  CHECK(b.available_approx() == 2);
  clock.advance(900ms);
  CHECK(b.try_withdraw());
  clock.advance(2100ms);
  CHECK_FALSE(b.try_withdraw());
}

TEST_CASE("the floor of a window is there without any traffic, and no more than it", "[retry]") {  // RT-13
  manual_clock clock;
  budget_on_manual b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 5}, clock.source()};
  for (int i = 0; i < 5; ++i) CHECK(b.try_withdraw());
  CHECK_FALSE(b.try_withdraw());
  clock.advance(1s);
  CHECK(b.available_approx() == 5);
}

TEST_CASE("the share of a budget is exact", "[retry]") {  // RT-14
  for (const int percent : {10, 20, 30, 50, 60, 70, 90}) {
    manual_clock clock;
    budget_on_manual window{window_budget{.window = 1s, .ratio = percent / 100.0, .min_per_second = 0},
                            clock.source()};
    weir::retry_budget tokens{token_budget{.capacity = 10'000, .per_success = percent / 100.0}};
    while (tokens.try_withdraw()) {
    }
    for (int i = 0; i < 1000; ++i) window.deposit();
    for (int i = 0; i < 1000; ++i) tokens.deposit();
    int from_window = 0;
    int from_tokens = 0;
    while (window.try_withdraw()) ++from_window;
    while (tokens.try_withdraw()) ++from_tokens;
    CHECK(from_window == percent * 10);
    CHECK(from_tokens == percent * 10);
  }
}

TEST_CASE("a token budget starts full and never holds more than its capacity", "[retry]") {
  weir::retry_budget b{token_budget{.capacity = 2, .per_success = 0.5}};
  for (int i = 0; i < 100; ++i) b.deposit();
  CHECK(b.available_approx() == 2);
  CHECK(b.try_withdraw());
  CHECK(b.try_withdraw());
  CHECK_FALSE(b.try_withdraw());
  b.deposit();
  CHECK_FALSE(b.try_withdraw());
  b.deposit();
  CHECK(b.try_withdraw());
  b.refund();
  CHECK(b.try_withdraw());
  CHECK(b.stats().withdrawn == 4);
  CHECK(b.stats().refused == 2);
}

TEST_CASE("what is given back late counts when it was taken: it mints nothing", "[retry]") {
  manual_clock clock{time_point{100s}};
  budget_on_manual b{window_budget{.window = 1s, .ratio = 0, .min_per_second = 5}, clock.source()};
  const time_point taken = clock.now();
  for (int i = 0; i < 5; ++i) CHECK(b.try_withdraw());
  clock.advance(950ms);
  for (int i = 0; i < 3; ++i) b.refund(taken);
  CHECK(b.available_approx() == 3);
  for (int i = 0; i < 3; ++i) CHECK(b.try_withdraw());
  clock.advance(100ms);
  CHECK(b.available_approx() == 2);  // 3 of this window are spent
  b.refund(taken);                   // the window that they were taken from is over
  CHECK(b.available_approx() == 2);
  clock.advance(10s);
  CHECK(b.available_approx() == 5);
}

TEST_CASE("a clock that steps back mints nothing and takes nothing away", "[retry]") {
  manual_clock clock{time_point{100s}};
  budget_on_manual b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 1}, clock.source()};
  CHECK(b.try_withdraw());
  b.deposit();
  clock.set(time_point{-50s});
  CHECK(b.available_approx() == 1);
  CHECK(b.try_withdraw());
  CHECK_FALSE(b.try_withdraw());
  clock.set(time_point{101s});
  CHECK(b.try_withdraw());
}

TEST_CASE("a retry is judged and recorded at one instant, also while the window moves on", "[retry]") {
  struct hurried_clock {  // passes a tenth of the window between any two looks
    std::int64_t* tenths;
    [[nodiscard]] weir::time_point now() const noexcept { return weir::time_point{100ms * (*tenths)++}; }
  };
  std::int64_t tenths = 0;
  weir::basic_retry_budget<hurried_clock> b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 1},
                                            hurried_clock{&tenths}};
  REQUIRE(b.try_withdraw());
  tenths = 9;
  CHECK_FALSE(b.try_withdraw());  // in the window of the first, whatever the clock says a moment later
  tenths = 10;
  CHECK(b.try_withdraw());
  tenths = 11;
  CHECK_FALSE(b.try_withdraw());
}

TEST_CASE("a window before the epoch of the clock counts as any other", "[retry]") {
  manual_clock clock{time_point{-1200ms}};
  budget_on_manual b{window_budget{.window = 1s, .ratio = 1, .min_per_second = 0}, clock.source()};
  b.deposit();
  clock.set(time_point{-300ms});
  CHECK(b.available_approx() == 1);
  clock.set(time_point{-200ms});
  CHECK(b.available_approx() == 0);
}

TEST_CASE("a budget out of range is refused with the value that was given", "[retry]") {
  using weir::retry_budget;
  CHECK_THROWS_AS(retry_budget(token_budget{.per_success = -0.1}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget(token_budget{.per_success = std::nan("")}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget(window_budget{.window = 0s}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget(window_budget{.ratio = 1001}), std::invalid_argument);
  CHECK_THROWS_AS(retry_budget(window_budget{.window = 24h * 365 * 200, .min_per_second = 1'000'000'000}),
                  std::invalid_argument);
}
