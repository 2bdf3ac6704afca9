// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <string>

#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/stats.hpp>

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;

TEST_CASE("an outcome holds a value or a refusal", "[outcome]") {
  outcome<int> good = 7;
  REQUIRE(good.has_value());
  CHECK(*good == 7);
  CHECK(good.value_or(1) == 7);

  outcome<int> bad = refusal{refusal_reason::rate_limited, 20ms};
  REQUIRE_FALSE(bad);
  CHECK(bad.error() == refusal{refusal_reason::rate_limited, 20ms});
  CHECK(bad.value_or(1) == 1);
}

TEST_CASE("asking a refusal for its value throws and carries the refusal", "[outcome]") {
  const outcome<int> bad = weir::refused_for_ever(refusal_reason::closed);
  try {
    (void)bad.value();
    FAIL("no exception");
  } catch (const weir::bad_outcome_access& e) {
    CHECK(e.error().reason == refusal_reason::closed);
    CHECK_FALSE(e.error().retry_after.has_value());
  }
  CHECK_THROWS_AS(outcome<void>{refusal{refusal_reason::busy}}.value(), weir::bad_outcome_access);
}

TEST_CASE("an outcome of a move-only value gives it up", "[outcome]") {
  outcome<std::unique_ptr<int>> box = std::make_unique<int>(3);
  const std::unique_ptr<int> taken = std::move(box).value();
  CHECK(*taken == 3);
}

TEST_CASE("a chain of outcomes stops at the first refusal and hands it on unchanged", "[outcome]") {
  const refusal why{refusal_reason::full, 1s};
  CHECK(*outcome<int>{2}.transform([](int n) { return n * 10; }) == 20);
  CHECK(outcome<int>{why}.transform([](int n) { return std::to_string(n); }).error() == why);
  CHECK(outcome<int>{2}.and_then([&](int) -> outcome<std::string> { return why; }).error() == why);
  CHECK(outcome<int>{2}.transform([](int) {}).has_value());
  CHECK(outcome<void>{why}.and_then([] { return outcome<int>{1}; }).error() == why);
  CHECK(*outcome<void>{}.and_then([] { return outcome<int>{1}; }) == 1);
}

TEST_CASE("equal outcomes compare equal, whatever a good one keeps inside", "[outcome]") {
  CHECK(outcome<int>{1} == outcome<int>{1});
  CHECK_FALSE(outcome<int>{1} == outcome<int>{refusal{refusal_reason::busy}});
  CHECK(outcome<void>{} == outcome<void>{});
  CHECK_FALSE(outcome<void>{} == outcome<void>{refusal{refusal_reason::busy}});
}

TEST_CASE("every reason has a word of its own", "[refusal]") {
  CHECK(to_string(refusal_reason::circuit_open) == "circuit_open");
  CHECK(to_string(refusal_reason::budget_exhausted) == "budget_exhausted");
}

TEST_CASE("a counter counts", "[stats]") {
  weir::event_counter count;
  count.add();
  count.add(4);
  CHECK(count.value() == 5);
}
