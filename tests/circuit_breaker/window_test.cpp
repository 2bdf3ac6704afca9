// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include <weir/detail/sliding_window.hpp>

using namespace std::chrono_literals;
using weir::duration;
using weir::time_point;
using weir::detail::failure_run;
using weir::detail::last_calls;
using weir::detail::recent_calls;
using weir::detail::window_totals;

TEST_CASE("a window of 4 calls forgets the first one at the fifth", "[circuit_breaker][window]") {
  // WIN-01
  last_calls window{4};
  const std::vector<std::pair<char, window_totals>> rows{
      {'E', {1, 1, 0}}, {'S', {2, 1, 0}}, {'S', {3, 1, 0}}, {'S', {4, 1, 0}}, {'S', {4, 0, 0}}};
  for (const auto& [call, totals] : rows) {
    window.add({}, call == 'E', false);
    CHECK(window.totals({}) == totals);
  }
}

TEST_CASE("slow calls count whether they fail or not", "[circuit_breaker][window]") {
  // WIN-02
  last_calls window{5};
  window.add({}, false, true);
  window.add({}, true, true);
  for (int i = 0; i < 3; ++i) window.add({}, false, false);
  CHECK(window.totals({}) == window_totals{5, 1, 2});
}

TEST_CASE("a time window empties without new calls", "[circuit_breaker][window]") {
  // WIN-04
  recent_calls window{1s, 5};
  const time_point start{100s};
  struct row {
    duration at;
    char event;
    window_totals totals;
  };
  const std::vector<row> rows{{0ms, 'E', {1, 1, 0}},    {100ms, 'S', {2, 1, 0}},  {800ms, 'E', {3, 2, 0}},
                              {4800ms, ' ', {3, 2, 0}}, {5800ms, ' ', {0, 0, 0}}, {5900ms, 'S', {1, 0, 0}},
                              {10900ms, 'S', {1, 0, 0}}};
  for (const row& r : rows) {
    INFO(r.at.count());
    if (r.event != ' ') window.add(start + r.at, r.event == 'E', false);
    CHECK(window.totals(start + r.at) == r.totals);
  }
}

TEST_CASE("reading a time window with a clock that is behind evicts nothing", "[circuit_breaker][window]") {
  // WIN-05
  recent_calls window{1s, 10};
  for (int i = 0; i < 10; ++i) window.add(time_point{10s}, false, false);
  for (int i = 0; i < 10; ++i) CHECK(window.totals(time_point{8s}).calls == 10);
}

TEST_CASE("a bucket leaves the window when the window's length has passed since it began",
          "[circuit_breaker][window]") {
  // WIN-07
  recent_calls window{1s, 10};
  struct row {
    duration at;
    std::string events;
    window_totals later;
  };
  const std::vector<row> rows{{0s, "FS", {2, 1, 0}}, {2s, "FS", {4, 2, 0}}, {4s, "SS", {6, 2, 0}},
                              {6s, "SS", {8, 2, 0}}, {8s, "SS", {8, 1, 0}}, {10s, "", {6, 0, 0}}};
  for (const row& r : rows) {
    INFO(r.at.count());
    for (const char e : r.events) window.add(time_point{r.at}, e == 'F', false);
    CHECK(window.totals(time_point{r.at + 2s}) == r.later);
  }
}

TEST_CASE("one success a second leaves one a second", "[circuit_breaker][window]") {
  // WIN-08
  recent_calls window{1s, 10};
  for (int t = 0; t < 10; ++t) window.add(time_point{t * 1s}, false, false);
  CHECK(window.totals(time_point{10s}).calls == 9);
  CHECK(window.totals(time_point{11s}).calls == 8);
}

TEST_CASE("many successes at once are as many one by one", "[circuit_breaker][window]") {
  for (std::size_t before = 0; before < 9; ++before) {
    for (std::uint64_t many = 0; many < 12; ++many) {
      for (int after = 0; after < 7; ++after) {
        INFO(before << " calls, " << many << " successes, " << after << " calls");
        last_calls at_once{4}, one_by_one{4};
        for (std::size_t i = 0; i < before; ++i) {
          at_once.add({}, i % 2 == 0, i % 3 == 0);
          one_by_one.add({}, i % 2 == 0, i % 3 == 0);
        }
        at_once.add_successes({}, many);
        for (std::uint64_t i = 0; i < many; ++i) one_by_one.add({}, false, false);
        for (int i = 0; i < after; ++i) CHECK(at_once.add({}, true, true) == one_by_one.add({}, true, true));
        CHECK(at_once.totals({}) == one_by_one.totals({}));
        at_once.add({}, false, true);
        const std::uint64_t last = one_by_one.add({}, false, true);
        at_once.amend({}, last);
        one_by_one.amend({}, last);
        CHECK(at_once.totals({}) == one_by_one.totals({}));
      }
    }
  }
}

TEST_CASE("a window of one bucket, and instants before the epoch, work", "[circuit_breaker][window]") {
  recent_calls window{1s, 1};
  window.add(time_point{-1ns}, true, false);
  CHECK(window.totals(time_point{-1ns}).calls == 1);
  CHECK(window.totals(time_point{0ns}).calls == 0);
  window.add(time_point::max(), true, false);
  CHECK(window.totals(time_point::max()).calls == 1);
  CHECK(window.totals(time_point::min()).calls == 1);
}

TEST_CASE("a run of failures ends with a success", "[circuit_breaker][window]") {
  failure_run run;
  for (const char c : std::string{"FFSFFF"}) run.add({}, c == 'F', false);
  CHECK(run.run() == 3);
  CHECK(run.totals({}) == window_totals{6, 5, 0});
}

TEST_CASE("windows agree with the plain list of calls", "[circuit_breaker][window][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  for (int round = 0; round < 100; ++round) {
    const std::size_t count = 1 + below(12);
    const duration width{static_cast<std::int64_t>(1 + below(50))};
    recent_calls recent{width, count};
    last_calls last{count};
    struct call {
      std::int64_t at;
      bool failed;
      bool slow;
    };
    std::vector<call> calls;
    std::int64_t now = static_cast<std::int64_t>(below(1000)) - 500;
    std::int64_t latest = now - 1000;  // nothing seen yet
    bool same = true;
    for (int i = 0; i < 300; ++i) {
      now +=
          below(20) == 0 ? static_cast<std::int64_t>(below(2000)) : static_cast<std::int64_t>(below(40)) - 5;
      latest = std::max(latest, now);
      if (below(3) != 0) {
        calls.push_back({latest, below(2) == 0, below(2) == 0});
        recent.add(time_point{duration{now}}, calls.back().failed, calls.back().slow);
        last.add(time_point{duration{now}}, calls.back().failed, calls.back().slow);
      } else {
        static_cast<void>(recent.totals(time_point{duration{now}}));
      }
      const auto index = [&](std::int64_t t) {
        std::int64_t q = t / width.count();
        if (t % width.count() < 0) --q;
        return q;
      };
      window_totals in_time;
      window_totals in_count;
      for (std::size_t k = 0; k < calls.size(); ++k) {
        const call& c = calls[k];
        if (index(latest) - index(c.at) < static_cast<std::int64_t>(count)) in_time.add(c.failed, c.slow);
        if (calls.size() - k <= count) in_count.add(c.failed, c.slow);
      }
      same = same && recent.totals(time_point{duration{now}}) == in_time && last.totals({}) == in_count;
    }
    CHECK(same);
  }
}
