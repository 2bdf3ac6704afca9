// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/monitor_queue.hpp>
#include <weir/detail/queue_parts.hpp>
#include <weir/detail/ring_queue.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

/// What a push does when the queue is full.
enum class overflow_policy : std::uint8_t {
  block,        ///< `push` waits for room, `try_push` refuses with `full`
  reject,       ///< every push refuses with `full` at once
  drop_newest,  ///< the pushed value is taken and dropped
  drop_oldest,  ///< the oldest value in the queue is dropped to make room
};

struct bounded_queue_options {
  std::size_t capacity = 0;  ///< values held at most; required, positive, any number
  overflow_policy overflow = overflow_policy::block;
};

/// What a queue has done: `pushed == popped + dropped + left`, exactly.  As recent as it can be read while calls
/// are going on: a value on its way is counted or not, one that is just dropped may still count as popped.
struct bounded_queue_stats {
  std::uint64_t pushed = 0;    ///< values taken from producers
  std::uint64_t popped = 0;    ///< values given to consumers, `close_and_take` included
  std::uint64_t dropped = 0;   ///< values dropped by the overflow policy
  std::uint64_t rejected = 0;  ///< values refused: full, closed, timed out or cancelled
  std::size_t left = 0;        ///< values in the queue
  std::size_t capacity = 0;
  std::size_t waiting_producers = 0;
  std::size_t waiting_consumers = 0;
};

/// What became of a range: the first `pushed` values were taken, the others are untouched.
struct [[nodiscard]] push_range_result {
  std::size_t pushed = 0;
  outcome<> ended;  ///< success, or why the next value was refused
};

/// A queue of at most `capacity` values between any number of producers and consumers, first in first out.
///
/// Model       A list and a flag: push appends unless full or closed; pop removes the first; close sets the
///             flag.  After close, pops drain what is left, then refuse with `closed`.
/// Invariants  I1  pushed == popped + dropped + left; left <= capacity.
///             I2  Values leave in the order in which they were taken.
///             I3  Producers wait only while the queue is full, consumers only while it is empty; both are
///                 served in the order they came, and nobody passes those who wait.
///             I4  A value that was not taken stays with the caller, not moved from.
/// Two kinds   If T's move cannot throw, values go through a lock-free ring, and a lock is taken only where
///             somebody waits, is woken, closes, or drives out the oldest.  Otherwise one lock guards all,
///             so that a move that throws leaves all as it was; there, what a waiting consumer is promised
///             keeps its room until he has taken it: a push may find it full, a pop empty.
/// Ordering    What came before an accepted push happens-before what follows the pop of that value.
///             Linearizable: each call takes effect at one instant between its begin and its end, over several
///             queues too; `pop_up_to` and the push of a range are several calls.
/// Progress    A call waits for another that has begun to move a value in or out of the very place it needs,
///             a few instructions; it spins for a while, then gives up its turn on the core.
/// Allocation  None after construction, but for vectors of the caller and what T itself allocates.
/// User code   T's move constructor and destructor run inside and must not use the queue; a waiting
///             producer's value is moved on the thread that makes room for it, a value may be moved into the
///             hands of a waiting consumer on the thread that brings it.  `on_drop`, observers and copies run
///             outside, but for the copies of `close_and_take`, made if the move may throw.
/// Waiting     What can be done at once is done, even past the deadline or after a stop request.  Who waits
///             looks again for about a microsecond where there are cores for it, then sleeps.  If a
///             `waking_clock` throws, a wait throws the same and has changed nothing.
/// Destruction Requires that no call is in progress.  What is left is handed to `on_drop`, which must not
///             throw there, or destroyed; `close_and_take` gives it back instead.
/// Source      Vyukov, Bounded MPMC queue, 2010; bounded-buffer monitor: Hoare, CACM 17(10), 1974.
template <class T, monotonic_clock Clock = steady_clock, refusal_observer Observer = no_observer>
class bounded_queue {
  static_assert(std::is_object_v<T> && std::move_constructible<T>, "bounded_queue<T>: T must be movable");
  static_assert(std::is_nothrow_destructible_v<T>, "bounded_queue<T>: T's destructor must not throw");

 public:
  using value_type = T;

  /// Receives each value that the overflow policy drops, on the thread of the push that caused it; from
  /// several threads at once if they push at once.
  using drop_handler = std::function<void(T&&)>;

  /// Allocates all the room it will ever use.  Throws std::invalid_argument if the capacity is zero or more
  /// than an array of T can have, or the policy is none of its enumerators.
  explicit bounded_queue(bounded_queue_options options, Clock clock = {}, Observer observer = {})
      : bounded_queue{options, drop_handler{}, std::move(clock), std::move(observer)} {}

  /// With `on_drop`.  What it throws comes out of the push, which has taken effect by then.
  bounded_queue(bounded_queue_options options, drop_handler on_drop, Clock clock = {}, Observer observer = {})
      : overflow_{checked(options).overflow},
        on_drop_{std::move(on_drop)},
        clock_{std::move(clock)},
        observer_{std::move(observer)},
        core_{options.capacity, overflow_ == overflow_policy::drop_oldest} {}

  bounded_queue(const bounded_queue&) = delete;
  bounded_queue& operator=(const bounded_queue&) = delete;

  ~bounded_queue() {
    assert(!waited_on() && "a queue may not be destroyed while it is waited on");
    core_.drain([this](T&& value) {
      if (on_drop_) on_drop_(std::move(value));
    });
  }

  /// Takes `value` unless the queue is full or closed; the drop policies make room instead of being full.
  ///
  /// \return        Success, or `full` or `closed`.  What the policy drops counts as taken, `value` too.
  /// Complexity     O(1), no allocation.
  /// Blocking       Never waits for room.
  /// Thread safety  Concurrent with every member except the destructor.
  /// Exceptions     What T's move constructor throws; nothing has changed then (strong guarantee).  What
  ///                handing a dropped value to `on_drop` throws; the push has taken effect then.
  outcome<> try_push(T&& value) { return push_impl(value, false, never, {}); }
  outcome<> try_push(const T& value)
    requires std::copy_constructible<T>
  {
    return try_push(T(value));
  }

  /// Takes `value`; under `block`, waits for room as long as it needs, first come first served.
  ///
  /// \return        Success, or `closed`, `cancelled` (a stop was requested), `full` (policy `reject`).
  /// Blocking       Waits under `block` only.
  /// Exceptions     As `try_push`.
  outcome<> push(T&& value, std::stop_token stop = {}) { return push_impl(value, true, never, stop); }
  outcome<> push(const T& value, std::stop_token stop = {})
    requires std::copy_constructible<T>
  {
    return push(T(value), std::move(stop));
  }

  /// As `push`, but refuses with `timed_out` once `wait` has passed; at once if it is not positive.
  outcome<> push_for(T&& value, duration wait, std::stop_token stop = {}) {
    return push_impl(value, true, [&] { return deadline::after(clock_.now(), wait); }, stop);
  }
  outcome<> push_for(const T& value, duration wait, std::stop_token stop = {})
    requires std::copy_constructible<T>
  {
    return push_for(T(value), wait, std::move(stop));
  }

  /// As `push`, but refuses with `timed_out` once `until` is reached.
  outcome<> push_until(T&& value, deadline until, std::stop_token stop = {}) {
    return push_impl(value, true, [&] { return until; }, stop);
  }
  outcome<> push_until(const T& value, deadline until, std::stop_token stop = {})
    requires std::copy_constructible<T>
  {
    return push_until(T(value), until, std::move(stop));
  }

  /// Moves from `values` in order until one is refused, as `try_push` and the `push` family would, one by
  /// one or several at once: values of other producers may come between.
  ///
  /// Exceptions     As `try_push`; the values before the one that threw have been taken, those after it not.
  push_range_result try_push_range(std::span<T> values) {
    return push_each(values, [this](T& value) { return try_push(std::move(value)); });
  }
  push_range_result push_range(std::span<T> values, std::stop_token stop = {}) {
    return push_range_until(values, deadline::never(), std::move(stop));
  }
  push_range_result push_range_for(std::span<T> values, duration wait, std::stop_token stop = {}) {
    return push_range_until(values, deadline::after(clock_.now(), wait), std::move(stop));
  }
  push_range_result push_range_until(std::span<T> values, deadline until, std::stop_token stop = {}) {
    return push_each(values, [&](T& value) { return push_until(std::move(value), until, stop); });
  }

  /// Gives the oldest value.
  ///
  /// \return        The value, or `empty`, or `closed` (closed and drained).
  /// Complexity     O(1), no allocation.
  /// Blocking       Never waits for a value.
  /// Thread safety  Concurrent with every member except the destructor.
  /// Exceptions     What T's move constructor throws; the value then stays in its place (strong guarantee).
  outcome<T> try_pop() {
    return core_.take([this](refusal why) { return tell(why); });
  }

  /// Gives the oldest value, waiting for one as long as it needs, first come first served.
  ///
  /// \return        The value, or `closed` (closed and drained) or `cancelled` (a stop was requested).
  /// Exceptions     As `try_pop`.
  outcome<T> pop(std::stop_token stop = {}) { return pop_impl(never, stop); }

  /// As `pop`, but refuses with `timed_out` once `wait` has passed; at once if it is not positive.
  outcome<T> pop_for(duration wait, std::stop_token stop = {}) {
    return pop_impl([&] { return deadline::after(clock_.now(), wait); }, stop);
  }

  /// As `pop`, but refuses with `timed_out` once `until` is reached.
  outcome<T> pop_until(deadline until, std::stop_token stop = {}) {
    return pop_impl([&] { return until; }, stop);
  }

  /// Appends up to `max` values to `out`, and no more than the capacity, without waiting: values in a row, that
  /// nobody else takes one of; fewer than there are if one of them is just on its way in.  Room in `out` for as
  /// many as may come is made first.
  ///
  /// \return        How many, or `empty` or `closed`.  Zero if and only if `max` is zero.
  /// Exceptions     std::bad_alloc from growing `out`, what T's move constructor throws: those already taken
  ///                are in `out`, the others in the queue; nothing is lost.
  outcome<std::size_t> try_pop_n(std::vector<T>& out, std::size_t max) {
    const std::size_t batch = make_room(out, max);
    if (batch == 0) return 0;
    outcome<std::size_t> taken = core_.take_into(out, batch);
    if (!taken) tell(taken.error());
    return taken;
  }

  /// Appends up to `max` values to `out`: waits for the first as `pop` does, then for more until there are
  /// `max` or `linger` has passed since the first.  A close or stop then ends it early, with what there is.
  ///
  /// \return        How many, at least one (zero if `max` is zero), or why there was not even one.
  /// Exceptions     As `try_pop_n`.
  outcome<std::size_t> pop_up_to(std::vector<T>& out, std::size_t max, duration linger,
                                 std::stop_token stop = {}) {
    return pop_up_to_until(out, max, linger, deadline::never(), std::move(stop));
  }

  /// As `pop_up_to`, but `until` ends the wait for the first with `timed_out`, and the linger too.
  outcome<std::size_t> pop_up_to_until(std::vector<T>& out, std::size_t max, duration linger, deadline until,
                                       std::stop_token stop = {}) {
    std::size_t taken = 0;
    for (deadline enough = until; taken < max;) {
      const auto more = core_.take_some_when_there(out, make_room(out, max - taken), clock_, enough, stop);
      if (!more && taken == 0) return tell(more.error());
      if (!more) break;
      if (taken == 0) {
        if (linger <= duration::zero()) return *more;
        enough = earliest(until, deadline::after(clock_.now(), linger));
      }
      taken += *more;
    }
    return taken;
  }

  /// Refuses every further push and wakes all who wait.  Pops drain what is left.  Idempotent.
  void close() noexcept { core_.close(); }

  /// Closes, and gives back what was left and not yet promised to a waiting consumer, oldest first.
  ///
  /// Exceptions     std::bad_alloc: nothing has changed, the queue is open.  A throwing move of a T that
  ///                cannot be copied leaves the values as it left them, as in std::vector.
  [[nodiscard]] std::vector<T> close_and_take() { return core_.close_and_take(); }

  [[nodiscard]] bool closed() const noexcept { return core_.closed(); }

  /// Values in the queue; stale as soon as it is returned.
  [[nodiscard]] std::size_t size_approx() const noexcept { return core_.size(); }

  [[nodiscard]] std::size_t capacity() const noexcept { return core_.capacity(); }

  /// Complexity  O(1).
  [[nodiscard]] bounded_queue_stats stats() const noexcept {
    const detail::queue_counts now = core_.counts();
    return {.pushed = now.pushed,
            .popped = now.popped,
            .dropped = now.dropped,
            .rejected = rejected_.value(),
            .left = now.left,
            .capacity = core_.capacity(),
            .waiting_producers = now.waiting_producers,
            .waiting_consumers = now.waiting_consumers};
  }

 private:
  static constexpr auto never = [] { return deadline::never(); };

  using core = std::conditional_t<std::is_nothrow_move_constructible_v<T>, detail::ring_queue<T>,
                                  detail::monitor_queue<T>>;
  using placed = detail::placed;

  static const bounded_queue_options& checked(const bounded_queue_options& options) {
    const std::size_t most = core::most_capacity();
    if (options.capacity == 0 || options.capacity > most) {
      throw std::invalid_argument{"bounded_queue: capacity must be from 1 to " + std::to_string(most) +
                                  ", got " + std::to_string(options.capacity)};
    }
    if (options.overflow > overflow_policy::drop_oldest) {
      throw std::invalid_argument{"bounded_queue: overflow must be one of its policies, got " +
                                  std::to_string(static_cast<unsigned>(options.overflow))};
    }
    return options;
  }

  /// `until` is asked for the deadline only if there is a wait: the clock is not read otherwise.
  template <class Until>
  outcome<> push_impl(T& value, bool may_wait, Until until, const std::stop_token& stop) {
    if (overflow_ == overflow_policy::drop_oldest) return push_over(value);
    const placed what = core_.put(value);
    if (what == placed::taken) return {};
    if (what == placed::closed) return reject(refused_for_ever(refusal_reason::closed));
    if (overflow_ == overflow_policy::drop_newest) return drop(value);
    if (!may_wait || overflow_ == overflow_policy::reject) return reject({refusal_reason::full});
    if (const auto no = core_.put_when_room(value, clock_, until(), stop)) return reject(*no);
    return {};
  }

  [[nodiscard]] bool waited_on() const noexcept {
    const detail::queue_counts now = core_.counts();
    return now.waiting_producers + now.waiting_consumers != 0;
  }

  outcome<> push_over(T& value) {
    std::optional<T> victim;
    std::exception_ptr error;
    const placed what = core_.put_over(value, victim, error);
    if (what == placed::closed) return reject(refused_for_ever(refusal_reason::closed));
    if (what == placed::dropped && on_drop_) {
      if (error) std::rethrow_exception(error);
      on_drop_(std::move(*victim));
    }
    return {};
  }

  outcome<> drop(T& value) {
    T victim{std::move(value)};
    core_.count_dropped();
    if (on_drop_) on_drop_(std::move(victim));
    return {};
  }

  template <class Until>
  outcome<T> pop_impl(Until until, const std::stop_token& stop) {
    return core_.take_when_there(clock_, until, stop, [this](refusal why) { return tell(why); });
  }

  template <class Push>
  [[nodiscard]] push_range_result push_each(std::span<T> values, Push push_one) {
    push_range_result result;
    while (result.pushed != values.size()) {
      const std::span<T> rest = values.subspan(result.pushed);
      if (const std::size_t at_once = core_.put_some(rest); at_once != 0) {
        result.pushed += at_once;
        continue;
      }
      result.ended = push_one(rest.front());
      if (!result.ended) break;
      ++result.pushed;
    }
    return result;
  }

  /// Grows `out` before anything is taken; returns for how many.
  [[nodiscard]] std::size_t make_room(std::vector<T>& out, std::size_t max) const {
    const std::size_t batch = std::min(max, core_.capacity());
    if (out.capacity() - out.size() < batch) out.reserve(std::max(out.size() + batch, out.capacity() * 2));
    return batch;
  }

  refusal reject(refusal why) noexcept {
    rejected_.add();
    return tell(why);
  }

  refusal tell(refusal why) noexcept {
    observer_.on_refused(why);
    return why;
  }

  const overflow_policy overflow_;
  const drop_handler on_drop_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;
  event_counter rejected_;
  core core_;
};

}  // namespace weir::inline v0
