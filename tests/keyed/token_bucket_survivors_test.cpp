// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of keyed_token_bucket would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <random>
#include <utility>

#include <weir/keyed_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::keyed_options;
using weir::keyed_overflow;
using weir::keyed_token_bucket;
using weir::rate;
using weir::refusal;
using weir::refusal_reason;
using weir::token_bucket_options;
using weir::testing::manual_clock;

namespace {

/// All keys in the first chain of the first shard.
struct one_chain {
  std::size_t operator()(int) const noexcept { return 0; }
};

using buckets = keyed_token_bucket<int, manual_clock::view>;
using chained_buckets = keyed_token_bucket<int, manual_clock::view, one_chain>;

constexpr token_bucket_options one_a_second{.rate = rate::per_second(1), .burst = 1};
constexpr token_bucket_options ten_once{.rate = rate::zero(), .burst = 10};

/// Is told when a key is copied, and when one is destroyed that has not been moved from.
struct listener {
  std::function<void()> copied = [] {};
  std::function<void()> destroyed = [] {};
};
struct told {
  explicit told(int n, listener* l = nullptr) : number{n}, to{l} {}
  told(const told& other) : number{other.number}, to{other.to} {
    if (to != nullptr) to->copied();
  }
  told(told&& other) noexcept : number{other.number}, to{std::exchange(other.to, nullptr)} {}
  told& operator=(const told&) = delete;
  told& operator=(told&&) = delete;
  ~told() {
    if (to != nullptr) to->destroyed();
  }
  bool operator==(const told& other) const { return number == other.number; }
  int number;
  listener* to;
};
struct told_hash {
  std::size_t operator()(const told&) const noexcept { return 0; }
};
using told_buckets = keyed_token_bucket<told, manual_clock::view, told_hash>;

/// Twenty keys, none of which has a token left, but for one that has its nine; full.
struct full_buckets {
  static constexpr int room = 20;
  manual_clock clock;
  chained_buckets map;

  full_buckets(int fullest, keyed_overflow when_full)
      : map{{.max_keys = room, .shards = 1, .when_full = when_full},
            {.rate = rate::per_second(1), .burst = 10},
            clock.source()} {
    for (int key = 0; key != room; ++key) CHECK(map.try_acquire(key, key == fullest ? 1 : 10));
    clock.advance(1s);  // as new, that one alone
  }
};

}  // namespace

TEST_CASE("the room is shared out among the shards to the last key, and every shard is used", "[keyed]") {
  manual_clock clock;
  for (const std::size_t room : {8U, 10U, 11U}) {
    buckets map{{.max_keys = room, .shards = 4}, ten_once, clock.source()};
    for (int key = 0; key != 1000; ++key) CHECK(map.try_acquire(key));
    CHECK(map.size_approx() == room);
    CHECK(map.stats().keys.evicted_forced == 1000 - room);
  }
}

TEST_CASE("a clock may begin before its epoch", "[keyed]") {
  manual_clock clock{weir::time_point{-100s}};
  buckets map{{.shards = 1}, one_a_second, clock.source()};
  CHECK(map.try_acquire(1));
  CHECK_FALSE(map.try_acquire(1));
  clock.advance(1s);
  CHECK(map.available_approx(1) == 1);
  CHECK(map.try_acquire(1));
}

TEST_CASE("a bucket that has long not been asked holds its burst", "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, {.rate = rate::per_second(999'999'937), .burst = 2}, clock.source()};
  CHECK(map.try_acquire(1, 2));
  for (const auto later : {weir::duration{10s}, weir::duration{1h}, weir::duration::max()}) {
    CHECK(map.available_at(weir::time_point{later}, 1) == 2);
  }
}

TEST_CASE("all that are as new are forgotten at once, in every shard and whoever is older", "[keyed]") {
  manual_clock clock;
  for (const std::size_t shards : {1U, 4U}) {
    buckets map{
        {.max_keys = 400, .shards = shards}, {.rate = rate::per_second(1), .burst = 5}, clock.source()};
    for (int key = 0; key != 40; ++key) CHECK(map.try_acquire(key, key == 0 ? 5 : 1));
    clock.advance(1s);
    CHECK(map.evict_as_new() == 39);
    CHECK(map.size_approx() == 1);
    CHECK(map.available_approx(0) == 1);
  }
}

TEST_CASE(
    "a bucket that began with less than its burst is never as new: what has come in since would be lost",
    "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, {.rate = rate::per_second(1), .burst = 4, .initial = 1}, clock.source()};
  CHECK(map.try_acquire(1));
  clock.advance(1s);
  CHECK(map.evict_as_new() == 0);  // although it holds what it began with
  clock.advance(2s);
  CHECK(map.available_approx(1) == 3);
}

TEST_CASE("tokens come at the old rate up to a reconfiguration, at the new one from then on", "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, {.rate = rate::per_second(1), .burst = 10}, clock.source()};
  CHECK(map.try_acquire(1, 10));
  clock.advance(3s);
  map.reconfigure({.rate = rate::per_second(2), .burst = 10});
  CHECK(map.available_approx(1) == 3);
  clock.advance(1s);
  CHECK(map.available_approx(1) == 5);
}

TEST_CASE("an instant before the latest grant of a shard is taken for that", "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, one_a_second, clock.source()};
  const auto at = [](weir::duration d) { return weir::time_point{d}; };
  CHECK(map.try_acquire_at(at(10s), 1));
  SECTION("by one who asks") {
    CHECK(map.try_acquire_at(at(0s), 2));
    const auto refused = map.try_acquire_at(at(1s), 2);
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == refusal{refusal_reason::rate_limited, 10s});
    CHECK(map.available_at(at(1s), 2) == 0);
  }
  SECTION("by a reconfiguration") {
    map.reconfigure(one_a_second);
    CHECK_FALSE(map.try_acquire_at(at(1s), 1));
    CHECK_FALSE(map.try_acquire_at(at(10'999ms), 1));
  }
  CHECK(map.try_acquire_at(at(11s), 1));
}

TEST_CASE("what is answered alike for every key is answered once, known or not, with room or without",
          "[keyed]") {
  manual_clock clock;
  buckets map{
      {.max_keys = 1, .when_full = keyed_overflow::fail_closed}, {.rate = rate::unlimited()}, clock.source()};
  CHECK(map.try_acquire(1, 5));
  CHECK(map.stats().granted == 1);
  map.reconfigure(ten_once);
  CHECK(map.try_acquire(1));
  for (const int key : {1, 2}) {
    CHECK(map.try_acquire(key, 11).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  }
  CHECK(map.stats().granted == 2);
  CHECK(map.stats().rate_limited == 0);
  CHECK(map.stats().keys.refused == 0);
}

TEST_CASE("buckets are forced out by last use, refused or let through, as in a list", "[keyed]") {
  for (const auto when_full :
       {keyed_overflow::evict_oldest, keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
    const std::uint32_t seed = 300 + static_cast<std::uint32_t>(when_full);
    INFO("seed " << seed);
    std::mt19937 random{seed};
    manual_clock clock;
    constexpr std::size_t room = 20;
    buckets map{{.max_keys = room, .shards = 1, .when_full = when_full}, ten_once, clock.source()};
    std::list<std::pair<int, std::int64_t>> reference;  // tokens left, oldest first
    weir::keyed_token_bucket_stats expected;
    for (int i = 0; i < 20'000; ++i) {
      const int key = static_cast<int>(random() % 35);
      const auto n = static_cast<std::int64_t>(random() % 5 + 1);
      auto known = std::ranges::find(reference, key, &std::pair<int, std::int64_t>::first);
      if (random() % 12 == 0) {
        REQUIRE(map.erase(key) == (known != reference.end()));
        if (known != reference.end()) {
          reference.erase(known);
          ++expected.keys.erased;
        }
        continue;
      }
      const auto got = map.try_acquire(key, static_cast<std::uint64_t>(n));
      if (known == reference.end() && reference.size() == room && when_full != keyed_overflow::evict_oldest) {
        if (when_full == keyed_overflow::fail_closed) {
          REQUIRE_FALSE(got);
          REQUIRE(got.error() == refusal{refusal_reason::full});
          ++expected.keys.refused;
        } else {
          REQUIRE(got);
          ++expected.keys.untracked;
          ++expected.granted;
        }
        continue;
      }
      if (known == reference.end()) {
        if (reference.size() == room) {
          reference.pop_front();
          ++expected.keys.evicted_forced;
        }
        reference.emplace_back(key, 10);
        known = std::prev(reference.end());
        ++expected.keys.created;
      }
      reference.splice(reference.end(), reference, known);
      const bool granted = known->second >= n;
      REQUIRE(got.has_value() == granted);
      if (granted) {
        known->second -= n;
        ++expected.granted;
      } else {
        REQUIRE(got.error() == weir::refused_for_ever(refusal_reason::rate_limited));
        ++expected.rate_limited;
      }
      REQUIRE(map.available_approx(key) == known->second);
    }
    const auto stats = map.stats();
    CHECK(stats.granted == expected.granted);
    CHECK(stats.rate_limited == expected.rate_limited);
    CHECK(stats.keys.keys == reference.size());
    CHECK(stats.keys.created == expected.keys.created);
    CHECK(stats.keys.erased == expected.keys.erased);
    CHECK(stats.keys.evicted_forced == expected.keys.evicted_forced);
    CHECK(stats.keys.refused == expected.keys.refused);
    CHECK(stats.keys.untracked == expected.keys.untracked);
  }
}

TEST_CASE("for room the sixteen buckets not used for longest are searched for one as new", "[keyed]") {
  SECTION("the sixteenth is found") {
    for (const auto when_full :
         {keyed_overflow::evict_oldest, keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
      full_buckets full{15, when_full};
      CHECK(full.map.try_acquire(20));
      CHECK_FALSE(full.map.erase(15));
      CHECK(full.map.stats().keys.evicted_as_new == 1);
    }
  }
  SECTION("the seventeenth is not, and the oldest goes") {
    full_buckets full{16, keyed_overflow::evict_oldest};
    CHECK(full.map.try_acquire(20));
    CHECK(full.map.stats().keys.evicted_forced == 1);
    CHECK(full.map.erase(16));
    CHECK_FALSE(full.map.erase(0));
  }
  SECTION("the seventeenth is not, and the new key is refused") {
    full_buckets full{16, keyed_overflow::fail_closed};
    CHECK(full.map.try_acquire(20).error() == refusal{refusal_reason::full});
    CHECK(full.map.erase(16));
  }
}

TEST_CASE("one step of the sweep forgets four buckets at most", "[keyed]") {
  manual_clock clock;
  chained_buckets map{{.shards = 1}, {.rate = rate::per_second(1), .burst = 10}, clock.source()};
  for (int key = 0; key != 10; ++key) CHECK(map.try_acquire(key, key == 0 ? 10 : 1));
  clock.advance(1s);
  for (int call = 0; call != 16; ++call) static_cast<void>(map.try_acquire(0));  // once through the table
  CHECK(map.stats().keys.evicted_as_new == 4);
}

TEST_CASE("keys that are used once each are forgotten by the calls for others", "[keyed]") {
  manual_clock clock;
  buckets map{{.shards = 1}, one_a_second, clock.source()};
  for (int key = 0; key != 2000; ++key) {
    CHECK(map.try_acquire(key));
    clock.advance(1s);
  }
  CHECK(map.size_approx() < 100);
}

TEST_CASE("a key that finds no room is not copied", "[keyed]") {
  manual_clock clock;
  for (const auto when_full : {keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
    told_buckets map{{.max_keys = 1, .when_full = when_full}, ten_once, clock.source()};
    CHECK(map.try_acquire(told{1}));
    int copies = 0;
    listener l;
    l.copied = [&] { ++copies; };
    CHECK(map.try_acquire(told{2, &l}).has_value() == (when_full == keyed_overflow::fail_open));
    CHECK(copies == 0);
  }
}

TEST_CASE("what has changed while the key was copied counts", "[keyed]") {
  manual_clock clock;
  listener l;
  const told key{1, &l};
  SECTION("there is no limit any more") {
    told_buckets map{{}, ten_once, clock.source()};
    l.copied = [&] { map.reconfigure({.rate = rate::unlimited()}); };
    CHECK(map.try_acquire(key));
    CHECK(map.stats().granted == 1);
    CHECK(map.size_approx() == 0);
  }
  SECTION("the burst is smaller") {
    told_buckets map{{}, ten_once, clock.source()};
    l.copied = [&] { map.reconfigure({.rate = rate::zero(), .burst = 4}); };
    CHECK(map.try_acquire(key, 5).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
    CHECK(map.size_approx() == 0);
  }
  SECTION("the last room is taken, and a new key is refused") {
    told_buckets map{{.max_keys = 1, .when_full = keyed_overflow::fail_closed}, ten_once, clock.source()};
    l.copied = [&] { CHECK(map.try_acquire(told{2})); };
    CHECK(map.try_acquire(key).error() == refusal{refusal_reason::full});
    CHECK(map.stats().keys.refused == 1);
    CHECK(map.stats().keys.created == 1);
  }
  SECTION("the last room is taken, and a new key is let through") {
    told_buckets map{{.max_keys = 1, .when_full = keyed_overflow::fail_open}, ten_once, clock.source()};
    l.copied = [&] { CHECK(map.try_acquire(told{2})); };
    CHECK(map.try_acquire(key));
    CHECK(map.stats().keys.untracked == 1);
    CHECK(map.stats().keys.created == 1);
  }
  SECTION("the key is known, and this is its last use") {
    told_buckets map{{.max_keys = 2, .shards = 1}, ten_once, clock.source()};
    l.copied = [&] {
      CHECK(map.try_acquire(told{1}, 4));
      CHECK(map.try_acquire(told{2}, 4));
    };
    CHECK(map.try_acquire(key, 3));
    CHECK(map.stats().keys.created == 2);
    CHECK(map.available_approx(told{1}) == 3);
    CHECK(map.try_acquire(told{3}));  // drives out the other
    CHECK(map.available_approx(told{1}) == 3);
    CHECK(map.available_approx(told{2}) == 10);
  }
}

TEST_CASE("a key is destroyed outside the lock, however it is forgotten", "[keyed]") {
  manual_clock clock;
  listener l;
  int gone = 0;
  told_buckets map{{.max_keys = 2, .shards = 1}, one_a_second, clock.source()};
  const told first{1, &l};
  const auto known_again = [&] {
    l.destroyed = [] {};
    CHECK(map.try_acquire(first));
    gone = 0;
    l.destroyed = [&] {
      static_cast<void>(map.size_approx());  // takes the lock of every shard
      ++gone;
    };
  };
  known_again();
  SECTION("erased") { CHECK(map.erase(told{1})); }
  SECTION("swept by a call for a key that is known") {
    CHECK(map.try_acquire(told{2}));
    clock.advance(1s);
    for (int call = 0; call != 16; ++call) static_cast<void>(map.try_acquire(told{2}));
  }
  SECTION("swept by a call for one that is not") {
    clock.advance(1s);
    for (int call = 0; call != 16; ++call) static_cast<void>(map.try_acquire(told{call + 2}));
  }
  SECTION("as new, for the room") {
    clock.advance(1s);
    for (const int key : {2, 3}) CHECK(map.try_acquire(told{key}));
    CHECK(map.stats().keys.evicted_as_new == 1);
  }
  SECTION("forced out") {
    for (const int key : {2, 3}) CHECK(map.try_acquire(told{key}));
    CHECK(map.stats().keys.evicted_forced == 1);
  }
  CHECK(gone == 1);
  l.destroyed = [] {};
}

TEST_CASE("keys that are forgotten together are all destroyed", "[keyed]") {
  manual_clock clock;
  int alive = 0;
  listener l;
  l.copied = [&] { ++alive; };
  {
    told_buckets map{{.shards = 1}, {.rate = rate::per_second(1), .burst = 10}, clock.source()};
    for (int number = 0; number != 10; ++number) {
      told key{number, &l};
      CHECK(map.try_acquire(key, number == 0 ? 10 : 1));
      key.to = nullptr;
    }
    CHECK(alive == 10);
    l.destroyed = [&] { --alive; };
    clock.advance(1s);
    for (int call = 0; call != 16; ++call) static_cast<void>(map.try_acquire(told{0}));
    CHECK(map.size_approx() == 6);
    CHECK(alive == 6);
  }
  CHECK(alive == 0);
}
