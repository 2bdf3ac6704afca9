// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of outcome would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <type_traits>
#include <utility>

#include <weir/outcome.hpp>

using namespace std::chrono_literals;
using weir::bad_outcome_access;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;

namespace {

constexpr refusal busy{refusal_reason::busy};
constexpr refusal full{refusal_reason::full, 1s};

/// A value whose move might throw, so that an outcome of it takes care in its assignment.
struct wary {
  int number = 0;
  wary() = default;
  explicit wary(int n) : number{n} {}
  wary(const wary&) = default;
  wary(wary&& other) noexcept(false) : number{other.number} {}
  wary& operator=(const wary&) = default;
  wary& operator=(wary&&) = default;
  ~wary() = default;
};
static_assert(!std::is_nothrow_move_constructible_v<wary>);

}  // namespace

TEST_CASE("a refusal has no value, however the outcome is held", "[outcome]") {
  outcome<int> held = busy;
  const outcome<int> constant = busy;
  CHECK_THROWS_AS((void)held.value(), bad_outcome_access);
  CHECK_THROWS_AS((void)constant.value(), bad_outcome_access);
  CHECK_THROWS_AS((void)outcome<int>{busy}.value(), bad_outcome_access);
  held = 5;
  CHECK(held.value() == 5);
  CHECK(outcome<int>{6}.value() == 6);
}

TEST_CASE("an outcome that is used up gives its value, or the one in its place", "[outcome]") {
  CHECK(outcome<std::string>{"own"}.value_or("other") == "own");
  CHECK(outcome<std::string>{busy}.value_or("other") == "other");
}

TEST_CASE("a function without a result is called with the value, and not with a refusal", "[outcome]") {
  int seen = 0;
  const auto see = [&](int n) { seen += n; };
  CHECK(outcome<int>{2}.transform(see).has_value());
  CHECK(seen == 2);
  CHECK(outcome<int>{busy}.transform(see).error() == busy);
  CHECK(seen == 2);
}

TEST_CASE("an outcome of what may throw is assigned in all four cases", "[outcome]") {
  const auto check = [](outcome<wary> to, const outcome<wary>& from) {
    outcome<wary> copied = to;
    copied = from;
    outcome<wary> source = from;
    to = std::move(source);
    for (const outcome<wary>& o : {copied, to}) {
      REQUIRE(o.has_value() == from.has_value());
      if (from) {
        CHECK(o->number == from->number);
      } else {
        CHECK(o.error() == from.error());
      }
    }
  };
  check(outcome<wary>{wary{1}}, outcome<wary>{wary{2}});
  check(outcome<wary>{wary{1}}, busy);
  check(busy, outcome<wary>{wary{2}});
  check(busy, full);
}

TEST_CASE("refusals are equal if their reason and their hint are", "[outcome]") {
  CHECK(outcome<void>{busy} == outcome<void>{busy});
  CHECK_FALSE(outcome<void>{busy} == outcome<void>{full});
  CHECK_FALSE(outcome<void>{busy} == outcome<void>{refusal{refusal_reason::busy, 1s}});
  CHECK(outcome<int>{busy} == outcome<int>{busy});
  CHECK_FALSE(outcome<int>{busy} == outcome<int>{full});
}
