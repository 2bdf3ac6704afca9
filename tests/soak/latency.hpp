// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <weir/clock.hpp>

namespace weir_test {

inline constexpr unsigned fine_bits = 6;
inline constexpr std::size_t fine = std::size_t{1} << fine_bits;

/// The bucket of a number: one for each below `fine`, then `fine` for each power of two.
[[nodiscard]] constexpr std::size_t bucket_of(std::uint64_t n) noexcept {
  if (n < fine) return n;
  const auto shift = static_cast<unsigned>(std::bit_width(n)) - fine_bits - 1;
  return shift * fine + (n >> shift);
}
/// The greatest number of a bucket.
[[nodiscard]] constexpr std::uint64_t last_of(std::size_t bucket) noexcept {
  if (bucket < 2 * fine) return bucket;
  const std::size_t shift = bucket / fine - 1;
  return ((bucket % fine + fine + 1) << shift) - 1;
}
static_assert(bucket_of(63) == 63 && bucket_of(64) == 64 && bucket_of(127) == 127 && bucket_of(128) == 128);
static_assert(bucket_of(last_of(500)) == 500 && bucket_of(last_of(500) + 1) == 501);

/// Durations in buckets of a sixty-fourth of a power of two, in microseconds: percentiles to 1.6 %, in
/// constant memory.  Not thread safe.
class latency_histogram {
 public:
  void add(weir::duration d) noexcept {
    const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(d.count(), 0)) / 1000;
    ++buckets_[bucket_of(us)];
    ++count_;
    longest_ = std::max(longest_, us);
  }

  /// In milliseconds; the upper end of its bucket.
  [[nodiscard]] double percentile_ms(double share) const noexcept {
    const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i != buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= rank && seen > 0) return static_cast<double>(std::min(last_of(i), longest_)) / 1000.0;
    }
    return 0.0;
  }

  [[nodiscard]] double max_ms() const noexcept { return static_cast<double>(longest_) / 1000.0; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
  std::array<std::uint64_t, 64 * fine> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t longest_ = 0;
};

}  // namespace weir_test
