// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;
using moves = std::vector<std::pair<breaker_state, breaker_state>>;

static_assert(!std::is_copy_constructible_v<breaker_type>);
static_assert(std::is_nothrow_move_constructible_v<breaker_type::permit>);
static_assert(!std::is_copy_constructible_v<breaker_type::permit>);
static_assert(std::same_as<decltype(std::declval<breaker_type&>().call([] { return 1; })), outcome<int>>);
static_assert(std::same_as<decltype(std::declval<breaker_type&>().call([] {})), outcome<void>>);
static_assert(std::same_as<decltype(std::declval<breaker_type&>().call([]() -> outcome<int> { return 1; })),
                           outcome<int>>);

struct listener {
  moves* moved;
  std::vector<refusal>* refused;
  std::function<void()>* meanwhile = nullptr;
  void on_refused(const refusal& why) const noexcept { refused->push_back(why); }
  void on_transition(breaker_state from, breaker_state to) const noexcept {
    moved->emplace_back(from, to);
    if (meanwhile) (*meanwhile)();
  }
};

const circuit_breaker_options small{.window = weir::count_window{2}, .open_for = 1s};

void fail(auto& breaker, int times) {
  for (int i = 0; i < times; ++i) {
    auto p = breaker.try_acquire();
    REQUIRE(p);
    std::move(*p).failure();
  }
}

std::string message_of(const circuit_breaker_options& options) {
  try {
    weir::circuit_breaker breaker{options};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("a breaker works on the clock of the standard library", "[circuit_breaker]") {
  weir::circuit_breaker breaker{{.window = weir::consecutive_failures{1}, .open_for = 1h}};
  CHECK(breaker.call([] { return 7; }).value() == 7);
  fail(breaker, 1);
  const auto refused = breaker.call([] { return 7; });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == refusal_reason::circuit_open);
  CHECK(refused.error().retry_after > 59min);
}

TEST_CASE("a breaker that cannot be is refused with a sentence that says what was given",
          "[circuit_breaker]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of({.window = weir::count_window{0}}) ==
        "circuit_breaker: count_window.size must be positive, got 0");
  CHECK(message_of({.window = weir::time_window{0s}}) ==
        "circuit_breaker: time_window.length must be positive, got nanoseconds: 0");
  CHECK(message_of({.window = weir::time_window{1s, 0}}) ==
        "circuit_breaker: time_window.buckets must be positive, got 0");
  CHECK(message_of({.window = weir::time_window{10ns, 3}}) ==
        "circuit_breaker: time_window.length must be a multiple of 3 nanoseconds, one for each of its "
        "buckets, got 10");
  CHECK(message_of({.window = weir::consecutive_failures{0}}) ==
        "circuit_breaker: consecutive_failures.count must be positive, got 0");
  CHECK(message_of({.window = weir::consecutive_failures{1}, .slow = weir::slow_calls{1s}}) ==
        "circuit_breaker: slow must not be given with consecutive_failures");
  CHECK(message_of({.failure_rate = {0}}) ==
        "circuit_breaker: failure_rate must be above 0 and at most 1, got 0/100");
  CHECK(message_of({.failure_rate = {101}}) ==
        "circuit_breaker: failure_rate must be above 0 and at most 1, got 101/100");
  CHECK(message_of({.slow = weir::slow_calls{1s, {1, 0}}}) ==
        "circuit_breaker: slow.rate must be above 0 and at most 1, got 1/0");
  CHECK(message_of({.slow = weir::slow_calls{-1ns}}) ==
        "circuit_breaker: slow.longer_than must not be negative, got nanoseconds: -1");
  CHECK(message_of({.minimum_calls = 0}) == "circuit_breaker: minimum_calls must be positive, got 0");
  CHECK(message_of({.open_for = 0s}) == "circuit_breaker: open_for must be positive, got nanoseconds: 0");
  CHECK(message_of({.open_for_factor = 0.5}) ==
        "circuit_breaker: open_for_factor must be at least 1 and finite, got 0.500000");
  CHECK(message_of({.open_for_factor = nan}).find("open_for_factor must be") != std::string::npos);
  CHECK(message_of({.open_for = 2s, .open_for_max = 1s}).find("open_for_max must be at least open_for") !=
        std::string::npos);
  CHECK(message_of({.open_for_jitter = 1.0}).find("open_for_jitter must be") != std::string::npos);
  CHECK(message_of({.open_for_jitter = nan}).find("open_for_jitter must be") != std::string::npos);
  CHECK(message_of({.probes = 0}) == "circuit_breaker: probes must be positive, got 0");
  CHECK(message_of({.probes = 2, .probe_successes = 3}) ==
        "circuit_breaker: probe_successes must be from 1 to the probes, 2, got 3");
  CHECK(message_of({.half_open_max_wait = 0s}) ==
        "circuit_breaker: half_open_max_wait must be positive, got nanoseconds: 0");
}

TEST_CASE("a call hands on what the function returns, and records it", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  CHECK(breaker.call([] { return std::make_unique<int>(3); }).value() != nullptr);
  CHECK(breaker.call([] {}));
  CHECK(breaker.call([]() -> outcome<int> { return 4; }).value() == 4);
  CHECK(breaker.stats().successes == 3);
}

TEST_CASE("the function's exception passes through once it is recorded", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  const auto broken = []() -> int { throw std::runtime_error{"no route"}; };
  CHECK_THROWS_AS(breaker.call(broken), std::runtime_error);
  CHECK(breaker.stats().failures == 1);
  CHECK_THROWS_AS(breaker.call(broken), std::runtime_error);
  CHECK(breaker.state() == breaker_state::open);
  CHECK(breaker.call(broken).error().reason == refusal_reason::circuit_open);
}

TEST_CASE("a refusal of a policy inside says nothing about the callee", "[circuit_breaker]") {
  // CB-18
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  for (const auto reason :
       {refusal_reason::rate_limited, refusal_reason::cancelled, refusal_reason::circuit_open}) {
    const auto inner = breaker.call([&]() -> outcome<int> { return refusal{reason, 3s}; });
    CHECK(inner.error() == refusal{reason, 3s});
  }
  CHECK(breaker.stats().ignored == 3);
  CHECK(breaker.stats().window_calls == 0);
}

TEST_CASE("a classifier decides, for results and for exceptions", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{{}, clock.source()};
  const auto by_status = [](int status) {
    return status >= 500   ? call_verdict::failure
           : status == 404 ? call_verdict::ignore
                           : call_verdict::success;
  };
  for (const int status : {200, 404, 503})
    CHECK(breaker.call([&] { return status; }, by_status).value() == status);
  CHECK(breaker.stats().successes == 1);
  CHECK(breaker.stats().ignored == 1);
  CHECK(breaker.stats().failures == 1);
  const auto harmless = [](const std::exception_ptr&) { return call_verdict::success; };
  CHECK_THROWS_AS(breaker.call([] { throw 1; }, harmless), int);
  CHECK(breaker.stats().successes == 2);
  CHECK_THROWS_AS(breaker.call([]() -> int { throw 1; }, by_status), int);  // not its kind: the default
  CHECK(breaker.stats().failures == 2);
}

TEST_CASE("a classifier that throws leaves the call ignored", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  const auto broken = [](int) -> call_verdict { throw std::logic_error{"?"}; };
  CHECK_THROWS_AS(breaker.call([] { return 1; }, broken), std::logic_error);
  const auto broken_too = [](const std::exception_ptr&) -> call_verdict { throw std::logic_error{"?"}; };
  CHECK_THROWS_AS(breaker.call([] { throw 1; }, broken_too), std::logic_error);
  CHECK(breaker.stats().ignored == 2);
  CHECK(breaker.stats().failures == 0);
}

TEST_CASE("a permit reports once: dropped it is ignored, moved from it is nothing", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  {
    auto dropped = breaker.try_acquire();
  }
  CHECK(breaker.stats().ignored == 1);
  auto p = std::move(breaker.try_acquire()).value();
  auto q = std::move(p);
  CHECK_FALSE(p);  // NOLINT(bugprone-use-after-move)
  std::move(p).failure();
  std::move(q).success();
  std::move(q).failure();
  CHECK(breaker.stats().successes == 1);
  CHECK(breaker.stats().failures == 0);
  auto a = std::move(breaker.try_acquire()).value();
  a = std::move(breaker.try_acquire()).value();  // the first is ignored
  CHECK(breaker.stats().ignored == 2);
  std::thread{[moved = std::move(a)]() mutable { std::move(moved).success(); }}.join();
  CHECK(breaker.stats().successes == 2);
}

TEST_CASE("slow calls open it like failures, only longer ones are slow", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{
      {.window = weir::count_window{4}, .slow = weir::slow_calls{4s, {50}}, .minimum_calls = 2},
      clock.source()};
  const auto taking = [&](weir::duration d) {
    auto p = breaker.try_acquire();
    clock.advance(d);
    std::move(*p).success();
  };
  taking(4s);
  taking(4s);
  CHECK(breaker.stats().slow == 0);
  CHECK(breaker.state() == breaker_state::closed);
  taking(4s + 1ns);
  CHECK(breaker.stats().window_slow == 1);
  taking(5s);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("an odd share is judged exactly", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{{.window = weir::count_window{3}, .failure_rate = {1, 3}}, clock.source()};
  for (int i = 0; i < 2; ++i) std::move(*breaker.try_acquire()).success();
  fail(breaker, 1);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("moves are told in order, once; a move to the same state is not", "[circuit_breaker]") {
  manual_clock clock;
  moves moved;
  std::vector<refusal> refused;
  basic_circuit_breaker breaker{small, clock.source(), listener{&moved, &refused}};
  breaker.reset();
  fail(breaker, 2);
  CHECK_FALSE(breaker.try_acquire());
  clock.advance(1s);
  std::move(*breaker.try_acquire()).success();
  breaker.force_open();
  CHECK_FALSE(breaker.try_acquire());
  breaker.disable();
  breaker.metrics_only();
  using enum breaker_state;
  CHECK(moved == moves{{closed, open},
                       {open, half_open},
                       {half_open, closed},
                       {closed, forced_open},
                       {forced_open, disabled},
                       {disabled, breaker_state::metrics_only}});
  CHECK(refused ==
        std::vector<refusal>{{refusal_reason::circuit_open, 1s}, {refusal_reason::circuit_open, 0s}});
  CHECK(breaker.stats().opened == 1);
  CHECK(breaker.stats().refused == 2);
}

TEST_CASE("an observer may use the breaker: it is told outside the lock", "[circuit_breaker]") {
  manual_clock clock;
  moves moved;
  std::vector<refusal> refused;
  std::function<void()> meanwhile = [] {};
  basic_circuit_breaker breaker{small, clock.source(), listener{&moved, &refused, &meanwhile}};
  meanwhile = [&] {
    if (breaker.state() == breaker_state::open) breaker.force_open();
    static_cast<void>(breaker.stats());
  };
  fail(breaker, 2);
  using enum breaker_state;
  CHECK(moved == moves{{closed, open}, {open, forced_open}});
}

TEST_CASE("disabled records nothing, metrics_only records and never opens", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  breaker.disable();
  fail(breaker, 5);
  CHECK(breaker.stats().failures == 0);
  breaker.metrics_only();
  fail(breaker, 5);
  CHECK(breaker.state() == breaker_state::metrics_only);
  CHECK(breaker.stats().failures == 5);
  CHECK(breaker.stats().window_failed == 2);
}

TEST_CASE("a move by hand makes what is under way late", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{small, clock.source()};
  auto p = breaker.try_acquire();
  breaker.reset();
  std::move(*p).failure();
  CHECK(breaker.stats().late == 1);
  CHECK(breaker.stats().failures == 0);
  CHECK(breaker.stats().window_calls == 0);
}

TEST_CASE("jitter shortens the open wait, inside its share, and the same seed draws the same",
          "[circuit_breaker]") {
  std::vector<std::int64_t> first;
  for (int pass = 0; pass < 2; ++pass) {
    manual_clock clock;
    basic_circuit_breaker breaker{
        {.window = weir::count_window{1}, .open_for = 10s, .open_for_jitter = 0.25, .seed = 42},
        clock.source()};
    std::vector<std::int64_t> waits;
    for (int i = 0; i < 50; ++i) {
      fail(breaker, 1);
      const auto wait = *breaker.try_acquire().error().retry_after;
      CHECK(wait <= 10s);
      CHECK(wait > 7500ms);
      waits.push_back(wait.count());
      clock.advance(wait);
    }
    CHECK(waits.front() != waits.back());
    if (pass == 0) first = waits;
    CHECK(waits == first);
  }
}

TEST_CASE("a wait that grows for ever stays at its cap", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{
      {.window = weir::count_window{1}, .open_for = 1s, .open_for_factor = 1e300, .open_for_max = 24h},
      clock.source()};
  fail(breaker, 1);
  for (int i = 0; i < 10; ++i) {
    clock.advance(24h);
    fail(breaker, 1);
    CHECK(breaker.try_acquire().error().retry_after == 24h);
  }
}

TEST_CASE("a clock that steps back does not shorten the open wait", "[circuit_breaker]") {
  manual_clock clock{weir::time_point{100s}};
  basic_circuit_breaker breaker{small, clock.source()};
  fail(breaker, 2);
  clock.set(weir::time_point{50s});
  CHECK(breaker.try_acquire().error().retry_after == 51s);
  clock.set(weir::time_point{101s});
  CHECK(breaker.try_acquire());
}

TEST_CASE("reconfiguring keeps the state and judges by the new options", "[circuit_breaker]") {
  manual_clock clock;
  basic_circuit_breaker breaker{{.window = weir::count_window{10}, .failure_rate = {100}, .minimum_calls = 2},
                                clock.source()};
  std::move(*breaker.try_acquire()).success();
  fail(breaker, 2);
  CHECK(breaker.state() == breaker_state::closed);
  breaker.reconfigure(
      {.window = weir::count_window{10}, .failure_rate = {50}, .minimum_calls = 2, .open_for = 1s});
  CHECK(breaker.stats().window_calls == 3);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::open);
  breaker.reconfigure({.window = weir::consecutive_failures{1}, .open_for = 1h, .probes = 2});
  clock.advance(1s);  // the wait that had begun
  auto probe = breaker.try_acquire();
  REQUIRE(probe);
  CHECK(breaker.try_acquire());
  breaker.reconfigure({.window = weir::consecutive_failures{1}, .open_for = 1h, .probes = 1});
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*probe).success();  // of before
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::closed);
  CHECK_THROWS_AS(breaker.reconfigure({.probes = 0}), std::invalid_argument);
  CHECK(breaker.stats().late == 1);
}
