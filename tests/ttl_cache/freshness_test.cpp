// SPDX-License-Identifier: BSL-1.0
// What loading leaves behind: fresh, stale, negative, failed.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <latch>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using weir::loaded;
using weir::lookup_source;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::removal_cause;
using weir::time_point;
using weir_test::manual_clock;
using cache = weir_test::logged_cache<int, int>;
using log = weir_test::removal_log<int, int>;

namespace {

int fail() { throw std::runtime_error{"no answer"}; }

}  // namespace

TEST_CASE("a load is stored and the next caller hits", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  const auto first = c.get_or_load(1, [] { return 7; });
  CHECK(first->source == lookup_source::loaded);
  CHECK(**first == 7);
  const auto second = c.get_or_load(1, fail);
  CHECK(second->source == lookup_source::hit);
  CHECK(**second == 7);
  clock.advance(10s);
  CHECK(c.get_or_load(1, [] { return 8; })->source == lookup_source::loaded);
  const weir::ttl_cache_stats s = c.stats();
  CHECK(s.hits == 1);
  CHECK(s.misses == 2);
  CHECK(s.loads_ok == 2);
}

TEST_CASE("the life of a loaded value begins when it is published, and never lasts for ever", "[ttl_cache]") {
  // rows 26 and 3
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  (void)c.get_or_load(1, [&] { return clock.advance(8s), 7; });
  CHECK(c.stats().load_time == 8s);
  clock.advance(10s - 1ns);
  CHECK(c.contains(1));
  clock.advance(1ns);
  CHECK_FALSE(c.contains(1));
}

TEST_CASE("a loader decides how long its value lives, or that it is not stored", "[ttl_cache]") {
  manual_clock clock;
  log l;
  cache c{{.max_entries = 4, .expire_after_write = 10s}, clock.source(), {&l}};
  (void)c.get_or_load(1, [] { return loaded<int>{7, 20s}; });
  clock.advance(19s);
  CHECK(c.get(1) == 7);
  CHECK(**c.get_or_load(2, [] { return loaded<int>{8, 0s}; }) == 8);
  CHECK_FALSE(c.contains(2));
  CHECK(l.events == std::vector<log::event>{{2, 8, removal_cause::rejected}});
}

TEST_CASE("an absence is remembered for its own time, and only if that is set", "[ttl_cache]") {
  manual_clock clock;
  int loads = 0;
  const auto none = [&] { return ++loads, std::optional<int>{}; };
  SECTION("set") {
    cache c{{.max_entries = 2, .expire_after_write = 10s, .negative_ttl = 2s}, clock.source()};
    const auto first = c.get_or_load(1, none);
    CHECK(first->source == lookup_source::negative);
    CHECK_FALSE(first->value);
    clock.advance(2s - 1ns);
    CHECK(c.get_or_load(1, none)->source == lookup_source::negative);
    CHECK_FALSE(c.get(1));
    CHECK(c.stats().negative == 2);
    CHECK(c.size() == 0);
    CHECK(c.stats().entries == 1);
    CHECK(loads == 1);
    clock.advance(1ns);
    (void)c.get_or_load(1, none);
    CHECK(loads == 2);
    CHECK(c.insert(1, 5));  // an absence is not in the way of a value
    CHECK(c.get(1) == 5);
  }
  SECTION("not set") {
    cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
    (void)c.get_or_load(1, none);
    CHECK(c.get_or_load(1, none)->source == lookup_source::negative);
    CHECK(loads == 2);
    CHECK(c.stats().entries == 0);
    (void)c.get_or_load(1, [] { return loaded<int>{std::nullopt, 1s}; });  // unless the loader says how long
    (void)c.get_or_load(1, none);
    CHECK(loads == 2);
  }
}

TEST_CASE("a failure is remembered for its own time, and only if that is set", "[ttl_cache]") {
  // CA-05, row 16
  manual_clock clock;
  int loads = 0;
  const auto failing = [&]() -> int { return ++loads, fail(); };
  SECTION("set") {
    cache c{{.max_entries = 2, .error_ttl = 2s}, clock.source()};
    CHECK_THROWS_AS(c.get_or_load(1, failing), std::runtime_error);
    CHECK_THROWS_AS(c.get_or_load(1, failing), std::runtime_error);
    CHECK(loads == 1);
    CHECK(c.stats().loads_failed == 1);
    clock.advance(2s);
    CHECK_THROWS_AS(c.get_or_load(1, failing), std::runtime_error);
    CHECK(loads == 2);
    CHECK(c.insert(1, 5));
    CHECK(**c.get_or_load(1, failing) == 5);
  }
  SECTION("not set") {
    cache c{{.max_entries = 2}, clock.source()};
    CHECK_THROWS_AS(c.get_or_load(1, failing), std::runtime_error);
    CHECK(**c.get_or_load(1, [] { return 7; }) == 7);
    CHECK(loads == 1);
  }
}

TEST_CASE("a loader may refuse, and the refusal is not remembered", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .error_ttl = 2s}, clock.source()};
  const refusal open{refusal_reason::circuit_open, 3s};
  const auto refused = c.get_or_load(1, [&] { return outcome<int>{open}; });
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == open);
  CHECK(**c.get_or_load(1, [] { return outcome<int>{7}; }) == 7);
  CHECK(c.stats().loads_failed == 1);
}

TEST_CASE("while stale, one caller loads and the others get the stale value at once", "[ttl_cache]") {
  // CA-05
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s}, clock.source()};
  c.insert(1, 7);
  clock.advance(12s);
  CHECK_FALSE(c.get(1));  // only get_or_load may give a stale value
  const auto refreshed = c.get_or_load(1, [&] {
    std::vector<outcome<weir::lookup<int>>> others;
    std::thread other{[&] {
      for (int n = 0; n < 3; ++n) others.push_back(c.get_or_load(1, fail));
    }};
    other.join();
    for (const auto& o : others) CHECK((o->source == lookup_source::stale && **o == 7));
    return 8;
  });
  CHECK(refreshed->source == lookup_source::loaded);
  CHECK(**refreshed == 8);
  CHECK(c.stats().stale == 3);
  CHECK(c.stats().loads_ok == 1);
  CHECK(c.get(1) == 8);
}

TEST_CASE("no caller gets a value that is more than stale_for past its time", "[ttl_cache]") {
  // row 6 and CA-05
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s}, clock.source()};
  c.insert(1, 7);
  clock.advance(15s - 1ns);
  const weir::deadline passed{clock.now()};
  CHECK(c.get_or_load(1, fail, passed)->source == lookup_source::stale);
  clock.advance(1ns);
  CHECK(c.get_or_load(1, fail, passed).error().reason == refusal_reason::timed_out);
  std::optional<outcome<weir::lookup<int>>> waited;
  std::thread other;
  (void)c.get_or_load(1, [&] {
    other = std::thread{[&] { waited = c.get_or_load(1, fail); }};
    weir_test::await_joined(c, 1);
    return 8;
  });
  other.join();
  CHECK((*waited)->source == lookup_source::joined);
}

TEST_CASE("a stale value stands in for a failed load as long as it may", "[ttl_cache]") {
  // CA-05
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_if_error = 5s}, clock.source()};
  c.insert(1, 7);
  clock.advance(15s - 1ns);
  const auto served = c.get_or_load(1, fail);
  CHECK(served->source == lookup_source::stale);
  CHECK(**served == 7);
  CHECK(c.get_or_load(1, [] { return outcome<int>{refusal{refusal_reason::busy}}; })->source ==
        lookup_source::stale);
  CHECK(c.stats().loads_failed == 2);
  clock.advance(1ns);
  CHECK_THROWS_AS(c.get_or_load(1, fail), std::runtime_error);
}

TEST_CASE("a stale value that stands in spares the source for the time a failure is remembered",
          "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .error_ttl = 2s, .stale_if_error = 5s},
          clock.source()};
  int loads = 0;
  const auto failing = [&]() -> int { return ++loads, fail(); };
  c.insert(1, 7);
  clock.advance(10s);
  CHECK(**c.get_or_load(1, failing) == 7);
  CHECK(**c.get_or_load(1, failing) == 7);
  CHECK(loads == 1);
  clock.advance(2s);
  CHECK(**c.get_or_load(1, failing) == 7);
  CHECK(loads == 2);
  clock.advance(3s);  // the limit of the stale value comes first
  CHECK_THROWS_AS(c.get_or_load(1, failing), std::runtime_error);
}

TEST_CASE("an invalidated value does not stand in for a failed load", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s, .stale_if_error = 5s},
          clock.source()};
  c.insert(1, 7);
  clock.advance(10s);
  const auto load = [&](auto&& invalidate) {
    return c.get_or_load(1, [&]() -> int {
      invalidate();
      return fail();
    });
  };
  SECTION("by key") {
    CHECK_THROWS_AS(load([&] { c.erase(1); }), std::runtime_error);
  }
  SECTION("all") {
    CHECK_THROWS_AS(load([&] { c.invalidate_all(); }), std::runtime_error);
  }
  SECTION("by predicate") {
    CHECK_THROWS_AS(load([&] { c.invalidate_if([](int, int) { return true; }); }), std::runtime_error);
  }
  CHECK(c.stats().stale == 0);
}

TEST_CASE("a value in its stale time is kept for it, and goes first when room is needed", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s}, clock.source()};
  c.insert(1, 1);
  clock.advance(1s);
  c.insert(2, 2);
  clock.advance(9s);
  CHECK(c.maintain() == 0);
  CHECK(c.stats().entries == 2);
  CHECK(c.size() == 1);
  c.insert(3, 3);
  CHECK(c.contains(2));
  CHECK(c.contains(3));
  clock.advance(6s);
  CHECK(c.maintain() == 1);
}

TEST_CASE("when a refreshed key turns out to be gone its stale value goes too", "[ttl_cache]") {
  manual_clock clock;
  log l;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s}, clock.source(), {&l}};
  c.insert(1, 1);
  clock.advance(10s);
  CHECK(c.get_or_load(1, [] { return std::nullopt; })->source == lookup_source::negative);
  CHECK(l.events == std::vector<log::event>{{1, 1, removal_cause::expired}});
  CHECK(c.stats().entries == 0);
}

TEST_CASE("a load past its lease no longer holds its key, and its late result is not stored", "[ttl_cache]") {
  // row 4
  manual_clock clock;
  log l;
  cache c{
      {.max_entries = 2, .expire_after_write = 10s, .stale_for = 5s, .load_lease = 3s}, clock.source(), {&l}};
  c.insert(1, 1);
  clock.advance(10s);
  const auto late = c.get_or_load(1, [&] {
    clock.advance(3s - 1ns);
    std::optional<outcome<weir::lookup<int>>> other;
    std::thread{[&] { other = c.get_or_load(1, fail); }}.join();
    CHECK((*other)->source == lookup_source::stale);
    clock.advance(1ns);
    std::thread{[&] { (void)c.get_or_load(1, [] { return 3; }); }}.join();
    return 2;
  });
  CHECK(**late == 2);
  CHECK(c.get(1) == 3);
  CHECK(l.events == std::vector<log::event>{{1, 1, removal_cause::expired}, {1, 2, removal_cause::rejected}});
}
