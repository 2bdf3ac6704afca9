// SPDX-License-Identifier: BSL-1.0
// Scripts of requests with the answers they must get; each row runs on the core and on the shell.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/detail/token_bucket_core.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::duration;
using weir::rate;
using weir::refusal_reason;
using weir::time_point;
using weir::detail::bucket_core;
using weir::detail::bucket_instant;
using weir::detail::bucket_limits;
using weir::testing::manual_clock;

namespace {

constexpr duration never = duration::max();

struct request {
  duration at;
  std::optional<std::int64_t> before;  // tokens held before it, if the row says
  std::uint64_t n;
  bool granted;
  std::optional<std::int64_t> left = std::nullopt;  // tokens held after it
  std::optional<duration> wait = std::nullopt;      // `never` for ever
};

struct script {
  std::string name;
  weir::token_bucket_options options;
  std::vector<request> rows;
};

constexpr duration tick = 100ms;

const std::vector<script> scripts{
    {"TB-01 burst 1",
     {.rate = {1, tick}, .burst = 1},
     {{0 * tick, 1, 1, true},
      {0 * tick, 0, 1, false},
      {0 * tick, 0, 1, false},
      {1 * tick, 1, 1, true},
      {1 * tick, 0, 1, false},
      {1 * tick, 0, 1, false},
      {2 * tick, 1, 2, false, 1, never},
      {2 * tick, 1, 1, true},
      {2 * tick, 0, 1, false}}},
    {"TB-02 burst 3, partial refill, refill capped",
     {.rate = {1, tick}, .burst = 3},
     {{0 * tick, 3, 2, true},
      {0 * tick, 1, 2, false},
      {0 * tick, 1, 1, true},
      {0 * tick, 0, 1, false},
      {1 * tick, 1, 4, false, 1, never},
      {2 * tick, 2, 1, true},
      {3 * tick, 2, 1, true},
      {4 * tick, 2, 1, true},
      {4 * tick, 1, 1, true},
      {4 * tick, 0, 1, false},
      {4 * tick, 0, 1, false},
      {9 * tick, 3, 3, true},
      {9 * tick, 0, 0, true}}},
    {"TB-04 a clock that steps back mints nothing",
     {.rate = {1, tick}, .burst = 3},
     {{1 * tick, 3, 1, true},
      {0 * tick, 2, 1, true},
      {0 * tick, 1, 1, true},
      {0 * tick, 0, 1, false},
      {1 * tick, 0, 1, false},
      {2 * tick, 1, 1, true},
      {2 * tick, 0, 1, false}}},
    {"TB-17 rate zero: the first burst, then never",
     {.rate = rate::zero(), .burst = 1},
     {{0 * tick, 1, 1, true}, {10 * tick, 0, 1, false, 0, never}, {100'000h, 0, 1, false, 0, never}}},
    {"TB-19 an unlimited rate ignores the burst of nothing",
     {.rate = rate::unlimited()},
     {{0ns, {}, 1, true}, {0ns, {}, 3, true}, {0ns, {}, 1'000'000'000, true}, {100'000h, {}, 1, true}}},
    {"TB-19 and of something",
     {.rate = rate::unlimited(), .burst = 1},
     {{0ns, {}, 1'000'000'000, true}, {0ns, {}, 1'000'000'000, true}}},
    {"TB-22 what a wait comes to",
     {.rate = {1, tick}, .burst = 3},
     {{0 * tick, 3, 4, false, 3, never},
      {0 * tick, 3, 2, true},
      {0 * tick, 1, 3, false, 1, 2 * tick},
      {2 * tick, 3, 3, true}}},
    {"TB-23 a stale instant does not rewind",
     {.rate = rate::per_second(100), .burst = 1 << 30, .initial = 0},
     {{10s, 1000, 10, true, 990}, {9s, 990, 0, true, 990}, {11s, 1090, 0, true}}},
    {"GCRA-01 all used up, back after a second",
     {.rate = {1, 500ms}, .burst = 2},
     {{0ms, {}, 1, true, 1},
      {1ms, {}, 1, true, 0},
      {2ms, {}, 1, false, 0, 498ms},
      {1002ms, {}, 1, true, 1},
      {1003ms, {}, 1, true, 0},
      {1004ms, {}, 1, false}}},
    {"GCRA-02 idling gathers no more than the burst",
     {.rate = {1, 200ms}, .burst = 5},
     {{2000ms, {}, 1, true, 4},
      {2000ms, {}, 1, true, 3},
      {2000ms, {}, 1, true, 2},
      {2000ms, {}, 1, true, 1},
      {2000ms, {}, 1, true, 0},
      {2000ms, {}, 1, false, 0, 200ms},
      {3000ms, {}, 1, true, 4}}},
    {"GCRA-04 pairs at 4/s",
     {.rate = {1, 250ms}, .burst = 4},
     {{0ms, {}, 2, true, 2},
      {0ms, {}, 2, true, 0},
      {1ms, {}, 2, false, 0, 499ms},
      {1001ms, {}, 2, true, 2},
      {1002ms, {}, 2, true, 0},
      {1003ms, {}, 2, false}}},
    {"GCRA-05 what is left",
     {.rate = {1, 250ms}, .burst = 4},
     {{0ms, 4, 1, true, 3},
      {0ms, 3, 1, true, 2},
      {0ms, 2, 1, true, 1},
      {0ms, 1, 1, true, 0},
      {0ms, 0, 1, false, 0, 250ms}}},
    {"B4J-01 refill", {.rate = {1000, 1000ns}, .burst = 1000, .initial = 0}, {{40ns, 40, 0, true}}},
    {"B4J-01 refill by one", {.rate = {1000, 1000ns}, .burst = 1000, .initial = 50}, {{1ns, 51, 0, true}}},
    {"B4J-01 clock back", {.rate = {1000, 1000ns}, .burst = 1000, .initial = 55}, {{-1ns, 55, 0, true}}},
    {"B4J-01 capped", {.rate = {1000, 1000ns}, .burst = 1000, .initial = 200}, {{10000ns, 1000, 0, true}}},
    {"B4J-01 remainder kept",
     {.rate = {100, 1000ns}, .burst = 100, .initial = 0},
     {{3ns, 0, 1, false, 0, 7ns}, {9ns, 0, 0, true}, {10ns, 1, 0, true}}},
    {"B4J-01 remainder on top",
     {.rate = {100, 1000ns}, .burst = 100, .initial = 90},
     {{17ns, 91, 92, false, 91, 3ns}, {19ns, 91, 0, true}, {20ns, 92, 0, true}}},
    {"B4J-01 a full bucket drops the remainder",
     {.rate = {100, 1000ns}, .burst = 100, .initial = 0},
     {{18888ns, 100, 100, true, 0, {}}, {18897ns, 0, 1, false, 0, 1ns}, {18898ns, 1, 1, true}}},
    {"B4J-02 time until n fit",
     {.rate = {10, 100ns}, .burst = 10, .initial = 0},
     {{0ns, 0, 10, false, 0, 100ns}}},
    {"B4J-02 slower", {.rate = {2, 100ns}, .burst = 10, .initial = 0}, {{0ns, 0, 10, false, 0, 500ns}}},
    {"B4J-02 partly there", {.rate = {10, 100ns}, .burst = 10, .initial = 4}, {{0ns, 4, 7, false, 4, 30ns}}},
    {"B4J-04 the remainder survives a take",
     {.rate = {10, 100ns}, .burst = 10, .initial = 0},
     {{97ns, 9, 9, true, 0},
      {97ns, 0, 1, false, 0, 3ns},
      {100ns, 1, 1, true, 0},
      {100ns, 0, 1, false, 0, 10ns}}},
    {"B4J-05 a partly refilled token counts towards the wait",
     {.rate = {1, 1s}, .burst = 4, .initial = 1},
     {{0ns, 1, 1, true, 0}, {200ms, 0, 1, false, 0, 800ms}, {200ms, 0, 3, false, 0, 2800ms}}},
    {"B4J-11 probe", {.rate = {100, 100ns}, .burst = 100}, {{0ns, 100, 49, true, 51}}},
    {"B4J-11 probe, last one", {.rate = {100, 100ns}, .burst = 100, .initial = 1}, {{0ns, 1, 1, true, 0}}},
    {"B4J-11 probe, short",
     {.rate = {100, 100ns}, .burst = 100, .initial = 70},
     {{0ns, 70, 80, false, 70, 10ns}}},
    {"B4J-11 probe, empty",
     {.rate = {100, 100ns}, .burst = 100, .initial = 0},
     {{0ns, 0, 10, false, 0, 10ns}, {0ns, 0, 120, false, 0, never}}},
    {"B4J-13 a full bucket moves its time mark",
     {.rate = rate::per_second(20), .burst = 100},
     {{5s, 100, 100, true, 0}, {6s, 20, 0, true}}},
    {"regression: six days idle neither overflow nor oversleep",
     {.rate = rate::per_second(1'000'000'000), .burst = 1000},
     {{144h, 1000, 1000, true, 0}, {144h, 0, 1, false, 0, 1ns}, {200'000h, 1000, 1000, true, 0}}},
};

bucket_limits limits_of(const weir::token_bucket_options& o) {
  return o.rate.is_unlimited() ? bucket_limits::none()
                               : bucket_limits::of(o.rate.tokens(), o.rate.per().count(), o.burst);
}

}  // namespace

TEST_CASE("the shell answers every script as it stands", "[token_bucket][table]") {
  for (const script& s : scripts) {
    INFO(s.name);
    manual_clock clock{time_point{10'000s}};
    basic_token_bucket bucket{s.options, clock.source()};
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      const request& r = s.rows[i];
      INFO("row " << i);
      clock.set(time_point{10'000s} + r.at);
      if (r.before) CHECK(bucket.available_approx() == *r.before);
      const auto answer = bucket.try_acquire(r.n);
      CHECK(answer.has_value() == r.granted);
      if (!answer && r.wait == never) CHECK_FALSE(answer.error().retry_after.has_value());
      if (!answer && r.wait && *r.wait != never) CHECK(answer.error().retry_after == r.wait);
      if (r.left) CHECK(bucket.available_approx() == *r.left);
    }
  }
}

TEST_CASE("the core answers every script as it stands", "[token_bucket][table]") {
  for (const script& s : scripts) {
    INFO(s.name);
    const bucket_limits limits = limits_of(s.options);
    CHECK(limits.unlimited() == s.options.rate.is_unlimited());
    if (limits.unlimited()) continue;  // that is the answer to each of its rows
    time_point newest{10'000s};
    bucket_core core = bucket_core::holding(limits, newest, s.options.initial.value_or(s.options.burst));
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      const request& r = s.rows[i];
      INFO("row " << i);
      const time_point t = std::max(newest, time_point{10'000s} + r.at);
      if (!core.in_range(t)) core.rebase(t);
      if (r.before) CHECK(core.tokens(t) == *r.before);
      if (r.n > static_cast<std::uint64_t>(limits.burst)) {
        CHECK_FALSE(r.granted);
        continue;
      }
      if (r.n != 0) {
        const auto answer = core.ask(t, static_cast<std::int64_t>(r.n));
        CHECK((answer.excess <= 0) == r.granted);
        if (r.wait == never) CHECK_FALSE(core.wait_for(answer.excess).has_value());
        if (r.wait && *r.wait != never) CHECK(core.wait_for(answer.excess) == r.wait);
        if (answer.excess <= 0) {
          core.full_at = answer.full_at;
          newest = t;
        }
      }
      if (r.left) CHECK(core.tokens(t) == *r.left);
    }
  }
}

namespace {

// Reservations.  `expect` is the instant to act at, `no` refused, -1 nothing to check.
enum class op { reserve, cancel, set_rate, set_burst };
constexpr int no = -2;

struct step {
  op what;
  int at;
  std::int64_t arg;  // tokens; or ticks a token; or the burst
  int expect = -1;
  std::string name{};
};

struct booking_script {
  std::string name;
  weir::token_bucket_options options;
  duration max_wait;
  std::vector<step> rows;
};

const std::vector<booking_script> booking_scripts{
    {"TB-05 reserve, no cancel",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0}, {op::reserve, 0, 2, 2}, {op::reserve, 3, 2, 4}}},
    {"TB-07 cancelling a refused reservation does nothing",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 3, no, "r"},
      {op::cancel, 0, 0, -1, "r"},
      {op::reserve, 0, 2, 2}}},
    {"TB-08 cancelling the newest gives everything back",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 2, 2, "r"},
      {op::cancel, 1, 0, -1, "r"},
      {op::reserve, 1, 2, 2}}},
    {"TB-10 nothing comes back of what a newer one leans on",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 1, 1, "r"},
      {op::reserve, 0, 1, 2},
      {op::cancel, 0, 0, -1, "r"},
      {op::reserve, 0, 1, 3}}},
    {"TB-11 only the difference to a smaller newer one comes back",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 2, 2, "r"},
      {op::reserve, 0, 1, 3},
      {op::cancel, 2, 0, -1, "r"},
      {op::reserve, 2, 2, 4}}},
    {"TB-13 rate doubled while in debt",
     {.rate = {1, 2 * tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0}, {op::reserve, 0, 2, 4}, {op::set_rate, 2, 1}, {op::reserve, 2, 1, 4}}},
    // At 3 the bucket owes half a token, so 4 more take 9 ticks.  The instant that is handed in then lies before
    // that: x/time/rate counts from it, and lets act at 9 what is there at 12.  Ours has reached 3, and counts
    // from there.
    {"TB-14 burst raised while in debt",
     {.rate = {1, 2 * tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0}, {op::reserve, 0, 2, 4}, {op::set_burst, 3, 4}, {op::reserve, 0, 4, 12}}},
    {"TB-16 what cannot make it is refused at once",
     {.rate = {1, tick}, .burst = 2},
     tick,
     {{op::reserve, 0, 2, 0}, {op::reserve, 0, 1, 1}, {op::reserve, 0, 1, no}}},
    {"TB-17 a rate after rate zero",
     {.rate = rate::zero(), .burst = 1},
     never,
     {{op::reserve, 0, 1, 0}, {op::reserve, 10, 1, no}, {op::set_rate, 10, 1}, {op::reserve, 10, 1, 11}}},
    {"a cancelled booking whose time has come gives nothing back",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 1, 1, "r"},
      {op::cancel, 2, 0, -1, "r"},
      {op::reserve, 2, 2, 3}}},
    {"cancelled from the newest back, all comes back",
     {.rate = {1, tick}, .burst = 2},
     never,
     {{op::reserve, 0, 2, 0},
      {op::reserve, 0, 1, 1, "a"},
      {op::reserve, 0, 2, 3, "b"},
      {op::reserve, 0, 1, 4, "c"},
      {op::cancel, 0, 0, -1, "c"},
      {op::cancel, 0, 0, -1, "b"},
      {op::cancel, 0, 0, -1, "a"},
      {op::reserve, 0, 1, 1}}},
};

}  // namespace

TEST_CASE("bookings get the instants of every script", "[token_bucket][table]") {
  for (const booking_script& s : booking_scripts) {
    INFO(s.name);
    manual_clock clock;
    weir::token_bucket_options options = s.options;
    using bucket_type = basic_token_bucket<manual_clock::view>;
    bucket_type bucket{options, clock.source()};
    std::map<std::string, bucket_type::reservation> held;
    int anonymous = 0;
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      const step& row = s.rows[i];
      INFO("row " << i);
      clock.set(time_point{row.at * tick});
      switch (row.what) {
        case op::reserve: {
          auto booked = bucket.reserve(static_cast<std::uint64_t>(row.arg), s.max_wait);
          REQUIRE(booked.has_value() == (row.expect != no));
          if (!booked) break;
          CHECK(booked->act_at() == time_point{row.expect * tick});
          const std::string name = row.name.empty() ? std::to_string(anonymous++) : row.name;
          held.emplace(name, std::move(*booked));
          break;
        }
        case op::cancel:
          held.erase(row.name);
          break;
        case op::set_rate:
          options.rate = {1, row.arg * tick};
          bucket.reconfigure(options);
          break;
        case op::set_burst:
          options.burst = row.arg;
          bucket.reconfigure(options);
          break;
      }
    }
    for (auto& [name, reservation] : held) std::move(reservation).use();
  }
}

TEST_CASE("bookings get the instants of every script from the core too", "[token_bucket][table]") {
  struct booking {
    bucket_instant act;
    std::int64_t n;
    int number;
    bucket_instant before;
  };
  for (const booking_script& s : booking_scripts) {
    INFO(s.name);
    weir::token_bucket_options options = s.options;
    bucket_core core = bucket_core::holding(limits_of(options), time_point{}, options.burst);
    bucket_instant newest{time_point::min()};
    time_point latest{};
    std::map<std::string, booking> held;
    int booked = 0;
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      const step& row = s.rows[i];
      INFO("row " << i);
      const time_point now{row.at * tick};
      const time_point t = std::max(latest, now);
      switch (row.what) {
        case op::reserve: {
          if (row.arg > core.limits.burst) {
            CHECK(row.expect == no);
            break;
          }
          const auto answer = core.ask(t, row.arg);
          const auto wait = core.wait_for(answer.excess);
          REQUIRE((wait && *wait <= s.max_wait) == (row.expect != no));
          if (row.expect == no) break;
          core.full_at = answer.full_at;
          latest = t;
          const bucket_instant act = core.instant(t, answer.excess);
          CHECK(act.ceil() == time_point{row.expect * tick});
          held[row.name] = {act, row.arg, ++booked, newest};
          newest = std::max(newest, act);
          break;
        }
        case op::cancel: {
          const auto found = held.find(row.name);
          if (found == held.end() || t > found->second.act.ceil()) break;
          const booking& b = found->second;
          if (b.number == booked) {
            core.refund(t, b.n * core.limits.cost);
            --booked;
            newest = b.before;
          } else {
            core.refund(t, core.refundable(b.n, b.act, newest));
          }
          break;
        }
        case op::set_rate:
        case op::set_burst:
          if (row.what == op::set_rate) options.rate = {1, row.arg * tick};
          if (row.what == op::set_burst) options.burst = row.arg;
          core.reconfigure(t, limits_of(options), weir::held_tokens::keep, options.burst);
          latest = t;
          break;
      }
    }
  }
}

TEST_CASE("GCRA-07: in a second come as many as the rate says, not as whole nanoseconds would let",
          "[token_bucket][table]") {
  for (const std::int64_t n : {300'000'000, 600'000'000, 700'000'000, 3}) {
    INFO(n);
    const bucket_limits limits = bucket_limits::of(n, 1'000'000'000, n);
    const bucket_core core = bucket_core::holding(limits, time_point{}, 0);
    CHECK(core.tokens(time_point{1s - 1ns}) == n - 1);
    CHECK(core.tokens(time_point{1s}) == n);
    manual_clock clock;
    basic_token_bucket bucket{{.rate = rate::per_second(n), .burst = n, .initial = 0}, clock.source()};
    clock.set(time_point{1s - 1ns});
    CHECK_FALSE(bucket.try_acquire(static_cast<std::uint64_t>(n)));
    clock.set(time_point{1s});
    CHECK(bucket.try_acquire(static_cast<std::uint64_t>(n)));
  }
}

TEST_CASE("GCRA-08: a key is kept until its bucket is full again, and not longer", "[token_bucket][table]") {
  struct row {
    duration at;
    bool foo, bar, baz;
  };
  const std::vector<row> rows{{800ms, true, true, true},     {1000ms, false, true, true},
                              {1200ms, false, false, true},  {1800ms, false, false, false},
                              {2000ms, false, false, false}, {2200ms, false, false, false},
                              {2800ms, false, false, false}};
  const weir::token_bucket_options options{.rate = rate::per_second(1), .burst = 1};
  manual_clock clock;
  using bucket_type = basic_token_bucket<manual_clock::view>;
  bucket_type foo{options, clock.source()};
  bucket_type bar{options, clock.source()};
  bucket_type baz{options, clock.source()};
  std::vector<bucket_core> cores;
  const auto take = [&](bucket_type& b, duration at) {
    clock.set(time_point{at});
    CHECK(b.try_acquire());
    bucket_core core = bucket_core::holding(limits_of(options), time_point{}, 1);
    core.full_at = core.ask(time_point{at}, 1).full_at;
    cores.push_back(core);
  };
  take(foo, 0ms);
  take(bar, 200ms);
  take(baz, 800ms);
  for (const row& r : rows) {
    INFO(r.at.count());
    const time_point t{r.at};
    CHECK(foo.is_as_new_at(t) == !r.foo);
    CHECK(bar.is_as_new_at(t) == !r.bar);
    CHECK(baz.is_as_new_at(t) == !r.baz);
    const auto kept = [&](const bucket_core& c) { return c.held(t) != c.limits.capacity(); };
    CHECK(kept(cores[0]) == r.foo);
    CHECK(kept(cores[1]) == r.bar);
    CHECK(kept(cores[2]) == r.baz);
  }
}

TEST_CASE("an interval is a rate", "[token_bucket][table]") {
  // TB-20, as tokens in the long run: how many intervals fit in 20 s.  A negative one is no rate: the constructor
  // says so, where x/time/rate takes it for unlimited.
  CHECK(rate::every(0ns).is_unlimited());
  CHECK_THROWS_AS(limits_of({.rate = rate::every(-1ns), .burst = 1}), std::invalid_argument);
  CHECK_THROWS_AS((weir::token_bucket{{.rate = rate::every(-1ns), .burst = 1}}), std::invalid_argument);
  const std::vector<std::pair<duration, std::int64_t>> rows{
      {1ns, 20'000'000'000}, {1us, 20'000'000}, {1ms, 20'000}, {10ms, 2000}, {100ms, 200}, {1s, 20}, {2s, 10},
      {2500ms, 8},           {4s, 5},           {10s, 2}};
  for (const auto& [interval, tokens] : rows) {
    manual_clock clock;
    basic_token_bucket bucket{{.rate = rate::every(interval), .burst = tokens, .initial = 0}, clock.source()};
    clock.advance(20s - 1ns);
    CHECK(bucket.available_approx() == tokens - 1);
    clock.advance(1ns);
    CHECK(bucket.available_approx() == tokens);
    const auto limits = limits_of({.rate = rate::every(interval), .burst = tokens});
    const auto core = bucket_core::holding(limits, time_point{}, 0);
    CHECK(core.tokens(time_point{20s - 1ns}) == tokens - 1);
    CHECK(core.tokens(time_point{20s}) == tokens);
  }
}
