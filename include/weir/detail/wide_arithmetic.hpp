// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <limits>

namespace weir::inline v0::detail {

/// A whole number of 128 bits, in halves.
struct wide_number {
  std::uint64_t high;
  std::uint64_t low;

  friend constexpr bool operator==(const wide_number&, const wide_number&) noexcept = default;
};

/// Products and quotients of 128 bits in the language alone.  `native_wide` gives the same answers.
struct portable_wide {
  [[nodiscard]] static constexpr wide_number multiply(std::uint64_t a, std::uint64_t b) noexcept {
    constexpr std::uint64_t half = 0xffff'ffff;
    const std::uint64_t low = (a & half) * (b & half);
    // No sum of these overflows: (2^32 - 1)^2 + 2 (2^32 - 1) = 2^64 - 1.
    const std::uint64_t upper = (a >> 32U) * (b & half) + (low >> 32U);
    const std::uint64_t lower = (a & half) * (b >> 32U) + (upper & half);
    return {(a >> 32U) * (b >> 32U) + (upper >> 32U) + (lower >> 32U), (lower << 32U) | (low & half)};
  }

  /// floor(n / d).  Requires n.high < d, so that the quotient has 64 bits.
  /// Complexity 64 steps, as by hand.
  [[nodiscard]] static constexpr std::uint64_t divide(wide_number n, std::uint64_t d) noexcept {
    std::uint64_t rest = n.high;
    std::uint64_t quotient = 0;
    for (int bit = 63; bit >= 0; --bit) {
      const bool carry = (rest >> 63U) != 0;  // the rest has 65 bits for the moment
      rest = (rest << 1U) | ((n.low >> static_cast<unsigned>(bit)) & 1U);
      quotient <<= 1U;
      if (carry || rest >= d) {
        rest -= d;
        quotient |= 1U;
      }
    }
    return quotient;
  }
};

#if defined(__SIZEOF_INT128__)
/// The same where the compiler knows numbers of 128 bits.
struct native_wide {
  [[nodiscard]] static constexpr wide_number multiply(std::uint64_t a, std::uint64_t b) noexcept {
    const wide product = static_cast<wide>(a) * b;
    return {static_cast<std::uint64_t>(product >> 64U), static_cast<std::uint64_t>(product)};
  }

  [[nodiscard]] static constexpr std::uint64_t divide(wide_number n, std::uint64_t d) noexcept {
    return static_cast<std::uint64_t>(((static_cast<wide>(n.high) << 64U) | n.low) / d);
  }

 private:
  __extension__ using wide = unsigned __int128;
};
using machine_wide = native_wide;
#else
using machine_wide = portable_wide;
#endif

/// floor(a * b / c), saturating at the ends of int64, for b >= 0 and c > 0.  The product has 128 bits.
template <class Wide = machine_wide>
[[nodiscard]] constexpr std::int64_t multiply_divide(std::int64_t a, std::int64_t b,
                                                     std::int64_t c) noexcept {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const bool negative = a < 0;
  const std::uint64_t size = negative ? 0 - static_cast<std::uint64_t>(a) : static_cast<std::uint64_t>(a);
  const auto divisor = static_cast<std::uint64_t>(c);
  const wide_number product = Wide::multiply(size, static_cast<std::uint64_t>(b));
  const bool fits = product.high < divisor;
  std::uint64_t quotient = fits ? Wide::divide(product, divisor) : std::numeric_limits<std::uint64_t>::max();
  if (!negative) return static_cast<std::int64_t>(quotient < most ? quotient : most);
  if (fits && quotient * divisor != product.low && quotient <= most) ++quotient;  // away from zero is down
  return quotient > most ? std::numeric_limits<std::int64_t>::min() : -static_cast<std::int64_t>(quotient);
}

/// `a`, multiplied by a number without order to it, both halves of the product in one: numbers that differ in
/// any bit come to differ in the lower ones.
template <class Wide = machine_wide>
[[nodiscard]] constexpr std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) noexcept {
  const wide_number product = Wide::multiply(a, b);
  return product.low ^ product.high;
}

}  // namespace weir::inline v0::detail
