// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/gate_lease.hpp>
#include <weir/detail/parking.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0::detail {

enum class gate_answer : std::uint8_t { none, granted, closed, too_much, full, cancelled };

/// One who waits at a gate, for units or for idleness.
struct gate_entrant : waiter {
  gate_entrant(std::uint32_t w, bool o, gate_lease* h, const std::stop_token* s) noexcept
      : weight{w}, owner{o}, hold{h}, stop{s} {}
  const std::uint32_t weight;           // zero: waits for idleness
  const bool owner;                     // runs what was promised: not refused by `close`
  gate_lease* const hold;               // for the stay, in a gate with leases
  const std::stop_token* const stop;    // whoever requested it before the grant wins; or none
  gate_answer got = gate_answer::none;  // guarded by the gate's lock
  deadline look{};                      // guarded by the gate's lock; when it will look again by itself
  deadline sleeps_until{};              // the same, as it last saw it; its own
};

/// Who is inside a task_gate and who waits: its word, its lines and its leases.  Is told the time.
///
/// Leases      `leased` stands in the word of a gate with leases from its construction on and keeps everybody
///             off the way without the lock: such a gate costs a lock per call, any other one nothing.  Nobody
///             watches the clock: who comes, looks or waits collects what has ended, and the first in each
///             line sleeps no longer than the first lease.
/// Time        That of the callers, clamped so that it never runs back; looked at only in a gate with leases.
class gate_state {
 public:
  static constexpr std::uint64_t closed_flag = 1;
  static constexpr std::uint64_t waiting_flag = 2;   // `waiters_` is not empty: nobody enters past it
  static constexpr std::uint64_t watched_flag = 4;   // `watchers_` is not empty
  static constexpr std::uint64_t owner_flag = 8;     // a call of run_coalesced is under way
  static constexpr std::uint64_t pending_flag = 16;  // ... and owes a run that has not begun
  static constexpr std::uint64_t leased_flag = 32;   // stays end by themselves; never changes
  static constexpr int free_shift = 16;              // above: free units, negative after a shrink

  gate_state(std::uint32_t capacity, std::optional<duration> lease,
             std::optional<std::uint32_t> max_waiting) noexcept
      : word_{units(capacity) + (lease ? leased_mark : 0)},
        lease_{lease.value_or(duration::zero())},
        max_waiting_{max_waiting.value_or(std::numeric_limits<std::uint32_t>::max())},
        made_with_{capacity},
        capacity_{capacity} {}

  gate_state(const gate_state&) = delete;
  gate_state& operator=(const gate_state&) = delete;

  /// May not be called, as nothing may, while somebody is inside who has not outlived a lease.
  ~gate_state() {
    // [relaxed] No call may be in progress, so nobody else writes.
    assert(idle(word_.load(std::memory_order_relaxed)) &&
           "a gate may not be destroyed while somebody is inside");
  }

  [[nodiscard]] bool leased() const noexcept { return lease_ != duration::zero(); }

  [[nodiscard]] std::uint64_t word() const noexcept {
    // [relaxed] An answer for the moment; `closed` stays once it is set.  Orders nothing.
    return word_.load(std::memory_order_relaxed);
  }

  /// Takes units unless that would overtake a waiter or the gate is closed.  In a gate with leases it takes
  /// none: `take_leased` does.  `word` is what it saw.
  [[nodiscard]] bool take(std::uint32_t weight, std::uint64_t& word) noexcept {
    // [relaxed] A refusal orders nothing; the exchange below does for an entry.
    word = word_.load(std::memory_order_relaxed);
    while (may_enter(word, weight)) {
      if ((word & leased_flag) != 0) return false;
      // [G] acquire, pairs with [F]: sees what those did who were inside before.
      if (word_.compare_exchange_weak(word, word - units(weight), std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Whether `take` or, in a gate with leases, `take_leased` is worth a try: one comparison.
  [[nodiscard]] static bool may_enter(std::uint64_t word, std::uint32_t weight) noexcept {
    return static_cast<std::int64_t>(word) >= static_cast<std::int64_t>(units(weight));
  }

  /// As `take`, in a gate with leases; `hold` is then in the list.  Without `hold`: whether it would.
  [[nodiscard]] bool take_leased(std::uint32_t weight, gate_lease* hold, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    // [relaxed] Units change under the lock only, which orders.
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if ((word & (closed_flag | waiting_flag)) != 0 || free_units(word) < weight) return false;
    if (hold) {
      word_.fetch_sub(units(weight), std::memory_order_relaxed);  // [relaxed] likewise
      begin(*hold, weight);
    }
    return true;
  }

  /// Gives back what `take` took.
  void leave(std::uint32_t weight) noexcept {
    // [relaxed] Only a guess for the exchange.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & (waiting_flag | watched_flag)) == 0) {
      // [F] release, pairs with [G] and [E].  The last touch: whoever waits for the end may destroy the gate.
      if (word_.compare_exchange_weak(word, word + units(weight), std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return;
      }
    }
    leave_watched(weight);
  }

  /// Gives back the units of a lease that its holder has given up in time.
  void leave_leased(gate_lease& hold, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    leases_.remove(hold);
    // [relaxed] Units change under the lock only, which orders.
    word_.fetch_add(units(hold.weight), std::memory_order_relaxed);
    collect(now);
    if (deadline{hold.ends}.reached(now)) expired_.add();  // in time for the gate, but not for the lease
    settle();
  }

  /// Grants or refuses at once (false), or puts `self` in the line (true).
  [[nodiscard]] bool queue_up(gate_entrant& self, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    if (self.weight > capacity_) return self.got = gate_answer::too_much, false;
    const bool full = !self.owner && waiters_.size() >= max_waiting_;
    // [relaxed] Only a guess for the exchange, or a refusal.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((word & closed_flag) != 0 && !self.owner) return self.got = gate_answer::closed, false;
      const bool fits = (word & waiting_flag) == 0 && free_units(word) >= self.weight;
      if (!fits && full) return self.got = gate_answer::full, false;
      if ((word & waiting_flag) != 0) break;
      // [G] The flag is set in the step that sees the units missing, so that no leave can miss the flag.
      if (word_.compare_exchange_weak(word, fits ? word - units(self.weight) : word + waiting_mark,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        if (!fits) break;
        if (self.hold) begin(*self.hold, self.weight);
        return self.got = gate_answer::granted, false;
      }
    }
    waiters_.push_back(self);
    look_again(waiters_, self);
    return true;
  }

  /// Puts `self` among those who wait for idleness, unless the gate is idle (false).
  [[nodiscard]] bool watch(gate_entrant& self, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    // [E] acquire, pairs with [C] and [F]: what was done inside is seen by the one who waited for its end.
    std::uint64_t word = word_.load(std::memory_order_acquire);
    do {
      if (idle(word)) return false;
    } while (!word_.compare_exchange_weak(word, word | watched_flag, std::memory_order_acquire));  // [E]
    watchers_.push_back(self);
    look_again(watchers_, self);
    return true;
  }

  /// After a sleep of `self`: whether it stays in line.  One who gives up leaves it, unless it was answered.
  [[nodiscard]] bool stays(gate_entrant& self, bool gives_up, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    if (self.got != gate_answer::none) return false;
    wait_list& line = self.weight == 0 ? watchers_ : waiters_;
    if (!gives_up) return look_again(line, self), true;
    line.remove(self);
    settle();  // those behind may fit where this one did not
    return false;
  }

  /// Asks for a run.  True if it is this caller who owes it, false if the owner does or the gate is closed;
  /// `word` is what it saw.
  [[nodiscard]] bool trigger(std::uint64_t& word) noexcept {
    // [relaxed] Only a guess for the exchange.
    word = word_.load(std::memory_order_relaxed);
    do {
      if ((word & closed_flag) != 0) return false;
      // [A] release, pairs with [B]: the owner that clears `pending` sees what came before this trigger;
      // hence a write in every case, also if `pending` was set.
    } while (!word_.compare_exchange_weak(word, word | owner_flag | pending_flag, std::memory_order_release,
                                          std::memory_order_relaxed));
    return (word & owner_flag) == 0;
  }

  /// The owner is about to run: whoever triggers from here on asks for another run.
  void answer_triggers() noexcept {
    // [B] acquire, pairs with [A]: this run sees what every trigger so far was about.
    word_.fetch_and(~pending_flag, std::memory_order_acquire);
  }

  /// Ends ownership unless a run is owed.
  [[nodiscard]] bool retire() noexcept {
    // [relaxed] Only a guess for the exchange.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & (pending_flag | watched_flag)) == 0) {
      // [C] release, pairs with [E].  The last touch, as [F].
      if (word_.compare_exchange_weak(word, word & ~owner_flag, std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    if ((word & pending_flag) != 0) return false;
    const std::lock_guard lock{mutex_};
    // A trigger may still come between the look and the exchange; only the lock's own flags are quiet now.
    while ((word & pending_flag) == 0) {
      // [relaxed] Who waits for idleness looks under the lock too.
      if (word_.compare_exchange_weak(word, word & ~owner_flag, std::memory_order_relaxed)) {
        settle();
        return true;
      }
    }
    return false;
  }

  void set_capacity(std::uint32_t capacity, time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    const std::uint64_t change = units(capacity) - units(capacity_);
    capacity_ = capacity;
    // [relaxed] Publishes nothing, and a release sequence runs on through every read-modify-write.
    word_.fetch_add(change, std::memory_order_relaxed);
    refuse_waiters(gate_answer::too_much, [&](const gate_entrant& e) { return e.weight > capacity; });
    settle();
  }

  void close(time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    // [relaxed] As in set_capacity.
    if ((word_.load(std::memory_order_relaxed) & closed_flag) == 0) {
      word_.fetch_add(closed_mark, std::memory_order_relaxed);
    }
    refuse_waiters(gate_answer::closed, [](const gate_entrant& e) { return !e.owner; });
    settle();
  }

  [[nodiscard]] bool is_as_new(time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    // [relaxed] An answer for the moment; whoever acts on it must know that nobody is at the gate.
    return capacity_ == made_with_ &&
           word_.load(std::memory_order_relaxed) == units(made_with_) + (leased() ? leased_mark : 0);
  }

  struct gauges {
    std::uint32_t running, capacity;
    std::size_t waiting;
  };
  [[nodiscard]] gauges measure(time_point now) noexcept {
    const std::lock_guard lock{mutex_};
    collect(now);
    // [relaxed] Some recent value.
    const auto used = std::int64_t{capacity_} - free_units(word_.load(std::memory_order_relaxed));
    return {static_cast<std::uint32_t>(used), capacity_, waiters_.size()};
  }

  /// Leases that ended before those who held them left.
  [[nodiscard]] std::uint64_t expired() const noexcept { return expired_.value(); }

  [[nodiscard]] std::uint64_t next_number() noexcept {
    // [relaxed] Stays that exclude each other are ordered by [F] and [G], or by the lock, and so are the
    // numbers taken in them.
    return numbers_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

 private:
  // Three of the flags also weigh more than all units together, so that one comparison of the word, as a signed
  // number, tells that nobody may enter; or that one must look closer, in a gate with leases that is not closed:
  // what has ended there makes room for who waits, and perhaps for who comes.
  static constexpr std::uint64_t closed_mark = closed_flag - (std::uint64_t{1} << 62);
  static constexpr std::uint64_t waiting_mark = waiting_flag - (std::uint64_t{1} << 61);
  static constexpr std::uint64_t leased_mark = leased_flag + (std::uint64_t{3} << 60);

  static constexpr std::uint64_t units(std::uint32_t n) noexcept { return std::uint64_t{n} << free_shift; }
  static constexpr std::int64_t free_units(std::uint64_t word) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(word >> free_shift));
  }

  /// Somebody waits, so the units go back under the lock; it keeps the gate alive till this is done with it.
  /// A function of its own, as other rare ways, so that the usual one is short enough to become part of its callers.
  [[gnu::noinline]] void leave_watched(std::uint32_t weight) noexcept {
    const std::lock_guard lock{mutex_};
    // [F]
    word_.fetch_add(units(weight), std::memory_order_release);
    settle();
  }

  // All that follows requires the lock.

  /// Ends the leases whose time is up, and lets in whom that makes room for.
  void collect(time_point now) noexcept {
    if (!leased()) return;
    latest_ = std::max(latest_, now);
    bool ended = false;
    for (gate_lease* first = leases_.front(); first && deadline{first->ends}.reached(latest_);
         first = leases_.front()) {
      const std::uint32_t weight = first->weight;
      leases_.remove(*first);
      if (!first->expire()) continue;  // the holder gives the units back: it comes for the lock
      // [relaxed] Units change under the lock only; what a stay did that has outlived its lease, nobody sees.
      word_.fetch_add(units(weight), std::memory_order_relaxed);
      expired_.add();
      ended = true;
    }
    if (ended) settle();
  }

  void begin(gate_lease& hold, std::uint32_t weight) noexcept {
    // [relaxed] The holder is told under the lock, or by its own call.
    hold.over.store(false, std::memory_order_relaxed);
    hold.weight = weight;
    hold.number = next_number();
    hold.ends = saturating_add(latest_, lease_);
    leases_.push_back(hold);
    hurry();
  }

  /// The last touch but for the lock: `e` may be gone once that is free.
  void answer(gate_entrant& e, gate_answer what) noexcept {
    (e.weight == 0 ? watchers_ : waiters_).remove(e);
    e.got = what;
    e.park.unpark();
  }

  template <class Which>
  void refuse_waiters(gate_answer why, Which which) noexcept {
    for (waiter* w = waiters_.front(); w != nullptr;) {
      auto& e = static_cast<gate_entrant&>(*w);
      w = w->next;
      if (which(std::as_const(e))) answer(e, why);
    }
  }

  /// Lets in the first waiters as far as they fit, keeps the flags true, tells the watchers of idleness.
  void settle() noexcept {
    // [relaxed] Who set a flag has seen, by [E] or [G], those who left before; who leaves since does so under
    // the lock.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while (!waiters_.empty()) {
      auto& first = static_cast<gate_entrant&>(*waiters_.front());
      if (first.stop && first.stop->stop_requested()) {
        answer(first, gate_answer::cancelled);
        continue;
      }
      // Nobody else takes units while the flag is set.
      if (free_units(word) < first.weight) break;
      // [relaxed] As the load.
      word = word_.fetch_sub(units(first.weight), std::memory_order_relaxed) - units(first.weight);
      if (first.hold) begin(*first.hold, first.weight);
      answer(first, gate_answer::granted);
    }
    if (idle(word)) {
      while (!watchers_.empty()) {
        answer(static_cast<gate_entrant&>(*watchers_.front()), gate_answer::granted);
      }
    }
    const std::uint64_t outdated = ((word & waiting_flag) != 0 && waiters_.empty() ? waiting_mark : 0) +
                                   ((word & watched_flag) != 0 && watchers_.empty() ? watched_flag : 0);
    // [relaxed] As in set_capacity.
    if (outdated != 0) word_.fetch_sub(outdated, std::memory_order_relaxed);
    hurry();
  }

  /// `self` will look by itself for a lease that has ended, if it is the first in line: for all behind it.
  void look_again(const wait_list& line, gate_entrant& self) const noexcept {
    self.look =
        leases_.front() && line.front() == &self ? deadline{leases_.front()->ends} : deadline::never();
    self.sleeps_until = self.look;
  }

  /// Wakes the first of each line if it would sleep past the first lease.
  void hurry() noexcept {
    if (!leases_.front()) return;
    for (wait_list* const line : {&waiters_, &watchers_}) {
      if (line->empty()) continue;
      auto& first = static_cast<gate_entrant&>(*line->front());
      if (first.look <= deadline{leases_.front()->ends}) continue;
      first.look = leases_.front()->ends;
      first.park.unpark();
    }
  }

  [[nodiscard]] bool idle(std::uint64_t word) const noexcept {
    return free_units(word) == capacity_ && (word & owner_flag) == 0;
  }

  std::atomic<std::uint64_t> word_;
  std::atomic<std::uint64_t> numbers_{0};  // the last fencing number
  const duration lease_;                   // zero: none
  const std::uint32_t max_waiting_;
  const std::uint32_t made_with_;  // the capacity at first
  std::mutex mutex_;
  std::uint32_t capacity_;                 // guarded by mutex_
  time_point latest_ = time_point::min();  // guarded by mutex_
  wait_list waiters_;                      // guarded by mutex_; of gate_entrant
  wait_list watchers_;                     // guarded by mutex_; of gate_entrant
  gate_leases leases_;                     // guarded by mutex_
  event_counter expired_;
};

}  // namespace weir::inline v0::detail
