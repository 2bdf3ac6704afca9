// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/token_bucket_core.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

/// How many events in how much time; an exact fraction, never rounded.
class rate {
 public:
  /// `tokens` for every `per`.  Checked by whoever uses it.
  constexpr rate(std::int64_t tokens, duration per) noexcept : tokens_{tokens}, per_{per} {}

  [[nodiscard]] static constexpr rate per_second(std::int64_t tokens) noexcept {
    return {tokens, std::chrono::seconds{1}};
  }

  /// One token every `interval`; unlimited if that is zero.
  [[nodiscard]] static constexpr rate every(duration interval) noexcept {
    return interval == duration::zero() ? unlimited() : rate{1, interval};
  }

  /// No token ever comes back: what the bucket holds at first, then nothing.
  [[nodiscard]] static constexpr rate zero() noexcept { return {0, std::chrono::seconds{1}}; }

  [[nodiscard]] static constexpr rate unlimited() noexcept {
    rate r{1, duration::zero()};
    r.unlimited_ = true;
    return r;
  }

  [[nodiscard]] constexpr std::int64_t tokens() const noexcept { return tokens_; }
  [[nodiscard]] constexpr duration per() const noexcept { return per_; }
  [[nodiscard]] constexpr bool is_unlimited() const noexcept { return unlimited_; }

  friend constexpr bool operator==(const rate&, const rate&) noexcept = default;

 private:
  std::int64_t tokens_;
  duration per_;
  bool unlimited_ = false;
};

struct token_bucket_options {
  /// Tokens that come back in time.  In lowest terms at most 2^31 tokens.
  weir::rate rate;

  /// The most tokens the bucket holds, and the most one request may ask for.  Positive; ignored if the rate
  /// is unlimited.  With the rate as p tokens in q nanoseconds, in lowest terms, burst x q is at most 2^61.
  std::int64_t burst = 0;

  /// Tokens at the start, 0 to burst.  Full if not given.
  std::optional<std::int64_t> initial = std::nullopt;
};

struct token_bucket_stats {
  std::uint64_t granted = 0;    ///< requests granted, at once or after a wait, and reservations used
  std::uint64_t refused = 0;    ///< requests refused, for whatever reason
  std::uint64_t cancelled = 0;  ///< bookings cancelled or dropped, also too late to give anything back
};

/// Admits `burst` tokens at once and `rate` in the long run.
///
/// Model          GCRA (detail/token_bucket_core.hpp): one word, the instant when the bucket is full again,
///                in ticks that divide a nanosecond and a token without remainder.  Whoever takes tokens
///                moves it forward with one CAS; who books them ahead moves it beyond what is there.
/// Invariants     I1  Any window of w ns grants at most burst + floor(rate x w) tokens.  A booking counts at
///                    its exact instant, which `act_at()` rounds up to the next whole nanosecond.
///                I2  What is refused changes nothing.
///                I3  Time never runs back: a clock that does is taken to stand until it has caught up.
///                I4  No word value is ever used under two configurations: a CAS that was computed under an
///                    older one fails.  (The 2^64 values come round again, at the earliest 18 s later at a
///                    rate with 10^9 tokens in lowest terms, 580 years at a whole number of nanoseconds a
///                    token; the suspended CAS would have to meet its own value to the tick.)
/// Ordering       Publishes nothing: a grant orders no memory of the caller.
/// Thread safety  Every member from any thread, except the destructor.
/// Fairness       Bookings (`acquire`, `reserve`) are served in the order they were made; `try_acquire`
///                cannot pass them, since it finds the bucket in debt.  Only what a cancelled booking gives
///                back, or a `reconfigure`, can serve one who came later earlier.
/// When not to    To bound how many run at the same time: that is task_gate.
/// Source         ITU-T I.371 (GCRA).
template <monotonic_clock Clock = steady_clock, class Observer = no_observer>
  requires refusal_observer<Observer>
class basic_token_bucket {
 public:
  class [[nodiscard]] reservation;

  /// Throws std::invalid_argument unless the options are as they say.
  explicit basic_token_bucket(token_bucket_options options, Clock clock = {}, Observer observer = {})
      : clock_{std::move(clock)}, observer_{std::move(observer)} {
    const auto [limits, initial] = checked(options);
    initial_ = initial;
    const time_point now = clock_.now();
    // [relaxed] all of them: nobody else knows this object yet.
    mark_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
    const auto core = detail::bucket_core::holding(limits, now, initial);
    word_.store(static_cast<std::uint64_t>(core.full_at) + 1, std::memory_order_relaxed);
    store(core, 1);
    newest_ = {now, 0};
  }

  basic_token_bucket(const basic_token_bucket&) = delete;
  basic_token_bucket& operator=(const basic_token_bucket&) = delete;
  /// No call may be in progress and no reservation alive.
  ~basic_token_bucket() = default;

  /// Takes `n` tokens if they are there now, all or none.
  ///
  /// \return     Success; `rate_limited` with the time until they will be there, or never at rate zero;
  ///             `exceeds_capacity`, for ever, if n exceeds the burst.  n = 0 always succeeds.
  /// Complexity  O(1): one read of the clock, one CAS; no allocation.
  /// Blocking    Never waits for tokens; passes a short lock once in a while, when the bucket is
  ///             reconfigured, and at least 0.5 s apart when its time range is moved on.
  outcome<void> try_acquire(std::uint64_t n = 1) noexcept { return try_acquire_at(clock_.now(), n); }

  /// The same at an instant of the bucket's clock that the caller has read.  An instant before the latest one
  /// known is taken for that (I3).
  outcome<void> try_acquire_at(time_point now, std::uint64_t n = 1) noexcept {
    const outcome<void> result = attempt(now, n);
    if (!result) return refuse(result.error());
    granted_.add();
    return result;
  }

  /// Takes `n` tokens, waiting for them in the order of arrival.
  ///
  /// What is there now is taken at once.  Otherwise the tokens are booked, and the wait ends when their time
  /// has come or when `stop` is requested; at the same instant the tokens win.
  ///
  /// \return     Success; `cancelled` as soon as `stop` is requested, the tokens given back;
  ///             `exceeds_capacity` and, at rate zero, `rate_limited` for ever at once.
  /// Exceptions  None of its own; if the clock throws, the tokens are given back.
  outcome<void> acquire(std::uint64_t n = 1, const std::stop_token& stop = {}) {
    return acquire_until(n, deadline::never(), stop);
  }

  outcome<void> acquire_for(std::uint64_t n, duration wait, const std::stop_token& stop = {}) {
    return acquire_until(n, deadline::after(clock_.now(), wait), stop);
  }

  /// As `acquire`; refuses at once, with `timed_out` and the time until the tokens would be there, if that is
  /// after `until`.  What is there now is taken even if `until` has been reached.
  outcome<void> acquire_until(std::uint64_t n, deadline until, const std::stop_token& stop = {}) {
    if (stop.stop_requested()) return refuse({refusal_reason::cancelled});
    if (const auto now = attempt(clock_.now(), n)) return granted(now);
    outcome<reservation> booked = book(n, duration::max(), until);
    if (!booked) return refuse(booked.error());
    detail::waiter self;
    for (;;) {
      const auto why = detail::sleep(self, clock_, booked->act_at(), stop);
      if (why == detail::wake_reason::deadline_reached || clock_.now() >= booked->act_at()) break;
      if (why == detail::wake_reason::stop_requested) {
        booked->cancel();
        return refuse({refusal_reason::cancelled});
      }
    }
    std::move(*booked).use();
    return {};
  }

  /// Books `n` tokens ahead: the caller acts at `act_at()`, then says so with `use()`.
  ///
  /// \return     The booking; `timed_out`, with the time until the tokens would be there, if that is longer
  ///             than `max_wait`; `exceeds_capacity` and, at rate zero, `rate_limited` for ever.  Refused,
  ///             nothing is booked.
  /// Blocking    Holds one short lock.
  outcome<reservation> reserve(std::uint64_t n = 1, duration max_wait = duration::max()) {
    outcome<reservation> booked = book(n, max_wait, deadline::never());
    if (!booked) static_cast<void>(refuse(booked.error()));
    return booked;
  }

  /// Whole tokens held at `now`, negative when more is booked than is there; the greatest number if the rate
  /// is unlimited.
  [[nodiscard]] std::int64_t available_at(time_point now) const noexcept {
    snapshot s = load();
    if (s.core.limits.unlimited()) return std::numeric_limits<std::int64_t>::max();
    const time_point t = latest(now);
    if (!s.core.in_range(t)) s.core.rebase(t);
    return s.core.tokens(t);
  }

  [[nodiscard]] std::int64_t available_approx() const noexcept { return available_at(clock_.now()); }

  /// Whether the bucket is indistinguishable from one newly made and full.
  [[nodiscard]] bool is_full_at(time_point now) const noexcept {
    snapshot s = load();
    const time_point t = latest(now);
    if (!s.core.in_range(t)) s.core.rebase(t);
    return s.core.held(t) == s.core.limits.capacity();
  }

  /// Whether the bucket answers from `now` on as one made at its next use from the options of its construction:
  /// never reconfigured, and full where it starts full.  One that starts with less is not: what comes back until
  /// that use a new one lacks; only at rate zero is it as new while it holds its initial tokens.  Its counts go
  /// on.  What `keyed` asks before it forgets a bucket.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    snapshot s = load();
    // [relaxed] Set before the configuration that `load` acquires.
    if (reconfigured_.load(std::memory_order_relaxed)) return false;
    const time_point t = settled(now, s.core);
    if (!s.core.in_range(t)) s.core.rebase(t);
    const bool stands = s.core.limits.speed == 0 || initial_ == s.core.limits.burst;
    return stands && s.core.held(t) == initial_ * s.core.limits.cost;
  }

  /// Goes on with other options, from now, for everybody at the same instant.
  ///
  /// What was booked keeps its time.  `options.initial` counts with `held_tokens::reset` only.  From and to
  /// an unlimited rate there is nothing to keep: the bucket starts full.
  /// Exceptions  std::invalid_argument as from the constructor; nothing is then changed.
  void reconfigure(const token_bucket_options& options, held_tokens kept = held_tokens::keep) {
    const start next = checked(options);
    const std::lock_guard lock{mutex_};
    // [relaxed] Published by `change`.
    reconfigured_.store(true, std::memory_order_relaxed);
    const time_point now = advance(clock_.now());
    // Nothing was booked at an unlimited rate.
    const bool forgotten = kept == held_tokens::reset || next.limits.unlimited();
    change([&](detail::bucket_core& core) { core.reconfigure(now, next.limits, kept, next.initial); });
    ++generation_;
    epoch_ += forgotten ? 1 : 0;
    newest_ = {forgotten ? now : ceil(newest_), 0};
  }

  /// Complexity O(1), never blocks.
  [[nodiscard]] token_bucket_stats stats() const noexcept {
    return {granted_.value(), refused_.value(), cancelled_.value()};
  }

 private:
  /// One configuration and the word that was read under it.
  struct snapshot {
    detail::bucket_core core;
    std::uint64_t base;  ///< the word that stands for the origin
    std::uint64_t word;
  };

  /// The options once checked, in whole numbers.
  struct start {
    detail::bucket_limits limits;
    std::int64_t initial;
  };
  static start checked(const token_bucket_options& options) {
    if (options.rate.is_unlimited()) return {detail::bucket_limits::none(), 0};
    const auto limits =
        detail::bucket_limits::of(options.rate.tokens(), options.rate.per().count(), options.burst);
    if (!options.initial) return {limits, limits.burst};
    if (*options.initial < 0 || *options.initial > limits.burst) {
      throw std::invalid_argument{"token_bucket: initial must be from 0 to burst, got " +
                                  std::to_string(*options.initial)};
    }
    return {limits, *options.initial};
  }

  static time_point ceil(detail::bucket_instant i) noexcept {
    return i.part == 0 ? i.whole : saturating_add(i.whole, duration{1});
  }

  /// Reads configuration and word as they stood together.
  [[nodiscard]] snapshot load() const noexcept {
    for (;;) {
      const std::uint64_t version = version_.load(std::memory_order_acquire);  // [A] acquire, pairs with [B]
      snapshot s;
      // [C] acquire, each pairs with the same field's [D]: who sees a new value sees a new version below.
      s.core.limits.speed = speed_.load(std::memory_order_acquire);
      s.core.limits.cost = cost_.load(std::memory_order_acquire);
      s.core.limits.burst = burst_.load(std::memory_order_acquire);
      s.core.origin = time_point{duration{origin_.load(std::memory_order_acquire)}};
      s.base = base_.load(std::memory_order_acquire);
      s.word = word_.load(std::memory_order_acquire);  // [E] acquire, pairs with [F] in the same way
      s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
      // [relaxed] The acquires above keep it after them.
      if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return s;
      const std::lock_guard wait_for_the_writer{mutex_};
    }
  }

  /// Replaces configuration and word as one.  The mutex is held.
  template <class F>
  void change(F f) noexcept {
    snapshot s = load_locked();
    // [relaxed] Only the holder of the mutex writes the version.
    const std::uint64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);  // published by [D] and [F]
    // [F] release, pairs with [E].  base - 1 was never in use (I4): every CAS in flight fails from here on.
    s.word = word_.exchange(s.base - 1, std::memory_order_release);
    s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
    const std::int64_t peak = std::max(peak_, s.core.full_at);
    f(s.core);
    const std::uint64_t base = s.base + static_cast<std::uint64_t>(peak) + 2;
    peak_ = 0;
    store(s.core, base);
    word_.store(base + static_cast<std::uint64_t>(s.core.full_at), std::memory_order_release);  // [F]
    version_.store(version + 2, std::memory_order_release);  // [B] release, pairs with [A]
  }

  void store(const detail::bucket_core& core, std::uint64_t base) noexcept {
    // [D] release, each pairs with the same field's [C].
    speed_.store(core.limits.speed, std::memory_order_release);
    cost_.store(core.limits.cost, std::memory_order_release);
    burst_.store(core.limits.burst, std::memory_order_release);
    origin_.store(core.origin.time_since_epoch().count(), std::memory_order_release);
    base_.store(base, std::memory_order_release);
  }

  /// The latest of `now` and the instants at which tokens were taken.
  [[nodiscard]] time_point latest(time_point now) const noexcept {
    // [relaxed] A hint: I1 holds by the word alone, whatever instant it is given that has been reached.
    return std::max(now, time_point{duration{mark_.load(std::memory_order_relaxed)}});
  }

  /// The same, not before the origin either: a clock may have stepped back, or another thread have read it
  /// later, since the range was moved on.
  [[nodiscard]] time_point settled(time_point now, const detail::bucket_core& core) const noexcept {
    return std::max(latest(now), core.origin);
  }

  /// Remembers `t`, unless a later instant is known; two at once may leave the earlier.
  time_point advance(time_point now) noexcept {
    const time_point t = latest(now);
    // [relaxed] as in `latest`.
    if (t == now) mark_.store(t.time_since_epoch().count(), std::memory_order_relaxed);
    return t;
  }

  outcome<void> granted(outcome<void> result) noexcept {
    granted_.add();
    return result;
  }

  refusal refuse(refusal why) noexcept {
    refused_.add();
    observer_.on_refused(why);
    return why;
  }

  outcome<void> attempt(time_point now, std::uint64_t n) noexcept {
    if (n == 0) return {};
    for (;;) {
      snapshot s = load();
      if (s.core.limits.unlimited()) return {};
      if (n > static_cast<std::uint64_t>(s.core.limits.burst)) {
        return refused_for_ever(refusal_reason::exceeds_capacity);
      }
      const time_point t = settled(now, s.core);
      if (!s.core.in_range(t)) {
        const std::lock_guard lock{mutex_};
        rebase(t);
        continue;
      }
      const detail::bucket_answer answer = s.core.ask(t, static_cast<std::int64_t>(n));
      if (answer.excess > 0) return refusal{refusal_reason::rate_limited, wait_from(now, t, s.core, answer)};
      // [relaxed] The word is the whole state, so its modification order is the whole story (I1, I4).
      if (word_.compare_exchange_weak(s.word, s.base + static_cast<std::uint64_t>(answer.full_at),
                                      std::memory_order_relaxed)) {
        advance(t);
        return {};
      }
    }
  }

  /// How long from `now` until `answer` would be a grant; empty: never.
  static std::optional<duration> wait_from(time_point now, time_point t, const detail::bucket_core& core,
                                           const detail::bucket_answer& answer) noexcept {
    const std::optional<duration> wait = core.wait_for(answer.excess);
    return wait ? std::optional{elapsed(now, saturating_add(t, *wait))} : std::nullopt;
  }

  /// Moves the origin to `t` if it is out of range.  The mutex is held.
  void rebase(time_point t) noexcept {
    if (load_locked().core.in_range(t)) return;
    change([t](detail::bucket_core& core) { core.rebase(t); });
  }

  /// As `load`, by the holder of the mutex.
  [[nodiscard]] snapshot load_locked() const noexcept {
    // [relaxed] The fields change under the mutex only, and the word is read to be compared.
    snapshot s{{{speed_.load(std::memory_order_relaxed), cost_.load(std::memory_order_relaxed),
                 burst_.load(std::memory_order_relaxed)},
                time_point{duration{origin_.load(std::memory_order_relaxed)}}},
               base_.load(std::memory_order_relaxed),
               word_.load(std::memory_order_relaxed)};
    s.core.full_at = static_cast<std::int64_t>(s.word - s.base);
    return s;
  }

  /// Books `n` tokens that are there within `max_wait` and until `until`.
  outcome<reservation> book(std::uint64_t n, duration max_wait, deadline until) {
    const std::lock_guard lock{mutex_};
    const time_point now = clock_.now();
    const time_point t = settled(now, load_locked().core);
    rebase(t);
    for (;;) {
      snapshot s = load_locked();
      const detail::bucket_limits& limits = s.core.limits;
      if (n == 0 || limits.unlimited()) {
        return reservation{*this, {{now, 0}, 0, limits, generation_, epoch_, 0, {}}};
      }
      if (n > static_cast<std::uint64_t>(limits.burst)) {
        return refused_for_ever(refusal_reason::exceeds_capacity);
      }
      const std::int64_t count = static_cast<std::int64_t>(n);
      const detail::bucket_answer answer = s.core.ask(t, count);
      if (answer.excess > 0) {
        const std::optional<duration> wait = wait_from(now, t, s.core, answer);
        if (!wait) return refused_for_ever(refusal_reason::rate_limited);
        if (*wait > max_wait || saturating_add(now, *wait) > until.time()) {
          return refusal{refusal_reason::timed_out, wait};
        }
        if (answer.excess > detail::bucket_core::reach) return refusal{refusal_reason::rate_limited, wait};
      }
      // [relaxed] as in `attempt`.
      if (!word_.compare_exchange_weak(s.word, s.base + static_cast<std::uint64_t>(answer.full_at),
                                       std::memory_order_relaxed)) {
        continue;
      }
      advance(t);
      const detail::bucket_instant act = s.core.instant(t, answer.excess);
      const detail::bucket_instant before = std::exchange(newest_, std::max(newest_, act));
      return reservation{*this, {act, count, limits, generation_, epoch_, ++booked_, before}};
    }
  }

  /// One booking, as the reservation remembers it.
  struct booking {
    detail::bucket_instant act;
    std::int64_t count = 0;
    detail::bucket_limits limits;
    std::uint64_t generation = 0;
    std::uint64_t epoch = 0;
    std::uint64_t number = 0;
    detail::bucket_instant before;  ///< `newest_` without it
  };

  /// Gives back what no later booking leans on.
  void give_back(const booking& b) noexcept {
    const std::lock_guard lock{mutex_};
    cancelled_.add();
    if (b.count == 0 || b.epoch != epoch_) return;
    const time_point now = clock_.now();
    const time_point t = settled(now, load_locked().core);
    if (t > ceil(b.act)) return;  // its time has come: what was booked may have been used
    rebase(t);
    const bool current = b.generation == generation_;
    std::int64_t amount = b.count * b.limits.cost;
    if (b.number == booked_) {
      // Nobody has booked since: all of it, and it is as if it had never been.
      --booked_;
      if (current) newest_ = b.before;
    } else {
      amount = detail::bucket_core{b.limits, t}.refundable(
          b.count, b.act, current ? newest_ : detail::bucket_instant{ceil(newest_), 0});
    }
    if (!current) amount = detail::multiply_divide(amount, load_locked().core.limits.cost, b.limits.cost);
    for (;;) {
      snapshot s = load_locked();
      peak_ = std::max(peak_, s.core.full_at);  // I4: the word is about to fall
      s.core.refund(t, amount);
      // [relaxed] as in `attempt`.
      if (word_.compare_exchange_strong(s.word, s.base + static_cast<std::uint64_t>(s.core.full_at),
                                        std::memory_order_relaxed)) {
        return;
      }
    }
  }

  // What try_acquire reads and writes: one line.
  alignas(64) std::atomic<std::uint64_t> word_{0};  // base_ + ticks from origin_ until the bucket is full
  std::atomic<std::int64_t> mark_{0};               // ns; about the latest instant at which tokens were taken
  std::atomic<std::uint64_t> version_{0};           // odd while the fields below are being replaced
  std::atomic<std::int64_t> speed_{0};              // ticks a nanosecond
  std::atomic<std::int64_t> cost_{0};               // ticks a token
  std::atomic<std::int64_t> burst_{0};              // tokens
  std::atomic<std::int64_t> origin_{0};             // ns
  std::atomic<std::uint64_t> base_{0};              // the word that stands for origin_

  mutable std::mutex mutex_;       // held to book, to give back, to replace the configuration
  detail::bucket_instant newest_;  // guarded by mutex_: the latest instant booked
  std::int64_t peak_ = 0;          // guarded by mutex_: the highest full_at that a refund has hidden
  std::uint64_t generation_ = 0;   // guarded by mutex_: counts configurations
  std::uint64_t epoch_ = 0;        // guarded by mutex_: counts the times that debts were forgotten
  std::uint64_t booked_ = 0;       // guarded by mutex_: bookings, less those undone last in first out

  std::int64_t initial_ = 0;               // tokens at the start; not written after it
  std::atomic<bool> reconfigured_{false};  // the options are not those of the start

  event_counter granted_;
  event_counter refused_;
  event_counter cancelled_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;
};

/// Tokens booked ahead.  Destroyed unused, it is cancelled.
///
/// Thread safety  As a plain value; may be finished from another thread.
/// Lifetime       Must not outlive the bucket.
template <monotonic_clock Clock, class Observer>
  requires refusal_observer<Observer>
class [[nodiscard]] basic_token_bucket<Clock, Observer>::reservation {
 public:
  reservation(reservation&& other) noexcept
      : bucket_{std::exchange(other.bucket_, nullptr)}, booking_{other.booking_} {}
  reservation& operator=(reservation&& other) noexcept {
    if (this != &other) {
      cancel();
      bucket_ = std::exchange(other.bucket_, nullptr);
      booking_ = other.booking_;
    }
    return *this;
  }
  ~reservation() { cancel(); }

  /// When the tokens are there: act then, not before.
  [[nodiscard]] time_point act_at() const noexcept { return ceil(booking_.act); }

  /// Whether there is still something to use or to cancel.
  [[nodiscard]] explicit operator bool() const noexcept { return bucket_ != nullptr; }

  /// The tokens were spent.  No effect if they are already, or cancelled.
  void use() && noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) bucket->granted_.add();
  }

  /// Gives the tokens back: all of them if nobody has booked since, else less those that later bookings have
  /// been timed on; nothing once `act_at()` has passed.  No effect if they are used, or cancelled already.
  void cancel() noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) bucket->give_back(booking_);
  }

 private:
  friend basic_token_bucket;
  reservation(basic_token_bucket& bucket, const booking& b) noexcept : bucket_{&bucket}, booking_{b} {}

  basic_token_bucket* bucket_;
  booking booking_;
};

template <monotonic_clock Clock, class Observer>
basic_token_bucket(token_bucket_options, Clock, Observer) -> basic_token_bucket<Clock, Observer>;
template <monotonic_clock Clock>
basic_token_bucket(token_bucket_options, Clock) -> basic_token_bucket<Clock>;

using token_bucket = basic_token_bucket<>;

}  // namespace weir::inline v0
