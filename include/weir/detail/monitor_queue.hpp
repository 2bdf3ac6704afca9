// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/queue_parts.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0::detail {

/// The queue of values whose move may throw: places in a circle, and those who wait, under one lock.  The move
/// is tried before anything changes, which needs the lock: a place that others passed cannot be given back.
///
/// Model       A waiting producer's value is moved in by the one who makes room: there is never room that only
///             looks taken.  A waiting consumer is promised a value and takes it by itself, straight into its
///             result: no move that could throw stands between the queue and the caller.
/// Invariants  I1  Producers wait only while it is full, consumers only while nothing is left that is not
///                 promised.
/// User code   T's move constructor, and the destructor of what was moved from, run under the lock.
/// Source      Bounded-buffer monitor: Hoare, CACM 17(10), 1974.
template <class T>
class monitor_queue {
 public:
  monitor_queue(std::size_t capacity, bool drops_oldest)
      : capacity_{capacity},
        slot_count_{capacity_ + (drops_oldest ? 1 : 0)},
        slots_{std::allocator<T>{}.allocate(slot_count_)} {}
  monitor_queue(const monitor_queue&) = delete;
  monitor_queue& operator=(const monitor_queue&) = delete;
  /// Precondition: drained, and nobody waits.
  ~monitor_queue() { std::allocator<T>{}.deallocate(slots_, slot_count_); }

  [[nodiscard]] static std::size_t most_capacity() noexcept {
    return std::allocator_traits<std::allocator<T>>::max_size({}) - 1;
  }

  placed put(T& value) {
    const std::lock_guard lock{mutex_};
    if (closed_) return placed::closed;
    if (size_ == capacity_) return placed::full;
    append(value);
    settle();
    return placed::taken;
  }

  /// As put; if it is full, the oldest value ends in `victim`, or what its move threw in `error`.
  placed put_over(T& value, std::optional<T>& victim, std::exception_ptr& error) {
    const std::lock_guard lock{mutex_};
    if (closed_) return placed::closed;
    append(value);  // into the spare slot if it is full: if it throws, nothing has changed
    if (size_ <= capacity_) {
      settle();
      return placed::taken;
    }
    try {
      victim.emplace(std::move(front()));
    } catch (...) {
      error = std::current_exception();
    }
    remove_front();
    ++dropped_;
    return placed::dropped;
  }

  /// Counts a value that was taken and dropped.
  void count_dropped() noexcept {
    const std::lock_guard lock{mutex_};
    ++pushed_;
    ++dropped_;
  }

  /// None at once: a throw in the middle would have to be told apart.
  [[nodiscard]] static std::size_t put_some(std::span<T> /*values*/) noexcept { return 0; }

  /// Waits for room; nothing if the value was taken.
  template <class Clock>
  std::optional<refusal> put_when_room(T& value, const Clock& clock, deadline until,
                                       const std::stop_token& stop) {
    producer self{value};
    {
      const std::lock_guard lock{mutex_};
      if (closed_) return refused_for_ever(refusal_reason::closed);
      if (size_ != capacity_) {
        append(value);
        settle();
        return std::nullopt;
      }
      producers_.push_back(self);
    }
    std::exception_ptr error;
    const wake_reason why = sleep(self, clock, until, stop, error);
    {
      const std::lock_guard lock{mutex_};
      if (self.got == grant::given) return std::nullopt;
      if (self.got == grant::none) {
        producers_.remove(self);
        self.error = std::move(error);
      }
    }
    if (self.error) std::rethrow_exception(self.error);
    return refusal_of(self.got, why);
  }

  /// `tell(refusal)` is called without the lock, and gives the refusal back.
  template <class Tell>
  outcome<T> take(Tell tell) {
    std::unique_lock lock{mutex_};
    if (available() != 0) return take_first();
    const refusal no = nothing_there();
    lock.unlock();
    return tell(no);
  }

  /// Appends up to `most` values to `out`, which has the room.
  [[nodiscard]] outcome<std::size_t> take_into(std::vector<T>& out, std::size_t most) {
    const std::lock_guard lock{mutex_};
    if (available() == 0) return nothing_there();
    return move_into(out, most);
  }

  /// `until()` is asked for the deadline only if there is a wait.
  template <class Clock, class Until, class Tell>
  outcome<T> take_when_there(const Clock& clock, Until until, const std::stop_token& stop, Tell tell) {
    std::unique_lock lock{mutex_};
    if (const auto no = await_value(lock, clock, until, stop)) {
      lock.unlock();
      return tell(*no);
    }
    return take_first();
  }

  template <class Clock>
  outcome<std::size_t> take_some_when_there(std::vector<T>& out, std::size_t most, const Clock& clock,
                                            deadline until, const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    if (const auto no = await_value(lock, clock, [&] { return until; }, stop)) return *no;
    return move_into(out, most);
  }

  void close() noexcept {
    const std::lock_guard lock{mutex_};
    close_locked();
  }

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

  /// Calls `f(T&&)` for each value that is left.  Nobody else may use the queue.
  template <class F>
  void drain(F&& f) {
    for (; size_ != 0; remove_front()) f(std::move(front()));
  }

  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard lock{mutex_};
    return closed_;
  }
  [[nodiscard]] std::size_t size() const noexcept {
    const std::lock_guard lock{mutex_};
    return size_;
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  [[nodiscard]] queue_counts counts() const noexcept {
    const std::lock_guard lock{mutex_};
    return {.pushed = pushed_,
            .popped = popped_,
            .dropped = dropped_,
            .left = size_,
            .waiting_producers = producers_.size(),
            .waiting_consumers = consumers_.size()};
  }

 private:
  struct producer : queue_waiter {
    explicit producer(T& v) noexcept : value{std::addressof(v)} {}
    T* value;
    std::exception_ptr error;  // guarded by mutex_; what T's move threw
  };

  /// Completes the removal of the front once the result has been built from it, or leaves it if that threw.
  class removal {
   public:
    explicit removal(monitor_queue& queue) noexcept : queue_{queue} {}
    removal(const removal&) = delete;
    removal& operator=(const removal&) = delete;
    ~removal() {
      if (std::uncaught_exceptions() == throwing_) {
        queue_.remove_front();
        ++queue_.popped_;
      }
      queue_.settle();
    }

   private:
    monitor_queue& queue_;
    const int throwing_ = std::uncaught_exceptions();
  };

  // Everything from here to `await_value` requires the lock.

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

  [[nodiscard]] refusal nothing_there() const noexcept {
    return closed_ ? refused_for_ever(refusal_reason::closed) : refusal{refusal_reason::empty};
  }

  [[nodiscard]] outcome<T> take_first() {
    const removal commit{*this};
    return outcome<T>{std::in_place, std::move(front())};
  }

  [[nodiscard]] std::size_t move_into(std::vector<T>& out, std::size_t most) {
    std::size_t taken = 0;
    // Each removal settles, so what waiting producers bring is taken in the same sweep.
    for (; taken != most && available() != 0; ++taken) {
      const removal commit{*this};
      out.push_back(std::move(front()));
    }
    return taken;
  }

  /// Restores I1 after any change: room goes to waiting producers, values to waiting consumers.
  void settle() noexcept {
    while (size_ < capacity_ && !producers_.empty()) {
      auto& next = static_cast<producer&>(*producers_.front());
      grant how = grant::given;
      try {
        append(*next.value);
      } catch (...) {
        next.error = std::current_exception();
        how = grant::failed;
      }
      end_wait(producers_, how);
    }
    for (; available() != 0 && !consumers_.empty(); ++promised_) end_wait(consumers_, grant::given);
  }

  void close_locked() noexcept {
    closed_ = true;
    while (!producers_.empty()) end_wait(producers_, grant::closed);
    while (!consumers_.empty()) end_wait(consumers_, grant::closed);
  }

  /// Waits until a value is available to this caller; the reason if none came.
  template <class Clock, class Until>
  [[nodiscard]] std::optional<refusal> await_value(std::unique_lock<std::mutex>& lock, const Clock& clock,
                                                   Until until, const std::stop_token& stop) {
    if (available() != 0) return std::nullopt;
    if (closed_) return refused_for_ever(refusal_reason::closed);
    queue_waiter self;
    consumers_.push_back(self);
    lock.unlock();
    std::exception_ptr error;
    const wake_reason why = sleep(self, clock, until(), stop, error);
    lock.lock();
    if (self.got == grant::given) {
      --promised_;
      return std::nullopt;
    }
    if (self.got == grant::none) {
      consumers_.remove(self);
      if (error) std::rethrow_exception(error);
    }
    return refusal_of(self.got, why);
  }

  const std::size_t capacity_;
  const std::size_t slot_count_;  // one more than the capacity if the oldest may be dropped
  T* const slots_;                // owned; raw memory but for the values in it, which mutex_ guards

  mutable std::mutex mutex_;
  std::size_t head_ = 0;       // guarded by mutex_
  std::size_t size_ = 0;       // guarded by mutex_
  std::size_t promised_ = 0;   // guarded by mutex_; granted to consumers not yet back
  bool closed_ = false;        // guarded by mutex_
  wait_list producers_;        // guarded by mutex_
  wait_list consumers_;        // guarded by mutex_
  std::uint64_t pushed_ = 0;   // guarded by mutex_
  std::uint64_t popped_ = 0;   // guarded by mutex_
  std::uint64_t dropped_ = 0;  // guarded by mutex_
};

}  // namespace weir::inline v0::detail
