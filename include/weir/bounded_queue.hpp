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
#include <weir/detail/parking.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

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

/// One instant of a queue: `pushed == popped + dropped + left`, exactly.
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
///             I3  Producers wait only while the queue is full, consumers only while nothing is left that is
///                 not promised to an earlier one; both are served in the order they came, without barging.
///                 What is promised keeps its room until taken: a push may find it full, a pop empty.
///             I4  A value that was not taken stays with the caller, not moved from.
/// Ordering    What came before an accepted push happens-before what follows the pop of that value.
/// Allocation  None after construction, but for vectors of the caller and what T itself allocates.
/// User code   T's move constructor, and the destructor of what was moved from, run under the lock and must
///             not use the queue; a waiting producer's value is moved on the thread that makes room for it.
///             All else runs outside, but for the copies of `close_and_take`, made if the move may throw.
/// Waiting     What can be done at once is done, even past the deadline or after a stop request.  If a
///             `waking_clock` throws, a wait throws the same and has changed nothing.
/// Destruction Requires that no call is in progress.  What is left is handed to `on_drop`, which must not
///             throw there, or destroyed; `close_and_take` gives it back instead.
/// Source      Bounded-buffer monitor: Hoare, CACM 17(10), 1974.
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
      : capacity_{checked(options).capacity},
        overflow_{options.overflow},
        on_drop_{std::move(on_drop)},
        clock_{std::move(clock)},
        observer_{std::move(observer)},
        slot_count_{capacity_ + (overflow_ == overflow_policy::drop_oldest ? 1 : 0)},
        slots_{std::allocator<T>{}.allocate(slot_count_)} {}

  bounded_queue(const bounded_queue&) = delete;
  bounded_queue& operator=(const bounded_queue&) = delete;

  ~bounded_queue() {
    assert(producers_.empty() && consumers_.empty() && "a queue may not be destroyed while it is waited on");
    for (; size_ != 0; remove_front()) {
      if (on_drop_) on_drop_(std::move(front()));
    }
    std::allocator<T>{}.deallocate(slots_, slot_count_);
  }

  /// Takes `value` unless the queue is full or closed; the drop policies make room instead of being full.
  ///
  /// \return        Success, or `full` or `closed`.  What the policy drops counts as taken, `value` too.
  /// Complexity     O(1), no allocation.
  /// Blocking       Never waits for room; holds one short internal lock.
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
  /// one: values of other producers may come between.
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
  /// Blocking       Never waits for a value; holds one short internal lock.
  /// Thread safety  Concurrent with every member except the destructor.
  /// Exceptions     What T's move constructor throws; the value then stays in its place (strong guarantee).
  outcome<T> try_pop() {
    std::unique_lock lock{mutex_};
    if (available() != 0) return take();
    const refusal no = nothing_there();
    lock.unlock();
    return tell(no);
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

  /// Appends up to `max` values to `out`, and no more than the capacity, without waiting.  Room in `out` for
  /// that many is made first, however few there are.
  ///
  /// \return        How many, or `empty` or `closed`.  Zero if and only if `max` is zero.
  /// Exceptions     std::bad_alloc from growing `out`, what T's move constructor throws: those already taken
  ///                are in `out`, the others in the queue; nothing is lost.
  outcome<std::size_t> try_pop_n(std::vector<T>& out, std::size_t max) {
    const std::size_t batch = make_room(out, max);
    if (batch == 0) return 0;
    std::unique_lock lock{mutex_};
    if (available() != 0) return take_into(out, batch);
    const refusal no = nothing_there();
    lock.unlock();
    return tell(no);
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
      const auto more = pop_some(out, make_room(out, max - taken), enough, stop);
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
  void close() noexcept {
    const std::lock_guard lock{mutex_};
    close_locked();
  }

  /// Closes, and gives back what was left and not yet promised to a waiting consumer, oldest first.
  ///
  /// Exceptions     std::bad_alloc: nothing has changed, the queue is open.  A throwing move of a T that
  ///                cannot be copied leaves the values as it left them, as in std::vector.
  [[nodiscard]] std::vector<T> close_and_take() {
    std::vector<T> taken;
    taken.reserve(capacity_);  // outside the lock, hence for the most there can be
    const std::lock_guard lock{mutex_};
    // Those who already hold a promise get the oldest; they need only the count to be right.
    for (std::size_t i = promised_; i != size_; ++i) taken.push_back(std::move_if_noexcept(*slot(i)));
    for (; size_ != promised_; --size_, ++popped_) std::destroy_at(slot(size_ - 1));
    close_locked();
    return taken;
  }

  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard lock{mutex_};
    return closed_;
  }

  /// Values in the queue; stale as soon as it is returned.
  [[nodiscard]] std::size_t size_approx() const noexcept {
    const std::lock_guard lock{mutex_};
    return size_;
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Complexity  O(1); all of one instant.
  [[nodiscard]] bounded_queue_stats stats() const noexcept {
    const std::lock_guard lock{mutex_};
    return {.pushed = pushed_,
            .popped = popped_,
            .dropped = dropped_,
            .rejected = rejected_,
            .left = size_,
            .capacity = capacity_,
            .waiting_producers = producers_.size(),
            .waiting_consumers = consumers_.size()};
  }

 private:
  static constexpr auto never = [] { return deadline::never(); };

  enum class answer : std::uint8_t { none, granted, closed, failed };

  struct waiting : detail::waiter {
    answer got = answer::none;  // guarded by mutex_
  };

  /// A producer's value is moved by the one who makes room: there is never room that only looks taken.
  struct producer : waiting {
    explicit producer(T& v) noexcept : value{std::addressof(v)} {}
    T* value;
    std::exception_ptr error;  // guarded by mutex_; what T's move threw
  };

  /// A consumer is promised a value and takes it by itself, straight into its result: no move that could
  /// throw stands between the queue and the caller.
  using consumer = waiting;

  /// Completes the removal of the front once the result has been built from it, or leaves it if that threw.
  class removal {
   public:
    explicit removal(bounded_queue& queue) noexcept : queue_{queue} {}
    removal(const removal&) = delete;
    removal& operator=(const removal&) = delete;
    ~removal() {
      if (safe || std::uncaught_exceptions() == throwing_) {
        queue_.remove_front();
        ++queue_.popped_;
      }
      queue_.settle();
    }

   private:
    static constexpr bool safe = std::is_nothrow_move_constructible_v<T>;
    bounded_queue& queue_;
    const int throwing_ = safe ? 0 : std::uncaught_exceptions();
  };

  static const bounded_queue_options& checked(const bounded_queue_options& options) {
    const auto most = std::allocator_traits<std::allocator<T>>::max_size({}) - 1;
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

  // Everything from here to `settle` requires the lock.

  T* slot(std::size_t i) noexcept {
    // Written so that no capacity can overflow it.
    const std::size_t to_end = slot_count_ - head_;
    return slots_ + (i < to_end ? head_ + i : i - to_end);
  }
  T& front() noexcept { return *slot(0); }

  /// Values that no waiting consumer has been promised.
  [[nodiscard]] std::size_t available() const noexcept { return size_ - promised_; }

  void append(T& value) {
    std::construct_at(slot(size_), std::move(value));
    ++size_;
    ++pushed_;
  }

  void remove_front() noexcept {
    std::destroy_at(slot(0));
    head_ = head_ + 1 == slot_count_ ? 0 : head_ + 1;
    --size_;
  }

  [[nodiscard]] outcome<T> take() {
    const removal commit{*this};
    return outcome<T>{std::in_place, std::move(front())};
  }

  /// Takes 1..max values into `out`, which has the room.
  [[nodiscard]] std::size_t take_into(std::vector<T>& out, std::size_t max) {
    std::size_t taken = 0;
    // Each removal settles, so what waiting producers bring is taken in the same sweep.
    for (; taken != max && available() != 0; ++taken) {
      const removal commit{*this};
      out.push_back(std::move(front()));
    }
    return taken;
  }

  /// Restores I3 after any change: room goes to waiting producers, values to waiting consumers.
  void settle() noexcept {
    while (size_ < capacity_ && !producers_.empty()) {
      auto& next = static_cast<producer&>(*producers_.front());
      answer how = answer::granted;
      try {
        append(*next.value);
      } catch (...) {
        next.error = std::current_exception();
        how = answer::failed;
      }
      end_wait(producers_, how);
    }
    for (; available() != 0 && !consumers_.empty(); ++promised_) {
      end_wait(consumers_, answer::granted);
    }
  }

  static void end_wait(detail::wait_list& list, answer how) noexcept {
    auto& first = static_cast<waiting&>(*list.front());
    first.got = how;
    list.remove(first);
    first.park.unpark();
  }

  void close_locked() noexcept {
    closed_ = true;
    while (!producers_.empty()) end_wait(producers_, answer::closed);
    while (!consumers_.empty()) end_wait(consumers_, answer::closed);
  }

  enum class placed : std::uint8_t { taken, dropped, full, closed };

  /// Takes `value` if the policy lets it.  What was dropped is in `victim`, to end outside the lock.
  [[nodiscard]] placed place(T& value, std::optional<T>& victim, std::exception_ptr& error) {
    if (closed_) return placed::closed;
    if (size_ < capacity_) {
      append(value);
      settle();
      return placed::taken;
    }
    if (overflow_ == overflow_policy::drop_newest) {
      victim.emplace(std::move(value));
      ++pushed_;
      ++dropped_;
      return placed::dropped;
    }
    if (overflow_ != overflow_policy::drop_oldest) return placed::full;
    append(value);  // into the spare slot: if it throws, nothing has changed
    try {
      victim.emplace(std::move(front()));
    } catch (...) {
      if (on_drop_) error = std::current_exception();
    }
    remove_front();
    ++dropped_;
    return placed::dropped;
  }

  [[nodiscard]] refusal nothing_there() const noexcept {
    return closed_ ? refused_for_ever(refusal_reason::closed) : refusal{refusal_reason::empty};
  }

  // From here on the lock is not held by the caller.

  /// `until` is asked for the deadline only if there is a wait: the clock is not read otherwise.
  template <class Until>
  outcome<> push_impl(T& value, bool may_wait, Until until, const std::stop_token& stop) {
    std::optional<T> victim;
    std::exception_ptr error;
    std::unique_lock lock{mutex_};
    const placed what = place(value, victim, error);
    if (what == placed::taken) return {};
    if (what == placed::full && may_wait && overflow_ == overflow_policy::block) {
      return wait_for_room(lock, value, until, stop);
    }
    if (what == placed::full || what == placed::closed) ++rejected_;
    lock.unlock();
    if (what == placed::closed) return tell(refused_for_ever(refusal_reason::closed));
    if (what == placed::full) return tell({refusal_reason::full});
    if (error) std::rethrow_exception(error);
    if (on_drop_) on_drop_(std::move(*victim));
    return {};
  }

  template <class Until>
  outcome<> wait_for_room(std::unique_lock<std::mutex>& lock, T& value, Until until,
                          const std::stop_token& stop) {
    producer self{value};
    producers_.push_back(self);
    lock.unlock();
    std::exception_ptr error;
    const detail::wake_reason why = detail::sleep(self, clock_, until(), stop, error);
    lock.lock();
    if (self.got == answer::granted) return {};
    if (self.got == answer::none) {
      producers_.remove(self);
      self.error = std::move(error);
    }
    if (!self.error) ++rejected_;
    lock.unlock();
    if (self.error) std::rethrow_exception(self.error);
    return tell(refusal_for(self.got, why));
  }

  template <class Until>
  outcome<T> pop_impl(Until until, const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    if (available() != 0) return take();
    refusal no{};
    if (!await_value(lock, until, stop, no)) return tell(no);
    return take();
  }

  /// Waits for at least one value, or refuses without telling the observer.
  [[nodiscard]] outcome<std::size_t> pop_some(std::vector<T>& out, std::size_t max, deadline until,
                                              const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    refusal no{};
    if (available() == 0 && !await_value(lock, [&] { return until; }, stop, no)) return no;
    return take_into(out, max);
  }

  /// True, with the lock held, if a value was granted: it is available again, to this caller.
  /// False, without the lock, with the reason in `no`.
  template <class Until>
  [[nodiscard]] bool await_value(std::unique_lock<std::mutex>& lock, Until until, const std::stop_token& stop,
                                 refusal& no) {
    if (closed_) {
      lock.unlock();
      no = refused_for_ever(refusal_reason::closed);
      return false;
    }
    consumer self;
    consumers_.push_back(self);
    lock.unlock();
    std::exception_ptr error;
    const detail::wake_reason why = detail::sleep(self, clock_, until(), stop, error);
    lock.lock();
    if (self.got == answer::granted) {
      --promised_;
      return true;
    }
    const bool given_up = self.got == answer::none;
    if (given_up) consumers_.remove(self);
    lock.unlock();
    if (given_up && error) std::rethrow_exception(error);
    no = refusal_for(self.got, why);
    return false;
  }

  [[nodiscard]] static refusal refusal_for(answer got, detail::wake_reason why) noexcept {
    if (got == answer::closed) return refused_for_ever(refusal_reason::closed);
    return {why == detail::wake_reason::deadline_reached ? refusal_reason::timed_out
                                                         : refusal_reason::cancelled};
  }

  template <class Push>
  [[nodiscard]] push_range_result push_each(std::span<T> values, Push push_one) {
    push_range_result result;
    for (T& value : values) {
      result.ended = push_one(value);
      if (!result.ended) break;
      ++result.pushed;
    }
    return result;
  }

  /// Grows `out` before the lock is taken, so that nothing allocates under it; returns for how many.
  [[nodiscard]] std::size_t make_room(std::vector<T>& out, std::size_t max) const {
    const std::size_t batch = std::min(max, capacity_);
    if (out.capacity() - out.size() < batch) out.reserve(std::max(out.size() + batch, out.capacity() * 2));
    return batch;
  }

  refusal tell(refusal why) noexcept {
    observer_.on_refused(why);
    return why;
  }

  const std::size_t capacity_;
  const overflow_policy overflow_;
  const drop_handler on_drop_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;
  const std::size_t slot_count_;  // one more than the capacity for drop_oldest
  T* const slots_;                // owned; raw memory but for the values of the ring, which mutex_ guards

  mutable std::mutex mutex_;
  std::size_t head_ = 0;         // guarded by mutex_
  std::size_t size_ = 0;         // guarded by mutex_
  std::size_t promised_ = 0;     // guarded by mutex_; granted to consumers not yet back
  bool closed_ = false;          // guarded by mutex_
  detail::wait_list producers_;  // guarded by mutex_
  detail::wait_list consumers_;  // guarded by mutex_
  std::uint64_t pushed_ = 0;     // guarded by mutex_
  std::uint64_t popped_ = 0;     // guarded by mutex_
  std::uint64_t dropped_ = 0;    // guarded by mutex_
  std::uint64_t rejected_ = 0;   // guarded by mutex_
};

}  // namespace weir::inline v0
