// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>

#include <weir/batcher.hpp>
#include <weir/testing/manual_clock.hpp>

#include "batcher/support.hpp"

using namespace std::chrono_literals;
using namespace batcher_test;
using weir::batch_item;
using weir::batcher;
using weir::deadline;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

using clocked = batcher<int, int, manual_clock::view>;
using batches = std::vector<std::vector<int>>;

static_assert(!std::is_copy_constructible_v<batcher<int, int>>);
static_assert(!std::is_move_constructible_v<batcher<int, int>>);

TEST_CASE("a lone caller is served at once, on its own thread, whatever the linger", "[batcher]") {
  manual_clock clock;
  std::thread::id served_by;
  clocked b{{.linger = 1h},
            [&](std::span<int_item> batch) {
              served_by = std::this_thread::get_id();
              for (int_item& i : batch) i.set_value(i.request() + 1);
            },
            clock.source()};
  for (int i = 0; i < 3; ++i) CHECK(b.submit(i) == weir::outcome<int>{i + 1});
  CHECK(served_by == std::this_thread::get_id());
  CHECK(b.stats().batches == 3);
  CHECK(b.stats().largest_batch == 1);
}

TEST_CASE("those who come during a batch are served together in the next, each with its own answer",
          "[batcher]") {
  held_call held;
  batcher<int, int> b{{.max_batch = 10}, held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (int n = 2; n <= 4; ++n) {
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, static_cast<std::size_t>(n - 1));
  }
  held.release.count_down();
  CHECK(*first.get() == 10);
  for (int n = 2; n <= 4; ++n) CHECK(*others[static_cast<std::size_t>(n - 2)].get() == 10 * n);
  CHECK(held.batches == batches{{1}, {2, 3, 4}});
  const auto stats = b.stats();
  CHECK(stats.batches == 2);
  CHECK(stats.requests == 4);
  CHECK(stats.largest_batch == 3);
  CHECK(stats.waiting == 0);
}

TEST_CASE("a leader serves only the batch of its own request, then the first waiter leads", "[batcher]") {
  held_call held;
  batcher<int, int> b{{.max_batch = 2}, held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::vector<std::future<std::thread::id>> others;
  for (int n = 2; n <= 6; ++n) {
    others.push_back(in_thread([&b, n] {
      (void)b.submit(n);
      return std::this_thread::get_id();
    }));
    await_waiting(b, static_cast<std::size_t>(n - 1));
  }
  held.release.count_down();
  (void)first.get();
  std::vector<std::thread::id> ids;
  for (auto& o : others) ids.push_back(o.get());
  CHECK(held.batches == batches{{1}, {2, 3}, {4, 5}, {6}});  // I1
  CHECK(held.threads[1] == ids[0]);
  CHECK(held.threads[2] == ids[2]);
  CHECK(held.threads[3] == ids[4]);
}

TEST_CASE("beyond max_waiting a request is refused as full, at once", "[batcher]") {
  held_call held;
  batcher<int, int> b{{.max_waiting = 2}, held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto second = in_thread([&] { return b.submit(2); });
  auto third = in_thread([&] { return b.submit(3); });
  await_waiting(b, 2);
  CHECK(b.submit(4).error() == refusal{refusal_reason::full});
  held.release.count_down();
  CHECK(*first.get() == 10);
  CHECK(*second.get() == 20);
  CHECK(*third.get() == 30);
  CHECK(b.stats().refused == 1);
}

TEST_CASE("each item has the answer it was given: value, refusal or exception", "[batcher]") {
  held_call held;
  bool answered = false;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) {
                        if (batch.size() == 1) return held.call()(batch);
                        batch[0].set_value(7);
                        batch[1].set_refusal({refusal_reason::busy, 3s});
                        batch[2].set_exception(std::make_exception_ptr(std::runtime_error{"own"}));
                        answered = batch[2].answered() && !batch[3].answered();
                      }};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (int n = 0; n < 4; ++n) {
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, static_cast<std::size_t>(n + 1));
  }
  held.release.count_down();
  CHECK(*first.get() == 10);
  CHECK(*others[0].get() == 7);
  CHECK(others[1].get().error() == refusal{refusal_reason::busy, 3s});
  CHECK_THROWS_AS(others[2].get(), std::runtime_error);
  CHECK_THROWS_AS(others[3].get(), std::logic_error);
  CHECK(answered);
}

TEST_CASE("an item is answered once, and never with an empty exception", "[batcher]") {
  batcher<int, int> b{{}, [](std::span<int_item> batch) {
                        try {
                          batch[0].set_exception(nullptr);
                        } catch (const std::invalid_argument&) {
                          batch[0].set_value(1);
                        }
                        batch[0].set_value(2);
                      }};
  CHECK(*b.submit(0) == 1);
}

TEST_CASE("a deadline or a stop before the request is taken leaves it unexecuted, and says so", "[batcher]") {
  manual_clock clock;
  held_call held;
  clocked b{{}, held.call(), clock.source()};
  std::stop_source stop;
  auto first = in_thread([&] { return b.submit(1, time_point{1s}, stop.get_token()); });
  held.entered.wait();
  auto late = in_thread([&] { return b.submit(2, time_point{1s}); });
  auto stopped = in_thread([&] { return b.submit(3, {}, stop.get_token()); });
  auto patient = in_thread([&] { return b.submit_for(4, 2s); });
  clock.await_sleepers(2);
  await_waiting(b, 3);
  clock.advance(1s);
  CHECK(late.get().error() == refusal{refusal_reason::timed_out});
  stop.request_stop();
  CHECK(stopped.get().error() == refusal{refusal_reason::cancelled});
  CHECK(b.stats().waiting == 1);
  held.release.count_down();
  CHECK(*first.get() == 10);  // it was taken: neither its deadline nor its stop makes its answer unknown
  CHECK(*patient.get() == 40);
  CHECK(held.batches == batches{{1}, {4}});  // I2
  CHECK(b.stats().abandoned == 2);
}

TEST_CASE("a caller who comes with its deadline reached or its stop requested is not served", "[batcher]") {
  manual_clock clock{time_point{5s}};
  held_call held;
  clocked b{{}, held.call(), clock.source()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(b.submit(1, time_point{5s}).error().reason == refusal_reason::timed_out);
  CHECK(b.submit(1, {}, stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK(held.batches.empty());
}

TEST_CASE("a taken follower whose deadline passes waits for its answer", "[batcher]") {
  manual_clock clock;
  std::latch second_entered{1};
  std::latch second_release{1};
  held_call held;
  clocked b{{},
            [&](std::span<int_item> batch) {
              if (batch.size() == 2) {
                second_entered.count_down();
                second_release.wait();
              }
              held.call()(batch);
            },
            clock.source()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::stop_source stop;
  auto leader = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  auto follower = in_thread([&] { return b.submit(3, time_point{1s}, stop.get_token()); });
  clock.await_sleepers(1);
  held.release.count_down();
  second_entered.wait();
  clock.advance(1s);
  stop.request_stop();
  second_release.count_down();
  CHECK(*first.get() == 10);
  CHECK(*leader.get() == 20);
  CHECK(*follower.get() == 30);
}

TEST_CASE("a waiter that gives up at the instant it is handed leadership hands it on", "[batcher]") {
  silent_clock clock;
  held_call held;
  batcher<int, int, silent_clock::view> b{{}, held.call(), clock.source()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto heir = in_thread([&] { return b.submit(2, time_point{1s}); });
  await_waiting(b, 1);
  auto next = in_thread([&] { return b.submit(3); });
  await_waiting(b, 2);
  clock.set(1s);  // nobody is woken by it: the heir learns of its leadership and of its deadline at once
  held.release.count_down();
  CHECK(*first.get() == 10);
  CHECK(heir.get().error().reason == refusal_reason::timed_out);
  CHECK(*next.get() == 30);  // I3
  CHECK(*b.submit(4) == 40);
  CHECK(held.batches == batches{{1}, {3}, {4}});
}

TEST_CASE("a leader does not take those whose deadline has passed", "[batcher]") {
  silent_clock clock;
  held_call held;
  batcher<int, int, silent_clock::view> b{{.max_batch = 2}, held.call(), clock.source()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto leader = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  auto late = in_thread([&] { return b.submit(3, time_point{1s}); });
  await_waiting(b, 2);
  auto next = in_thread([&] { return b.submit(4); });
  await_waiting(b, 3);
  clock.set(1s);
  held.release.count_down();
  CHECK(late.get().error().reason == refusal_reason::timed_out);
  CHECK(*leader.get() == 20);
  CHECK(*next.get() == 40);
  CHECK(held.batches == batches{{1}, {2, 4}});
  (void)first.get();
}

namespace {

/// Two callers wait behind a held batch; then the second batch lingers.
struct lingering {
  manual_clock clock;
  held_call held;
  clocked b;
  std::future<weir::outcome<int>> first, leader, follower;

  explicit lingering(std::size_t max_batch = 100, std::stop_token stop = {}, deadline until = {})
      : b{{.max_batch = max_batch, .linger = 5ms}, held.call(), clock.source()} {
    first = in_thread([this] { return b.submit(1); });
    held.entered.wait();
    leader = in_thread([this, until, stop] { return b.submit(2, until, stop); });
    await_waiting(b, 1);
    follower = in_thread([this] { return b.submit(3); });
    await_waiting(b, 2);
    held.release.count_down();
    (void)first.get();
  }
};

}  // namespace

TEST_CASE("where several are on their way a leader lingers for more, and a lone caller after them does not",
          "[batcher]") {
  lingering l;
  l.clock.await_sleepers(1);
  auto more = in_thread([&] { return l.b.submit(4); });
  await_waiting(l.b, 3);
  l.clock.advance(5ms - 1ns);
  CHECK(l.b.stats().batches == 1);
  l.clock.advance(1ns);
  CHECK(*l.leader.get() == 20);
  CHECK(*l.follower.get() == 30);
  CHECK(*more.get() == 40);
  CHECK(l.held.batches == batches{{1}, {2, 3, 4}});

  // Whoever comes alone is served at once, also straight after a batch of several: the clock does not move.
  CHECK(*l.b.submit(5) == 50);
  CHECK(*l.b.submit(6) == 60);
  CHECK(l.held.batches == batches{{1}, {2, 3, 4}, {5}, {6}});
}

TEST_CASE("a linger ends when the batch is full", "[batcher]") {
  lingering l{3};
  l.clock.await_sleepers(1);
  CHECK(*l.b.submit(4) == 40);
  CHECK(*l.leader.get() == 20);
  CHECK(l.held.batches == batches{{1}, {2, 3, 4}});
}

TEST_CASE("a linger ends when the batcher is closed", "[batcher]") {
  lingering l;
  l.clock.await_sleepers(1);
  l.b.close();
  CHECK(*l.leader.get() == 20);
  CHECK(*l.follower.get() == 30);
  CHECK(l.b.submit(4).error() == weir::refused_for_ever(refusal_reason::closed));
  CHECK(l.b.is_closed());
}

TEST_CASE("nobody's deadline passes because of a linger", "[batcher]") {
  SECTION("a waiter in a hurry ends it") {
    lingering l;
    l.clock.await_sleepers(1);
    CHECK(*l.b.submit(4, time_point{5ms}) == 40);
    CHECK(l.held.batches == batches{{1}, {2, 3, 4}});
  }
  SECTION("a leader in a hurry does not begin it") {
    lingering l{100, {}, time_point{4ms}};
    CHECK(*l.leader.get() == 20);
    CHECK(*l.follower.get() == 30);
  }
}

TEST_CASE("a leader whose stop comes while it lingers hands leadership on", "[batcher]") {
  std::stop_source stop;
  lingering l{100, stop.get_token()};
  l.clock.await_sleepers(1);
  stop.request_stop();
  CHECK(l.leader.get().error().reason == refusal_reason::cancelled);
  l.clock.advance(5ms);
  CHECK(*l.follower.get() == 30);
  CHECK(l.held.batches == batches{{1}, {3}});
}

TEST_CASE("a leader that is left alone in its linger does not wait on", "[batcher]") {
  manual_clock clock;
  held_call held;
  clocked b{{.linger = 5ms}, held.call(), clock.source()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto leader = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  std::stop_source stop;
  auto follower = in_thread([&] { return b.submit(3, {}, stop.get_token()); });
  await_waiting(b, 2);
  held.release.count_down();
  clock.await_sleepers(1);
  stop.request_stop();
  CHECK(follower.get().error().reason == refusal_reason::cancelled);
  CHECK(*leader.get() == 20);  // the clock has not moved
  CHECK(*first.get() == 10);
}

TEST_CASE("a clock that steps back before a linger does not prolong it", "[batcher]") {
  manual_clock clock{time_point{1h}};
  held_call held;
  clocked b{{.linger = 5ms}, held.call(), clock.source()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto leader = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  auto follower = in_thread([&] { return b.submit(3); });
  await_waiting(b, 2);
  clock.set(time_point{-1h});
  held.release.count_down();
  clock.await_sleepers(1);
  clock.advance(5ms);
  CHECK(*leader.get() == 20);
  CHECK(*follower.get() == 30);
  CHECK(*first.get() == 10);
}

TEST_CASE("to submit from inside the call is a clear error", "[batcher]") {
  batcher<int, int>* self = nullptr;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) { batch[0].set_value(*self->submit(1)); }};
  self = &b;
  CHECK_THROWS_AS(b.submit(0), std::logic_error);
  CHECK(b.stats().batches == 1);
}

TEST_CASE("close serves those accepted and refuses the rest for ever", "[batcher]") {
  held_call held;
  batcher<int, int> b{{}, held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto second = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  b.close();
  b.close();
  CHECK(b.submit(3).error() == weir::refused_for_ever(refusal_reason::closed));
  held.release.count_down();
  CHECK(*first.get() == 10);
  CHECK(*second.get() == 20);
}

TEST_CASE("a batch is bounded by weight too, and what is heavier than any batch is refused for ever",
          "[batcher]") {
  held_call held;
  batcher<int, int> b{{.max_weight = 10, .weigh = [](const int& n) { return static_cast<std::uint64_t>(n); }},
                      held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (const int n : {4, 6, 7, 4, 10}) {
    const std::size_t before = b.stats().waiting;
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, before + 1);
  }
  CHECK(b.submit(11).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  held.release.count_down();
  for (auto& o : others) CHECK(o.get().has_value());
  CHECK(held.batches == batches{{1}, {4, 6}, {7}, {4}, {10}});
}

TEST_CASE("a request and a result may be move-only, a result may be void, a call may be move-only",
          "[batcher]") {
  using pointer = std::unique_ptr<int>;
  batcher<pointer, pointer> moves{
      {}, [owned = std::make_unique<int>(1)](std::span<batch_item<pointer, pointer>> batch) {
        for (auto& i : batch) i.set_value(std::make_unique<int>(*i.request() + *owned));
      }};
  CHECK(**moves.submit(std::make_unique<int>(4)) == 5);

  int sum = 0;
  batcher<int, void> adds{{}, [&](std::span<batch_item<int, void>> batch) {
                            for (auto& i : batch) {
                              sum += i.request();
                              i.set_value();
                            }
                          }};
  CHECK(adds.submit(4).has_value());
  CHECK(sum == 4);
}

TEST_CASE("max_batch may be any number: no batch is larger than what may wait", "[batcher]") {
  constexpr auto any = std::numeric_limits<std::size_t>::max();
  batcher<int, int> b{{.max_batch = any}, [](std::span<int_item> batch) { batch[0].set_value(1); }};
  CHECK(*b.submit(0) == 1);
}

TEST_CASE("options out of range are refused with the value that was given", "[batcher]") {
  const auto make = [](weir::batcher_options<int> o) {
    batcher<int, int> b{std::move(o), [](std::span<int_item>) {}};
  };
  CHECK_THROWS_AS(make({.max_batch = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make({.max_waiting = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make({.linger = -1ns}), std::invalid_argument);
  CHECK_THROWS_AS(make({.max_weight = 1}), std::invalid_argument);
  CHECK_THROWS_AS(make({.weigh = [](int) { return 1u; }}), std::invalid_argument);
  CHECK_THROWS_AS(make({.max_weight = 0, .weigh = [](int) { return 1u; }}), std::invalid_argument);
  CHECK_THROWS_AS(make({.max_weight = ~0ULL, .weigh = [](int) { return 1u; }}), std::invalid_argument);
  std::string message;
  try {
    make({.linger = -5ns});
  } catch (const std::invalid_argument& e) {
    message = e.what();
  }
  CHECK(message == "batcher: linger must not be negative, got -5");
}
