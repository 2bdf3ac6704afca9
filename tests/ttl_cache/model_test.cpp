// SPDX-License-Identifier: BSL-1.0
// A seeded script of every operation against a list with times, compared after each step.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

#include "reference.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using weir::duration;
using weir::lookup_source;
using weir::removal_cause;
using weir::time_point;
using weir::ttl_cache_options;
using weir_test::manual_clock;
using weir_test::naive_cache;

namespace {

/// Keys that collide all the time.
struct colliding_traits : weir_test::logging_traits<int, int> {
  struct hash {
    std::size_t operator()(int k) const noexcept { return static_cast<std::size_t>(k % 3); }
  };
};
using cache = weir::ttl_cache<int, int, manual_clock::view, colliding_traits>;
using causes = std::map<int, removal_cause>;  // by value: each is unique

/// The source that an answer of the reference has; none if it is an exception.
std::optional<lookup_source> source_of(naive_cache::answer a) {
  switch (a) {
    case naive_cache::answer::hit:
      return lookup_source::hit;
    case naive_cache::answer::stale:
      return lookup_source::stale;
    case naive_cache::answer::negative:
      return lookup_source::negative;
    case naive_cache::answer::loaded:
      return lookup_source::loaded;
    default:
      return std::nullopt;
  }
}

void compare(std::uint64_t seed, const ttl_cache_options& options, int steps) {
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
  manual_clock clock;
  weir_test::removal_log<int, int> l;
  naive_cache naive{options};
  int next = 0;  // values are never used twice
  {
    cache real{options, clock.source(), {&l}};
    bool same = true;
    for (int step = 0; step < steps && same; ++step) {
      if (below(3) == 0) clock.advance(below(20) * 10ms);
      // Where it matters which of the expired goes first, no two expire at once.
      clock.advance(1ns);
      const time_point now = clock.now();
      const int key = below(24);
      const int value = next++;
      const std::optional<duration> ttl =
          below(3) == 0 ? std::optional<duration>{below(10) == 0 ? duration::max() : (1 + below(200)) * 10ms}
                        : std::nullopt;
      const int what = below(100);
      if (what < 25) {
        same = real.get(key) == naive.get(key, now);
      } else if (what < 40) {
        same = real.insert_or_assign(key, value, ttl) == naive.put(key, value, ttl, true, now);
      } else if (what < 50) {
        same = real.insert(key, value, ttl) == naive.put(key, value, ttl, false, now);
      } else if (what < 55) {
        same = real.erase(key) == naive.erase(key, now);
      } else if (what < 60) {
        const duration life = ttl.value_or(1s);
        same = real.set_ttl(key, life) == naive.set_ttl(key, life, now);
      } else if (what < 65) {
        same = real.contains(key) == naive.contains(key, now);
      } else if (what < 70) {
        const bool was = naive.contains(key, now);
        bool seen = false;
        real.compute(key, [&](const int* v) { return seen = v != nullptr, value; });
        naive.put(key, value, {}, true, now);
        same = was == seen;
      } else if (what < 92) {
        const int kind = below(8);  // of loader: 0 fails, 1 finds none, 2 is overtaken
        std::optional<lookup_source> got;
        bool ran = false;
        try {
          got = real.get_or_load(key,
                                 [&]() -> std::optional<int> {
                                   ran = true;
                                   if (kind == 0) throw std::runtime_error{"down"};
                                   if (kind == 1) return std::nullopt;
                                   if (kind == 2) real.erase(key);
                                   return value;
                                 })
                    ->source;
        } catch (const std::runtime_error&) {
        }
        naive_cache::load begun;
        auto expected = naive.ask(key, true, now, begun);
        const bool runs = !expected;
        if (runs) {
          if (kind == 2) naive.erase(key, now);
          const auto end = kind == 0   ? naive_cache::end::thrown
                           : kind == 1 ? naive_cache::end::none
                                       : naive_cache::end::value;
          expected = naive.land(begun, end, value, {}, now);
        }
        same = ran == runs && got == source_of(*expected);
      } else if (what < 94) {
        same =
            real.invalidate_if([&](int k, int) { return k % 5 == key % 5; }) ==
            naive.erase_if([&](const naive_cache::entry& e) { return e.value && e.key % 5 == key % 5; }, now);
      } else if (what < 95) {
        real.invalidate_all();
        naive.erase_if([](const auto&) { return true; }, now);
      } else {
        const auto budget = static_cast<std::size_t>(below(4));
        same = real.maintain(budget) == naive.reclaim(budget, now);
      }
      std::vector<std::pair<int, int>> content;
      if (step % 8 == 0) {
        real.for_each([&](int k, int v) { content.emplace_back(k, v); });
        same = same && content == naive.content(now) && real.size() == content.size() &&
               real.stats().entries == naive.size() && naive.size() <= options.max_entries;
      }
      if (!same) FAIL("differs at step " << step << ", operation " << what << ", key " << key);
    }
    naive.erase_if([](const auto&) { return true; }, clock.now());
  }
  causes told;
  for (const auto& e : l.events) CHECK(told.emplace(e.value, e.cause).second);  // once each
  CHECK(told == naive.left);
  CHECK(told.size() > static_cast<std::size_t>(steps) / 10);
}

}  // namespace

TEST_CASE("a cache is at every step what a list with times would be, and so are the causes", "[ttl_cache]") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    compare(seed, {.max_entries = 8, .expire_after_write = 300ms}, 10000);
    compare(seed, {.max_entries = 1, .expire_after_write = 300ms, .negative_ttl = 100ms}, 5000);
    compare(seed, {.max_entries = 12, .expire_after_access = 200ms, .stale_if_error = 200ms}, 10000);
    compare(seed,
            {.max_entries = 16,
             .expire_after_write = 500ms,
             .expire_after_access = 200ms,
             .negative_ttl = 100ms,
             .stale_if_error = 100ms},
            15000);
  }
}

TEST_CASE("the same operations with the same seed at the same times give the same state", "[ttl_cache]") {
  const auto play = [](std::uint64_t jitter_seed) {
    manual_clock clock;
    cache c{{.max_entries = 50, .expire_after_write = 1s, .jitter = 0.3, .seed = jitter_seed},
            clock.source()};
    std::mt19937_64 random{7};
    std::vector<std::pair<int, int>> trace;
    for (int n = 0; n < 2000; ++n) {
      clock.advance(duration{random() % 50000000U});
      const int key = static_cast<int>(random() % 100U);
      if (!c.get(key)) c.insert(key, n);
      if (n % 100 == 0) c.for_each([&](int k, int v) { trace.emplace_back(k, v); });
    }
    return trace;
  };
  CHECK(play(1) == play(1));
  CHECK(play(1) != play(2));
}
