// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <weir/circuit_breaker_options.hpp>
#include <weir/clock.hpp>
#include <weir/detail/circuit_breaker_core.hpp>
#include <weir/detail/in_flight.hpp>
#include <weir/detail/success_stripes.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

struct circuit_breaker_stats {
  std::uint64_t successes = 0;    ///< results recorded as success
  std::uint64_t failures = 0;     ///< results recorded as failure
  std::uint64_t ignored = 0;      ///< results reported as ignore, and permits that were dropped
  std::uint64_t slow = 0;         ///< of the successes and failures
  std::uint64_t late = 0;         ///< results of an earlier generation: they changed nothing
  std::uint64_t refused = 0;      ///< calls refused
  std::uint64_t opened = 0;       ///< moves to open
  std::uint64_t events_lost = 0;  ///< moves not reported, for want of memory to remember them
  /// As last moved to: where it is open, the wait may be over already.
  breaker_state state = breaker_state::closed;
  std::uint64_t window_calls = 0;   ///< in the window now; in half_open, the probes that have reported
  std::uint64_t window_failed = 0;  ///< of them, failed
  std::uint64_t window_slow = 0;    ///< of them, slow
};

namespace detail {

template <class R>
inline constexpr bool returns_outcome = false;
template <class T>
inline constexpr bool returns_outcome<outcome<T>> = true;

}  // namespace detail

/// The classifier of `call` that is used if none is given.
///
/// failure  An exception, and a refusal with `timed_out`: a callee that does not answer is to be left alone.
/// ignore   Any other refusal: a policy inside refused, or the caller left; the callee was not heard.
/// success  Everything else.
///
/// A wait inside that times out before the callee is reached (for a token, for a slot) cannot be told from
/// one for the callee: put that wait outside of the breaker, or give a classifier that knows.
struct default_classifier {
  template <class R>
  [[nodiscard]] constexpr call_verdict operator()([[maybe_unused]] const R& result) const noexcept {
    if constexpr (std::same_as<R, std::exception_ptr>) {
      return call_verdict::failure;
    } else if constexpr (detail::returns_outcome<R>) {
      if (result.has_value()) return call_verdict::success;
      return result.error().reason == refusal_reason::timed_out ? call_verdict::failure
                                                                : call_verdict::ignore;
    } else {
      return call_verdict::success;
    }
  }
};

/// Refuses calls that are expected to fail, until a few probes have shown otherwise.
///
/// Model          One word {serial, what admission must know, state}; counts and windows
///                (detail/circuit_breaker_core.hpp) under a lock.  Admission reads the word: closed passes at
///                once, open is refused after one look at the clock.  A success that cannot decide anything
///                is counted on the line of its thread (detail/success_stripes.hpp); whoever takes the lock
///                first closes those lines and gives the window what they hold.  They are armed again once
///                the word stands, if a success still decides nothing.
/// Invariants     I1  closed opens at the recorded result that reaches a threshold, not before, not after.
///                I2  open refuses until its wait is over; half_open admits at most `probes`.
///                I3  A result counts in the generation that admitted it, or not at all.
///                I4  No lost permit keeps the breaker half_open.
///                I5  What closing the lines has found stands before what is decided under that lock: it
///                    was counted while the call that decides was on its way, and all that happens before
///                    that call is among it.
/// Ordering       Publishes nothing: a permit orders no memory of the caller.
/// Thread safety  Every member from any thread, except the destructor.
/// Memory         Some 1300 bytes and the window: 1 byte a call, or 24 a bucket.
/// When not to    For one call in many that fails on its own account: classify that as a success.
template <monotonic_clock Clock = steady_clock, class Observer = no_observer>
  requires refusal_observer<Observer> && transition_observer<Observer, breaker_state>
class basic_circuit_breaker {
 public:
  class [[nodiscard]] permit;

  /// Starts closed.  Throws std::invalid_argument unless the options are as they say.
  explicit basic_circuit_breaker(const circuit_breaker_options& options, Clock clock = {},
                                 Observer observer = {})
      : clock_{std::move(clock)}, observer_{std::move(observer)}, core_{seeded(options)} {
    if constexpr (listens) {
      pending_.reserve(usually_pending);
      told_.reserve(usually_pending);
    }
    std::unique_lock lock{mutex_};
    publish(lock);
  }

  explicit basic_circuit_breaker()
    requires std::default_initializable<Clock> && std::default_initializable<Observer>
      : basic_circuit_breaker(circuit_breaker_options{}) {}

  basic_circuit_breaker(const basic_circuit_breaker&) = delete;
  basic_circuit_breaker& operator=(const basic_circuit_breaker&) = delete;
  /// No call may be in progress and no permit alive.
  ~basic_circuit_breaker() = default;

  /// Admits one call, or refuses it with `circuit_open`.
  ///
  /// \return     A permit to report the result with; dropped, it reports `ignore`.  The refusal says when the
  ///             next probe may pass, on a ramp when every call will; zero where nothing is known (half_open,
  ///             forced_open).
  /// Complexity  closed: one load, and the clock if slow calls are judged.  open: one load and the clock.
  /// Blocking    Never waits; half_open, a ramp and `slow.watched` hold one short lock.
  outcome<permit> try_acquire() noexcept {
    // [A] acquire, pairs with [B]: who sees `open` sees when it ends.
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & (state_mask | gated | timed)) == 0) return permit{*this, word, std::nullopt};  // closed
    switch (state_of(word)) {
      case breaker_state::closed:
      case breaker_state::metrics_only:
        if ((word & gated) != 0) break;
        // A call that began before slow calls were judged is not judged.
        return permit{*this, word, (word & timed) != 0 ? std::optional{clock_.now()} : std::nullopt};
      case breaker_state::disabled:
        return permit{*this, word, std::nullopt};
      case breaker_state::forced_open:
        return refuse({refusal_reason::circuit_open});
      case breaker_state::open: {
        const time_point now = clock_.now();
        const time_point until = reopen_at();
        if (now < until) return refuse({refusal_reason::circuit_open, elapsed(now, until)});
        break;
      }
      case breaker_state::half_open:
        break;
    }
    return admit();
  }

  /// `f()` if a call is admitted; its result is classified and handed on.
  ///
  /// \param classify  Returns a call_verdict: for a result of type R called as classify(const R&), for an
  ///                  exception as classify(const std::exception_ptr&); where it cannot be called so,
  ///                  `default_classifier` decides.  A function that returns nothing has succeeded.
  /// \return          An outcome of what f returns, by value (an outcome of f's own passes as it is), or the
  ///                  refusal.
  /// Exceptions       What f throws, once it is recorded.  What the classifier throws, in its place; the call
  ///                  then counts as ignored.
  template <class F, class Classifier = default_classifier>
  auto call(F&& f, Classifier&& classify = {}) {
    using result = std::invoke_result_t<F>;
    using value = std::remove_cvref_t<result>;
    using answer = std::conditional_t<detail::returns_outcome<value>, value, outcome<value>>;
    outcome<permit> admitted = try_acquire();
    if (!admitted) return answer{admitted.error()};
    answer given = [&]() -> answer {
      try {
        if constexpr (std::is_void_v<result>) {
          std::invoke(std::forward<F>(f));
          return answer{};
        } else {
          return answer{std::invoke(std::forward<F>(f))};
        }
      } catch (...) {
        judge(std::move(*admitted), classify, std::current_exception());
        throw;
      }
    }();
    if constexpr (std::is_void_v<result>) {
      std::move(*admitted).success();
    } else if constexpr (std::same_as<answer, value>) {
      judge(std::move(*admitted), classify, given);
    } else {
      judge(std::move(*admitted), classify, *given);
    }
    return given;
  }

  /// The state at this moment; moves on if the time has come: from open to half_open, from half_open back to
  /// open if the probes are lost, from closed to open if watched calls have been out for too long.
  breaker_state state() noexcept { return state_at(clock_.now()); }

  /// The same at an instant of the breaker's clock that the caller has read.
  breaker_state state_at(time_point now) noexcept {
    const std::uint64_t word = word_.load(std::memory_order_acquire);  // [A] acquire, pairs with [B]
    const breaker_state seen = state_of(word);
    const bool may_move = seen == breaker_state::half_open || (word & gated) != 0 ||
                          (seen == breaker_state::open && now >= reopen_at());
    if (!may_move) return seen;
    return locked([&] {
      core_.advance(now, sink());
      return core_.state();
    });
  }

  /// The state as last moved to, without a look at the clock.
  [[nodiscard]] breaker_state state_approx() const noexcept {
    // [relaxed] Only the value is wanted.
    return state_of(word_.load(std::memory_order_relaxed));
  }

  /// Whether it decides from `now` on as one newly made from the options of its construction: closed, never
  /// reconfigured, with nothing in its window that still counts.  Its counts and the draws of its jitter go
  /// on; permits that are out are not looked for.  What `keyed` asks before it forgets a breaker.
  [[nodiscard]] bool is_as_new_at(time_point now) const noexcept {
    const std::lock_guard lock{mutex_};
    collect(stripes_.drain());
    return !reconfigured_ && core_.is_as_new_at(now);
  }

  /// Moves by hand, in a new generation with nothing recorded.  To the same state: the same, but no event;
  /// open then waits once more.
  /// Exceptions  std::invalid_argument for closed -> half_open and metrics_only -> open, half_open.
  void transition_to(breaker_state to) {
    move(to, [&] { core_.move(clock_.now(), to, sink()); });
  }

  /// As transition_to(open), but the first probe passes at `until`; at once if that has passed.
  void open_until(time_point until) {
    move(breaker_state::open, [&] { core_.open_until(clock_.now(), until, sink()); });
  }

  void force_open() { transition_to(breaker_state::forced_open); }
  void disable() { transition_to(breaker_state::disabled); }
  void metrics_only() { transition_to(breaker_state::metrics_only); }
  /// Closed, with nothing recorded.
  void reset() { transition_to(breaker_state::closed); }

  /// Goes on with other options, for everybody at the same instant.
  ///
  /// The state stays, and so do the wait of an open breaker and a ramp.  A window of another shape begins
  /// empty, one of the same shape is judged anew at the next result.  half_open begins anew: probes that are
  /// out are late.  So is every call that is out if `slow.watched` is another.
  /// Exceptions  std::invalid_argument as from the constructor, std::bad_alloc; nothing is then changed.
  void reconfigure(const circuit_breaker_options& options) {
    detail::circuit_core::prepared next{seeded(options)};
    locked([&] {
      core_.reconfigure(next);
      reconfigured_ = true;
    });
  }

  [[nodiscard]] circuit_breaker_stats stats() const noexcept {
    const std::lock_guard lock{mutex_};
    collect(stripes_.drain());
    circuit_breaker_stats s = counts_;
    const detail::window_totals seen = core_.totals_at(clock_.now());
    s.refused = stripes_.refusals();
    s.state = core_.state();
    s.window_calls = seen.calls;
    s.window_failed = seen.failed;
    s.window_slow = seen.slow;
    return s;
  }

 private:
  static constexpr bool listens = !std::same_as<Observer, no_observer>;
  static constexpr std::size_t usually_pending = 16;

  struct event {
    breaker_state from;
    breaker_state to;
  };

  // The word, from its lowest bit: the state, what admission must know, the serial.  58 bits of serial do not
  // come round.
  static constexpr std::uint64_t state_mask = 7;
  static constexpr std::uint64_t timed = 8;   // slow calls are judged: admission looks at the clock
  static constexpr std::uint64_t dated = 16;  // the window is one of time: a success looks at the clock
  static constexpr std::uint64_t gated = 32;  // admission takes the lock
  static constexpr int flag_bits = 6;

  static std::uint64_t word_of(const detail::circuit_core& core) noexcept {
    return core.serial() << flag_bits | (core.gated() ? gated : 0) |
           (std::holds_alternative<time_window>(core.options().window) ? dated : 0) |
           (core.options().slow ? timed : 0) | static_cast<std::uint64_t>(core.state());
  }
  static breaker_state state_of(std::uint64_t word) noexcept {
    return static_cast<breaker_state>(word & state_mask);
  }
  static std::uint64_t serial_of(std::uint64_t word) noexcept { return word >> flag_bits; }

  static circuit_breaker_options seeded(circuit_breaker_options options) {
    if (!options.seed && options.open_for_jitter > 0.0) options.seed = std::random_device{}();
    return options;
  }

  [[nodiscard]] time_point reopen_at() const noexcept {
    // [relaxed] Written before the word that was read with [A]; if newer than that, so is the breaker.
    return time_point{duration{reopen_at_.load(std::memory_order_relaxed)}};
  }

  refusal refuse(refusal why) noexcept {
    stripes_.refuse();
    observer_.on_refused(why);
    return why;
  }

  outcome<permit> admit() noexcept {
    std::uint64_t word = 0;
    time_point now;
    const detail::circuit_core::admission answer = locked([&] {
      now = clock_.now();
      const auto a = core_.admit(now, sink());
      word = word_of(core_);
      return a;
    });
    if (!answer.granted) return refuse(answer.why);
    return permit{*this, word, (word & timed) != 0 ? std::optional{now} : std::nullopt, answer.place};
  }

  /// f() under the lock if a hand may move the breaker to `to`.
  template <class F>
  void move(breaker_state to, F&& f) {
    const bool legal = locked([&] {
      if (!detail::legal_move(core_.state(), to)) return false;
      f();
      return true;
    });
    if (!legal) {
      throw std::invalid_argument{"circuit_breaker: state must be one that can follow, got " +
                                  std::string{to_string(to)}};
    }
  }

  /// Under the lock: what the stripes have held, which is where the core stands.
  void collect(std::uint64_t successes) const noexcept {
    if (successes == 0) return;
    counts_.successes += successes;
    core_.record_quiet(successes);
  }

  /// What `core_` calls for each move, under the lock.
  auto sink() noexcept {
    return [this](breaker_state from, breaker_state to) noexcept {
      if (to == breaker_state::open) ++counts_.opened;
      if constexpr (listens) {
        try {
          pending_.push_back({from, to});
        } catch (...) {
          ++counts_.events_lost;
        }
      }
    };
  }

  /// f() under the lock, with every success in the window that was counted until then; then the word is
  /// published and the observer told, in order, outside of it.
  template <class F>
  auto locked(F&& f) noexcept {
    std::unique_lock lock{mutex_};
    collect(stripes_.close());
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      f();
      publish(lock);
    } else {
      const auto result = f();
      publish(lock);
      return result;
    }
  }

  void publish(std::unique_lock<std::mutex>& lock) noexcept {
    // [relaxed] Published by [B].
    reopen_at_.store(core_.reopen_at().time_since_epoch().count(), std::memory_order_relaxed);
    // [C] release: who reads either comes to the stripes after they were closed, see count_quietly.
    quiet_until_.store(core_.quiet_until().time_since_epoch().count(), std::memory_order_release);
    if (core_.options().slow) {
      slow_after_.store(core_.options().slow->longer_than.count(), std::memory_order_release);
    }
    const std::uint64_t word = word_of(core_);
    // [relaxed] Only the holder of the lock writes the word.
    if (word != word_.load(std::memory_order_relaxed)) {
      word_.store(word, std::memory_order_release);  // [B] release, pairs with [A]
    }
    if (core_.quiet()) stripes_.arm(core_.serial());
    if constexpr (listens) {
      // One thread at a time reports; what others add meanwhile it reports too.
      if (reporting_) return;
      reporting_ = true;
      while (!pending_.empty()) {
        told_.clear();
        std::swap(told_, pending_);
        lock.unlock();
        for (const event& e : told_) observer_.on_transition(e.from, e.to);
        lock.lock();
      }
      reporting_ = false;
    }
  }

  /// Counts a success without the lock if it is sure to decide nothing; false: it may, nothing is counted.
  ///
  /// That its stripe is armed for the permit's serial at the instant of the exchange says all but the time:
  /// the generation and the options are those of the permit, and a success is quiet.  The permit has read
  /// the word [A], so it finds `quiet_until_` and `slow_after_` as they were for this serial or newer.
  /// slow_after_ is the same as long as the serial is.  A `quiet_until_` of an earlier bucket only says no;
  /// or the instant is earlier still, and counts where time stands by now.
  bool count_quietly(std::uint64_t word, const std::optional<time_point>& began) noexcept {
    if ((word & (dated | timed)) != 0) {
      if (!stripes_.armed(serial_of(word))) return false;
      const time_point now = clock_.now();
      // [D] acquire, pairs with [C]: what is newer than the stripe was seen to be was stored after the stripe
      // had been closed, so that the success stands behind that.
      if ((word & dated) != 0 && now >= time_point{duration{quiet_until_.load(std::memory_order_acquire)}}) {
        return false;
      }
      if (began && elapsed(*began, now) > duration{slow_after_.load(std::memory_order_acquire)}) return false;
    }
    return stripes_.count(serial_of(word));
  }

  void finish(std::uint64_t word, const std::optional<time_point>& began, detail::in_flight::place place,
              call_verdict verdict) noexcept {
    if (verdict != call_verdict::success || !count_quietly(word, began)) record(word, began, place, verdict);
  }

  void record(std::uint64_t word, const std::optional<time_point>& began, detail::in_flight::place place,
              call_verdict verdict) noexcept {
    if (state_of(word) == breaker_state::disabled) {
      // [relaxed] Only the value is wanted: it has not moved since, or it has.
      if (word_.load(std::memory_order_relaxed) == word) return;
    }
    locked([&] {
      if (verdict == call_verdict::success) stripes_.join();
      const time_point now = clock_.now();
      if (core_.counts(serial_of(word))) core_.find_late(now, sink());
      if (!core_.counts(serial_of(word))) {
        ++counts_.late;
        return;
      }
      if (core_.state() == breaker_state::disabled) return;
      const auto& slow_calls = core_.options().slow;
      const bool slow = slow_calls && began && elapsed(*began, now) > slow_calls->longer_than;
      if (verdict == call_verdict::ignore) {
        ++counts_.ignored;
      } else {
        ++(verdict == call_verdict::success ? counts_.successes : counts_.failures);
        counts_.slow += slow ? 1 : 0;
      }
      core_.record(now, verdict, slow, place, sink());
    });
  }

  template <class Classifier, class R>
  static void judge(permit&& p, Classifier& classify, const R& result) {
    if constexpr (std::is_invocable_r_v<call_verdict, Classifier&, const R&>) {
      std::move(p).report(std::invoke(classify, result));
    } else {
      std::move(p).report(default_classifier{}(result));
    }
  }

  // Read by everybody, written under the lock.
  alignas(64) std::atomic<std::uint64_t> word_{0};
  std::atomic<duration::rep> reopen_at_{0};    // ns; when an open breaker admits its first probe
  std::atomic<duration::rep> quiet_until_{0};  // ns; the end of the current bucket
  std::atomic<duration::rep> slow_after_{0};   // ns; slow.longer_than
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Observer observer_;

  mutable detail::success_stripes stripes_;
  mutable std::mutex mutex_;
  mutable detail::circuit_core core_;     // guarded by mutex_; what the stripes held comes in late
  mutable circuit_breaker_stats counts_;  // guarded by mutex_; those that are counted there
  bool reconfigured_ = false;             // guarded by mutex_
  bool reporting_ = false;                // guarded by mutex_
  std::vector<event> pending_;            // guarded by mutex_; moves not reported yet
  std::vector<event> told_;               // of whoever has set reporting_
};

/// The right to one call.  Exactly one verb ends it; destroyed before, it counts as ignored.
///
/// Thread safety  As a plain value; may be ended from another thread.
/// Lifetime       Must not outlive the breaker.
template <monotonic_clock Clock, class Observer>
  requires refusal_observer<Observer> && transition_observer<Observer, breaker_state>
class [[nodiscard]] basic_circuit_breaker<Clock, Observer>::permit {
 public:
  permit(permit&& other) noexcept
      : breaker_{std::exchange(other.breaker_, nullptr)},
        word_{other.word_},
        began_{other.began_},
        place_{other.place_} {}
  permit& operator=(permit&& other) noexcept {
    if (this != &other) {
      end(call_verdict::ignore);
      breaker_ = std::exchange(other.breaker_, nullptr);
      word_ = other.word_;
      began_ = other.began_;
      place_ = other.place_;
    }
    return *this;
  }
  ~permit() { end(call_verdict::ignore); }

  void success() && noexcept { end(call_verdict::success); }
  void failure() && noexcept { end(call_verdict::failure); }
  void ignore() && noexcept { end(call_verdict::ignore); }
  /// No effect, like the three above, on a permit that has ended or was moved from.
  void report(call_verdict verdict) && noexcept { end(verdict); }

  /// Whether it can still be reported on.
  [[nodiscard]] explicit operator bool() const noexcept { return breaker_ != nullptr; }

 private:
  friend basic_circuit_breaker;
  permit(basic_circuit_breaker& breaker, std::uint64_t word, std::optional<time_point> began,
         detail::in_flight::place place = detail::in_flight::none) noexcept
      : breaker_{&breaker}, word_{word}, began_{began}, place_{place} {}

  void end(call_verdict verdict) noexcept {
    if (auto* const breaker = std::exchange(breaker_, nullptr))
      breaker->finish(word_, began_, place_, verdict);
  }

  basic_circuit_breaker* breaker_;
  std::uint64_t word_;  // of the moment it was issued
  std::optional<time_point> began_;
  detail::in_flight::place place_;
};

using circuit_breaker = basic_circuit_breaker<>;

}  // namespace weir::inline v0
