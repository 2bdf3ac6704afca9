// SPDX-License-Identifier: BSL-1.0
#include "domain/score.hpp"

#include <limits>
#include <stdexcept>
#include <string>

namespace progression {

namespace {
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

void require_not_negative(const char* field, std::int64_t n) {
  if (n >= 0) return;
  throw std::invalid_argument{std::string{"score: "} + field + " must not be negative, got " +
                              std::to_string(n)};
}
}  // namespace

std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  if (a > largest - b) throw std::overflow_error{"points: the sum does not fit"};
  return a + b;
}

std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  if (b != 0 && a > largest / b) throw std::overflow_error{"points: the product does not fit"};
  return a * b;
}

points score(std::int64_t value, std::int64_t weight_milli, std::int64_t rate_milli) {
  require_not_negative("value", value);
  require_not_negative("weight", weight_milli);
  require_not_negative("rate", rate_milli);
  const std::int64_t weighed = checked_mul(value, weight_milli);
  return {divide_rounding(checked_mul(weighed, checked_add(1000, rate_milli)), 1000)};
}

}  // namespace progression
