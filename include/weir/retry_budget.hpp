// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <weir/clock.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

/// Retries as tokens: a retry takes one, a success earns a part of one.  Starts full.
/// While everything fails, `capacity` retries are made in all; after that, retries are at most `per_success`
/// of the successes.
struct token_budget {
  std::uint32_t capacity = 100;
  double per_success = 0.1;  ///< 0 to 1000, exact to a millionth
};

/// Retries as a share of the traffic: in every `window`, `ratio` of the successes plus a floor.
/// A success counts for nine to ten tenths of the window.
struct window_budget {
  duration window = std::chrono::seconds{10};  ///< at least 10 ns
  double ratio = 0.2;                          ///< 0 to 1000, exact to a millionth
  std::uint32_t min_per_second = 10;           ///< for those who call seldom
};

struct retry_budget_stats {
  std::uint64_t withdrawn = 0;  ///< retries let through
  std::uint64_t refused = 0;    ///< retries kept from being made
};

/// What keeps retries from multiplying an outage: it lets through only as many as the successes pay for.
///
/// Model       Integer millionths of a retry.  Token form: one word, tokens = min(capacity, tokens +
///             per_success) a success, - 1 a retry, never below zero.  Window form: ten slots of time; what
///             was earned and spent in the last `window`, plus the floor.
/// Sharing     One for each callee, shared by all who retry against it (std::shared_ptr in the options).
/// Thread safety  Every member from any thread; checked and taken in one step.
/// Time        The window form reads the clock; one that steps back stands still until it has caught up.
/// Ordering    Publishes nothing.
/// Source      Token form: AWS SDK standard mode; M. Brooker, "Fixing retries with token buckets", 2022.
///             Window form: Finagle's RetryBudget.
template <monotonic_clock Clock = steady_clock>
class basic_retry_budget {
 public:
  /// Throws std::invalid_argument if a field is out of range.
  explicit basic_retry_budget(token_budget form, Clock clock = {})
      : earned_{checked_earned(form.per_success)},
        capacity_{std::int64_t{form.capacity} * unit},
        clock_{std::move(clock)},
        tokens_{capacity_} {}

  /// Throws std::invalid_argument if a field is out of range.
  explicit basic_retry_budget(window_budget form, Clock clock = {})
      : earned_{checked_earned(form.ratio)},
        capacity_{checked_floor(form)},
        slot_{form.window / slots},
        clock_{std::move(clock)},
        tokens_{0} {}

  explicit basic_retry_budget()
    requires std::default_initializable<Clock>
      : basic_retry_budget(token_budget{}) {}

  basic_retry_budget(const basic_retry_budget&) = delete;
  basic_retry_budget& operator=(const basic_retry_budget&) = delete;
  ~basic_retry_budget() = default;

  /// A call succeeded.  Complexity O(1); the token form writes nothing while it is full.
  void deposit() noexcept { add(earned_); }

  /// Takes one retry, if there is one.  Complexity O(1).
  [[nodiscard]] bool try_withdraw() noexcept {
    const bool granted = slot_ == duration::zero() ? take_token() : take_from_window();
    (granted ? withdrawn_ : refused_).add();
    return granted;
  }

  /// Gives back a retry that was taken just now and not made.
  void refund() noexcept { add(unit); }

  /// Gives back a retry that was taken at about `taken_at`, by the budget's clock, and not made.  In the
  /// window form it counts at that time, so that it expires with what it makes up for.
  void refund(time_point taken_at) noexcept {
    if (slot_ == duration::zero()) return add(unit);
    const std::lock_guard lock{mutex_};
    static_cast<void>(current_locked());
    const std::int64_t index = std::min(last_index_, index_of(taken_at));
    if (index > last_index_ - slots) slot_locked(index).sum += unit;
  }

  /// How many retries could be taken now; stale when read.
  [[nodiscard]] std::uint64_t available_approx() const noexcept {
    if (slot_ != duration::zero()) {
      const std::lock_guard lock{mutex_};
      return static_cast<std::uint64_t>(std::max<std::int64_t>(0, window_locked(index_locked())) / unit);
    }
    // [relaxed] One word, read for information.
    return static_cast<std::uint64_t>(tokens_.load(std::memory_order_relaxed) / unit);
  }

  [[nodiscard]] retry_budget_stats stats() const noexcept { return {withdrawn_.value(), refused_.value()}; }

 private:
  static constexpr std::int64_t unit = 1'000'000;
  static constexpr int slots = 10;

  struct slot {
    std::int64_t index = 0;
    std::int64_t sum = 0;
  };

  static std::int64_t checked_earned(double share) {
    if (!(share >= 0 && share <= 1000)) {
      throw std::invalid_argument{"retry_budget: share of successes must be between 0 and 1000, got " +
                                  std::to_string(share)};
    }
    return std::llround(share * static_cast<double>(unit));
  }

  static std::int64_t checked_floor(const window_budget& form) {
    if (form.window < duration{slots}) {
      throw std::invalid_argument{"retry_budget: window must be at least 10 ns, got " +
                                  std::to_string(form.window.count())};
    }
    const double floor = std::chrono::duration<double>{form.window}.count() * form.min_per_second * 1e6;
    if (floor > 1e18) {
      throw std::invalid_argument{"retry_budget: window times min_per_second must be at most 10^12, got " +
                                  std::to_string(floor / 1e6)};
    }
    return std::llround(floor);
  }

  void add(std::int64_t amount) noexcept {
    if (slot_ != duration::zero()) {
      const std::lock_guard lock{mutex_};
      current_locked().sum += amount;
      return;
    }
    // [relaxed] The word is the whole state: its modification order is all that counts.
    std::int64_t have = tokens_.load(std::memory_order_relaxed);
    while (have < capacity_) {
      const std::int64_t next = std::min(capacity_, have + amount);
      // [relaxed] As above.
      if (tokens_.compare_exchange_weak(have, next, std::memory_order_relaxed)) return;
    }
  }

  bool take_token() noexcept {
    // [relaxed] The word is the whole state: its modification order is all that counts.
    std::int64_t have = tokens_.load(std::memory_order_relaxed);
    while (have >= unit) {
      // [relaxed] As above.
      if (tokens_.compare_exchange_weak(have, have - unit, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  bool take_from_window() noexcept {
    const std::lock_guard lock{mutex_};
    slot& current = current_locked();
    if (window_locked(last_index_) < unit) return false;  // at the one instant that `current` is of
    current.sum -= unit;
    return true;
  }

  [[nodiscard]] std::int64_t index_of(time_point at) const noexcept {
    const std::int64_t t = at.time_since_epoch().count();
    const std::int64_t length = slot_.count();
    return t / length - (t % length < 0 ? 1 : 0);
  }

  [[nodiscard]] std::int64_t index_locked() const noexcept {
    return std::max(last_index_, index_of(clock_.now()));
  }

  slot& current_locked() noexcept { return slot_locked(last_index_ = index_locked()); }

  slot& slot_locked(std::int64_t index) noexcept {
    slot& s = slots_[static_cast<std::size_t>((index % slots + slots) % slots)];
    if (s.index != index) s = {index, 0};
    return s;
  }

  [[nodiscard]] std::int64_t window_locked(std::int64_t index) const noexcept {
    std::int64_t sum = capacity_;
    for (const slot& s : slots_) {
      if (s.index > index - slots) sum += s.sum;  // none is ahead of time
    }
    return sum;
  }

  const std::int64_t earned_;               // millionths a success
  const std::int64_t capacity_;             // millionths; the floor in the window form
  const duration slot_ = duration::zero();  // zero in the token form
  [[no_unique_address]] Clock clock_;
  std::atomic<std::int64_t> tokens_;  // token form

  mutable std::mutex mutex_;
  std::array<slot, slots> slots_{};                                     // guarded by mutex_; window form
  std::int64_t last_index_ = std::numeric_limits<std::int64_t>::min();  // guarded by mutex_

  event_counter withdrawn_;
  event_counter refused_;
};

using retry_budget = basic_retry_budget<>;

}  // namespace weir::inline v0
