// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <latch>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <weir/task_gate.hpp>

using namespace std::chrono_literals;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::run_result;
using weir::task_gate;

TEST_CASE("ten thousand triggers during a run cost exactly one more run", "[task_gate]") {
  task_gate gate;
  std::latch inside{1}, triggered{1};
  int runs = 0;  // guarded by the gate
  std::thread owner{[&] {
    gate.run_coalesced([&] {
      if (++runs > 1) return;
      inside.count_down();
      triggered.wait();
    });
  }};
  inside.wait();
  int coalesced = 0;
  for (int i = 0; i != 10'000; ++i) {
    coalesced += gate.run_coalesced([] {}) == run_result::coalesced ? 1 : 0;
  }
  triggered.count_down();
  owner.join();
  CHECK(coalesced == 10'000);
  CHECK(runs == 2);
  CHECK(gate.stats().ran == 2);
  CHECK(gate.stats().coalesced == 10'000);
  CHECK(gate.run_coalesced([&] { ++runs; }) == run_result::ran);
  CHECK(runs == 3);
}

TEST_CASE("a task that triggers its own gate is run once more by its owner", "[task_gate]") {
  task_gate gate;
  int runs = 0;
  std::vector<run_result> inner;
  CHECK(gate.run_coalesced([&] {
    if (++runs < 3) inner.push_back(gate.run_coalesced([] { FAIL("overlap"); }));
  }) == run_result::ran);
  CHECK(runs == 3);
  CHECK(inner == std::vector(2, run_result::coalesced));
}

TEST_CASE("a throwing run loses no pending one, and the first exception comes out", "[task_gate]") {
  task_gate gate;
  int runs = 0;
  std::string what;
  try {
    gate.run_coalesced([&] {
      ++runs;
      if (runs <= 3) gate.run_coalesced([] {});  // asks for another
      if (runs <= 2) throw std::runtime_error{"run " + std::to_string(runs)};
    });
    FAIL("no exception");
  } catch (const std::runtime_error& e) {
    what = e.what();
  }
  CHECK(runs == 4);
  CHECK(what == "run 1");
  CHECK(gate.wait_idle_for(0ns));
  CHECK(gate.run_coalesced([] {}) == run_result::ran);
}

TEST_CASE("a coalesced run excludes passes, and waits for the one that is out", "[task_gate]") {
  task_gate gate;
  gate.run_coalesced([&] {
    CHECK_FALSE(gate.try_enter());
    CHECK(gate.run_if_idle([] {}) == run_result::skipped);
  });
  auto held = gate.try_enter();
  int runs = 0;
  std::thread owner{[&] { gate.run_coalesced([&] { ++runs; }); }};
  while (gate.stats().waiting != 1) std::this_thread::yield();
  // The run has not begun, so it answers these too.
  for (int i = 0; i != 3; ++i) CHECK(gate.run_coalesced([] {}) == run_result::coalesced);
  std::move(*held).release();
  owner.join();
  CHECK(runs == 1);
}

TEST_CASE("what was promised is run also after close, and wait_idle waits for it", "[task_gate]") {
  task_gate gate;
  auto held = gate.try_enter();
  std::atomic<int> runs{0};
  std::thread owner{[&] { gate.run_coalesced([&] { ++runs; }); }};
  while (gate.stats().waiting != 1) std::this_thread::yield();
  CHECK(gate.run_coalesced([] {}) == run_result::coalesced);
  gate.close();
  CHECK(gate.run_coalesced([] {}) == run_result::closed);
  CHECK(gate.wait_idle_for(0ns).error() == refusal{refusal_reason::timed_out});
  std::move(*held).release();
  CHECK(gate.wait_idle());
  CHECK(runs == 1);
  owner.join();
}

TEST_CASE("coalesced runs on a wide gate never overlap each other", "[task_gate][stress]") {
  task_gate gate{{.capacity = 4}};
  std::int64_t plain = 0;  // guarded by ownership alone
  std::atomic<std::int64_t> ran{0}, triggers{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i != 3000; ++i) {
          ++triggers;
          gate.run_coalesced([&] {
            ++plain;
            ++ran;
          });
        }
      });
    }
  }
  CHECK(plain == ran);
  const auto s = gate.stats();
  CHECK(s.ran == static_cast<std::uint64_t>(ran));
  CHECK(s.coalesced + s.ran >= static_cast<std::uint64_t>(triggers));
}

// The wake-up test: each trigger is preceded by a plain increment under nobody's lock but the gate's own
// ordering; the last run must have seen the last of every thread.
TEST_CASE("after the last trigger a run has seen what came before it", "[task_gate][stress]") {
  constexpr int threads_count = 4;
  for (int round = 0; round != 150; ++round) {
    task_gate gate;
    int asked[threads_count] = {};  // written by its thread before each trigger, read by the runs
    std::atomic<int> published[threads_count] = {};
    int seen[threads_count] = {};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t != threads_count; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 1; i <= 20; ++i) {
            published[t].store(i, std::memory_order_relaxed);
            gate.run_coalesced([&] {
              for (int u = 0; u != threads_count; ++u) {
                seen[u] = published[u].load(std::memory_order_relaxed);
              }
            });
          }
          asked[t] = 20;
        });
      }
    }
    for (int t = 0; t != threads_count; ++t) REQUIRE(seen[t] == asked[t]);
  }
}

// Plain data: the trigger's write must happen-before the run that answers it (checked by the race detector).
TEST_CASE("what was written before a trigger is visible to the run that answers it", "[task_gate][stress]") {
  task_gate gate;
  for (int round = 0; round != 300; ++round) {
    std::latch inside{1}, go{1};
    int from_trigger = 0;
    int seen = -1;
    std::atomic<bool> returned{false};
    int runs = 0;
    std::thread owner{[&] {
      gate.run_coalesced([&] {
        if (++runs == 1) {
          inside.count_down();
          go.wait();
        } else {
          seen = from_trigger;
        }
      });
    }};
    inside.wait();
    std::thread second{[&] { gate.run_coalesced([] {}); }};  // sets pending before the one that has data
    second.join();
    from_trigger = round;
    gate.run_coalesced([] {});
    returned = true;
    go.count_down();
    owner.join();
    REQUIRE(seen == round);
    REQUIRE(runs == 2);
  }
}

TEST_CASE("every verb at once keeps the units exact and the runs alone", "[task_gate][stress]") {
  for (const std::uint32_t capacity : {1U, 3U}) {
    task_gate gate{{.capacity = capacity}};
    std::atomic<std::int64_t> inside{0}, worst{0}, stays{0}, calls{0}, ran_calls{0}, skipped_calls{0};
    std::int64_t alone = 0;  // capacity 1: guarded by being inside
    const auto work = [&](std::int64_t weight) {
      ++stays;
      const auto now = inside.fetch_add(weight) + weight;
      auto w = worst.load();
      while (now > w && !worst.compare_exchange_weak(w, now)) {
      }
      if (capacity == 1) ++alone;
      inside.fetch_sub(weight);
    };
    std::stop_source stop;
    {
      std::vector<std::jthread> threads;
      for (unsigned t = 0; t != 4; ++t) {
        threads.emplace_back([&, t] {
          std::mt19937 random{t};
          for (int i = 0; i != 2500; ++i) {
            const std::uint32_t weight = 1 + static_cast<std::uint32_t>(random()) % capacity;
            switch (random() % 7) {
              case 0:
                if (const auto p = gate.try_enter(weight)) work(weight);
                break;
              case 1:
                if (const auto p = gate.enter({}, weight)) work(weight);
                break;
              case 2:
                if (const auto p = gate.enter_for(30us, {}, weight)) work(weight);
                break;
              case 3:
                if (const auto p = gate.enter(stop.get_token(), weight)) work(weight);
                break;
              case 4:
                gate.run_coalesced([&] { work(1); });
                break;
              case 5:
                static_cast<void>(gate.wait_idle_for(10us));
                break;
              default:
                ++calls;
                if (gate.run_if_idle([&] { work(1); }) == run_result::ran) {
                  ++ran_calls;
                } else {
                  ++skipped_calls;
                }
            }
            if (t == 0 && i == 1000) stop.request_stop();
          }
        });
      }
    }
    gate.close();
    CHECK(gate.wait_idle());
    CHECK(inside == 0);
    CHECK(worst <= capacity);
    CHECK(calls == ran_calls + skipped_calls);
    const auto s = gate.stats();
    CHECK(s.running == 0);
    CHECK(s.waiting == 0);
    CHECK(s.skipped == static_cast<std::uint64_t>(skipped_calls));
    if (capacity == 1) CHECK(alone == stays);
  }
}

TEST_CASE("a live set_capacity keeps the units exact while eight threads come and go",
          "[task_gate][stress]") {
  task_gate gate{{.capacity = 4}};
  std::atomic<std::int64_t> inside{0}, worst{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i != 1000; ++i) {
          const std::uint32_t weight = 1 + static_cast<std::uint32_t>(i % 2);
          if (const auto p = gate.enter({}, weight)) {
            const auto now = inside.fetch_add(weight) + weight;
            auto w = worst.load();
            while (now > w && !worst.compare_exchange_weak(w, now)) {
            }
            inside.fetch_sub(weight);
          }
        }
      });
    }
    for (std::uint32_t i = 0; i != 2000; ++i) gate.set_capacity(1 + i % 4);
    gate.set_capacity(4);
  }
  CHECK(worst <= 4);
  CHECK(gate.stats().running == 0);
  CHECK(gate.try_enter(4));
}

TEST_CASE("of a grant and a cancellation at the same instant exactly one wins, and no unit is lost",
          "[task_gate][stress]") {
  task_gate gate;
  for (int round = 0; round != 500; ++round) {
    auto held = gate.try_enter();
    REQUIRE(held);
    std::stop_source stop;
    std::thread waiter{[&] { static_cast<void>(gate.enter(stop.get_token())); }};
    std::thread canceller{[&] { stop.request_stop(); }};
    std::move(*held).release();
    waiter.join();
    canceller.join();
    REQUIRE(gate.stats().running == 0);
    REQUIRE(gate.stats().waiting == 0);
  }
}

TEST_CASE("the gate may be destroyed as soon as wait_idle has returned", "[task_gate][stress]") {
  for (int round = 0; round != 300; ++round) {
    std::optional<task_gate> gate{std::in_place};
    std::optional<task_gate::pass> held{gate->try_enter()};
    REQUIRE(held);
    std::thread leaver{[p = std::move(*held)]() mutable { std::move(p).release(); }};
    gate->close();
    REQUIRE(gate->wait_idle());
    gate.reset();
    leaver.join();
  }
}
