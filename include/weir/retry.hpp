// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/backoff.hpp>
#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/as_outcome.hpp>
#include <weir/detail/parking.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/retry_budget.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

inline constexpr std::uint32_t unlimited_attempts = std::numeric_limits<std::uint32_t>::max();

/// Retries are then bounded by attempts and deadline alone: an outage multiplies the load by max_attempts.
struct no_retry_budget {};

template <monotonic_clock Clock = steady_clock>
struct basic_retry_options {
  std::uint32_t max_attempts = 3;  ///< the first included; at least 1
  backoff_options backoff = {};
  /// A budget of its own, in one form or the other, none, or one shared with other policies.
  std::variant<token_budget, window_budget, no_retry_budget, std::shared_ptr<basic_retry_budget<Clock>>>
      budget = token_budget{};
  std::optional<std::uint64_t> seed = std::nullopt;  ///< of the jitter; from the system if not given
};
using retry_options = basic_retry_options<>;

/// Whether to try again, and how long to wait at least.  A `bool` is a verdict.
struct retry_verdict {
  bool again = false;
  duration after = duration::zero();

  constexpr retry_verdict(bool try_again, duration at_least = duration::zero()) noexcept  // NOLINT
      : again{try_again}, after{at_least} {}
};

/// The default: every exception, no value, and those refusals that a later attempt can turn.
///
/// A classifier of one's own is any type with const call operators for some of: `const std::exception_ptr&`,
/// `const refusal&`, `const T&` (the value).  What it does not take is judged as here.
struct retry_transient {
  [[nodiscard]] retry_verdict operator()(const std::exception_ptr&) const noexcept { return true; }

  /// Not: what the caller asked for (cancelled), what is final (closed, exceeds_capacity), and what an inner
  /// retry has given up already (budget_exhausted): layers of retries multiply.
  [[nodiscard]] retry_verdict operator()(const refusal& why) const noexcept {
    switch (why.reason) {
      case refusal_reason::rate_limited:
      case refusal_reason::circuit_open:
      case refusal_reason::busy:
      case refusal_reason::full:
      case refusal_reason::empty:
      case refusal_reason::timed_out:
        return true;
      case refusal_reason::closed:
      case refusal_reason::cancelled:
      case refusal_reason::exceeds_capacity:
      case refusal_reason::budget_exhausted:
        return false;
    }
    return false;
  }
};

/// Ends of calls, by cause, and retries; each exact, the row not of one instant.
/// `succeeded + not_retryable + exhausted + past_deadline + out_of_budget + cancelled` is the number of calls,
/// but for those that a throw of the classifier or of the clock ended.
struct retry_stats {
  std::uint64_t succeeded = 0;
  std::uint64_t not_retryable = 0;
  std::uint64_t exhausted = 0;      ///< max_attempts made
  std::uint64_t past_deadline = 0;  ///< the next attempt would have come too late
  std::uint64_t out_of_budget = 0;
  std::uint64_t cancelled = 0;  ///< by the stop_token
  std::uint64_t retries = 0;    ///< attempts but the first
};

namespace detail {

template <class F>
using attempt_result_t =
    typename std::conditional_t<std::is_invocable_v<F&, std::uint32_t>, std::invoke_result<F&, std::uint32_t>,
                                std::invoke_result<F&>>::type;

}  // namespace detail

/// Tries again what failed and may yet succeed: with growing, jittered delays, within a deadline, and within
/// a budget that keeps retries from multiplying an outage.
///
/// What it ends with is always the last real result of the call: its value, its refusal, or its exception
/// rethrown.  Only a call that was never tried (stop requested or deadline reached before) is answered with a
/// refusal of retry's own, `cancelled` or `timed_out`.
///
/// Hints       A refusal's retry_after, or a verdict's `after`, is obeyed: the delay is the larger of it and
///             the back-off, whose sequence then begins anew.  An empty retry_after ends the call.
/// Stops       At once, without a sleep, if the delay would lead to the deadline or past it, if the budget is
///             empty, or if the attempts are used up; out of a sleep, if a stop is requested.
/// Thread safety  Every member from any thread; one policy serves all callers of one callee.
/// When not    Around what is not idempotent, and in more than one layer.
/// Source      Retry and budget: Google SRE, ch. 21-22; see backoff.hpp and retry_budget.hpp.
template <monotonic_clock Clock = steady_clock, class RetryOn = retry_transient>
class basic_retry {
 public:
  /// Throws std::invalid_argument if an option is out of range.
  explicit basic_retry(basic_retry_options<Clock> options, Clock clock = {}, RetryOn retry_on = {})
      : max_attempts_{options.max_attempts},
        backoff_{options.backoff},
        budget_{make_budget(options, clock)},
        clock_{std::move(clock)},
        retry_on_{std::move(retry_on)},
        random_{options.seed ? *options.seed : seed_from_system()} {
    if (max_attempts_ == 0) throw std::invalid_argument{"retry: max_attempts must be positive, got 0"};
    validate(backoff_);
  }

  basic_retry()
    requires std::default_initializable<Clock> && std::default_initializable<RetryOn>
      : basic_retry(basic_retry_options<Clock>{}) {}

  basic_retry(const basic_retry&) = delete;
  basic_retry& operator=(const basic_retry&) = delete;
  ~basic_retry() = default;

  /// Calls `f`, again if need be.
  ///
  /// \param f       Called as `f(attempt)`, attempt from 1, or as `f()`.
  /// \param until   Neither an attempt nor a sleep begins that would come at or after it.
  /// \param stop    Ends a sleep and keeps the next attempt from being made.
  /// \return        f's own type if that is an outcome, an outcome of it otherwise.
  /// Exceptions     The last exception of `f`; what the classifier throws.
  /// Blocking       For the delays, on the clock; none is taken but after a failure.
  template <class F>
  auto call(F&& f, deadline until = {}, std::stop_token stop = {})
      -> detail::as_outcome_t<detail::attempt_result_t<F>> {
    using raw = detail::attempt_result_t<F>;
    using result = detail::as_outcome_t<raw>;

    if (const auto gone = not_worth_trying(until, stop)) return *gone;
    std::uint32_t step = 0;  // of the back-off, from 0
    duration previous = backoff_.base;
    for (std::uint32_t attempt = 1;; attempt += attempt != unlimited_attempts ? 1 : 0) {
      std::exception_ptr error;
      std::optional<result> got;
      retry_verdict verdict{false};
      try {
        if constexpr (std::is_void_v<raw>) {
          invoke(f, attempt);
          got.emplace();
        } else if constexpr (detail::as_outcome<raw>::flat) {
          got.emplace(invoke(f, attempt));
        } else {
          got.emplace(std::in_place, invoke(f, attempt));
        }
      } catch (...) {
        error = std::current_exception();
      }
      if (error) {
        verdict = judge(error);
      } else if (got->has_value()) {
        if constexpr (!std::is_void_v<typename result::value_type>) verdict = judge_value(**got);
        if (!verdict.again) {
          if (budget_) budget_->deposit();
          succeeded_.add();
          return *std::move(got);
        }
      } else {
        verdict = judge_refusal(got->error());
      }

      const auto pause = verdict.again ? next_delay(verdict.after, step, previous) : duration::zero();
      event_counter* end = nullptr;
      if (!verdict.again) {
        end = &not_retryable_;
      } else if (attempt >= max_attempts_ && max_attempts_ != unlimited_attempts) {
        end = &exhausted_;
      } else {
        end = wait(pause, until, stop);
      }
      if (end != nullptr) {
        end->add();
        if (error) std::rethrow_exception(error);
        return *std::move(got);
      }
      retries_.add();
    }
  }

  [[nodiscard]] retry_stats stats() const noexcept {
    return {succeeded_.value(),     not_retryable_.value(), exhausted_.value(), past_deadline_.value(),
            out_of_budget_.value(), cancelled_.value(),     retries_.value()};
  }

  /// The budget in use, to be shared or read; empty if there is none.
  [[nodiscard]] const std::shared_ptr<basic_retry_budget<Clock>>& budget() const noexcept { return budget_; }

 private:
  using budget_pointer = std::shared_ptr<basic_retry_budget<Clock>>;

  static budget_pointer make_budget(const basic_retry_options<Clock>& options, const Clock& clock) {
    return std::visit(
        [&clock](const auto& form) -> budget_pointer {
          using form_type = std::remove_cvref_t<decltype(form)>;
          if constexpr (std::is_same_v<form_type, no_retry_budget>) {
            return nullptr;
          } else if constexpr (std::is_same_v<form_type, budget_pointer>) {
            if (!form) throw std::invalid_argument{"retry: budget must not be a null pointer, got one"};
            return form;
          } else {
            return std::make_shared<basic_retry_budget<Clock>>(form, clock);
          }
        },
        options.budget);
  }

  static std::uint64_t seed_from_system() {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }

  template <class F>
  static decltype(auto) invoke(F& f, [[maybe_unused]] std::uint32_t attempt) {
    if constexpr (std::is_invocable_v<F&, std::uint32_t>) {
      return std::invoke(f, attempt);
    } else {
      return std::invoke(f);
    }
  }

  [[nodiscard]] retry_verdict judge(const std::exception_ptr& error) const {
    if constexpr (std::is_invocable_v<const RetryOn&, const std::exception_ptr&>) {
      return retry_on_(error);
    } else {
      return retry_transient{}(error);
    }
  }

  [[nodiscard]] retry_verdict judge_refusal(const refusal& why) const {
    retry_verdict verdict = [&]() -> retry_verdict {
      if constexpr (std::is_invocable_v<const RetryOn&, const refusal&>) {
        return retry_on_(why);
      } else {
        return retry_transient{}(why);
      }
    }();
    if (!why.retry_after) return false;
    verdict.after = std::max(verdict.after, *why.retry_after);
    return verdict;
  }

  template <class T>
  [[nodiscard]] retry_verdict judge_value(const T& value) const {
    // A value that can be taken for an exception is none: the callee did not throw it.
    if constexpr (std::is_invocable_v<const RetryOn&, const T&> &&
                  !std::is_convertible_v<const T&, std::exception_ptr>) {
      return retry_on_(value);
    } else {
      return false;
    }
  }

  [[nodiscard]] std::optional<refusal> not_worth_trying(deadline until, const std::stop_token& stop) {
    if (stop.stop_requested()) {
      cancelled_.add();
      return refusal{refusal_reason::cancelled};
    }
    if (!until.is_never() && until.reached(clock_.now())) {
      past_deadline_.add();
      return refusal{refusal_reason::timed_out};
    }
    return std::nullopt;
  }

  [[nodiscard]] duration next_delay(duration at_least, std::uint32_t& step, duration& previous) noexcept {
    const duration own = backoff_delay(backoff_, step, previous, draw());
    if (at_least > duration::zero()) {
      step = 0;
      previous = backoff_.base;
      return std::max(own, at_least);
    }
    if (step != std::numeric_limits<std::uint32_t>::max()) ++step;
    previous = own;
    return own;
  }

  /// Waits before the next attempt; if there is to be none, the counter of the cause.
  [[nodiscard]] event_counter* wait(duration pause, deadline until, const std::stop_token& stop) {
    const time_point now = clock_.now();
    if (stop.stop_requested()) return &cancelled_;
    if (until.reached(saturating_add(now, pause))) return &past_deadline_;
    if (budget_ && !budget_->try_withdraw()) return &out_of_budget_;
    if (pause <= duration::zero()) return nullptr;
    event_counter* end = nullptr;
    try {
      detail::waiter w;
      if (detail::sleep(w, clock_, deadline::after(now, pause), stop) ==
          detail::wake_reason::stop_requested) {
        end = &cancelled_;
      } else if (!until.is_never() && until.reached(clock_.now())) {
        end = &past_deadline_;  // woke too late
      }
    } catch (...) {
      if (budget_) budget_->refund(now);
      throw;
    }
    if (end != nullptr && budget_) budget_->refund(now);
    return end;
  }

  /// A draw in [0, 1): splitmix64, one atomic add for any number of threads.
  [[nodiscard]] double draw() noexcept {
    // [relaxed] Each caller needs a step of its own and nothing else.
    std::uint64_t z = random_.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed) + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return static_cast<double>((z ^ (z >> 31U)) >> 11U) * 0x1p-53;
  }

  const std::uint32_t max_attempts_;
  const backoff_options backoff_;
  const budget_pointer budget_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] RetryOn retry_on_;
  std::atomic<std::uint64_t> random_;
  event_counter succeeded_;
  event_counter not_retryable_;
  event_counter exhausted_;
  event_counter past_deadline_;
  event_counter out_of_budget_;
  event_counter cancelled_;
  event_counter retries_;
};

using retry = basic_retry<>;

}  // namespace weir::inline v0
