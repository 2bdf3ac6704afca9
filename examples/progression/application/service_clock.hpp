// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <weir/clock.hpp>

namespace progression {

/// The monotonic clock of all parts of one service; a test may shift it.
struct service_clock {
  weir::time_point (*read)() noexcept;
  [[nodiscard]] weir::time_point now() const noexcept { return read(); }
};

static_assert(weir::monotonic_clock<service_clock>);

}  // namespace progression
