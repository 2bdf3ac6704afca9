// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>

namespace weir::inline v0 {

/// A monotonic count of events, incremented from any thread.
///
/// What every `stats()` is made of.  A `stats()` struct is a row of such counts read one after the other:
/// each is exact, the row is not one instant.
///
/// Ordering  Publishes nothing: a count orders no other memory.
class event_counter {
 public:
  event_counter() noexcept = default;
  event_counter(const event_counter&) = delete;
  event_counter& operator=(const event_counter&) = delete;
  ~event_counter() = default;

  /// Complexity O(1), never blocks.
  void add(std::uint64_t n = 1) noexcept {
    // [relaxed] The count itself is all that is read; its modification order makes it exact.
    count_.fetch_add(n, std::memory_order_relaxed);
  }

  /// The same from the only thread that adds to this counter; a thread may follow another that has ended.
  void add_alone(std::uint64_t n = 1) noexcept {
    // [relaxed] As above; nobody else writes between the two, and who wrote before happens before.
    count_.store(count_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t value() const noexcept {
    // [relaxed] A reader wants some recent value, nothing that came before it.
    return count_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace weir::inline v0
