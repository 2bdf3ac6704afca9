// SPDX-License-Identifier: BSL-1.0
// What broke it once, and what was tried to break it.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::consecutive_failures;
using weir::duration;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;

/// Opens `breaker`; the wait of that opening.
std::int64_t open_wait(breaker_type& breaker) {
  auto p = breaker.try_acquire();
  REQUIRE(p);
  std::move(*p).failure();
  return breaker.try_acquire().error().retry_after->count();
}

}  // namespace

TEST_CASE("a time-out inside is a failure, any other refusal says nothing about the callee",
          "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = consecutive_failures{2}, .open_for = 1s}, clock.source()};
  const auto refused = [&](refusal_reason why) {
    return breaker.call([&]() -> outcome<void> { return refusal{why}; }).error().reason;
  };
  for (const auto why :
       {refusal_reason::rate_limited, refusal_reason::circuit_open, refusal_reason::busy,
        refusal_reason::full, refusal_reason::empty, refusal_reason::closed, refusal_reason::cancelled,
        refusal_reason::exceeds_capacity, refusal_reason::budget_exhausted}) {
    CHECK(refused(why) == why);
  }
  CHECK(breaker.stats().ignored == 9);
  CHECK(breaker.stats().window_calls == 0);
  CHECK(refused(refusal_reason::timed_out) == refusal_reason::timed_out);
  CHECK(breaker.stats().failures == 1);
  CHECK(refused(refusal_reason::timed_out) == refusal_reason::timed_out);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("regression: jitter that comes with a reconfiguration is not the same for every breaker",
          "[circuit_breaker]") {
  manual_clock clock;
  const circuit_breaker_options jittered{
      .window = consecutive_failures{1}, .open_for = 1h, .open_for_jitter = 0.9};
  std::set<std::int64_t> waits;
  for (int i = 0; i < 20; ++i) {
    breaker_type breaker{{.window = consecutive_failures{1}}, clock.source()};
    breaker.reconfigure(jittered);
    waits.insert(open_wait(breaker));
  }
  CHECK(waits.size() > 1);
}

TEST_CASE("regression: a seed that comes with a reconfiguration is the one that is used",
          "[circuit_breaker]") {
  manual_clock clock;
  circuit_breaker_options options{
      .window = consecutive_failures{1}, .open_for = 1h, .open_for_jitter = 0.9, .seed = 17};
  breaker_type made{options, clock.source()};
  options.seed = 4;
  breaker_type other{options, clock.source()};
  options.seed = 17;
  other.reconfigure(options);
  CHECK(open_wait(other) == open_wait(made));
}

TEST_CASE("regression: a window ages at both ends of time", "[circuit_breaker][window]") {
  const circuit_breaker_options options{.window = weir::time_window{.length = 3ns, .buckets = 3},
                                        .minimum_calls = 100};
  manual_clock first{time_point::min()};
  breaker_type early{options, first.source()};
  std::move(*early.try_acquire()).failure();
  CHECK(early.stats().window_calls == 1);
  first.advance(2ns);
  CHECK(early.stats().window_calls == 1);
  first.advance(1ns);
  CHECK(early.stats().window_calls == 0);

  manual_clock last{time_point::max() - 1ns};
  breaker_type late{options, last.source()};
  std::move(*late.try_acquire()).failure();
  last.advance(1ns);
  CHECK(late.stats().window_calls == 1);
}

TEST_CASE("a state that is none is refused, and has no name", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{}, clock.source()};
  const auto none = static_cast<breaker_state>(7);
  CHECK_THROWS_AS(breaker.transition_to(none), std::invalid_argument);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(weir::to_string(none) == "unknown");
}

TEST_CASE("a call takes any function and any result", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = consecutive_failures{1}}, clock.source()};
  int kept = 5;
  const auto copied = breaker.call([&]() -> int& { return kept; });
  static_assert(std::is_same_v<decltype(copied), const outcome<int>>);
  kept = 6;
  CHECK(copied.value() == 5);
  auto owned = breaker.call([p = std::make_unique<int>(7)]() mutable { return std::move(p); });
  CHECK(**owned == 7);
  auto passed = breaker.call([]() -> outcome<std::unique_ptr<int>> { return std::make_unique<int>(8); });
  CHECK(**passed == 8);
  CHECK(breaker.call([] { return std::vector<int>(3, 1); })->size() == 3);
  const auto none_is_bad = [](const std::optional<int>& r) {
    return r ? call_verdict::success : call_verdict::failure;
  };
  CHECK_FALSE(breaker.call([] { return std::optional<int>{}; }, none_is_bad).value());
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("a refusal says to the nanosecond when the next probe may pass", "[circuit_breaker]") {
  for (const time_point start : {time_point::min(), time_point{-1ns}, time_point::max() - 7ns}) {
    manual_clock clock{start};
    breaker_type breaker{{.window = consecutive_failures{1}, .open_for = 7ns}, clock.source()};
    CHECK(open_wait(breaker) == 7);
    clock.advance(6ns);
    CHECK(breaker.try_acquire().error() == refusal{refusal_reason::circuit_open, 1ns});
    clock.advance(1ns);
    CHECK(breaker.try_acquire());
  }
}

TEST_CASE("an open wait without end lasts to the end of time", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = consecutive_failures{1}, .open_for = duration::max()}, clock.source()};
  CHECK(open_wait(breaker) == duration::max().count());
  clock.set(time_point::max() - 1ns);
  CHECK(breaker.try_acquire().error().retry_after == 1ns);
}

TEST_CASE("probes that hang let it open again, and report to nobody", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{
      {.window = consecutive_failures{1}, .open_for = 10ns, .probes = 2, .half_open_max_wait = 5ns},
      clock.source()};
  CHECK(open_wait(breaker) == 10);
  clock.advance(10ns);
  auto hangs = breaker.try_acquire();
  auto reports = breaker.try_acquire();
  clock.advance(4ns);
  std::move(*reports).success();
  clock.advance(4ns);
  CHECK(breaker.state() == breaker_state::half_open);  // 5 ns without any result
  clock.advance(1ns);
  CHECK(breaker.state() == breaker_state::open);
  std::move(*hangs).success();
  CHECK(breaker.state() == breaker_state::open);
  CHECK(breaker.stats().late == 1);
}
