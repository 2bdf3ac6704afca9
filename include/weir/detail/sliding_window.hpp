// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <weir/clock.hpp>

namespace weir::inline v0::detail {

/// What a window has seen.
struct window_totals {
  std::uint64_t calls = 0;
  std::uint64_t failed = 0;
  std::uint64_t slow = 0;

  constexpr void add(bool call_failed, bool call_slow) noexcept {
    ++calls;
    failed += call_failed ? 1 : 0;
    slow += call_slow ? 1 : 0;
  }

  friend constexpr window_totals operator+(window_totals a, const window_totals& b) noexcept {
    return {a.calls + b.calls, a.failed + b.failed, a.slow + b.slow};
  }
  friend constexpr window_totals operator-(window_totals a, const window_totals& b) noexcept {
    return {a.calls - b.calls, a.failed - b.failed, a.slow - b.slow};
  }
  friend constexpr bool operator==(const window_totals&, const window_totals&) noexcept = default;
};

/// The last `size` calls.
///
/// Complexity  O(1) a call, `size` bytes; n successes at once O(min(n, size)), O(1) where all are good.
class last_calls {
 public:
  explicit last_calls(std::size_t size) : ring_(size) {}

  /// Its ticket, with which it can be amended as long as it is held.
  std::uint64_t add(time_point, bool failed, bool slow) noexcept {
    if (totals_.calls == ring_.size()) {
      const std::uint64_t oldest = ring_[next_];
      totals_ = totals_ - window_totals{1, oldest & 1, oldest >> 1};
    }
    ring_[next_] = static_cast<std::uint8_t>((failed ? 1u : 0u) | (slow ? 2u : 0u));
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
    totals_.add(failed, slow);
    return added_++;
  }

  /// As so many calls of add with neither failed nor slow.
  void add_successes(time_point, std::uint64_t n) noexcept {
    const std::uint64_t size = ring_.size();
    const bool bad_ones = totals_.failed != 0 || totals_.slow != 0;
    if (bad_ones && n < size) {
      for (std::uint64_t i = 0; i < n; ++i) add({}, false, false);
      return;
    }
    // Nothing bad is left.  Every byte of the ring is zero, and so it is the same wherever it begins.
    if (bad_ones) std::ranges::fill(ring_, std::uint8_t{0});
    totals_ = {std::min(size, totals_.calls + n), 0, 0};
    added_ += n;
  }

  /// The call of `ticket`, which was not said to have failed, has, if it is still held.
  void amend(time_point, std::uint64_t ticket) noexcept {
    if (added_ - ticket > totals_.calls) return;
    std::uint8_t& held =
        ring_[static_cast<std::size_t>((next_ + ring_.size() - (added_ - ticket)) % ring_.size())];
    held |= 1u;
    ++totals_.failed;
  }

  [[nodiscard]] window_totals totals(time_point) const noexcept { return totals_; }
  [[nodiscard]] window_totals totals_at(time_point) const noexcept { return totals_; }

  /// Whether it will count from here as one just made.
  [[nodiscard]] bool is_as_new_at(time_point) const noexcept { return totals_.calls == 0; }

  void clear() noexcept {
    std::ranges::fill(ring_, std::uint8_t{0});
    totals_ = {};
    next_ = 0;
  }

 private:
  std::vector<std::uint8_t> ring_;  // bit 0 failed, bit 1 slow; zero where none of the last calls stands
  std::size_t next_ = 0;
  std::uint64_t added_ = 0;  // in all
  window_totals totals_;
};

/// The calls of a span of time, in buckets that leave it whole: bucket i holds [i x width, (i + 1) x width).
///
/// Invariants  At t the window is made of the `count` buckets up to that of t.  Ageing happens on reading as
///             on writing; an instant earlier than the latest one seen is taken for that, so a clock that
///             steps back evicts nothing.
/// Complexity  O(1) a call, amortised; O(count) after a pause.
class recent_calls {
 public:
  recent_calls(duration width, std::size_t count) : width_{width}, buckets_(count) {}

  /// Its ticket, with which it can be amended as long as it is held.
  std::uint64_t add(time_point now, bool failed, bool slow) noexcept {
    age(now);
    buckets_[slot(newest_)].add(failed, slow);
    totals_.add(failed, slow);
    return static_cast<std::uint64_t>(newest_);
  }

  /// As so many calls of add with neither failed nor slow.
  void add_successes(time_point now, std::uint64_t n) noexcept {
    age(now);
    buckets_[slot(newest_)].calls += n;
    totals_.calls += n;
  }

  /// A call of `ticket` that was not said to have failed has, if it is still held at `now`.
  void amend(time_point now, std::uint64_t ticket) noexcept {
    age(now);
    if (static_cast<std::uint64_t>(newest_) - ticket >= buckets_.size()) return;
    ++buckets_[slot(static_cast<std::int64_t>(ticket))].failed;
    ++totals_.failed;
  }

  [[nodiscard]] window_totals totals(time_point now) noexcept {
    age(now);
    return totals_;
  }

  /// The same; ages nothing.
  ///
  /// Complexity  O(buckets).
  [[nodiscard]] window_totals totals_at(time_point now) const noexcept {
    window_totals sum;
    for (std::size_t back = 0; back < still_held(now); ++back) sum = sum + bucket_back(back);
    return sum;
  }

  /// When the bucket that holds `at` ends.
  [[nodiscard]] time_point end_of_bucket(time_point at) const noexcept {
    const std::int64_t into = at.time_since_epoch().count() % width_.count();
    return saturating_add(at, duration{into < 0 ? -into : width_.count() - into});
  }

  /// Whether nothing that it holds will still count at `now`; ages nothing.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    for (std::size_t back = 0; back < still_held(now); ++back) {
      if (bucket_back(back).calls != 0) return false;
    }
    return true;
  }

  void clear() noexcept {
    std::ranges::fill(buckets_, window_totals{});
    totals_ = {};
  }

 private:
  /// How many of the buckets, from the newest back, will still count at `now`.
  [[nodiscard]] std::size_t still_held(time_point now) const noexcept {
    if (totals_.calls == 0) return 0;
    const std::int64_t index = std::max(newest_, index_of(now));
    const auto passed = static_cast<std::uint64_t>(index) - static_cast<std::uint64_t>(newest_);
    return passed >= buckets_.size() ? 0 : buckets_.size() - static_cast<std::size_t>(passed);
  }

  [[nodiscard]] const window_totals& bucket_back(std::size_t back) const noexcept {
    return buckets_[(slot(newest_) + buckets_.size() - back) % buckets_.size()];
  }

  [[nodiscard]] std::int64_t index_of(time_point at) const noexcept {
    const std::int64_t t = at.time_since_epoch().count();
    return t >= 0 ? t / width_.count() : (t + 1) / width_.count() - 1;
  }

  void age(time_point now) noexcept {
    const std::int64_t index = index_of(now);
    if (index <= newest_) return;
    if (totals_.calls != 0) {
      // The buckets that `index` shuts out; beyond `count` of them all are empty.
      const auto passed = static_cast<std::uint64_t>(index) - static_cast<std::uint64_t>(newest_);
      const auto shut_out = static_cast<std::int64_t>(std::min<std::uint64_t>(passed, buckets_.size()));
      for (std::int64_t i = 1; i <= shut_out; ++i) {
        window_totals& leaving = buckets_[slot(newest_ + i)];
        totals_ = totals_ - leaving;
        leaving = {};
      }
    }
    newest_ = index;
  }

  [[nodiscard]] std::size_t slot(std::int64_t index) const noexcept {
    const auto count = static_cast<std::int64_t>(buckets_.size());
    return static_cast<std::size_t>(((index % count) + count) % count);
  }

  duration width_;
  std::vector<window_totals> buckets_;
  std::int64_t newest_ = std::numeric_limits<std::int64_t>::min();  // index of the latest bucket seen
  window_totals totals_;
};

/// Failures in a row, since the last success.
class failure_run {
 public:
  std::uint64_t add(time_point, bool failed, bool slow) noexcept {
    totals_.add(failed, slow);
    run_ = failed ? run_ + 1 : 0;
    return 0;
  }

  /// As so many calls of add with neither failed nor slow.
  void add_successes(time_point, std::uint64_t n) noexcept {
    totals_.calls += n;
    if (n > 0) run_ = 0;
  }

  [[nodiscard]] window_totals totals(time_point) const noexcept { return totals_; }
  [[nodiscard]] window_totals totals_at(time_point) const noexcept { return totals_; }
  [[nodiscard]] std::uint64_t run() const noexcept { return run_; }

  /// Whether it will count from here as one just made.
  [[nodiscard]] bool is_as_new_at(time_point) const noexcept { return run_ == 0; }

  void clear() noexcept {
    totals_ = {};
    run_ = 0;
  }

 private:
  window_totals totals_;  // since the last clear
  std::uint64_t run_ = 0;
};

}  // namespace weir::inline v0::detail
