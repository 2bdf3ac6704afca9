// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <list>
#include <map>
#include <random>

#include <weir/keyed.hpp>
#include <weir/testing/manual_clock.hpp>

#include "keyed/support.hpp"

using namespace std::chrono_literals;
using namespace keyed_test;

TEST_CASE("as long as nothing is forced out, bounded memory answers like unbounded memory", "[keyed]") {
  constexpr std::uint32_t seed = 4711;
  INFO("seed " << seed);
  std::mt19937 random{seed};
  weir::testing::manual_clock clock;
  weir::keyed<int, small_bucket, weir::testing::manual_clock::view> bounded{
      {.max_keys = 400, .shards = 4}, [](int) { return small_bucket{10ms, 3}; }, clock.source()};
  std::map<int, small_bucket> unbounded;
  int refused = 0;
  for (int i = 0; i < 60'000; ++i) {
    clock.advance(weir::duration{random() % 1'000'000});
    const int key = static_cast<int>(random() % 8 == 0 ? random() % 1'000'000 : random() % 40);
    const bool expected = unbounded.try_emplace(key, 10ms, 3).first->second.take_at(clock.now());
    REQUIRE(*bounded.with(key, [&](small_bucket& b) { return b.take_at(clock.now()); }) == expected);
    refused += expected ? 0 : 1;
  }
  const auto stats = bounded.stats();
  CHECK(refused > 500);
  CHECK(stats.evicted_forced == 0);
  CHECK(stats.evicted_as_new > 5000);
  CHECK(stats.created == stats.keys + stats.evicted_as_new);
  CHECK(unbounded.size() > 10 * stats.keys);
}

TEST_CASE("keys that never fade are kept by last use, as in the reference", "[keyed]") {
  constexpr std::uint32_t seed = 99;
  INFO("seed " << seed);
  std::mt19937 random{seed};
  weir::keyed<int, tally> map{{.max_keys = 20, .shards = 1}, [](int) { return tally{0}; }};
  std::list<std::pair<int, int>> reference;  // oldest first
  std::uint64_t forced = 0;
  std::uint64_t erased = 0;
  for (int i = 0; i < 30'000; ++i) {
    const int key = static_cast<int>(random() % 35);
    const auto known = std::ranges::find(reference, key, &std::pair<int, int>::first);
    if (random() % 10 == 0) {
      REQUIRE(map.erase(key) == (known != reference.end()));
      if (known != reference.end()) {
        reference.erase(known);
        ++erased;
      }
      continue;
    }
    if (known != reference.end()) {
      reference.splice(reference.end(), reference, known);
    } else {
      if (reference.size() == 20) {
        reference.pop_front();
        ++forced;
      }
      reference.emplace_back(key, 0);
    }
    REQUIRE(*map.try_acquire(key, 1) == ++reference.back().second);
    REQUIRE(map.size_approx() == reference.size());
  }
  const auto stats = map.stats();
  CHECK(forced > 1000);
  CHECK(stats.evicted_forced == forced);
  CHECK(stats.erased == erased);
}
