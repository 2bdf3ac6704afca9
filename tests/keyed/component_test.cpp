// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/keyed.hpp>
#include <weir/task_gate.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::breaker_state;
using weir::keyed;
using weir::time_point;
using weir::testing::manual_clock;
using view = manual_clock::view;
using timed_bucket = weir::basic_token_bucket<view>;
using timed_breaker = weir::basic_circuit_breaker<view>;

template <class Map>
concept acquires_by_key = requires(Map& map) { map.try_acquire(1); };

static_assert(weir::fades_at<weir::token_bucket>);
static_assert(weir::fades_at<weir::circuit_breaker>);
static_assert(weir::fades<weir::task_gate>);
static_assert(acquires_by_key<keyed<int, weir::token_bucket>>);
// A clock without a default leaves no default, and can be asked about without an error.
static_assert(!std::is_default_constructible_v<timed_breaker> &&
              !std::is_default_constructible_v<timed_bucket>);
static_assert(!std::is_default_constructible_v<weir::basic_task_gate<view>>);
static_assert(std::is_default_constructible_v<weir::circuit_breaker>);
static_assert(std::is_default_constructible_v<weir::task_gate>);
// A permit would outlive the pin.
static_assert(!acquires_by_key<keyed<int, weir::circuit_breaker>>);

namespace {

/// A map with one shard of the component that `make()` makes.
template <class Component, class Make>
auto map_of(manual_clock& clock, std::size_t max_keys, Make make) {
  return std::make_unique<keyed<int, Component, view>>(
      weir::keyed_options{.max_keys = max_keys, .shards = 1}, [make](const int&) { return make(); },
      clock.source());
}

auto bucket_map(manual_clock& clock, const weir::token_bucket_options& options, std::size_t max_keys = 100) {
  return map_of<timed_bucket>(clock, max_keys,
                              [&clock, options] { return timed_bucket{options, clock.source()}; });
}

auto breaker_map(manual_clock& clock, const weir::circuit_breaker_options& options,
                 std::size_t max_keys = 100) {
  return map_of<timed_breaker>(clock, max_keys,
                               [&clock, options] { return timed_breaker{options, clock.source()}; });
}

}  // namespace

TEST_CASE("a token bucket is forgotten from the instant on which it is full again", "[keyed]") {
  manual_clock clock{time_point{1s}};
  SECTION("whole nanoseconds") {
    const auto map = bucket_map(clock, {.rate = weir::rate::every(10ms), .burst = 5});
    CHECK(map->try_acquire(1, 3));
    clock.advance(30ms - 1ns);
    CHECK(map->evict_as_new() == 0);
    clock.advance(1ns);
    CHECK(map->evict_as_new() == 1);
  }
  SECTION("part of a nanosecond") {
    const auto map = bucket_map(clock, {.rate = {3, 10ns}, .burst = 5});
    CHECK(map->try_acquire(1));  // full again after 3 1/3 ns
    clock.advance(3ns);
    CHECK(map->evict_as_new() == 0);
    clock.advance(1ns);
    CHECK(map->evict_as_new() == 1);
  }
  SECTION("booked ahead") {
    const auto map = bucket_map(clock, {.rate = weir::rate::every(10ms), .burst = 1});
    {
      const auto pinned = map->pin(1);
      CHECK((*pinned)->try_acquire());
      auto booked = (*pinned)->reserve();
      REQUIRE(booked);
      std::move(*booked).use();
    }
    clock.advance(20ms - 1ns);
    CHECK(map->evict_as_new() == 0);
    clock.advance(1ns);
    CHECK(map->evict_as_new() == 1);
  }
}

TEST_CASE("a token bucket that did not start full is kept, for one made at its next use would hold less",
          "[keyed]") {
  manual_clock clock;
  const auto map = bucket_map(clock, {.rate = weir::rate::every(10ms), .burst = 5, .initial = 2});
  (void)map->pin(1);
  CHECK(map->evict_as_new() == 0);
  clock.advance(1h);
  CHECK(map->evict_as_new() == 0);
  CHECK(map->try_acquire(1, 3));
  CHECK(map->evict_as_new() == 0);  // it holds just what a new one does, but not for long
  clock.advance(10ms);
  CHECK(map->try_acquire(1, 3));
}

TEST_CASE("a token bucket that never changes is as new while it holds just what it started with", "[keyed]") {
  manual_clock clock;
  const auto nothing = bucket_map(clock, {.rate = weir::rate::zero(), .burst = 5, .initial = 0});
  CHECK_FALSE(nothing->try_acquire(1));
  CHECK(nothing->evict_as_new() == 1);
  const auto everything = bucket_map(clock, {.rate = weir::rate::unlimited()});
  CHECK(everything->try_acquire(1, 1000));
  CHECK(everything->evict_as_new() == 1);
}

TEST_CASE("a component that was reconfigured is never as new", "[keyed]") {
  manual_clock clock;
  const auto buckets = bucket_map(clock, {.rate = weir::rate::every(10ms), .burst = 5});
  (*buckets->pin(1))->reconfigure({.rate = weir::rate::every(10ms), .burst = 9}, weir::held_tokens::reset);
  (*buckets->pin(2))->reconfigure({.rate = weir::rate::unlimited()});
  CHECK(buckets->evict_as_new() == 0);

  const auto breakers = breaker_map(clock, {});
  (*breakers->pin(1))->reconfigure({.open_for = 1h});
  CHECK(breakers->evict_as_new() == 0);

  const auto gates = map_of<weir::task_gate>(clock, 100, [] { return weir::task_gate{}; });
  (*gates->pin(1))->set_capacity(2);
  CHECK(gates->evict_as_new() == 0);
  (*gates->pin(1))->set_capacity(1);
  CHECK(gates->evict_as_new() == 1);
}

TEST_CASE("a circuit breaker is forgotten when nothing that it has seen counts any more", "[keyed]") {
  manual_clock clock{time_point{100s}};
  const auto report = [](auto& map, bool ok) {
    const auto pinned = map.pin(1);
    auto permit = (*pinned)->try_acquire();
    REQUIRE(permit);
    ok ? std::move(*permit).success() : std::move(*permit).failure();
  };
  SECTION("a window of calls keeps what it has seen") {
    const auto map = breaker_map(clock, {.window = weir::count_window{10}});
    {
      (void)(*map->pin(1))->try_acquire();
    }  // a permit unreported leaves nothing
    CHECK(map->evict_as_new() == 1);
    report(*map, true);
    clock.advance(1000h);
    CHECK(map->evict_as_new() == 0);
    (*map->pin(1))->reset();
    CHECK(map->evict_as_new() == 1);
  }
  SECTION("a window of time loses it with its bucket") {
    const auto map = breaker_map(clock, {.window = weir::time_window{10s, 10}});
    clock.advance(500ms);
    report(*map, false);
    clock.advance(500ms);
    report(*map, true);
    clock.advance(10s - 1ns);
    CHECK(map->evict_as_new() == 0);
    clock.advance(1ns);
    CHECK(map->evict_as_new() == 1);
  }
  SECTION("a window of time at the ends of time") {
    for (const auto start : {time_point::min(), time_point::max() - 10ns}) {
      clock.set(start);
      const auto map = breaker_map(clock, {.window = weir::time_window{10ns, 10}});
      report(*map, true);
      clock.advance(9ns);
      CHECK(map->evict_as_new() == 0);
      clock.advance(1ns);
      CHECK(map->evict_as_new() == 1);
    }
  }
  SECTION("a run of failures ends with a success") {
    const auto map = breaker_map(clock, {.window = weir::consecutive_failures{2}, .open_for = 1s});
    report(*map, false);
    CHECK(map->evict_as_new() == 0);
    report(*map, true);
    CHECK(map->evict_as_new() == 1);
    report(*map, false);
    report(*map, false);
    CHECK((*map->pin(1))->state() == breaker_state::open);
    clock.advance(1h);  // a probe is due: one newly made would need none
    CHECK(map->evict_as_new() == 0);
    while ((*map->pin(1))->state() != breaker_state::closed) report(*map, true);
    CHECK(map->evict_as_new() == 1);
  }
  SECTION("a state set by hand stays") {
    const auto map = breaker_map(clock, {});
    for (const auto state :
         {breaker_state::forced_open, breaker_state::disabled, breaker_state::metrics_only}) {
      (*map->pin(1))->transition_to(state);
      CHECK(map->evict_as_new() == 0);
    }
  }
}

TEST_CASE("a gate is forgotten when nobody is at it", "[keyed]") {
  manual_clock clock;
  const auto map = map_of<weir::task_gate>(clock, 100, [] { return weir::task_gate{}; });
  const auto ran = map->with(1, [&](weir::task_gate& gate) {
    return gate.run_if_idle([&] {
      CHECK(map->evict_as_new() == 0);
      CHECK(*map->with(1, [](weir::task_gate& same) { return same.run_if_idle([] {}); }) ==
            weir::run_result::skipped);
    });
  });
  CHECK(*ran == weir::run_result::ran);
  CHECK(map->evict_as_new() == 1);
  (*map->pin(1))->close();
  CHECK(map->evict_as_new() == 0);
}

TEST_CASE("a gate says that somebody is at it, also without a pin", "[keyed]") {
  weir::task_gate gate{{.capacity = 2}};
  CHECK(gate.is_as_new());
  auto inside = gate.try_enter();
  CHECK_FALSE(gate.is_as_new());
  gate.set_capacity(3);  // as many are free as at first
  CHECK_FALSE(gate.is_as_new());
  inside.reset();
  gate.set_capacity(2);
  CHECK(gate.is_as_new());
  CHECK(gate.run_coalesced([&] { CHECK_FALSE(gate.is_as_new()); }) == weir::run_result::ran);
  CHECK(gate.is_as_new());
}

TEST_CASE("buckets and breakers in bounded memory answer as in unbounded memory", "[keyed]") {
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random{seed};
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  manual_clock clock{time_point{100s}};

  const weir::token_bucket_options limits{.rate = {3, 10ms}, .burst = 4};
  const auto buckets = bucket_map(clock, limits, 40);
  std::map<int, timed_bucket> all_buckets;

  constexpr std::array windows{0, 1};
  const auto options = [](int kind) {
    weir::circuit_breaker_options o{.minimum_calls = 2, .open_for = 30ms};
    if (kind == 0) {
      o.window = weir::time_window{20ms, 4};
    } else {
      o.window = weir::consecutive_failures{3};
    }
    return o;
  };
  std::array breakers{breaker_map(clock, options(0), 40), breaker_map(clock, options(1), 40)};
  std::array<std::map<int, timed_breaker>, 2> all_breakers;

  for (int step = 0; step < 20'000; ++step) {
    clock.advance(weir::duration{below(3'000'000)});
    const int key = below(30);
    const auto n = std::uint64_t{1} + random() % 3;
    timed_bucket& whole = all_buckets.try_emplace(key, limits, clock.source()).first->second;
    const auto expected = whole.try_acquire(n);
    if (buckets->try_acquire(key, n) != expected) FAIL("bucket of " << key << " differs at step " << step);

    const bool ok = below(3) != 0;
    for (const int kind : windows) {
      const auto k = static_cast<std::size_t>(kind);
      timed_breaker& reference =
          all_breakers[k].try_emplace(key, options(kind), clock.source()).first->second;
      const auto use = [&](timed_breaker& b) -> std::optional<weir::refusal> {
        auto permit = b.try_acquire();
        if (!permit) return permit.error();
        ok ? std::move(*permit).success() : std::move(*permit).failure();
        return std::nullopt;
      };
      const auto wanted = use(reference);
      const auto pinned = breakers[k]->pin(key);
      if (use(**pinned) != wanted || (*pinned)->state() != reference.state()) {
        FAIL("breaker of " << key << " differs at step " << step);
      }
    }
  }
  CHECK(buckets->stats().evicted_as_new > 100);
  CHECK(buckets->stats().evicted_forced == 0);
  for (const auto& map : breakers) {
    CHECK(map->stats().evicted_as_new > 100);
    CHECK(map->stats().evicted_forced == 0);
  }
}

TEST_CASE("of one key nobody is inside twice, however often its gate is forgotten", "[keyed][stress]") {
  keyed<int, weir::task_gate> map{{.max_keys = 4, .shards = 1}, [](const int&) { return weir::task_gate{}; }};
  constexpr int keys = 6;
  std::array<std::atomic<int>, keys> inside{};
  std::atomic<bool> overlapped{false};
  std::atomic<int> runs{0};
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random{t};
        for (int i = 0; i < 5'000; ++i) {
          const int key = random() % 4 != 0 ? 0 : static_cast<int>(random() % keys);
          (void)map.with(key, [&](weir::task_gate& gate) {
            return gate.run_if_idle([&] {
              auto& here = inside[static_cast<std::size_t>(key)];
              if (here.fetch_add(1) != 0) overlapped = true;
              ++runs;
              if (i % 16 == 0) std::this_thread::yield();
              here.fetch_sub(1);
            });
          });
        }
      });
    }
  }
  CHECK_FALSE(overlapped);
  CHECK(runs > 0);
  const auto stats = map.stats();
  CHECK(stats.evicted_as_new > 0);
  CHECK(stats.created == stats.keys + stats.evicted_as_new + stats.evicted_forced);
}
