// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <new>
#include <utility>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

#include "support/failing_new.hpp"

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::rate;
using weir::testing::manual_clock;
using weir_test::allocation_budget;

TEST_CASE("a wait that the clock cannot take on gives its tokens back", "[token_bucket][fault]") {
  manual_clock clock;  // remembers whom to wake in a vector
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 2, .initial = 0}, clock.source()};
  bool failed = false;
  {
    const allocation_budget budget{0};
    try {
      static_cast<void>(bucket.acquire(2));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
  CHECK(failed);
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.stats().cancelled == 1);
}

TEST_CASE("taking, booking and reconfiguring need no memory", "[token_bucket][fault]") {
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 10}, clock.source()};
  const allocation_budget budget{0};
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(bucket.try_acquire());
    if (auto booked = bucket.reserve(1, 5s)) std::move(*booked).use();
    bucket.reconfigure({.rate = rate::per_second(2 + i), .burst = 10});
  }
  CHECK_FALSE(allocation_budget::was_hit());
}
