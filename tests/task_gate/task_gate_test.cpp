// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::refused_for_ever;
using weir::run_result;
using weir::task_gate;
using weir::testing::manual_clock;

namespace {

using manual_gate = weir::basic_task_gate<manual_clock::view>;
using pass = task_gate::pass;

static_assert(!std::copy_constructible<pass>);
static_assert(std::is_nothrow_move_constructible_v<pass> && std::is_nothrow_move_assignable_v<pass>);
static_assert(!std::move_constructible<task_gate>);
// A pass is ended by giving it up, not by a call on an lvalue.
template <class P>
concept released_as_lvalue = requires(P& p) { p.release(); };
static_assert(!released_as_lvalue<pass>);

template <class Gate>
void await_waiting(const Gate& gate, std::size_t count) {
  while (gate.stats().waiting != count) std::this_thread::yield();
}

struct reason_log {
  std::vector<refusal_reason>* seen;
  void on_refused(const refusal& why) noexcept { seen->push_back(why.reason); }
};

}  // namespace

// GT-01
TEST_CASE("passes are given while units are left, as the table of the weighted semaphore says",
          "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  std::vector<std::optional<pass>> in;
  outcome<pass> first = gate.enter();
  REQUIRE(first);
  in.push_back(gate.try_enter());
  CHECK(in.back());
  CHECK_FALSE(gate.try_enter());
  std::move(*first).release();
  in.clear();
  in.push_back(gate.try_enter());
  CHECK(in.back());
  outcome<pass> second = gate.enter();
  CHECK(second);
  CHECK_FALSE(gate.try_enter());
  CHECK(gate.stats().running == 2);
}

// GT-02
TEST_CASE("small ones queue behind a big waiter, and enter when it gives up", "[task_gate]") {
  task_gate gate{{.capacity = 10}};
  auto a = gate.try_enter();
  REQUIRE(a);
  std::stop_source stop;
  std::optional<refusal> b;
  std::optional<outcome<pass>> c;
  std::thread big{[&] { b = gate.enter(stop.get_token(), 10).error(); }};
  await_waiting(gate, 1);
  CHECK_FALSE(gate.try_enter());  // nine are free, but not past the one who waits
  std::thread small{[&] { c.emplace(gate.enter()); }};
  await_waiting(gate, 2);
  stop.request_stop();
  big.join();
  small.join();
  CHECK(b == refusal{refusal_reason::cancelled});
  REQUIRE(c->has_value());
  CHECK(gate.stats().running == 2);
  CHECK(gate.try_enter());
}

// GT-04
TEST_CASE("more than the gate can ever give is refused at once and for ever, and harms nobody",
          "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  CHECK(gate.enter({}, 3).error() == refused_for_ever(refusal_reason::exceeds_capacity));
  CHECK_FALSE(gate.try_enter(3));
  std::atomic<int> done{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i != 6; ++i) {
      callers.emplace_back([&] {
        if (const auto p = gate.enter()) ++done;
      });
    }
  }
  CHECK(done == 6);
  CHECK(gate.stats().running == 0);
}

// GT-05
TEST_CASE("the table of the bulkhead with a bounded wait holds row by row", "[task_gate]") {
  manual_clock clock;
  manual_gate gate{{.capacity = 2}, clock.source()};
  auto one = gate.try_enter();
  auto two = gate.try_enter();
  REQUIRE((one && two));
  CHECK(gate.enter_for(0ms).error() == refusal{refusal_reason::timed_out});
  CHECK(gate.enter_for(-1h).error() == refusal{refusal_reason::timed_out});

  std::optional<outcome<manual_gate::pass>> third;
  const auto wait = [&] { return std::thread{[&] { third.emplace(gate.enter_for(100ms)); }}; };
  auto caller = wait();
  clock.await_sleepers(1);
  clock.advance(50ms);
  std::move(*one).release();
  caller.join();
  CHECK(third->has_value());
  CHECK(clock.now() == weir::time_point{50ms});

  std::optional<outcome<manual_gate::pass>> kept = std::move(third);
  caller = wait();
  clock.await_sleepers(1);
  clock.advance(100ms - 1ns);
  CHECK(gate.stats().waiting == 1);
  clock.advance(1ns);
  caller.join();
  CHECK(third->error() == refusal{refusal_reason::timed_out});

  SECTION("a second leave has no effect") {
    std::move(*one).release();
    CHECK(gate.stats().running == 2);
    CHECK_FALSE(gate.try_enter());
  }
  SECTION("2 -> 1 while two are in returns at once; the next enters only after both left") {
    gate.set_capacity(1);
    CHECK(gate.stats().running == 2);
    std::move(*two).release();
    CHECK_FALSE(gate.try_enter());
    std::move(**kept).release();
    CHECK(gate.try_enter());
  }
  SECTION("1 -> 3 while one is in and two wait lets both in at once") {
    gate.set_capacity(1);
    std::move(*two).release();
    std::atomic<int> entered{0};
    std::vector<std::jthread> waiters;
    for (int i = 0; i != 2; ++i) {
      waiters.emplace_back([&] {
        if (const auto p = gate.enter()) ++entered;
      });
    }
    await_waiting(gate, 2);
    gate.set_capacity(3);
    waiters.clear();
    CHECK(entered == 2);
  }
  SECTION("a task that throws frees its slot") {
    std::move(*two).release();
    CHECK_THROWS_AS(gate.run_if_idle([] { throw std::runtime_error{"task"}; }), std::runtime_error);
    CHECK(gate.try_enter());
  }
}

TEST_CASE("run_if_idle runs or skips; a re-entry from inside is a skip", "[task_gate]") {
  task_gate gate;
  run_result inner{};
  CHECK(gate.run_if_idle([&] { inner = gate.run_if_idle([] { FAIL("overlap"); }); }) == run_result::ran);
  CHECK(inner == run_result::skipped);
  CHECK(gate.stats().ran == 1);
  CHECK(gate.stats().skipped == 1);
  gate.close();
  CHECK(gate.run_if_idle([] { FAIL("closed"); }) == run_result::closed);
}

TEST_CASE("a bad capacity or weight is a clear error", "[task_gate]") {
  CHECK_THROWS_AS((task_gate{{.capacity = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((task_gate{{.capacity = std::uint32_t{1} << 31}}), std::invalid_argument);
  task_gate most{{.capacity = std::numeric_limits<std::int32_t>::max()}};
  CHECK(most.try_enter(std::numeric_limits<std::int32_t>::max()));
  CHECK_FALSE(most.try_enter(std::numeric_limits<std::uint32_t>::max()));
  CHECK_THROWS_AS(most.try_enter(0), std::invalid_argument);
  CHECK_THROWS_AS(most.enter({}, 0), std::invalid_argument);
  try {
    most.set_capacity(0);
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    CHECK(std::string{e.what()} == "task_gate: capacity must be from 1 to 2147483647, got 0");
  }
  CHECK(most.stats().capacity == std::numeric_limits<std::int32_t>::max());
}

TEST_CASE("a pass moves, holds its units once, and may leave on another thread", "[task_gate]") {
  task_gate gate{{.capacity = 2}};
  auto a = gate.try_enter();
  auto b = gate.try_enter();
  REQUIRE((a && b));
  pass moved{std::move(*a)};
  CHECK_FALSE(*a);
  CHECK(moved);
  std::move(*a).release();  // moved from: no effect
  CHECK(gate.stats().running == 2);
  moved = std::move(*b);  // gives up its own
  CHECK(gate.stats().running == 1);
  std::thread{[p = std::move(moved)]() mutable { std::move(p).release(); }}.join();
  CHECK(gate.stats().running == 0);
}

TEST_CASE("fencing numbers grow with every pass that is asked, by whatever verb", "[task_gate]") {
  task_gate gate;
  std::uint64_t last = 0;
  for (int i = 0; i != 3; ++i) {
    auto tried = gate.try_enter();
    REQUIRE(tried->number() > last);
    last = tried->number();
    std::optional<outcome<pass>> waited;
    std::thread waiter{[&] { waited.emplace(gate.enter()); }};
    await_waiting(gate, 1);
    std::move(*tried).release();
    waiter.join();
    REQUIRE((*waited)->number() > last);
    last = (*waited)->number();
  }
  CHECK(last == 6);
}

TEST_CASE("waiters enter in the order they came", "[task_gate]") {
  task_gate gate;
  auto held = gate.try_enter();
  std::vector<int> order;  // guarded by the gate
  std::vector<std::jthread> threads;
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([&, i] {
      if (const auto p = gate.enter()) order.push_back(i);
    });
    await_waiting(gate, static_cast<std::size_t>(i) + 1);
  }
  std::move(*held).release();
  threads.clear();
  CHECK(order == std::vector{0, 1, 2, 3});
}

TEST_CASE("lowering the capacity refuses the waiters that can never fit, and serves those behind",
          "[task_gate]") {
  task_gate gate{{.capacity = 4}};
  auto held = gate.try_enter(2);
  std::optional<refusal> big;
  std::optional<outcome<pass>> small;
  std::thread a{[&] { big = gate.enter({}, 4).error(); }};
  await_waiting(gate, 1);
  std::thread b{[&] { small.emplace(gate.enter()); }};
  await_waiting(gate, 2);
  gate.set_capacity(3);
  a.join();
  b.join();
  CHECK(big == refused_for_ever(refusal_reason::exceeds_capacity));
  CHECK(small->has_value());
  CHECK(gate.stats().running == 3);
}

TEST_CASE("close refuses those who wait and those who come, and lets those inside finish", "[task_gate]") {
  task_gate gate;
  auto held = gate.try_enter();
  std::optional<refusal> waited;
  std::thread waiter{[&] { waited = gate.enter().error(); }};
  await_waiting(gate, 1);
  gate.close();
  gate.close();  // idempotent
  waiter.join();
  CHECK(waited == refused_for_ever(refusal_reason::closed));
  CHECK(gate.closed());
  CHECK_FALSE(gate.try_enter());
  CHECK(gate.enter().error() == refused_for_ever(refusal_reason::closed));
  CHECK(gate.run_coalesced([] { FAIL("closed"); }) == run_result::closed);
  std::move(*held).release();
  CHECK_FALSE(gate.try_enter());
  CHECK(gate.wait_idle());
}

TEST_CASE("wait_idle waits for the last to leave, its deadline or a stop", "[task_gate]") {
  manual_clock clock;
  manual_gate gate{{.capacity = 2}, clock.source()};
  CHECK(gate.wait_idle_for(0ms));
  auto one = gate.try_enter();
  auto two = gate.try_enter();
  outcome<> idle;
  std::stop_source stop;
  const auto wait = [&] { return std::thread{[&] { idle = gate.wait_idle_for(10ms, stop.get_token()); }}; };
  SECTION("the last") {
    auto waiter = wait();
    clock.await_sleepers(1);
    std::move(*one).release();
    CHECK(clock.sleepers() == 1);
    std::move(*two).release();
    waiter.join();
    CHECK(idle);
  }
  SECTION("its deadline") {
    auto waiter = wait();
    clock.await_sleepers(1);
    clock.advance(10ms);
    waiter.join();
    CHECK(idle.error() == refusal{refusal_reason::timed_out});
  }
  SECTION("a stop") {
    auto waiter = wait();
    clock.await_sleepers(1);
    stop.request_stop();
    waiter.join();
    CHECK(idle.error() == refusal{refusal_reason::cancelled});
  }
  // A watcher hinders nobody, and leaves nothing behind.
  std::move(*one).release();
  std::move(*two).release();
  CHECK(gate.try_enter());
}

TEST_CASE("the longest run is known, thrown ones included", "[task_gate]") {
  manual_clock clock;
  manual_gate gate{{}, clock.source()};
  gate.run_if_idle([&] { clock.advance(3ms); });
  CHECK_THROWS(gate.run_if_idle([&] {
    clock.advance(7ms);
    throw std::runtime_error{"task"};
  }));
  gate.run_coalesced([&] { clock.advance(5ms); });
  gate.run_if_idle([&] { clock.set(weir::time_point{}); });  // a clock that steps back
  CHECK(gate.stats().longest == 7ms);
  CHECK(gate.stats().ran == 4);
}

TEST_CASE("the observer is told of each refusal, but not of the bare try", "[task_gate]") {
  std::vector<refusal_reason> seen;
  weir::basic_task_gate<weir::steady_clock, reason_log> gate{{}, {}, {&seen}};
  auto held = gate.try_enter();
  CHECK_FALSE(gate.try_enter());
  static_cast<void>(gate.enter_for(0ns));
  gate.run_if_idle([] {});
  gate.close();
  static_cast<void>(gate.enter());
  gate.run_coalesced([] {});
  CHECK(seen == std::vector{refusal_reason::timed_out, refusal_reason::busy, refusal_reason::closed,
                            refusal_reason::closed});
  CHECK(gate.stats().refused == 3);
  CHECK(gate.stats().skipped == 1);
}

namespace {

struct any_observer {
  int* told;
  void on_refused(const auto& why) const noexcept { *told += why.reason == refusal_reason::busy ? 1 : 0; }
};

}  // namespace

TEST_CASE("an observer that takes any refusal is told of those of runs, too", "[task_gate]") {
  int told = 0;
  weir::basic_task_gate<weir::steady_clock, any_observer> gate{{}, {}, any_observer{&told}};
  gate.run_if_idle([&] { CHECK(gate.run_if_idle([] {}) == run_result::skipped); });
  CHECK(told == 1);
}
