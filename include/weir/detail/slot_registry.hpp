// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace weir::inline v0::detail {

/// Numbers from 0 to `size - 1`, each held by one at a time; the lowest free one is handed out.
///
/// Ordering  What was done before a number was given back happens before what is done by who takes it next.
class slot_registry {
 public:
  static constexpr int size = 64;

  constexpr slot_registry() noexcept = default;
  slot_registry(const slot_registry&) = delete;
  slot_registry& operator=(const slot_registry&) = delete;
  ~slot_registry() = default;

  /// `size` if all are taken.  Complexity O(1), never blocks.
  [[nodiscard]] int take() noexcept {
    // [relaxed] The exchange says whether it is still so.
    std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    for (;;) {
      const int lowest = std::countr_one(taken);
      if (lowest == size) return size;
      // [A] acquire, pairs with [B], also through other exchanges in between: they continue its release.
      if (taken_.compare_exchange_weak(taken, taken | std::uint64_t{1} << lowest, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return lowest;
      }
    }
  }

  /// Precondition: `slot` comes from take; `size` is given back to no effect.
  void give_back(int slot) noexcept {
    // [B] release, pairs with [A].
    if (slot < size) taken_.fetch_and(~(std::uint64_t{1} << slot), std::memory_order_release);
  }

 private:
  std::atomic<std::uint64_t> taken_{0};
};

}  // namespace weir::inline v0::detail
