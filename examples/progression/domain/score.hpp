// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

#include "domain/model.hpp"

namespace progression {

/// `a + b` and `a * b` of two numbers that are not negative.  Throw std::overflow_error if the result does
/// not fit.
[[nodiscard]] std::int64_t checked_add(std::int64_t a, std::int64_t b);
[[nodiscard]] std::int64_t checked_mul(std::int64_t a, std::int64_t b);

/// `a / b` to the nearest whole number, halves away from zero; a >= 0, b > 0.  The one rounding rule.
[[nodiscard]] constexpr std::int64_t divide_rounding(std::int64_t a, std::int64_t b) noexcept {
  return a / b + (a % b >= b - a % b ? 1 : 0);
}

/// What an engagement is worth: value x weight x (1 + rate), rounded once, to a thousandth of a point.
///
/// A pure function: neither the order of calls nor another user has any part in it.  Throws
/// std::invalid_argument for a negative number and std::overflow_error if the result does not fit.
[[nodiscard]] points score(std::int64_t value, std::int64_t weight_milli, std::int64_t rate_milli = 0);

}  // namespace progression
