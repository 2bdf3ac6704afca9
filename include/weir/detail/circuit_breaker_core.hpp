// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <weir/clock.hpp>
#include <weir/detail/sliding_window.hpp>
#include <weir/refusal.hpp>

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

/// Calls that took longer than `longer_than`, well or badly, as a second signal.
struct slow_calls {
  duration longer_than;
  fraction rate = {100};
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

  /// Seed of the jitter.  Drawn anew for each breaker, and when it is reconfigured, if not given.
  std::optional<std::uint64_t> seed = std::nullopt;
};

namespace detail {

/// From (row) to (column), in the order of breaker_state.
[[nodiscard]] constexpr bool legal_move(breaker_state from, breaker_state to) noexcept {
  if (to > breaker_state::metrics_only) return false;  // no state at all
  switch (from) {
    case breaker_state::closed:
      return to != breaker_state::half_open;
    case breaker_state::metrics_only:
      return to != breaker_state::half_open && to != breaker_state::open;
    default:
      return true;
  }
}

/// The pure core of the circuit breaker: state, counts and arithmetic, the time handed in.
///
/// Model       closed -> open -> half_open -> closed | open, and three states that only a hand enters or
///             leaves.  Each move, also one to the same state, begins a new generation; a result of another
///             generation is for the caller to drop.
/// Invariants  I1  closed opens at the recorded result that reaches a threshold, not before, not after.
///             I2  open refuses until `reopen_at`; half_open admits at most `probes` per generation, an
///                 ignored one again.
///             I3  half_open ends: probes that do not report for the maximum wait are taken for lost.
///             I4  Time never runs back: an instant before the latest one seen is taken for that.
///
/// A sink is called as sink(from, to) for each change of state, in order.
class circuit_core {
 public:
  struct admission {
    bool granted;
    refusal why{refusal_reason::circuit_open};
  };

  explicit circuit_core(const circuit_breaker_options& options) : options_{checked(options)} {
    window_ = make_window(options_);
    random_ = options_.seed.value_or(0);
  }

  [[nodiscard]] breaker_state state() const noexcept { return state_; }
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] const circuit_breaker_options& options() const noexcept { return options_; }
  /// When an open breaker admits its first probe.
  [[nodiscard]] time_point reopen_at() const noexcept { return reopen_at_; }

  /// What the window holds, or in half_open what the probes have reported.
  [[nodiscard]] window_totals totals(time_point now) noexcept {
    if (state_ == breaker_state::half_open) return probe_totals_;
    const time_point t = settle(now);
    return std::visit([t](auto& w) { return w.totals(t); }, window_);
  }

  /// Whether it will decide from `now` on as one just made from the same options; changes nothing.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    const time_point t = std::max(latest_, now);
    return state_ == breaker_state::closed &&
           std::visit([t](const auto& w) { return w.is_as_new_at(t); }, window_);
  }

  /// Moves on if the time has come.
  template <class Sink>
  void advance(time_point now, Sink&& sink) noexcept {
    const time_point t = settle(now);
    if (state_ == breaker_state::open && t >= reopen_at_) {
      enter(breaker_state::half_open, t, sink);
    } else if (state_ == breaker_state::half_open && probes_out_ > 0 && t >= give_up_at_) {
      enter(breaker_state::open, t, sink);
    }
  }

  /// Asks for admission at `now`.
  template <class Sink>
  [[nodiscard]] admission admit(time_point now, Sink&& sink) noexcept {
    advance(now, sink);
    switch (state_) {
      case breaker_state::open:
        return {false, {refusal_reason::circuit_open, elapsed(now, reopen_at_)}};
      case breaker_state::forced_open:
        return {false};
      case breaker_state::half_open:
        if (probe_totals_.calls + probes_out_ >= options_.probes) return {false};
        if (probes_out_ == 0) expect_progress(latest_);
        ++probes_out_;
        return {true};
      default:
        return {true};
    }
  }

  /// Records the result of a call of this generation.
  template <class Sink>
  void record(time_point now, call_verdict verdict, bool slow, Sink&& sink) noexcept {
    const time_point t = settle(now);
    const bool failed = verdict == call_verdict::failure;
    if (state_ == breaker_state::half_open) {
      --probes_out_;
      expect_progress(t);
      if (verdict == call_verdict::ignore) return;
      probe_totals_.add(failed, slow);
      judge_probes(failed || (slow && options_.slow), t, sink);
      return;
    }
    if (verdict == call_verdict::ignore) return;
    if (state_ != breaker_state::closed && state_ != breaker_state::metrics_only) return;
    std::visit([&](auto& w) { w.add(t, failed, slow); }, window_);
    if (state_ == breaker_state::closed && must_open(t)) enter(breaker_state::open, t, sink);
  }

  /// Moves by hand.  Precondition: legal_move(state(), to).
  template <class Sink>
  void move(time_point now, breaker_state to, Sink&& sink) noexcept {
    if (to != breaker_state::open && to != breaker_state::half_open) opened_ = 0;
    if (to == breaker_state::open && state_ == to && opened_ > 0) --opened_;  // the same wait once more
    enter(to, settle(now), sink);
  }

  /// Takes other options.  The state and an open wait stay; a window of another shape begins empty; probes
  /// that are out belong to the past.
  class prepared {
   public:
    explicit prepared(const circuit_breaker_options& options)
        : options_{checked(options)}, window_{make_window(options)} {}

   private:
    friend circuit_core;
    circuit_breaker_options options_;
    std::variant<last_calls, recent_calls, failure_run> window_;
  };
  void reconfigure(prepared& next) noexcept {
    using std::swap;
    if (!same_shape(options_.window, next.options_.window)) swap(window_, next.window_);
    swap(options_, next.options_);
    if (options_.seed) random_ = *options_.seed;
    if (state_ == breaker_state::half_open) begin_generation();
  }

 private:
  using any_window = std::variant<last_calls, recent_calls, failure_run>;

  template <class... Parts>
  static void require(bool holds, std::string_view what, Parts... got) {
    if (holds) return;
    std::string text{"circuit_breaker: "};
    text += what;
    ((text += std::to_string(got)), ...);
    throw std::invalid_argument{text};
  }

  static void require_fraction(std::string_view name, fraction f) {
    if (f.numerator > 0 && f.numerator <= f.denominator) return;
    throw std::invalid_argument{"circuit_breaker: " + std::string{name} +
                                " must be above 0 and at most 1, got " + std::to_string(f.numerator) + "/" +
                                std::to_string(f.denominator)};
  }

  static circuit_breaker_options checked(const circuit_breaker_options& o) {
    if (const auto* w = std::get_if<count_window>(&o.window)) {
      require(w->size > 0, "count_window.size must be positive, got ", w->size);
    } else if (const auto* t = std::get_if<time_window>(&o.window)) {
      require(t->buckets > 0, "time_window.buckets must be positive, got ", t->buckets);
      require(t->length > duration::zero(),
              "time_window.length must be positive, got nanoseconds: ", t->length.count());
      require(t->length.count() % t->buckets == 0,
              "time_window.length must be a multiple of buckets nanoseconds, got ", t->length.count());
    } else {
      const std::uint32_t count = std::get<consecutive_failures>(o.window).count;
      require(count > 0, "consecutive_failures.count must be positive, got ", count);
      require(!o.slow, "slow must not be given with consecutive_failures");
    }
    require_fraction("failure_rate", o.failure_rate);
    if (o.slow) {
      require_fraction("slow.rate", o.slow->rate);
      require(o.slow->longer_than >= duration::zero(),
              "slow.longer_than must not be negative, got nanoseconds: ", o.slow->longer_than.count());
    }
    require(o.minimum_calls > 0, "minimum_calls must be positive, got ", o.minimum_calls);
    require(o.open_for > duration::zero(),
            "open_for must be positive, got nanoseconds: ", o.open_for.count());
    require(o.open_for_factor >= 1.0 && std::isfinite(o.open_for_factor),
            "open_for_factor must be at least 1 and finite, got ", o.open_for_factor);
    require(o.open_for_max >= o.open_for,
            "open_for_max must be at least open_for, got nanoseconds: ", o.open_for_max.count());
    require(o.open_for_jitter >= 0.0 && o.open_for_jitter < 1.0,
            "open_for_jitter must be at least 0 and below 1, got ", o.open_for_jitter);
    require(o.probes > 0, "probes must be positive, got ", o.probes);
    if (o.probe_successes) {
      require(*o.probe_successes > 0 && *o.probe_successes <= o.probes,
              "probe_successes must be from 1 to probes, got ", *o.probe_successes);
    }
    if (o.half_open_max_wait) {
      require(*o.half_open_max_wait > duration::zero(),
              "half_open_max_wait must be positive, got nanoseconds: ", o.half_open_max_wait->count());
    }
    return o;
  }

  static any_window make_window(const circuit_breaker_options& o) {
    if (const auto* w = std::get_if<count_window>(&o.window)) return last_calls{w->size};
    if (const auto* t = std::get_if<time_window>(&o.window)) {
      return recent_calls{t->length / t->buckets, t->buckets};
    }
    return failure_run{};
  }

  using window_option = decltype(circuit_breaker_options::window);
  static bool same_shape(const window_option& a, const window_option& b) noexcept {
    if (a.index() != b.index()) return false;
    if (const auto* c = std::get_if<count_window>(&a)) return c->size == std::get_if<count_window>(&b)->size;
    if (const auto* t = std::get_if<time_window>(&a)) {
      const auto* u = std::get_if<time_window>(&b);
      return t->length == u->length && t->buckets == u->buckets;
    }
    return true;
  }

  time_point settle(time_point now) noexcept { return latest_ = std::max(latest_, now); }

  void expect_progress(time_point t) noexcept {
    give_up_at_ = saturating_add(t, options_.half_open_max_wait.value_or(open_wait_));
  }

  [[nodiscard]] bool over_rate(const window_totals& seen) const noexcept {
    return options_.failure_rate.reached(seen.failed, seen.calls) ||
           (options_.slow && options_.slow->rate.reached(seen.slow, seen.calls));
  }

  [[nodiscard]] bool must_open(time_point t) noexcept {
    if (const auto* run = std::get_if<failure_run>(&window_)) {
      return run->run() >= std::get_if<consecutive_failures>(&options_.window)->count;
    }
    std::uint64_t minimum = options_.minimum_calls;
    if (const auto* w = std::get_if<count_window>(&options_.window)) {
      minimum = std::min<std::uint64_t>(minimum, w->size);
    }
    const window_totals seen = std::visit([t](auto& w) { return w.totals(t); }, window_);
    return seen.calls >= minimum && over_rate(seen);
  }

  template <class Sink>
  void judge_probes(bool bad, time_point t, Sink&& sink) noexcept {
    bad_probes_ += bad ? 1 : 0;
    if (options_.probe_successes) {
      if (probe_totals_.calls - bad_probes_ >= *options_.probe_successes) {
        enter(breaker_state::closed, t, sink);
      } else if (bad_probes_ > options_.probes - *options_.probe_successes) {
        enter(breaker_state::open, t, sink);
      }
    } else if (probe_totals_.calls >= options_.probes) {
      enter(over_rate(probe_totals_) ? breaker_state::open : breaker_state::closed, t, sink);
    }
  }

  template <class Sink>
  void enter(breaker_state to, time_point t, Sink&& sink) noexcept {
    const breaker_state from = std::exchange(state_, to);
    if (to == breaker_state::closed) opened_ = 0;
    if (to == breaker_state::open) {
      open_wait_ = next_wait();
      reopen_at_ = saturating_add(t, open_wait_);
    } else if (to == breaker_state::half_open && opened_ == 0) {
      open_wait_ = options_.open_for;  // moved here by hand
    }
    std::visit([](auto& w) { w.clear(); }, window_);
    begin_generation();
    if (from != to) sink(from, to);
  }

  void begin_generation() noexcept {
    ++generation_;
    probe_totals_ = {};
    bad_probes_ = 0;
    probes_out_ = 0;
  }

  /// The wait of this opening, the `opened_`-th in a row.
  [[nodiscard]] duration next_wait() noexcept {
    const double longest = static_cast<double>(options_.open_for_max.count());
    const double grown =
        static_cast<double>(options_.open_for.count()) * std::pow(options_.open_for_factor, opened_);
    if (opened_ < most_opened) ++opened_;
    // Doubles hold whole nanoseconds exactly up to 104 days; `!(<)` also catches an infinite product.
    duration wait = opened_ == 1         ? options_.open_for
                    : !(grown < longest) ? options_.open_for_max
                                         : duration{static_cast<duration::rep>(grown)};
    if (options_.open_for_jitter > 0.0) {
      const double share = options_.open_for_jitter * (static_cast<double>(draw() >> 11) * 0x1.0p-53);
      wait -= duration{static_cast<duration::rep>(static_cast<double>(wait.count()) * share)};
    }
    return std::max(wait, duration{1});
  }

  /// splitmix64 (Steele, Lea, Flood; OOPSLA 2014)
  std::uint64_t draw() noexcept {
    std::uint64_t z = (random_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  static constexpr int most_opened = 1 << 20;

  circuit_breaker_options options_;
  any_window window_{failure_run{}};
  breaker_state state_ = breaker_state::closed;
  std::uint64_t generation_ = 1;
  time_point latest_ = time_point::min();  // the latest instant seen
  time_point reopen_at_;                   // open: when half_open begins
  duration open_wait_{};                   // the wait of the latest opening
  int opened_ = 0;                         // openings since closed
  window_totals probe_totals_;             // half_open: reported
  std::uint64_t bad_probes_ = 0;           // half_open: failed or slow
  std::uint64_t probes_out_ = 0;           // half_open: admitted, not reported
  time_point give_up_at_;                  // half_open: when probes that are out are taken for lost
  std::uint64_t random_ = 0;
};

}  // namespace detail

}  // namespace weir::inline v0
