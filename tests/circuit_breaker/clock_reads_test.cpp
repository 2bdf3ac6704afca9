// SPDX-License-Identifier: BSL-1.0
// How often it looks at the clock tells which way a call has gone: with the lock it looks once more.
#include <catch2/catch_test_macros.hpp>

#include <utility>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::breaker_state;
using weir::call_verdict;
using weir::testing::manual_clock;

namespace {

/// A manual clock that counts who looks at it.
class counting_clock {
 public:
  counting_clock(manual_clock& time, int& reads) : time_{time.source()}, reads_{&reads} {}
  [[nodiscard]] weir::time_point now() const noexcept {
    ++*reads_;
    return time_.now();
  }

 private:
  manual_clock::view time_;
  int* reads_;
};

struct bench {
  explicit bench(const weir::circuit_breaker_options& options) : breaker{options, {time, reads}} {}

  /// Looks at the clock during one call.
  int call(call_verdict verdict, weir::duration takes = 0s) {
    reads = 0;
    auto p = breaker.try_acquire();
    REQUIRE(p);
    time.advance(takes);
    std::move(*p).report(verdict);
    return reads;
  }
  int succeed(weir::duration takes = 0s) { return call(call_verdict::success, takes); }
  int fail() { return call(call_verdict::failure); }

  manual_clock time;
  int reads = 0;
  weir::basic_circuit_breaker<counting_clock> breaker;
};

}  // namespace

TEST_CASE("in a window of calls only what may decide looks at the clock", "[circuit_breaker][clock]") {
  bench b{{.window = weir::count_window{10}, .minimum_calls = 4}};
  CHECK(b.succeed() == 1);  // the first of its thread
  CHECK(b.succeed() == 0);
  CHECK(b.fail() == 1);
  CHECK(b.succeed() == 1);  // the fourth, which decides
  CHECK(b.succeed() == 0);
  CHECK(b.fail() == 1);
  CHECK(b.succeed() == 0);
  CHECK(b.call(call_verdict::ignore) == 1);
  CHECK(b.succeed() == 0);
  CHECK(b.breaker.state() == breaker_state::closed);
}

TEST_CASE("in a row of failures a success decides nothing", "[circuit_breaker][clock]") {
  bench b{{.window = weir::consecutive_failures{3}}};
  CHECK(b.succeed() == 1);
  CHECK(b.succeed() == 0);
  CHECK(b.fail() == 1);
  CHECK(b.succeed() == 0);
}

TEST_CASE("where nothing is judged a success decides nothing", "[circuit_breaker][clock]") {
  bench b{{.window = weir::count_window{10}}};
  b.breaker.metrics_only();
  CHECK(b.succeed() == 1);
  CHECK(b.fail() == 1);
  CHECK(b.succeed() == 0);
}

TEST_CASE("where nothing is recorded nobody looks at the clock", "[circuit_breaker][clock]") {
  bench b{{}};
  b.breaker.disable();
  CHECK(b.succeed() == 0);
  CHECK(b.fail() == 0);
  CHECK(b.call(call_verdict::ignore) == 0);
}

TEST_CASE("in a window of time a success looks once, and once more where a bucket begins",
          "[circuit_breaker][clock]") {
  bench b{{.window = weir::time_window{10s}, .minimum_calls = 4}};
  CHECK(b.succeed() == 1);
  CHECK(b.succeed() == 1);
  b.time.advance(999ms);
  CHECK(b.succeed() == 1);
  b.time.advance(1ms);
  CHECK(b.succeed() == 2);
  CHECK(b.succeed() == 1);
  bench few{{.window = weir::time_window{10s}, .minimum_calls = 4}};
  few.succeed();
  few.fail();
  CHECK(few.succeed() == 1);  // with the lock alone
}

TEST_CASE("where slow calls are judged both ends of a call look at the clock", "[circuit_breaker][clock]") {
  bench b{{.window = weir::count_window{10}, .slow = weir::slow_calls{2s}, .minimum_calls = 4}};
  b.succeed();
  CHECK(b.succeed() == 2);
  CHECK(b.succeed(1s) == 2);
  CHECK(b.succeed(2s) == 2);
  CHECK(b.succeed(2s + 1ns) == 3);
  CHECK(b.breaker.stats().slow == 1);
  bench w{{.window = weir::time_window{100s}, .slow = weir::slow_calls{2s}, .minimum_calls = 4}};
  w.succeed();
  CHECK(w.succeed(1s) == 2);
}

TEST_CASE("a fast success that makes the calls enough opens it for the slow ones before",
          "[circuit_breaker][clock]") {
  bench b{{.window = weir::count_window{10}, .slow = weir::slow_calls{2s, {50}}, .minimum_calls = 2}};
  b.breaker.reset();
  b.succeed(3s);
  CHECK(b.breaker.state() == breaker_state::closed);
  b.succeed();
  CHECK(b.breaker.state() == breaker_state::open);
}

TEST_CASE("once a ramp is over nobody looks at the clock", "[circuit_breaker][clock][ramp]") {
  bench b{{.window = weir::count_window{10}, .open_for = 1s, .ramp = 10s}};
  b.breaker.transition_to(breaker_state::open);
  b.time.advance(1s);
  b.succeed();
  CHECK(b.succeed() == 1);  // admitted with the lock
  b.time.advance(10s);
  CHECK(b.succeed() == 1);
  CHECK(b.succeed() == 0);
}

TEST_CASE("who closes without a ramp admits without a look at the clock", "[circuit_breaker][clock][ramp]") {
  bench b{{.window = weir::count_window{10}, .open_for = 1s}};
  b.breaker.transition_to(breaker_state::open);
  b.time.advance(1s);
  b.succeed();
  CHECK(b.succeed() == 0);
}

TEST_CASE("a call that passed a ramp before slow calls were judged is not judged",
          "[circuit_breaker][ramp]") {
  bench b{{.window = weir::count_window{10}, .open_for = 1s, .ramp = 10s}};
  b.breaker.transition_to(breaker_state::open);
  b.time.advance(1s);
  b.succeed();
  auto p = b.breaker.try_acquire();
  b.breaker.reconfigure({.window = weir::count_window{10}, .slow = weir::slow_calls{1s}});
  b.time.advance(1h);
  std::move(*p).success();
  CHECK(b.breaker.stats().slow == 0);
}

TEST_CASE("other options for a disabled breaker make none of its calls count", "[circuit_breaker]") {
  bench b{{}};
  b.breaker.disable();
  auto p = b.breaker.try_acquire();
  b.breaker.reconfigure({});
  std::move(*p).failure();
  CHECK(b.breaker.stats().failures == 0);
  CHECK(b.breaker.stats().late == 0);
}

TEST_CASE("calls that hang do not open what is not judged", "[circuit_breaker][watch]") {
  bench b{{.window = weir::count_window{4},
           .slow = weir::slow_calls{.longer_than = 1s, .watched = 4},
           .minimum_calls = 1}};
  b.breaker.metrics_only();
  const auto hangs = b.breaker.try_acquire();
  b.time.advance(2s);
  CHECK(b.breaker.state() == breaker_state::metrics_only);
  CHECK(b.breaker.stats().window_slow == 1);
}

TEST_CASE("a permit that takes the place of another keeps its place among the watched",
          "[circuit_breaker][watch]") {
  bench b{{.window = weir::count_window{4}, .slow = weir::slow_calls{.longer_than = 1s, .watched = 2}}};
  auto first = *b.breaker.try_acquire();
  auto second = *b.breaker.try_acquire();
  second = std::move(first);  // ends the second
  std::move(second).success();
  b.time.advance(2s);
  static_cast<void>(b.breaker.state());
  CHECK(b.breaker.stats().window_calls == 1);
  CHECK(b.breaker.stats().window_slow == 0);
  const auto third = b.breaker.try_acquire();
  const auto fourth = b.breaker.try_acquire();
  b.time.advance(2s);
  static_cast<void>(b.breaker.state());
  CHECK(b.breaker.stats().window_calls == 3);  // both places are free again, and each is one
  CHECK(b.breaker.stats().window_slow == 2);
}

TEST_CASE("a breaker that watches a call is not as new, one that is new is at any time",
          "[circuit_breaker]") {
  bench watching{
      {.window = weir::count_window{4}, .slow = weir::slow_calls{.longer_than = 1s, .watched = 2}}};
  {
    const auto p = watching.breaker.try_acquire();
    CHECK_FALSE(watching.breaker.is_as_new_at(watching.time.now()));
  }
  CHECK(watching.breaker.is_as_new_at(watching.time.now()));
  const bench fresh{{}};
  CHECK(fresh.breaker.is_as_new_at(weir::time_point{-1h}));
}

TEST_CASE("a success that decides nothing counts where time stands", "[circuit_breaker]") {
  const auto nobody = [](breaker_state, breaker_state) {};
  constexpr auto no_place = weir::detail::in_flight::none;
  weir::detail::circuit_core core{{.window = weir::time_window{10s}, .minimum_calls = 2, .open_for = 1s}};
  CHECK_FALSE(core.quiet_at(weir::time_point{1s}));  // no time has been told
  core.record(weir::time_point{1s}, call_verdict::success, false, no_place, nobody);
  CHECK(core.quiet_until() == weir::time_point{2s});
  CHECK(core.quiet_at(weir::time_point{1999ms}));
  CHECK_FALSE(core.quiet_at(weir::time_point{2s}));
  core.record(weir::time_point{1900ms}, call_verdict::success, false, no_place, nobody);
  core.move(weir::time_point{1500ms}, breaker_state::open, nobody);
  CHECK(core.reopen_at() == weir::time_point{2500ms});
}
