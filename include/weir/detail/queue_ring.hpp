// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include <weir/detail/spinning.hpp>

namespace weir::inline v0::detail {

/// How the places of a ring are counted: a position is a lap and an index, and a few bits for flags below them.
///
/// Laps are as long as the next power of two, so that a position is split without a division; their surplus
/// positions are skipped, so that any number of places will do.
class ring_positions {
 public:
  using position = std::uint64_t;
  static constexpr position flags = 3;

  explicit ring_positions(std::size_t places) noexcept
      : last_{(static_cast<position>(places) - 1) * step},
        lap_{std::bit_ceil(static_cast<position>(places)) * step},
        shift_{std::countr_zero(lap_)} {}

  [[nodiscard]] std::size_t index(position p) const noexcept {
    return static_cast<std::size_t>((p & (lap_ - 1)) / step);
  }
  [[nodiscard]] position next(position p) const noexcept {
    return (p & (lap_ - 1)) < last_ ? p + step : (p & ~(lap_ - 1)) + lap_;
  }
  [[nodiscard]] position a_lap_later(position p) const noexcept { return p + lap_; }
  /// Positions before this one; flags do not matter.
  [[nodiscard]] std::uint64_t count(position p) const noexcept {
    return (p >> shift_) * (last_ / step + 1) + index(p);
  }

 private:
  static constexpr position step = flags + 1;

  position last_;  // of a lap
  position lap_;
  int shift_;
};

/// Waits for another thread to finish what it has begun, a few instructions.
class patience {
 public:
  void wait() noexcept {
    if (looks_ < spins_before_sleep) {
      ++looks_;
      pause();
    } else {
      std::this_thread::yield();  // it lost its core in between
    }
  }

 private:
  int looks_ = 0;
};

/// A ring of places between any number of producers and consumers, which never sleeps.
///
/// Model       A list of at most so many values, and a flag for each end, for those who wait there: while it
///             is set nobody passes but under the lock of the owner.  The tail can be closed.
/// Invariants  I1  At most so many values; `full` and `empty` are true of one instant of the call.
///             I2  A place is stamped with the position whose value it holds, or the position whose value may
///                 come next: one producer may fill it, one consumer may empty it.
///             I3  A flag at the tail (consumers wait) stands only while the ring is empty, one at the head
///                 (producers wait) only while it is full.  Each is in the word that has to be exchanged to
///                 pass: who passes and who waits see each other without a fence.
/// Ordering    A value's way through its place: the stamps alone.  The words are seq_cst, so that who found one
///             ring empty and then another was not told so of both while each held something.
/// Progress    An operation on a place waits for the one that has begun before it there.
/// Source      Vyukov, Bounded MPMC queue, 2010: a stamp in each place.
template <class T>
class queue_ring {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a place that was claimed cannot be given back");
  using position = ring_positions::position;
  static constexpr position occupied = 1;  // in a stamp
  static constexpr position awaited = 1;   // in a word: somebody waits at this end
  static constexpr position shut = 2;      // in the tail

  struct place {
    std::atomic<position> stamp;
    alignas(T) std::byte room[sizeof(T)];

    [[nodiscard]] T* value() noexcept { return std::launder(reinterpret_cast<T*>(room)); }
  };

 public:
  enum class answer : std::uint8_t { done, full, empty, closed, awaited };

  explicit queue_ring(std::size_t places)
      : positions_{places}, count_{places}, places_{std::allocator<place>{}.allocate(places)} {
    position p = 0;
    // [relaxed] Nobody else knows the ring yet.
    for (std::size_t i = 0; i < places; ++i, p = positions_.next(p)) {
      std::construct_at(&places_[i])->stamp.store(p, std::memory_order_relaxed);
    }
  }
  queue_ring(const queue_ring&) = delete;
  queue_ring& operator=(const queue_ring&) = delete;
  /// Precondition: empty.
  ~queue_ring() {
    std::destroy_n(places_, count_);
    std::allocator<place>{}.deallocate(places_, count_);
  }

  /// So many that the bits which number laps are never used up.
  [[nodiscard]] static std::size_t most_places() noexcept {
    return std::allocator_traits<std::allocator<place>>::max_size({}) / 8;
  }
  [[nodiscard]] std::size_t places() const noexcept { return count_; }

  /// Moves `value` in: done, full, closed or awaited.
  [[nodiscard]] answer put(T& value) noexcept {
    patience other;
    position tail =
        tail_.load(std::memory_order_relaxed);  // [relaxed] The exchange says whether it is still so.
    for (;;) {
      if ((tail & ring_positions::flags) != 0) return (tail & shut) != 0 ? answer::closed : answer::awaited;
      place& at = at_position(tail);
      // [A] acquire, pairs with [D]: the value before this one has been moved out.
      if (at.stamp.load(std::memory_order_acquire) == tail) {
        if (!pass(tail_, tail, positions_.next(tail))) continue;
        fill(at, tail, value);
        return answer::done;
      }
      if (is_full(tail)) return answer::full;
      other.wait();
      tail = tail_.load(std::memory_order_relaxed);
    }
  }

  /// Moves as many of `n` values in as there are free places in a row; how many, none if it is not one.
  [[nodiscard]] std::size_t put_some(T* values, std::size_t n) noexcept {
    position tail = tail_.load(std::memory_order_relaxed);  // [relaxed] As in put.
    for (;;) {
      if ((tail & ring_positions::flags) != 0) return 0;
      std::size_t free = 0;
      position end = tail;
      // [A] As in put.
      while (free < n && at_position(end).stamp.load(std::memory_order_acquire) == end) {
        ++free;
        end = positions_.next(end);
      }
      if (free == 0) return 0;
      if (!pass(tail_, tail, end)) continue;
      for (position p = tail; p != end; p = positions_.next(p)) fill(at_position(p), p, *values++);
      return free;
    }
  }

  /// The right to move `count` values out.
  struct claim {
    queue_ring* ring = nullptr;
    position first = 0;
    std::size_t count = 0;

    [[nodiscard]] T& value() const noexcept { return *ring->at_position(first).value(); }
  };

  /// Claims the oldest values that are there in a row, up to `most` of them: done, empty, closed or awaited.
  [[nodiscard]] answer take(claim& all, std::size_t most = 1) noexcept {
    patience other;
    position head = head_now();
    for (;;) {
      if ((head & awaited) != 0) return answer::awaited;
      std::size_t there = 0;
      position end = head;
      // [B] acquire, pairs with [C]: the value has been moved in.
      while (there < most && at_position(end).stamp.load(std::memory_order_acquire) == (end | occupied)) {
        ++there;
        end = positions_.next(end);
      }
      if (there != 0) {
        const position first = head;
        if (!pass(head_, head, end)) continue;
        all = {this, first, there};
        return answer::done;
      }
      // [G] seq_cst, as in pass.
      const position tail = tail_.load(std::memory_order_seq_cst);
      if ((tail & ~ring_positions::flags) == head) {
        return (tail & shut) != 0 ? answer::closed : answer::empty;
      }
      other.wait();
      head = head_now();
    }
  }

  /// The first of the claimed values has been moved out: its place is free.
  void done_with_first(claim& all) noexcept {
    place& at = at_position(all.first);
    std::destroy_at(at.value());
    // [D] release, pairs with [A].
    at.stamp.store(positions_.a_lap_later(all.first), std::memory_order_release);
    all.first = positions_.next(all.first);
    --all.count;
  }

  /// Whether a value may be there to take, or room to put one: a hint, for who waits a moment.
  [[nodiscard]] bool seems_empty() const noexcept {
    const position head = head_.load(std::memory_order_relaxed);  // [relaxed] A hint.
    return (head & awaited) == 0 && stamp_of(head) == head;
  }
  [[nodiscard]] bool seems_full() const noexcept {
    const position tail = tail_.load(std::memory_order_relaxed);  // [relaxed] A hint.
    return (tail & ring_positions::flags) == 0 && stamp_of(tail) != tail;
  }

  // From here on under the lock of the owner, each.

  /// Sets the flag at the tail; false if the ring is not empty: it has then to be cleared.
  [[nodiscard]] bool await_value() noexcept {
    // [relaxed] The exchange finds the last tail, and a head can only be older than it is: if they are equal the
    // ring is empty, and stays so while the flag stands.
    const position tail = tail_.fetch_or(awaited, std::memory_order_relaxed) & ~ring_positions::flags;
    return tail == (head_.load(std::memory_order_relaxed) & ~ring_positions::flags);
  }
  /// [relaxed] Nobody has passed the tail meanwhile.
  void nobody_awaits_values() noexcept { tail_.fetch_and(~awaited, std::memory_order_relaxed); }

  /// Sets the flag at the head; false if the ring is not full: it has then to be cleared.
  [[nodiscard]] bool await_room() noexcept {
    // [relaxed] As in await_value, with the ends exchanged.
    const position head = head_.fetch_or(awaited, std::memory_order_relaxed) & ~ring_positions::flags;
    return positions_.a_lap_later(head) == (tail_.load(std::memory_order_relaxed) & ~ring_positions::flags);
  }
  /// [F] seq_cst: release, pairs with [E]; and what was taken meanwhile has its place in the order as in pass.
  void nobody_awaits_room() noexcept { head_.fetch_and(~awaited, std::memory_order_seq_cst); }

  /// Keeps consumers out, as if somebody waited for room.  [relaxed] As in await_room.
  void hold_consumers() noexcept { head_.fetch_or(awaited, std::memory_order_relaxed); }

  /// With the flag at the head set: the oldest value; null if there is none or it is still on its way in.
  [[nodiscard]] T* oldest() noexcept {
    place& at = at_position(held_head());
    // [B] As in take.
    return at.stamp.load(std::memory_order_acquire) == (held_head() | occupied) ? at.value() : nullptr;
  }

  /// With the flag set: whether there is no value, nor one on its way in.
  [[nodiscard]] bool drained() const noexcept {
    // [relaxed] Asked once it is closed, under the lock under which it was: the tail does not move any more.
    return (tail_.load(std::memory_order_relaxed) & ~ring_positions::flags) == held_head();
  }

  /// With the flag set: the oldest has been moved out, and its place is free.
  void remove_oldest() noexcept {
    const position head = held_head();
    place& at = at_position(head);
    std::destroy_at(at.value());
    // [relaxed] Nobody passes before the flag is cleared, [F].
    head_.store(positions_.next(head) | awaited, std::memory_order_relaxed);
    // [D] As in done_with_first.
    at.stamp.store(positions_.a_lap_later(head), std::memory_order_release);
  }

  /// With the flag set, in a full ring: the oldest has been moved out, and `next` comes in at the other end.
  void replace_oldest(T& next) noexcept {
    const position head = held_head();
    const position tail = positions_.a_lap_later(head);
    place& at = at_position(head);
    std::destroy_at(at.value());
    // [relaxed] As in remove_oldest; nobody passes the tail of a full ring either, so that it may be stored.
    head_.store(positions_.next(head) | awaited, std::memory_order_relaxed);
    tail_.store(positions_.next(tail), std::memory_order_relaxed);
    fill(at, tail, next);
  }

  /// No value is put after this.
  void close() noexcept { tail_.fetch_or(shut, std::memory_order_seq_cst); }  // [G] seq_cst, as in pass.

  // And from here on without it.

  /// [G] seq_cst, as in pass.
  [[nodiscard]] bool closed() const noexcept { return (tail_.load(std::memory_order_seq_cst) & shut) != 0; }

  struct counts {
    std::uint64_t put;
    std::uint64_t left;
  };
  /// Of a recent instant, unless the ends move faster than they can be read.
  [[nodiscard]] counts count() const noexcept {
    // [relaxed] All three: whoever asks sees what he has done himself, and that is all that can be asked.
    position head = head_.load(std::memory_order_relaxed);
    for (int tries = 0;; ++tries) {
      const position tail = tail_.load(std::memory_order_relaxed);
      const position again = head_.load(std::memory_order_relaxed);
      if (((head ^ again) & ~ring_positions::flags) == 0 || tries == most_tries) {
        const std::uint64_t in = positions_.count(tail);
        const std::uint64_t out = positions_.count(head);
        return {in, out < in ? std::min<std::uint64_t>(in - out, count_) : 0};
      }
      head = again;
    }
  }

 private:
  static constexpr int most_tries = 16;

  [[nodiscard]] place& at_position(position p) const noexcept { return places_[positions_.index(p)]; }
  [[nodiscard]] position stamp_of(position p) const noexcept {
    return at_position(p).stamp.load(std::memory_order_relaxed);  // [relaxed] For the hints alone.
  }

  /// [G] seq_cst: that something was put or taken has a place in the one order in which ends are found empty or full.
  [[nodiscard]] static bool pass(std::atomic<position>& end, position& from, position to) noexcept {
    // Of those that fail [E] acquire, where it is the head.
    return end.compare_exchange_weak(from, to, std::memory_order_seq_cst, std::memory_order_acquire);
  }

  void fill(place& at, position p, T& value) noexcept {
    std::construct_at(reinterpret_cast<T*>(at.room), std::move(value));
    // [C] release, pairs with [B].
    at.stamp.store(p | occupied, std::memory_order_release);
  }

  [[nodiscard]] bool is_full(position tail) const noexcept {
    const position head = head_.load(std::memory_order_seq_cst) & ~ring_positions::flags;
    return positions_.a_lap_later(head) == tail;
  }

  [[nodiscard]] position head_now() const noexcept {
    // [E] acquire, pairs with [F]: who sees that nobody waits for room any more sees the tail that those who
    // waited have moved on.
    return head_.load(std::memory_order_acquire);
  }

  /// The head, whose flag is set.
  [[nodiscard]] position held_head() const noexcept {
    // [relaxed] Nobody but the holder of the lock changes it.
    return head_.load(std::memory_order_relaxed) & ~ring_positions::flags;
  }

  const ring_positions positions_;
  const std::size_t count_;
  place* const places_;  // owned
  alignas(64) std::atomic<position> tail_{0};
  alignas(64) std::atomic<position> head_{0};
};

}  // namespace weir::inline v0::detail
