// SPDX-License-Identifier: BSL-1.0
// Time that a scenario moves by hand: cheaper to explore than a clock that wakes those who wait.
#pragma once

#include <atomic>

#include <weir/clock.hpp>

namespace weir_model {

/// The instant so many nanoseconds after the epoch.
[[nodiscard]] constexpr weir::time_point at(long long nanoseconds) noexcept {
  return weir::time_point{weir::duration{nanoseconds}};
}

/// A clock that always says zero.
struct standing_clock {
  [[nodiscard]] weir::time_point now() const noexcept { return at(0); }
};

/// Time as a word.  Relaxed: a thread may read what is past already, and another one what is newer, so that to a
/// component that is called by both the clock steps back.
class hand_time {
 public:
  class view {
   public:
    explicit view(const hand_time& time) noexcept : time_{&time} {}
    [[nodiscard]] weir::time_point now() const noexcept {
      return at(time_->ns_.load(std::memory_order_relaxed));
    }

   private:
    const hand_time* time_;
  };

  hand_time() = default;
  explicit hand_time(long long nanoseconds) noexcept : ns_{nanoseconds} {}

  void set(long long nanoseconds) noexcept { ns_.store(nanoseconds, std::memory_order_relaxed); }
  [[nodiscard]] view source() const noexcept { return view{*this}; }

 private:
  std::atomic<long long> ns_{0};
};

}  // namespace weir_model
