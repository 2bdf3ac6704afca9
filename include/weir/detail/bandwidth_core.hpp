// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <weir/clock.hpp>
#include <weir/detail/token_bucket_core.hpp>
#include <weir/detail/wide_arithmetic.hpp>
#include <weir/token_bucket_types.hpp>

namespace weir::inline v0::detail {

/// An instant exact in the ticks of one band: `whole` and `part` of `speed` shares of a nanosecond,
/// 0 <= part < speed.
struct fine_instant {
  time_point whole;
  std::int64_t part = 0;
  std::int64_t speed = 1;

  /// The first whole nanosecond that is not before it.
  [[nodiscard]] constexpr time_point ceil() const noexcept { return bucket_instant{whole, part}.ceil(); }

  friend constexpr bool operator<(const fine_instant& a, const fine_instant& b) noexcept {
    // At most 2^62 each.
    return a.whole != b.whole ? a.whole < b.whole : a.part * b.speed < b.part * a.speed;
  }
};

/// `wait` after `from`; nothing if time ends before.
[[nodiscard]] constexpr std::optional<fine_instant> later(time_point from, duration wait,
                                                          std::int64_t part = 0,
                                                          std::int64_t speed = 1) noexcept {
  // The longest of all stands for every longer one, too.
  if (wait == duration::max() || wait > elapsed(from, time_point::max())) return std::nullopt;
  return fine_instant{from + wait, part, speed};
}

/// A band whose tokens come one by one: a bucket, and what it was given beyond its burst.  At an unlimited rate
/// a token costs nothing, and every answer is as it must be without a case of its own.
///
/// Invariants  S1  There is a surplus only while the bucket is full: none comes back above the burst.
class smooth_band {
 public:
  smooth_band(const bucket_start& start, time_point now) noexcept
      : core_{bucket_core::holding(start.limits, now, start.initial)}, initial_{start.initial} {}

  [[nodiscard]] bool holds_at_most(std::uint64_t n) const noexcept {
    return !core_.limits.unlimited() && n > static_cast<std::uint64_t>(core_.limits.burst);
  }

  /// When `n` tokens are there, `from` at the earliest; never at rate zero.
  [[nodiscard]] std::optional<fine_instant> fits_at(const fine_instant& from, std::int64_t n) const noexcept {
    bucket_core core = core_;
    const std::int64_t now = settle(core, from);
    const std::int64_t excess =
        std::max(core.full_at, now) - now + n * core.limits.cost - surplus_ - core.limits.capacity();
    if (excess <= 0) return from;
    const std::int64_t speed = core.limits.speed;
    if (speed == 0) return std::nullopt;
    const std::int64_t ticks = now - core.ticks(from.whole) + excess;
    return later(from.whole, duration{ticks / speed}, ticks % speed, speed);
  }

  /// Takes what is there at `at`, which no later call precedes.
  void take(const fine_instant& at, std::int64_t n) noexcept {
    const std::int64_t now = settle(core_, at);
    const std::int64_t cost = n * core_.limits.cost;
    const std::int64_t beyond = std::min(surplus_, cost);
    surplus_ -= beyond;
    core_.full_at = std::max(core_.full_at, now) + cost - beyond;
  }

  /// Gives `n` tokens, up to the burst, or beyond it.
  void add(const fine_instant& at, std::int64_t n, bool beyond) noexcept {
    const std::int64_t now = settle(core_, at);
    const std::int64_t missing = std::max<std::int64_t>(0, core_.full_at - now);
    const std::int64_t amount = multiply_divide(n, core_.limits.cost, 1);
    core_.full_at = now + std::max<std::int64_t>(0, missing - amount);
    if (beyond && amount > missing) {
      surplus_ += std::min(bucket_limits::capacity_limit - surplus_, amount - missing);
    }
  }

  /// Whole tokens held.
  [[nodiscard]] std::int64_t tokens(const fine_instant& at) const noexcept {
    if (core_.limits.unlimited()) return std::numeric_limits<std::int64_t>::max();
    return (held(at) + surplus_) / core_.limits.cost;
  }

  [[nodiscard]] bool is_full(const fine_instant& at) const noexcept {
    return held(at) == core_.limits.capacity() && surplus_ == 0;
  }

  /// Whether it answers from `at` on as one that was made then.
  [[nodiscard]] bool is_as_new(const fine_instant& at) const noexcept {
    const bool stands = core_.limits.speed == 0 || initial_ == core_.limits.burst;
    return stands && surplus_ == 0 && held(at) == initial_ * core_.limits.cost;
  }

  /// Goes on with other limits; a surplus is lost.
  void reconfigure(const bucket_start& next, const fine_instant& at, held_tokens kept) noexcept {
    core_.reconfigure(at.ceil(), next.limits, kept, next.initial);
    surplus_ = 0;
  }

  [[nodiscard]] std::int64_t burst() const noexcept { return core_.limits.burst; }
  [[nodiscard]] bool unlimited() const noexcept { return core_.limits.unlimited(); }

 private:
  /// Moves the origin of `core` on if it must; the ticks from there to `at`, rounded up.
  static std::int64_t settle(bucket_core& core, const fine_instant& at) noexcept {
    if (!core.in_range(at.whole)) core.rebase(at.whole);
    const std::int64_t scaled = at.part * core.limits.speed;
    return core.ticks(at.whole) + (scaled + at.speed - 1) / at.speed;
  }

  [[nodiscard]] std::int64_t held(const fine_instant& at) const noexcept {
    bucket_core core = core_;
    const std::int64_t now = settle(core, at);
    return core.limits.capacity() - std::max<std::int64_t>(0, core.full_at - now);
  }

  bucket_core core_;
  std::int64_t surplus_ = 0;  // ticks
  std::int64_t initial_;      // tokens
};

/// A band whose tokens come all at once, at instants that lie a period apart.
class lump_band {
 public:
  /// Throws std::invalid_argument unless the options are as they say.
  lump_band(const bandwidth& options, time_point now)
      : refill_{options.rate.tokens()},
        period_{options.rate.per()},
        burst_{options.burst},
        tokens_{options.burst},
        first_{*options.refill_at},
        next_{first_},
        prorated_{options.prorated && !options.initial},
        starts_full_{options.initial.value_or(options.burst) == options.burst} {
    // The same as for a smooth one, but that the rate is not brought to its lowest terms.
    static_cast<void>(bucket_limits::of(0, period_.count(), burst_));
    if (refill_ <= 0 || refill_ > bucket_limits::capacity_limit) {
      throw std::invalid_argument{
          "multi_token_bucket: tokens that come at once must be from 1 to 2^61, got " +
          std::to_string(refill_)};
    }
    const std::int64_t initial = options.initial.value_or(at_first(now));
    if (initial < 0 || initial > burst_) {
      throw std::invalid_argument{"multi_token_bucket: initial must be from 0 to burst, got " +
                                  std::to_string(initial)};
    }
    settle(now);
    tokens_ = initial;
  }

  [[nodiscard]] bool holds_at_most(std::uint64_t n) const noexcept {
    return n > static_cast<std::uint64_t>(burst_);
  }

  [[nodiscard]] std::optional<fine_instant> fits_at(const fine_instant& from, std::int64_t n) const noexcept {
    lump_band b = *this;
    b.settle(from.whole);
    if (b.tokens_ >= n) return from;
    const std::int64_t lumps = (n - b.tokens_ - 1) / refill_;  // after the next one
    if (b.next_ == time_point::max()) return std::nullopt;
    return later(b.next_, duration{multiply_divide(lumps, period_.count(), 1)});
  }

  void take(const fine_instant& at, std::int64_t n) noexcept {
    settle(at.whole);
    tokens_ -= n;
  }

  void add(const fine_instant& at, std::int64_t n, bool beyond) noexcept {
    settle(at.whole);
    const std::int64_t most = beyond ? bucket_limits::capacity_limit : std::max(burst_, tokens_);
    tokens_ += std::min(n, most - tokens_);
  }

  [[nodiscard]] std::int64_t tokens(const fine_instant& at) const noexcept {
    lump_band b = *this;
    b.settle(at.whole);
    return b.tokens_;
  }

  [[nodiscard]] bool is_full(const fine_instant& at) const noexcept { return tokens(at) == burst_; }

  /// One that is made within a period before its first tokens starts with less.
  [[nodiscard]] bool is_as_new(const fine_instant& at) const noexcept {
    return starts_full_ && (!prorated_ || at.whole >= first_) && is_full(at);
  }

  [[nodiscard]] std::int64_t burst() const noexcept { return burst_; }

 private:
  /// Full, but for the share of the first tokens that is still to come, if that is less than a period away.
  [[nodiscard]] std::int64_t at_first(time_point now) const noexcept {
    const duration left = elapsed(now, next_);
    if (!prorated_ || left == duration::zero() || left >= period_) return burst_;
    const std::int64_t share = multiply_divide(refill_, left.count(), period_.count());
    return std::min(burst_, std::max<std::int64_t>(0, burst_ - refill_) + share);
  }

  /// Adds what has come until `now`, up to the burst.
  void settle(time_point now) noexcept {
    if (now < next_ || next_ == time_point::max()) return;  // at the end of time no more come
    // Without a sign no difference overflows.
    const auto since = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                       static_cast<std::uint64_t>(next_.time_since_epoch().count());
    const auto period = static_cast<std::uint64_t>(period_.count());
    if (tokens_ < burst_) {
      const std::int64_t most = (burst_ - tokens_) / refill_;  // come before it is full
      const std::uint64_t lumps = since / period;              // have come after the first
      tokens_ = lumps >= static_cast<std::uint64_t>(most)
                    ? burst_
                    : tokens_ + (static_cast<std::int64_t>(lumps) + 1) * refill_;
    }
    next_ = saturating_add(now - duration{static_cast<std::int64_t>(since % period)}, period_);
  }

  std::int64_t refill_;  // tokens that come at once
  duration period_;
  std::int64_t burst_;
  std::int64_t tokens_;
  time_point first_;  // when the first ones came or come
  time_point next_;   // when the next ones come
  bool prorated_;
  bool starts_full_;  // but for what is prorated
};

/// All bands of a bucket: what is there is there in each of them.
class band_set {
 public:
  using band = std::variant<smooth_band, lump_band>;

  band_set(const std::vector<bandwidth>& options, time_point now) {
    if (options.empty()) {
      throw std::invalid_argument{"multi_token_bucket: needs a bandwidth, got none"};
    }
    bands_.reserve(options.size());
    for (const bandwidth& b : options) bands_.push_back(made(b, now));
  }

  [[nodiscard]] bool holds_at_most(std::uint64_t n) const noexcept {
    return std::ranges::any_of(bands_, [n](const band& b) {
      return std::visit([n](const auto& any) { return any.holds_at_most(n); }, b);
    });
  }

  /// When `n` tokens are there in every band, `from` at the earliest.
  [[nodiscard]] std::optional<fine_instant> fits_at(const fine_instant& from, std::int64_t n) const noexcept {
    fine_instant latest = from;
    for (const band& b : bands_) {
      const auto at = std::visit([&](const auto& any) { return any.fits_at(from, n); }, b);
      if (!at) return std::nullopt;
      if (latest < *at) latest = *at;
    }
    return latest;
  }

  void take(const fine_instant& at, std::int64_t n) noexcept {
    for (band& b : bands_) std::visit([&](auto& any) { any.take(at, n); }, b);
  }

  void add(const fine_instant& at, std::int64_t n, bool beyond) noexcept {
    for (band& b : bands_) std::visit([&](auto& any) { any.add(at, n, beyond); }, b);
  }

  [[nodiscard]] std::int64_t tokens(const fine_instant& at) const noexcept {
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const band& b : bands_) {
      least = std::min(least, std::visit([&](const auto& any) { return any.tokens(at); }, b));
    }
    return least;
  }

  [[nodiscard]] bool is_full(const fine_instant& at) const noexcept {
    return std::ranges::all_of(bands_, [&](const band& b) {
      return std::visit([&](const auto& any) { return any.is_full(at); }, b);
    });
  }

  [[nodiscard]] bool is_as_new(const fine_instant& at) const noexcept {
    return std::ranges::all_of(bands_, [&](const band& b) {
      return std::visit([&](const auto& any) { return any.is_as_new(at); }, b);
    });
  }

  /// The bands of `options` at `at`, each with what `kept` makes of the tokens of the one in its place.
  /// Throws std::invalid_argument.
  [[nodiscard]] band_set reconfigured(const std::vector<bandwidth>& options, const fine_instant& at,
                                      held_tokens kept) const {
    band_set next{options, at.ceil()};
    if (kept == held_tokens::reset) return next;
    for (std::size_t i = 0; i != std::min(bands_.size(), next.bands_.size()); ++i) {
      const auto* const before = std::get_if<smooth_band>(&bands_[i]);
      if (before != nullptr && std::holds_alternative<smooth_band>(next.bands_[i])) {
        smooth_band changed = *before;
        changed.reconfigure(start_of(options[i]), at, kept);
        next.bands_[i] = changed;
      } else if (before == nullptr || !before->unlimited()) {
        const std::int64_t held = std::visit([&](const auto& any) { return any.tokens(at); }, bands_[i]);
        const std::int64_t burst = std::visit([](const auto& any) { return any.burst(); }, bands_[i]);
        bandwidth with_those = options[i];
        with_those.initial = converted(std::min(held, burst), burst, with_those.burst, kept);
        next.bands_[i] = made(with_those, at.ceil());
      }
    }
    return next;
  }

  /// Becomes `other`, which has as many bands.
  void copy(const band_set& other) noexcept { std::ranges::copy(other.bands_, bands_.begin()); }

 private:
  static bucket_start start_of(const bandwidth& b) {
    return bucket_start::of({.rate = b.rate, .burst = b.burst, .initial = b.initial});
  }

  static band made(const bandwidth& b, time_point now) {
    if (b.refill_at && !b.rate.is_unlimited()) return lump_band{b, now};
    return smooth_band{start_of(b), now};
  }

  /// As bucket_core::reconfigure, in whole tokens.
  static std::int64_t converted(std::int64_t held, std::int64_t burst, std::int64_t next,
                                held_tokens kept) noexcept {
    if (kept == held_tokens::proportional) return multiply_divide(held, next, burst);
    if (kept == held_tokens::additive) return std::max<std::int64_t>(0, next - (burst - held));
    return std::min(held, next);
  }

  std::vector<band> bands_;
};

/// The pure core of a bucket of several bandwidths: state and arithmetic, the time handed in.
///
/// Model       The bands, and `front`, the latest instant that was booked: they stand as of the later of it
///             and the present, so nobody is served before who has booked, and no band is ever in debt.  The
///             bookings that may still be cancelled are kept, with the bands as they stood before them; to
///             cancel one is to play the others again.
///             What is given while somebody waits counts as of the latest booking.
/// Invariants  M1  No window of w grants more than the bound of any band; a booking counts at its exact
///                 instant, rounded up to a tick of each band.
///             M2  What is refused changes nothing in any band.
///             M3  A booking that is cancelled in time is as if it had never been, but that the others keep
///                 their instants.
class bandwidth_core {
 public:
  bandwidth_core(const std::vector<bandwidth>& options, time_point now)
      : bands_{options, now}, before_{bands_}, settled_{.whole = now} {}

  /// Whether no wait can help: some band never holds as many.
  [[nodiscard]] bool holds_at_most(std::uint64_t n) const noexcept { return bands_.holds_at_most(n); }

  /// When `n` tokens are there in every band and everybody who has booked is served; empty: never.
  [[nodiscard]] std::optional<fine_instant> fits_at(time_point now, std::int64_t n) const noexcept {
    return bands_.fits_at(from(now), n);
  }

  /// Takes what is there now.
  void take(time_point now, std::int64_t n) noexcept {
    forget(now);
    bands_.take({.whole = now}, n);
    if (ahead_.empty()) return;
    // Not forgotten, so its instant ends in this nanosecond.
    ahead_.back().then_taken += n;
    ahead_.back().taken_at = now;
  }

  /// Books what is there at `at`; returns its number.  Throws std::bad_alloc, nothing changed.
  std::uint64_t book(time_point now, const fine_instant& at, std::int64_t n) {
    record({.number = booked_ + 1, .at = at, .n = n}, now);
    bands_.take(at, n);
    return ++booked_;
  }

  /// Undoes a booking; false if its time has come, or that of other bands.
  bool cancel(time_point now, std::uint64_t number) noexcept {
    forget(now);
    const auto found = std::ranges::find(ahead_, number, &event::number);
    if (found == ahead_.end()) return false;
    if (found->then_taken == 0) {
      ahead_.erase(found);
    } else {
      found->n = 0;
    }
    bands_.copy(before_);
    fine_instant latest = settled_;
    for (event& e : ahead_) {
      // What was given counts as of whoever is still booked before it.
      if (e.what != kind::booking) e.at = latest < e.given ? e.given : latest;
      latest = e.at;
      play(bands_, e);
    }
    forget(now);
    return true;
  }

  /// Gives `n` tokens to every band, as of the latest booking.  Throws std::bad_alloc, nothing changed.
  void add(time_point now, std::int64_t n, bool beyond) {
    const event e{.number = 0,
                  .at = from(now),
                  .n = n,
                  .what = beyond ? kind::add_beyond : kind::add,
                  .given = {.whole = now}};
    if (!ahead_.empty()) record(e, now);
    play(bands_, e);
  }

  /// Goes on with other bands.  What was booked keeps its instant, and can no more be cancelled.
  void reconfigure(time_point now, const std::vector<bandwidth>& options, held_tokens kept) {
    const fine_instant at{.whole = kept == held_tokens::reset ? now : from(now).ceil()};
    band_set next = bands_.reconfigured(options, at, kept);
    band_set copy = next;
    bands_ = std::move(next);
    before_ = std::move(copy);
    ahead_.clear();
    settled_ = at;
  }

  /// Whole tokens that are there now for who has not booked; none while somebody waits.
  [[nodiscard]] std::int64_t tokens(time_point now) const noexcept {
    return waited_for(now) ? 0 : bands_.tokens({.whole = now});
  }
  [[nodiscard]] bool is_full(time_point now) const noexcept {
    return !waited_for(now) && bands_.is_full({.whole = now});
  }
  [[nodiscard]] bool is_as_new(time_point now) const noexcept {
    return !waited_for(now) && bands_.is_as_new({.whole = now});
  }

 private:
  enum class kind : std::uint8_t { booking, add, add_beyond };

  struct event {
    std::uint64_t number;
    fine_instant at;
    std::int64_t n;
    kind what = kind::booking;
    fine_instant given{};  ///< if it is no booking: when that was
    time_point taken_at{};
    std::int64_t then_taken = 0;  ///< taken at once in the nanosecond in which its instant ends
  };

  static void play(band_set& bands, const event& e) noexcept {
    if (e.what == kind::booking) {
      bands.take(e.at, e.n);
    } else {
      bands.add(e.at, e.n, e.what == kind::add_beyond);
    }
    if (e.then_taken != 0) bands.take({.whole = e.taken_at}, e.then_taken);
  }

  [[nodiscard]] const fine_instant& front() const noexcept {
    return ahead_.empty() ? settled_ : ahead_.back().at;
  }
  [[nodiscard]] fine_instant from(time_point now) const noexcept {
    const fine_instant present{.whole = now};
    return present < front() ? front() : present;
  }
  [[nodiscard]] bool waited_for(time_point now) const noexcept {
    return fine_instant{.whole = now} < front();
  }

  /// Lets those go whose time has passed.
  void forget(time_point now) noexcept {
    const auto first = std::ranges::find_if(ahead_, [now](const event& e) { return e.at.ceil() >= now; });
    if (first == ahead_.begin()) return;
    settled_ = std::prev(first)->at;
    for (auto e = ahead_.begin(); e != first; ++e) play(before_, *e);
    ahead_.erase(ahead_.begin(), first);
  }

  void record(const event& e, time_point now) {
    forget(now);
    if (ahead_.empty()) before_.copy(bands_);
    ahead_.push_back(e);
  }

  band_set bands_;            // with everything that was taken and booked
  band_set before_;           // without what is in `ahead_`, if anything is
  std::vector<event> ahead_;  // in the order of their instants
  fine_instant settled_;      // front, if nothing is ahead
  std::uint64_t booked_ = 0;
};

}  // namespace weir::inline v0::detail
