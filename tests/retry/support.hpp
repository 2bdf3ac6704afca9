// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <vector>

#include <weir/clock.hpp>

namespace retry_test {

/// A clock on which every sleep ends at once, at exactly its instant, and is written down.  One thread.
class leaping_clock {
 public:
  class view {
   public:
    explicit view(leaping_clock& clock) noexcept : clock_{&clock} {}
    [[nodiscard]] weir::time_point now() const noexcept { return clock_->now; }
    void wake_at(weir::time_point at, weir::timer_target& target) const {
      clock_->slept.push_back(at - clock_->now);
      clock_->now = at + clock_->overshoot;
      target.wake();
    }
    void forget(weir::timer_target&) const noexcept {}

   private:
    leaping_clock* clock_;
  };

  [[nodiscard]] view source() noexcept { return view{*this}; }

  weir::time_point now{};
  weir::duration overshoot{};
  std::vector<weir::duration> slept;
};
static_assert(weir::waking_clock<leaping_clock::view>);

}  // namespace retry_test
