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
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/queue_parts.hpp>
#include <weir/detail/queue_ring.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0::detail {

/// The queue of values whose move cannot throw: a ring, and beside it, under a lock, those who wait.
///
/// Model       Who finds somebody waiting at the other end serves the first of them by hand, under the lock: a
///             value goes from producer to consumer without the ring, which is empty then; and who takes from
///             a full ring moves in the value of the first producer.
/// Invariants  I1  Under the lock, a flag of the ring stands if and only if the list of that end is not empty.
template <class T>
class ring_queue {
  using ring = queue_ring<T>;
  using claim = typename ring::claim;

 public:
  explicit ring_queue(std::size_t capacity, bool /*drops_oldest*/) : ring_{capacity} {}
  ring_queue(const ring_queue&) = delete;
  ring_queue& operator=(const ring_queue&) = delete;
  /// Precondition: drained, and nobody waits.
  ~ring_queue() = default;

  [[nodiscard]] static std::size_t most_capacity() noexcept { return ring::most_places(); }

  placed put(T& value) noexcept {
    for (;;) {
      switch (ring_.put(value)) {
        case ring::answer::done:
          return placed::taken;
        case ring::answer::full:
          return placed::full;
        case ring::answer::closed:
          return placed::closed;
        default:
          if (hand_over(value)) return placed::taken;
      }
    }
  }

  /// As put; if it is full, the oldest value ends in `victim`.
  placed put_over(T& value, std::optional<T>& victim, std::exception_ptr& /*error*/) noexcept {
    for (;;) {
      const placed how = put(value);
      if (how != placed::full) return how;
      const std::lock_guard lock{mutex_};
      if (ring_.closed()) return placed::closed;
      // One goes and one comes while nobody can pass at either end: all of it is one instant.
      if (ring_.await_room()) victim.emplace(std::move(oldest_come_in()));
      if (victim) ring_.replace_oldest(value);
      ring_.nobody_awaits_room();
      if (!victim) continue;
      dropped_.add();
      return placed::dropped;
    }
  }

  /// Counts a value that was taken and dropped.
  void count_dropped() noexcept {
    taken_and_dropped_.add();
    dropped_.add();
  }

  [[nodiscard]] std::size_t put_some(std::span<T> values) noexcept {
    return ring_.put_some(values.data(), values.size());
  }

  /// Waits for room; nothing if the value was taken.
  template <class Clock>
  std::optional<refusal> put_when_room(T& value, const Clock& clock, deadline until,
                                       const std::stop_token& stop) {
    for (int looks = spins_until(clock, until); looks > 0 && ring_.seems_full(); --looks) pause();
    for (;;) {
      const placed how = put(value);
      if (how == placed::taken) return std::nullopt;
      if (how == placed::closed) return refused_for_ever(refusal_reason::closed);
      producer self{value};
      {
        const std::lock_guard lock{mutex_};
        if (ring_.closed()) return refused_for_ever(refusal_reason::closed);
        if (!ring_.await_room()) {
          ring_.nobody_awaits_room();
          continue;
        }
        producers_.push_back(self);
      }
      std::exception_ptr error;
      const wake_reason why = sleep(self, clock, until, stop, error);
      const std::lock_guard lock{mutex_};
      if (self.got == grant::given) return std::nullopt;
      if (self.got == grant::none) leave(producers_, self);
      if (self.got == grant::none && error) std::rethrow_exception(error);
      return refusal_of(self.got, why);
    }
  }

  /// `tell(refusal)` gives the refusal back.
  template <class Tell>
  outcome<T> take(Tell tell) {
    patience other;
    for (claim got;;) {
      switch (ring_.take(got)) {
        case ring::answer::done: {
          const departure done{*this, got};
          return outcome<T>{std::in_place, std::move(got.value())};
        }
        case ring::answer::empty:
          return tell(refusal{refusal_reason::empty});
        case ring::answer::closed:
          return tell(refused_for_ever(refusal_reason::closed));
        default:
          break;
      }
      const std::lock_guard lock{mutex_};
      if (T* const oldest = oldest_held()) {
        const departure_held done{*this};
        return outcome<T>{std::in_place, std::move(*oldest)};
      }
      other.wait();
    }
  }

  /// Appends up to `most` values that stand in a row to `out`, which has the room.
  [[nodiscard]] outcome<std::size_t> take_into(std::vector<T>& out, std::size_t most) {
    patience other;
    for (claim got;;) {
      switch (ring_.take(got, most)) {
        case ring::answer::done: {
          const std::size_t taken = got.count;
          for (; got.count != 0; ring_.done_with_first(got)) out.push_back(std::move(got.value()));
          return taken;
        }
        case ring::answer::empty:
          return refusal{refusal_reason::empty};
        case ring::answer::closed:
          return refused_for_ever(refusal_reason::closed);
        default:
          break;
      }
      const std::lock_guard lock{mutex_};
      if (const std::size_t taken = take_held(out, most)) return taken;
      other.wait();
    }
  }

  /// `until()` is asked for the deadline only if there is a wait.
  template <class Clock, class Until, class Tell>
  outcome<T> take_when_there(const Clock& clock, Until until, const std::stop_token& stop, Tell tell) {
    for (std::optional<deadline> last;;) {
      outcome<T> at_once = take([](refusal no) { return no; });
      if (at_once) return at_once;
      if (at_once.error().reason == refusal_reason::closed) return tell(at_once.error());
      if (!last) {
        last = until();
        if (appears(clock, *last)) continue;
      }
      std::optional<refusal> no;
      consumer self;
      if (!await_value(self, clock, *last, stop, no)) continue;
      if (no) return tell(*no);
      return outcome<T>{std::in_place, *std::move(self.value)};
    }
  }

  template <class Clock>
  outcome<std::size_t> take_some_when_there(std::vector<T>& out, std::size_t most, const Clock& clock,
                                            deadline until, const std::stop_token& stop) {
    for (bool hopes = true;;) {
      const outcome<std::size_t> at_once = take_into(out, most);
      if (at_once || at_once.error().reason == refusal_reason::closed) return at_once;
      if (std::exchange(hopes, false) && appears(clock, until)) continue;
      std::optional<refusal> no;
      consumer self;
      if (!await_value(self, clock, until, stop, no)) continue;
      if (no) return *no;
      out.push_back(*std::move(self.value));
      if (most == 1) return 1;
      const outcome<std::size_t> more = take_into(out, most - 1);
      return 1 + (more ? *more : 0);
    }
  }

  void close() noexcept {
    const std::lock_guard lock{mutex_};
    if (close_locked()) ring_.nobody_awaits_room();
  }

  [[nodiscard]] std::vector<T> close_and_take() {
    std::vector<T> left;
    left.reserve(ring_.places());
    const std::lock_guard lock{mutex_};
    // Nobody takes a value between the close and this: all of it is one instant.
    ring_.hold_consumers();
    close_locked();
    for (; !ring_.drained(); ring_.remove_oldest()) left.push_back(std::move(oldest_come_in()));
    ring_.nobody_awaits_room();
    return left;
  }

  /// Calls `f(T&&)` for each value that is left.  Nobody else may use the queue.
  template <class F>
  void drain(F&& f) {
    for (claim got; ring_.take(got) == ring::answer::done;) {
      const departure done{*this, got};
      f(std::move(got.value()));
    }
  }

  [[nodiscard]] bool closed() const noexcept { return ring_.closed(); }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(ring_.count().left); }
  [[nodiscard]] std::size_t capacity() const noexcept { return ring_.places(); }

  [[nodiscard]] queue_counts counts() const noexcept {
    const std::lock_guard lock{mutex_};
    queue_counts c;
    c.waiting_producers = producers_.size();
    c.waiting_consumers = consumers_.size();
    c.dropped = dropped_.value();
    const auto [put, left] = ring_.count();
    c.left = static_cast<std::size_t>(left);
    // Those dropped without a place are counted first, so that no pop seems to be missing.
    c.pushed = put + handed_over_ + taken_and_dropped_.value();
    c.dropped = std::min(c.dropped, c.pushed - left);
    c.popped = c.pushed - c.dropped - left;
    return c;
  }

 private:
  struct producer : queue_waiter {
    explicit producer(T& v) noexcept : value{std::addressof(v)} {}
    T* value;
  };
  struct consumer : queue_waiter {
    std::optional<T> value;  // guarded by mutex_ until it is given
  };

  /// Frees the place of a claimed value once the result has been built from it.
  struct departure {
    ring_queue& queue;
    claim& got;

    departure(ring_queue& q, claim& g) noexcept : queue{q}, got{g} {}
    departure(const departure&) = delete;
    departure& operator=(const departure&) = delete;
    ~departure() { queue.ring_.done_with_first(got); }
  };

  // Under the lock, from here to `close_locked`.  Consumers are held back while a producer waits.

  /// Ends the departure of the oldest value of a ring whose consumers are held back, once the result has been
  /// built from it.
  struct departure_held {
    ring_queue& queue;

    explicit departure_held(ring_queue& q) noexcept : queue{q} {}
    departure_held(const departure_held&) = delete;
    departure_held& operator=(const departure_held&) = delete;
    ~departure_held() {
      queue.admit_next();
      if (queue.producers_.empty()) queue.ring_.nobody_awaits_room();
    }
  };

  /// The oldest value if a producer waits, and if it has come in.
  [[nodiscard]] T* oldest_held() noexcept { return producers_.empty() ? nullptr : ring_.oldest(); }

  /// The oldest value of a ring that is not empty, once it has come in.
  [[nodiscard]] T& oldest_come_in() noexcept {
    for (patience other;; other.wait()) {
      if (T* const oldest = ring_.oldest()) return *oldest;
    }
  }

  /// The oldest has been moved out: the first who waits puts its value into its place, the newest now.
  void admit_next() noexcept {
    if (producers_.empty()) return ring_.remove_oldest();
    ring_.replace_oldest(*static_cast<producer&>(*producers_.front()).value);
    end_wait(producers_, grant::given);
  }

  /// As many values as are in a row, up to `most`, if a producer waits.
  [[nodiscard]] std::size_t take_held(std::vector<T>& out, std::size_t most) {
    if (producers_.empty()) return 0;
    std::size_t taken = 0;
    for (; taken != most; ++taken) {
      T* const oldest = ring_.oldest();
      if (oldest == nullptr) break;
      out.push_back(std::move(*oldest));
      admit_next();
    }
    if (producers_.empty()) ring_.nobody_awaits_room();
    return taken;
  }

  /// Whether a producer waited.
  bool close_locked() noexcept {
    ring_.close();
    const bool waited = !producers_.empty();
    if (!consumers_.empty()) ring_.nobody_awaits_values();
    while (!producers_.empty()) end_wait(producers_, grant::closed);
    while (!consumers_.empty()) end_wait(consumers_, grant::closed);
    return waited;
  }

  /// Gives the value to the first consumer who waits; false if there is none.
  [[nodiscard]] bool hand_over(T& value) noexcept {
    const std::lock_guard lock{mutex_};
    if (consumers_.empty()) return false;
    static_cast<consumer&>(*consumers_.front()).value.emplace(std::move(value));
    ++handed_over_;
    if (consumers_.size() == 1) ring_.nobody_awaits_values();
    end_wait(consumers_, grant::given);
    return true;
  }

  /// Waits a moment, awake; whether a value has come.
  template <class Clock>
  [[nodiscard]] bool appears(const Clock& clock, deadline until) const {
    for (int looks = spins_until(clock, until); looks > 0; --looks) {
      if (!ring_.seems_empty()) return true;
      pause();
    }
    return false;
  }

  /// False if there may be a value: look again.  Otherwise one was given, or the reason is in `no`.
  template <class Clock>
  [[nodiscard]] bool await_value(consumer& self, const Clock& clock, deadline until,
                                 const std::stop_token& stop, std::optional<refusal>& no) {
    {
      const std::lock_guard lock{mutex_};
      if (ring_.closed()) return false;
      if (!ring_.await_value()) {
        ring_.nobody_awaits_values();
        return false;
      }
      consumers_.push_back(self);
    }
    std::exception_ptr error;
    const wake_reason why = sleep(self, clock, until, stop, error);
    const std::lock_guard lock{mutex_};
    if (self.got == grant::given) return true;
    if (self.got == grant::none) leave(consumers_, self);
    if (self.got == grant::none && error) std::rethrow_exception(error);
    no = refusal_of(self.got, why);
    return true;
  }

  /// Under the lock.
  void leave(wait_list& list, queue_waiter& w) noexcept {
    list.remove(w);
    if (!list.empty()) return;
    if (&list == &producers_) {
      ring_.nobody_awaits_room();
    } else {
      ring_.nobody_awaits_values();
    }
  }

  ring ring_;
  mutable std::mutex mutex_;
  wait_list producers_;              // guarded by mutex_
  wait_list consumers_;              // guarded by mutex_
  std::uint64_t handed_over_ = 0;    // guarded by mutex_; without a place in the ring
  event_counter taken_and_dropped_;  // without a place in the ring
  event_counter dropped_;
};

}  // namespace weir::inline v0::detail
