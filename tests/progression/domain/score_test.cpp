// SPDX-License-Identifier: BSL-1.0
#include "domain/score.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "domain/tree.hpp"

using namespace progression;

namespace {
constexpr auto largest = std::numeric_limits<std::int64_t>::max();
}

TEST_CASE("a score is value x weight x rate, rounded once to a thousandth", "[progression]") {  // W10, I12
  struct row {
    std::int64_t value, weight, rate, expected;
  };
  constexpr row rows[] = {
      {1, 1000, 0, 1000},     {1, 1000, 100, 1100},   {1, 500, 0, 500},     {3, 333, 0, 999},
      {1, 1, 499, 1},         {1, 1, 500, 2},         {1, 1, 501, 2},       {0, 1000, 0, 0},
      {5, 0, 900, 0},         {1, 200000, 0, 200000}, {1, 1000, 500, 1500}, {7, 1234, 321, 11411},
      {1, 999990, 0, 999990},
  };
  for (const row& r : rows) {
    CAPTURE(r.value, r.weight, r.rate);
    CHECK(score(r.value, r.weight, r.rate).milli == r.expected);
  }
}

TEST_CASE("a score that does not fit is an error, never a wrong number", "[progression]") {  // W11
  CHECK(score(largest / 1000000, 1000).milli == largest / 1000000 * 1000);
  CHECK_THROWS_AS(score(largest, 2), std::overflow_error);
  CHECK_THROWS_AS(score(1, largest, 1), std::overflow_error);
  CHECK_THROWS_AS(score(1, 1, largest), std::overflow_error);
  CHECK_THROWS_AS(score(-1, 1), std::invalid_argument);
  CHECK_THROWS_AS(score(1, -1), std::invalid_argument);
  CHECK_THROWS_AS(score(1, 1, -1), std::invalid_argument);
}

TEST_CASE("checked sums and products fit up to the very last number", "[progression]") {
  CHECK(checked_add(largest, 0) == largest);
  CHECK_THROWS_AS(checked_add(largest, 1), std::overflow_error);
  CHECK(checked_mul(largest, 1) == largest);
  CHECK(checked_mul(largest, 0) == 0);
  CHECK_THROWS_AS(checked_mul(largest / 2 + 1, 2), std::overflow_error);
}

TEST_CASE("a level costs base x factor^tier, halves rounded away from zero", "[progression]") {
  struct row {
    node_size size;
    std::int64_t costs[5];
  };
  constexpr row rows[] = {{node_size::small, {50, 75, 113, 169, 253}},
                          {node_size::medium, {200, 300, 450, 675, 1013}},
                          {node_size::large, {800, 1200, 1800, 2700, 4050}}};
  for (const row& r : rows) {
    for (int tier = 0; tier < 5; ++tier) {
      CAPTURE(to_string(r.size), tier);
      CHECK(cost_formula{}(tier, r.size) == points::whole(r.costs[tier]));
    }
  }
  CHECK(cost_formula{.small = 25, .medium = 50, .large = 100, .factor_milli = 2000}(3, node_size::large) ==
        points::whole(800));
  CHECK(cost_formula{.small = 200, .medium = 400, .large = 800, .factor_milli = 1300}(2, node_size::small) ==
        points::whole(338));
}

TEST_CASE("a cost that makes no sense is refused", "[progression]") {
  CHECK_THROWS_AS(cost_formula{}(-1, node_size::small), std::invalid_argument);
  CHECK_THROWS_AS(cost_formula{}(1000, node_size::small), std::invalid_argument);
  CHECK_THROWS_AS(cost_formula{}(0, static_cast<node_size>(3)), std::invalid_argument);
  CHECK_THROWS_AS(cost_formula{.small = 0}(0, node_size::small), std::invalid_argument);
  CHECK_THROWS_AS(cost_formula{.factor_milli = 0}(0, node_size::small), std::invalid_argument);
}
