// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <exception>
#include <future>
#include <memory>
#include <new>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>

#include <weir/retry.hpp>
#include <weir/testing/manual_clock.hpp>

#include "retry/support.hpp"

using namespace std::chrono_literals;
using namespace retry_test;
using weir::backoff_growth;
using weir::backoff_jitter;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::retry_verdict;
using weir::time_point;
using weir::testing::manual_clock;
using leaping_retry = weir::basic_retry<leaping_clock::view>;
using leaping_options = weir::basic_retry_options<leaping_clock::view>;
using durations = std::vector<weir::duration>;

static_assert(std::is_default_constructible_v<weir::retry>);
static_assert(std::is_default_constructible_v<weir::retry_budget>);
static_assert(!std::is_default_constructible_v<weir::basic_retry<manual_clock::view>>);
static_assert(!std::is_default_constructible_v<weir::basic_retry_budget<manual_clock::view>>);
static_assert(std::is_same_v<decltype(std::declval<weir::retry&>().call([] {})), outcome<void>>);
static_assert(std::is_same_v<decltype(std::declval<weir::retry&>().call([] { return 1; })), outcome<int>>);
static_assert(std::is_same_v<decltype(std::declval<weir::retry&>().call([] { return outcome<int>{1}; })),
                             outcome<int>>);

namespace {

constexpr weir::backoff_options plain{.base = 100ms, .jitter = backoff_jitter::none};

struct failure : std::runtime_error {
  explicit failure(int at) : std::runtime_error{"attempt " + std::to_string(at)}, attempt{at} {}
  int attempt;
};

}  // namespace

TEST_CASE("attempts are counted with the first, and the last real error comes back", "[retry]") {  // RT-07
  struct row {
    std::uint32_t max_attempts;
    int failures;
    int calls;
    bool ok;
  };
  for (const row& t : std::vector<row>{{3, 0, 1, true},
                                       {3, 2, 3, true},
                                       {3, 3, 3, false},
                                       {1, 1, 1, false},
                                       {weir::unlimited_attempts, 7, 8, true}}) {
    leaping_clock clock;
    leaping_retry policy{{.max_attempts = t.max_attempts}, clock.source()};
    int calls = 0;
    const auto operation = [&](std::uint32_t attempt) {
      ++calls;
      CHECK(attempt == static_cast<std::uint32_t>(calls));
      if (calls <= t.failures) throw failure{calls};
      return calls;
    };
    if (t.ok) {
      CHECK(*policy.call(operation) == t.calls);
    } else {
      int last = 0;
      try {
        (void)policy.call(operation);
      } catch (const failure& e) {
        last = e.attempt;
      }
      CHECK(last == t.calls);
    }
    CHECK(calls == t.calls);
    CHECK(policy.stats().succeeded == (t.ok ? 1U : 0U));
    CHECK(policy.stats().exhausted == (t.ok ? 0U : 1U));
    CHECK(policy.stats().retries == static_cast<std::uint64_t>(t.calls - 1));
  }
}

TEST_CASE("the delays are those of the back-off, on the clock", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = 5, .backoff = plain}, clock.source()};
  CHECK(policy.call([] { return outcome<int>{refusal{refusal_reason::busy}}; }).error().reason ==
        refusal_reason::busy);
  CHECK(clock.slept == durations{100ms, 200ms, 400ms, 800ms});
}

TEST_CASE("any exception is retried, not those of the standard library alone", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = 4}, clock.source()};
  int calls = 0;
  CHECK(policy
            .call([&] {
              ++calls;
              if (calls == 1) throw 1;
              if (calls == 2) throw std::string{"two"};
              if (calls == 3) throw std::bad_alloc{};
            })
            .has_value());
  CHECK(calls == 4);
}

TEST_CASE("a hint is obeyed and begins the back-off anew", "[retry]") {  // RT-08
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = 7, .backoff = plain}, clock.source()};
  int calls = 0;
  const auto result = policy.call([&]() -> outcome<int> {
    switch (++calls) {
      case 3:
        return refusal{refusal_reason::circuit_open, 1s};  // more than our own
      case 6:
        return refusal{refusal_reason::busy, 1ms};  // less than our own
      case 7:
        return 7;
      default:
        return refusal{refusal_reason::busy};
    }
  });
  CHECK(*result == 7);
  CHECK(clock.slept == durations{100ms, 200ms, 1s, 100ms, 200ms, 400ms});
}

TEST_CASE("a hint beyond the deadline ends the call at once with the last error", "[retry]") {  // RT-08
  leaping_clock clock;
  leaping_retry policy{{.backoff = plain}, clock.source()};
  int calls = 0;
  const auto result = policy.call(
      [&]() -> outcome<int> {
        ++calls;
        return refusal{refusal_reason::circuit_open, 5s};
      },
      time_point{5s});
  CHECK(result.error() == refusal{refusal_reason::circuit_open, 5s});
  CHECK(calls == 1);
  CHECK(clock.slept.empty());
  CHECK(policy.stats().past_deadline == 1);
}

TEST_CASE("never is never: an empty retry_after ends the call", "[retry]") {  // RT-08
  leaping_clock clock;
  leaping_retry policy{{}, clock.source()};
  for (const auto why : {weir::refused_for_ever(refusal_reason::busy), refusal{refusal_reason::cancelled},
                         refusal{refusal_reason::closed}, refusal{refusal_reason::budget_exhausted}}) {
    int calls = 0;
    CHECK(policy
              .call([&]() -> outcome<> {
                ++calls;
                return why;
              })
              .error() == why);
    CHECK(calls == 1);
  }
  CHECK(policy.stats().not_retryable == 4);
}

TEST_CASE("a call that comes too late or is stopped already is not tried", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{}, clock.source()};
  std::stop_source stop;
  stop.request_stop();
  bool called = false;
  const auto operation = [&] { called = true; };
  CHECK(policy.call(operation, time_point{}).error().reason == refusal_reason::timed_out);
  CHECK(policy.call(operation, {}, stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK_FALSE(called);
}

TEST_CASE("no attempt begins at or after the deadline, even if the sleep was too long", "[retry]") {
  leaping_clock clock;
  SECTION("the delay leads exactly to it") {
    leaping_retry policy{{.backoff = plain}, clock.source()};
    CHECK_THROWS_AS(policy.call([] { throw failure{1}; }, time_point{100ms}), failure);
    CHECK(clock.slept.empty());
  }
  SECTION("the delay leads just before it") {
    leaping_retry policy{{.max_attempts = 2, .backoff = plain}, clock.source()};
    CHECK_THROWS_AS(policy.call([] { throw failure{1}; }, time_point{100ms + 1ns}), failure);
    CHECK(clock.slept == durations{100ms});
    CHECK(policy.stats().exhausted == 1);
  }
  SECTION("the sleep overshoots it") {
    clock.overshoot = 1ns;
    leaping_retry policy{{.max_attempts = 2, .backoff = plain}, clock.source()};
    int calls = 0;
    CHECK_THROWS_AS(policy.call(
                        [&] {
                          ++calls;
                          throw failure{1};
                        },
                        time_point{100ms + 1ns}),
                    failure);
    CHECK(calls == 1);
    CHECK(policy.stats().past_deadline == 1);
    CHECK(policy.budget()->available_approx() == 100);  // the retry that was not made costs nothing
  }
}

TEST_CASE("a stop ends the sleep with the last real error", "[retry]") {
  weir::testing::manual_clock clock;
  weir::basic_retry<weir::testing::manual_clock::view> policy{{.backoff = plain}, clock.source()};
  std::stop_source stop;
  auto call = std::async(std::launch::async, [&] {
    return policy.call([]() -> outcome<int> { return refusal{refusal_reason::busy, 1h}; }, {},
                       stop.get_token());
  });
  clock.await_sleepers(1);
  stop.request_stop();
  CHECK(call.get().error() == refusal{refusal_reason::busy, 1h});
  CHECK(policy.stats().cancelled == 1);
  CHECK(policy.budget()->available_approx() == 100);
}

TEST_CASE("a stop requested during an attempt keeps the next from being made", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{}, clock.source()};
  std::stop_source stop;
  CHECK_THROWS_AS(policy.call(
                      [&] {
                        stop.request_stop();
                        throw failure{1};
                      },
                      {}, stop.get_token()),
                  failure);
  CHECK(clock.slept.empty());
}

TEST_CASE("a budget bounds what an outage is multiplied by", "[retry]") {  // RT-16
  struct row {
    int calls;
    bool budget;
    int attempts;
  };
  for (const row& t :
       std::vector<row>{{50, false, 150}, {50, true, 150}, {1000, false, 3000}, {1000, true, 1100}}) {
    leaping_clock clock;
    leaping_options options{.max_attempts = 3,
                            .budget = weir::token_budget{.capacity = 100, .per_success = .1}};
    if (!t.budget) options.budget = weir::no_retry_budget{};
    leaping_retry policy{options, clock.source()};
    int attempts = 0;
    for (int i = 0; i < t.calls; ++i) {
      CHECK_THROWS_AS(policy.call([&] {
        ++attempts;
        throw failure{1};
      }),
                      failure);
    }
    CHECK(attempts == t.attempts);
    CHECK(static_cast<bool>(policy.budget()) == t.budget);
  }
}

TEST_CASE("a budget is on by default, and its end brings back the last error", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = weir::unlimited_attempts}, clock.source()};
  CHECK_THROWS_AS(policy.call([] { throw failure{1}; }), failure);
  CHECK(policy.stats().retries == 100);
  CHECK(policy.stats().out_of_budget == 1);
  (void)policy.call([] {});
  CHECK(policy.budget()->available_approx() == 0);  // a tenth of a retry was earned
  for (int i = 0; i < 9; ++i) (void)policy.call([] {});
  CHECK(policy.budget()->available_approx() == 1);
}

TEST_CASE("policies may share one budget", "[retry]") {
  leaping_clock clock;
  const auto shared = std::make_shared<weir::basic_retry_budget<leaping_clock::view>>(
      weir::token_budget{.capacity = 3}, clock.source());
  leaping_retry a{{.max_attempts = 3, .budget = shared}, clock.source()};
  leaping_retry b{{.max_attempts = 3, .budget = shared}, clock.source()};
  CHECK_THROWS(a.call([] { throw failure{1}; }));
  CHECK_THROWS(b.call([] { throw failure{1}; }));
  CHECK(a.stats().retries == 2);
  CHECK(b.stats().retries == 1);
  CHECK(shared->stats().withdrawn == 3);
}

namespace {

struct only_failures {
  retry_verdict operator()(const std::exception_ptr& error) const {
    try {
      std::rethrow_exception(error);
    } catch (const failure&) {
      return {true, 3s};
    } catch (...) {
      return false;
    }
  }
  retry_verdict operator()(const int& status) const noexcept { return status >= 500; }
};

}  // namespace

TEST_CASE("a classifier decides on exceptions and values, and may give a hint", "[retry]") {
  leaping_clock clock;
  weir::basic_retry policy{{.max_attempts = 3, .backoff = plain}, clock.source(), only_failures{}};
  int calls = 0;
  CHECK_THROWS_AS(policy.call([&] {
    ++calls;
    throw std::logic_error{"final"};
  }),
                  std::logic_error);
  CHECK(calls == 1);
  CHECK_THROWS_AS(policy.call([&] { throw failure{1}; }), failure);
  CHECK(clock.slept == durations{3s, 3s});
  calls = 0;
  CHECK(*policy.call([&] { return ++calls == 2 ? 200 : 503; }) == 200);
  CHECK(*policy.call([] { return 503; }) == 503);  // the last real result
  CHECK(policy.call([] { return outcome<int>{refusal{refusal_reason::busy}}; }).error().reason ==
        refusal_reason::busy);  // not taken by the classifier: as by default
  CHECK(policy.stats().exhausted == 3);
}

TEST_CASE("a classifier that throws ends the call with its own exception", "[retry]") {
  leaping_clock clock;
  const auto broken = [](const std::exception_ptr&) -> retry_verdict {
    throw std::domain_error{"classifier"};
  };
  weir::basic_retry policy{{}, clock.source(), broken};
  CHECK_THROWS_AS(policy.call([] { throw failure{1}; }), std::domain_error);
}

TEST_CASE("a value may be move-only and a callable may be used up", "[retry]") {
  weir::retry policy;
  const auto result = policy.call([p = std::make_unique<int>(3)]() mutable { return std::move(p); });
  CHECK(**result == 3);
}

TEST_CASE("a reference to an outcome is an outcome, not a value", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = 3, .backoff = plain}, clock.source()};
  outcome<int> answer{refusal{refusal_reason::busy}};
  const outcome<void> nothing{refusal{refusal_reason::full}};
  int calls = 0;
  const auto by_reference = [&]() -> outcome<int>& { return ++calls, answer; };
  const auto by_constant = [&]() -> const outcome<void>& { return ++calls, nothing; };
  static_assert(std::is_same_v<decltype(policy.call(by_reference)), outcome<int>>);
  static_assert(std::is_same_v<decltype(policy.call(by_constant)), outcome<void>>);
  CHECK(policy.call(by_reference).error().reason == refusal_reason::busy);
  CHECK(calls == 3);
  CHECK(policy.call(by_constant).error().reason == refusal_reason::full);
  CHECK(calls == 6);
}

TEST_CASE("a value that is an exception is a value", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{{.max_attempts = 3, .backoff = plain}, clock.source()};
  int calls = 0;
  CHECK(policy.call([&] { return ++calls, std::make_exception_ptr(1); }));
  CHECK(calls == 1);
}

TEST_CASE("a retry that a stop prevents gives its budget back, and no more than it took", "[retry]") {
  manual_clock clock;
  using policy_on_manual = weir::basic_retry<manual_clock::view>;
  using budget_on_manual = weir::basic_retry_budget<manual_clock::view>;
  const auto budget = std::make_shared<budget_on_manual>(
      weir::window_budget{.window = 1s, .ratio = 0, .min_per_second = 5}, clock.source());
  policy_on_manual policy{
      {.backoff = {.growth = backoff_growth::constant, .base = 10s, .jitter = backoff_jitter::none},
       .budget = budget},
      clock.source()};
  for (const auto slept : {0s, 5s}) {  // within the window, and after it
    std::stop_source stop;
    auto call = std::async(std::launch::async, [&] {
      return policy.call([]() -> outcome<int> { return refusal{refusal_reason::busy}; }, {},
                         stop.get_token());
    });
    clock.await_sleepers(1);
    CHECK(budget->available_approx() == 4);
    clock.advance(slept);
    stop.request_stop();
    CHECK(call.get().error().reason == refusal_reason::busy);
    CHECK(budget->available_approx() == 5);
  }
}

TEST_CASE("the same seed draws the same delays, another seed others", "[retry]") {
  const auto delays = [](std::uint64_t seed) {
    leaping_clock clock;
    leaping_retry policy{{.max_attempts = 10, .seed = seed}, clock.source()};
    CHECK_THROWS(policy.call([] { throw failure{1}; }));
    return clock.slept;
  };
  CHECK(delays(1) == delays(1));
  CHECK(delays(1) != delays(2));
}

TEST_CASE("the jitter of one call is not compounded by another", "[retry]") {
  leaping_clock clock;
  leaping_retry policy{
      {.max_attempts = 2, .backoff = {.base = 1s, .cap = 1h, .jitter = backoff_jitter::decorrelated}},
      clock.source()};
  for (int i = 0; i < 100; ++i) CHECK_THROWS(policy.call([] { throw failure{1}; }));
  CHECK(std::ranges::max(clock.slept) <= 3s);
  CHECK(std::ranges::min(clock.slept) >= 1s);
}

TEST_CASE("retry options out of range are refused", "[retry]") {
  const auto make = [](weir::retry_options o) { weir::retry policy{std::move(o)}; };
  CHECK_THROWS_AS(make({.max_attempts = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make({.backoff = {.base = -1s}}), std::invalid_argument);
  CHECK_THROWS_AS(make({.budget = weir::token_budget{.per_success = -1}}), std::invalid_argument);
  CHECK_THROWS_AS(make({.budget = std::shared_ptr<weir::retry_budget>{}}), std::invalid_argument);
}
