// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/token_bucket_core.hpp>
#include <weir/detail/token_bucket_line.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>
#include <weir/token_bucket_types.hpp>

namespace weir::inline v0 {

/// Admits `burst` tokens at once and `rate` in the long run.
///
/// Model          GCRA (detail/token_bucket_core.hpp): one word, the instant when the bucket is full again,
///                in ticks that divide a nanosecond and a token without remainder.  Whoever takes tokens
///                moves it forward with one CAS; who books them ahead moves it beyond what is there.
/// Invariants     I1  Any window of w ns grants at most burst + floor(rate x w) tokens.  A booking counts at
///                    its exact instant, which `act_at()` rounds up to the next whole nanosecond.
///                I2  What is refused changes nothing.
///                I3  Time never runs back: a clock that does is taken to stand until it has caught up.
///                I4  A grant counts under the one configuration that it was computed for, however many
///                    others come and go meanwhile (detail/token_bucket_line.hpp).
/// Memory         One cache line, with an empty clock and observer.  The first booking that is not there at
///                once, or the first `reconfigure`, allocates what those need; so does the constructor if the
///                bucket does not start full.
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

  /// Throws std::invalid_argument unless the options are as they say; std::bad_alloc.
  explicit basic_token_bucket(token_bucket_options options, Clock clock = {}, Observer observer = {})
      : basic_token_bucket{detail::bucket_start::of(options), clock.now(), std::move(clock),
                           std::move(observer)} {}

  basic_token_bucket(const basic_token_bucket&) = delete;
  basic_token_bucket& operator=(const basic_token_bucket&) = delete;
  /// No call may be in progress and no reservation alive.
  ~basic_token_bucket() {
    delete ledger_.load(std::memory_order_relaxed);  // [relaxed] Whoever made it is done with this object.
  }

  /// Takes `n` tokens if they are there now, all or none.
  ///
  /// \return     Success; `rate_limited` with the time until they will be there, or never at rate zero;
  ///             `exceeds_capacity`, for ever, if n exceeds the burst.  n = 0 always succeeds.
  /// Complexity  O(1): one read of the clock; granted, one CAS; refused, no write at all.  No allocation.
  /// Blocking    Never waits for tokens; passes a short lock once in a while, when the bucket is
  ///             reconfigured, and at least 0.25 s apart when its time range is moved on.
  outcome<void> try_acquire(std::uint64_t n = 1) noexcept { return try_acquire_at(clock_.now(), n); }

  /// The same at an instant of the bucket's clock that the caller has read.  An instant before the latest one
  /// known is taken for that (I3).
  outcome<void> try_acquire_at(time_point now, std::uint64_t n = 1) noexcept {
    outcome<void> result = attempt(now, n);
    tell(result, n);
    return result;
  }

  /// Takes `n` tokens, waiting for them in the order of arrival.
  ///
  /// What is there now is taken at once.  Otherwise the tokens are booked, and the wait ends when their time
  /// has come or when `stop` is requested; at the same instant the tokens win.
  ///
  /// \return     Success; `cancelled` as soon as `stop` is requested, the tokens given back;
  ///             `exceeds_capacity` and, at rate zero, `rate_limited` for ever at once.
  /// Exceptions  std::bad_alloc at the first wait or booking, nothing changed; what a clock throws that
  ///             cannot keep the timer, the tokens given back.
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
    const outcome<void> at_once = attempt(clock_.now(), n);
    if (at_once || !at_once.error().retry_after) {
      tell(at_once, n);
      return at_once;
    }
    outcome<reservation> booked = book(n, duration::max(), until);
    if (!booked) return refuse(booked.error());
    detail::waiter self;
    for (;;) {
      const auto why = detail::sleep(self, clock_, booked->act_at(), stop);
      if (why == detail::wake_reason::deadline_reached || clock_.now() >= booked->act_at()) break;
      if (why == detail::wake_reason::stop_requested && booked->cancel_in_time()) {
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
  /// Exceptions  std::bad_alloc at the first wait or booking, nothing changed.
  /// Blocking    Holds one short lock.
  outcome<reservation> reserve(std::uint64_t n = 1, duration max_wait = duration::max()) {
    outcome<reservation> booked = book(n, max_wait, deadline::never());
    if (!booked) static_cast<void>(refuse(booked.error()));
    return booked;
  }

  /// Whole tokens held at `now`, negative when more is booked than is there; the greatest number if the rate
  /// is unlimited.
  [[nodiscard]] std::int64_t available_at(time_point now) const noexcept {
    const auto [core, t] = settled(now);
    if (core.limits.unlimited()) return std::numeric_limits<std::int64_t>::max();
    return core.tokens(t);
  }

  [[nodiscard]] std::int64_t available_approx() const noexcept { return available_at(clock_.now()); }

  /// Whether the bucket is indistinguishable from one newly made and full.
  [[nodiscard]] bool is_full_at(time_point now) const noexcept {
    const auto [core, t] = settled(now);
    return core.held(t) == core.limits.capacity();
  }

  /// Whether the bucket answers from `now` on as one made at its next use from the options of its construction:
  /// never reconfigured, and full where it starts full.  One that starts with less is not: what comes back until
  /// that use a new one lacks; only at rate zero is it as new while it holds its initial tokens.  Its counts go
  /// on.  What `keyed` asks before it forgets a bucket.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    const auto [core, t] = settled(now);
    std::int64_t initial = core.limits.burst;
    if (const ledger* const l = opened()) {
      // [relaxed] Set before the configuration that `settled` acquires.
      if (l->reconfigured.load(std::memory_order_relaxed)) return false;
      if (l->initial) initial = *l->initial;
    }
    const bool stands = core.limits.speed == 0 || initial == core.limits.burst;
    return stands && core.held(t) == initial * core.limits.cost;
  }

  /// Goes on with other options, from now, for everybody at the same instant.
  ///
  /// What was booked keeps its time.  `options.initial` counts with `held_tokens::reset` only.  From and to
  /// an unlimited rate there is nothing to keep: the bucket starts full.
  /// Exceptions  std::invalid_argument as from the constructor, std::bad_alloc the first time; nothing is then
  ///             changed.
  void reconfigure(const token_bucket_options& options, held_tokens kept = held_tokens::keep) {
    const auto next = detail::bucket_start::of(options);
    ledger& l = open();
    const std::lock_guard lock{line_};
    // [relaxed] Published by `change`.
    l.reconfigured.store(true, std::memory_order_relaxed);
    const time_point now = std::max(clock_.now(), line_.mark());
    line_.advance(now);
    // Nothing was booked at an unlimited rate.
    const bool forgotten = kept == held_tokens::reset || next.limits.unlimited();
    change([&](detail::bucket_core& core) { core.reconfigure(now, next.limits, kept, next.initial); });
    ++l.generation;
    l.epoch += forgotten ? 1 : 0;
    l.newest = {forgotten ? now : l.newest.ceil(), 0};
  }

  /// Complexity O(1), never blocks.
  [[nodiscard]] token_bucket_stats stats() const noexcept {
    const ledger* const l = opened();
    return l == nullptr ? token_bucket_stats{}
                        : token_bucket_stats{l->used.value(), l->cancelled.value(), l->refused.value()};
  }

 private:
  /// What bookings and other options need beyond the line.  Everything else is guarded by the line's lock.
  struct ledger {
    detail::bucket_instant newest{time_point::min()};  ///< the latest instant booked
    std::int64_t peak = 0;                             ///< the highest full_at that a refund has hidden
    std::uint64_t generation = 0;                      ///< counts configurations
    std::uint64_t epoch = 0;                           ///< counts the times that debts were forgotten
    std::uint64_t booked = 0;                          ///< bookings, less those undone last in first out

    std::optional<std::int64_t> initial;     ///< tokens at the start, if not the burst; not written after it
    std::atomic<bool> reconfigured = false;  ///< the options are not those of the start
    event_counter used, cancelled, refused;
  };

  basic_token_bucket(const detail::bucket_start& start, time_point now, Clock&& clock, Observer&& observer)
      : line_{detail::bucket_core::holding(start.limits, now, start.initial), now},
        clock_{std::move(clock)},
        observer_{std::move(observer)} {
    if (start.initial != start.limits.burst) open().initial = start.initial;
  }

  [[nodiscard]] ledger* opened() const noexcept {
    return ledger_.load(std::memory_order_acquire);  // [E] acquire, pairs with [F]
  }

  /// Makes the ledger if there is none.
  ledger& open() {
    if (ledger* const l = opened()) return *l;
    auto fresh = std::make_unique<ledger>();
    ledger* expected = nullptr;
    // [F] release, pairs with [E].  [E] acquire: another one may have come first.
    if (!ledger_.compare_exchange_strong(expected, fresh.get(), std::memory_order_release,
                                         std::memory_order_acquire)) {
      return *expected;
    }
    return *fresh.release();
  }

  /// What the bucket answers from at `now`, and the instant that it takes `now` for.
  struct settled_core {
    detail::bucket_core core;
    time_point at;
  };
  [[nodiscard]] settled_core settled(time_point now) const noexcept {
    const time_point mark = line_.mark();
    settled_core s{line_.read().core, {}};
    s.at = s.core.not_before(now, mark);
    if (!s.core.in_range(s.at)) s.core.rebase(s.at);
    return s;
  }

  void granted([[maybe_unused]] std::uint64_t n) noexcept {
    if constexpr (grant_observer<Observer>) observer_.on_granted(n);
  }

  refusal refuse(refusal why) noexcept {
    observer_.on_refused(why);
    return why;
  }

  void tell(const outcome<void>& result, std::uint64_t n) noexcept {
    if (result) {
      granted(n);
    } else {
      observer_.on_refused(result.error());
    }
  }

  /// An answer that fits in two registers.
  enum class verdict : std::uint8_t { granted, refused, never, too_much, contended, in_the_way };
  struct decision {
    verdict what;
    duration wait{};  ///< if refused
  };

  outcome<void> attempt(time_point now, std::uint64_t n) noexcept {
    decision d = decide(now, now, n);
    if (d.what >= verdict::contended) [[unlikely]]
      d = decide_again(now, n, d.what);
    if (d.what == verdict::granted) return {};
    if (d.what == verdict::refused) return refusal{refusal_reason::rate_limited, d.wait};
    return refused_for_ever(d.what == verdict::never ? refusal_reason::rate_limited
                                                     : refusal_reason::exceeds_capacity);
  }

  /// All that a request costs: no call, no lock and no loop stands in here.  `contended` if others have moved
  /// the word meanwhile; `in_the_way` if the configuration is being replaced, or has to be, because its range
  /// has ended.  The clock shows `now`, which is taken for `t` at least.
  decision decide(time_point now, time_point t, std::uint64_t n) noexcept {
    const time_point mark = line_.mark();
    detail::bucket_snapshot s;
    if (!line_.try_read(s)) [[unlikely]]
      return {verdict::in_the_way};
    // Nothing, too much, or an unlimited rate, whose burst is nothing.
    if (n - 1 >= static_cast<std::uint64_t>(s.core.limits.burst)) [[unlikely]] {
      return {n == 0 || s.core.limits.unlimited() ? verdict::granted : verdict::too_much};
    }
    t = t < mark ? mark : t;
    const std::optional<std::int64_t> ticks = s.core.ticks_if_after(t);
    if (!ticks) [[unlikely]]
      return {verdict::in_the_way};
    const detail::bucket_answer answer = s.core.ask_after(*ticks, static_cast<std::int64_t>(n));
    if (answer.excess > 0) {
      const std::optional<duration> wait = wait_from(now, t, s.core, answer);
      return wait ? decision{verdict::refused, *wait} : decision{verdict::never};
    }
    if (!line_.take(s, answer.full_at)) [[unlikely]]
      return {verdict::contended};
    line_.advance(t);
    return {verdict::granted};
  }

  /// The same until it is decided; `why` it is not yet.
#if defined(__GNUC__)
  [[gnu::noinline]]  // so that `decide` stays small where it is asked first
#endif
  decision
  decide_again(time_point now, std::uint64_t n, verdict why) noexcept {
    for (time_point t = now;;) {
      if (why == verdict::in_the_way) {
        const std::lock_guard behind_the_writer{line_};
        t = line_.stored().core.not_before(t, line_.mark());
        rebase(t);
      }
      const decision d = decide(now, t, n);
      if (d.what < verdict::contended) return d;
      why = d.what;
    }
  }

  /// How long from `now` until `answer` would be a grant; empty: never.
  static std::optional<duration> wait_from(time_point now, time_point t, const detail::bucket_core& core,
                                           const detail::bucket_answer& answer) noexcept {
    const std::optional<duration> wait = core.wait_for(answer.excess);
    if (!wait) return std::nullopt;
    // Up to the end of time, and of durations; without a sign no difference overflows.
    const auto ns = [](auto d) { return static_cast<std::uint64_t>(d.count()); };
    const std::uint64_t left = ns(time_point::max().time_since_epoch()) - ns(t.time_since_epoch());
    const std::uint64_t whole =
        ns(t.time_since_epoch()) - ns(now.time_since_epoch()) + std::min(ns(*wait), left);
    return duration{static_cast<std::int64_t>(std::min(whole, ns(duration::max())))};
  }

  /// Replaces configuration and word.  The lock is held.
  template <class F>
  void change(F f) noexcept {
    ledger* const l = opened();
    line_.change(l == nullptr ? 0 : std::exchange(l->peak, 0), f);
  }

  /// Moves the origin to `t` if it is out of range.  The lock is held.
  void rebase(time_point t) noexcept {
    if (line_.stored().core.in_range(t)) return;
    line_.advance(t);  // no instant before the new origin is answered as of an older one
    change([t](detail::bucket_core& core) { core.rebase(t); });
  }

  /// Books `n` tokens that are there within `max_wait` and until `until`.
  outcome<reservation> book(std::uint64_t n, duration max_wait, deadline until) {
    ledger& l = open();
    outcome<reservation> booked = book_in(l, n, max_wait, until);
    if (!booked) l.refused.add();
    return booked;
  }

  outcome<reservation> book_in(ledger& l, std::uint64_t n, duration max_wait, deadline until) {
    const std::lock_guard lock{line_};
    const time_point now = clock_.now();
    const time_point t = line_.stored().core.not_before(now, line_.mark());
    rebase(t);
    for (;;) {
      const detail::bucket_snapshot s = line_.stored();
      const detail::bucket_limits& limits = s.core.limits;
      if (n == 0 || limits.unlimited()) {
        return reservation{*this, {{now, 0}, static_cast<std::int64_t>(n), limits, 0, 0, 0, {}}};
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
      if (!line_.take(s, answer.full_at)) continue;
      line_.advance(t);
      const detail::bucket_instant act = s.core.instant(t, answer.excess);
      const detail::bucket_instant before = std::exchange(l.newest, std::max(l.newest, act));
      return reservation{*this, {act, count, limits, l.generation, l.epoch, ++l.booked, before}};
    }
  }

  /// One booking, as the reservation remembers it.
  struct booking {
    detail::bucket_instant act;
    std::int64_t count = 0;
    detail::bucket_limits limits;
    std::uint64_t generation = 0;
    std::uint64_t epoch = 0;
    std::uint64_t number = 0;       ///< from 1; 0: nothing was taken
    detail::bucket_instant before;  ///< `newest` without it
  };

  /// What was booked is used.
  void spend(const booking& b) noexcept {
    opened()->used.add();
    granted(static_cast<std::uint64_t>(b.count));
  }

  void give_back(const booking& b) noexcept {
    opened()->cancelled.add();
    static_cast<void>(take_back(b));
  }

  /// Gives back what no later booking leans on; false if its time has come.
  bool take_back(const booking& b) noexcept {
    ledger& l = *opened();
    const std::lock_guard lock{line_};
    if (b.number == 0 || b.epoch != l.epoch) return true;
    const time_point now = clock_.now();
    const time_point t = line_.stored().core.not_before(now, line_.mark());
    if (t > b.act.ceil()) return false;  // what was booked may have been used
    rebase(t);
    const bool current = b.generation == l.generation;
    std::int64_t amount = b.count * b.limits.cost;
    if (b.number == l.booked) {
      // Nobody has booked since: all of it, and it is as if it had never been.
      --l.booked;
      if (current) l.newest = b.before;
    } else {
      amount = detail::bucket_core{b.limits, t}.refundable(
          b.count, b.act, current ? l.newest : detail::bucket_instant{l.newest.ceil(), 0});
    }
    detail::bucket_snapshot s = line_.stored();
    if (!current) amount = detail::multiply_divide(amount, s.core.limits.cost, b.limits.cost);
    for (;; s = line_.stored()) {
      l.peak = std::max(l.peak, s.core.full_at);  // I4: the word is about to fall
      s.core.refund(t, amount);
      if (line_.take(s, s.core.full_at)) return true;
    }
  }

  alignas(64) detail::bucket_line line_;
  std::atomic<ledger*> ledger_{nullptr};  // made when it is needed, once
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
  [[nodiscard]] time_point act_at() const noexcept { return booking_.act.ceil(); }

  /// Whether there is still something to use or to cancel.
  [[nodiscard]] explicit operator bool() const noexcept { return bucket_ != nullptr; }

  /// The tokens were spent.  No effect if they are already, or cancelled.
  void use() && noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) bucket->spend(booking_);
  }

  /// Gives the tokens back: all of them if nobody has booked since, else less those that later bookings have
  /// been timed on; nothing once `act_at()` has passed.  No effect if they are used, or cancelled already.
  void cancel() noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) bucket->give_back(booking_);
  }

 private:
  friend basic_token_bucket;

  /// Unless its time has come meanwhile: then it is there to be used.
  bool cancel_in_time() noexcept {
    if (!bucket_->take_back(booking_)) return false;
    std::exchange(bucket_, nullptr)->opened()->cancelled.add();
    return true;
  }

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
