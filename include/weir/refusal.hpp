// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <weir/clock.hpp>

namespace weir::inline v0 {

/// Why a component said no.
enum class refusal_reason : std::uint8_t {
  rate_limited,      ///< a rate limiter has no token now
  circuit_open,      ///< a circuit breaker expects the call to fail
  busy,              ///< every slot of a gate or bulkhead is taken
  full,              ///< a bounded buffer has no room
  empty,             ///< a buffer has nothing to give
  closed,            ///< the component was closed; nothing further will be accepted
  timed_out,         ///< the deadline came first, or is known to come first
  cancelled,         ///< the caller's stop_token was triggered
  exceeds_capacity,  ///< more was asked for than the component can ever give
  budget_exhausted,  ///< the retry budget is spent
};

/// The reason as a short word, fit for a metric label.
[[nodiscard]] constexpr std::string_view to_string(refusal_reason reason) noexcept {
  switch (reason) {
    case refusal_reason::rate_limited:
      return "rate_limited";
    case refusal_reason::circuit_open:
      return "circuit_open";
    case refusal_reason::busy:
      return "busy";
    case refusal_reason::full:
      return "full";
    case refusal_reason::empty:
      return "empty";
    case refusal_reason::closed:
      return "closed";
    case refusal_reason::timed_out:
      return "timed_out";
    case refusal_reason::cancelled:
      return "cancelled";
    case refusal_reason::exceeds_capacity:
      return "exceeds_capacity";
    case refusal_reason::budget_exhausted:
      return "budget_exhausted";
  }
  return "unknown";
}

/// A refusal is a value: it travels through a composition unchanged, becomes a 429 or 503 with Retry-After,
/// and labels a metric.  It is never an exception.
struct refusal {
  refusal_reason reason;

  /// How long to wait before asking again can be of use.  Zero: at any time, nothing better is known.
  /// Empty: never, the same request cannot succeed on this component.
  std::optional<duration> retry_after = duration::zero();

  friend constexpr bool operator==(const refusal&, const refusal&) noexcept = default;
};

/// A refusal that no later attempt can turn.
[[nodiscard]] constexpr refusal refused_for_ever(refusal_reason reason) noexcept {
  return {reason, std::nullopt};
}

}  // namespace weir::inline v0
