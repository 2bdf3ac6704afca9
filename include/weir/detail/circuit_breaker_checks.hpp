// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <weir/circuit_breaker_options.hpp>
#include <weir/clock.hpp>

namespace weir::inline v0::detail {

template <class... Parts>
void require_breaker_option(bool holds, std::string_view what, Parts... got) {
  if (holds) return;
  std::string text{"circuit_breaker: "};
  text += what;
  [[maybe_unused]] const auto add = [&text](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::remove_cvref_t<decltype(part)>>) {
      text += std::to_string(part);
    } else {
      text += part;
    }
  };
  (add(got), ...);
  throw std::invalid_argument{text};
}

inline void require_breaker_fraction(std::string_view name, fraction f) {
  if (f.numerator > 0 && f.numerator <= f.denominator) return;
  throw std::invalid_argument{"circuit_breaker: " + std::string{name} +
                              " must be above 0 and at most 1, got " + std::to_string(f.numerator) + "/" +
                              std::to_string(f.denominator)};
}

/// The options as they are.  Throws std::invalid_argument unless they are as they say.
inline circuit_breaker_options checked(const circuit_breaker_options& o) {
  if (const auto* w = std::get_if<count_window>(&o.window)) {
    require_breaker_option(w->size > 0, "count_window.size must be positive, got ", w->size);
  } else if (const auto* t = std::get_if<time_window>(&o.window)) {
    require_breaker_option(t->buckets > 0, "time_window.buckets must be positive, got ", t->buckets);
    require_breaker_option(t->length > duration::zero(),
                           "time_window.length must be positive, got nanoseconds: ", t->length.count());
    require_breaker_option(t->length.count() % t->buckets == 0, "time_window.length must be a multiple of ",
                           t->buckets, " nanoseconds, one for each of its buckets, got ", t->length.count());
  } else {
    const std::uint32_t count = std::get<consecutive_failures>(o.window).count;
    require_breaker_option(count > 0, "consecutive_failures.count must be positive, got ", count);
    require_breaker_option(!o.slow, "slow must not be given with consecutive_failures");
  }
  require_breaker_fraction("failure_rate", o.failure_rate);
  if (o.slow) {
    require_breaker_fraction("slow.rate", o.slow->rate);
    require_breaker_option(
        o.slow->longer_than >= duration::zero(),
        "slow.longer_than must not be negative, got nanoseconds: ", o.slow->longer_than.count());
  }
  require_breaker_option(o.minimum_calls > 0, "minimum_calls must be positive, got ", o.minimum_calls);
  require_breaker_option(o.open_for > duration::zero(),
                         "open_for must be positive, got nanoseconds: ", o.open_for.count());
  require_breaker_option(o.open_for_factor >= 1.0 && std::isfinite(o.open_for_factor),
                         "open_for_factor must be at least 1 and finite, got ", o.open_for_factor);
  require_breaker_option(o.open_for_max >= o.open_for,
                         "open_for_max must be at least open_for, got nanoseconds: ", o.open_for_max.count());
  require_breaker_option(o.open_for_jitter >= 0.0 && o.open_for_jitter < 1.0,
                         "open_for_jitter must be at least 0 and below 1, got ", o.open_for_jitter);
  require_breaker_option(o.probes > 0, "probes must be positive, got ", o.probes);
  if (o.probe_successes) {
    require_breaker_option(*o.probe_successes > 0 && *o.probe_successes <= o.probes,
                           "probe_successes must be from 1 to the probes, ", o.probes, ", got ",
                           *o.probe_successes);
  }
  if (o.half_open_max_wait) {
    require_breaker_option(
        *o.half_open_max_wait > duration::zero(),
        "half_open_max_wait must be positive, got nanoseconds: ", o.half_open_max_wait->count());
  }
  constexpr duration longest_ramp = std::chrono::days{1000};
  require_breaker_option(o.ramp >= duration::zero() && o.ramp <= longest_ramp,
                         "ramp must be from 0 to 1000 days, got nanoseconds: ", o.ramp.count());
  return o;
}

}  // namespace weir::inline v0::detail
