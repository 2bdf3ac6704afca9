// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <concepts>

#if defined(__linux__)
#include <time.h>
#endif

namespace weir::inline v0 {

/// The one unit of time: signed nanoseconds, good for 292 years.
using duration = std::chrono::nanoseconds;

/// An instant on a monotonic clock; never wall time.
using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;

/// A clock that a component may hold by value.
///
/// `now()` must not throw, must be callable from any thread, and should not run backwards; a component that
/// sees it step back freezes its own time until the clock has caught up, and never mints anything.
template <class C>
concept monotonic_clock = std::copy_constructible<C> && requires(const C& c) {
  { c.now() } noexcept -> std::same_as<time_point>;
};

/// The clock of the standard library: exact, 15 to 20 ns a read on common hardware.  The default everywhere.
using steady_clock = std::chrono::steady_clock;

/// The kernel's tick: some 4 ns a read, a resolution of 1 to 4 ms, the same epoch as `steady_clock`.
///
/// For hot paths that can bear the resolution.  Where the system has no such clock it is `steady_clock`.
struct coarse_clock {
  [[nodiscard]] static time_point now() noexcept {
#if defined(__linux__)
    timespec ts{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return time_point{std::chrono::seconds{ts.tv_sec} + std::chrono::nanoseconds{ts.tv_nsec}};
#else
    return std::chrono::steady_clock::now();
#endif
  }
};

/// What a clock wakes when its time has come.  Implemented by whoever waits, called by the clock.
class timer_target {
 public:
  /// Called by a `waking_clock` from its own thread of control, possibly more than once.  Must not block and
  /// must not call the clock.
  virtual void wake() noexcept = 0;

 protected:
  timer_target() = default;
  timer_target(const timer_target&) = default;
  timer_target& operator=(const timer_target&) = default;
  ~timer_target() = default;
};

/// A clock whose time does not pass by itself in step with the system (a manual or a simulated clock): it
/// must wake those who wait for an instant, because no system timer can.
///
/// `wake_at(t, w)` calls `w.wake()` once now() >= t, at once if that is so already; `forget(w)` returns only
/// when no call of `w.wake()` is running and none will follow.
template <class C>
concept waking_clock = monotonic_clock<C> && requires(const C& c, time_point t, timer_target& w) {
  { c.wake_at(t, w) } -> std::same_as<void>;
  { c.forget(w) } noexcept -> std::same_as<void>;
};

/// `t + d`, saturating at the ends of the range instead of overflowing.
[[nodiscard]] constexpr time_point saturating_add(time_point t, duration d) noexcept {
  if (d >= duration::zero()) return t > time_point::max() - d ? time_point::max() : t + d;
  return t < time_point::min() - d ? time_point::min() : t + d;
}

/// `later - earlier`, zero if `later` is not later, saturating at `duration::max()`.
[[nodiscard]] constexpr duration elapsed(time_point earlier, time_point later) noexcept {
  if (later <= earlier) return duration::zero();
  if (earlier < time_point{} && later > time_point::max() + earlier.time_since_epoch())
    return duration::max();
  return later - earlier;
}

static_assert(monotonic_clock<steady_clock>);
static_assert(monotonic_clock<coarse_clock>);
static_assert(!waking_clock<steady_clock>);

}  // namespace weir::inline v0
