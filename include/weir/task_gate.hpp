// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

struct task_gate_options {
  std::uint32_t capacity = 1;  ///< units inside at once; 1 .. 2^31 - 1
};

/// What `run_if_idle` or `run_coalesced` did.
enum class run_result : std::uint8_t {
  ran,        ///< this call ran the task
  skipped,    ///< `run_if_idle`: somebody is inside; the task did not run
  coalesced,  ///< `run_coalesced`: the current owner runs its task once more, from the start
  closed,     ///< the gate is closed; the task did not run
};

/// Counts, each exact, and gauges; the row is not one instant.
struct task_gate_stats {
  std::uint64_t entered = 0;    ///< passes issued, by whatever verb
  std::uint64_t ran = 0;        ///< runs of a task by `run_if_idle` and `run_coalesced`, thrown ones included
  std::uint64_t skipped = 0;    ///< `run_if_idle` found somebody inside
  std::uint64_t coalesced = 0;  ///< `run_coalesced` left the run to the owner
  std::uint64_t refused = 0;    ///< refusals of `enter`, `wait_idle` and their kin, and runs on a closed gate
  std::uint32_t running = 0;    ///< units inside
  std::uint32_t capacity = 0;
  std::size_t waiting = 0;              ///< callers that wait for a pass
  duration longest = duration::zero();  ///< the longest run of a task so far
};

/// Is somebody already doing it?  Skip if busy, wait as at a bulkhead, or leave the work to the one inside.
///
/// Model       One word {free, waiting, watched, owner, pending, closed}.  To enter takes units from `free`
///             if nobody waits and enough are left; to leave gives them back.  With capacity 1: a try-lock.
/// Coalescing  `owner` is held by the one call of `run_coalesced` that runs; `pending` is the wish for a run
///             that starts later.  The owner clears `pending` before each run and gives `owner` up only in a
///             step that sees `pending` clear: no trigger falls between the two.
/// Invariants  I1  At most `capacity` units are inside, but for those that were when it was lowered.
///             I2  Waiters enter in the order they came; nobody overtakes the first, however few units it
///                 wants.
///             I3  After any trigger returned `coalesced`, a run of the task starts later than that trigger,
///                 also after `close` and when runs throw.  Runs of one gate's coalesced task never overlap.
///             I4  A pass returns its units exactly once.
/// Ordering    What was done before a leave happens-before what follows a later entry; what was done before
///             a trigger happens-before the run that answers it; run k happens-before run k + 1.
///             A failed try orders nothing.
/// Waiting     What can be done at once is done, even past the deadline or after a stop request.  If a
///             `waking_clock` throws, a wait throws the same and has changed nothing.
/// Destruction Requires that no pass is out and no call in progress: `close`, then `wait_idle`.
/// When not    Not recursive: to wait for entry while holding a pass of the same gate may wait for ever, and
///             so may `run_coalesced` inside `run_if_idle`.
template <monotonic_clock Clock = steady_clock, refusal_observer Observer = no_observer>
class basic_task_gate {
 public:
  /// The right to be inside.  Leaves when destroyed; may be moved to and released on another thread.
  class [[nodiscard]] pass final {
   public:
    pass(pass&& other) noexcept
        : gate_{std::exchange(other.gate_, nullptr)}, number_{other.number_}, weight_{other.weight_} {}
    pass& operator=(pass&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
        number_ = other.number_;
        weight_ = other.weight_;
      }
      return *this;
    }
    ~pass() { leave(); }

    /// Leaves now.  No effect on a pass that was moved from or released.
    void release() && noexcept { leave(); }

    /// Whether this pass holds its units still.
    [[nodiscard]] explicit operator bool() const noexcept { return gate_ != nullptr; }

    /// The fencing number: unique in this gate; of two passes that cannot be inside together, the later has
    /// the greater.  Whoever writes outside on the strength of a pass sends it along.
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

   private:
    friend basic_task_gate;
    pass(basic_task_gate& gate, std::uint64_t number, std::uint32_t weight) noexcept
        : gate_{&gate}, number_{number}, weight_{weight} {}
    void leave() noexcept {
      if (gate_) std::exchange(gate_, nullptr)->leave(weight_);
    }

    basic_task_gate* gate_;
    std::uint64_t number_;
    std::uint32_t weight_;
  };

  /// Throws std::invalid_argument if the capacity is not in 1 .. 2^31 - 1.
  explicit basic_task_gate(task_gate_options options, Clock clock = {}, Observer observer = {})
      : word_{units(checked(options.capacity))},
        clock_{std::move(clock)},
        observer_{std::move(observer)},
        made_with_{options.capacity},
        capacity_{options.capacity} {}

  explicit basic_task_gate()
    requires std::default_initializable<Clock> && std::default_initializable<Observer>
      : basic_task_gate(task_gate_options{}) {}

  basic_task_gate(const basic_task_gate&) = delete;
  basic_task_gate& operator=(const basic_task_gate&) = delete;

  ~basic_task_gate() {
    // [relaxed] No call may be in progress, so nobody else writes.
    assert(idle(word_.load(std::memory_order_relaxed)) &&
           "a gate may not be destroyed while somebody is inside");
  }

  /// A pass, or nothing if not enough units are free, somebody waits, or the gate is closed.
  ///
  /// Complexity     O(1), never waits; the busy answer is one load, neither counted nor observed.
  /// Thread safety  Concurrent with every member except the destructor.
  /// Exceptions     std::invalid_argument if `weight` is zero.
  [[nodiscard]] std::optional<pass> try_enter(std::uint32_t weight = 1) {
    check_weight(weight);
    if (!take(weight)) return std::nullopt;
    return pass{*this, next_number(), weight};
  }

  /// Waits for `weight` units, first come first served.
  ///
  /// \return        The pass, or `closed`, `cancelled` (a stop was requested) or, at once or when the
  ///                capacity is lowered below `weight`, `exceeds_capacity`.
  /// Exceptions     std::invalid_argument if `weight` is zero.
  outcome<pass> enter(std::stop_token stop = {}, std::uint32_t weight = 1) {
    return enter_impl(weight, [] { return deadline::never(); }, stop);
  }

  /// As `enter`, but refuses with `timed_out` once `wait` has passed; at once if it is not positive.
  outcome<pass> enter_for(duration wait, std::stop_token stop = {}, std::uint32_t weight = 1) {
    return enter_impl(weight, [&] { return deadline::after(clock_.now(), wait); }, stop);
  }

  /// As `enter`, but refuses with `timed_out` once `until` is reached.
  outcome<pass> enter_until(deadline until, std::stop_token stop = {}, std::uint32_t weight = 1) {
    return enter_impl(weight, [&] { return until; }, stop);
  }

  /// Runs `task()` inside if one unit is free, otherwise skips.
  ///
  /// \return        `ran`, `skipped` or `closed`.
  /// Exceptions     What `task` throws, after leaving.
  template <std::invocable Task>
  run_result run_if_idle(Task&& task) {
    if (!take(1)) {
      // [relaxed] The flag stays once it is set and orders nothing.
      if ((word_.load(std::memory_order_relaxed) & closed_flag) != 0) return refuse_run();
      skipped_.add();
      observer_.on_refused({refusal_reason::busy});
      return run_result::skipped;
    }
    const pass inside{*this, next_number(), 1};
    const stopwatch timing{*this};
    static_cast<void>(std::invoke(std::forward<Task>(task)));
    return run_result::ran;
  }

  /// Skips, but loses no wake-up: when this returns, a run of the task that started after this call either
  /// has ended (`ran`) or will be made by the owner (`coalesced`).  Any number of triggers during one run
  /// cost exactly one more.  A task that triggers its own gate is run once more by its owner.
  ///
  /// All triggers of a gate must mean the same task: a coalesced one is answered by the owner's `task`.
  /// Each run takes one unit.
  ///
  /// \return        `ran`, `coalesced` or `closed`.
  /// Blocking       Runs `task`, as often as is asked for meanwhile; waits for its unit while passes or
  ///                `run_if_idle` hold all of them, never for another `run_coalesced`.
  /// Exceptions     What the first throwing run of `task` threw, after the runs still pending were made;
  ///                what later ones of the same call throw is lost.
  template <class Task>
    requires std::invocable<Task&>
  run_result run_coalesced(Task&& task) {
    // [relaxed] Only a guess for the exchange.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    do {
      if ((word & closed_flag) != 0) return refuse_run();
      // [A] release, pairs with [B]: the owner that clears `pending` sees what came before this trigger;
      // hence a write in every case, also if `pending` was set.
    } while (!word_.compare_exchange_weak(word, word | owner_flag | pending_flag, std::memory_order_release,
                                          std::memory_order_relaxed));
    if ((word & owner_flag) != 0) {
      coalesced_.add();
      return run_result::coalesced;
    }
    std::exception_ptr first;
    do {
      const pass inside = enter_as_owner();
      // [B] acquire, pairs with [A]: this run sees what every trigger so far was about.
      word_.fetch_and(~pending_flag, std::memory_order_acquire);
      const stopwatch timing{*this};
      try {
        static_cast<void>(std::invoke(task));
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    } while (!retire());
    if (first) std::rethrow_exception(first);
    return run_result::ran;
  }

  /// Changes the capacity.  Grown: as many waiters enter as now fit.  Lowered: returns at once, those inside
  /// stay, nobody enters before enough have left; waiters that want more than it are refused.
  /// Throws std::invalid_argument as the constructor does.
  void set_capacity(std::uint32_t capacity) {
    checked(capacity);
    const std::lock_guard lock{mutex_};
    const std::uint64_t change = units(capacity) - units(capacity_);
    capacity_ = capacity;
    // [relaxed] Publishes nothing, and a release sequence runs on through every read-modify-write.
    word_.fetch_add(change, std::memory_order_relaxed);
    refuse_waiters(answer::too_much, [&](const entrant& e) { return e.weight > capacity; });
    settle();
  }

  /// Refuses entry and runs from now on, and those who wait.  Those inside stay; coalesced runs that were
  /// promised are made.  Idempotent.
  void close() noexcept {
    const std::lock_guard lock{mutex_};
    // [relaxed] As in set_capacity.
    word_.fetch_or(closed_flag, std::memory_order_relaxed);
    refuse_waiters(answer::closed, [](const entrant& e) { return !e.owner; });
    settle();
  }

  [[nodiscard]] bool closed() const noexcept {
    // [relaxed] The flag stays once it is set and orders nothing.
    return (word_.load(std::memory_order_relaxed) & closed_flag) != 0;
  }

  /// Whether the gate answers as one newly made: open, of the capacity it was made with, nobody inside,
  /// nobody waiting, no run owed.  Its counts go on, and so do the numbers of its passes, which those of a
  /// new gate do not: whoever sends them outside must not let the gate be forgotten.  What `keyed` asks
  /// before it does.
  [[nodiscard]] bool is_as_new() const noexcept {
    const std::lock_guard lock{mutex_};
    // [relaxed] An answer for the moment; whoever acts on it must know that nobody is at the gate.
    return capacity_ == made_with_ && word_.load(std::memory_order_relaxed) == units(made_with_);
  }

  /// Waits for an instant at which nobody is inside and no coalesced run is owed.  After `close` that is the
  /// end: no task runs any more.  A call that is refused or coalesced may still be on its way out.
  ///
  /// \return        Success, or `cancelled`.
  outcome<> wait_idle(std::stop_token stop = {}) {
    return wait_idle_until(deadline::never(), std::move(stop));
  }

  /// As `wait_idle`, but refuses with `timed_out` once `wait` has passed.
  outcome<> wait_idle_for(duration wait, std::stop_token stop = {}) {
    return wait_idle_until(deadline::after(clock_.now(), wait), std::move(stop));
  }

  /// As `wait_idle`, but refuses with `timed_out` once `until` is reached.
  outcome<> wait_idle_until(deadline until, std::stop_token stop = {}) {
    std::unique_lock lock{mutex_};
    // [E] acquire, pairs with [C] and [F]: what was done inside is seen by the one who waited for its end.
    std::uint64_t word = word_.load(std::memory_order_acquire);
    do {
      if (idle(word)) return {};
    } while (!word_.compare_exchange_weak(word, word | watched_flag, std::memory_order_acquire));  // [E]
    entrant self{0, false};
    watchers_.push_back(self);
    lock.unlock();
    std::exception_ptr error;
    const detail::wake_reason why = detail::sleep(self, clock_, until, stop, error);
    lock.lock();
    if (self.got == answer::granted) return {};
    watchers_.remove(self);
    // [relaxed] As in set_capacity.
    if (watchers_.empty()) word_.fetch_and(~watched_flag, std::memory_order_relaxed);
    lock.unlock();
    if (error) std::rethrow_exception(error);
    return tell(refusal_for(self.got, why));
  }

  [[nodiscard]] task_gate_stats stats() const noexcept {
    const std::lock_guard lock{mutex_};
    // [relaxed] Gauges: some recent value.
    const auto used = std::int64_t{capacity_} - free_units(word_.load(std::memory_order_relaxed));
    return {.entered = entered_.load(std::memory_order_relaxed),
            .ran = ran_.value(),
            .skipped = skipped_.value(),
            .coalesced = coalesced_.value(),
            .refused = refused_.value(),
            .running = static_cast<std::uint32_t>(used),
            .capacity = capacity_,
            .waiting = waiters_.size(),
            .longest = duration{longest_.load(std::memory_order_relaxed)}};  // [relaxed] likewise
  }

 private:
  static constexpr std::uint64_t closed_flag = 1;
  static constexpr std::uint64_t waiting_flag = 2;   // `waiters_` is not empty: nobody enters past it
  static constexpr std::uint64_t watched_flag = 4;   // `watchers_` is not empty
  static constexpr std::uint64_t owner_flag = 8;     // a call of run_coalesced is under way
  static constexpr std::uint64_t pending_flag = 16;  // ... and owes a run that has not begun
  static constexpr int free_shift = 32;              // the upper half: free units, negative after a shrink

  enum class answer : std::uint8_t { none, granted, closed, too_much };

  struct entrant : detail::waiter {
    entrant(std::uint32_t w, bool o) noexcept : weight{w}, owner{o} {}
    const std::uint32_t weight;
    const bool owner;           // runs what was promised: not refused by `close`
    answer got = answer::none;  // guarded by mutex_
    std::uint64_t number = 0;   // guarded by mutex_; set with `granted`
  };

  /// Counts and times one run; the last that a run does before it leaves.
  class stopwatch {
   public:
    explicit stopwatch(basic_task_gate& gate) noexcept : gate_{gate}, start_{gate.clock_.now()} {}
    stopwatch(const stopwatch&) = delete;
    stopwatch& operator=(const stopwatch&) = delete;
    ~stopwatch() {
      gate_.ran_.add();
      const auto took = elapsed(start_, gate_.clock_.now()).count();
      // [relaxed] A maximum of its own, orders nothing.
      auto longest = gate_.longest_.load(std::memory_order_relaxed);
      while (took > longest &&
             !gate_.longest_.compare_exchange_weak(longest, took, std::memory_order_relaxed)) {
      }
    }

   private:
    basic_task_gate& gate_;
    const time_point start_;
  };

  static std::uint32_t checked(std::uint32_t capacity) {
    if (capacity == 0 || capacity > std::uint32_t{INT32_MAX}) {
      throw std::invalid_argument{"task_gate: capacity must be from 1 to 2147483647, got " +
                                  std::to_string(capacity)};
    }
    return capacity;
  }

  static void check_weight(std::uint32_t weight) {
    if (weight == 0) throw std::invalid_argument{"task_gate: weight must be positive, got 0"};
  }

  static constexpr std::uint64_t units(std::uint32_t n) noexcept { return std::uint64_t{n} << free_shift; }
  static constexpr std::int64_t free_units(std::uint64_t word) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(word >> free_shift));
  }

  /// Takes units unless that would overtake a waiter or the gate is closed.
  [[nodiscard]] bool take(std::uint32_t weight) noexcept {
    // [relaxed] A refusal orders nothing; the exchange below does for an entry.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & (closed_flag | waiting_flag)) == 0 && free_units(word) >= weight) {
      // [G] acquire, pairs with [F]: sees what those did who were inside before.
      if (word_.compare_exchange_weak(word, word - units(weight), std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

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
    // Somebody waits, so the units go back under the lock; it keeps the gate alive till this is done with it.
    const std::lock_guard lock{mutex_};
    // [F]
    word_.fetch_add(units(weight), std::memory_order_release);
    settle();
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

  [[nodiscard]] std::uint64_t next_number() noexcept {
    // [relaxed] Entries that exclude each other are ordered by [F] and [G], and so are their numbers.
    return entered_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  template <class Until>
  outcome<pass> enter_impl(std::uint32_t weight, Until until, const std::stop_token& stop) {
    check_weight(weight);
    if (take(weight)) return pass{*this, next_number(), weight};
    entrant self{weight, false};
    detail::wake_reason why{};
    std::exception_ptr error;
    if (queue_up(self)) why = detail::sleep(self, clock_, until(), stop, error);
    if (conclude(self)) return pass{*this, self.number, weight};
    if (error && self.got == answer::none) std::rethrow_exception(error);
    return tell(refusal_for(self.got, why));
  }

  pass enter_as_owner() {
    if (take(1)) return pass{*this, next_number(), 1};
    entrant self{1, true};
    // Nothing but a grant ends the sleep: neither a deadline nor a stop nor a close can refuse it.
    if (queue_up(self)) static_cast<void>(detail::sleep(self, clock_, deadline::never(), {}));
    return pass{*this, self.number, 1};
  }

  /// Grants or refuses at once (false), or puts `self` in the list (true).
  [[nodiscard]] bool queue_up(entrant& self) noexcept {
    const std::lock_guard lock{mutex_};
    if (self.weight > capacity_) return self.got = answer::too_much, false;
    // [relaxed] Only a guess for the exchange, or a refusal.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((word & closed_flag) != 0 && !self.owner) return self.got = answer::closed, false;
      if ((word & waiting_flag) != 0) break;
      const bool fits = free_units(word) >= self.weight;
      // [G] The flag is set in the step that sees the units missing, so that no leave can miss the flag.
      if (word_.compare_exchange_weak(word, fits ? word - units(self.weight) : word | waiting_flag,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        if (!fits) break;
        grant(self);
        return false;
      }
    }
    waiters_.push_back(self);
    return true;
  }

  /// After the sleep: whether there was a grant; one who gives up leaves the list.
  [[nodiscard]] bool conclude(entrant& self) noexcept {
    const std::lock_guard lock{mutex_};
    if (self.got == answer::none) {
      waiters_.remove(self);
      settle();  // those behind may fit where this one did not
    }
    return self.got == answer::granted;
  }

  // From here to `settle` the lock is required.

  void grant(entrant& e) noexcept {
    e.number = next_number();
    e.got = answer::granted;
  }

  template <class Which>
  void refuse_waiters(answer why, Which which) noexcept {
    for (detail::waiter* w = waiters_.front(); w != nullptr;) {
      auto& e = static_cast<entrant&>(*w);
      w = w->next;
      if (!which(std::as_const(e))) continue;
      waiters_.remove(e);
      e.got = why;
      e.park.unpark();
    }
  }

  /// Lets in the first waiters as far as they fit, keeps the flags true, tells the watchers of idleness.
  void settle() noexcept {
    // [relaxed] Who set a flag has seen, by [E] or [G], those who left before; who leaves since does so under
    // the lock.
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while (!waiters_.empty()) {
      auto& first = static_cast<entrant&>(*waiters_.front());
      // Nobody else takes units while the flag is set.
      if (free_units(word) < first.weight) break;
      // [relaxed] As the load.
      word = word_.fetch_sub(units(first.weight), std::memory_order_relaxed) - units(first.weight);
      waiters_.remove(first);
      grant(first);
      first.park.unpark();
    }
    std::uint64_t outdated = waiters_.empty() ? waiting_flag : 0;
    if (idle(word)) {
      while (!watchers_.empty()) {
        auto& watcher = static_cast<entrant&>(*watchers_.front());
        watchers_.remove(watcher);
        watcher.got = answer::granted;
        watcher.park.unpark();
      }
      outdated |= watched_flag;
    }
    // [relaxed] As in set_capacity.
    if ((word & outdated) != 0) word_.fetch_and(~outdated, std::memory_order_relaxed);
  }

  [[nodiscard]] bool idle(std::uint64_t word) const noexcept {
    return free_units(word) == capacity_ && (word & owner_flag) == 0;
  }

  // From here on the lock is not held.

  [[nodiscard]] static refusal refusal_for(answer got, detail::wake_reason why) noexcept {
    if (got == answer::closed) return refused_for_ever(refusal_reason::closed);
    if (got == answer::too_much) return refused_for_ever(refusal_reason::exceeds_capacity);
    return {why == detail::wake_reason::deadline_reached ? refusal_reason::timed_out
                                                         : refusal_reason::cancelled};
  }

  refusal tell(refusal why) noexcept {
    refused_.add();
    observer_.on_refused(why);
    return why;
  }

  run_result refuse_run() noexcept {
    static_cast<void>(tell(refused_for_ever(refusal_reason::closed)));
    return run_result::closed;
  }

  std::atomic<std::uint64_t> word_;
  std::atomic<std::uint64_t> entered_{0};  // the last fencing number too
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;

  const std::uint32_t made_with_;  // the capacity at first
  mutable std::mutex mutex_;
  std::uint32_t capacity_;      // guarded by mutex_
  detail::wait_list waiters_;   // guarded by mutex_; of entrant
  detail::wait_list watchers_;  // guarded by mutex_; of entrant
  event_counter ran_;
  event_counter skipped_;
  event_counter coalesced_;
  event_counter refused_;
  std::atomic<duration::rep> longest_{0};  // nanoseconds
};

using task_gate = basic_task_gate<>;

}  // namespace weir::inline v0
