// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <weir/clock.hpp>

namespace weir::inline v0::detail {

/// The calls that are out, the longest first: which of them have been out for too long?
///
/// Model       Places for a fixed number of calls, linked: the free ones, and in order of their beginning
///             those that are out and have not been found late.  A call that is found late leaves the order
///             and keeps its place until it ends.
/// Invariants  A place belongs to one call, from begin to end.  Calls begin in the order of time.
/// Complexity  O(1) each, without allocation; forget_entries and clear O(places).
class in_flight {
 public:
  using place = std::uint32_t;
  static constexpr place none = std::numeric_limits<place>::max();

  explicit in_flight(std::size_t places) : calls_(places) { clear(); }

  [[nodiscard]] std::size_t places() const noexcept { return calls_.size(); }
  [[nodiscard]] bool empty() const noexcept { return out_ == 0; }

  /// A place for a call that begins at `t`, or none if all are taken.
  [[nodiscard]] place begin(time_point t) noexcept {
    if (free_ == none) return none;
    const place p = free_;
    call& c = calls_[p];
    free_ = c.next;
    c = {.began = t, .before = last_, .next = none};
    (last_ == none ? first_ : calls_[last_].next) = p;
    last_ = p;
    ++out_;
    return p;
  }

  /// Takes out of the order the first call that has been out for longer than `limit` at `t`.
  [[nodiscard]] place take_late(time_point t, duration limit) noexcept {
    const place p = first_;
    if (p == none || elapsed(calls_[p].began, t) <= limit) return none;
    unlink(p);
    return p;
  }

  /// How a call that has been found late stands in the window.
  struct entry {
    std::uint64_t ticket;
    bool failed;  // it is not to be amended
  };
  void note(place p, entry found) noexcept { calls_[p].found = found; }

  /// Ends the call of `p`; its entry if it has been found late.
  std::optional<entry> end(place p) noexcept {
    const std::optional<entry> found = calls_[p].found;
    if (!found) unlink(p);
    calls_[p].next = free_;
    free_ = p;
    --out_;
    return found;
  }

  /// The window that holds the entries is gone: none of them is to be amended.
  void forget_entries() noexcept {
    for (call& c : calls_) {
      if (c.found) c.found->failed = true;
    }
  }

  /// All places are free.
  void clear() noexcept {
    first_ = last_ = free_ = none;
    out_ = 0;
    for (std::size_t i = calls_.size(); i-- > 0;) {
      calls_[i].next = free_;
      free_ = static_cast<place>(i);
    }
  }

 private:
  struct call {
    time_point began;
    std::optional<entry> found = std::nullopt;
    place before = none;
    place next = none;
  };

  void unlink(place p) noexcept {
    const call& c = calls_[p];
    (c.before == none ? first_ : calls_[c.before].next) = c.next;
    (c.next == none ? last_ : calls_[c.next].before) = c.before;
  }

  std::vector<call> calls_;
  place first_ = none;
  place last_ = none;
  place free_ = none;
  std::size_t out_ = 0;
};

}  // namespace weir::inline v0::detail
