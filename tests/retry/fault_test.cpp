// SPDX-License-Identifier: BSL-1.0
// Whatever throws around an attempt: each call ends once, and each retry that was not made is in the budget.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string_view>

#include <weir/retry.hpp>

#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::basic_retry;
using weir::retry_verdict;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;

namespace {

using options = weir::basic_retry_options<faulty_clock>;

constexpr weir::backoff_options plain{.base = 100ms, .jitter = weir::backoff_jitter::none};

struct failure {};

/// As by default, but each verdict is a fault point.
struct careful {
  retry_verdict operator()(const std::exception_ptr&) const { return fault::point("classifier"), true; }
  retry_verdict operator()(const weir::refusal&) const { return fault::point("classifier"), true; }
  retry_verdict operator()(const faulty& value) const { return fault::point("classifier"), value.value < 0; }
};

std::uint64_t ended(const weir::retry_stats& s) {
  return s.succeeded + s.not_retryable + s.exhausted + s.past_deadline + s.out_of_budget + s.cancelled;
}

}  // namespace

TEST_CASE("whatever throws around an attempt, calls, retries and budget add up", "[retry][fault]") {
  for (const char* const kind : {"work", "classifier", "timer", "allocation", "copy", "move", "assign"}) {
    for (const std::uint32_t attempts : {1U, 3U}) {
      const std::string_view which{kind};
      const int faults = fault_loop("retry", kind, [&](fault& next) {
        manual_clock clock;
        basic_retry policy{
            options{
                .max_attempts = attempts, .backoff = plain, .budget = weir::token_budget{.per_success = 0}},
            faulty_clock{clock, faulty_clock::time::leaps}, careful{}};
        const faulty kept{2};
        std::uint64_t calls = 0;
        std::uint64_t uncounted = 0;
        const auto call = [&](auto&& work) {
          const bool past = next.happened();
          const bool thrown = next.strike([&] {
            try {
              (void)policy.call(work);
            } catch (const failure&) {
            }
          });
          ++calls;
          if (thrown && !past && which != "work" && which != "copy" && which != "move") ++uncounted;
          const auto now = policy.stats();
          CHECK(ended(now) + uncounted == calls);
          CHECK(policy.budget()->available_approx() == 100 - now.retries);
        };
        const auto made = [] { return fault::point("work"), faulty{1}; };
        call(made);
        call([&]() -> const faulty& { return fault::point("work"), kept; });
        call([] { return fault::point("work"), weir::outcome<faulty>{std::in_place, 3}; });
        int failures = 1;
        call([&] { return failures-- > 0 ? throw failure{} : faulty{4}; });
        call([]() -> faulty { throw failure{}; });
        call([]() -> weir::outcome<faulty> { return weir::refusal{weir::refusal_reason::busy}; });
        const auto before = policy.stats();
        CHECK(policy.call(made)->value == 1);
        CHECK(policy.stats().succeeded == before.succeeded + 1);
      });
      const bool never = which == "assign" || (attempts == 1 && (which == "timer" || which == "allocation"));
      CHECK((faults == 0) == never);
    }
  }
}

TEST_CASE("a fault of the callee is one more failure, and retried", "[retry][fault]") {
  const int faults = fault_loop("retry", "work", [](fault& next) {
    manual_clock clock;
    basic_retry policy{options{.backoff = plain}, faulty_clock{clock, faulty_clock::time::leaps}};
    int calls = 0;
    CHECK_FALSE(next.strike([&] {
      for (int n = 0; n != 3; ++n) {
        (void)policy.call([&] {
          ++calls;
          fault::point("work");
        });
      }
    }));
    CHECK(calls == (next.happened() ? 4 : 3));
    CHECK(policy.stats().succeeded == 3);
    CHECK(policy.stats().retries == (next.happened() ? 1 : 0));
  });
  CHECK(faults == 3);
}

TEST_CASE("a policy for which there is no memory leaves nothing behind", "[retry][fault]") {
  const int faults = fault_loop("retry", "allocation", [](fault& next) {
    manual_clock clock;
    const faulty_clock timers{clock};
    bool made = false;
    bool complained = false;
    bool thrown = next.strike([&] {
      basic_retry policy{options{.budget = weir::window_budget{}}, timers};
      made = policy.budget()->available_approx() > 0;
    });
    CHECK(made != thrown);
    thrown = next.strike([&] {
      try {
        basic_retry policy{options{.budget = weir::token_budget{.per_success = -1}}, timers};
      } catch (const std::invalid_argument&) {
        complained = true;
      }
    });
    CHECK(complained != thrown);
  });
  CHECK(faults >= 3);
}

TEST_CASE("a sleep that cannot be entered gives its retry back, in either form of budget", "[retry][fault]") {
  for (const bool window : {false, true}) {
    for (const char* const kind : {"timer", "allocation"}) {
      const int faults = fault_loop("retry", kind, [window](fault& next) {
        manual_clock clock;
        options chosen{.max_attempts = 3, .backoff = plain, .budget = weir::token_budget{}};
        if (window) chosen.budget = weir::window_budget{};
        basic_retry policy{chosen, faulty_clock{clock, faulty_clock::time::leaps}};
        const auto full = policy.budget()->available_approx();
        const bool thrown = next.strike([&] {
          try {
            (void)policy.call([] { throw failure{}; });
          } catch (const failure&) {
          }
        });
        CHECK(thrown == next.happened());
        CHECK(policy.budget()->available_approx() == full - policy.stats().retries);
        CHECK(policy.stats().exhausted == (thrown ? 0 : 1));
      });
      CHECK(faults >= 1);
    }
  }
}

TEST_CASE("who sleeps between its attempts is not disturbed by one whose sleep fails", "[retry][fault]") {
  const int faults = fault_loop("retry", "timer", [](fault& next) {
    manual_clock clock;
    basic_retry policy{options{.max_attempts = 2, .backoff = plain}, faulty_clock{clock}};
    const auto once_failing = [&policy] {
      int calls = 0;
      return policy.call([&calls] { return ++calls == 1 ? throw failure{} : calls; }).value();
    };
    auto calm = std::async(std::launch::async, once_failing);
    clock.await_sleepers(1);
    std::atomic<bool> gone = false;
    auto struck = std::async(std::launch::async, [&] {
      const bool thrown = next.strike([&] { (void)once_failing(); });
      gone = true;
      return thrown;
    });
    while (clock.sleepers() < 2 && !gone) std::this_thread::yield();
    clock.advance(100ms);
    CHECK(calm.get() == 2);
    const bool thrown = struck.get();
    CHECK(thrown == next.happened());
    CHECK(policy.stats().succeeded == (thrown ? 1 : 2));
    CHECK(policy.budget()->stats().withdrawn == 2);
    CHECK(policy.budget()->available_approx() == (thrown ? 99 : 98));
  });
  CHECK(faults == 1);
}
