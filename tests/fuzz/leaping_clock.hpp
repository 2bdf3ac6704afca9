// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <functional>

#include <weir/clock.hpp>

namespace weir_test {

/// A clock on which every wait ends at once, at exactly its instant.  One thread plays many: what happens
/// while somebody waits is done by `meanwhile`, on the thread that waits, before time leaps.
class leaping_clock {
 public:
  class view {
   public:
    explicit view(leaping_clock& clock) noexcept : clock_{&clock} {}
    [[nodiscard]] weir::time_point now() const noexcept { return clock_->now; }
    void wake_at(weir::time_point at, weir::timer_target& target) const {
      if (clock_->meanwhile) clock_->meanwhile();
      clock_->now = std::max(clock_->now, at);
      if (clock_->leapt) clock_->leapt();
      target.wake();
    }
    void forget(weir::timer_target&) const noexcept {}

   private:
    leaping_clock* clock_;
  };

  [[nodiscard]] view source() noexcept { return view{*this}; }

  /// Steps by `by`, back too, saturating.
  void step(weir::duration by) noexcept { now = weir::saturating_add(now, by); }

  weir::time_point now{};
  std::function<void()> meanwhile;
  std::function<void()> leapt;  // after the leap
};
static_assert(weir::waking_clock<leaping_clock::view>);

}  // namespace weir_test
