// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/gate_state.hpp>
#include <weir/detail/parking.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

struct task_gate_options {
  std::uint32_t capacity = 1;  ///< units inside at once; 1 .. 2^31 - 1

  /// How long a stay may last before others may enter in its place; positive.  By default as long as it does.
  std::optional<duration> lease = std::nullopt;

  /// How many may wait; one more who wants a pass is refused with `full`.  By default any number.  A
  /// `run_coalesced` that waits for its place is one of them, but is never refused.
  std::optional<std::uint32_t> max_waiting = std::nullopt;
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
  std::uint64_t ran =
      0;  ///< runs by `run_if_idle` and `run_coalesced`, thrown ones included, expired ones not
  std::uint64_t skipped = 0;    ///< `run_if_idle` found somebody inside
  std::uint64_t coalesced = 0;  ///< `run_coalesced` left the run to the owner
  std::uint64_t refused = 0;    ///< refusals of `enter`, `wait_idle` and their kin, and runs on a closed gate
  std::uint64_t expired = 0;    ///< leases that ended before those who held them left
  std::uint32_t running = 0;    ///< units inside
  std::uint32_t capacity = 0;
  std::size_t waiting = 0;              ///< callers that wait for a pass
  duration longest = duration::zero();  ///< the longest of those runs so far
};

/// Is somebody already doing it?  Skip if busy, wait as at a bulkhead, or leave the work to the one inside.
///
/// Model       One word {free, waiting, watched, owner, pending, closed}.  To enter takes units from `free`
///             if nobody waits and enough are left; to leave gives them back.  With capacity 1: a try-lock.
/// Coalescing  `owner` is held by the one call of `run_coalesced` that runs; `pending` is the wish for a run
///             that starts later.  The owner clears `pending` before each run and gives `owner` up only in a
///             step that sees `pending` clear: no trigger falls between the two.
/// Leases      With the option `lease` a stay ends when it leaves or, exactly, once that time has passed on
///             the clock: its units are free, waiters are woken, and to leave has no effect any more.  What
///             goes on inside goes on; `number()` is how those outside tell the old from the new.  It counts
///             from when the call that let it in, its own or that of one who left, read the clock.  Nothing of
///             this costs anything in a gate without.
/// Invariants  I1  At most `capacity` units are inside, but for those that were when it was lowered.
///             I2  Waiters enter in the order they came; nobody overtakes the first, however few units it
///                 wants.
///             I3  After any trigger returned `coalesced`, a run of the task starts later than that trigger,
///                 also after `close` and when runs throw.  Runs of one gate's coalesced task never overlap,
///                 whatever their leases.
///             I4  A pass returns its units exactly once.
/// Ordering    What was done before a leave happens-before what follows a later entry; what was done before
///             a trigger happens-before the run that answers it; run k happens-before run k + 1.
///             A failed try orders nothing, nor does the end of a lease.
/// Waiting     What can be done at once is done, even past the deadline or after a stop request.  Of those
///             who wait, one whose stop was requested before its turn came is not let in.  If a
///             `waking_clock` throws, a wait throws the same and has changed nothing.
/// Destruction Requires that no call is in progress and no pass is out, but for those whose leases have ended:
///             they touch the gate no more.  `close`, then `wait_idle`.
/// When not    Not recursive: to wait for entry while holding a pass of the same gate may wait for ever, and
///             so may `run_coalesced` inside `run_if_idle`.
template <monotonic_clock Clock = steady_clock, refusal_observer Observer = no_observer>
class basic_task_gate {
 public:
  /// The right to be inside.  Leaves when destroyed; may be moved to and released on another thread.
  class [[nodiscard]] pass final {
   public:
    pass(pass&& other) noexcept
        : gate_{std::exchange(other.gate_, nullptr)},
          hold_{std::move(other.hold_)},
          number_{other.number_},
          weight_{other.weight_} {}
    pass& operator=(pass&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
        hold_ = std::move(other.hold_);
        number_ = other.number_;
        weight_ = other.weight_;
      }
      return *this;
    }
    ~pass() { leave(); }

    /// Leaves now.  No effect on a pass that was moved from or released, or whose lease has ended.
    void release() && noexcept { leave(); }

    /// Whether this pass holds its units still: it was not moved from or released, and its lease, if it has
    /// one, lasts.
    [[nodiscard]] explicit operator bool() const noexcept {
      return gate_ != nullptr && (!hold_ || hold_->lasts(hold_->clock.now()));
    }

    /// The fencing number: unique in this gate and positive; of two passes that cannot be inside together, or
    /// of which one entered when the other's lease had ended, the later has the greater.  Whoever writes
    /// outside on the strength of a pass sends it along.
    ///
    /// Taken when it is first asked for, so that it costs nothing if it is not; with a lease, on entry.  Of
    /// passes that may be inside together the one that asked first has the smaller.  Must be asked for while
    /// the pass holds its units; zero if it never was.
    [[nodiscard]] std::uint64_t number() noexcept {
      if (number_ == 0 && gate_) number_ = gate_->state_.next_number();
      return number_;
    }

   private:
    friend basic_task_gate;
    struct hold : detail::gate_lease {
      explicit hold(const Clock& c) : clock{c} {}
      [[no_unique_address]] Clock clock;  // the gate's may be gone
    };

    pass(basic_task_gate& gate, std::uint32_t weight) noexcept : gate_{&gate}, weight_{weight} {}
    pass(basic_task_gate& gate, std::uint32_t weight, std::unique_ptr<hold>&& lease) noexcept
        : gate_{&gate}, hold_{std::move(lease)}, number_{hold_ ? hold_->number : 0}, weight_{weight} {}

    void leave() noexcept {
      if (!gate_) return;
      basic_task_gate& gate = *std::exchange(gate_, nullptr);
      if (!hold_) return gate.state_.leave(weight_);
      gate.leave_leased(std::move(hold_));
    }

    basic_task_gate* gate_;
    std::unique_ptr<hold> hold_;  // none without a lease
    std::uint64_t number_ = 0;
    std::uint32_t weight_;
  };

  /// Throws std::invalid_argument if the capacity is not in 1 .. 2^31 - 1 or the lease is not positive.
  explicit basic_task_gate(task_gate_options options, Clock clock = {}, Observer observer = {})
      : state_{checked(options.capacity), checked(options.lease), options.max_waiting},
        clock_{std::move(clock)},
        observer_{std::move(observer)} {}

  explicit basic_task_gate()
    requires std::default_initializable<Clock> && std::default_initializable<Observer>
      : basic_task_gate(task_gate_options{}) {}

  basic_task_gate(const basic_task_gate&) = delete;
  basic_task_gate& operator=(const basic_task_gate&) = delete;

  ~basic_task_gate() {
    if (state_.leased()) static_cast<void>(state_.measure(clock_.now()));  // ends those that have outlived it
  }

  /// A pass, or nothing if not enough units are free, somebody waits, or the gate is closed.
  ///
  /// Complexity     O(1), never waits; the busy answer is one load, neither counted nor observed.  With a lease
  ///                it takes a short lock and, to enter, memory.
  /// Thread safety  Concurrent with every member except the destructor.
  /// Exceptions     std::invalid_argument if `weight` is zero; with a lease, std::bad_alloc.
  [[nodiscard]] std::optional<pass> try_enter(std::uint32_t weight = 1) {
    check_weight(weight);
    std::uint64_t word{};
    if (state_.take(weight, word)) return pass{*this, weight};
    if (!state::may_enter(word, weight)) return std::nullopt;
    std::unique_ptr<typename pass::hold> hold = try_enter_leased(weight);
    if (!hold) return std::nullopt;
    return pass{*this, weight, std::move(hold)};
  }

  /// Waits for `weight` units, first come first served.
  ///
  /// \return        The pass, or `closed`, `cancelled` (a stop was requested), `full` (too many wait) or, at
  ///                once or when the capacity is lowered below `weight`, `exceeds_capacity`.
  /// Exceptions     std::invalid_argument if `weight` is zero; with a lease, std::bad_alloc.
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

  /// Runs `task()` inside if one unit is free, otherwise skips.  A lease that ends lets others in beside it.
  ///
  /// \return        `ran`, `skipped` or `closed`.
  /// Exceptions     What `task` throws, after leaving.
  template <std::invocable Task>
  run_result run_if_idle(Task&& task) {
    visit inside{*this};
    if (!inside.try_begin()) {
      if (closed()) return refuse_run();
      skipped_.add();
      const refusal why{refusal_reason::busy};
      observer_.on_refused(why);
      return run_result::skipped;
    }
    inside.start();
    static_cast<void>(std::invoke(std::forward<Task>(task)));
    return run_result::ran;
  }

  /// Skips, but loses no wake-up: when this returns, a run of the task that started after this call either
  /// has ended (`ran`) or will be made by the owner (`coalesced`).  Any number of triggers during one run
  /// cost exactly one more.  A task that triggers its own gate is run once more by its owner.
  ///
  /// All triggers of a gate must mean the same task: a coalesced one is answered by the owner's `task`.
  /// Each run takes one unit, with a lease of its own; a trigger is left to the owner whatever that lease.
  ///
  /// \return        `ran`, `coalesced` or `closed`.
  /// Blocking       Runs `task`, as often as is asked for meanwhile; waits for its unit while passes or
  ///                `run_if_idle` hold all of them, never for another `run_coalesced`.
  /// Exceptions     What the first throwing run of `task` threw, after the runs still pending were made;
  ///                what later ones of the same call throw is lost.
  template <class Task>
    requires std::invocable<Task&>
  run_result run_coalesced(Task&& task) {
    std::uint64_t word{};
    if (!state_.trigger(word)) {
      if ((word & state::closed_flag) != 0) return refuse_run();
      coalesced_.add();
      return run_result::coalesced;
    }
    std::exception_ptr first;
    do {
      visit inside{*this};
      inside.begin_as_owner();
      state_.answer_triggers();
      inside.start();
      try {
        static_cast<void>(std::invoke(task));
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    } while (!state_.retire());
    if (first) std::rethrow_exception(first);
    return run_result::ran;
  }

  /// Changes the capacity.  Grown: as many waiters enter as now fit.  Lowered: returns at once, those inside
  /// stay, nobody enters before enough have left; waiters that want more than it are refused.
  /// Throws std::invalid_argument as the constructor does.
  void set_capacity(std::uint32_t capacity) { state_.set_capacity(checked(capacity), look()); }

  /// Refuses entry and runs from now on, and those who wait.  Those inside stay; coalesced runs that were
  /// promised are made.  Idempotent.
  void close() noexcept { state_.close(look()); }

  [[nodiscard]] bool closed() const noexcept { return (state_.word() & state::closed_flag) != 0; }

  /// Whether the gate answers as one newly made: open, of the capacity it was made with, nobody inside,
  /// nobody waiting, no run owed.  Its counts go on, and so do the numbers of its passes, which those of a
  /// new gate do not: whoever sends them outside must not let the gate be forgotten.  What `keyed` asks
  /// before it does.
  [[nodiscard]] bool is_as_new() const noexcept { return state_.is_as_new(look()); }

  /// Waits for an instant at which nobody is inside and no coalesced run is owed.  After `close` that is the
  /// end: no task runs any more, but one that has outlived its lease.  A call that is refused or coalesced may
  /// still be on its way out.
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
    entrant self{0, false, nullptr, nullptr};
    if (!state_.watch(self, look())) return {};
    std::exception_ptr error;
    const detail::wake_reason why = sleep(self, until, stop, error);
    if (self.got == answer::granted) return {};
    if (error) std::rethrow_exception(error);
    return tell(refusal_for(self.got, why));
  }

  [[nodiscard]] task_gate_stats stats() const noexcept {
    const auto gauges = state_.measure(look());
    return {.ran = ran_.value(),
            .skipped = skipped_.value(),
            .coalesced = coalesced_.value(),
            .refused = refused_.value(),
            .expired = state_.expired(),
            .running = gauges.running,
            .capacity = gauges.capacity,
            .waiting = gauges.waiting,
            // [relaxed] A gauge: some recent value.
            .longest = duration{longest_.load(std::memory_order_relaxed)}};
  }

 private:
  using state = detail::gate_state;
  using answer = detail::gate_answer;
  using entrant = detail::gate_entrant;

  /// The stay of one run; its lease lives here.
  class visit {
   public:
    explicit visit(basic_task_gate& gate) noexcept : gate_{gate} {}
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;
    /// A stay whose lease has ended touches the gate no more: that may be gone.
    ~visit() {
      if (!inside_ || (leased_ && !hold_.give_up())) return;
      const time_point now = gate_.clock_.now();
      if (leased_) {
        if (!deadline{hold_.ends}.reached(now)) gate_.count_run(elapsed(began_, now));
        gate_.state_.leave_leased(hold_, now);
      } else {
        gate_.count_run(elapsed(began_, now));
        gate_.state_.leave(1);
      }
    }

    /// The run begins.
    void start() noexcept { began_ = gate_.clock_.now(); }

    [[nodiscard]] bool try_begin() noexcept {
      std::uint64_t word{};
      inside_ = gate_.state_.take(1, word) ||
                ((word & state::leased_flag) != 0 && gate_.state_.take_leased(1, &hold_, gate_.clock_.now()));
      return inside_;
    }

    /// Nothing but a grant ends the wait: neither a deadline nor a stop nor a close can refuse it.
    void begin_as_owner() noexcept {
      if (try_begin()) return;
      inside_ = true;
      entrant self{1, true, leased_ ? &hold_ : nullptr, nullptr};
      if (!gate_.state_.queue_up(self, gate_.look())) return;
      std::exception_ptr error;
      static_cast<void>(gate_.sleep(self, deadline::never(), {}, error));
    }

   private:
    basic_task_gate& gate_;
    const bool leased_ = gate_.state_.leased();
    detail::gate_lease hold_;
    time_point began_{};
    bool inside_ = false;
  };

  void count_run(duration took) noexcept {
    ran_.add();
    // [relaxed] A maximum of its own, orders nothing.
    auto longest = longest_.load(std::memory_order_relaxed);
    // [relaxed] As above.
    while (took.count() > longest &&
           !longest_.compare_exchange_weak(longest, took.count(), std::memory_order_relaxed)) {
    }
  }

  static std::uint32_t checked(std::uint32_t capacity) {
    if (capacity == 0 || capacity > std::uint32_t{INT32_MAX}) {
      throw std::invalid_argument{"task_gate: capacity must be from 1 to 2147483647, got " +
                                  std::to_string(capacity)};
    }
    return capacity;
  }

  static std::optional<duration> checked(std::optional<duration> lease) {
    if (lease && *lease <= duration::zero()) {
      throw std::invalid_argument{"task_gate: lease must be positive, got " + std::to_string(lease->count()) +
                                  " ns"};
    }
    return lease;
  }

  static void check_weight(std::uint32_t weight) {
    if (weight == 0) refuse_weight();
  }
  [[noreturn, gnu::noinline]] static void refuse_weight() {
    throw std::invalid_argument{"task_gate: weight must be positive, got 0"};
  }

  /// The time, if it matters.
  [[nodiscard]] time_point look() const noexcept { return state_.leased() ? clock_.now() : time_point{}; }

  [[gnu::noinline]] void leave_leased(std::unique_ptr<typename pass::hold> hold) noexcept {
    if (hold->give_up()) state_.leave_leased(*hold, clock_.now());
  }

  [[nodiscard, gnu::noinline]] std::unique_ptr<typename pass::hold> try_enter_leased(std::uint32_t weight) {
    const time_point now = clock_.now();
    if (!state_.take_leased(weight, nullptr, now)) return nullptr;
    auto hold = std::make_unique<typename pass::hold>(clock_);
    if (!state_.take_leased(weight, hold.get(), now)) return nullptr;
    return hold;
  }

  template <class Until>
  outcome<pass> enter_impl(std::uint32_t weight, Until until, const std::stop_token& stop) {
    check_weight(weight);
    std::uint64_t word{};
    if (state_.take(weight, word)) return pass{*this, weight};
    std::unique_ptr<typename pass::hold> hold;
    if (state_.leased()) hold = std::make_unique<typename pass::hold>(clock_);
    entrant self{weight, false, hold.get(), &stop};
    detail::wake_reason why{};
    std::exception_ptr error;
    if (state_.queue_up(self, look())) why = sleep(self, until(), stop, error);
    if (self.got == answer::granted) return pass{*this, weight, std::move(hold)};
    if (error && self.got == answer::none) std::rethrow_exception(error);
    return tell(refusal_for(self.got, why));
  }

  /// Sleeps until `self` is answered or gives up; on return it stands in no line.  An owner never gives up.
  detail::wake_reason sleep(entrant& self, deadline until, const std::stop_token& stop,
                            std::exception_ptr& error) noexcept {
    for (;;) {
      const deadline next = error ? until : earliest(until, self.sleeps_until);
      const detail::wake_reason why = detail::sleep(self, clock_, next, stop, error);
      const bool gives_up = why == detail::wake_reason::stop_requested || (error && !self.owner) ||
                            (why == detail::wake_reason::deadline_reached && next == until);
      if (!state_.stays(self, gives_up, look())) return why;
    }
  }

  [[nodiscard]] static refusal refusal_for(answer got, detail::wake_reason why) noexcept {
    if (got == answer::closed) return refused_for_ever(refusal_reason::closed);
    if (got == answer::too_much) return refused_for_ever(refusal_reason::exceeds_capacity);
    if (got == answer::full) return {refusal_reason::full};
    if (got == answer::cancelled) return {refusal_reason::cancelled};
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

  mutable state state_;  // whoever looks collects the leases that have ended
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;
  event_counter ran_;
  event_counter skipped_;
  event_counter coalesced_;
  event_counter refused_;
  std::atomic<duration::rep> longest_{0};  // nanoseconds
};

using task_gate = basic_task_gate<>;

}  // namespace weir::inline v0
