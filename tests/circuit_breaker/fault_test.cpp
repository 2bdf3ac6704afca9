// SPDX-License-Identifier: BSL-1.0
// Whatever throws around a call: it is counted once, its permit comes back, and no move is lost unseen.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>
#include <utility>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::testing::manual_clock;
using weir_test::allocation_budget;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;

struct silent {
  static void on_refused(const weir::refusal&) noexcept {}
  static void on_transition(breaker_state, breaker_state) noexcept {}
};

struct angry {
  static void on_refused(const weir::refusal&) noexcept {}
  static void on_transition(breaker_state, breaker_state) {}
};
static_assert(!weir::transition_observer<angry, breaker_state>, "an observer that may throw is refused");

/// Does something from inside the first event.
struct restless {
  const std::function<void()>* go;
  int* told;
  static void on_refused(const weir::refusal&) noexcept {}
  void on_transition(breaker_state, breaker_state) const noexcept {
    if ((*told)++ == 0) (*go)();
  }
};

constexpr weir::circuit_breaker_options probing{.window = weir::count_window{4},
                                                .minimum_calls = 4,
                                                .open_for = 1s,
                                                .probes = 2,
                                                .probe_successes = 2,
                                                .half_open_max_wait = 1h};

std::uint64_t recorded(const weir::circuit_breaker_stats& s) { return s.successes + s.failures + s.ignored; }

}  // namespace

TEST_CASE("memory that runs out while a breaker is made leaves nothing behind", "[circuit_breaker][fault]") {
  manual_clock clock;
  int failures = 0;
  for (const weir::circuit_breaker_options& options :
       {weir::circuit_breaker_options{.window = weir::count_window{100}},
        weir::circuit_breaker_options{.window = weir::time_window{1s}},
        weir::circuit_breaker_options{.window = weir::consecutive_failures{}}}) {
    failures += fault_loop("circuit_breaker", "allocation", [&](fault& next) {
      bool made = false;
      const bool thrown = next.strike_through([&] {
        basic_circuit_breaker breaker{options, clock.source(), silent{}};
        made = breaker.state() == breaker_state::closed;
      });
      CHECK(made != thrown);
    });
  }
  CHECK(failures == 8);  // two of the events for each, a window for two of them
}

TEST_CASE("memory that runs out while a breaker is reconfigured changes nothing",
          "[circuit_breaker][fault]") {
  const int faults = fault_loop("circuit_breaker", "allocation", [](fault& next) {
    manual_clock clock;
    breaker_type breaker{{.window = weir::count_window{4}}, clock.source()};
    std::move(*breaker.try_acquire()).failure();
    const bool thrown = next.strike_through(
        [&] { breaker.reconfigure({.window = weir::count_window{8}, .minimum_calls = 1}); });
    CHECK(breaker.stats().window_calls == (thrown ? 1 : 0));
    CHECK(breaker.is_as_new_at(clock.now()) == false);
    std::move(*breaker.try_acquire()).failure();
    // Unchanged, minimum_calls is still 4.
    CHECK(breaker.state() == (thrown ? breaker_state::closed : breaker_state::open));
  });
  CHECK(faults >= 1);
}

TEST_CASE("a move that there is no memory to report is counted as lost", "[circuit_breaker][fault]") {
  const int faults = fault_loop("circuit_breaker", "allocation", [](fault& next) {
    manual_clock clock;
    constexpr int moves = 101;  // more than there is room for from the start
    int told = 0;
    std::function<void()> go;
    basic_circuit_breaker breaker{{}, clock.source(), restless{&go, &told}};
    go = [&] {
      for (int n = 1; n != moves; ++n) n % 2 != 0 ? breaker.disable() : breaker.force_open();
    };
    CHECK_FALSE(next.strike([&] { breaker.force_open(); }));
    const auto lost = breaker.stats().events_lost;
    CHECK(lost == (next.happened() ? 1 : 0));
    CHECK(static_cast<std::uint64_t>(told) + lost == moves);
    breaker.reset();
    CHECK(static_cast<std::uint64_t>(told) + lost == moves + 1);
  });
  CHECK(faults >= 1);
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

TEST_CASE("whatever throws around a call, the call is recorded once and its permit comes back",
          "[circuit_breaker][fault]") {
  const auto by_value = [](const faulty&) {
    fault::point("classifier");
    return call_verdict::success;
  };
  const auto by_error = [](const std::exception_ptr&) {
    fault::point("classifier");
    return call_verdict::ignore;
  };
  for (const char* const kind : {"work", "classifier", "copy", "move", "allocation", "assign", "compare"}) {
    const std::string_view which{kind};
    const int injected = fault_loop("circuit_breaker", kind, [&](fault& next) {
      manual_clock clock;
      breaker_type breaker{probing, clock.source()};
      for (int n = 0; n != 4; ++n) std::move(*breaker.try_acquire()).failure();
      clock.advance(1s);
      const faulty kept{2};
      const auto by_copy = [&]() -> const faulty& { return fault::point("work"), kept; };
      const auto made = [] { return fault::point("work"), faulty{1}; };
      const auto answered = [] { return fault::point("work"), weir::outcome<faulty>{std::in_place, 3}; };
      const auto failing = []() -> int { throw weir_test::injected_fault{}; };
      auto before = breaker.stats();
      const auto call = [&](auto&& step) {
        const bool past = next.happened();
        next.strike(step);
        const bool thrown = next.happened() && !past;
        const auto after = breaker.stats();
        CHECK(recorded(after) == recorded(before) + 1);
        if (thrown && which == "work") CHECK(after.failures == before.failures + 1);
        if (thrown && which == "classifier") CHECK(after.ignored == before.ignored + 1);
        before = after;
      };
      // As probes first: a permit that did not come back would keep the breaker half open.
      call([&] { (void)breaker.call(by_copy, by_value); });
      if (breaker.state() != breaker_state::open) call([&] { (void)breaker.call(made, by_value); });
      breaker.reset();
      before = breaker.stats();
      call([&] { (void)breaker.call(made, by_value); });
      call([&] { (void)breaker.call(by_copy); });
      call([&] { (void)breaker.call(answered); });
      call([&] { (void)breaker.call(failing, by_error); });
      CHECK(breaker.try_acquire());
      CHECK(breaker.stats().late == 0);
    });
    const bool never = which == "allocation" || which == "assign" || which == "compare";
    CHECK((injected == 0) == never);
  }
}
