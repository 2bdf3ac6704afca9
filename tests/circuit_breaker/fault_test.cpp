// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <new>
#include <optional>
#include <string>
#include <utility>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/failing_new.hpp"

using weir::basic_circuit_breaker;
using weir::testing::manual_clock;
using weir_test::allocation_budget;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;

struct silent {
  static void on_refused(const weir::refusal&) noexcept {}
  static void on_transition(weir::breaker_state, weir::breaker_state) noexcept {}
};

}  // namespace

TEST_CASE("memory that runs out while a breaker is made leaves nothing behind", "[circuit_breaker][fault]") {
  manual_clock clock;
  int failures = 0;
  for (long k = 0;; ++k) {
    bool failed = false;
    {
      const allocation_budget budget{k};
      try {
        basic_circuit_breaker breaker{{.window = weir::count_window{100}}, clock.source(), silent{}};
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    }
    if (!failed) break;
    ++failures;
  }
  CHECK(failures >= 2);  // the window, the events
}

TEST_CASE("memory that runs out while a breaker is reconfigured changes nothing",
          "[circuit_breaker][fault]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{4}}, clock.source()};
  std::move(*breaker.try_acquire()).failure();
  bool failed = false;
  {
    const allocation_budget budget{0};
    try {
      breaker.reconfigure({.window = weir::count_window{8}, .minimum_calls = 1});
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
  CHECK(failed);
  CHECK(breaker.stats().window_calls == 1);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == weir::breaker_state::closed);  // minimum_calls is still 4
}

TEST_CASE("admitting, reporting and moving need no memory", "[circuit_breaker][fault]") {
  manual_clock clock;
  basic_circuit_breaker breaker{{.window = weir::count_window{1}}, clock.source(), silent{}};
  const allocation_budget budget{0};
  for (int i = 0; i < 100; ++i) {
    if (auto p = breaker.try_acquire()) std::move(*p).failure();
    breaker.reset();
    static_cast<void>(breaker.stats());
  }
  CHECK_FALSE(allocation_budget::was_hit());
}
