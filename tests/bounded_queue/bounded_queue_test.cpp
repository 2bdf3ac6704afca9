// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <any>
#include <concepts>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <weir/bounded_queue.hpp>
#include <weir/testing/manual_clock.hpp>

#include "bounded_queue/support.hpp"

using namespace std::chrono_literals;
using namespace bounded_queue_test;
using weir::bounded_queue;
using weir::outcome;
using weir::overflow_policy;
using weir::refusal;
using weir::refusal_reason;
using weir::refused_for_ever;
using weir::testing::manual_clock;

namespace {

template <class T>
using manual_queue = bounded_queue<T, manual_clock::view>;

using owned = std::unique_ptr<int>;

template <class T>
std::vector<T> drain(auto& queue) {
  std::vector<T> all;
  while (auto next = queue.try_pop()) all.push_back(std::move(*next));
  return all;
}

struct reason_log {
  std::vector<refusal_reason>* seen;
  void on_refused(const refusal& why) noexcept { seen->push_back(why.reason); }
};

static_assert(!std::copy_constructible<bounded_queue<int>>);
static_assert(!std::move_constructible<bounded_queue<int>>);
static_assert(std::same_as<decltype(std::declval<bounded_queue<owned>&>().pop()), outcome<owned>>);
// A move-only value can be pushed by moving only.
template <class T>
concept pushed_by_copy = requires(bounded_queue<T>& q, const T& v) { q.try_push(v); };
static_assert(pushed_by_copy<int> && !pushed_by_copy<owned>);

}  // namespace

// GT-07
TEST_CASE("the table of the bounded queue holds row by row", "[bounded_queue]") {
  manual_clock clock;
  manual_queue<owned> queue{{.capacity = 3}, clock.source()};

  for (int i : {1, 2, 3}) CHECK(queue.try_push(std::make_unique<int>(i)));
  auto four = std::make_unique<int>(4);
  CHECK(queue.try_push(std::move(four)) == refusal{refusal_reason::full});
  REQUIRE(four);  // not moved from

  outcome<> pushed = refusal{refusal_reason::full};
  std::thread producer{[&] { pushed = queue.push_for(std::move(four), 10ms); }};
  clock.await_sleepers(1);
  clock.advance(5ms);
  CHECK(**queue.try_pop() == 1);
  producer.join();
  CHECK(pushed);
  CHECK(clock.now() == weir::time_point{5ms});
  CHECK(conserved(queue));

  queue.close();
  CHECK(queue.closed());
  auto late = std::make_unique<int>(9);
  CHECK(queue.push(std::move(late)) == refused_for_ever(refusal_reason::closed));
  CHECK(late);
  for (int i : {2, 3, 4}) CHECK(**queue.pop() == i);
  CHECK(queue.pop().error() == refused_for_ever(refusal_reason::closed));
  CHECK(queue.try_pop().error() == refused_for_ever(refusal_reason::closed));
}

TEST_CASE("drop_oldest makes room at the front, drop_newest drops what comes", "[bounded_queue]") {
  std::vector<int> dropped;
  SECTION("oldest") {
    bounded_queue<int> queue{{.capacity = 3, .overflow = overflow_policy::drop_oldest},
                             [&](int&& v) { dropped.push_back(v); }};
    for (int i = 1; i <= 5; ++i) CHECK(queue.push(i));
    CHECK(dropped == std::vector{1, 2});
    CHECK(queue.stats().dropped == 2);
    CHECK(conserved(queue));
    CHECK(drain<int>(queue) == std::vector{3, 4, 5});
  }
  SECTION("newest") {
    bounded_queue<int> queue{{.capacity = 3, .overflow = overflow_policy::drop_newest},
                             [&](int&& v) { dropped.push_back(v); }};
    for (int i = 1; i <= 5; ++i) CHECK(queue.try_push(i));
    CHECK(dropped == std::vector{4, 5});
    CHECK(queue.stats().dropped == 2);
    CHECK(conserved(queue));
    CHECK(drain<int>(queue) == std::vector{1, 2, 3});
  }
  SECTION("without a handler, and after close") {
    bounded_queue<int> queue{{.capacity = 1, .overflow = overflow_policy::drop_oldest}};
    for (int i = 1; i <= 5; ++i) CHECK(queue.push(i));
    queue.close();
    CHECK(queue.push(6).error().reason == refusal_reason::closed);
    CHECK(drain<int>(queue) == std::vector{5});
    CHECK(conserved(queue));
  }
}

TEST_CASE("reject never waits and moves from nothing", "[bounded_queue]") {
  bounded_queue<owned> queue{{.capacity = 1, .overflow = overflow_policy::reject}};
  CHECK(queue.push(std::make_unique<int>(1)));
  auto two = std::make_unique<int>(2);
  CHECK(queue.push(std::move(two)).error().reason == refusal_reason::full);
  CHECK(queue.push_for(std::move(two), 1h).error().reason == refusal_reason::full);
  CHECK(*two == 2);
  CHECK(queue.stats().rejected == 2);
}

TEST_CASE("a drop handler may use the queue, and what it throws comes out of a push that has been made",
          "[bounded_queue]") {
  bounded_queue<int>* self = nullptr;
  bool angry = false;
  bounded_queue<int> queue{{.capacity = 1, .overflow = overflow_policy::drop_oldest}, [&](int&&) {
                             static_cast<void>(self->size_approx());
                             if (angry) throw std::runtime_error{"handler"};
                           }};
  self = &queue;
  CHECK(queue.push(1));
  CHECK(queue.push(2));
  angry = true;
  CHECK_THROWS_AS(queue.push(3), std::runtime_error);
  angry = false;
  CHECK(*queue.try_pop() == 3);
  CHECK(conserved(queue));
}

TEST_CASE("a bad option is a clear error", "[bounded_queue]") {
  CHECK_THROWS_AS((bounded_queue<int>{{.capacity = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((bounded_queue<int>{{.capacity = std::numeric_limits<std::size_t>::max()}}),
                  std::invalid_argument);
  CHECK_THROWS_AS((bounded_queue<int>{{.capacity = 1, .overflow = static_cast<overflow_policy>(9)}}),
                  std::invalid_argument);
  try {
    bounded_queue<int> queue{{.capacity = 0}};
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.starts_with("bounded_queue: capacity must be from 1 to "));
    CHECK(what.ends_with(", got 0"));
  }
}

TEST_CASE("regression: the capacity is exact for any number, not rounded to a power of two",
          "[bounded_queue]") {
  for (const std::size_t capacity : {1U, 2U, 3U, 5U, 16U, 63U, 64U, 100U, 1000U}) {
    bounded_queue<std::size_t> queue{{.capacity = capacity}};
    CHECK(queue.capacity() == capacity);
    // Over several laps of the ring.
    for (int lap = 0; lap != 3; ++lap) {
      for (std::size_t i = 0; i != capacity; ++i) REQUIRE(queue.try_push(i));
      REQUIRE(queue.try_push(capacity).error().reason == refusal_reason::full);
      REQUIRE(*queue.try_pop() == 0);
      REQUIRE(queue.try_push(capacity));
      for (std::size_t i = 1; i <= capacity; ++i) REQUIRE(*queue.try_pop() == i);
      REQUIRE(queue.try_pop().error().reason == refusal_reason::empty);
    }
  }
}

TEST_CASE("regression: no value of T is reserved", "[bounded_queue]") {
  bounded_queue<int> ints{{.capacity = 4}};
  for (int v : {0, -1, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    CHECK(ints.try_push(v));
  }
  CHECK(drain<int>(ints) ==
        std::vector{0, -1, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()});
  bounded_queue<owned> pointers{{.capacity = 1}};
  CHECK(pointers.try_push(nullptr));
  CHECK(*pointers.try_pop() == nullptr);
  bounded_queue<std::any> greedy{{.capacity = 1}};
  CHECK(greedy.try_push(std::any{std::string{"x"}}));
  CHECK(std::any_cast<std::string>(*greedy.try_pop()) == "x");
}

TEST_CASE("regression: close is for good, a pop that comes after it does not block", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 1}};
  queue.close();
  queue.close();  // idempotent
  CHECK(queue.pop().error().reason == refusal_reason::closed);
  CHECK(queue.pop().error().reason == refusal_reason::closed);
  CHECK(queue.push(1).error().reason == refusal_reason::closed);
}

TEST_CASE("close wakes every waiting producer and consumer", "[bounded_queue]") {
  bounded_queue<int> empty{{.capacity = 1}};
  bounded_queue<int> full{{.capacity = 1}};
  REQUIRE(full.try_push(0));
  std::vector<outcome<int>> pops(2, refusal{refusal_reason::full});
  std::vector<outcome<>> pushes(2);
  {
    std::vector<std::jthread> threads;
    for (auto& p : pops) threads.emplace_back([&] { p = empty.pop(); });
    for (auto& p : pushes) threads.emplace_back([&] { p = full.push(1); });
    await_waiting(empty, 0, 2);
    await_waiting(full, 2, 0);
    empty.close();
    full.close();
  }
  for (auto& p : pops) CHECK(p.error() == refused_for_ever(refusal_reason::closed));
  for (auto& p : pushes) CHECK(p.error() == refused_for_ever(refusal_reason::closed));
  CHECK(drain<int>(full) == std::vector{0});
}

TEST_CASE("a wait ends at its deadline, exactly, and the value stays with the caller", "[bounded_queue]") {
  manual_clock clock;
  manual_queue<owned> queue{{.capacity = 1}, clock.source()};
  outcome<owned> popped;
  std::thread consumer{[&] { popped = queue.pop_until(weir::time_point{10ms}); }};
  clock.await_sleepers(1);
  clock.advance(10ms - 1ns);
  CHECK(queue.stats().waiting_consumers == 1);
  clock.advance(1ns);
  consumer.join();
  CHECK(popped.error() == refusal{refusal_reason::timed_out});
  CHECK(queue.stats().waiting_consumers == 0);

  REQUIRE(queue.try_push(std::make_unique<int>(1)));
  auto value = std::make_unique<int>(2);
  outcome<> pushed;
  std::thread producer{[&] { pushed = queue.push_for(std::move(value), 1h); }};
  clock.await_sleepers(1);
  clock.advance(1h);
  producer.join();
  CHECK(pushed.error() == refusal{refusal_reason::timed_out});
  REQUIRE(value);
  CHECK(*value == 2);
  CHECK(queue.stats().rejected == 1);

  // Zero and negative waits ask once.
  CHECK(queue.push_for(std::move(value), 0ns).error().reason == refusal_reason::timed_out);
  CHECK(queue.push_for(std::move(value), -1h).error().reason == refusal_reason::timed_out);
  CHECK(**queue.pop_for(-1h) == 1);
  CHECK(queue.pop_for(0ns).error().reason == refusal_reason::timed_out);
}

TEST_CASE("a stop request ends a wait and loses nothing", "[bounded_queue]") {
  bounded_queue<owned> queue{{.capacity = 1}};
  std::stop_source stop;
  outcome<owned> popped;
  std::thread consumer{[&] { popped = queue.pop(stop.get_token()); }};
  await_waiting(queue, 0, 1);
  stop.request_stop();
  consumer.join();
  CHECK(popped.error() == refusal{refusal_reason::cancelled});

  // What can be done at once is done.
  auto value = std::make_unique<int>(1);
  CHECK(queue.push(std::move(value), stop.get_token()));
  value = std::make_unique<int>(2);
  CHECK(queue.push(std::move(value), stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK(*value == 2);
  CHECK(**queue.pop(stop.get_token()) == 1);
  CHECK(conserved(queue));
}

TEST_CASE("regression: a waiter that gives up swallows nobody's wake-up", "[bounded_queue]") {
  manual_clock clock;
  manual_queue<int> queue{{.capacity = 1}, clock.source()};
  outcome<int> first, second;
  std::thread a{[&] { first = queue.pop_for(10ms); }};
  clock.await_sleepers(1);
  std::thread b{[&] { second = queue.pop_for(1h); }};
  clock.await_sleepers(2);
  clock.advance(10ms);
  REQUIRE(queue.push(7));
  a.join();
  clock.advance(1h);
  b.join();
  // The value went to the one or the other, whoever was first in the list at that moment; it went nowhere
  // else.
  CHECK(first.has_value() != second.has_value());
  CHECK(queue.stats().popped == 1);
  if (first.has_value()) CHECK(second.error().reason == refusal_reason::timed_out);
}

TEST_CASE("producers are served in the order they came", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 1}};
  REQUIRE(queue.try_push(0));
  std::vector<std::jthread> threads;
  for (int i = 1; i <= 4; ++i) {
    threads.emplace_back([&queue, i] { static_cast<void>(queue.push(i)); });
    await_waiting(queue, static_cast<std::size_t>(i), 0);
  }
  for (int i = 0; i <= 4; ++i) CHECK(*queue.pop() == i);
}

TEST_CASE("a value promised to a waiting consumer is nobody else's", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 4}};
  for (int round = 0; round != 200; ++round) {
    outcome<int> got;
    std::thread consumer{[&] { got = queue.pop(); }};
    await_waiting(queue, 0, 1);
    REQUIRE(queue.try_push(round));
    // The consumer may not have woken yet.
    REQUIRE(queue.try_pop().error().reason == refusal_reason::empty);
    REQUIRE(queue.close_and_take().empty() == true);
    consumer.join();
    REQUIRE(*got == round);
    REQUIRE(conserved(queue));
    if (round == 0) break;  // closed now
  }
}

TEST_CASE("close_and_take gives back what was left, in order", "[bounded_queue]") {
  bounded_queue<owned> queue{{.capacity = 3}};
  for (int i : {0, 1, 2}) REQUIRE(queue.try_push(std::make_unique<int>(i)));
  REQUIRE(queue.try_pop());
  REQUIRE(queue.try_push(std::make_unique<int>(3)));  // over the end of the ring
  const auto left = queue.close_and_take();
  REQUIRE(left.size() == 3);
  for (int i : {1, 2, 3}) CHECK(*left[static_cast<std::size_t>(i - 1)] == i);
  CHECK(queue.closed());
  CHECK(queue.close_and_take().empty());
  CHECK(queue.stats().popped == 4);
  CHECK(conserved(queue));
}

TEST_CASE("the destructor hands what is left to the drop handler", "[bounded_queue]") {
  std::vector<int> dropped;
  {
    bounded_queue<owned> queue{{.capacity = 3}, [&](owned&& v) { dropped.push_back(*v); }};
    for (int i : {1, 2}) REQUIRE(queue.try_push(std::make_unique<int>(i)));
  }
  CHECK(dropped == std::vector{1, 2});
}

TEST_CASE("batches move many at a time", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 4}};
  std::vector<int> out;
  CHECK(queue.try_pop_n(out, 3).error().reason == refusal_reason::empty);
  std::vector values{1, 2, 3, 4, 5};
  const auto some = queue.try_push_range(values);
  CHECK(some.pushed == 4);
  CHECK(some.ended.error().reason == refusal_reason::full);
  CHECK(*queue.try_pop_n(out, 0) == 0);
  CHECK(*queue.try_pop_n(out, 3) == 3);
  CHECK(out == std::vector{1, 2, 3});
  CHECK(*queue.try_pop_n(out, std::numeric_limits<std::size_t>::max()) == 1);
  CHECK(out.back() == 4);

  const auto all = queue.push_range(std::span{values}.first(2));
  CHECK(all.pushed == 2);
  CHECK(all.ended);
  queue.close();
  CHECK(queue.push_range(values).ended.error().reason == refusal_reason::closed);
  CHECK(*queue.try_pop_n(out, 9) == 2);
  CHECK(queue.try_pop_n(out, 9).error().reason == refusal_reason::closed);
}

TEST_CASE("a batch pop takes along what waiting producers bring", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 2}};
  std::vector values{0, 1, 2, 3, 4, 5};
  std::jthread producer{[&] { static_cast<void>(queue.push_range(values)); }};
  std::vector<int> out;
  while (out.size() < values.size()) REQUIRE(queue.pop_up_to(out, 9, 0ns));
  CHECK(out == values);
}

TEST_CASE("pop_up_to lingers for more after the first, and no longer", "[bounded_queue]") {
  manual_clock clock;
  manual_queue<int> queue{{.capacity = 2}, clock.source()};
  std::vector<int> out;
  outcome<std::size_t> count;
  auto start = [&](auto... more) {
    return std::thread{[&, more...] { count = queue.pop_up_to(out, 3, 10ms, more...); }};
  };
  SECTION("until there are enough, also beyond the capacity") {
    auto consumer = start();
    for (int i : {1, 2, 3}) REQUIRE(queue.push(i));
    consumer.join();
    CHECK(*count == 3);
    CHECK(out == std::vector{1, 2, 3});
  }
  SECTION("until the linger is over") {
    auto consumer = start();
    REQUIRE(queue.push(1));
    clock.await_sleepers(1);
    clock.advance(10ms);
    consumer.join();
    CHECK(*count == 1);
  }
  SECTION("until close") {
    auto consumer = start();
    REQUIRE(queue.push(1));
    clock.await_sleepers(1);
    queue.close();
    consumer.join();
    CHECK(*count == 1);
    CHECK(queue.pop_up_to(out, 3, 10ms).error().reason == refusal_reason::closed);
  }
  SECTION("until a stop") {
    std::stop_source stop;
    auto consumer = start(stop.get_token());
    REQUIRE(queue.push(1));
    clock.await_sleepers(1);
    stop.request_stop();
    consumer.join();
    CHECK(*count == 1);
    CHECK(queue.pop_up_to(out, 3, 10ms, stop.get_token()).error().reason == refusal_reason::cancelled);
  }
  SECTION("not at all for nothing") {
    CHECK(*queue.pop_up_to(out, 0, 10ms) == 0);
    CHECK(queue.pop_up_to_until(out, 3, 10ms, clock.now()).error().reason == refusal_reason::timed_out);
    REQUIRE(queue.push(1));
    CHECK(*queue.pop_up_to(out, 3, -1ns) == 1);
  }
}

TEST_CASE("the observer is told of each refusal, once", "[bounded_queue]") {
  manual_clock clock;
  std::vector<refusal_reason> seen;
  bounded_queue<int, manual_clock::view, reason_log> queue{{.capacity = 1}, clock.source(), {&seen}};
  static_cast<void>(queue.try_pop());
  static_cast<void>(queue.push(1));
  static_cast<void>(queue.try_push(2));
  static_cast<void>(queue.push_for(2, 0ns));
  queue.close();
  static_cast<void>(queue.push(2));
  CHECK(seen == std::vector{refusal_reason::empty, refusal_reason::full, refusal_reason::timed_out,
                            refusal_reason::closed});
}
