// SPDX-License-Identifier: BSL-1.0
// Whatever throws on the way to a call, in it or after it: no flight is left behind, no waiter asleep.
#include <catch2/catch_test_macros.hpp>

#include <stdexcept>
#include <stop_token>
#include <utility>

#include <weir/single_flight.hpp>

#include "support/fault_loop.hpp"
#include "support/shared_call.hpp"

using namespace std::chrono_literals;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;
using weir_test::share_a_call;
using weir_test::struck;

using flights = weir::single_flight<faulty, faulty, faulty_clock>;

TEST_CASE("whatever throws comes to the caller and leaves no flight behind", "[single_flight][fault]") {
  for (const char* const kind : {"allocation", "copy", "move", "hash", "work"}) {
    const int faults = fault_loop("single_flight", kind, [](fault& next) {
      manual_clock clock;
      flights f{faulty_clock{clock}};
      const faulty key{1};
      const auto served = [&](auto call) {
        const auto before = f.stats();
        int got = 0;
        const bool past = next.happened();
        const bool thrown = next.strike([&] { got = f.run(key, call)->value.value; });
        CHECK(thrown == (next.happened() && !past));
        if (!thrown) CHECK(got == 7);
        const auto after = f.stats();
        CHECK(after.in_flight == 0);
        CHECK(after.led - before.led <= 1);
        if (!thrown) CHECK(after.led == before.led + 1);
        if (after.failed != before.failed) CHECK(thrown);
      };
      served([] { return fault::point("work"), faulty{7}; });
      served([](const faulty&, std::stop_token) { return fault::point("work"), faulty{7}; });
      served([](std::stop_token) { return fault::point("work"), weir::outcome<faulty>{std::in_place, 7}; });
      CHECK(f.run(key, [] { return faulty{8}; })->value.value == 8);
    });
    CHECK(faults >= 3);
  }
}

TEST_CASE("a comparison or a hash that throws leaves the flight that it was compared with",
          "[single_flight][fault]") {
  for (const char* const kind : {"compare", "hash", "copy", "allocation"}) {
    const int faults = fault_loop("single_flight", kind, [](fault& next) {
      manual_clock clock;
      flights f{faulty_clock{clock}};
      const faulty key{1};
      const faulty collides{3};
      const auto led = f.run(key, [&] {
        next.strike_through([&] { (void)f.run(collides, [] { return faulty{8}; }); });
        CHECK(f.stats().in_flight == 1);
        next.strike_through([&] { (void)f.forget(collides); });
        CHECK(f.stats().in_flight == 1);
        const bool thrown = next.strike_through([&] { (void)f.forget(key); });
        CHECK(f.stats().in_flight == (thrown ? 1 : 0));
        return faulty{7};
      });
      CHECK(led->value.value == 7);
      CHECK(f.stats().in_flight == 0);
    });
    CHECK(faults >= 2);
  }
}

TEST_CASE("a call that asks for its own key is told so, or that there is no memory to say it",
          "[single_flight][fault]") {
  const int faults = fault_loop("single_flight", "allocation", [](fault& next) {
    manual_clock clock;
    flights f{faulty_clock{clock}};
    const faulty key{1};
    bool told = false;
    const auto led = f.run(key, [&] {
      const bool silent = next.strike_through([&] {
        try {
          (void)f.run(key, [] { return faulty{8}; });
        } catch (const std::logic_error&) {
          told = true;
        }
      });
      CHECK(told != silent);
      return faulty{7};
    });
    CHECK(led->value.value == 7);
    CHECK(f.stats().in_flight == 0);
  });
  CHECK(faults >= 1);
}

TEST_CASE("no value is ever assigned", "[single_flight][fault]") {
  const int faults = fault_loop("single_flight", "assign", [](fault& next) {
    manual_clock clock;
    flights f{faulty_clock{clock}};
    next.strike_through([&] { (void)f.run(faulty{1}, [] { return faulty{7}; }); });
    CHECK(f.stats().led == 1);
  });
  CHECK(faults == 0);
}

TEST_CASE("a fault of one caller of a flight is that caller's, and one of the call is everybody's",
          "[single_flight][fault]") {
  const auto walk = [](const char* kind, struck who) {
    return fault_loop("single_flight", kind, [who](fault& next) {
      manual_clock clock;
      flights f{faulty_clock{clock}};
      const faulty key{1};
      share_a_call(next, f, who,
                   [&](const auto& call) { return f.run(key, call, clock.now() + 1h)->value.value; });
    });
  };
  for (const char* const kind : {"allocation", "copy", "move", "hash", "work"}) {
    CHECK(walk(kind, struck::leader) >= 1);
  }
  for (const char* const kind : {"allocation", "copy", "move", "hash", "compare", "timer"}) {
    CHECK(walk(kind, struck::waiter) >= 1);
  }
}
