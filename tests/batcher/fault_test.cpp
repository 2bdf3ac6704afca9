// SPDX-License-Identifier: BSL-1.0
// Whatever throws in a batch: each caller gets an answer or an exception of its own, and the next batch runs.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <functional>
#include <future>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/batcher.hpp>

#include "batcher/support.hpp"
#include "support/broken_clock.hpp"
#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using namespace batcher_test;
using weir::batcher;
using weir::testing::manual_clock;
using weir_test::broken_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;

namespace {

constexpr int thrown = -2;

/// A batcher whose first call is held until a batch of three waits behind it: a leader and two followers.
/// The call answers each request with itself, as far as it gets.
struct held_batch {
  using item = weir::batch_item<faulty, faulty>;

  static auto answering(held_batch& held) {
    return [&held](std::span<item> batch) {
      if (batch[0].request().value == 0) {
        held.entered.count_down();
        held.release.wait();
      }
      for (item& i : batch) {
        fault::point("batch");
        i.set_value(faulty{i.request().value});
      }
    };
  }

  std::latch entered{1};
  std::latch release{1};
};

}  // namespace

TEST_CASE("a throw of the call reaches those without an answer and nobody else", "[batcher][fault]") {
  for (const char* const kind : {"batch", "move"}) {
    const int faults = fault_loop("batcher", kind, [](fault& next) {
      held_batch held;
      batcher<faulty, faulty> b{{}, held_batch::answering(held)};
      const auto ask = [&](int n, bool struck) {
        int got = thrown;
        const auto step = [&] { got = b.submit(faulty{n})->value; };
        struck ? next.strike(step) : fault::came_out(step);
        return got;
      };
      auto first = in_thread([&] { return ask(0, false); });
      held.entered.wait();
      std::vector<std::future<int>> callers;  // the leader of the next batch, and who follows it
      for (int n = 1; n != 4; ++n) {
        callers.push_back(in_thread([&ask, n] { return ask(n, n == 1); }));
        await_waiting(b, static_cast<std::size_t>(n));
      }
      held.release.count_down();
      CHECK(first.get() == 0);
      std::vector<int> got;
      for (auto& caller : callers) got.push_back(caller.get());
      const bool on_the_way_home = got == std::vector{thrown, 2, 3};
      const auto answered = static_cast<int>(std::ranges::find(got, thrown) - got.begin());
      CHECK((answered == 3) == !next.happened());
      for (int n = 0; n != 3 && !on_the_way_home; ++n) {
        CHECK(got[static_cast<std::size_t>(n)] == (n < answered ? n + 1 : thrown));
      }
      CHECK(b.stats().requests == 4);
      CHECK(b.stats().waiting == 0);
      CHECK(ask(5, false) == 5);
    });
    CHECK(faults == (kind[0] == 'b' ? 3 : 4));  // one for each item, and the leader's way home
  }
}

TEST_CASE("a result that throws on the way home is its own caller's loss alone", "[batcher][fault]") {
  for (const char* const kind : {"move", "copy"}) {
    const int faults = fault_loop("batcher", kind, [](fault& next) {
      held_batch held;
      batcher<faulty, faulty> b{{}, held_batch::answering(held)};
      const faulty mine{2};
      auto first = in_thread([&] { return b.submit(faulty{0})->value; });
      held.entered.wait();
      auto leader = in_thread([&] { return b.submit(faulty{1})->value; });
      await_waiting(b, 1);
      auto struck = in_thread([&] { return next.strike([&] { (void)b.submit(mine); }); });
      while (b.stats().waiting != 2 && struck.wait_for(0s) != std::future_status::ready) {
        std::this_thread::yield();
      }
      held.release.count_down();
      CHECK(first.get() == 0);
      CHECK(leader.get() == 1);
      const bool lost = struck.get();
      CHECK(lost == next.happened());
      CHECK(b.submit(faulty{3})->value == 3);
    });
    CHECK(faults >= 1);
  }
}

TEST_CASE("a call may reorder its items, and one that it overwrites is still told that it has no answer",
          "[batcher]") {
  held_call held;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) {
                        if (batch.size() == 1) return held.call()(batch);
                        const auto even = std::remove_if(batch.begin(), batch.end(), [](const int_item& i) {
                          return i.request() % 2 != 0;
                        });
                        for (auto i = batch.begin(); i != even; ++i) i->set_value(i->request());
                      }};
  auto first = in_thread([&] { return b.submit(0); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (int n = 1; n <= 4; ++n) {
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, static_cast<std::size_t>(n));
  }
  held.release.count_down();
  (void)first.get();
  CHECK_THROWS_AS(others[0].get(), std::logic_error);
  CHECK(*others[1].get() == 2);
  CHECK_THROWS_AS(others[2].get(), std::logic_error);
  CHECK(*others[3].get() == 4);
}

TEST_CASE("an item that could not take its value may still be given another answer", "[batcher][fault]") {
  const int faults = fault_loop("batcher", "move", [](fault& next) {
    batcher<int, faulty> b{{}, [](std::span<weir::batch_item<int, faulty>> batch) {
                             try {
                               batch[0].set_value(faulty{1});
                             } catch (const weir_test::injected_fault&) {
                               batch[0].set_refusal({weir::refusal_reason::busy});
                             }
                           }};
    std::optional<weir::refusal> why;
    const bool lost = next.strike([&] {
      if (const auto got = b.submit(1); !got) why = got.error();
    });
    if (next.happened()) CHECK((lost || why->reason == weir::refusal_reason::busy));
    CHECK(b.submit(1)->value == 1);
  });
  CHECK(faults == 2);
}

TEST_CASE("a weigher that throws leaves no trace, while others wait or not", "[batcher][fault]") {
  const int faults = fault_loop("batcher", "weigher", [](fault& next) {
    held_call held;
    batcher<int, int> b{{.max_weight = 5,
                         .weigh =
                             [](const int&) {
                               fault::point("weigher");
                               return std::uint64_t{1};
                             }},
                        held.call()};
    auto first = in_thread([&] { return *b.submit(1); });
    held.entered.wait();
    auto second = in_thread([&] { return *b.submit(2); });
    await_waiting(b, 1);
    auto struck = in_thread([&] { return next.strike([&] { (void)b.submit(3); }); });
    while (b.stats().waiting != 2 && struck.wait_for(0s) != std::future_status::ready)
      std::this_thread::yield();
    CHECK(b.stats().waiting == (next.happened() ? 1 : 2));
    held.release.count_down();
    CHECK(first.get() == 10);
    CHECK(second.get() == 20);
    const bool lost = struck.get();
    CHECK(lost == next.happened());
    CHECK(b.stats().refused == 0);
  });
  CHECK(faults == 1);
}

TEST_CASE("memory that runs out keeps nobody from an answer", "[batcher][fault]") {
  const int faults = fault_loop("batcher", "allocation", [](fault& next) {
    std::optional<batcher<int, int>> b;
    bool answers = false;
    batcher<int, int>* self = nullptr;
    const auto call = [&](std::span<int_item> batch) {
      if (batch[0].request() == 7) (void)self->submit(8);  // not allowed: it throws
      if (answers) batch[0].set_value(1);
    };
    const auto make = [&] { b.emplace(weir::batcher_options<int>{.max_batch = 3}, call); };
    if (next.strike_through(make)) make();
    self = &*b;
    for (const int request : {1, 7}) {
      bool complained = false;
      const bool silent = next.strike_through([&] {
        try {
          (void)b->submit(request);
        } catch (const std::logic_error&) {
          complained = true;
        }
      });
      CHECK(complained != silent);
    }
    answers = true;
    next.strike_through([&] { (void)b->submit(1); });
    CHECK(b->stats().batches == 3);
    CHECK(*b->submit(1) == 1);
  });
  CHECK(faults >= 4);  // the call, the room for a batch, two complaints
}

TEST_CASE("a batcher that cannot be made leaks nothing", "[batcher][fault]") {
  for (const char* const kind : {"copy", "move", "allocation"}) {
    const int faults = fault_loop("batcher", kind, [](fault& next) {
      const auto call = [owned = faulty{1}](std::span<int_item> batch) { batch[0].set_value(owned.value); };
      int got = 0;
      const bool failed = next.strike_through([&] {
        batcher<int, int> b{{}, call};
        got = *b.submit(1);
      });
      CHECK(got == (failed ? 0 : 1));
    });
    CHECK(faults >= 1);
  }
}

TEST_CASE("whichever timer fails, its caller leaves the queue and a linger is cut short",
          "[batcher][fault]") {
  const int faults = fault_loop("batcher", "timer", [](fault& next) {
    manual_clock clock;
    held_call held;
    batcher<int, int, faulty_clock> b{
        {.linger = 1h}, held.call(), faulty_clock{clock, faulty_clock::time::leaps}};
    auto first = in_thread([&] { return *b.submit(1); });
    held.entered.wait();
    auto second = in_thread([&] { return *b.submit(2); });
    await_waiting(b, 1);
    next.strike_through([&] { (void)b.submit(3, clock.now() + 2h); });
    CHECK(b.stats().waiting == 1);
    next.strike_through([&] { (void)b.submit_for(3, 2h); });
    CHECK(b.stats().waiting == 1);
    CHECK(b.stats().abandoned == 2);
    auto third = in_thread([&] { return *b.submit(4); });
    await_waiting(b, 2);
    held.release.count_down();
    CHECK(first.get() == 10);
    CHECK(second.get() == 20);
    CHECK(third.get() == 40);
    CHECK(b.stats().waiting == 0);
  });
  CHECK(faults == 2);
}

TEST_CASE("a leader whose linger cannot be entered serves at once", "[batcher][fault]") {
  const int faults = fault_loop("batcher", "timer", [](fault& next) {
    manual_clock clock;
    held_call held;
    batcher<int, int, faulty_clock> b{
        {.linger = 1h}, held.call(), faulty_clock{clock, faulty_clock::time::leaps}};
    auto first = in_thread([&] { return *b.submit(1); });
    held.entered.wait();
    auto leader = in_thread([&] { return next.strike([&] { (void)b.submit(2); }); });
    await_waiting(b, 1);
    auto follower = in_thread([&] { return *b.submit(3); });
    await_waiting(b, 2);
    held.release.count_down();
    CHECK(first.get() == 10);
    CHECK_FALSE(leader.get());
    CHECK(follower.get() == 30);
    CHECK(held.batches == std::vector<std::vector<int>>{{1}, {2, 3}});
    CHECK(clock.now() == weir::time_point{next.happened() ? 0h : 1h});
  });
  CHECK(faults == 1);
}

TEST_CASE("who becomes the leader before its wait fails hands on, and an answer that comes before is given",
          "[batcher][fault]") {
  std::function<void()> meanwhile;
  held_call held;
  batcher<int, int, broken_clock> b{{}, held.call(), broken_clock{&meanwhile}};
  auto first = in_thread([&] { return *b.submit(1); });
  held.entered.wait();
  std::future<int> behind;
  SECTION("the leader") {
    meanwhile = [&] {
      behind = in_thread([&] { return *b.submit(3); });
      await_waiting(b, 2);
      held.release.count_down();
      (void)first.get();
    };
    CHECK_THROWS_AS(b.submit(2, weir::time_point{1h}), std::bad_alloc);
    CHECK(behind.get() == 30);
    CHECK(b.stats().abandoned == 1);
  }
  SECTION("the answered") {
    behind = in_thread([&] { return *b.submit(3); });
    await_waiting(b, 1);
    meanwhile = [&] {
      held.release.count_down();
      (void)first.get();
      (void)behind.get();
    };
    CHECK(*b.submit(2, weir::time_point{1h}) == 20);
    CHECK(b.stats().abandoned == 0);
  }
  CHECK(b.stats().waiting == 0);
  CHECK(*b.submit(4) == 40);
}
