// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the breaker would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::breaker_state;
using weir::circuit_breaker_options;
using weir::duration;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using breaker_type = weir::basic_circuit_breaker<manual_clock::view>;

const circuit_breaker_options doubling{
    .window = weir::count_window{2}, .open_for = 1s, .open_for_factor = 2.0, .probes = 1};

void fail(breaker_type& breaker, int times = 1) {
  for (int i = 0; i != times; ++i) {
    auto p = breaker.try_acquire();
    REQUIRE(p);
    std::move(*p).failure();
  }
}

/// How long it says that it stays open.
duration wait_of(breaker_type& breaker) {
  const auto p = breaker.try_acquire();
  REQUIRE_FALSE(p);
  CHECK(p.error().reason == refusal_reason::circuit_open);
  return p.error().retry_after.value_or(duration::max());
}

constexpr auto no_place = weir::detail::in_flight::none;

bool as_new(const breaker_type& breaker, const manual_clock& clock) {
  return breaker.is_as_new_at(clock.now());
}

}  // namespace

TEST_CASE("the defaults of the breaker are those that are documented", "[circuit_breaker]") {
  const auto made = [](auto o) { return o; };  // not at compile time
  CHECK(made(circuit_breaker_options{}).minimum_calls == 20);
  CHECK(made(circuit_breaker_options{}).open_for == 5s);
  CHECK(made(circuit_breaker_options{}).failure_rate == weir::fraction{50, 100});
  CHECK(made(weir::slow_calls{}).rate == weir::fraction{100, 100});
  CHECK(made(weir::slow_calls{}).watched == 0);
  CHECK_FALSE(made(weir::slow_calls{}).as_failures);
  CHECK(made(circuit_breaker_options{}).ramp == 0s);
  CHECK(made(weir::count_window{}).size == 100);
  CHECK(made(weir::consecutive_failures{}).count == 5);
}

TEST_CASE("what is no state of the breaker has no name", "[circuit_breaker]") {
  const auto name = [](int state) { return to_string(static_cast<breaker_state>(state)); };
  CHECK(name(5) == "metrics_only");
  CHECK(name(6) == "unknown");
}

TEST_CASE("a bound of an option of the breaker is told from what lies beyond it", "[circuit_breaker]") {
  const auto make = [](const circuit_breaker_options& o) { const weir::circuit_breaker made{o}; };
  CHECK_THROWS_AS(make({.open_for_factor = std::numeric_limits<double>::infinity()}), std::invalid_argument);
  CHECK_THROWS_AS(make({.open_for_jitter = -0.1}), std::invalid_argument);
  CHECK_THROWS_AS(make({.probe_successes = 0}), std::invalid_argument);
  CHECK_NOTHROW(make({.slow = weir::slow_calls{.longer_than = 0ns}}));
}

TEST_CASE("the jitter of the wait is that of splitmix64 from the seed", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.open_for = 10s, .open_for_jitter = 0.5, .seed = 7}, clock.source()};
  std::uint64_t state = 7;
  for (int i = 0; i != 4; ++i) {
    breaker.transition_to(breaker_state::open);
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    const double drawn = std::ldexp(static_cast<double>((z ^ (z >> 31)) >> 11), -53);
    CHECK(wait_of(breaker) == 10s - duration{static_cast<duration::rep>(10e9 * (0.5 * drawn))});
  }
}

TEST_CASE("the first wait is exact, however long or short", "[circuit_breaker]") {
  manual_clock clock;
  for (const duration first : {duration{1ns}, duration{24h} * 200 + 1ns}) {
    breaker_type breaker{{.open_for = first}, clock.source()};
    breaker.transition_to(breaker_state::open);
    CHECK(wait_of(breaker) == first);
  }
}

TEST_CASE("a wait grows with each opening in a row, and a hand that opens again repeats it",
          "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{doubling, clock.source()};
  fail(breaker, 2);
  CHECK(wait_of(breaker) == 1s);
  breaker.transition_to(breaker_state::open);
  CHECK(wait_of(breaker) == 1s);
  clock.advance(1s);
  fail(breaker);
  CHECK(wait_of(breaker) == 2s);
  breaker.transition_to(breaker_state::open);
  CHECK(wait_of(breaker) == 2s);
  SECTION("half_open by hand does not end the row") {
    breaker.transition_to(breaker_state::half_open);
    breaker.transition_to(breaker_state::half_open);
    fail(breaker);
    CHECK(wait_of(breaker) == 4s);
  }
  SECTION("nor does open by hand out of half_open") {
    breaker.transition_to(breaker_state::half_open);
    breaker.transition_to(breaker_state::open);
    CHECK(wait_of(breaker) == 4s);
  }
  SECTION("any other state ends it") {
    breaker.disable();
    breaker.transition_to(breaker_state::open);
    CHECK(wait_of(breaker) == 1s);
  }
}

TEST_CASE("a probe is given up after the wait before it, or the first wait if there was none",
          "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{doubling, clock.source()};
  fail(breaker, 2);
  clock.advance(1s);
  fail(breaker);
  SECTION("the wait before it") { clock.advance(2s); }
  SECTION("the wait that a hand cut short") { breaker.transition_to(breaker_state::half_open); }
  SECTION("the first wait") {
    breaker.disable();
    breaker.transition_to(breaker_state::half_open);
    const auto lost = breaker.try_acquire();
    clock.advance(1s);
    CHECK(breaker.state() == breaker_state::open);
    return;
  }
  const auto lost = breaker.try_acquire();
  REQUIRE(lost);
  clock.advance(2s - 1ns);
  CHECK(breaker.state() == breaker_state::half_open);
  clock.advance(1ns);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("a probe that is slow is no success, one that is not is", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{2},
                        .slow = weir::slow_calls{.longer_than = 1s},
                        .open_for = 1s,
                        .probe_successes = 1},
                       clock.source()};
  fail(breaker, 2);
  clock.advance(1s);
  auto probe = breaker.try_acquire();
  CHECK(breaker.try_acquire().error().reason == refusal_reason::circuit_open);
  clock.advance(1s - 1ns);
  SECTION("not slow") {
    std::move(*probe).success();
    CHECK(breaker.state() == breaker_state::closed);
    CHECK(breaker.stats().slow == 0);
  }
  SECTION("slow, seen by the core") {
    // A probe from beyond the maximum wait would be late, so the core is asked.
    weir::detail::circuit_core core{{.slow = weir::slow_calls{.longer_than = 1s}, .probe_successes = 1}};
    const auto nobody = [](breaker_state, breaker_state) {};
    core.move({}, breaker_state::disabled, nobody);
    core.move({}, breaker_state::half_open, nobody);
    REQUIRE(core.admit({}, nobody).granted);
    CHECK(core.admit({}, nobody).why.reason == refusal_reason::circuit_open);
    core.record({}, weir::call_verdict::success, true, no_place, nobody);
    CHECK(core.state() == breaker_state::open);
    CHECK(core.admit({}, nobody).why.reason == refusal_reason::circuit_open);
  }
}

TEST_CASE("the slow are counted; who began before they were looked for is not looked at",
          "[circuit_breaker]") {
  manual_clock clock;
  const circuit_breaker_options plain;
  const circuit_breaker_options timed{.slow = weir::slow_calls{.longer_than = 1s}};
  breaker_type breaker{timed, clock.source()};
  const auto finish_after = [&](auto& p, duration later) {
    clock.advance(later);
    std::move(*p).success();
    return breaker.stats().slow;
  };
  auto slow = breaker.try_acquire();
  CHECK(finish_after(slow, 1s + 1ns) == 1);
  auto watched = breaker.try_acquire();
  breaker.reconfigure(plain);
  CHECK(finish_after(watched, 1h) == 1);
  auto unwatched = breaker.try_acquire();
  breaker.reconfigure(timed);
  CHECK(finish_after(unwatched, 1h) == 1);
  auto again = breaker.try_acquire();
  CHECK(finish_after(again, 1h) == 2);
  // A permit that takes another's place began when that one did.
  auto one = breaker.try_acquire();
  clock.advance(1h);
  auto two = breaker.try_acquire();
  *one = std::move(*two);
  CHECK(finish_after(one, 1s) == 2);
  CHECK(breaker.stats().ignored == 1);
}

TEST_CASE("an ignored call is counted as that, and nothing else", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{doubling, clock.source()};
  auto p = breaker.try_acquire();
  std::move(*p).ignore();
  CHECK_FALSE(*p);
  CHECK(breaker.stats().ignored == 1);
  CHECK(breaker.stats().successes == 0);
  CHECK(breaker.stats().window_calls == 0);
}

TEST_CASE("the row of figures tells the state, and the probes where there are some", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{2}, .open_for = 1s, .probes = 3}, clock.source()};
  fail(breaker, 2);
  CHECK(breaker.stats().state == breaker_state::open);
  clock.advance(1s);
  fail(breaker);
  CHECK(breaker.stats().state == breaker_state::half_open);
  CHECK(breaker.stats().window_calls == 1);
  CHECK(breaker.stats().window_failed == 1);
  breaker.force_open();
  CHECK(breaker.stats().state == breaker_state::forced_open);
}

TEST_CASE("a breaker is as new once nothing counts in its window", "[circuit_breaker]") {
  manual_clock clock;
  SECTION("of calls") {
    breaker_type breaker{{.window = weir::count_window{3}}, clock.source()};
    CHECK(as_new(breaker, clock));
    fail(breaker);
    CHECK_FALSE(as_new(breaker, clock));
    breaker.reset();
    CHECK(as_new(breaker, clock));
    breaker.disable();
    CHECK_FALSE(as_new(breaker, clock));
    breaker.force_open();
    CHECK_FALSE(as_new(breaker, clock));
  }
  SECTION("of failures in a row") {
    breaker_type breaker{{.window = weir::consecutive_failures{}}, clock.source()};
    CHECK(as_new(breaker, clock));
    fail(breaker);
    CHECK_FALSE(as_new(breaker, clock));
    CHECK(breaker.stats().window_calls == 1);
    breaker.reset();
    CHECK(as_new(breaker, clock));
    CHECK(breaker.stats().window_calls == 0);
  }
  SECTION("of time, bucket by bucket") {
    for (int at = 0; at != 3; ++at) {
      manual_clock time{weir::time_point{at * 1s}};
      breaker_type breaker{{.window = weir::time_window{.length = 3s, .buckets = 3}}, time.source()};
      CHECK(breaker.is_as_new_at(time.now()));
      fail(breaker);
      time.advance(1s);
      fail(breaker);
      CHECK_FALSE(breaker.is_as_new_at(time.now()));
      CHECK_FALSE(breaker.is_as_new_at(time.now() - 1h));  // time does not run back
      CHECK_FALSE(breaker.is_as_new_at(time.now() + 2s));
      CHECK(breaker.is_as_new_at(time.now() + 3s));
      CHECK(breaker.is_as_new_at(time.now() + 4s));
    }
  }
  SECTION("of time, after a look has aged it") {
    breaker_type breaker{{.window = weir::time_window{.length = 3s, .buckets = 3}}, clock.source()};
    fail(breaker);
    clock.advance(2s);
    CHECK(breaker.stats().window_calls == 1);
    CHECK_FALSE(as_new(breaker, clock));
    CHECK(breaker.is_as_new_at(clock.now() + 1s));
  }
}

TEST_CASE("a window of the same shape is kept by other options, another one begins empty",
          "[circuit_breaker]") {
  manual_clock clock;
  const auto kept = [&](const circuit_breaker_options& before, const circuit_breaker_options& after) {
    breaker_type breaker{before, clock.source()};
    fail(breaker);
    breaker.reconfigure(after);
    return breaker.stats().window_calls == 1;
  };
  using window = weir::time_window;
  CHECK(kept({.window = window{6s, 3}}, {.window = window{6s, 3}}));
  CHECK_FALSE(kept({.window = window{6s, 3}}, {.window = window{9s, 3}}));
  CHECK_FALSE(kept({.window = window{6s, 3}}, {.window = window{6s, 2}}));
  using run = weir::consecutive_failures;
  CHECK(kept({.window = run{3}}, {.window = run{4}}));
  CHECK_FALSE(kept({.window = run{3}}, {.window = weir::count_window{3}}));
}

TEST_CASE("only a move to open is counted as one", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{doubling, clock.source()};
  fail(breaker, 2);
  CHECK(breaker.stats().opened == 1);
  clock.advance(1s);
  CHECK(breaker.state() == breaker_state::half_open);
  CHECK(breaker.stats().opened == 1);
  fail(breaker);
  CHECK(breaker.stats().opened == 2);
}

TEST_CASE("a probe after a move by hand is given up by the options of that moment", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.open_for = 1s}, clock.source()};
  breaker.disable();
  breaker.reconfigure({.open_for = 3s});
  breaker.transition_to(breaker_state::half_open);
  const auto lost = breaker.try_acquire();
  REQUIRE(lost);
  clock.advance(3s - 1ns);
  CHECK(breaker.state() == breaker_state::half_open);
  clock.advance(1ns);
  CHECK(breaker.state() == breaker_state::open);
}

// What the breaker itself asks of its core only when two threads meet.
TEST_CASE("the core lets nobody pass and records nothing where a hand has put it", "[circuit_breaker]") {
  const auto nobody = [](breaker_state, breaker_state) {};
  weir::detail::circuit_core core{{.window = weir::count_window{2}}};
  core.move({}, breaker_state::disabled, nobody);
  CHECK(core.admit({}, nobody).granted);
  core.record({}, weir::call_verdict::failure, false, no_place, nobody);
  CHECK(core.totals_at({}).calls == 0);
  core.move({}, breaker_state::forced_open, nobody);
  CHECK_FALSE(core.admit({}, nobody).granted);
  core.record({}, weir::call_verdict::failure, false, no_place, nobody);
  CHECK(core.totals_at({}).calls == 0);
  core.move({}, breaker_state::metrics_only, nobody);
  core.record({}, weir::call_verdict::failure, false, no_place, nobody);
  CHECK(core.totals_at({}).calls == 1);
}

TEST_CASE("a slow probe is a good one to a core that does not judge slowness", "[circuit_breaker]") {
  const auto nobody = [](breaker_state, breaker_state) {};
  weir::detail::circuit_core core{{.probe_successes = 1}};
  core.move({}, breaker_state::disabled, nobody);
  core.move({}, breaker_state::half_open, nobody);
  REQUIRE(core.admit({}, nobody).granted);
  core.record({}, weir::call_verdict::success, true, no_place, nobody);
  CHECK(core.state() == breaker_state::closed);
}
