// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <cstdint>
#include <string>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/version.hpp>

using namespace std::chrono_literals;
using weir::deadline;
using weir::duration;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

/// Counts how often it is woken.
struct counted final : weir::timer_target {
  void wake() noexcept override { ++wakes; }
  int wakes = 0;
};

}  // namespace

TEST_CASE("the version string is made of the three numbers", "[version]") {
  CHECK(weir::version_string == std::to_string(weir::version_major) + "." +
                                    std::to_string(weir::version_minor) + "." +
                                    std::to_string(weir::version_patch));
}

TEST_CASE("adding to an instant saturates at both ends of time", "[clock]") {
  const time_point start{5ns};
  CHECK(weir::saturating_add(start, 7ns) == time_point{12ns});
  CHECK(weir::saturating_add(start, -7ns) == time_point{-2ns});
  CHECK(weir::saturating_add(start, duration::max()) == time_point::max());
  CHECK(weir::saturating_add(time_point{-5ns}, duration::min()) == time_point::min());
}

TEST_CASE("elapsed time is never negative and never overflows", "[clock]") {
  CHECK(weir::elapsed(time_point{3ns}, time_point{10ns}) == 7ns);
  CHECK(weir::elapsed(time_point{10ns}, time_point{3ns}) == 0ns);
  CHECK(weir::elapsed(time_point{-5ns}, time_point::max()) == duration::max());
  CHECK(weir::elapsed(time_point::min(), time_point::max()) == duration::max());
  // the earliest instant of all, and where the difference ceases to fit
  CHECK(weir::elapsed(time_point::min(), time_point::min()) == 0ns);
  CHECK(weir::elapsed(time_point::min(), time_point::min() + 7ns) == 7ns);
  CHECK(weir::elapsed(time_point::min(), time_point{-1ns}) == duration::max());
  CHECK(weir::elapsed(time_point::min(), time_point{}) == duration::max());
  CHECK(weir::elapsed(time_point::min() + 1ns, time_point{}) == duration::max());
  CHECK(weir::elapsed(time_point::min() + 2ns, time_point{}) == duration::max() - 1ns);
  CHECK(weir::elapsed(time_point::max(), time_point::min()) == 0ns);
}

TEST_CASE("the coarse clock shares the epoch of the steady clock", "[clock]") {
  const time_point before = weir::steady_clock::now();
  const time_point coarse = weir::coarse_clock::now();
  CHECK(coarse <= weir::steady_clock::now());
  CHECK(before - coarse < 1s);
}

#if defined(__linux__)
TEST_CASE("the coarse clock is the kernel's, to the nanosecond", "[clock]") {
  const auto kernel = [] {
    timespec ts{};
    REQUIRE(::clock_gettime(CLOCK_MONOTONIC_COARSE, &ts) == 0);
    return time_point{duration{std::int64_t{1'000'000'000} * ts.tv_sec + ts.tv_nsec}};
  };
  const time_point before = kernel();
  const time_point coarse = weir::coarse_clock::now();
  CHECK(before <= coarse);
  CHECK(coarse <= kernel());
}
#endif

TEST_CASE("a deadline is reached at its instant exactly", "[deadline]") {
  const deadline at = deadline::after(time_point{100ns}, 50ns);
  CHECK_FALSE(at.reached(time_point{149ns}));
  CHECK(at.reached(time_point{150ns}));
  CHECK(at.remaining(time_point{149ns}) == 1ns);
  CHECK(at.remaining(time_point{151ns}) == 0ns);
}

TEST_CASE("never is later than every deadline and is never reached", "[deadline]") {
  CHECK(deadline::never().is_never());
  CHECK(deadline{} == deadline::never());
  CHECK_FALSE(deadline::never().reached(time_point::max()));
  CHECK(deadline::never().remaining(time_point{}) == duration::max());
  CHECK(deadline::after(time_point{1ns}, duration::max()).is_never());
  CHECK(earliest(deadline::never(), time_point{3ns}) == deadline{time_point{3ns}});
}

TEST_CASE("a manual clock moves only by hand, forward or back", "[manual_clock]") {
  manual_clock clock{time_point{1s}};
  const auto view = clock.source();
  CHECK(view.now() == time_point{1s});
  clock.advance(500ms);
  CHECK(view.now() == time_point{1500ms});
  clock.set(time_point{1ms});
  CHECK(view.now() == time_point{1ms});
  CHECK_THROWS_WITH(clock.advance(-1ns),
                    "manual_clock: advance must not be negative, got -1 ns; set() moves back");
}

TEST_CASE("a manual clock begins at zero and may be advanced by nothing", "[manual_clock]") {
  manual_clock clock;
  CHECK(clock.now() == time_point{});
  CHECK_NOTHROW(clock.advance(0ns));
  CHECK(clock.now() == time_point{});
}

TEST_CASE("a target is woken at its instant, at once if that has come", "[manual_clock]") {
  manual_clock clock{time_point{10ns}};
  const auto view = clock.source();
  counted past, present, next, last;
  view.wake_at(time_point{9ns}, past);
  view.wake_at(time_point{10ns}, present);
  view.wake_at(time_point{11ns}, next);
  view.wake_at(time_point{20ns}, last);
  CHECK(past.wakes == 1);
  CHECK(present.wakes == 1);
  CHECK(next.wakes == 0);
  CHECK(clock.sleepers() == 2);  // those that are not due
  clock.advance(1ns);
  CHECK(next.wakes == 1);
  CHECK(last.wakes == 0);
  CHECK(clock.sleepers() == 1);
  clock.set(time_point{20ns});
  CHECK(last.wakes == 1);
  CHECK(clock.sleepers() == 0);
}

TEST_CASE("a target that is forgotten is not woken, and the others are", "[manual_clock]") {
  manual_clock clock;
  const auto view = clock.source();
  counted gone, kept;
  view.wake_at(time_point{5ns}, gone);
  view.wake_at(time_point{5ns}, kept);
  view.forget(gone);
  clock.advance(5ns);
  CHECK(gone.wakes == 0);
  CHECK(kept.wakes == 1);
}
