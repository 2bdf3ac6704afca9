// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <weir/clock.hpp>

namespace weir::inline v0 {

/// How the delay grows from one retry to the next.
enum class backoff_growth : std::uint8_t {
  constant,     ///< base
  linear,       ///< base * (n + 1)
  exponential,  ///< base * factor ^ n
};

/// How a delay is spread, so that those who failed together do not come back together.
/// With d = min(cap, growth) and U a uniform draw:
enum class backoff_jitter : std::uint8_t {
  none,          ///< d
  full,          ///< U(0, d); the least work for whoever is called
  equal,         ///< U(d / 2, d)
  proportional,  ///< U(d (1 - p), min(cap, d (1 + p)))
  decorrelated,  ///< min(cap, U(base, 3 * the delay before)); is at the cap two times in three once there
};

/// The delays between attempts.
struct backoff_options {
  backoff_growth growth = backoff_growth::exponential;
  duration base = std::chrono::milliseconds{100};  ///< not negative; zero: no delay at all
  double factor = 2;                               ///< at least 1; exponential only
  duration cap = std::chrono::seconds{20};         ///< at least `base`; no delay of ours is ever longer
  backoff_jitter jitter = backoff_jitter::full;
  double proportion = 0.5;  ///< 0 to 1; proportional only
};

/// Throws std::invalid_argument if a field is out of range.
inline void validate(const backoff_options& o) {
  const auto require = [](bool ok, const char* what, auto got) {
    if (!ok) throw std::invalid_argument{"backoff: " + std::string{what} + ", got " + std::to_string(got)};
  };
  require(o.base >= duration::zero(), "base must not be negative", o.base.count());
  require(o.cap >= o.base, "cap must not be less than base", o.cap.count());
  require(std::isfinite(o.factor) && o.factor >= 1, "factor must be at least 1", o.factor);
  require(o.proportion >= 0 && o.proportion <= 1, "proportion must be between 0 and 1", o.proportion);
}

namespace detail {

[[nodiscard]] inline duration saturating_scale(duration d, double by) noexcept {
  const double scaled = static_cast<double>(d.count()) * by;
  // Not `>=`: a NaN (zero times infinity) must not get through either.
  if (!(scaled < static_cast<double>(duration::max().count()))) return duration::max();
  return duration{std::llround(scaled)};
}

}  // namespace detail

/// The point at `r` between `low` and `high`: `low` at 0, short of `high` for every r below 1.
[[nodiscard]] inline duration draw_between(duration low, duration high, double r) noexcept {
  if (high <= low) return low;
  const duration span = high - low;
  const double offset = static_cast<double>(span.count()) * r;
  if (!(offset < static_cast<double>(span.count()))) return high;
  return low + duration{static_cast<duration::rep>(offset)};
}

/// The delay before retry `n` (from 0) without its jitter: never negative, never above the cap.
/// Complexity     O(1) for every n; what would overflow is the cap.
[[nodiscard]] inline duration plain_delay(const backoff_options& o, std::uint32_t n) noexcept {
  if (o.base == duration::zero()) return duration::zero();
  switch (o.growth) {
    case backoff_growth::constant:
      return o.base;
    case backoff_growth::linear: {
      const auto times = duration::rep{n} + 1;
      return times > o.cap / o.base ? o.cap : o.base * times;
    }
    case backoff_growth::exponential:
      return std::min(o.cap, detail::saturating_scale(o.base, std::pow(o.factor, n)));
  }
  return o.cap;
}

/// The delay before retry `n` (from 0).  A pure function of its arguments.
///
/// The cap comes first and the draw is made inside it: the other order either exceeds the cap, or leaves no
/// jitter once the cap is reached, when it is needed most.
///
/// \param previous  The delay before this one, `base` for the first; decorrelated only.
/// \param r         The random draw, in [0, 1).
/// Source           M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
[[nodiscard]] inline duration backoff_delay(const backoff_options& o, std::uint32_t n, duration previous,
                                            double r) noexcept {
  const duration d = plain_delay(o, n);
  switch (o.jitter) {
    case backoff_jitter::none:
      return d;
    case backoff_jitter::full:
      return draw_between(duration::zero(), d, r);
    case backoff_jitter::equal:
      return draw_between(d - d / 2, d, r);
    case backoff_jitter::proportional:
      return draw_between(std::min(d, detail::saturating_scale(d, 1 - o.proportion)),
                          std::min(o.cap, detail::saturating_scale(d, 1 + o.proportion)), r);
    case backoff_jitter::decorrelated:
      return std::min(o.cap, draw_between(o.base, detail::saturating_scale(previous, 3), r));
  }
  return d;
}

}  // namespace weir::inline v0
