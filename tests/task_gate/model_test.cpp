// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using manual_gate = weir::basic_task_gate<manual_clock::view>;

/// One caller of `enter_until` on a thread of its own.
struct caller {
  caller(manual_gate& gate, std::uint32_t w, weir::deadline d) : weight{w}, until{d} {
    thread = std::thread{[this, &gate] {
      result.emplace(gate.enter_until(until, stop.get_token(), weight));
      done.store(true, std::memory_order_release);  // publishes `result`
    }};
  }
  caller(const caller&) = delete;
  caller& operator=(const caller&) = delete;
  ~caller() { thread.join(); }

  /// What became of it: "in", or the word for the refusal.
  std::string await() {
    while (!done.load(std::memory_order_acquire)) std::this_thread::yield();
    return *result ? "in" : std::string{to_string(result->error().reason)};
  }

  const std::uint32_t weight;
  const weir::deadline until;
  std::stop_source stop;
  std::optional<weir::outcome<manual_gate::pass>> result;
  std::atomic<bool> done = false;
  std::thread thread;
};

/// The naive reference: a number of units and a line of callers.
struct reference {
  std::int64_t capacity;
  std::int64_t used = 0;
  bool closed = false;
  std::deque<caller*> line;
  std::vector<std::pair<caller*, std::string>> decided;

  void settle() {
    while (!line.empty() && used + line.front()->weight <= capacity) {
      used += line.front()->weight;
      decided.emplace_back(line.front(), "in");
      line.pop_front();
    }
  }
  void come(caller* c) {
    if (c->weight > capacity) return decided.emplace_back(c, "exceeds_capacity"), void();
    if (closed) return decided.emplace_back(c, "closed"), void();
    line.push_back(c);
    settle();
  }
  template <class Which>
  void refuse(Which which, const char* why) {
    for (auto* c : line) {
      if (which(*c)) decided.emplace_back(c, why);
    }
    std::erase_if(line, [&](caller* c) { return which(*c); });
    settle();
  }
};

void play(std::uint32_t seed) {
  CAPTURE(seed);
  std::mt19937 random{seed};
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  manual_clock clock;
  const std::uint32_t first_capacity = 1 + below(4);
  manual_gate gate{{.capacity = first_capacity}, clock.source()};
  reference model{.capacity = first_capacity, .line = {}, .decided = {}};
  std::list<caller> callers;
  std::vector<caller*> inside;
  std::uint64_t last_number = 0;

  // All that the reference decided has come to pass, in its order, and nothing else.
  const auto compare = [&] {
    for (const auto& [c, what] : std::exchange(model.decided, {})) {
      REQUIRE(c->await() == what);
      if (what != "in") continue;
      REQUIRE((*c->result)->number() > last_number);
      last_number = (*c->result)->number();
      inside.push_back(c);
    }
    while (gate.stats().waiting != model.line.size()) std::this_thread::yield();
    for (const caller* c : model.line) REQUIRE_FALSE(c->done.load(std::memory_order_relaxed));
    REQUIRE(gate.stats().running == model.used);
    REQUIRE(gate.stats().capacity == model.capacity);
  };

  for (int step = 0; step != 60; ++step) {
    CAPTURE(step);
    switch (below(10)) {
      case 0:
      case 1:
      case 2: {  // somebody comes
        // No two have the same deadline: which of them would give up first is nobody's to say.
        weir::deadline until = below(2) == 0 ? clock.now() + 1ms * (1 + below(20)) : weir::time_point::max();
        while (std::ranges::count(model.line, until, [](const caller* each) { return each->until; }) != 0 &&
               !until.is_never()) {
          until = until.time() + 1ns;
        }
        model.come(&callers.emplace_back(gate, 1 + below(5), until));
        break;
      }
      case 3:
      case 4: {  // somebody leaves
        if (inside.empty()) break;
        const auto at = inside.begin() + below(static_cast<std::uint32_t>(inside.size()));
        std::move(**(*at)->result).release();
        model.used -= (*at)->weight;
        inside.erase(at);
        model.settle();
        break;
      }
      case 5: {  // somebody in the line is stopped
        if (model.line.empty()) break;
        caller* c = model.line[below(static_cast<std::uint32_t>(model.line.size()))];
        c->stop.request_stop();
        model.refuse([&](const caller& each) { return &each == c; }, "cancelled");
        break;
      }
      case 6: {  // the time of the next one is up
        if (model.line.empty()) break;
        caller* c = *std::ranges::min_element(model.line, {}, [](const caller* each) { return each->until; });
        if (c->until.is_never()) break;
        clock.set(c->until.time());
        model.refuse([&](const caller& each) { return &each == c; }, "timed_out");
        break;
      }
      case 7: {  // a try overtakes nobody
        const std::uint32_t weight = 1 + below(3);
        auto pass = gate.try_enter(weight);
        REQUIRE(pass.has_value() ==
                (model.line.empty() && !model.closed && model.used + weight <= model.capacity));
        if (pass) {
          REQUIRE(pass->number() > last_number);
          last_number = pass->number();
        }
        break;
      }
      case 8: {  // wider or narrower
        model.capacity = 1 + below(5);
        gate.set_capacity(static_cast<std::uint32_t>(model.capacity));
        model.refuse([&](const caller& each) { return each.weight > model.capacity; }, "exceeds_capacity");
        break;
      }
      default:
        if (step < 40 || model.closed) break;
        gate.close();
        model.closed = true;
        model.refuse([](const caller&) { return true; }, "closed");
    }
    compare();
  }
  gate.close();
  model.refuse([](const caller&) { return true; }, "closed");
  compare();
  CHECK(gate.wait_idle_for(0ns).has_value() == inside.empty());
  for (caller* c : inside) std::move(**c->result).release();
  CHECK(gate.wait_idle_for(0ns));
}

}  // namespace

TEST_CASE("a random script of waiters does what a naive line would", "[task_gate]") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) play(seed);
}
