// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include <weir/circuit_breaker_options.hpp>
#include <weir/clock.hpp>
#include <weir/detail/circuit_breaker_checks.hpp>
#include <weir/detail/in_flight.hpp>
#include <weir/detail/sliding_window.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0 {

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
///             leaves.  Each move, also one to the same state, begins a new generation.  A serial number
///             counts generations and options; a result of another generation is for the caller to drop.
/// Invariants  I1  closed opens at the recorded result that reaches a threshold, not before, not after.
///             I2  open refuses until `reopen_at`; half_open admits at most `probes` per generation, an
///                 ignored one again.
///             I3  half_open ends: probes that do not report for the maximum wait are taken for lost.
///             I4  Time never runs back: an instant before the latest one seen is taken for that.
///             I5  A success that cannot decide anything is quiet: it is counted where time stands, and any
///                 number of them in any order come to the same.
///
/// A sink is called as sink(from, to) for each change of state, in order.
class circuit_core {
 public:
  struct admission {
    bool granted;
    refusal why{refusal_reason::circuit_open};
    in_flight::place place = in_flight::none;  // for record
  };

  explicit circuit_core(const circuit_breaker_options& options)
      : options_{checked(options)}, window_{make_window(options_)}, calls_{watched(options_)} {
    random_ = options_.seed.value_or(0);
  }

  [[nodiscard]] breaker_state state() const noexcept { return state_; }
  /// Never the same after a move or with other options.
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  /// Whether the result of a call that was admitted under `serial` counts.
  [[nodiscard]] bool counts(std::uint64_t serial) const noexcept { return serial >= generation_; }
  [[nodiscard]] const circuit_breaker_options& options() const noexcept { return options_; }
  /// When an open breaker admits its first probe.
  [[nodiscard]] time_point reopen_at() const noexcept { return reopen_at_; }
  /// Whether closed or metrics_only must be asked for each admission.
  [[nodiscard]] bool gated() const noexcept { return ramping_ || (calls_.places() > 0 && records()); }

  /// What the window holds, or in half_open what the probes have reported; changes nothing.
  [[nodiscard]] window_totals totals_at(time_point now) const noexcept {
    if (state_ == breaker_state::half_open) return probe_totals_;
    const time_point t = std::max(latest_, now);
    return std::visit([t](const auto& w) { return w.totals_at(t); }, window_);
  }

  /// Whether it will decide from `now` on as one just made from the same options; changes nothing.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    const time_point t = std::max(latest_, now);
    return state_ == breaker_state::closed && (!ramping_ || t >= ramp_end_) && calls_.empty() &&
           std::visit([t](const auto& w) { return w.is_as_new_at(t); }, window_);
  }

  /// Whether successes before `quiet_until` that are not slow are quiet, however many, until something else
  /// happens: with enough calls for a verdict and none against it, or nothing against it in the window, a
  /// success can turn none.
  [[nodiscard]] bool quiet() noexcept {
    if (!records() || calls_.places() > 0) return false;
    if (state_ == breaker_state::metrics_only || std::holds_alternative<failure_run>(window_)) return true;
    const window_totals seen = totals();
    return seen.calls >= minimum_calls() ? !over_rate(seen) : seen.failed == 0 && seen.slow == 0;
  }
  /// The end of the bucket in which time stands.
  [[nodiscard]] time_point quiet_until() const noexcept {
    const auto* const recent = std::get_if<recent_calls>(&window_);
    if (recent == nullptr) return time_point::max();
    return latest_ == time_point::min() ? latest_ : recent->end_of_bucket(latest_);
  }
  /// Whether a success at `now` that is not slow is quiet.
  [[nodiscard]] bool quiet_at(time_point now) noexcept {
    return quiet() && (!std::holds_alternative<recent_calls>(window_) || now < quiet_until());
  }
  /// Records so many of them.
  void record_quiet(std::uint64_t successes) noexcept {
    std::visit([&](auto& w) { w.add_successes(latest_, successes); }, window_);
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
    if (ramping_ && t >= ramp_end_) ramping_ = false;
    find_late(now, sink);
  }

  /// Counts as slow the watched calls that have been out for too long.
  template <class Sink>
  void find_late(time_point now, Sink&& sink) noexcept {
    if (calls_.empty()) return;
    const time_point t = settle(now);
    for (;;) {
      const in_flight::place p = calls_.take_late(t, options_.slow->longer_than);
      if (p == in_flight::none) return;
      const bool failed = options_.slow->as_failures;
      calls_.note(p, {add(t, failed, true), failed});
      if (state_ == breaker_state::closed && must_open()) return enter(breaker_state::open, t, sink);
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
      case breaker_state::disabled:
        return {true};
      default:
        if (!passes_ramp()) return {false, {refusal_reason::circuit_open, elapsed(latest_, ramp_end_)}};
        return {true, {refusal_reason::circuit_open}, calls_.begin(latest_)};
    }
  }

  /// Records the result of a call of this generation, admitted with `place`.
  template <class Sink>
  void record(time_point now, call_verdict verdict, bool slow, in_flight::place place, Sink&& sink) noexcept {
    const bool failed =
        verdict == call_verdict::failure || (slow && options_.slow && options_.slow->as_failures);
    if (state_ == breaker_state::half_open) {
      const time_point t = settle(now);
      --probes_out_;
      expect_progress(t);
      if (verdict == call_verdict::ignore) return;
      probe_totals_.add(failed, slow);
      judge_probes(failed || (slow && options_.slow), t, sink);
      return;
    }
    if (!records()) return;
    if (verdict == call_verdict::success && !slow && quiet_at(now)) return record_quiet(1);
    const time_point t = settle(now);
    const std::optional<in_flight::entry> counted =
        place == in_flight::none ? std::nullopt : calls_.end(place);
    if (verdict == call_verdict::ignore) return;
    if (!counted) {
      add(t, failed, slow);
    } else if (failed && !counted->failed) {
      amend(t, counted->ticket);
    }
    if (state_ == breaker_state::closed && must_open()) enter(breaker_state::open, t, sink);
  }

  /// Moves by hand.  Precondition: legal_move(state(), to).
  template <class Sink>
  void move(time_point now, breaker_state to, Sink&& sink) noexcept {
    if (to != breaker_state::open && to != breaker_state::half_open) opened_ = 0;
    if (to == breaker_state::open && state_ == to && opened_ > 0) --opened_;  // the same wait once more
    enter(to, settle(now), sink);
  }

  /// Moves to open by hand, until `until`.  Precondition: legal_move(state(), open).
  template <class Sink>
  void open_until(time_point now, time_point until, Sink&& sink) noexcept {
    move(now, breaker_state::open, sink);
    reopen_at_ = until;
    open_wait_ = std::max(elapsed(latest_, until), duration{1});
  }

  /// Takes other options.  The state, an open wait and a ramp stay; a window of another shape begins empty;
  /// probes that are out belong to the past, and so do all calls if another number of them is watched.
  class prepared {
   public:
    explicit prepared(const circuit_breaker_options& options)
        : options_{checked(options)}, window_{make_window(options)}, calls_{watched(options)} {}

   private:
    friend circuit_core;
    circuit_breaker_options options_;
    std::variant<last_calls, recent_calls, failure_run> window_;
    in_flight calls_;
  };
  void reconfigure(prepared& next) noexcept {
    using std::swap;
    if (!same_shape(options_.window, next.options_.window)) {
      swap(window_, next.window_);
      calls_.forget_entries();
    }
    swap(options_, next.options_);
    if (options_.seed) random_ = *options_.seed;
    const bool others_watched = calls_.places() != next.calls_.places();
    if (others_watched) swap(calls_, next.calls_);
    if (state_ == breaker_state::half_open || others_watched) {
      begin_generation();
    } else {
      ++serial_;
    }
  }

 private:
  using any_window = std::variant<last_calls, recent_calls, failure_run>;

  static any_window make_window(const circuit_breaker_options& o) {
    if (const auto* w = std::get_if<count_window>(&o.window)) return last_calls{w->size};
    if (const auto* t = std::get_if<time_window>(&o.window)) {
      return recent_calls{t->length / t->buckets, t->buckets};
    }
    return failure_run{};
  }

  static std::size_t watched(const circuit_breaker_options& o) noexcept {
    return o.slow ? o.slow->watched : 0;
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

  /// Where the window is at work.
  [[nodiscard]] bool records() const noexcept {
    return state_ == breaker_state::closed || state_ == breaker_state::metrics_only;
  }

  std::uint64_t add(time_point t, bool failed, bool slow) noexcept {
    return std::visit([&](auto& w) { return w.add(t, failed, slow); }, window_);
  }

  void amend(time_point t, std::uint64_t ticket) noexcept {
    std::visit(
        [&](auto& w) {
          if constexpr (requires { w.amend(t, ticket); }) w.amend(t, ticket);
        },
        window_);
  }

  [[nodiscard]] window_totals totals() noexcept {
    return std::visit([this](auto& w) { return w.totals(latest_); }, window_);
  }

  [[nodiscard]] std::uint64_t minimum_calls() const noexcept {
    const auto* const w = std::get_if<count_window>(&options_.window);
    return w == nullptr ? options_.minimum_calls : std::min(options_.minimum_calls, w->size);
  }

  [[nodiscard]] bool must_open() noexcept {
    if (const auto* run = std::get_if<failure_run>(&window_)) {
      return run->run() >= std::get_if<consecutive_failures>(&options_.window)->count;
    }
    const window_totals seen = totals();
    return seen.calls >= minimum_calls() && over_rate(seen);
  }

  /// Whether one more call passes the ramp: of each hundred as many as the per cent of this moment.
  [[nodiscard]] bool passes_ramp() noexcept {
    if (!ramping_) return true;
    const auto done = elapsed(ramp_began_, latest_).count() * 90 / elapsed(ramp_began_, ramp_end_).count();
    ramp_credit_ += 10 + static_cast<std::uint32_t>(done);
    if (ramp_credit_ < 100) return false;
    ramp_credit_ -= 100;
    return true;
  }

  void begin_ramp(time_point t) noexcept {
    ramp_began_ = t;
    ramp_end_ = saturating_add(t, options_.ramp);
    ramping_ = ramp_end_ > t;
    ramp_credit_ = 90;  // the first call passes
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
    if (state_ == breaker_state::closed) begin_ramp(t);
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
    ramping_ = false;
    begin_generation();
    if (from != to) sink(from, to);
  }

  void begin_generation() noexcept {
    generation_ = ++serial_;
    calls_.clear();
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
  any_window window_;
  in_flight calls_;  // that are watched
  breaker_state state_ = breaker_state::closed;
  std::uint64_t serial_ = 1;
  std::uint64_t generation_ = 1;           // its first serial
  time_point latest_ = time_point::min();  // the latest instant seen
  time_point reopen_at_;                   // open: when half_open begins
  duration open_wait_{};                   // the wait of the latest opening
  int opened_ = 0;                         // openings since closed
  window_totals probe_totals_;             // half_open: reported
  std::uint64_t bad_probes_ = 0;           // half_open: failed or slow
  std::uint64_t probes_out_ = 0;           // half_open: admitted, not reported
  time_point give_up_at_;                  // half_open: when probes that are out are taken for lost
  bool ramping_ = false;                   // closed: the ramp is on
  std::uint32_t ramp_credit_ = 0;          // per cent of a call
  time_point ramp_began_;
  time_point ramp_end_;
  std::uint64_t random_ = 0;
};

}  // namespace detail

}  // namespace weir::inline v0
