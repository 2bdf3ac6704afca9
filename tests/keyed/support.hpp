// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include <weir/clock.hpp>
#include <weir/outcome.hpp>

namespace keyed_test {

/// One cell each `interval`, `burst` at once: the smallest component that fades.  As new once nothing is
/// owed.
class small_bucket {
 public:
  small_bucket(weir::duration interval, int burst) : interval_{interval}, burst_{burst} {}
  small_bucket(const small_bucket&) = delete;
  small_bucket& operator=(const small_bucket&) = delete;
  ~small_bucket() = default;

  bool take_at(weir::time_point now) {
    const std::lock_guard lock{mutex_};
    const weir::time_point next = std::max(full_at_, now) + interval_;
    if (next - now > interval_ * burst_) return false;
    full_at_ = next;
    return true;
  }

  [[nodiscard]] bool is_as_new_at(weir::time_point now) const noexcept {
    const std::lock_guard lock{mutex_};
    return full_at_ <= now;
  }

 private:
  const weir::duration interval_;
  const int burst_;
  mutable std::mutex mutex_;
  weir::time_point full_at_ = weir::time_point::min();
};

/// Counts its uses and never fades.
struct tally {
  explicit tally(int n) : uses{n} {}
  tally(const tally&) = delete;
  tally& operator=(const tally&) = delete;
  ~tally() = default;
  weir::outcome<int> try_acquire(std::uint64_t n) { return uses += static_cast<int>(n); }
  int uses;
};

}  // namespace keyed_test
