// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <weir/clock.hpp>
#include <weir/detail/small_mutex.hpp>
#include <weir/detail/token_bucket_core.hpp>

namespace weir::inline v0::detail {

/// One configuration of a bucket and the word that was read under it.
struct bucket_snapshot {
  bucket_core core;
  std::uint64_t base;  ///< the word that stands for the origin
  std::uint64_t word;
};

/// The core of a bucket for several threads: one word, and the configuration that it is read by.
///
/// Model          The word is `base` + `full_at`.  Whoever takes tokens moves it by one CAS; the holder of the
///                lock may replace the configuration, the word standing at `base` - 1 meanwhile.
/// Invariants     I4  No word value is ever used under two configurations, and none below the base of its
///                    own: the next base lies above every word that was in use.  (The 2^64 values come round
///                    again, at the earliest 18 s later at a rate with 10^9 tokens in lowest terms, 580 years
///                    at a whole number of nanoseconds a token; the suspended CAS would have to meet its own
///                    value to the tick, the suspended reader of C1 a base within 2^63 below its word.)
///                C1  A snapshot whose word is not below its base is of one configuration.  The word comes
///                    first, so no field is older than it [A].  A writer stores the base before every other
///                    field, and the reader loads it after them, so a field that is newer than the word
///                    brings a base that is above it [C].
///                C2  A grant is made under the configuration it was computed for: its CAS finds the word
///                    that was read, which no other configuration has had (I4).
/// Thread safety  Every member from any thread; those that say so with the lock held.
class bucket_line {
 public:
  bucket_line(const bucket_core& core, time_point now) noexcept
      : word_{static_cast<std::uint64_t>(core.full_at) + 1},
        base_{1},
        mark_{now.time_since_epoch().count()},
        origin_{core.origin.time_since_epoch().count()},
        cost_{core.limits.cost},
        burst_{core.limits.burst},
        speed_{static_cast<std::uint32_t>(core.limits.speed)} {}

  void lock() const noexcept { lock_.lock(); }
  void unlock() const noexcept { lock_.unlock(); }

  /// The latest instant at which tokens were taken, or the time range moved on, about: two at once may leave the
  /// earlier.  Ask before
  /// `read`, so that no grant that it knows of is missing there.
  [[nodiscard]] time_point mark() const noexcept {
    // [M] acquire, pairs with [N].
    return time_point{duration{mark_.load(std::memory_order_acquire)}};
  }

  /// Configuration and word as they stood together.
  /// Blocking  Passes the lock if it meets a change.
  [[nodiscard]] bucket_snapshot read() const noexcept {
    for (bucket_snapshot s;;) {
      if (try_read(s)) return s;
      wait_for_the_writer();
    }
  }

  /// The same; false, and nothing of use in `s`, while they are being replaced.
  [[nodiscard]] bool try_read(bucket_snapshot& s) const noexcept {
    s.word = word_.load(std::memory_order_acquire);  // [A] acquire, pairs with [B]: C1
    // [C] acquire, each pairs with the same field's [D]: C1.
    s.core.limits.speed = speed_.load(std::memory_order_acquire);
    s.core.limits.cost = cost_.load(std::memory_order_acquire);
    s.core.limits.burst = burst_.load(std::memory_order_acquire);
    s.core.origin = time_point{duration{origin_.load(std::memory_order_acquire)}};
    s.base = base_.load(std::memory_order_relaxed);  // [relaxed] The acquires above keep it after them.
    s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
    return s.word - s.base <= static_cast<std::uint64_t>(bucket_core::full_at_limit);
  }

  /// Returns when the change is over that `try_read` has met.
  void wait_for_the_writer() const noexcept {
    lock();
    unlock();
  }

  /// Makes `full_at` the state if it is still that of `s`.
  [[nodiscard]] bool take(const bucket_snapshot& s, std::int64_t full_at) noexcept {
    std::uint64_t expected = s.word;
    // [relaxed] The word is the whole state, so its modification order is the whole story (C2).
    return word_.compare_exchange_weak(expected, s.base + static_cast<std::uint64_t>(full_at),
                                       std::memory_order_relaxed);
  }

  /// Remembers that tokens were taken at `t`.
  void advance(time_point t) noexcept {
    const std::int64_t ns = t.time_since_epoch().count();
    // [relaxed] I1 holds by the word alone, whatever instant it is given that has been reached.
    if (ns <= mark_.load(std::memory_order_relaxed)) return;
    mark_.store(ns, std::memory_order_release);  // [N] release, pairs with [M]: the grant goes before it
  }

  /// Replaces configuration and word by what `f` makes of the core.  With the lock held.
  /// `peak` is the highest `full_at` that the word stood for, if it has fallen since.
  template <class F>
  void change(std::int64_t peak, F f) noexcept {
    bucket_snapshot s = stored();
    // [relaxed] I4: base - 1 was never in use, so every CAS in flight fails from here on.
    s.word = word_.exchange(s.base - 1, std::memory_order_relaxed);
    s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
    const std::uint64_t base = s.base + static_cast<std::uint64_t>(std::max(peak, s.core.full_at)) + 2;
    f(s.core);
    base_.store(base, std::memory_order_relaxed);  // [relaxed] Published by [D] and [B].
    // [D] release, each pairs with the same field's [C].
    speed_.store(static_cast<std::uint32_t>(s.core.limits.speed), std::memory_order_release);
    cost_.store(s.core.limits.cost, std::memory_order_release);
    burst_.store(s.core.limits.burst, std::memory_order_release);
    origin_.store(s.core.origin.time_since_epoch().count(), std::memory_order_release);
    // [B] release, pairs with [A].
    word_.store(base + static_cast<std::uint64_t>(s.core.full_at), std::memory_order_release);
  }

  /// What stands there.  With the lock held.
  [[nodiscard]] bucket_snapshot stored() const noexcept {
    // [relaxed] The fields change under the lock only, and the word is read to be compared.
    bucket_snapshot s{{{speed_.load(std::memory_order_relaxed), cost_.load(std::memory_order_relaxed),
                        burst_.load(std::memory_order_relaxed)},
                       time_point{duration{origin_.load(std::memory_order_relaxed)}}},
                      base_.load(std::memory_order_relaxed),
                      word_.load(std::memory_order_relaxed)};
    s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
    return s;
  }

 private:
  std::atomic<std::uint64_t> word_;   // base_ + ticks from origin_ until the bucket is full
  std::atomic<std::uint64_t> base_;   // the word that stands for origin_
  std::atomic<std::int64_t> mark_;    // ns; see mark()
  std::atomic<std::int64_t> origin_;  // ns
  std::atomic<std::int64_t> cost_;    // ticks a token
  std::atomic<std::int64_t> burst_;   // tokens
  std::atomic<std::uint32_t> speed_;  // ticks a nanosecond
  mutable small_mutex lock_;          // held to book, to give back, to replace the configuration
};

static_assert(sizeof(bucket_line) == 56, "leaves room for a pointer on its cache line");

}  // namespace weir::inline v0::detail
