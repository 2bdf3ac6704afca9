// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <weir/detail/in_flight.hpp>
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

namespace {

/// A call as the literal windows below know it.
struct listed {
  std::int64_t bucket = 0;
  bool failed = false;
  bool slow = false;
  std::uint64_t ticket = 0;
};

window_totals sum_of(const std::vector<listed>& calls, std::size_t first = 0) {
  window_totals sum;
  for (std::size_t i = first; i < calls.size(); ++i) sum.add(calls[i].failed, calls[i].slow);
  return sum;
}

}  // namespace

TEST_CASE("a window of calls is the end of the list, with successes at once and amended calls",
          "[circuit_breaker][window][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = 1 + below(9);
    last_calls window{size};
    std::vector<listed> calls;
    const std::uint64_t bad = below(4);  // of ten
    bool same = true;
    for (int i = 0; i < 300; ++i) {
      const auto what = below(20);
      if (what < 10) {
        const bool failed = below(10) < bad;
        const bool slow = below(10) < bad;
        calls.push_back({0, failed, slow, window.add({}, failed, slow)});
      } else if (what < 16) {
        const auto n = below(3 * size);
        window.add_successes({}, n);
        calls.insert(calls.end(), n, listed{});
      } else if (what < 19 && !calls.empty()) {
        listed& c = calls[calls.size() - 1 - below(std::min<std::uint64_t>(calls.size(), 2 * size))];
        if (c.failed || c.ticket == 0) continue;  // of those at once nobody has a ticket
        window.amend({}, c.ticket);
        c.failed = true;
      } else if (what == 19) {
        window.clear();
        calls.clear();
      }
      const auto expected = sum_of(calls, calls.size() > size ? calls.size() - size : 0);
      same = same && window.totals({}) == expected && window.totals_at({}) == expected &&
             window.is_as_new_at({}) == calls.empty();
    }
    CHECK(same);
  }
}

TEST_CASE("a window of time is what is left of the list, with successes at once and amended calls",
          "[circuit_breaker][window][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    const auto count = 1 + below(6);
    const auto width = 1 + below(20);
    recent_calls window{duration{width}, static_cast<std::size_t>(count)};
    std::vector<listed> calls;
    const auto bucket = [&](std::int64_t t) { return t / width - (t % width < 0 ? 1 : 0); };
    std::int64_t now = below(400) - 200;
    std::int64_t latest = now - 10'000;
    bool same = true;
    for (int i = 0; i < 300; ++i) {
      now += below(10) == 0 ? below(300) : below(static_cast<std::uint64_t>(width)) - 2;
      const time_point t{duration{now}};
      const auto what = below(20);
      if (what < 8) {
        latest = std::max(latest, now);
        const bool failed = below(3) == 0;
        const bool slow = below(3) == 0;
        calls.push_back({bucket(latest), failed, slow, window.add(t, failed, slow)});
      } else if (what < 12) {
        latest = std::max(latest, now);
        const auto n = static_cast<std::uint64_t>(below(4));
        window.add_successes(t, n);
        calls.insert(calls.end(), n, listed{bucket(latest), false, false, 0});
      } else if (what < 15 && !calls.empty()) {
        listed& c = calls[static_cast<std::size_t>(below(calls.size()))];
        if (c.failed || c.ticket == 0) continue;
        latest = std::max(latest, now);
        window.amend(t, c.ticket);
        c.failed = true;
      } else if (what == 15) {
        window.clear();
        calls.clear();
      }
      std::vector<listed> left;
      const std::int64_t seen = bucket(std::max(latest, now));
      for (const listed& c : calls) {
        if (seen - c.bucket < count) left.push_back(c);
      }
      same = same && window.totals_at(t) == sum_of(left) && window.is_as_new_at(t) == left.empty();
      const std::int64_t end = window.end_of_bucket(t).time_since_epoch().count();
      same = same && end > now && bucket(end - 1) == bucket(now) && bucket(end) == bucket(now) + 1;
      if (what > 17) {
        latest = std::max(latest, now);
        same = same && window.totals(t) == sum_of(left);
      }
    }
    CHECK(same);
  }
}

TEST_CASE("no success at all ends no run of failures", "[circuit_breaker][window]") {
  failure_run run;
  run.add({}, true, false);
  run.add_successes({}, 0);
  CHECK(run.run() == 1);
  run.add_successes({}, 2);
  CHECK(run.run() == 0);
  CHECK(run.totals({}) == window_totals{3, 1, 0});
}

TEST_CASE("calls that are out are found late in order, each once, as the plain list says",
          "[circuit_breaker][watch][model]") {
  using weir::detail::in_flight;
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  struct known {
    in_flight::place place;
    std::int64_t began;
    std::optional<in_flight::entry> found;
  };
  for (int round = 0; round < 200; ++round) {
    const std::size_t places = below(6);
    in_flight calls{places};
    std::vector<known> out;
    std::int64_t now = 0;
    bool same = calls.places() == places;
    for (int i = 0; i < 200; ++i) {
      now += static_cast<std::int64_t>(below(5));
      const time_point t{duration{now}};
      const auto what = below(30);
      if (what < 10) {
        const in_flight::place p = calls.begin(t);
        same = same && (p == in_flight::none) == (out.size() == places);
        for (const known& k : out) same = same && k.place != p;
        if (p != in_flight::none) out.push_back({p, now, std::nullopt});
      } else if (what < 18) {
        const in_flight::place p = calls.take_late(t, 9ns);
        const auto first = std::ranges::find_if(out, [](const known& k) { return !k.found; });
        const bool late = first != out.end() && now - first->began > 9;
        same = same && p == (late ? first->place : in_flight::none);
        if (!late) continue;
        first->found = in_flight::entry{static_cast<std::uint64_t>(i), below(2) == 0};
        calls.note(p, *first->found);
      } else if (what < 28 && !out.empty()) {
        const auto which = out.begin() + static_cast<std::ptrdiff_t>(below(out.size()));
        const auto found = calls.end(which->place);
        same = same && found.has_value() == which->found.has_value();
        if (found && which->found) {
          same = same && found->ticket == which->found->ticket && found->failed == which->found->failed;
        }
        out.erase(which);
      } else if (what == 28) {
        calls.forget_entries();
        for (known& k : out) {
          if (k.found) k.found->failed = true;
        }
      } else if (what == 29) {
        calls.clear();
        out.clear();
      }
      same = same && calls.empty() == out.empty();
    }
    CHECK(same);
  }
}
