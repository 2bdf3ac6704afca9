// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/bandwidth_core.hpp>
#include <weir/detail/parking.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>
#include <weir/token_bucket_types.hpp>

namespace weir::inline v0 {

/// Several bandwidths in one: 10 a second and 1000 an hour, all or none.
///
/// Model          A token bucket for each bandwidth (detail/bandwidth_core.hpp) under one lock.  A request gets
///                its tokens of every band, or changes nothing in any.  It waits for the slowest.
/// Invariants     M1  No window grants more than any of the bands alone would.
///                I2  What is refused changes nothing.
///                I3  Time never runs back: a clock that does is taken to stand until it has caught up.
/// Differences    from token_bucket: who has booked is never passed, and while somebody waits nothing is
///                there for others (`available_at` says 0, never less); a cancelled booking is as if it had
///                never been, whoever has booked since; bands may be refilled all at once (`refill_at`).
/// Ordering       Publishes nothing: a grant orders no memory of the caller.
/// Thread safety  Every member from any thread, except the destructor.
/// Fairness       In the order of booking.
/// Complexity     O(bands), of a cancellation O(bands x bookings ahead).
/// When not to    For one bandwidth that comes evenly: token_bucket takes no lock.
/// Source         bucket4j (bandwidths, aligned refill); ITU-T I.371 (GCRA) for each even band.
template <monotonic_clock Clock = steady_clock, class Observer = no_observer>
  requires refusal_observer<Observer>
class basic_multi_token_bucket {
 public:
  class [[nodiscard]] reservation;

  /// Throws std::invalid_argument if there is no bandwidth, or unless each is as it says; std::bad_alloc.
  explicit basic_multi_token_bucket(const std::vector<bandwidth>& bands, Clock clock = {},
                                    Observer observer = {})
      : mark_{clock.now()}, core_{bands, mark_}, clock_{std::move(clock)}, observer_{std::move(observer)} {}

  basic_multi_token_bucket(const basic_multi_token_bucket&) = delete;
  basic_multi_token_bucket& operator=(const basic_multi_token_bucket&) = delete;
  /// No call may be in progress and no reservation alive.
  ~basic_multi_token_bucket() = default;

  /// Takes `n` tokens of every band if they are there now, all or none.
  ///
  /// \return     Success; `rate_limited` with the time until they are there in every band, or never at rate
  ///             zero; `exceeds_capacity`, for ever, if n exceeds the burst of any.  n = 0 always succeeds.
  /// Complexity  O(bands), no allocation.
  /// Blocking    Never waits for tokens; holds one short lock.
  outcome<void> try_acquire(std::uint64_t n = 1) noexcept { return try_acquire_at(clock_.now(), n); }

  /// The same at an instant of the bucket's clock that the caller has read.  An instant before the latest one
  /// at which tokens were taken is taken for that (I3).
  outcome<void> try_acquire_at(time_point now, std::uint64_t n = 1) noexcept {
    const outcome<void> result = attempt(now, n);
    if (!result) return refuse(result.error());
    granted(n);
    return result;
  }

  /// Takes `n` tokens, waiting for them in the order of arrival.
  ///
  /// What is there now is taken at once.  Otherwise the tokens are booked, and the wait ends when their time
  /// has come or when `stop` is requested; at the same instant the tokens win.
  ///
  /// \return     Success; `cancelled` as soon as `stop` is requested, the tokens given back;
  ///             `exceeds_capacity` and, at rate zero, `rate_limited` for ever at once.
  /// Exceptions  std::bad_alloc, nothing changed; what a clock throws that cannot keep the timer, the tokens
  ///             given back.
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
    if (const auto at_once = attempt(clock_.now(), n)) {
      granted(n);
      return at_once;
    } else if (!at_once.error().retry_after) {
      return refuse(at_once.error());
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
  /// Exceptions  std::bad_alloc, nothing changed.
  /// Blocking    Holds one short lock.
  outcome<reservation> reserve(std::uint64_t n = 1, duration max_wait = duration::max()) {
    outcome<reservation> booked = book(n, max_wait, deadline::never());
    if (!booked) static_cast<void>(refuse(booked.error()));
    return booked;
  }

  /// Gives `n` tokens to every band, up to its burst, as if they had come back early.
  /// Exceptions  std::bad_alloc, nothing changed.
  void add(std::uint64_t n) { give(n, false); }

  /// The same beyond the burst too, up to 2^61 / cost of a token.  What is above the burst stays until it is
  /// taken; nothing comes back meanwhile.
  void force_add(std::uint64_t n) { give(n, true); }

  /// Whole tokens that could be taken at `now`; 0 while somebody waits.  The greatest number if every rate is
  /// unlimited.
  [[nodiscard]] std::int64_t available_at(time_point now) const noexcept {
    const std::lock_guard lock{mutex_};
    return core_.tokens(std::max(now, mark_));
  }

  [[nodiscard]] std::int64_t available_approx() const noexcept { return available_at(clock_.now()); }

  /// Whether every band holds its burst, no more, and nobody waits.
  [[nodiscard]] bool is_full_at(time_point now) const noexcept {
    const std::lock_guard lock{mutex_};
    return core_.is_full(std::max(now, mark_));
  }

  /// Whether the bucket answers from `now` on as one made at its next use from the bands of its construction:
  /// as token_bucket says it, in every band.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    const std::lock_guard lock{mutex_};
    return !reconfigured_ && core_.is_as_new(std::max(now, mark_));
  }

  /// Goes on with other bands, from now, for everybody at the same instant.
  ///
  /// Each band goes on from the one in its place in the list, with what `kept` makes of its tokens; those for
  /// which there is none start as `initial` says, which counts with `held_tokens::reset` for all.  What was
  /// booked keeps its time and can no more be cancelled; who comes after is served after it, but with `reset`.
  /// Exceptions  std::invalid_argument as from the constructor, std::bad_alloc; nothing is then changed.
  void reconfigure(const std::vector<bandwidth>& bands, held_tokens kept = held_tokens::keep) {
    const std::lock_guard lock{mutex_};
    const time_point t = std::max(clock_.now(), mark_);
    core_.reconfigure(t, bands, kept);
    mark_ = t;
    reconfigured_ = true;
  }

  /// Complexity O(1), never blocks.
  [[nodiscard]] token_bucket_stats stats() const noexcept {
    return {used_.value(), cancelled_.value(), refused_.value()};
  }

 private:
  void granted([[maybe_unused]] std::uint64_t n) noexcept {
    if constexpr (grant_observer<Observer>) observer_.on_granted(n);
  }

  refusal refuse(refusal why) noexcept {
    observer_.on_refused(why);
    return why;
  }

  /// When the tokens are there, and how long that is from `now`; or why they never are.
  struct offer {
    detail::fine_instant at;
    duration wait;
  };
  [[nodiscard]] outcome<offer> ask(time_point now, std::uint64_t n) const noexcept {
    if (core_.holds_at_most(n)) return refused_for_ever(refusal_reason::exceeds_capacity);
    const auto at = core_.fits_at(std::max(now, mark_), whole(n));
    if (!at) return refused_for_ever(refusal_reason::rate_limited);
    return offer{*at, elapsed(now, at->ceil())};
  }

  /// Beyond 2^63 tokens there are none to tell apart: no band is limited, or the request is refused.
  static std::int64_t whole(std::uint64_t n) noexcept {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return static_cast<std::int64_t>(std::min(n, most));
  }

  outcome<void> attempt(time_point now, std::uint64_t n) noexcept {
    if (n == 0) return {};
    const std::lock_guard lock{mutex_};
    const outcome<offer> offered = ask(now, n);
    if (!offered) return offered.error();
    const time_point t = std::max(now, mark_);
    if (offered->at.ceil() > t) return refusal{refusal_reason::rate_limited, offered->wait};
    core_.take(t, whole(n));
    mark_ = t;
    return {};
  }

  /// Books `n` tokens that are there within `max_wait` and until `until`.
  outcome<reservation> book(std::uint64_t n, duration max_wait, deadline until) {
    outcome<reservation> booked = book_within(n, max_wait, until);
    if (!booked) refused_.add();
    return booked;
  }

  outcome<reservation> book_within(std::uint64_t n, duration max_wait, deadline until) {
    const std::lock_guard lock{mutex_};
    const time_point now = clock_.now();
    if (n == 0) return reservation{*this, now, 0, 0};
    const outcome<offer> offered = ask(now, n);
    if (!offered) return offered.error();
    const time_point t = std::max(now, mark_);
    const time_point act = offered->at.ceil();
    if (act > t && (offered->wait > max_wait || act > until.time())) {
      return refusal{refusal_reason::timed_out, offered->wait};
    }
    const std::uint64_t number = core_.book(t, offered->at, whole(n));
    mark_ = t;
    return reservation{*this, act, n, number};
  }

  /// Gives a booking back; false if its time has come, or that of other bands.
  bool take_back(std::uint64_t number) noexcept {
    if (number == 0) return true;
    const std::lock_guard lock{mutex_};
    return core_.cancel(std::max(clock_.now(), mark_), number);
  }

  void give_back(std::uint64_t number) noexcept {
    cancelled_.add();
    static_cast<void>(take_back(number));
  }

  void give(std::uint64_t n, bool beyond) {
    const std::lock_guard lock{mutex_};
    const time_point t = std::max(clock_.now(), mark_);
    core_.add(t, whole(n), beyond);
    mark_ = t;
  }

  mutable std::mutex mutex_;     // a leaf, but for the clock
  time_point mark_;              // guarded by mutex_: the latest instant at which anything was changed
  detail::bandwidth_core core_;  // guarded by mutex_
  bool reconfigured_ = false;    // guarded by mutex_
  event_counter used_, cancelled_, refused_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;
};

/// Tokens booked ahead.  Destroyed unused, it is cancelled.
///
/// Thread safety  As a plain value; may be finished from another thread.
/// Lifetime       Must not outlive the bucket.
template <monotonic_clock Clock, class Observer>
  requires refusal_observer<Observer>
class [[nodiscard]] basic_multi_token_bucket<Clock, Observer>::reservation {
 public:
  reservation(reservation&& other) noexcept
      : bucket_{std::exchange(other.bucket_, nullptr)},
        act_at_{other.act_at_},
        count_{other.count_},
        number_{other.number_} {}
  reservation& operator=(reservation&& other) noexcept {
    if (this != &other) {
      cancel();
      bucket_ = std::exchange(other.bucket_, nullptr);
      act_at_ = other.act_at_;
      count_ = other.count_;
      number_ = other.number_;
    }
    return *this;
  }
  ~reservation() { cancel(); }

  /// When the tokens are there: act then, not before.
  [[nodiscard]] time_point act_at() const noexcept { return act_at_; }

  /// Whether there is still something to use or to cancel.
  [[nodiscard]] explicit operator bool() const noexcept { return bucket_ != nullptr; }

  /// The tokens were spent.  No effect if they are already, or cancelled.
  void use() && noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) {
      bucket->used_.add();
      bucket->granted(count_);
    }
  }

  /// Gives the tokens back: all of them, as if they had never been booked, but that others keep their time;
  /// nothing once `act_at()` has passed, or since a `reconfigure`.  No effect if they are used, or cancelled
  /// already.
  void cancel() noexcept {
    if (auto* const bucket = std::exchange(bucket_, nullptr)) bucket->give_back(number_);
  }

 private:
  friend basic_multi_token_bucket;

  /// Unless its time has come meanwhile: then it is there to be used.
  bool cancel_in_time() noexcept {
    if (!bucket_->take_back(number_)) return false;
    std::exchange(bucket_, nullptr)->cancelled_.add();
    return true;
  }

  reservation(basic_multi_token_bucket& bucket, time_point act_at, std::uint64_t count,
              std::uint64_t number) noexcept
      : bucket_{&bucket}, act_at_{act_at}, count_{count}, number_{number} {}

  basic_multi_token_bucket* bucket_;
  time_point act_at_;
  std::uint64_t count_;
  std::uint64_t number_;  // 0: nothing was taken
};

template <monotonic_clock Clock, class Observer>
basic_multi_token_bucket(std::vector<bandwidth>, Clock, Observer)
    -> basic_multi_token_bucket<Clock, Observer>;
template <monotonic_clock Clock>
basic_multi_token_bucket(std::vector<bandwidth>, Clock) -> basic_multi_token_bucket<Clock>;

using multi_token_bucket = basic_multi_token_bucket<>;

}  // namespace weir::inline v0
