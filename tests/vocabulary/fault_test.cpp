// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <exception>
#include <future>
#include <stop_token>
#include <utility>

#include <weir/detail/parking.hpp>
#include <weir/outcome.hpp>

#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::deadline;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::detail::wait_list;
using weir::detail::waiter;
using weir::detail::wake_reason;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;

namespace {

struct angry_clock {
  [[nodiscard]] weir::time_point now() const;
};
static_assert(!weir::monotonic_clock<angry_clock>, "a clock whose reading may throw is refused");

}  // namespace

TEST_CASE("an outcome that cannot take a value keeps its refusal", "[outcome][fault]") {
  const refusal why{refusal_reason::busy, 3ms};
  for (const bool by_move : {false, true}) {
    const int faults = fault_loop("outcome", by_move ? "move" : "copy", [&](fault& next) {
      outcome<faulty> changing = why;
      outcome<faulty> given{std::in_place, 7};
      const bool thrown = next.strike_through(
          [&] { by_move ? changing = std::move(given) : changing = std::as_const(given); });
      CHECK(changing.has_value() != thrown);
      if (thrown) CHECK(changing.error() == why);
      if (!thrown) CHECK(changing->value == 7);
      if (thrown) CHECK(given->value == 7);
    });
    CHECK(faults >= 1);
  }
}

TEST_CASE("an outcome that cannot take another value keeps its own", "[outcome][fault]") {
  const int faults = fault_loop("outcome", "assign", [](fault& next) {
    outcome<faulty> changing{std::in_place, 1};
    const outcome<faulty> given{std::in_place, 7};
    const bool thrown = next.strike_through([&] { changing = given; });
    CHECK(changing->value == (thrown ? 1 : 7));
    changing = refusal{refusal_reason::full};
    CHECK(changing.error().reason == refusal_reason::full);
  });
  CHECK(faults == 1);
}

TEST_CASE("a function in a chain of outcomes may throw", "[outcome][fault]") {
  const int faults = fault_loop("outcome", "callback", [](fault& next) {
    int result = 0;
    const auto grown = [](int n) {
      fault::point("callback");
      return n + 1;
    };
    const bool thrown =
        next.strike_through([&] { result = *outcome<int>{1}.transform(grown).transform(grown); });
    CHECK(result == (thrown ? 0 : 3));
  });
  CHECK(faults == 2);
}

TEST_CASE("a timer that fails loses no token and leaves nothing behind", "[parking][fault]") {
  for (const char* const kind : {"timer", "allocation"}) {
    const int faults = fault_loop("parking", kind, [](fault& next) {
      manual_clock clock;
      const faulty_clock timers{clock, faulty_clock::time::leaps};
      std::stop_source stop;
      waiter w;
      for (int n = 0; n != 3; ++n) {
        wake_reason why{};
        const bool thrown =
            next.strike_through([&] { why = sleep(w, timers, clock.now() + 1s, stop.get_token()); });
        if (!thrown) CHECK(why == wake_reason::deadline_reached);
      }
      clock.set(weir::time_point{});
      CHECK(clock.sleepers() == 0);
      w.park.unpark();
      wake_reason why{};
      if (next.strike_through([&] { why = sleep(w, timers, clock.now() + 1s, {}); })) {
        why = sleep(w, timers, deadline::never(), {});
      }
      CHECK(why == wake_reason::unparked);
      stop.request_stop();  // nobody listens any more
      CHECK(sleep(w, timers, clock.now() + 1s, {}) == wake_reason::deadline_reached);
    });
    CHECK(faults >= 1);
  }
}

TEST_CASE("a sleeper in a list is told of its timer, and those around it are woken", "[parking][fault]") {
  const int faults = fault_loop("parking", "timer", [](fault& next) {
    manual_clock clock;
    const faulty_clock timers{clock, faulty_clock::time::leaps};
    wait_list list;
    waiter first, struck, last;
    for (waiter* const w : {&first, &struck, &last}) list.push_back(*w);
    std::exception_ptr error;
    wake_reason why{};
    next.strike([&] { why = sleep(struck, timers, clock.now() + 1s, {}, error); });
    CHECK((error != nullptr) == next.happened());
    CHECK(why == (error ? wake_reason::unparked : wake_reason::deadline_reached));
    list.remove(struck);
    for (waiter* const expected : {&first, &last}) {
      auto sleeper =
          std::async(std::launch::async, [&] { return sleep(*expected, timers, deadline::never(), {}); });
      REQUIRE(list.front() == expected);
      list.remove(*expected);
      expected->park.unpark();
      CHECK(sleeper.get() == wake_reason::unparked);
    }
  });
  CHECK(faults == 1);
}
