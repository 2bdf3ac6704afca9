// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>

#include <weir/clock.hpp>

namespace weir::inline v0 {

/// The instant after which an answer is of no use; `never` if there is none.
///
/// A deadline flows down: whoever is handed one passes it on, or the earlier of it and its own.  An instant
/// is reached at `now >= time()`, exactly.
class deadline {
 public:
  /// No deadline.
  constexpr deadline() noexcept = default;

  /// Implicit: every verb that takes a deadline takes an instant too.
  constexpr deadline(time_point at) noexcept : at_{at} {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] static constexpr deadline never() noexcept { return {}; }

  /// `now + wait`, saturating: a wait that leads past the end of time is `never`.
  [[nodiscard]] static constexpr deadline after(time_point now, duration wait) noexcept {
    return deadline{saturating_add(now, wait)};
  }

  [[nodiscard]] constexpr bool is_never() const noexcept { return at_ == time_point::max(); }
  [[nodiscard]] constexpr bool reached(time_point now) const noexcept { return !is_never() && now >= at_; }

  /// Time left at `now`: zero once reached, `duration::max()` for `never`.
  [[nodiscard]] constexpr duration remaining(time_point now) const noexcept {
    return is_never() ? duration::max() : elapsed(now, at_);
  }

  /// The instant itself, `time_point::max()` for `never`.
  [[nodiscard]] constexpr time_point time() const noexcept { return at_; }

  friend constexpr auto operator<=>(const deadline&, const deadline&) noexcept = default;
  friend constexpr bool operator==(const deadline&, const deadline&) noexcept = default;

 private:
  time_point at_ = time_point::max();
};

[[nodiscard]] constexpr deadline earliest(deadline a, deadline b) noexcept { return std::min(a, b); }

}  // namespace weir::inline v0
