// SPDX-License-Identifier: BSL-1.0
// One load a key and flight, whatever happens to it.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <exception>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using weir::deadline;
using weir::lookup;
using weir::lookup_source;
using weir::outcome;
using weir::refusal_reason;
using weir::removal_cause;
using weir::time_point;
using weir_test::await_joined;
using weir_test::manual_clock;
using cache = weir_test::logged_cache<int, int>;
using log = weir_test::removal_log<int, int>;

namespace {

/// Callers on threads of their own, and what each of them got.
class callers {
 public:
  struct got {
    std::optional<outcome<lookup<int>>> answer;
    std::exception_ptr error;
  };

  callers(cache& c, int n, deadline until = {}, std::stop_token stop = {})
      : got_(static_cast<std::size_t>(n)) {
    for (got& mine : got_) {
      threads_.emplace_back([&c, &mine, until, stop] {
        try {
          mine.answer = c.get_or_load(1, [] { return -1; }, until, stop);
        } catch (...) {
          mine.error = std::current_exception();
        }
      });
    }
  }
  const std::vector<got>& join() {
    for (std::thread& t : threads_) t.join();
    return got_;
  }

 private:
  std::vector<got> got_;
  std::vector<std::thread> threads_;
};

int never() { throw std::logic_error{"must not be called"}; }

}  // namespace

TEST_CASE("ten callers of one key cause one load and get one value", "[ttl_cache]") {
  // CA-05, row 14
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::optional<callers> others;
  const auto led = c.get_or_load(1, [&] {
    others.emplace(c, 9);
    await_joined(c, 9);
    return 7;
  });
  CHECK(led->source == lookup_source::loaded);
  for (const auto& g : others->join()) {
    REQUIRE(g.answer);
    CHECK((*g.answer)->source == lookup_source::joined);
    CHECK((*g.answer)->value == 7);
  }
  CHECK(c.stats().loads_ok == 1);
  CHECK(c.stats().joined == 9);
  CHECK(c.stats().in_flight == 0);
}

TEST_CASE("the exception of a loader reaches every caller of that load and no later one", "[ttl_cache]") {
  // rows 13 and 16
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::optional<callers> others;
  CHECK_THROWS_AS(c.get_or_load(1,
                                [&]() -> int {
                                  others.emplace(c, 4);
                                  await_joined(c, 4);
                                  throw std::runtime_error{"down"};
                                }),
                  std::runtime_error);
  for (const auto& g : others->join()) {
    REQUIRE(g.error);
    CHECK_THROWS_AS(std::rethrow_exception(g.error), std::runtime_error);
  }
  CHECK(c.stats().entries == 0);
  CHECK(**c.get_or_load(1, [] { return 8; }) == 8);
  CHECK(c.stats().loads_failed == 1);
  CHECK(c.stats().loads_ok == 1);
}

TEST_CASE("a waiter whose deadline comes is refused, and nobody else is disturbed", "[ttl_cache]") {
  // rows 12 and 15
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::optional<callers> hasty;
  std::optional<callers> patient;
  (void)c.get_or_load(1, [&] {
    hasty.emplace(c, 1, time_point{5s});
    patient.emplace(c, 2);
    await_joined(c, 3);
    clock.await_sleepers(1);
    clock.advance(5s);
    const auto& got = hasty->join();
    CHECK(got[0].answer->error().reason == refusal_reason::timed_out);
    CHECK(**c.get_or_load(2, [] { return 2; }) == 2);  // no lock is held meanwhile
    return 7;
  });
  for (const auto& g : patient->join()) CHECK((*g.answer)->value == 7);
  CHECK(c.stats().loads_ok == 2);
  CHECK(c.stats().abandoned == 1);
}

TEST_CASE("a waiter that is stopped is refused, and nobody else is disturbed", "[ttl_cache]") {
  // row 12
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::stop_source stop;
  std::optional<callers> stopped;
  std::optional<callers> other;
  (void)c.get_or_load(1, [&] {
    stopped.emplace(c, 1, deadline{}, stop.get_token());
    other.emplace(c, 1);
    await_joined(c, 2);
    stop.request_stop();
    CHECK(stopped->join()[0].answer->error().reason == refusal_reason::cancelled);
    return 7;
  });
  CHECK((*other->join()[0].answer)->value == 7);
  CHECK(c.stats().loads_ok == 1);
}

TEST_CASE("the work is stopped when the last who wanted it has gone, and not before", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::stop_source leader;
  std::stop_source waiter;
  std::optional<callers> other;
  const auto led = c.get_or_load(
      1,
      [&](std::stop_token work) {
        other.emplace(c, 1, deadline{}, waiter.get_token());
        await_joined(c, 1);
        leader.request_stop();
        CHECK_FALSE(work.stop_requested());
        waiter.request_stop();
        other->join();
        CHECK(work.stop_requested());
        CHECK(c.stats().in_flight == 0);  // a new caller would load for itself
        return 7;
      },
      {}, leader.get_token());
  CHECK(**led == 7);
  CHECK_FALSE(c.contains(1));
}

TEST_CASE("a caller whose time is over, or who is stopped, gets what is there and starts no load",
          "[ttl_cache]") {
  manual_clock clock{time_point{10s}};
  cache c{{.max_entries = 2}, clock.source()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(c.get_or_load(1, never, time_point{10s}).error().reason == refusal_reason::timed_out);
  CHECK(c.get_or_load(1, never, {}, stop.get_token()).error().reason == refusal_reason::cancelled);
  c.insert(1, 7);
  CHECK(**c.get_or_load(1, never, time_point{10s}) == 7);
  CHECK(**c.get_or_load(1, never, {}, stop.get_token()) == 7);
}

TEST_CASE("what overtakes a load wins: its callers get the value, the cache does not", "[ttl_cache]") {
  // rows 5 and 19, CA-05, and coherence: a value whose load began before an invalidation is not seen after it
  manual_clock clock;
  log l;
  cache c{{.max_entries = 2}, clock.source(), {&l}};
  std::optional<callers> others;
  const auto overtaken = [&](auto&& by) {
    const auto led = c.get_or_load(1, [&] {
      others.emplace(c, 2);
      await_joined(c, 2);
      by();  // returns while the load runs
      return 7;
    });
    CHECK(led->source == lookup_source::loaded);
    CHECK(**led == 7);
    for (const auto& g : others->join()) CHECK((*g.answer)->value == 7);
    CHECK(l.events == std::vector<log::event>{{1, 7, removal_cause::rejected}});
  };
  SECTION("erase") {
    overtaken([&] { CHECK_FALSE(c.erase(1)); });
    CHECK_FALSE(c.contains(1));
  }
  SECTION("invalidate_all") {
    overtaken([&] { c.invalidate_all(); });
    CHECK_FALSE(c.contains(1));
  }
  SECTION("invalidate_if") {
    overtaken([&] { c.invalidate_if([](int, int) { return false; }); });
    CHECK_FALSE(c.contains(1));
  }
  SECTION("insert") {
    overtaken([&] { c.insert(1, 9); });
    CHECK(c.get(1) == 9);
  }
  SECTION("compute") {
    overtaken([&] { c.compute(1, [](const int*) { return 9; }); });
    CHECK(c.get(1) == 9);
  }
}

TEST_CASE("a caller that comes after an invalidation does not join the load from before it", "[ttl_cache]") {
  // rows 5 and 17
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::optional<outcome<lookup<int>>> later;
  const auto led = c.get_or_load(1, [&] {
    c.invalidate_all();
    std::thread{[&] { later = c.get_or_load(1, [] { return 8; }); }}.join();
    return 7;
  });
  CHECK(**led == 7);
  CHECK((*later)->source == lookup_source::loaded);
  CHECK(c.get(1) == 8);
}

TEST_CASE("a loader that asks for its own key gets an error, not a deadlock; another key is fine",
          "[ttl_cache]") {
  // row 11
  manual_clock clock;
  cache c{{.max_entries = 4, .expire_after_write = 10s, .stale_for = 5s}, clock.source()};
  CHECK_THROWS_AS(c.get_or_load(1, [&] { return **c.get_or_load(1, never); }), std::logic_error);
  CHECK(**c.get_or_load(1, [&] { return **c.get_or_load(2, [] { return 2; }) + 1; }) == 3);
  CHECK(c.get(2) == 2);
  clock.advance(10s);  // not even while a stale value could answer
  std::string what;
  (void)c.get_or_load(1, [&] {
    try {
      (void)c.get_or_load(1, never);
    } catch (const std::logic_error& e) {
      what = e.what();
    }
    return 4;
  });
  CHECK(what == "ttl_cache: a call for a key must not ask for the same key again from inside");
  CHECK(c.get(1) == 4);
}

TEST_CASE("a clock that jumps ahead during a load changes nothing but the life of the value", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  c.insert(2, 2);
  (void)c.get_or_load(1, [&] { return clock.advance(1000h), 1; });
  CHECK(c.get(1) == 1);
  CHECK_FALSE(c.contains(2));
}

TEST_CASE("a load whose old entry was evicted meanwhile is stored all the same", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 1, .expire_after_write = 10s, .stale_for = 5s}, clock.source()};
  c.insert(1, 1);
  clock.advance(10s);
  (void)c.get_or_load(1, [&] {
    c.insert(2, 2);
    return 3;
  });
  CHECK(c.get(1) == 3);
  CHECK(c.stats().entries == 1);
}

TEST_CASE("a load that cannot be stopped keeps its key when its caller is", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  std::stop_source leader;
  std::optional<callers> other;
  const auto led = c.get_or_load(
      1,
      [&] {
        leader.request_stop();
        CHECK(c.stats().in_flight == 1);
        other.emplace(c, 1);
        await_joined(c, 1);
        return 7;
      },
      {}, leader.get_token());
  CHECK(**led == 7);
  CHECK((*other->join()[0].answer)->value == 7);
  CHECK(c.get(1) == 7);
  CHECK(c.stats().loads_ok == 1);
}

TEST_CASE("the time of loads adds up to no more than a duration can hold", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  (void)c.get_or_load(1, [&] {
    (void)c.get_or_load(2, [&] {
      clock.set(time_point::max());
      return 2;
    });
    return 1;
  });
  CHECK(c.stats().load_time == weir::duration::max());
}
