// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <functional>
#include <new>

#include <weir/clock.hpp>

namespace weir_test {

/// A clock that cannot keep a timer: every bounded wait on it throws, once `meanwhile` has run.
struct broken_clock {
  [[nodiscard]] weir::time_point now() const noexcept { return {}; }
  void wake_at(weir::time_point, weir::timer_target&) const {
    (*meanwhile)();
    throw std::bad_alloc{};
  }
  void forget(weir::timer_target&) const noexcept {}

  const std::function<void()>* meanwhile;
};

}  // namespace weir_test
