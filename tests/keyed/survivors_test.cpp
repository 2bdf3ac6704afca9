// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of keyed would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/keyed.hpp>

#include "keyed/support.hpp"

using namespace keyed_test;
using weir::keyed;
using weir::keyed_options;
using weir::keyed_overflow;
using weir::refusal;
using weir::refusal_reason;

namespace {

constexpr auto keep = [](auto&) {};

/// All keys in the first bucket of one shard.
struct one_bucket {
  std::size_t operator()(int) const noexcept { return 0; }
};

/// As new whenever the test says so.
struct switched {
  const bool* as_new;
  [[nodiscard]] bool is_as_new() const noexcept { return *as_new; }
};

/// Keys from 0, each with a switch.
struct switchboard {
  std::array<bool, 32> as_new{};
  keyed<int, switched, weir::steady_clock, one_bucket> map;

  explicit switchboard(const keyed_options& options)
      : map{options, [this](int key) { return switched{&as_new.at(static_cast<std::size_t>(key))}; }} {}
};

/// One more key than there is room for, and none is as new.
struct full_switchboard : switchboard {
  static constexpr int room = 20;
  explicit full_switchboard(keyed_overflow when_full)
      : switchboard{{.max_keys = room, .shards = 1, .when_full = when_full}} {
    for (int key = 0; key != room; ++key) (void)map.with(key, keep);
    CHECK(map.stats().keys == room);
  }
  [[nodiscard]] auto pin(int count) {
    std::vector<decltype(map)::pinned> held;
    for (int key = 0; key != count; ++key) held.push_back(*map.pin(key));
    return held;
  }
};

/// Counts those that live.
struct counted {
  explicit counted(int& count) : alive{count} { ++alive; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --alive; }
  [[nodiscard]] bool is_as_new() const noexcept { return true; }
  int& alive;
};

/// How many keys are known once so many have been used.
template <class Hash>
std::size_t kept_of(int keys, std::size_t max_keys) {
  keyed<int, tally, weir::steady_clock, Hash> map{{.max_keys = max_keys}, [](int) { return tally{0}; }};
  for (int key = 0; key != keys; ++key) (void)map.with(key, keep);
  return map.size_approx();
}

}  // namespace

TEST_CASE("the defaults of keyed are those that are documented", "[keyed]") {
  const auto made = [](keyed_options o) { return o; };  // not at compile time
  CHECK(made({}).max_keys == 65'536);
  CHECK_FALSE(made({}).shards.has_value());
  CHECK(made({}).when_full == keyed_overflow::evict_oldest);
}

TEST_CASE("by default there is one shard for each 4096 keys, up to 16", "[keyed]") {
  CHECK(kept_of<std::hash<int>>(8191, 8191) == 8191);  // the share of one shard
  CHECK(kept_of<std::hash<int>>(8192, 8192) < 8192);   // of two
  CHECK(kept_of<one_bucket>(4400, std::size_t{17} * 4096) == 17 * 4096 / 16);
}

TEST_CASE("there may be as many shards as keys", "[keyed]") {
  keyed<int, tally> map{{.max_keys = 4, .shards = 4}, [](int) { return tally{0}; }};
  for (int key = 0; key != 100; ++key) CHECK(map.with(key, keep).has_value());
  CHECK(map.size_approx() == 4);
  using map_type = keyed<int, tally>;
  CHECK_THROWS_AS((map_type{{.max_keys = 4, .shards = 5}, [](int) { return tally{0}; }}),
                  std::invalid_argument);
}

TEST_CASE("every component goes with the map, whichever shard it is in", "[keyed]") {
  int alive = 0;
  {
    keyed<int, counted> map{{.shards = 4}, [&](int) { return counted{alive}; }};
    std::vector<keyed<int, counted>::pinned> held;  // none is forgotten meanwhile
    for (int key = 0; key != 32; ++key) held.push_back(*map.pin(key));
    CHECK(alive == 32);
  }
  CHECK(alive == 0);
}

TEST_CASE("all that are as new are forgotten at once, whoever is older, and destroyed", "[keyed]") {
  int alive = 0;
  keyed<int, counted, weir::steady_clock, one_bucket> map{{.shards = 1}, [&](int) { return counted{alive}; }};
  const auto oldest = map.pin(0);
  for (int key = 1; key != 6; ++key) (void)map.with(key, keep);
  CHECK(alive == 6);
  CHECK(map.evict_as_new() == 5);
  CHECK(alive == 1);
  CHECK(map.find(0).has_value());
}

TEST_CASE("one step of the sweep forgets four keys at most", "[keyed]") {
  switchboard board{{.shards = 1}};
  for (int key = 0; key != 10; ++key) (void)board.map.with(key, keep);
  board.as_new.fill(true);
  board.as_new[0] = false;
  for (int call = 0; call != 16; ++call) (void)board.map.with(0, keep);  // once through the table
  CHECK(board.map.stats().evicted_as_new == 4);
}

TEST_CASE("keys that differ only in their highest bits are spread", "[keyed]") {
  using key_type = std::uint64_t;
  constexpr int highest = 48;
  SECTION("over the buckets") {
    bool as_new = false;
    keyed<key_type, switched> map{{.shards = 1}, [&](key_type) { return switched{&as_new}; }};
    for (key_type key = 0; key != 12; ++key) (void)map.with(key << highest, keep);
    as_new = true;
    const auto used = map.pin(0);
    for (int call = 0; call != 16; ++call) (void)map.pin(0);  // once through the table, four of each bucket
    CHECK(map.stats().evicted_as_new > 4);
  }
  SECTION("over the shards") {
    keyed<key_type, tally> map{{.max_keys = 1600, .shards = 16}, [](key_type) { return tally{0}; }};
    for (key_type key = 0; key != 400; ++key)
      (void)map.with(key << highest, keep);  // a shard has room for 100
    CHECK(map.size_approx() == 400);
  }
}

TEST_CASE("for room the sixteen keys not used for longest are searched for one as new", "[keyed]") {
  SECTION("the sixteenth is found") {
    for (const auto when_full : {keyed_overflow::evict_oldest, keyed_overflow::fail_closed}) {
      full_switchboard board{when_full};
      board.as_new[15] = true;
      CHECK(board.map.pin(20).has_value());
      CHECK_FALSE(board.map.find(15).has_value());
      CHECK(board.map.stats().evicted_as_new == 1);
    }
  }
  SECTION("the seventeenth is not, and the oldest goes") {
    full_switchboard board{keyed_overflow::evict_oldest};
    board.as_new[16] = true;
    CHECK(board.map.pin(20).has_value());
    CHECK(board.map.find(16).has_value());
    CHECK_FALSE(board.map.find(0).has_value());
    CHECK(board.map.stats().evicted_forced == 1);
  }
  SECTION("the seventeenth is not, and the new key is refused") {
    full_switchboard board{keyed_overflow::fail_closed};
    const auto held = board.pin(16);
    for (int key = 16; key != board.room; ++key) (void)board.map.find(key);  // now the newest again
    board.as_new[16] = true;
    CHECK(board.map.pin(20).error() == refusal{refusal_reason::full});
    CHECK(board.map.find(16).has_value());
  }
}

TEST_CASE("a key that nobody uses is found for eviction behind any number that are in use", "[keyed]") {
  full_switchboard board{keyed_overflow::evict_oldest};
  const auto held = board.pin(18);
  for (int key = 18; key != board.room; ++key) (void)board.map.find(key);  // now the newest again
  CHECK(board.map.pin(20).has_value());
  CHECK_FALSE(board.map.find(18).has_value());
  CHECK(board.map.stats().evicted_forced == 1);
}

TEST_CASE("room that is taken while the component is made is not given twice", "[keyed]") {
  using map_type = keyed<int, counted>;
  for (const auto when_full : {keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
    int alive = 0;
    map_type* self = nullptr;
    std::optional<map_type::pinned> other;
    map_type map{{.max_keys = 1, .when_full = when_full}, [&](int key) {
                   if (key == 1) other.emplace(*self->pin(2));
                   return counted{alive};
                 }};
    self = &map;
    {
      const auto pinned = map.pin(1);
      REQUIRE(other.has_value());
      const bool open = when_full == keyed_overflow::fail_open;
      CHECK(pinned.has_value() == open);
      if (!open) CHECK(pinned.error() == refusal{refusal_reason::full});
      CHECK(map.stats().refused == (open ? 0 : 1));
      CHECK(map.stats().untracked == (open ? 1 : 0));
      CHECK(map.stats().created == 1);
    }
    CHECK(alive == 1);
    CHECK(map.find(2).has_value());
  }
}

TEST_CASE("who makes a component that another has made meanwhile gets the other's", "[keyed]") {
  using map_type = keyed<int, counted>;
  int alive = 0;
  int made = 0;
  map_type* self = nullptr;
  std::optional<map_type::pinned> other;
  map_type map{{}, [&](int) {
                 if (++made == 1) other.emplace(*self->pin(1));
                 return counted{alive};
               }};
  self = &map;
  const auto pinned = map.pin(1);
  CHECK(made == 2);
  CHECK(&**pinned == &**other);
  CHECK(alive == 1);
  CHECK(map.stats().created == 1);
}
