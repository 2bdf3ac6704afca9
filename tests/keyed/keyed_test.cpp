// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cctype>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <weir/keyed.hpp>
#include <weir/testing/manual_clock.hpp>

#include "keyed/support.hpp"

using namespace std::chrono_literals;
using namespace keyed_test;
using weir::keyed;
using weir::keyed_options;
using weir::keyed_overflow;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

using buckets = keyed<std::string, small_bucket, manual_clock::view>;
using tallies = keyed<int, tally>;

tally new_tally(int) { return tally{0}; }
constexpr auto keep = [](tally&) {};
constexpr auto use = [](tally& t) { return ++t.uses; };

static_assert(weir::fades_at<small_bucket>);
static_assert(!weir::fades<small_bucket> && !weir::fades_at<tally> && !weir::fades<tally>);
static_assert(!std::is_copy_constructible_v<tallies::pinned> &&
              std::is_nothrow_move_constructible_v<tallies::pinned>);

}  // namespace

TEST_CASE("each key has one component of its own, made when it is first used", "[keyed]") {
  std::vector<int> made;
  tallies map{{}, [&](int key) {
                made.push_back(key);
                return tally{key};
              }};
  CHECK(*map.with(10, use) == 11);
  CHECK(*map.with(20, use) == 21);
  CHECK(*map.with(10, use) == 12);
  CHECK(made == std::vector{10, 20});
  CHECK(map.find(10).has_value());
  CHECK(map.find(10)->key() == 10);
  CHECK_FALSE(map.find(30).has_value());
  CHECK(map.size_approx() == 2);
}

TEST_CASE("with passes on whatever the function returns", "[keyed]") {
  tallies map{{}, new_tally};
  static_assert(std::is_same_v<decltype(map.with(1, keep)), outcome<void>>);
  static_assert(std::is_same_v<decltype(map.with(1, use)), outcome<int>>);
  CHECK(map.with(1, keep).has_value());
  CHECK(map.with(1, [](tally&) { return outcome<int>{refusal{refusal_reason::busy}}; }).error().reason ==
        refusal_reason::busy);
  CHECK(**map.with(1, [](tally&) { return std::make_unique<int>(4); }) == 4);
  CHECK_THROWS_AS(map.with(1, [](tally&) { throw std::runtime_error{"own"}; }), std::runtime_error);
  CHECK(*map.try_acquire(1, 3) == 3);
}

TEST_CASE("a string key is looked up by what it looks like, without a copy", "[keyed]") {
  keyed<std::string, tally> map{{},
                                [](const std::string& key) { return tally{static_cast<int>(key.size())}; }};
  CHECK(*map.with("abc", use) == 4);
  CHECK(*map.with(std::string_view{"abc"}, use) == 5);
  CHECK(*map.with(std::string{"abc"}, use) == 6);
  CHECK(map.erase(std::string_view{"abc"}));
  CHECK_FALSE(map.erase("abc"));
}

namespace {

/// Equal in any case, and with a hash to match, but for a string's eyes the same as a string.
struct name {
  std::string text;
  operator std::string_view() const { return text; }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] std::string folded() const {
    std::string lower = text;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return lower;
  }
  friend bool operator==(const name& a, const name& b) { return a.folded() == b.folded(); }
};

}  // namespace

template <>
struct std::hash<name> {
  std::size_t operator()(const name& n) const { return std::hash<std::string>{}(n.folded()); }
};

TEST_CASE("a key with a hash of its own is hashed by it, even if it looks like a string", "[keyed]") {
  keyed<name, tally> map{{}, [](const name&) { return tally{0}; }};
  CHECK(*map.with(name{"Anna"}, use) == 1);
  CHECK(*map.with(name{"ANNA"}, use) == 2);
  CHECK(map.size_approx() == 1);
}

TEST_CASE("a key that is as new is forgotten exactly then", "[keyed]") {  // GCRA-08
  using names = std::set<std::string>;
  struct row {
    weir::duration at;
    names kept;
  };
  for (const row& t : std::vector<row>{{800ms, {"foo", "bar", "baz"}},
                                       {1000ms, {"bar", "baz"}},
                                       {1200ms, {"baz"}},
                                       {1800ms, {}},
                                       {2000ms, {}},
                                       {2200ms, {}},
                                       {2800ms, {}}}) {
    manual_clock clock;
    buckets map{{}, [](const std::string&) { return small_bucket{1s, 1}; }, clock.source()};
    const auto take = [&](const char* key, weir::duration at) {
      clock.set(time_point{at});
      CHECK(*map.with(key, [&](small_bucket& b) { return b.take_at(clock.now()); }));
    };
    take("foo", 0ms);
    take("bar", 200ms);
    take("baz", 800ms);
    clock.set(time_point{t.at});
    const std::size_t evicted = map.evict_as_new();
    names kept;
    for (const char* key : {"foo", "bar", "baz"}) {
      if (map.find(key)) kept.insert(key);
    }
    CHECK(kept == t.kept);
    CHECK(evicted == 3 - t.kept.size());
    CHECK(map.stats().evicted_as_new == evicted);
    CHECK(map.stats().evicted_forced == 0);
  }
}

TEST_CASE("the calls themselves forget what is as new, a step each", "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, [](const std::string&) { return small_bucket{1s, 1}; }, clock.source()};
  for (int i = 0; i < 500; ++i) {
    (void)map.with(std::to_string(i), [&](small_bucket& b) { return b.take_at(clock.now()); });
  }
  CHECK(map.size_approx() == 500);
  clock.advance(1s);
  for (int i = 0; i < 1024; ++i) (void)map.with("one", [](small_bucket&) {});
  CHECK(map.size_approx() == 1);
  CHECK(map.stats().evicted_as_new == 500);
}

TEST_CASE("a component without a time of its own may say that it is as new", "[keyed]") {
  struct switchable {
    bool fresh = true;
    [[nodiscard]] bool is_as_new() const noexcept { return fresh; }
  };
  static_assert(weir::fades<switchable>);
  keyed<int, switchable> map{{}, [](int) { return switchable{}; }};
  (void)map.with(1, [](switchable& s) { s.fresh = false; });
  (void)map.with(2, [](switchable&) {});
  CHECK(map.evict_as_new() == 1);
  CHECK(map.find(1).has_value());
}

TEST_CASE("without room the key not used for longest is forgotten, and that is counted", "[keyed]") {
  tallies map{{.max_keys = 3, .shards = 1}, new_tally};
  for (const int key : {1, 2, 3, 1}) (void)map.with(key, use);
  (void)map.with(4, use);
  CHECK_FALSE(map.find(2).has_value());
  CHECK(*map.with(1, use) == 3);
  CHECK(*map.with(3, use) == 2);
  const auto stats = map.stats();
  CHECK(stats.keys == 3);
  CHECK(stats.created == 4);
  CHECK(stats.evicted_forced == 1);
}

TEST_CASE("what is as new goes before what is older", "[keyed]") {
  manual_clock clock;
  buckets map{{.max_keys = 2, .shards = 1},
              [](const std::string& key) { return small_bucket{key == "slow" ? 1h : 1s, 1}; },
              clock.source()};
  const auto take = [&](small_bucket& b) { return b.take_at(clock.now()); };
  (void)map.with("slow", take);
  (void)map.with("fast", take);
  clock.advance(1s);
  (void)map.with("other", take);
  CHECK(map.find("slow").has_value());
  CHECK_FALSE(map.find("fast").has_value());
  CHECK(map.stats().evicted_as_new == 1);
}

TEST_CASE("fail_closed refuses a new key without room and serves those known", "[keyed]") {
  int made = 0;
  tallies map{{.max_keys = 1, .when_full = keyed_overflow::fail_closed}, [&](int) {
                ++made;
                return tally{0};
              }};
  CHECK(*map.with(1, use) == 1);
  CHECK(map.with(2, use).error() == refusal{refusal_reason::full});
  CHECK(map.try_acquire(2, 1).error() == refusal{refusal_reason::full});
  CHECK(*map.with(1, use) == 2);
  CHECK(made == 1);
  CHECK(map.stats().refused == 2);
}

TEST_CASE("fail_open serves a new key without room from a component that is forgotten", "[keyed]") {
  tallies map{{.max_keys = 1, .when_full = keyed_overflow::fail_open}, new_tally};
  CHECK(*map.with(1, use) == 1);
  CHECK(*map.with(2, use) == 1);
  CHECK(*map.with(2, use) == 1);
  CHECK(*map.with(1, use) == 2);
  CHECK(map.size_approx() == 1);
  CHECK(map.stats().untracked == 2);
}

TEST_CASE("a component in use is not forgotten, for want of room or because it is as new", "[keyed]") {
  manual_clock clock;
  buckets map{
      {.max_keys = 2, .shards = 1}, [](const std::string&) { return small_bucket{1s, 1}; }, clock.source()};
  auto held = map.pin("held");
  CHECK(map.evict_as_new() == 0);
  for (const char* key : {"a", "b", "c"}) CHECK(map.with(key, [](small_bucket&) {}).has_value());
  CHECK(map.find("held").has_value());
  CHECK((*held)->take_at(clock.now()));

  auto other = map.pin("d");
  CHECK(map.pin("e").error() == refusal{refusal_reason::full});  // every key in use
  CHECK(map.stats().refused == 1);
}

TEST_CASE("what is erased while in use lives until it is let go", "[keyed]") {
  tallies map{{}, new_tally};
  auto held = map.pin(1);
  (*held)->uses = 7;
  CHECK(map.erase(1));
  CHECK((*held)->uses == 7);
  CHECK(*map.with(1, use) == 1);
  auto moved = *std::move(held);
  CHECK(moved->uses == 7);
  moved = *map.pin(1);
  CHECK(moved->uses == 1);
  const auto stats = map.stats();
  CHECK(stats.erased == 1);
  CHECK(stats.created == stats.keys + stats.erased);
}

TEST_CASE("what is pinned may outlive the map", "[keyed]") {
  auto map = std::make_unique<tallies>(keyed_options{}, new_tally);
  auto held = map->pin(1);
  map.reset();
  CHECK((*held)->uses == 0);
}

TEST_CASE("a function may use the map itself, for its own key as well", "[keyed]") {
  tallies map{{.shards = 1}, new_tally};
  CHECK(*map.with(1, [&](tally& outer) {
    (void)map.with(1, use);
    (void)map.with(2, use);
    map.erase(1);
    return outer.uses;
  }) == 1);
}

TEST_CASE("the bound holds over all shards, for any number of them", "[keyed]") {
  for (const std::size_t shards : {1U, 3U, 7U, 16U}) {
    tallies map{{.max_keys = 50, .shards = shards}, new_tally};
    for (int key = 0; key < 2000; ++key) {
      CHECK(map.with(key, keep).has_value());
      if (key % 100 == 0) CHECK(map.size_approx() <= 50);
    }
    CHECK(map.size_approx() == 50);  // I1
    CHECK(map.stats().evicted_forced == 1950);
  }
}

TEST_CASE("keyed options out of range are refused", "[keyed]") {
  const auto make = [](keyed_options o) { tallies map{o, new_tally}; };
  CHECK_THROWS_AS(make({.max_keys = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make({.shards = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make({.max_keys = 4, .shards = 5}), std::invalid_argument);
  CHECK_NOTHROW(make({.max_keys = 1}));
}
