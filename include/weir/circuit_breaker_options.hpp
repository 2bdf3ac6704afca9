// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <variant>

#include <weir/clock.hpp>

namespace weir::inline v0 {

enum class breaker_state : std::uint8_t {
  closed,        ///< calls pass and are judged
  open,          ///< calls are refused until the wait is over
  half_open,     ///< a few probes pass; their results decide
  forced_open,   ///< calls are refused until somebody says otherwise
  disabled,      ///< calls pass, nothing is recorded
  metrics_only,  ///< calls pass and are recorded, never judged
};

[[nodiscard]] constexpr std::string_view to_string(breaker_state state) noexcept {
  constexpr std::string_view names[]{"closed",      "open",     "half_open",
                                     "forced_open", "disabled", "metrics_only"};
  const auto index = static_cast<std::size_t>(state);
  return index < std::size(names) ? names[index] : "unknown";
}

/// What a call says about the health of what it called.
enum class call_verdict : std::uint8_t { success, failure, ignore };

/// A share above 0 and at most 1, exactly: {50} is 50 %, {1, 3} a third.
struct fraction {
  std::uint32_t numerator;
  std::uint32_t denominator = 100;

  /// part / whole >= this
  [[nodiscard]] constexpr bool reached(std::uint64_t part, std::uint64_t whole) const noexcept {
    return part * denominator >= whole * numerator;
  }
  friend constexpr bool operator==(const fraction&, const fraction&) noexcept = default;
};

/// Judges the last `size` calls.
struct count_window {
  std::uint32_t size = 100;
};

/// Judges the calls of the last `length`, which leave it a bucket at a time.
struct time_window {
  duration length;             ///< positive, a multiple of `buckets` nanoseconds
  std::uint32_t buckets = 10;  ///< positive
};

/// Opens at `count` failures in a row; rates and `minimum_calls` are not looked at.
struct consecutive_failures {
  std::uint32_t count = 5;
};

/// Calls that took longer than `longer_than`, well or badly, as a second signal.  By the clock as it is between
/// admission and report, whether it stepped back meanwhile or not.
struct slow_calls {
  duration longer_than;
  fraction rate = {100};

  /// One rate for both: a slow call counts as failed too, in the window and among the probes.
  bool as_failures = false;

  /// So many calls at once count as slow while they are still out, as soon as they have been so for longer
  /// than `longer_than`: at the next admission, result or look at the state.  A call counts once; what it
  /// reports later adds only that it failed.  Calls beyond that many are judged when they return.
  ///
  /// If positive, closed and metrics_only hold one short lock a call.  Memory: 40 bytes each.
  std::uint32_t watched = 0;
};

struct circuit_breaker_options {
  std::variant<count_window, time_window, consecutive_failures> window = count_window{};

  /// Opens when at least this share of the calls in the window has failed.
  fraction failure_rate = {50};

  /// Opens on slow calls too, if given: at least the share `rate` took longer than `longer_than`.  Not with
  /// consecutive_failures.
  std::optional<slow_calls> slow = std::nullopt;

  /// No verdict on fewer calls in the window.  With a count_window at most its size is asked for; in a
  /// time_window that never sees so many, nothing ever opens.
  std::uint32_t minimum_calls = 20;

  /// How long it stays open the first time; each further time in a row `open_for_factor` times as long, at
  /// most `open_for_max`, then shortened at random by up to the share `open_for_jitter` of it.
  duration open_for = std::chrono::seconds{5};
  double open_for_factor = 1.0;
  duration open_for_max = duration::max();
  double open_for_jitter = 0.0;

  /// How many calls pass in half_open, in all.
  std::uint32_t probes = 1;

  /// Given, 1 to `probes`: closes at so many successes, opens again as soon as they cannot be reached any
  /// more; a slow success is none.  Not given: when all probes have reported, their rates decide as in
  /// closed.
  std::optional<std::uint32_t> probe_successes = std::nullopt;

  /// How long probes may be out without a result from any of them; then they are taken for lost, and it opens
  /// again.  If not given, as long as the open wait before them.
  std::optional<duration> half_open_max_wait = std::nullopt;

  /// If positive, how long it takes a breaker that its probes have closed to admit every call again: the share
  /// that it admits rises from 10 % to 100 %, by the percent, in even steps and not at random.  At most
  /// 1000 days.
  duration ramp = duration::zero();

  /// Seed of the jitter.  Drawn anew for each breaker, and when it is reconfigured, if not given.
  std::optional<std::uint64_t> seed = std::nullopt;
};

}  // namespace weir::inline v0
