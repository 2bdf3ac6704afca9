// SPDX-License-Identifier: BSL-1.0
// The acceptance tables of gates, semaphores and bulkheads, row by row, under the manual clock.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::testing::manual_clock;

namespace {

using gate_type = weir::basic_task_gate<manual_clock::view>;

enum class op {
  enter,   // waits, for ever or `wait`
  try_,    // does not wait
  leave,   // gives back what `who` holds; no effect if that is nothing
  cancel,  // the wait of `who`
  move,    // the clock, by `wait`
  resize,  // to `units`
  run,     // a task that throws
};

/// One row: what is done, by whom, and what must be the case then.
struct row {
  op what;
  char who = ' ';
  std::uint32_t units = 1;
  std::optional<std::chrono::milliseconds> wait = std::nullopt;
  const char* result = "";                           // of this row
  std::vector<std::pair<char, const char*>> then{};  // what became of those who waited
  std::optional<std::uint32_t> in_use = std::nullopt;
};

struct table {
  const char* name;
  std::uint32_t size;
  std::vector<row> rows;
};

const table tables[] = {
    {"GT-01 weighted semaphore",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::try_, 'b', 1, {}, "in"},
      {op::try_, 'c', 1, {}, "no"},
      {op::leave, 'a'},
      {op::leave, 'b', 1, {}, "", {}, 0},
      {op::try_, 'd', 1, {}, "in"},
      {op::enter, 'e', 1, {}, "in"},
      {op::try_, 'f', 1, {}, "no", {}, 2}}},
    {"GT-02 a big waiter is not starved; small ones queue behind it",
     10,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 10, {}, "waits"},
      {op::enter, 'c', 1, {}, "waits"},
      {op::try_, 'd', 1, {}, "no"},
      {op::cancel, 'b', 0, {}, "", {{'b', "cancelled"}, {'c', "in"}}, 2}}},
    {"GT-02 the big one enters before the small one behind it",
     10,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 10, {}, "waits"},
      {op::enter, 'c', 1, {}, "waits"},
      {op::leave, 'a', 0, {}, "", {{'b', "in"}}, 10},
      {op::leave, 'b', 0, {}, "", {{'c', "in"}}, 1}}},
    {"GT-04 more than the size",
     2,
     {{op::enter, 'x', 3, {}, "exceeds_capacity"},
      {op::try_, 'x', 3, {}, "no"},
      {op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 1, {}, "in"},
      {op::enter, 'c', 1, {}, "waits"},
      {op::enter, 'd', 1, {}, "waits"},
      {op::enter, 'e', 1, {}, "waits"},
      {op::enter, 'f', 1, {}, "waits"},
      {op::enter, 'x', 3, {}, "exceeds_capacity"},
      {op::leave, 'a', 0, {}, "", {{'c', "in"}}},
      {op::leave, 'b', 0, {}, "", {{'d', "in"}}},
      {op::leave, 'c', 0, {}, "", {{'e', "in"}}},
      {op::leave, 'd', 0, {}, "", {{'f', "in"}}},
      {op::leave, 'e'},
      {op::leave, 'f', 0, {}, "", {}, 0}}},
    {"GT-05 bulkhead with a bounded wait: in at 50 ms",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 1, {}, "in"},
      {op::enter, 'c', 1, 0ms, "timed_out"},
      {op::enter, 'd', 1, 100ms, "waits"},
      {op::move, ' ', 0, 50ms},
      {op::leave, 'a', 0, {}, "", {{'d', "in"}}, 2}}},
    {"GT-05 bulkhead with a bounded wait: full at 100 ms",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 1, {}, "in"},
      {op::enter, 'd', 1, 100ms, "waits"},
      {op::move, ' ', 0, 99ms},
      {op::move, ' ', 0, 1ms, "", {{'d', "timed_out"}}, 2}}},
    {"GT-05 bulkhead: a leave when nobody is in",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::leave, 'a', 0, {}, "", {}, 0},
      {op::leave, 'a', 0, {}, "", {}, 0},
      {op::try_, 'b', 2, {}, "in"},
      {op::try_, 'c', 1, {}, "no"}}},
    {"GT-05 bulkhead: resize 2 -> 1 while two are in",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 1, {}, "in"},
      {op::resize, ' ', 1, {}, "", {}, 2},
      {op::enter, 'c', 1, {}, "waits"},
      {op::leave, 'a', 0, {}, "", {}, 1},
      {op::leave, 'b', 0, {}, "", {{'c', "in"}}, 1}}},
    {"GT-05 bulkhead: resize 1 -> 3 while one is in and two wait",
     1,
     {{op::enter, 'a', 1, {}, "in"},
      {op::enter, 'b', 1, {}, "waits"},
      {op::enter, 'c', 1, {}, "waits"},
      {op::resize, ' ', 3, {}, "", {{'b', "in"}, {'c', "in"}}, 3}}},
    {"GT-05 bulkhead: a task throws",
     2,
     {{op::enter, 'a', 1, {}, "in"},
      {op::run, ' ', 0, {}, "thrown", {}, 1},
      {op::try_, 'b', 1, {}, "in", {}, 2}}},
};

class player {
 public:
  explicit player(std::uint32_t size, std::optional<weir::duration> lease)
      : gate_{{.capacity = size, .lease = lease}, clock_.source()} {}

  ~player() {
    for (auto& [who, c] : callers_) c->stop.request_stop();
    callers_.clear();
  }

  void play(const row& r) {
    const std::string got = perform(r);
    CHECK(got == r.result);
    for (const auto& [who, what] : r.then) {
      CHECK(callers_.at(who)->await() == what);
      --waiting_;
    }
    // Nobody else was answered.
    CHECK(gate_.stats().waiting == waiting_);
    for (const auto& [who, c] : callers_) {
      if (!c->seen) CHECK_FALSE(c->done.load());
    }
    if (r.in_use) CHECK(gate_.stats().running == *r.in_use);
  }

 private:
  struct caller {
    caller(gate_type& gate, std::uint32_t units, weir::deadline until)
        : thread{[this, &gate, units, until] {
            result.emplace(gate.enter_until(until, stop.get_token(), units));
            done.store(true);
          }} {}
    std::string await() {
      while (!done.load()) std::this_thread::yield();
      seen = true;
      return *result ? "in" : std::string{to_string(result->error().reason)};
    }
    std::stop_source stop;
    std::optional<weir::outcome<gate_type::pass>> result;
    std::atomic<bool> done{false};
    bool seen = false;
    std::jthread thread;
  };

  std::string perform(const row& r) {
    switch (r.what) {
      case op::enter: {
        const weir::deadline until =
            r.wait ? weir::deadline::after(clock_.now(), *r.wait) : weir::deadline::never();
        auto c = std::make_unique<caller>(gate_, r.units, until);
        if (r.wait == 0ms) {  // stands in line for no longer than it takes to see that
          return (callers_[r.who] = std::move(c))->await();
        }
        while (!c->done.load() && gate_.stats().waiting == waiting_) std::this_thread::yield();
        caller& mine = *(callers_[r.who] = std::move(c));
        if (gate_.stats().waiting == waiting_) return mine.await();
        if (r.wait) clock_.await_sleepers(1);
        ++waiting_;
        return "waits";
      }
      case op::try_:
        if (auto pass = gate_.try_enter(r.units)) {
          tried_.insert_or_assign(r.who, std::move(*pass));
          return "in";
        }
        return "no";
      case op::leave:
        if (const auto tried = tried_.find(r.who); tried != tried_.end()) {
          std::move(tried->second).release();
        } else {
          std::move(**callers_.at(r.who)->result).release();
        }
        return "";
      case op::cancel:
        callers_.at(r.who)->stop.request_stop();
        return "";
      case op::move:
        clock_.advance(*r.wait);
        return "";
      case op::resize:
        gate_.set_capacity(r.units);
        return "";
      case op::run:
        try {
          gate_.run_if_idle([] { throw std::runtime_error{"task"}; });
        } catch (const std::runtime_error&) {
          return "thrown";
        }
        return "";
    }
    return "";
  }

  manual_clock clock_;
  gate_type gate_;
  std::map<char, gate_type::pass> tried_;
  std::map<char, std::unique_ptr<caller>> callers_;
  std::size_t waiting_ = 0;
};

}  // namespace

TEST_CASE("the tables of gates and bulkheads hold row by row, with leases and without",
          "[task_gate][table]") {
  std::size_t rows = 0;
  for (const auto lease : {std::optional<weir::duration>{}, std::optional<weir::duration>{1h}}) {
    for (const table& t : tables) {
      CAPTURE(t.name, lease.has_value());
      player p{t.size, lease};
      for (std::size_t i = 0; i != t.rows.size(); ++i) {
        CAPTURE(i);
        p.play(t.rows[i]);
        ++rows;
      }
    }
  }
  CHECK(rows == 2 * 62);
}
