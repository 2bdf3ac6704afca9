// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <random>
#include <stdexcept>

#include <weir/retry.hpp>

#include "retry/reference.hpp"
#include "retry/support.hpp"

using namespace std::chrono_literals;
using namespace retry_test;
using weir::duration;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;

TEST_CASE("calls behave as the reference, attempt by attempt and sleep by sleep", "[retry]") {
  constexpr std::uint32_t seed = 8123;
  INFO("seed " << seed);
  std::mt19937 random{seed};
  const auto draw = [&random](int low, int high) {
    return std::uniform_int_distribution<int>{low, high}(random);
  };

  leaping_clock clock;
  constexpr weir::backoff_options backoff{
      .base = 10ms, .factor = 2, .cap = 70ms, .jitter = weir::backoff_jitter::none};
  weir::basic_retry<leaping_clock::view> policy{
      {.max_attempts = 5,
       .backoff = backoff,
       .budget = weir::token_budget{.capacity = 6, .per_success = 0.5}},
      clock.source()};
  auto budget = weir_test::naive_budget::tokens(6, 0.5).value();
  int ends[4] = {};  // ok, final, attempts or deadline, budget

  for (int round = 0; round < 4000; ++round) {
    struct answer {
      bool ok;
      bool final;
      duration hint;
    };
    std::vector<answer> script(5);
    for (answer& a : script) a = {draw(0, 2) == 0, draw(0, 9) == 0, 1ms * draw(0, 3) * draw(0, 40)};
    const weir::deadline until =
        draw(0, 1) == 0 ? weir::deadline{clock.now + 1ms * draw(1, 120)} : weir::deadline{};
    const weir::time_point begin = clock.now;
    clock.slept.clear();

    // Reference.
    std::vector<duration> slept;
    std::size_t attempts = 0;
    weir::time_point now = begin;
    duration own = backoff.base;
    int end = -1;
    while (end < 0) {
      const answer& a = script[attempts++];
      if (a.ok) {
        budget.deposit(0);
        end = 0;
      } else if (a.final) {
        end = 1;
      } else {
        const duration pause = std::max(own, a.hint);
        own = a.hint > 0ms ? backoff.base : std::min<duration>(backoff.cap, own * 2);
        if (attempts == 5 || (!until.is_never() && now + pause >= until.time())) {
          end = 2;
        } else if (!budget.withdraw(0)) {
          end = 3;
        } else {
          now += pause;
          slept.push_back(pause);
        }
      }
    }
    ++ends[end];

    std::size_t made = 0;
    const auto result = policy.call(
        [&]() -> outcome<std::size_t> {
          const answer& a = script[made++];
          if (a.ok) return made;
          return refusal{a.final ? refusal_reason::closed : refusal_reason::busy, a.hint};
        },
        until);
    REQUIRE(made == attempts);
    REQUIRE(clock.slept == slept);
    REQUIRE(result.has_value() == (end == 0));
    REQUIRE(policy.budget()->available_approx() == budget.available(0));
  }
  for (const int count : ends) CHECK(count > 100);
  const auto stats = policy.stats();
  CHECK(stats.succeeded == static_cast<std::uint64_t>(ends[0]));
  CHECK(stats.not_retryable == static_cast<std::uint64_t>(ends[1]));
  CHECK(stats.exhausted + stats.past_deadline == static_cast<std::uint64_t>(ends[2]));
  CHECK(stats.out_of_budget == static_cast<std::uint64_t>(ends[3]));
}
