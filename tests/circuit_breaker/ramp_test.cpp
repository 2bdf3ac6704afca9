// SPDX-License-Identifier: BSL-1.0
// The ramp after closing, calls that are slow while they are out, one rate for slow and failed, open until.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::breaker_state;
using weir::duration;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using breaker_type = weir::basic_circuit_breaker<manual_clock::view>;

/// Closed by its probe, a ramp of 100 s ahead.
void climb(breaker_type& breaker, manual_clock& clock) {
  breaker.transition_to(breaker_state::open);
  clock.advance(1s);
  std::move(*breaker.try_acquire()).success();
  REQUIRE(breaker.state() == breaker_state::closed);
}

weir::circuit_breaker_options ramped(duration ramp = 100s) {
  return {.window = weir::count_window{10}, .open_for = 1s, .ramp = ramp};
}

int admitted(breaker_type& breaker, int calls) {
  int yes = 0;
  for (int i = 0; i < calls; ++i) {
    if (auto p = breaker.try_acquire()) {
      ++yes;
      std::move(*p).success();
    }
  }
  return yes;
}

weir::circuit_breaker_options watching(std::uint32_t calls, weir::fraction rate = {100}) {
  return {.window = weir::count_window{4},
          .failure_rate = {100},
          .slow = weir::slow_calls{.longer_than = 5s, .rate = rate, .watched = calls},
          .minimum_calls = 2,
          .open_for = 10s};
}

}  // namespace

TEST_CASE("on a ramp the share that passes rises by the percent from 10 to 100", "[circuit_breaker][ramp]") {
  struct row {
    duration at;
    int of_thousand;
  };
  const std::vector<row> rows{{0s, 100},         {1s, 100},    {1111111111ns, 100}, {1112ms, 110},
                              {10s, 190},        {50s, 550},   {90s, 910},          {99s, 990},
                              {100s - 1ns, 990}, {100s, 1000}, {200s, 1000}};
  for (const row& r : rows) {
    INFO(r.at.count());
    manual_clock clock;
    breaker_type breaker{ramped(), clock.source()};
    climb(breaker, clock);
    clock.advance(r.at);
    CHECK(admitted(breaker, 1000) == r.of_thousand);
    CHECK(breaker.stats().refused == static_cast<std::uint64_t>(1000 - r.of_thousand));
  }
}

TEST_CASE("the first call on a ramp passes, then every tenth", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  climb(breaker, clock);
  for (int i = 0; i < 40; ++i) CHECK(breaker.try_acquire().has_value() == (i % 10 == 0));
}

TEST_CASE("at 99 % of a ramp ninety calls pass before the first is refused", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  climb(breaker, clock);
  clock.advance(99s);
  for (int i = 0; i < 90; ++i) CHECK(breaker.try_acquire());
  CHECK_FALSE(breaker.try_acquire());
  for (int i = 0; i < 99; ++i) CHECK(breaker.try_acquire());
  CHECK_FALSE(breaker.try_acquire());
}

TEST_CASE("who is refused on a ramp is told when every call will pass", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  climb(breaker, clock);
  CHECK(breaker.try_acquire());
  clock.advance(1s);
  const auto refused = breaker.try_acquire();
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == weir::refusal{refusal_reason::circuit_open, 99s});
}

TEST_CASE("only a breaker that its probes have closed has a ramp", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  CHECK(admitted(breaker, 10) == 10);
  breaker.transition_to(breaker_state::open);
  breaker.reset();
  CHECK(admitted(breaker, 10) == 10);
  climb(breaker, clock);
  CHECK(admitted(breaker, 10) == 1);
  breaker.reset();
  CHECK(admitted(breaker, 10) == 10);
}

TEST_CASE("a ramp goes on under other options, and ends with a move", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  climb(breaker, clock);
  breaker.reconfigure(ramped(0s));
  CHECK(admitted(breaker, 10) == 1);
  clock.advance(100s);
  CHECK(admitted(breaker, 10) == 10);
  climb(breaker, clock);
  CHECK(admitted(breaker, 10) == 10);
}

TEST_CASE("failures on a ramp open it as ever", "[circuit_breaker][ramp]") {
  manual_clock clock;
  auto options = ramped();
  options.window = weir::consecutive_failures{1};
  breaker_type breaker{options, clock.source()};
  climb(breaker, clock);
  std::move(*breaker.try_acquire()).failure();
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("a breaker on a ramp is not as new before its end", "[circuit_breaker][ramp]") {
  manual_clock clock;
  breaker_type breaker{ramped(), clock.source()};
  climb(breaker, clock);
  CHECK_FALSE(breaker.is_as_new_at(clock.now() + 100s - 1ns));
  CHECK(breaker.is_as_new_at(clock.now() + 100s));
}

TEST_CASE("a ramp that cannot be is refused", "[circuit_breaker][ramp]") {
  const auto make = [](duration ramp) { const weir::circuit_breaker made{ramped(ramp)}; };
  CHECK_THROWS_AS(make(-1ns), std::invalid_argument);
  CHECK_THROWS_AS(make(24h * 1000 + 1ns), std::invalid_argument);
  CHECK_NOTHROW(make(24h * 1000));
  manual_clock clock;
  breaker_type breaker{ramped(24h * 1000), clock.source()};
  climb(breaker, clock);
  clock.advance(24h * 1000 - 1ns);
  CHECK(admitted(breaker, 1000) == 990);
}

TEST_CASE("calls that hang open it without a result, to the nanosecond", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(2), clock.source()};
  auto first = breaker.try_acquire();
  clock.advance(1s);
  auto second = breaker.try_acquire();
  clock.advance(5s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 1);
  clock.advance(1ns);
  SECTION("to the next call") {
    const auto refused = breaker.try_acquire();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().retry_after == 10s);
  }
  SECTION("to a look at the state") { CHECK(breaker.state() == breaker_state::open); }
  SECTION("to a result, which is late then") {
    std::move(*second).success();
    CHECK(breaker.state_approx() == breaker_state::open);
    CHECK(breaker.stats().late == 1);
  }
}

TEST_CASE("a watched call counts once, and as failed if it fails later", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(3), clock.source()};
  auto bad = breaker.try_acquire();
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 1);
  CHECK(breaker.stats().slow == 0);  // of those that have ended
  SECTION("a failure") {
    std::move(*bad).failure();
    CHECK(breaker.stats().window_failed == 1);
    CHECK(breaker.stats().failures == 1);
    CHECK(breaker.stats().slow == 1);
  }
  SECTION("a success") {
    std::move(*bad).success();
    CHECK(breaker.stats().window_failed == 0);
    CHECK(breaker.stats().successes == 1);
  }
  SECTION("an ignored one") {
    std::move(*bad).ignore();
    CHECK(breaker.stats().ignored == 1);
  }
  SECTION("a failure, when the window holds it no longer") {
    for (int i = 0; i < 4; ++i) std::move(*breaker.try_acquire()).success();
    std::move(*bad).failure();
    CHECK(breaker.stats().window_calls == 4);
    CHECK(breaker.stats().window_failed == 0);
    return;
  }
  CHECK(breaker.stats().window_calls == 1);
  CHECK(breaker.stats().window_slow == 1);
}

TEST_CASE("a failure that comes to a call found slow is judged at once", "[circuit_breaker][watch]") {
  manual_clock clock;
  auto options = watching(2, {100});
  options.failure_rate = {50};
  options.window = weir::time_window{100s};
  breaker_type breaker{options, clock.source()};
  std::move(*breaker.try_acquire()).success();
  auto bad = breaker.try_acquire();
  clock.advance(30s);
  CHECK(breaker.state() == breaker_state::closed);
  std::move(*bad).failure();
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("more calls than are watched are judged when they return", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(1), clock.source()};
  auto first = breaker.try_acquire();
  auto second = breaker.try_acquire();
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 1);
  std::move(*second).success();
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("a place is free again when its call ends, however it does", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(1), clock.source()};
  for (int i = 0; i < 6; ++i) {
    auto p = breaker.try_acquire();
    REQUIRE(p);
    if (i % 3 == 0) std::move(*p).success();
    if (i % 3 == 1) std::move(*p).ignore();
  }
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 0);
  auto hangs = breaker.try_acquire();
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 1);
}

TEST_CASE("as many calls are watched as the options of the moment say", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(1), clock.source()};
  auto options = watching(3);
  options.minimum_calls = 4;
  breaker.reconfigure(options);
  const auto first = breaker.try_acquire();
  const auto second = breaker.try_acquire();
  const auto third = breaker.try_acquire();
  const auto fourth = breaker.try_acquire();
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_slow == 3);
}

TEST_CASE("calls of an older generation are watched no longer", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(2), clock.source()};
  auto first = breaker.try_acquire();
  auto second = breaker.try_acquire();
  SECTION("after a move") { breaker.reset(); }
  SECTION("if another number is watched") { breaker.reconfigure(watching(3)); }
  clock.advance(6s);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_calls == 0);
  std::move(*first).failure();
  CHECK(breaker.stats().late == 1);
}

TEST_CASE("another limit is that of the calls that are out", "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(2), clock.source()};
  auto first = breaker.try_acquire();
  auto options = watching(2);
  options.slow->longer_than = 20s;
  breaker.reconfigure(options);
  clock.advance(20s);
  static_cast<void>(breaker.state());
  CHECK(breaker.stats().window_slow == 0);
  clock.advance(1ns);
  static_cast<void>(breaker.state());
  CHECK(breaker.stats().window_slow == 1);
}

TEST_CASE("a call that was found slow and failed under other options fails once",
          "[circuit_breaker][watch]") {
  for (const bool before : {false, true}) {
    manual_clock clock;
    auto options = watching(1);
    options.window = weir::time_window{100s};
    options.slow->as_failures = before;
    breaker_type breaker{options, clock.source()};
    auto p = breaker.try_acquire();
    clock.advance(6s);
    static_cast<void>(breaker.state());
    CHECK(breaker.stats().window_failed == (before ? 1 : 0));
    options.slow->as_failures = !before;
    breaker.reconfigure(options);
    std::move(*p).failure();
    CHECK(breaker.stats().window_calls == 1);
    CHECK(breaker.stats().window_failed == 1);
  }
}

TEST_CASE("a call that was found slow in a window that is gone does not count in the next",
          "[circuit_breaker][watch]") {
  manual_clock clock;
  breaker_type breaker{watching(1), clock.source()};
  auto p = breaker.try_acquire();
  clock.advance(6s);
  static_cast<void>(breaker.state());
  auto options = watching(1);
  options.window = weir::count_window{9};
  breaker.reconfigure(options);
  std::move(*p).failure();
  CHECK(breaker.stats().failures == 1);
  CHECK(breaker.stats().window_calls == 0);
  CHECK(breaker.stats().window_failed == 0);
}

TEST_CASE("slow calls and failed ones add up to one rate, if that is asked for", "[circuit_breaker]") {
  for (const bool together : {false, true}) {
    manual_clock clock;
    breaker_type breaker{{.window = weir::count_window{4},
                          .failure_rate = {50},
                          .slow = weir::slow_calls{.longer_than = 1s, .as_failures = together}},
                         clock.source()};
    for (int i = 0; i < 4; ++i) {
      auto p = breaker.try_acquire();
      if (i == 0) clock.advance(2s);
      if (i == 1) {
        std::move(*p).failure();
      } else {
        std::move(*p).success();
      }
    }
    CHECK(breaker.state() == (together ? breaker_state::open : breaker_state::closed));
    CHECK(breaker.stats().window_failed == (together ? 0 : 1));  // the window of an open breaker is empty
  }
  manual_clock clock;
  breaker_type breaker{
      {.window = weir::count_window{4}, .slow = weir::slow_calls{.longer_than = 1s, .as_failures = true}},
      clock.source()};
  std::move(*breaker.try_acquire()).success();
  clock.advance(1ns);
  std::move(*breaker.try_acquire()).failure();
  std::move(*breaker.try_acquire()).success();  // not quiet, and not slow
  CHECK(breaker.stats().window_failed == 1);
}

TEST_CASE("a breaker can be opened until an instant", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{1}, .open_for = 1s}, clock.source()};
  breaker.open_until(clock.now() + 1h);
  CHECK(breaker.stats().opened == 1);
  CHECK(breaker.try_acquire().error().retry_after == 1h);
  clock.advance(1h - 1ns);
  CHECK(breaker.state() == breaker_state::open);
  clock.advance(1ns);
  SECTION("then it probes") {
    std::move(*breaker.try_acquire()).success();
    CHECK(breaker.state() == breaker_state::closed);
  }
  SECTION("its probes are given up after as long as it was open") {
    const auto lost = breaker.try_acquire();
    clock.advance(1h - 1ns);
    CHECK(breaker.state() == breaker_state::half_open);
    clock.advance(1ns);
    CHECK(breaker.state() == breaker_state::open);
  }
  SECTION("an instant that has passed is now") {
    breaker.open_until(clock.now() - 1h);
    CHECK(breaker.state() == breaker_state::half_open);
  }
  SECTION("a probe of an opening that was over at once may be out for a nanosecond") {
    breaker.open_until(clock.now() - 1h);
    const auto probe = breaker.try_acquire();
    CHECK(probe);
    CHECK(breaker.state() == breaker_state::half_open);
    clock.advance(1ns);
    CHECK(breaker.state() == breaker_state::open);
  }
  SECTION("not from metrics_only") {
    breaker.metrics_only();
    CHECK_THROWS_AS(breaker.open_until(clock.now()), std::invalid_argument);
  }
}
