// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>

namespace weir::inline v0::detail {

/// The end of one stay in a gate: held by whoever is inside, listed by the gate until it leaves or its time is
/// up.
///
/// Protocol  Whoever ends the lease first, by `give_up` or by `expire`, gives its units back.  If the gate was
///           first, the holder touches the gate no more, which may be gone; if the holder was first, the gate
///           touches the lease no more, once the holder has had the gate's lock.
struct gate_lease {
  std::atomic<bool> over{false};
  time_point ends{};         // written under the gate's lock before the holder is let in, as the next two
  std::uint64_t number = 0;  // the fencing number
  std::uint32_t weight = 0;  // units
  gate_lease* previous = nullptr;  // guarded by the gate's lock, as the next two
  gate_lease* next = nullptr;
  bool linked = false;

  /// For the holder: false if the gate has ended the lease.
  [[nodiscard]] bool give_up() noexcept {
    // [A] acquire, pairs with [B]: the gate has done with the lease, whose memory may be used again.
    return !over.exchange(true, std::memory_order_acquire);
  }

  /// For the gate, which has taken the lease out of its list: false if the holder has ended it.
  [[nodiscard]] bool expire() noexcept {
    // [B] release, pairs with [A].  The last touch, unless the holder was first and comes for the lock.
    return !over.exchange(true, std::memory_order_release);
  }

  [[nodiscard]] bool lasts(time_point now) const noexcept {
    // [relaxed] An answer for the moment.
    return !over.load(std::memory_order_relaxed) && !deadline{ends}.reached(now);
  }
};

/// Leases by their ends, the first to end at the front; guarded by the lock of the gate.
class gate_leases {
 public:
  [[nodiscard]] gate_lease* front() const noexcept { return head_; }

  /// The end of `lease` must not come before that of any in the list.
  void push_back(gate_lease& lease) noexcept {
    lease.previous = tail_;
    lease.next = nullptr;
    lease.linked = true;
    (tail_ ? tail_->next : head_) = &lease;
    tail_ = &lease;
  }

  /// No effect on a lease that is not in the list.
  void remove(gate_lease& lease) noexcept {
    if (!lease.linked) return;
    (lease.previous ? lease.previous->next : head_) = lease.next;
    (lease.next ? lease.next->previous : tail_) = lease.previous;
    lease.linked = false;
  }

 private:
  gate_lease* head_ = nullptr;
  gate_lease* tail_ = nullptr;
};

}  // namespace weir::inline v0::detail
