// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>

#include <weir/clock.hpp>
#include <weir/detail/wide_arithmetic.hpp>
#include <weir/token_bucket_types.hpp>

namespace weir::inline v0::detail {

/// Rate and burst of a bucket in whole numbers.
///
/// Model       The rate is `speed` / `cost` tokens a nanosecond in lowest terms.  A tick is 1/speed of a
///             nanosecond, so a nanosecond is `speed` ticks, a token is `cost` ticks, and no sum of either is
///             ever rounded.  speed 0: nothing is refilled (a token is one tick of a clock that stands);
///             cost 0: unlimited.
/// Invariants  L1  speed <= 2^31 and burst * cost <= 2^61: every sum of the core stays below 2^63.
struct bucket_limits {
  std::int64_t speed = 0;
  std::int64_t cost = 0;
  std::int64_t burst = 0;

  static constexpr std::int64_t speed_limit = std::int64_t{1} << 31;
  static constexpr std::int64_t capacity_limit = std::int64_t{1} << 61;

  /// `tokens` for every `per` nanoseconds.  Throws std::invalid_argument for what is not a bucket.
  [[nodiscard]] static constexpr bucket_limits of(std::int64_t tokens, std::int64_t per, std::int64_t burst) {
    require(tokens >= 0, "rate must not be negative, got ", tokens);
    require(per > 0, "rate must be for a positive duration, got nanoseconds: ", per);
    require(burst > 0, "burst must be positive, got ", burst);
    if (tokens == 0) {
      require(burst <= capacity_limit, "burst must not exceed 2^61, got ", burst);
      return {0, 1, burst};
    }
    const std::int64_t common = std::gcd(tokens, per);
    const bucket_limits limits{tokens / common, per / common, burst};
    require(limits.speed <= speed_limit, "rate must have at most 2^31 tokens in lowest terms, got ",
            limits.speed);
    require(limits.burst <= capacity_limit / limits.cost,
            "burst x duration of the rate in lowest terms must not exceed 2^61 ns, got a burst of ", burst);
    return limits;
  }

  /// No limit at all; the burst is ignored.
  [[nodiscard]] static constexpr bucket_limits none() noexcept { return {1, 0, 0}; }

  [[nodiscard]] constexpr bool unlimited() const noexcept { return cost == 0; }
  [[nodiscard]] constexpr std::int64_t capacity() const noexcept { return burst * cost; }

 private:
  static constexpr void require(bool holds, const char* what, std::int64_t got) {
    if (!holds) throw std::invalid_argument{std::string{"token_bucket: "} + what + std::to_string(got)};
  }
};

/// The options once checked, in whole numbers.
struct bucket_start {
  bucket_limits limits;
  std::int64_t initial;

  /// Throws std::invalid_argument unless the options are as they say.
  [[nodiscard]] static constexpr bucket_start of(const token_bucket_options& options) {
    if (options.rate.is_unlimited()) return {bucket_limits::none(), 0};
    const auto limits = bucket_limits::of(options.rate.tokens(), options.rate.per().count(), options.burst);
    if (!options.initial) return {limits, limits.burst};
    if (*options.initial < 0 || *options.initial > limits.burst) {
      throw std::invalid_argument{"token_bucket: initial must be from 0 to burst, got " +
                                  std::to_string(*options.initial)};
    }
    return {limits, *options.initial};
  }
};

/// An instant to the tick: `whole` and `part` ticks, 0 <= part < speed.
struct bucket_instant {
  time_point whole;
  std::int64_t part = 0;

  /// The first whole nanosecond that is not before it.
  [[nodiscard]] constexpr time_point ceil() const noexcept {
    return part == 0 ? whole : saturating_add(whole, duration{1});
  }

  friend constexpr auto operator<=>(const bucket_instant&, const bucket_instant&) noexcept = default;
};

/// What a request comes to.  `full_at` is the new state if it is granted.
struct bucket_answer {
  std::int64_t full_at;
  std::int64_t excess;  ///< ticks by which the request comes too early; <= 0: it fits now
};

/// The pure core of the token bucket: state and arithmetic, the time handed in.
///
/// Model       GCRA.  The state is one instant, `full_at`, when the bucket will be full again, in ticks from
///             `origin`:  tokens(t) = burst - max(0, full_at - t) / cost.
/// Invariants  I1  Any window of w ns grants at most burst + floor(w * speed / cost) tokens, exactly.
///             I2  What is refused changes nothing.
///             I3  An instant before `origin` is taken for `origin`; time handed in backwards only makes the
///                 answer stricter.
/// Range       t <= 2^60 ticks after `origin`, else `rebase` first; debt <= 2^61; with L1 every sum fits.
/// Source      ITU-T I.371 (generic cell rate algorithm), virtual scheduling.
struct bucket_core {
  bucket_limits limits;
  time_point origin;
  std::int64_t full_at = 0;

  static constexpr std::int64_t range = std::int64_t{1} << 60;
  static constexpr std::int64_t reach = std::int64_t{1} << 61;  ///< how far ahead may be booked
  static constexpr std::int64_t full_at_limit =
      range + reach + bucket_limits::capacity_limit;  ///< of `full_at`

  /// A bucket that holds `tokens` <= burst at `now`.
  [[nodiscard]] static constexpr bucket_core holding(bucket_limits limits, time_point now,
                                                     std::int64_t tokens) noexcept {
    return {limits, now, limits.capacity() - tokens * limits.cost};
  }

  /// The latest of `now`, `mark` and the origin: a clock may have stepped back, or another thread have read it
  /// later, since the range was moved on.
  [[nodiscard]] constexpr time_point not_before(time_point now, time_point mark) const noexcept {
    const time_point least = mark < origin ? origin : mark;
    return now < least ? least : now;
  }

  [[nodiscard]] constexpr bool in_range(time_point now) const noexcept {
    return since_origin(now) <= farthest();
  }

  /// Ticks from the origin to `now`, which must be in range.
  [[nodiscard]] constexpr std::int64_t ticks(time_point now) const noexcept {
    return static_cast<std::int64_t>(since_origin(now)) * limits.speed;
  }

  /// Ticks from the origin to `now`; empty if it is out of range, or before the origin.
  [[nodiscard]] constexpr std::optional<std::int64_t> ticks_if_after(time_point now) const noexcept {
    // Without a sign an instant before the origin is out of range, too: one comparison for both.  (But for one that
    // lies 2^64 ns less the range before it; time does not run back so far.)
    const auto since = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                       static_cast<std::uint64_t>(origin.time_since_epoch().count());
    if (since > farthest()) [[unlikely]]
      return std::nullopt;
    return static_cast<std::int64_t>(since) * limits.speed;
  }

  /// Moves the origin to `now`, exactly, however far away it is.
  constexpr void rebase(time_point now) noexcept {
    const std::int64_t passed = elapsed(origin, now).count();
    if (limits.speed != 0) {
      full_at = passed > full_at / limits.speed ? 0 : full_at - passed * limits.speed;
    }
    origin = std::max(origin, now);
  }

  /// `n` tokens, 0 < n <= burst, at `now`.
  [[nodiscard]] constexpr bucket_answer ask(time_point now, std::int64_t n) const noexcept {
    return ask_after(ticks(now), n);
  }

  /// The same, `t` ticks after the origin.
  [[nodiscard]] constexpr bucket_answer ask_after(std::int64_t t, std::int64_t n) const noexcept {
    // Where the bucket has been full for a while the excess is less than it would be: it fits, by more.
    const std::int64_t cost = n * limits.cost;
    return {std::max(full_at, t) + cost, full_at + cost - limits.capacity() - t};
  }

  /// How long it takes until `excess` ticks have passed, rounded up; empty: never.
  [[nodiscard]] constexpr std::optional<duration> wait_for(std::int64_t excess) const noexcept {
    if (excess <= 0) return duration::zero();
    if (limits.speed == 0) return std::nullopt;
    if (limits.speed == 1) return duration{excess};
    return duration{(excess - 1) / limits.speed + 1};
  }

  /// Ticks held at `now`, negative in debt.
  [[nodiscard]] constexpr std::int64_t held(time_point now) const noexcept {
    return limits.capacity() - std::max<std::int64_t>(0, full_at - ticks(now));
  }

  /// Whole tokens held at `now`, negative in debt.
  [[nodiscard]] constexpr std::int64_t tokens(time_point now) const noexcept {
    const std::int64_t h = held(now);
    return h >= 0 ? h / limits.cost : -((-h - 1) / limits.cost + 1);
  }

  /// Gives `amount` ticks back, up to the burst.
  constexpr void refund(time_point now, std::int64_t amount) noexcept {
    full_at = std::max(full_at - amount, ticks(now));
  }

  /// The instant when `excess` ticks from `now` have passed; `now` itself if none are missing.
  [[nodiscard]] constexpr bucket_instant instant(time_point now, std::int64_t excess) const noexcept {
    if (excess <= 0 || limits.speed == 0) return {now, 0};
    return {saturating_add(now, duration{excess / limits.speed}), excess % limits.speed};
  }

  /// What a booking of `n` tokens that acts at `act` may give back: what no later booking leans on.
  /// `newest` is the latest instant that was booked.
  [[nodiscard]] constexpr std::int64_t refundable(std::int64_t n, bucket_instant act,
                                                  bucket_instant newest) const noexcept {
    const std::int64_t amount = n * limits.cost;
    if (newest.whole < act.whole || limits.speed == 0) return amount;
    const std::int64_t apart = elapsed(act.whole, newest.whole).count();
    // So far apart that nothing is left, and perhaps too far to multiply.
    if (apart > amount / limits.speed + 1) return 0;
    return std::clamp<std::int64_t>(amount - (apart * limits.speed + newest.part - act.part), 0, amount);
  }

  /// Settles at `now` under the old limits, then goes on under `next` with what `kept` makes of the tokens.
  constexpr void reconfigure(time_point now, bucket_limits next, held_tokens kept,
                             std::int64_t reset_to) noexcept {
    rebase(now);
    const std::int64_t old = held(origin);
    std::int64_t tokens_now = next.capacity();
    if (kept == held_tokens::reset) {
      tokens_now = reset_to * next.cost;
    } else if (!limits.unlimited()) {
      tokens_now = multiply_divide(old, next.cost, limits.cost);
      if (kept == held_tokens::proportional && old > 0) {
        tokens_now = multiply_divide(old, next.capacity(), limits.capacity());
      } else if (kept == held_tokens::additive) {
        // As many are missing as before; a smaller burst takes tokens away, but makes no debt.
        const std::int64_t least = std::min<std::int64_t>(0, tokens_now);
        const std::int64_t missing = limits.capacity() - old;
        tokens_now = std::max(least, next.capacity() + multiply_divide(-missing, next.cost, limits.cost));
      }
    }
    limits = next;
    full_at = limits.capacity() - std::clamp(tokens_now, -reach, limits.capacity());
  }

 private:
  /// How many nanoseconds after the origin the range ends.
  [[nodiscard]] constexpr std::uint64_t farthest() const noexcept {
    // A whole number of nanoseconds a token is the common case, and shall cost no more than to see it.
    if (limits.speed == 1) return static_cast<std::uint64_t>(range) >> 1U;
    return static_cast<std::uint64_t>(range) >> std::bit_width(static_cast<std::uint64_t>(limits.speed) | 1U);
  }

  /// Nanoseconds from the origin to `now`, none before it: without a sign no difference overflows.
  [[nodiscard]] constexpr std::uint64_t since_origin(time_point now) const noexcept {
    const auto since = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                       static_cast<std::uint64_t>(origin.time_since_epoch().count());
    return now < origin ? 0 : since;
  }
};

}  // namespace weir::inline v0::detail
