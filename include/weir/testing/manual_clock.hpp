// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/clock.hpp>

namespace weir::inline v0::testing {

/// A clock that a test moves by hand.
///
/// Components hold a `view`; every wait in them that has a deadline then ends when the test moves the clock
/// there, without real time passing.  `await_sleepers(n)` is the rendezvous: it returns once n waits have
/// been entered.
///
/// Thread safety  Every member from any thread.
/// Lifetime       Outlives its views' use.
class manual_clock {
 public:
  class view {
   public:
    [[nodiscard]] time_point now() const noexcept { return clock_->now(); }
    void wake_at(time_point at, timer_target& target) const { clock_->wake_at(at, target); }
    void forget(timer_target& target) const noexcept { clock_->forget(target); }

   private:
    friend manual_clock;
    explicit view(manual_clock& clock) noexcept : clock_{&clock} {}
    manual_clock* clock_;
  };

  manual_clock() = default;
  explicit manual_clock(time_point start) noexcept : now_{start.time_since_epoch().count()} {}
  manual_clock(const manual_clock&) = delete;
  manual_clock& operator=(const manual_clock&) = delete;
  ~manual_clock() = default;

  /// The clock as a component holds it: copyable, and a `waking_clock`.
  [[nodiscard]] view source() noexcept { return view{*this}; }

  [[nodiscard]] time_point now() const noexcept {
    // [A] acquire, pairs with [B]: what the test did before it moved the clock is seen by whoever sees the
    // new time.
    return time_point{duration{now_.load(std::memory_order_acquire)}};
  }

  /// Moves time forward and wakes those whose time has come.  Throws std::invalid_argument if `by` is
  /// negative.
  void advance(duration by) {
    if (by < duration::zero()) {
      throw std::invalid_argument{"manual_clock: advance must not be negative, got " +
                                  std::to_string(by.count()) + " ns; set() moves back"};
    }
    const std::lock_guard lock{mutex_};
    move_to(saturating_add(now(), by));
  }

  /// Moves time to `to`, also back: for tests of what must hold when a clock misbehaves.
  void set(time_point to) {
    const std::lock_guard lock{mutex_};
    move_to(to);
  }

  /// How many waits with a deadline are in progress and not yet due.
  [[nodiscard]] std::size_t sleepers() const {
    const std::lock_guard lock{mutex_};
    return pending();
  }

  /// Returns once at least `count` waits with a deadline are in progress.
  void await_sleepers(std::size_t count) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return pending() >= count; });
  }

 private:
  struct timer {
    time_point at;
    timer_target* target;
  };

  void wake_at(time_point at, timer_target& target) {
    const std::lock_guard lock{mutex_};
    timers_.push_back({at, &target});
    if (at <= now()) target.wake();
    changed_.notify_all();
  }

  void forget(timer_target& target) noexcept {
    const std::lock_guard lock{mutex_};
    std::erase_if(timers_, [&](const timer& t) { return t.target == &target; });
  }

  /// Timers stay until they are forgotten: should time step back, they fall due again.
  void move_to(time_point to) {
    // [B] release, pairs with [A].
    now_.store(to.time_since_epoch().count(), std::memory_order_release);
    for (const timer& t : timers_) {
      if (t.at <= to) t.target->wake();  // under the lock: `forget` cannot return while this runs
    }
  }

  [[nodiscard]] std::size_t pending() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(timers_, [&](const timer& t) { return t.at > now(); }));
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<duration::rep> now_{0};  // nanoseconds; written under mutex_
  std::vector<timer> timers_;          // guarded by mutex_
};

static_assert(waking_clock<manual_clock::view>);

}  // namespace weir::inline v0::testing
