// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the cache would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "support.hpp"
#include "support/inquisitive.hpp"

using namespace std::chrono_literals;
using weir::lookup_source;
using weir::refusal_reason;
using weir::removal_cause;
using weir_test::await_joined;
using weir_test::inquisitive;
using weir_test::manual_clock;
using cache_type = weir_test::logged_cache<int, int>;
using log_type = weir_test::removal_log<int, int>;

namespace {

int fail() { throw std::runtime_error{"no answer"}; }

/// The next life with a jitter of a quarter of 1000 ns: 750 to 1250 ns, by splitmix64.
weir::duration next_life(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return weir::duration{750 + static_cast<std::int64_t>((z ^ (z >> 31)) % 501)};
}

struct inquisitive_traits : weir::ttl_cache_traits<inquisitive> {
  using hash = inquisitive::hash;
};
template <class Value>
using asked_cache = weir::ttl_cache<inquisitive, Value, manual_clock::view, inquisitive_traits>;

/// Keys that stand in the same bucket, and how often two of them were compared.
struct counted_traits : weir::ttl_cache_traits<int> {
  struct equal {
    int* compared;
    bool operator()(int a, int b) const { return ++*compared, a == b; }
  };
};

/// Made by what it is given.
struct made {
  explicit made(const std::function<int()>& make) : number{make()} {}
  int number;
};

}  // namespace

TEST_CASE("a life with jitter is that of splitmix64 from the seed, either side of the given one",
          "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 8, .expire_after_write = 1000ns, .jitter = 0.25, .seed = 7},
                   clock.source()};
  std::uint64_t state = 7;
  for (int i = 0; i != 50; ++i) {
    const weir::duration life = next_life(state);
    cache.insert_or_assign(1, int{i});
    clock.advance(life - 1ns);
    CHECK(cache.contains(1));
    clock.advance(1ns);
    CHECK_FALSE(cache.contains(1));
  }
}

TEST_CASE("the shortest life with jitter is a nanosecond, the longest has no end", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 8, .expire_after_write = 1ns, .jitter = 0.9}, clock.source()};
  for (int i = 0; i != 20; ++i) {
    cache.insert_or_assign(1, int{i});
    CHECK(cache.contains(1));
    clock.advance(1ns);
    CHECK_FALSE(cache.contains(1));
  }
  cache.reconfigure({.max_entries = 8, .expire_after_write = weir::duration::max(), .jitter = 0.9});
  for (int i = 0; i != 20; ++i) {
    cache.insert_or_assign(1, int{i});
    CHECK(cache.contains(1));
  }
}

TEST_CASE("a life without jitter draws no number", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 8, .expire_after_write = 1000ns, .seed = 7}, clock.source()};
  for (int i = 0; i != 4; ++i) cache.insert(i, i);
  cache.reconfigure({.max_entries = 8, .expire_after_write = 1000ns, .jitter = 0.25});
  std::uint64_t state = 7;
  const weir::duration life = next_life(state);
  cache.insert_or_assign(9, 9);
  clock.advance(life - 1ns);
  CHECK(cache.contains(9));
  clock.advance(1ns);
  CHECK_FALSE(cache.contains(9));
}

TEST_CASE("the seed is one unless another is given", "[ttl_cache]") {
  CHECK(weir::ttl_cache_options{}.seed == 1);
}

TEST_CASE("what is there keeps its expiry when reads no longer prolong it", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 2, .expire_after_access = 4s}, clock.source()};
  cache.insert(1, 7);
  cache.reconfigure({.max_entries = 2});
  clock.advance(3s);
  CHECK(cache.get(1) == 7);
  clock.advance(1s);
  CHECK_FALSE(cache.contains(1));
}

TEST_CASE("a cache that becomes much smaller keeps the last used alone", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 4}, clock.source()};
  for (int i = 1; i <= 4; ++i) cache.insert(i, i);
  CHECK(cache.get(2) == 2);
  cache.reconfigure({.max_entries = 1});
  CHECK(cache.stats().entries == 1);
  CHECK(cache.stats().evicted == 3);
  CHECK(cache.contains(2));
}

TEST_CASE("an absence past its time is no stale value", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 2, .negative_ttl = 2s, .stale_for = 5s}, clock.source()};
  (void)cache.get_or_load(1, [] { return std::nullopt; });
  clock.advance(2s);
  const auto late = cache.get_or_load(1, fail, weir::deadline{clock.now()});
  REQUIRE_FALSE(late);
  CHECK(late.error().reason == refusal_reason::timed_out);
  CHECK_THROWS_AS(cache.get_or_load(1, fail), std::runtime_error);
  CHECK(cache.stats().stale == 0);
}

TEST_CASE("a loader may say how long an absence is remembered, longer than the cache would", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 2, .negative_ttl = 2s}, clock.source()};
  (void)cache.get_or_load(1, [] { return weir::loaded<int>{std::nullopt, 5s}; });
  clock.advance(5s - 1ns);
  CHECK(cache.get_or_load(1, fail)->source == lookup_source::negative);
  clock.advance(1ns);
  CHECK_THROWS_AS(cache.get_or_load(1, fail), std::runtime_error);
}

TEST_CASE("an absence is remembered for its own time, neither shortened nor prolonged by who asks",
          "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 2, .expire_after_access = 4s, .negative_ttl = 10s}, clock.source()};
  (void)cache.get_or_load(1, [] { return std::nullopt; });
  for (int i = 0; i != 2; ++i) {
    clock.advance(5s - 1ns);
    CHECK(cache.get_or_load(1, fail)->source == lookup_source::negative);
  }
  clock.advance(2ns);
  CHECK_THROWS_AS(cache.get_or_load(1, fail), std::runtime_error);
}

TEST_CASE("nobody is told of an absence that leaves, and of what leaves after it they are", "[ttl_cache]") {
  manual_clock clock;
  log_type log;
  cache_type cache{{.max_entries = 4, .negative_ttl = 10s}, clock.source(), {&log}};
  (void)cache.get_or_load(1, [] { return std::nullopt; });
  cache.insert(2, 5);
  cache.invalidate_all();
  CHECK(log.events == std::vector<log_type::event>{{2, 5, removal_cause::explicit_}});
  CHECK(cache.stats().entries == 0);
}

TEST_CASE("a loader may give back what converts to a value", "[ttl_cache]") {
  weir::ttl_cache<int, long> cache{{.max_entries = 2}};
  CHECK(cache.get_or_load(1, [] { return 7; })->value == 7L);
  CHECK(cache.get(1) == 7L);
}

TEST_CASE("a failure is remembered no longer than the stale value may stand in", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 2, .expire_after_write = 10s, .error_ttl = 10s, .stale_if_error = 5s},
                   clock.source()};
  cache.insert(1, 7);
  clock.advance(10s);
  CHECK(**cache.get_or_load(1, fail) == 7);
  clock.advance(5s - 1ns);
  CHECK(**cache.get_or_load(1, fail) == 7);
  CHECK(cache.stats().loads_failed == 1);
  clock.advance(1ns);
  CHECK_THROWS_AS(cache.get_or_load(1, fail), std::runtime_error);
  CHECK(cache.stats().loads_failed == 2);
}

TEST_CASE("each lookup is counted as one of hit, stale, negative and miss", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 4, .expire_after_write = 10s, .negative_ttl = 20s, .stale_for = 5s},
                   clock.source()};
  std::stop_source stopped;
  stopped.request_stop();
  (void)cache.get_or_load(1, fail, weir::deadline{clock.now()});
  CHECK(cache.stats().misses == 1);
  (void)cache.get_or_load(1, fail, {}, stopped.get_token());
  CHECK(cache.stats().misses == 2);
  std::thread other;
  (void)cache.get_or_load(1, [&] {
    CHECK(cache.stats().misses == 3);
    other = std::thread{[&] { (void)cache.get_or_load(1, fail); }};
    await_joined(cache, 1);
    CHECK(cache.stats().misses == 4);
    return 7;
  });
  other.join();
  (void)cache.get_or_load(1, fail);
  (void)cache.get(1);
  CHECK(cache.stats().hits == 2);
  (void)cache.get_or_load(2, [] { return std::nullopt; });
  (void)cache.get_or_load(2, fail);
  (void)cache.get(2);
  CHECK(cache.stats().negative == 2);
  clock.advance(10s);
  (void)cache.get_or_load(1, fail, weir::deadline{clock.now()});
  (void)cache.get(1);
  const weir::ttl_cache_stats s = cache.stats();
  CHECK(s.hits == 2);
  CHECK(s.stale == 1);
  CHECK(s.negative == 2);
  CHECK(s.misses == 6);
  CHECK(s.joined == 1);
}

TEST_CASE("keys and values are copied under no lock, wherever the answer is from", "[ttl_cache]") {
  manual_clock clock;
  asked_cache<inquisitive> cache{{.max_entries = 4, .expire_after_write = 10s, .stale_for = 5s},
                                 clock.source()};
  std::atomic<std::size_t> asked = 0;
  const std::function<void()> ask = [&] { asked += cache.stats().entries + 1; };
  const inquisitive key{1, &ask};
  const auto value = [&] { return inquisitive{7, &ask}; };
  std::optional<lookup_source> source;
  std::thread other;
  const auto led = cache.get_or_load(key, [&] {
    other = std::thread{[&] { source = cache.get_or_load(key, value)->source; }};
    await_joined(cache, 1);
    return value();
  });
  other.join();
  CHECK(led->source == lookup_source::loaded);
  CHECK(source == lookup_source::joined);
  CHECK(asked.exchange(0) >= 3);  // the key, and the value of each caller
  CHECK(cache.get_or_load(key, value)->source == lookup_source::hit);
  CHECK(asked.exchange(0) >= 1);
  clock.advance(10s);
  CHECK(cache.get_or_load(key, value, weir::deadline{clock.now()})->source == lookup_source::stale);
  CHECK(asked.exchange(0) >= 1);
}

TEST_CASE("a value that is erased while its key is copied for a load is destroyed under no lock",
          "[ttl_cache]") {
  manual_clock clock;
  asked_cache<std::shared_ptr<int>> cache{{.max_entries = 4, .expire_after_write = 10s, .stale_for = 5s},
                                          clock.source()};
  std::size_t destroyed = 0;
  cache.insert(inquisitive{1}, std::shared_ptr<int>{new int{7}, [&](const int* p) {
                                                      delete p;
                                                      destroyed += cache.stats().entries + 1;
                                                    }});
  clock.advance(10s);
  bool erased = false;
  const std::function<void()> erase = [&] {
    if (!std::exchange(erased, true)) cache.erase(inquisitive{1});
  };
  const auto got = cache.get_or_load(inquisitive{1, &erase}, [] { return std::make_shared<int>(8); });
  CHECK(***got == 8);
  CHECK(erased);
  CHECK(destroyed == 1);
}

TEST_CASE("a load that ends while a predicate is asked is not stored", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 4}, clock.source()};
  cache.insert(2, 2);
  std::latch loading{1};
  std::latch asked{1};
  std::thread loader{[&] {
    CHECK(**cache.get_or_load(1, [&] {
      loading.count_down();
      asked.wait();
      return 7;
    }) == 7);
  }};
  loading.wait();
  cache.invalidate_if([&](int, int) {
    asked.count_down();
    loader.join();
    return false;
  });
  CHECK_FALSE(cache.contains(1));
  CHECK(cache.contains(2));
}

TEST_CASE("a load that began while a predicate was asked cannot fall back on what was removed",
          "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 4, .expire_after_write = 10s, .stale_if_error = 5s}, clock.source()};
  cache.insert(1, 1);
  clock.advance(10s);
  std::latch loading{1};
  std::latch removed{1};
  std::optional<std::thread> loader;
  cache.invalidate_if([&](int, int) {
    loader.emplace([&] {
      CHECK_THROWS_AS(cache.get_or_load(1,
                                        [&]() -> int {
                                          loading.count_down();
                                          removed.wait();
                                          return fail();
                                        }),
                      std::runtime_error);
    });
    loading.wait();
    return true;
  });
  REQUIRE(loader);
  removed.count_down();
  loader->join();
  CHECK(cache.stats().entries == 0);
}

TEST_CASE("a predicate may remove what it is asked about, and the rest is removed all the same",
          "[ttl_cache]") {
  manual_clock clock;
  log_type log;
  cache_type cache{{.max_entries = 4}, clock.source(), {&log}};
  for (int i = 1; i <= 3; ++i) cache.insert(i, i);
  const std::size_t removed = cache.invalidate_if([&](int key, int) {
    if (key == 3) cache.erase(3);  // the first of them
    return true;
  });
  CHECK(removed == 2);
  CHECK(cache.stats().entries == 0);
  CHECK(log.events.size() == 3);
}

TEST_CASE("keys are compared only if their hashes are equal", "[ttl_cache]") {
  int compared = 0;
  weir::ttl_cache<int, int, weir::steady_clock, counted_traits> cache{
      {.max_entries = 8}, {}, {}, {}, {.compared = &compared}};
  for (int i = 0; i != 8; ++i) cache.insert(i * 13 * 16, i);  // in few buckets, whatever their number
  CHECK(compared == 0);
  for (int i = 0; i != 8; ++i) CHECK(cache.get(i * 13 * 16) == i);
  CHECK(compared == 8);
  CHECK_FALSE(cache.get(8 * 13 * 16));
  CHECK(compared == 8);
}

TEST_CASE("the time of a load is counted from its begin", "[ttl_cache]") {
  manual_clock clock{weir::time_point{100s}};
  cache_type cache{{.max_entries = 2}, clock.source()};
  (void)cache.get_or_load(1, [&] { return clock.advance(8s), 7; });
  CHECK(cache.stats().load_time == 8s);
}

TEST_CASE("a load within its lease is joined", "[ttl_cache]") {
  manual_clock clock{weir::time_point{100s}};
  cache_type cache{{.max_entries = 2, .load_lease = 3s}, clock.source()};
  std::optional<lookup_source> source;
  std::thread other;
  (void)cache.get_or_load(1, [&] {
    clock.advance(3s - 1ns);
    other = std::thread{[&] { source = cache.get_or_load(1, [] { return 8; })->source; }};
    while (cache.stats().joined + cache.stats().loads_ok == 0) std::this_thread::yield();
    return 7;
  });
  other.join();
  CHECK(source == lookup_source::joined);
  CHECK(cache.get(1) == 7);
}

TEST_CASE("a value is made in place only if there is none, and even then another may be faster",
          "[ttl_cache]") {
  manual_clock clock;
  weir::ttl_cache<int, made, manual_clock::view> cache{{.max_entries = 2}, clock.source()};
  int times = 0;
  CHECK_FALSE(cache.try_emplace(1, [&] {
    ++times;
    cache.insert(1, made{[] { return 5; }});
    return 6;
  }));
  CHECK(cache.get(1)->number == 5);
  CHECK_FALSE(cache.try_emplace(1, [&] { return ++times; }));
  CHECK(times == 1);
  CHECK(cache.try_emplace(2, [&] { return ++times; }));
  CHECK(cache.get(2)->number == 2);
}
