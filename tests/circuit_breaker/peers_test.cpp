// SPDX-License-Identifier: BSL-1.0
// Faults that other breakers have had: each test says what must hold instead.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::refusal;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;

circuit_breaker_options one_failure(std::uint32_t probes = 1) {
  return {.window = weir::consecutive_failures{1}, .open_for = 1s, .probes = probes};
}

void fail(breaker_type& breaker, int times = 1) {
  for (int i = 0; i < times; ++i) std::move(*breaker.try_acquire()).failure();
}

/// Open, and its wait is over.
void make_due(breaker_type& breaker, manual_clock& clock) {
  breaker.transition_to(breaker_state::open);
  clock.advance(1s);
}

}  // namespace

TEST_CASE("probes that hang keep nobody out for longer than a wait", "[circuit_breaker][peers]") {
  // resilience4j#903, #935, #1568, #2172; opossum#276; Polly v8
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  make_due(breaker, clock);
  const auto hangs = breaker.try_acquire();
  CHECK_FALSE(breaker.try_acquire());
  clock.advance(1s);
  CHECK(breaker.state() == breaker_state::open);
  clock.advance(1s);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("too few probes for a verdict are no reason to stay half_open when their callers come back",
          "[circuit_breaker][peers]") {
  // resilience4j#935
  manual_clock clock;
  breaker_type breaker{one_failure(3), clock.source()};
  make_due(breaker, clock);
  std::move(*breaker.try_acquire()).success();
  clock.advance(1h);
  std::move(*breaker.try_acquire()).success();
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("a last probe that ends with an ignored error leaves its place to another",
          "[circuit_breaker][peers]") {
  // resilience4j#544; Polly#311, #717
  manual_clock clock;
  breaker_type breaker{one_failure(2), clock.source()};
  make_due(breaker, clock);
  std::move(*breaker.try_acquire()).success();
  std::move(*breaker.try_acquire()).ignore();
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("a probe that a policy inside refuses gives its place back", "[circuit_breaker][peers]") {
  // Sentinel#1638, #2136; sentinel-golang#196
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  make_due(breaker, clock);
  const auto refused = breaker.call([] { return weir::outcome<int>{refusal{refusal_reason::busy}}; });
  CHECK(refused.error().reason == refusal_reason::busy);
  CHECK(breaker.state() == breaker_state::half_open);
  CHECK(breaker.call([] { return 7; }).value() == 7);
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("a probe that leaves by an exception is over", "[circuit_breaker][peers]") {
  // failsafe-go: a panic in the call loses the place
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  make_due(breaker, clock);
  CHECK_THROWS_AS(breaker.call([]() -> int { throw std::runtime_error{"down"}; }), std::runtime_error);
  CHECK(breaker.state() == breaker_state::open);
  clock.advance(1s);
  CHECK(breaker.try_acquire());
}

TEST_CASE("no more calls than there are probes pass when the wait is over", "[circuit_breaker][peers]") {
  // resilience4j#1432; Polly#216, #254; opossum#119; brpc: no cap at all
  for (std::uint32_t probes = 1; probes <= 5; ++probes) {
    manual_clock clock;
    breaker_type breaker{one_failure(probes), clock.source()};
    make_due(breaker, clock);
    std::vector<breaker_type::permit> out;
    for (int i = 0; i < 20; ++i) {
      if (auto p = breaker.try_acquire()) out.push_back(std::move(*p));
    }
    CHECK(out.size() == probes);
  }
}

TEST_CASE("results of calls admitted while it was closed do not judge its probes",
          "[circuit_breaker][peers]") {
  // resilience4j, Failsafe, failsafe-go, Polly#217, Sentinel, brpc
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  auto slow_good = breaker.try_acquire();
  auto slow_bad = breaker.try_acquire();
  fail(breaker);
  clock.advance(1s);
  auto probe = breaker.try_acquire();
  std::move(*slow_good).success();
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*slow_bad).failure();
  CHECK(breaker.state() == breaker_state::half_open);
  CHECK(breaker.stats().late == 2);
  std::move(*probe).success();
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("late ignored results give back no place of a probe", "[circuit_breaker][peers]") {
  // resilience4j: 2 configured, 7 admitted
  manual_clock clock;
  breaker_type breaker{one_failure(2), clock.source()};
  std::vector<breaker_type::permit> old;
  for (int i = 0; i < 5; ++i) old.push_back(*breaker.try_acquire());
  make_due(breaker, clock);
  auto first = breaker.try_acquire();
  auto second = breaker.try_acquire();
  for (auto& p : old) std::move(p).ignore();
  CHECK_FALSE(breaker.try_acquire());
}

TEST_CASE("calls that overhang the opening do not report it again", "[circuit_breaker][peers]") {
  // Polly#218, #223
  struct counter {
    int* opened;
    static void on_refused(const refusal&) noexcept {}
    void on_transition(breaker_state, breaker_state to) const noexcept {
      *opened += to == breaker_state::open ? 1 : 0;
    }
  };
  manual_clock clock;
  int opened = 0;
  basic_circuit_breaker breaker{one_failure(), clock.source(), counter{&opened}};
  auto a = breaker.try_acquire();
  auto b = breaker.try_acquire();
  auto c = breaker.try_acquire();
  std::move(*a).failure();
  std::move(*b).failure();
  std::move(*c).failure();
  CHECK(opened == 1);
  CHECK(breaker.stats().opened == 1);
}

TEST_CASE("probes are judged among themselves, not in the window of time", "[circuit_breaker][peers]") {
  // resilience4j#597
  manual_clock clock;
  breaker_type breaker{{.window = weir::time_window{1s}, .minimum_calls = 1, .open_for = 1s, .probes = 3},
                       clock.source()};
  make_due(breaker, clock);
  for (int i = 0; i < 3; ++i) {
    CHECK(breaker.state() == breaker_state::half_open);
    auto p = breaker.try_acquire();
    clock.advance(900ms);  // the window forgets it, the probes do not
    std::move(*p).success();
  }
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("a window of time below its minimum never opens, and says how many it holds",
          "[circuit_breaker][peers]") {
  // resilience4j#1443
  manual_clock clock;
  breaker_type breaker{{.window = weir::time_window{10s}, .minimum_calls = 5}, clock.source()};
  fail(breaker, 4);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_failed == 4);
  clock.advance(10s);
  fail(breaker, 4);
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().window_calls == 4);
}

TEST_CASE("a window of one second in one bucket works at its edges", "[circuit_breaker][peers]") {
  // resilience4j#2334
  manual_clock clock;
  breaker_type breaker{{.window = weir::time_window{1s, 1}, .minimum_calls = 2}, clock.source()};
  for (int i = 0; i < 50; ++i) {
    std::move(*breaker.try_acquire()).success();
    CHECK(breaker.stats().window_calls == 1);
    clock.advance(1s);
    CHECK(breaker.stats().window_calls == 0);
  }
}

TEST_CASE("reading the counts with a clock that is behind evicts nothing", "[circuit_breaker][peers]") {
  // resilience4j: 10 calls gone after 10 reads
  manual_clock clock{weir::time_point{10s}};
  breaker_type breaker{{.window = weir::time_window{10s}}, clock.source()};
  for (int i = 0; i < 10; ++i) std::move(*breaker.try_acquire()).success();
  clock.set(weir::time_point{8s});
  for (int i = 0; i < 10; ++i) CHECK(breaker.stats().window_calls == 10);
}

TEST_CASE("a rate of 100 % is reached when every call fails", "[circuit_breaker][peers]") {
  // Sentinel#1779; sentinel-golang#315
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{5}, .failure_rate = {1, 1}}, clock.source()};
  fail(breaker, 4);
  CHECK(breaker.state() == breaker_state::closed);
  fail(breaker);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("so many successes of so many probes close it, as was asked for", "[circuit_breaker][peers]") {
  // gobreaker#53, #49, #30, #63; Polly#239
  manual_clock clock;
  auto options = one_failure(5);
  options.probe_successes = 2;
  breaker_type breaker{options, clock.source()};
  make_due(breaker, clock);
  fail(breaker, 3);
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::half_open);
  std::move(*breaker.try_acquire()).success();
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("callers that leave do not open it", "[circuit_breaker][peers]") {
  // go-service#3019; encryptonize#266; brpc#759
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  for (int i = 0; i < 10; ++i) {
    static_cast<void>(breaker.call([] { return weir::outcome<void>{refusal{refusal_reason::cancelled}}; }));
  }
  CHECK(breaker.state() == breaker_state::closed);
  CHECK(breaker.stats().ignored == 10);
}

TEST_CASE("a probe whose caller leaves does not close it", "[circuit_breaker][peers]") {
  // Polly v8: a cancelled probe closes the circuit with no answer from the callee
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  make_due(breaker, clock);
  static_cast<void>(breaker.call([] { return weir::outcome<void>{refusal{refusal_reason::cancelled}}; }));
  CHECK(breaker.state() == breaker_state::half_open);
}

TEST_CASE("to be looked at is enough to become half_open", "[circuit_breaker][peers]") {
  // Polly#481; zentinel#261
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  make_due(breaker, clock);
  CHECK(breaker.state() == breaker_state::half_open);
}

TEST_CASE("later openings need no more failures than the first, and wait longer",
          "[circuit_breaker][peers]") {
  // envoy#40697, #26758, #19869
  manual_clock clock;
  auto options = one_failure();
  options.open_for_factor = 2;
  breaker_type breaker{options, clock.source()};
  weir::duration wait = 1s;
  for (int i = 0; i < 5; ++i, wait *= 2) {
    fail(breaker);
    REQUIRE(breaker.state() == breaker_state::open);
    CHECK(breaker.try_acquire().error().retry_after == wait);
    clock.advance(wait);
  }
}

TEST_CASE("an opening is not lost, whoever else reports", "[circuit_breaker][peers][stress]") {
  // envoy#18950
  for (int round = 0; round < 100; ++round) {
    manual_clock clock;
    breaker_type breaker{{.window = weir::consecutive_failures{1}}, clock.source()};
    std::vector<breaker_type::permit> permits;
    for (int i = 0; i < 200; ++i) permits.push_back(*breaker.try_acquire());
    {
      std::jthread good{[&] {
        for (std::size_t i = 1; i < permits.size(); ++i) std::move(permits[i]).success();
      }};
      std::move(permits[0]).failure();
    }
    const auto s = breaker.stats();
    CHECK(s.state == breaker_state::open);
    CHECK(s.successes + s.late == 199);
  }
}

TEST_CASE("nothing is locked while the call runs", "[circuit_breaker][peers]") {
  // gobreaker, shared state: the lock is held during the call
  manual_clock clock;
  breaker_type breaker{one_failure(2), clock.source()};
  make_due(breaker, clock);
  const auto inner = breaker.call([&] { return breaker.call([&] { return breaker.stats().state; }); });
  CHECK(inner.value() == breaker_state::half_open);
  CHECK(breaker.state() == breaker_state::closed);
}

TEST_CASE("calls that fail fast count as much as those that fail slowly", "[circuit_breaker][peers]") {
  // brpc: 90 % of calls failing in 10 us each did not trip it in 400000
  manual_clock clock;
  breaker_type breaker{{}, clock.source()};
  int calls = 0;
  while (breaker.state() == breaker_state::closed) {
    auto p = breaker.try_acquire();
    clock.advance(10us);
    std::move(*p).report(++calls % 10 == 0 ? call_verdict::success : call_verdict::failure);
  }
  CHECK(calls == 20);
}

TEST_CASE("two breakers have nothing in common", "[circuit_breaker][peers]") {
  // brpc: flags of the process
  manual_clock clock;
  breaker_type strict{one_failure(), clock.source()};
  breaker_type lenient{{.window = weir::consecutive_failures{2}}, clock.source()};
  fail(strict);
  fail(lenient);
  CHECK(strict.state() == breaker_state::open);
  CHECK(lenient.state() == breaker_state::closed);
  CHECK(lenient.try_acquire());
}

TEST_CASE("a guarded call asks whether it is admitted", "[circuit_breaker][peers]") {
  // a breaker whose guard does not
  manual_clock clock;
  breaker_type breaker{one_failure(), clock.source()};
  breaker.force_open();
  bool ran = false;
  CHECK_FALSE(breaker.call([&] { ran = true; }));
  CHECK_FALSE(ran);
}
