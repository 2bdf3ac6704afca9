// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include <weir/clock.hpp>

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
  /// No further ahead than 2^61 / p nanoseconds can be booked (73 years if p is 1, 2 s if it is 10^9): who comes
  /// then is refused as `rate_limited`, with the time.
  std::int64_t burst = 0;

  /// Tokens at the start, 0 to burst.  Full if not given.
  std::optional<std::int64_t> initial = std::nullopt;
};

/// One of several limits that hold together.
struct bandwidth {
  /// As in token_bucket_options.
  weir::rate rate;
  std::int64_t burst = 0;

  /// Tokens at the start, 0 to burst.  Full if not given.
  std::optional<std::int64_t> initial = std::nullopt;

  /// If given, the tokens come all at once, `rate.tokens()` at this instant and after each further
  /// `rate.per()`: 1000 at the turn of every hour.  At least one token then, and at most 2^61.
  std::optional<time_point> refill_at = std::nullopt;

  /// With `refill_at` and without `initial`: if the first tokens come in less than `rate.per()`, the bucket
  /// starts with the burst less those, and of those the share that the time until then is of `rate.per()`,
  /// rounded down.
  bool prorated = false;
};

/// What becomes of the tokens held, or of the debt, when a bucket is reconfigured.
enum class held_tokens : std::uint8_t {
  keep,          ///< as many as before, at most the new burst; of a debt at most what may be booked ahead
  proportional,  ///< the same share of the burst; a debt is kept as it is
  additive,      ///< as many more, or fewer, as the burst has grown or shrunk; makes no debt
  reset,         ///< as if newly made
};

/// Of bookings alone: `reserve`, and `acquire` where it had to wait.  What is granted at once writes one word
/// and no count; an observer that asks for it counts that too (`counting_observer`).
struct token_bucket_stats {
  std::uint64_t used = 0;       ///< bookings whose tokens were spent
  std::uint64_t cancelled = 0;  ///< bookings cancelled or dropped, also too late to give anything back
  std::uint64_t refused = 0;    ///< bookings refused, for whatever reason
};

}  // namespace weir::inline v0
