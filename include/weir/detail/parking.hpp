// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stop_token>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/condition_bell.hpp>
#include <weir/detail/futex_bell.hpp>
#include <weir/detail/spinning.hpp>

namespace weir::inline v0::detail {

#if defined(__linux__)
using bell = futex_bell;
#else
using bell = condition_bell;
#endif

/// Where one waiter sleeps until it is unparked or its deadline is reached.
///
/// Model          One token: `unpark` puts it, `park_until` takes it.  An unpark that comes first is not
///                lost, and costs no system call.
/// Thread safety  `unpark` from any thread; `park_until` from one thread at a time.
/// Lifetime       `unpark` touches nothing of the parker after the waiter can have seen the token, so a
///                waiter on the stack may leave as soon as `park_until` has returned true.
template <class Bell>
class basic_parker final : public timer_target {
 public:
  basic_parker() = default;
  basic_parker(const basic_parker&) = delete;
  basic_parker& operator=(const basic_parker&) = delete;
  ~basic_parker() = default;

  void unpark() noexcept { bell_.ring(token); }

  /// Waits for the token and takes it.  False if `until` is reached on `clock` first.
  template <monotonic_clock Clock>
  [[nodiscard]] bool park_until(const Clock& clock, deadline until) {
    if constexpr (waking_clock<Clock>) {
      if (until.is_never()) return wait(clock, until);
      clock.wake_at(until.time(), *this);
      const bool unparked = wait(clock, until);
      clock.forget(*this);
      return unparked;
    } else {
      return wait(clock, until);
    }
  }

  /// The time has come: look at the clock again.
  void wake() noexcept override { bell_.ring(time_passed); }

 private:
  static constexpr std::uint32_t token = 1;
  static constexpr std::uint32_t time_passed = 2;

  template <monotonic_clock Clock>
  [[nodiscard]] bool wait(const Clock& clock, deadline until) {
    for (int spins = Bell::spins();;) {
      if (take_token()) return true;
      const duration left = until.remaining(clock.now());
      if (left == duration::zero()) return take_token();
      for (; spins > 0 && bell_.silent(); --spins) pause();
      if (waking_clock<Clock> || until.is_never()) {
        bell_.sleep();
      } else {
        bell_.sleep(in_system_time<Clock>(until, left));
      }
    }
  }

  /// Takes the token if there is one; otherwise forgets what a clock said before the next look at it.
  [[nodiscard]] bool take_token() noexcept { return (bell_.heard() & token) != 0; }

  template <monotonic_clock Clock>
  [[nodiscard]] static time_point in_system_time(deadline until, [[maybe_unused]] duration left) noexcept {
    if constexpr (std::same_as<Clock, steady_clock>) {
      return until.time();
    } else {
      const steady_clock system;
      return saturating_add(system.now(), left);
    }
  }

  Bell bell_;
};

/// One who waits in a `wait_list`; lives on the stack of the waiting call.
template <class Bell>
struct basic_waiter {
  basic_parker<Bell> park;
  basic_waiter* previous = nullptr;  // guarded by the lock of the component
  basic_waiter* next = nullptr;      // guarded by the lock of the component
  bool linked = false;               // guarded by the lock of the component
};

/// A first-in-first-out list of waiters, guarded by the lock of the component that owns it.
///
/// The protocol, all of it under that lock but the sleep itself:
///   waiter   push_back(w); unlock; sleep(w, ...); lock; look at what was granted to w;
///            if nothing was: remove(w).
///   granter  w = front(); remove(*w); record the grant in w; w->park.unpark(); unlock.
/// The unpark stays under the lock: a waiter that woke by itself must take the lock, sees its grant and
/// leaves only after the granter is done with it.  A waiter that gives up removes itself under the same lock,
/// so a grant is either seen by it or never made to it.
template <class Bell>
class basic_wait_list {
 public:
  using waiter = basic_waiter<Bell>;

  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] waiter* front() const noexcept { return head_; }

  void push_back(waiter& w) noexcept {
    assert(!w.linked && "a waiter stands in one list at a time");
    w.previous = tail_;
    w.next = nullptr;
    w.linked = true;
    (tail_ ? tail_->next : head_) = &w;
    tail_ = &w;
    ++size_;
  }

  /// No effect on a waiter that is not in the list.
  void remove(waiter& w) noexcept {
    if (!w.linked) return;
    (w.previous ? w.previous->next : head_) = w.next;
    (w.next ? w.next->previous : tail_) = w.previous;
    w.linked = false;
    --size_;
  }

 private:
  waiter* head_ = nullptr;
  waiter* tail_ = nullptr;
  std::size_t size_ = 0;
};

using parker = basic_parker<bell>;
using waiter = basic_waiter<bell>;
using wait_list = basic_wait_list<bell>;

/// What ended a sleep.  A grant may have come at the same instant: look at that first, under the lock.
enum class wake_reason { unparked, deadline_reached, stop_requested };

/// Sleeps on `w` until it is unparked, `until` is reached on `clock`, or a stop is requested.
/// Must be called without any lock.  Throws what a `waking_clock` throws that cannot keep the timer.
template <class Bell, monotonic_clock Clock>
[[nodiscard]] wake_reason sleep(basic_waiter<Bell>& w, const Clock& clock, deadline until,
                                const std::stop_token& stop) {
  const std::stop_callback on_stop{stop, [&w]() noexcept { w.park.unpark(); }};
  if (!w.park.park_until(clock, until)) return wake_reason::deadline_reached;
  return stop.stop_requested() ? wake_reason::stop_requested : wake_reason::unparked;
}

/// As above, for a `w` that stands in a list: leaves in `error` what the clock throws, because `w` must be
/// taken out first, and may have been granted something by then.
template <class Bell, monotonic_clock Clock>
[[nodiscard]] wake_reason sleep(basic_waiter<Bell>& w, const Clock& clock, deadline until,
                                const std::stop_token& stop, std::exception_ptr& error) noexcept {
  try {
    return sleep(w, clock, until, stop);
  } catch (...) {
    error = std::current_exception();
    return wake_reason::unparked;
  }
}

}  // namespace weir::inline v0::detail
