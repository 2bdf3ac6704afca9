// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace progression {

/// SplitMix64: what is left to chance here is the same under one seed on every platform.
/// Source  Steele, Lea, Flood, OOPSLA 2014.
class rng {
 public:
  explicit constexpr rng(std::uint64_t seed) noexcept : state_{seed} {}

  constexpr std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  /// Uniform over 0..n-1; n > 0.  Without bias: the part of the range that n does not divide is drawn again.
  constexpr std::size_t below(std::size_t n) noexcept {
    const std::uint64_t uneven = (0 - std::uint64_t{n}) % n;
    std::uint64_t drawn = next();
    while (drawn < uneven) drawn = next();
    return static_cast<std::size_t>(drawn % n);
  }

  /// Fisher-Yates, as far as the first `n` places.
  template <class T>
  void draw(std::vector<T>& from, std::size_t n) {
    for (std::size_t i = 0; i < n && i < from.size(); ++i) {
      std::swap(from[i], from[i + below(from.size() - i)]);
    }
    if (from.size() > n) from.resize(n);
  }

 private:
  std::uint64_t state_;
};

}  // namespace progression
