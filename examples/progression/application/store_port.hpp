// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>
#include <type_traits>
#include <utility>

#include <weir/circuit_breaker.hpp>
#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/outcome.hpp>
#include <weir/retry.hpp>
#include <weir/stats.hpp>

#include "application/service.hpp"
#include "application/service_clock.hpp"
#include "application/store.hpp"

namespace progression {

/// Everything that the application asks of the store goes through here: retry(breaker(call)).
///
/// Tried again at once, because every write of the port is safe to repeat: what the database rolled back in
/// favour of another (conflict), and what may or may not be committed (in_doubt).  Not tried again: a
/// database that is away (unavailable) or busy (overloaded), because all callers would knock together, and a
/// request that is at fault (rejected).
class store_port {
 public:
  explicit store_port(const service_options& o)
      : clock_{o.now},
        patience_{o.store_timeout},
        breaking_{o.breaking},
        retry_{retry_options_of(o), clock_},
        breaker_{{.window = weir::consecutive_failures{o.failures_to_open}, .open_for = o.open_for}, clock_} {
  }

  /// What `f` gives, or the refusal that kept it from being called.  Throws the last store_error.
  template <std::invocable F>
  auto call(F&& f, std::stop_token stop = {}) -> weir::outcome<std::invoke_result_t<F&>> {
    const auto until = weir::deadline::after(clock_.now(), patience_);
    return retry_.call([&] { return attempt(f); }, until, std::move(stop));
  }

  [[nodiscard]] std::uint64_t attempts() const noexcept { return attempts_.value(); }
  [[nodiscard]] std::uint64_t retries() const noexcept { return retry_.stats().retries; }
  [[nodiscard]] std::string_view circuit() const noexcept {
    return breaking_ ? to_string(breaker_.state_approx()) : "off";
  }
  [[nodiscard]] std::uint64_t circuit_opened() const noexcept { return breaker_.stats().opened; }

 private:
  struct worth_repeating {
    weir::retry_verdict operator()(const std::exception_ptr& error) const {
      try {
        std::rethrow_exception(error);
      } catch (const store_error& e) {
        return e.kind() == store_failure::conflict || e.kind() == store_failure::in_doubt;
      } catch (...) {
        return false;
      }
    }
    weir::retry_verdict operator()(const weir::refusal&) const noexcept { return false; }
  };

  static weir::basic_retry_options<service_clock> retry_options_of(const service_options& o) {
    return {.max_attempts = o.retrying ? o.max_attempts : 1,
            .backoff = {.base = std::chrono::milliseconds{1}, .cap = std::chrono::milliseconds{100}},
            .budget = weir::token_budget{},
            .seed = o.seed == 0 ? std::nullopt : std::optional{o.seed}};
  }

  /// A database that answers, be it with a conflict, is no reason to stop asking it.
  struct health_of_store {
    weir::call_verdict operator()(const std::exception_ptr& error) const {
      try {
        std::rethrow_exception(error);
      } catch (const store_error& e) {
        const bool answered = e.kind() == store_failure::conflict || e.kind() == store_failure::rejected;
        return answered ? weir::call_verdict::ignore : weir::call_verdict::failure;
      } catch (...) {
        return weir::call_verdict::ignore;
      }
    }
  };

  template <class F>
  auto attempt(F& f) -> weir::outcome<std::invoke_result_t<F&>> {
    const auto counted = [&] {
      attempts_.add();
      return std::invoke(f);
    };
    if (breaking_) return breaker_.call(counted, health_of_store{});
    return weir::outcome<std::invoke_result_t<F&>>{std::in_place, counted()};
  }

  const service_clock clock_;
  const weir::duration patience_;
  const bool breaking_;
  weir::basic_retry<service_clock, worth_repeating> retry_;
  weir::basic_circuit_breaker<service_clock> breaker_;
  weir::event_counter attempts_;
};

}  // namespace progression
