// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace weir_test {

/// offered == accepted + refused;  accepted == delivered + dead + inside, if nothing is lost or doubled.
struct ledger_counts {
  std::uint64_t offered = 0;
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  ///< at the door: the queue was full
  std::uint64_t delivered = 0;
  std::uint64_t dead = 0;        ///< put aside, with a reason
  std::uint64_t inside = 0;      ///< neither yet; found by looking, not by subtracting
  std::uint64_t lost = 0;        ///< still not settled long after
  std::uint64_t duplicated = 0;  ///< settled twice, or never accepted
};

/// Knows what became of each message, in constant memory: of the latest `span` messages what each is at, of
/// those before that they were settled.
///
/// Thread safety  Every member from any thread.
class ledger {
 public:
  /// Before the message is handed over: afterwards it may be settled at once.
  void offered(std::uint64_t id) {
    const std::lock_guard lock{mutex_};
    std::uint64_t& slot = slots_[id % span];
    if (is_inside(slot)) ++counts_.lost;
    slot = inside_mark(id);
    ++counts_.offered;
    ++counts_.accepted;
  }

  /// It was not taken after all.
  void refused(std::uint64_t id) {
    const std::lock_guard lock{mutex_};
    --counts_.accepted;
    ++counts_.refused;
    settle(id);
  }

  void delivered(std::uint64_t id) {
    const std::lock_guard lock{mutex_};
    ++counts_.delivered;
    settle(id);
  }

  void dead(std::uint64_t id) {
    const std::lock_guard lock{mutex_};
    ++counts_.dead;
    settle(id);
  }

  [[nodiscard]] ledger_counts counts() const {
    const std::lock_guard lock{mutex_};
    ledger_counts all = counts_;
    all.inside = static_cast<std::uint64_t>(std::ranges::count_if(slots_, is_inside));
    return all;
  }

 private:
  static constexpr std::size_t span = std::size_t{1} << 13;

  // A slot holds the number of its latest message, from 1, and whether it is inside in bit 0.
  static constexpr std::uint64_t inside_mark(std::uint64_t id) noexcept { return (id + 1) << 1 | 1; }
  static constexpr bool is_inside(std::uint64_t slot) noexcept { return (slot & 1) != 0; }

  void settle(std::uint64_t id) {
    std::uint64_t& slot = slots_[id % span];
    if (slot != inside_mark(id)) ++counts_.duplicated;
    slot &= ~std::uint64_t{1};
  }

  mutable std::mutex mutex_;
  std::vector<std::uint64_t> slots_ = std::vector<std::uint64_t>(span);
  ledger_counts counts_;
};

}  // namespace weir_test
