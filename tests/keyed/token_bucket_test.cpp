// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <weir/keyed_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::held_tokens;
using weir::keyed_overflow;
using weir::keyed_token_bucket;
using weir::rate;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir::token_bucket_options;
using weir::testing::manual_clock;

namespace {

using limits = keyed_token_bucket<std::string, manual_clock::view>;
using numbers = keyed_token_bucket<std::uint64_t, manual_clock::view>;

constexpr token_bucket_options one_a_second{.rate = rate::per_second(1), .burst = 1};

}  // namespace

TEST_CASE("each key has a bucket of its own, made when it is first used", "[keyed]") {
  manual_clock clock;
  limits map{{}, {.rate = rate::per_second(10), .burst = 2}, clock.source()};
  CHECK(map.try_acquire("ann"));
  CHECK(map.try_acquire(std::string_view{"ann"}));
  CHECK(map.try_acquire(std::string{"bob"}, 2));
  const auto refused = map.try_acquire("ann");
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == refusal{refusal_reason::rate_limited, 100ms});
  CHECK(map.available_approx("ann") == 0);
  CHECK(map.available_approx("carl") == 2);
  CHECK(map.size_approx() == 2);
  clock.advance(100ms);
  CHECK(map.try_acquire("ann"));
  const auto stats = map.stats();
  CHECK(stats.granted == 4);
  CHECK(stats.rate_limited == 1);
  CHECK(stats.keys.created == 2);
}

TEST_CASE("nothing, and what no bucket can ever grant, makes no key known", "[keyed]") {
  manual_clock clock;
  limits map{{}, {.rate = rate::per_second(1), .burst = 3}, clock.source()};
  CHECK(map.try_acquire("a", 0));
  CHECK(map.try_acquire("a", 4).error() == weir::refused_for_ever(refusal_reason::exceeds_capacity));
  CHECK(map.size_approx() == 0);

  limits unlimited{{}, {.rate = rate::unlimited()}, clock.source()};
  CHECK(unlimited.try_acquire("a", 1'000'000'000));
  CHECK(unlimited.available_approx("a") == std::numeric_limits<std::int64_t>::max());
  CHECK(unlimited.size_approx() == 0);
}

TEST_CASE("at rate zero a key has its first tokens, then none for ever", "[keyed]") {
  manual_clock clock;
  limits map{{}, {.rate = rate::zero(), .burst = 5, .initial = 2}, clock.source()};
  CHECK(map.try_acquire("a", 2));
  CHECK(map.try_acquire("a").error() == weir::refused_for_ever(refusal_reason::rate_limited));
  CHECK(map.evict_as_new() == 0);
  CHECK_FALSE(map.try_acquire("b", 3));
  CHECK(map.evict_as_new() == 1);
}

TEST_CASE("keys are kept exactly as long as they can be told from fresh ones (GCRA-08)", "[keyed]") {
  const std::vector<std::pair<weir::duration, std::vector<std::string>>> rows{
      {800ms, {"foo", "bar", "baz"}}, {1000ms, {"bar", "baz"}}, {1200ms, {"baz"}}, {1800ms, {}}};
  for (const auto& [now, kept] : rows) {
    manual_clock clock;
    limits map{{}, one_a_second, clock.source()};
    REQUIRE(map.try_acquire_at(clock.now(), "foo"));
    REQUIRE(map.try_acquire_at(clock.now() + 200ms, "bar"));
    REQUIRE(map.try_acquire_at(clock.now() + 800ms, "baz"));
    clock.advance(now);
    CHECK(map.evict_as_new() == 3 - kept.size());
    CHECK(map.size_approx() == kept.size());
    for (const std::string& key : kept) CHECK(map.available_approx(key) == 0);
  }
}

TEST_CASE("calls for other keys forget those that are as new", "[keyed]") {
  manual_clock clock;
  numbers map{{.max_keys = 4096}, one_a_second, clock.source()};
  for (std::uint64_t key = 0; key < 1000; ++key) REQUIRE(map.try_acquire(key));
  clock.advance(1s);
  for (int i = 0; i < 4096; ++i) static_cast<void>(map.try_acquire(5000));
  CHECK(map.size_approx() == 1);
  CHECK(map.stats().keys.evicted_as_new == 1000);
}

TEST_CASE("what was forgotten as new mints nothing when the clock steps back", "[keyed]") {
  manual_clock clock;
  numbers map{{}, one_a_second, clock.source()};
  const time_point start = clock.now();
  REQUIRE(map.try_acquire_at(start, 1));
  clock.advance(2s);
  CHECK(map.evict_as_new() == 1);
  CHECK(map.try_acquire_at(start, 1));
  // Granted as at 2 s, when the key was forgotten: the next token is there at 3 s.
  CHECK_FALSE(map.try_acquire_at(start + 1s, 1));
  CHECK_FALSE(map.try_acquire_at(start + 2999ms, 1));
  CHECK(map.try_acquire_at(start + 3s, 1));
}

TEST_CASE("without room the as-new goes first, then it is as one has chosen", "[keyed]") {
  manual_clock clock;
  const auto with = [&](keyed_overflow overflow) {
    return std::make_unique<numbers>(weir::keyed_options{.max_keys = 2, .shards = 1, .when_full = overflow},
                                     one_a_second, clock.source());
  };
  SECTION("one as new is forgotten under each policy") {
    for (const auto overflow :
         {keyed_overflow::evict_oldest, keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
      const auto map = with(overflow);
      REQUIRE(map->try_acquire_at(clock.now(), 1));
      REQUIRE(map->try_acquire_at(clock.now() + 500ms, 2));
      CHECK(map->try_acquire_at(clock.now() + 1s, 3));
      const auto keys = map->stats().keys;
      CHECK(keys.keys == 2);
      CHECK(keys.evicted_as_new == 1);
      CHECK(keys.evicted_forced + keys.refused + keys.untracked == 0);
    }
  }
  SECTION("the key not used for longest is forced out, and counted") {
    const auto map = with(keyed_overflow::evict_oldest);
    REQUIRE(map->try_acquire(1));
    REQUIRE(map->try_acquire(2));
    CHECK_FALSE(map->try_acquire(1));  // a use
    CHECK(map->try_acquire(3));
    CHECK(map->stats().keys.evicted_forced == 1);
    CHECK_FALSE(map->try_acquire(1));
    CHECK(map->available_approx(2) == 1);
  }
  SECTION("a new key is refused") {
    const auto map = with(keyed_overflow::fail_closed);
    REQUIRE(map->try_acquire(1));
    REQUIRE(map->try_acquire(2));
    CHECK(map->try_acquire(3).error().reason == refusal_reason::full);
    CHECK(map->stats().keys.refused == 1);
    CHECK(map->size_approx() == 2);
  }
  SECTION("a new key is let through and not remembered") {
    const auto map = with(keyed_overflow::fail_open);
    REQUIRE(map->try_acquire(1));
    REQUIRE(map->try_acquire(2));
    CHECK(map->try_acquire(3));
    CHECK(map->try_acquire(3));
    CHECK(map->stats().keys.untracked == 2);
    CHECK_FALSE(map->try_acquire(1));
  }
}

TEST_CASE("an erased key begins anew", "[keyed]") {
  manual_clock clock;
  limits map{{}, one_a_second, clock.source()};
  REQUIRE(map.try_acquire("a"));
  CHECK_FALSE(map.try_acquire("a"));
  CHECK(map.erase("a"));
  CHECK_FALSE(map.erase("a"));
  CHECK(map.try_acquire("a"));
  CHECK(map.stats().keys.erased == 1);
}

TEST_CASE("reconfigure reaches every key at once, and keeps its tokens as asked", "[keyed]") {
  manual_clock clock;
  numbers map{{.max_keys = 100, .shards = 4}, {.rate = rate::per_second(1), .burst = 10}, clock.source()};
  for (std::uint64_t key = 0; key < 20; ++key) REQUIRE(map.try_acquire(key, 6));
  map.reconfigure({.rate = rate::per_second(2), .burst = 20});
  for (std::uint64_t key = 0; key < 20; ++key) CHECK(map.available_approx(key) == 4);
  map.reconfigure({.rate = rate::per_second(2), .burst = 40}, held_tokens::proportional);
  for (std::uint64_t key = 0; key < 20; ++key) CHECK(map.available_approx(key) == 8);
  map.reconfigure({.rate = rate::per_second(3), .burst = 41}, held_tokens::additive);
  for (std::uint64_t key = 0; key < 20; ++key) CHECK(map.available_approx(key) == 9);
  map.reconfigure({.rate = rate::per_second(3), .burst = 7, .initial = 5}, held_tokens::reset);
  for (std::uint64_t key = 0; key < 25; ++key) CHECK(map.available_approx(key) == 5);
  CHECK_THROWS_AS(map.reconfigure({.rate = rate::per_second(1), .burst = 0}), std::invalid_argument);
  for (std::uint64_t key = 0; key < 25; ++key) CHECK(map.available_approx(key) == 5);
}

TEST_CASE("bad options are named", "[keyed]") {
  using Catch::Matchers::Message;
  manual_clock clock;
  CHECK_THROWS_MATCHES((numbers{{.max_keys = 0}, one_a_second, clock.source()}), std::invalid_argument,
                       Message("keyed: max_keys must be positive, got 0"));
  CHECK_THROWS_MATCHES((numbers{{}, {.rate = rate::per_second(1), .burst = -1}, clock.source()}),
                       std::invalid_argument, Message("token_bucket: burst must be positive, got -1"));
}

TEST_CASE("in bounded memory every key is answered as by a bucket of its own that is never forgotten",
          "[keyed]") {
  const token_bucket_options options[]{
      {.rate = rate::per_second(100), .burst = 3},
      {.rate = rate{999'999'937, 1s}, .burst = 50},  // a prime: the time range is moved on every half second
      {.rate = rate{7, 3s}, .burst = 4, .initial = 1},
      {.rate = rate::zero(), .burst = 5}};
  for (std::size_t which = 0; which < std::size(options); ++which) {
    const std::uint32_t seed = 1700 + static_cast<std::uint32_t>(which);
    INFO("options " << which << ", seed " << seed);
    std::mt19937 random{seed};
    manual_clock clock;
    numbers map{{.max_keys = 100'000, .shards = 1}, options[which], clock.source()};
    // Made at the first use, as in the map.
    std::map<std::uint64_t, std::unique_ptr<weir::basic_token_bucket<manual_clock::view>>> reference;
    int refused = 0;
    for (int i = 0; i < 20'000; ++i) {
      clock.advance(which != 1            ? weir::duration{random() % 5'000'000}
                    : random() % 100 == 0 ? 600ms
                                          : weir::duration{random() % 4 / 3});
      const std::uint64_t key = random() % 4 == 0 ? random() % 5'000 : random() % 2;
      const std::uint64_t n = 1 + random() % 3;
      auto& bucket = reference[key];
      if (!bucket) {
        bucket =
            std::make_unique<weir::basic_token_bucket<manual_clock::view>>(options[which], clock.source());
      }
      const auto expected = bucket->try_acquire_at(clock.now(), n);
      const auto got = map.try_acquire_at(clock.now(), key, n);
      REQUIRE(got.has_value() == expected.has_value());
      if (!got) REQUIRE(got.error() == expected.error());
      REQUIRE(map.available_at(clock.now(), key) == bucket->available_at(clock.now()));
      refused += got ? 0 : 1;
    }
    CHECK(refused > 500);
    CHECK(map.stats().keys.evicted_forced == 0);
    if (options[which].rate.tokens() != 0 && !options[which].initial)
      CHECK(map.stats().keys.evicted_as_new > 0);
  }
}

TEST_CASE("a limit for each key holds while keys come and go on many threads", "[keyed][stress]") {
  // At rate zero a key that is not forgotten grants its burst once and never again.
  constexpr std::uint64_t keys = 64;
  constexpr int threads = 4;
  keyed_token_bucket<std::uint64_t> map{{.max_keys = 1024, .shards = 4},
                                        {.rate = rate::zero(), .burst = 100}};
  std::vector<std::atomic<int>> granted(keys);
  {
    std::vector<std::jthread> all;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([&, t] {
        std::mt19937 random{static_cast<std::uint32_t>(t)};
        for (int i = 0; i < 20'000; ++i) {
          const std::uint64_t key = random() % keys;
          if (map.try_acquire(key)) granted[key].fetch_add(1);
          if (i % 64 == 0) static_cast<void>(map.try_acquire(1'000'000 + random() % 500, 0));
          if (i % 512 == 0) map.evict_as_new();
        }
      });
    }
  }
  for (std::uint64_t key = 0; key < keys; ++key) CHECK(granted[key] == 100);
  CHECK(map.stats().granted == keys * 100);
  CHECK(map.stats().rate_limited == threads * 20'000 - keys * 100);
}

TEST_CASE("a reconfiguration under fire is never torn: no key has more than its burst", "[keyed][stress]") {
  keyed_token_bucket<std::uint64_t> map{{.max_keys = 64, .shards = 4}, {.rate = rate::zero(), .burst = 10}};
  std::atomic<bool> done{false};
  std::atomic<int> asked{0};
  std::vector<std::jthread> all;
  for (int t = 0; t < 7; ++t) {
    all.emplace_back([&, t] {
      std::mt19937 random{static_cast<std::uint32_t>(t)};
      while (!done) {
        ++asked;
        const std::uint64_t key = random() % 32;
        static_cast<void>(map.try_acquire(key, 1 + random() % 20));
        const std::int64_t there = map.available_approx(key);
        if (there < 0 || there > 20) std::abort();
      }
    });
  }
  for (int i = 0; i < 500 || asked < 1000; ++i) {
    map.reconfigure(
        {.rate = i % 3 == 0 ? rate::zero() : rate{999'999'937, 1s}, .burst = i % 2 == 0 ? 20 : 10},
        held_tokens::reset);
  }
  done = true;
  all.clear();
  CHECK(map.stats().granted > 0);
}

TEST_CASE("a refusal that moves the range on moves time on, for the answer and for the wait",
          "[keyed_token_bucket]") {
  manual_clock clock;
  weir::keyed_token_bucket<int, manual_clock::view> buckets{
      {.shards = 1}, {.rate = weir::rate::per_second(999'999'937), .burst = 2'300'000'000}, clock.source()};
  const auto at = [](weir::duration d) { return weir::time_point{d}; };
  CHECK(buckets.try_acquire_at(at(0s), 1, 2'300'000'000));
  CHECK(!buckets.try_acquire_at(at(2s), 1, 2'300'000'000));
  const auto refused = buckets.try_acquire_at(at(1s), 1, 2'200'000'000);
  REQUIRE(!refused);
  const auto wait = *refused.error().retry_after;
  CHECK(!buckets.try_acquire_at(at(1s) + wait - 1ns, 1, 2'200'000'000));
  CHECK(buckets.try_acquire_at(at(1s) + wait, 1, 2'200'000'000));
}

TEST_CASE("a counting observer counts grants and refusals of all keys", "[keyed_token_bucket]") {
  manual_clock clock;
  weir::request_counts counts;
  weir::keyed_token_bucket<int, manual_clock::view, weir::keyed_hash<int>, std::equal_to<>,
                           weir::counting_observer>
      buckets{{},
              {.rate = weir::rate::every(1s), .burst = 1},
              clock.source(),
              {},
              {},
              weir::counting_observer{counts}};
  for (int i = 0; i < 3; ++i) {
    for (int key = 0; key < 3; ++key) static_cast<void>(buckets.try_acquire(key));
  }
  CHECK(counts.granted.value() == 3);
  CHECK(counts.refused.value() == 6);
}

TEST_CASE("idle keys have the new options alike, forgotten already or not", "[keyed_token_bucket]") {
  manual_clock clock;
  weir::keyed_token_bucket<int, manual_clock::view> buckets{
      {.shards = 1}, {.rate = weir::rate::every(1s), .burst = 5}, clock.source()};
  CHECK(buckets.try_acquire(1));
  CHECK(buckets.try_acquire(2, 5));
  clock.advance(2s);
  buckets.reconfigure({.rate = weir::rate::every(1s), .burst = 10});
  CHECK(buckets.available_approx(1) == 10);
  CHECK(buckets.available_approx(2) == 2);
  CHECK(buckets.available_approx(3) == 10);
}
