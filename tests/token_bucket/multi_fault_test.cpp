// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <utility>
#include <vector>

#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::bandwidth;
using weir::rate;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty_clock;

namespace {

using bucket_type = weir::basic_multi_token_bucket<faulty_clock>;

const std::vector<bandwidth> bands{{.rate = rate::per_second(1), .burst = 4},
                                   {.rate = {4, 1min}, .burst = 8, .refill_at = weir::time_point{1min}}};

}  // namespace

TEST_CASE("a booking of several bands that finds no memory has taken nothing of any",
          "[multi_token_bucket][fault]") {
  const int faults = fault_loop("multi_token_bucket", "allocation", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{bands, faulty_clock{clock}};
    std::vector<bucket_type::reservation> held;
    held.reserve(8);
    for (int i = 0; i != 4; ++i) {
      const auto before = bucket.available_approx();
      const bool thrown = next.strike_through([&] { held.push_back(*bucket.reserve(1)); });
      CHECK(bucket.available_approx() == before - (thrown ? 0 : 1));
    }
    CHECK(held.size() + static_cast<std::size_t>(bucket.available_approx()) == 4);
    CHECK_FALSE(next.strike_through([&] { (void)bucket.try_acquire(); }));
    const auto left = bucket.available_approx();
    const auto given = held.size();
    CHECK_FALSE(next.strike_through([&] { held.clear(); }));
    CHECK(bucket.available_approx() == left + static_cast<std::int64_t>(given));
  });
  CHECK(faults >= 2);
}

TEST_CASE("a gift, or a change of the bands, that finds no memory changes nothing",
          "[multi_token_bucket][fault]") {
  const int faults = fault_loop("multi_token_bucket", "allocation", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{bands, faulty_clock{clock}};
    CHECK(bucket.try_acquire(3));
    auto booked = bucket.reserve(1);
    const bool no_gift = next.strike_through([&] { bucket.add(2); });
    CHECK(bucket.available_approx() == (no_gift ? 0 : 2));
    const auto held = bucket.available_approx();
    const bool no_change =
        next.strike_through([&] { bucket.reconfigure({bands[0]}, weir::held_tokens::reset); });
    CHECK(bucket.available_approx() == (no_change ? held : 4));
    CHECK(bucket.is_as_new_at(clock.now() + 1h) == no_change);
  });
  CHECK(faults >= 3);
}

TEST_CASE("a wait of several bands that the clock cannot take on gives its tokens back",
          "[multi_token_bucket][fault]") {
  const int faults = fault_loop("multi_token_bucket", "timer", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{bands, faulty_clock{clock, faulty_clock::time::leaps}};
    CHECK(bucket.try_acquire(4));
    const bool thrown = next.strike_through([&] { (void)bucket.acquire(2); });
    CHECK(bucket.stats().cancelled == (thrown ? 1 : 0));
    CHECK(bucket.stats().used == (thrown ? 0 : 1));
    clock.advance(1s);
    CHECK(bucket.available_approx() == 1);
  });
  CHECK(faults == 1);
}
