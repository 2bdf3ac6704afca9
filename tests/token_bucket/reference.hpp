// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>

#include <weir/token_bucket.hpp>

namespace weir_test {

__extension__ using wide = __int128;

/// floor(a / b) for b > 0.
[[nodiscard]] constexpr wide floor_divide(wide a, wide b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
/// The least whole number that is not below a / b, for b > 0.
[[nodiscard]] constexpr wide ceil_divide(wide a, wide b) { return -floor_divide(-a, b); }

/// A bucket written down in the most literal way, in 128 bits: tokens and the remainder in units of 1/q
/// token, refilled by p units a nanosecond.
struct literal_bucket {
  wide p, q, burst;
  wide units;  // tokens * q + remainder; negative in debt
  wide last;

  /// `tokens` for every `per` nanoseconds, in lowest terms; nothing if that is no bucket.
  static std::optional<literal_bucket> of(std::int64_t tokens, std::int64_t per, std::int64_t burst) {
    constexpr wide most = wide{1} << 61;
    if (tokens < 0 || per <= 0 || burst <= 0) return std::nullopt;
    const std::int64_t common = tokens == 0 ? per : std::gcd(tokens, per);
    const literal_bucket b{tokens / common, per / common, burst, 0, 0};
    if (b.p > (wide{1} << 31) || b.capacity() > most) return std::nullopt;
    return b;
  }

  [[nodiscard]] wide capacity() const { return burst * q; }

  void settle(wide now) {
    if (now <= last) return;
    units = at(now);
    last = now;
  }
  /// What it holds at `now`, no earlier than what it has seen.
  [[nodiscard]] wide at(wide now) const {
    return now <= last ? units : std::min(capacity(), units + (now - last) * p);
  }
  [[nodiscard]] wide tokens() const { return floor_divide(units, q); }
  [[nodiscard]] wide tokens(wide now) const { return floor_divide(at(now), q); }
  bool take(wide n) {
    if (units < n * q) return false;
    units -= n * q;
    return true;
  }
  /// Nanoseconds until `n` tokens are there; p is positive.
  [[nodiscard]] wide wait(wide n) const { return units >= n * q ? 0 : ceil_divide(n * q - units, p); }

  /// Goes on as `next`, with what `kept` makes of what it holds; `reset_to` tokens if nothing is kept.
  void reconfigure(const literal_bucket& next, weir::held_tokens kept, wide reset_to) {
    constexpr wide deepest = wide{1} << 61;
    wide held = floor_divide(units * next.q, q);
    if (kept == weir::held_tokens::reset) {
      held = reset_to * next.q;
    } else if (kept == weir::held_tokens::proportional && units > 0) {
      held = floor_divide(units * next.capacity(), capacity());
    } else if (kept == weir::held_tokens::additive) {
      const wide grown = next.capacity() + floor_divide((units - capacity()) * next.q, q);
      held = std::max(std::min(held, wide{0}), grown);
    }
    p = next.p;
    q = next.q;
    burst = next.burst;
    units = std::clamp(held, -deepest, capacity());
  }
};

}  // namespace weir_test
