// SPDX-License-Identifier: BSL-1.0
// Many threads: what goes in comes out once, one load a flight, nothing is seen after it was invalidated.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using weir::removal_cause;

namespace {

constexpr int threads = 4;

template <class F>
void on_threads(F&& f) {
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) all.emplace_back([&f, t] { f(t); });
  for (std::thread& t : all) t.join();
}

/// Counts those alive, and how often each was reported.
struct counted {
  static inline std::atomic<int> alive{0};
  explicit counted(int v) : n{v} { alive.fetch_add(1); }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { alive.fetch_sub(1); }
  const int n;
  std::atomic<int> told{0};
};
using value = std::shared_ptr<counted>;

struct tally {
  std::atomic<int> told{0};
  std::atomic<int> twice{0};
};
struct tally_traits : weir::ttl_cache_traits<int> {
  struct listener {
    tally* sum = nullptr;
    void on_removed(const int&, const value& v, removal_cause) noexcept {
      sum->told.fetch_add(1);
      if (v->told.fetch_add(1) != 0) sum->twice.fetch_add(1);
    }
  };
};

}  // namespace

TEST_CASE("under every operation at once each value is reported once and none is left",
          "[ttl_cache][stress]") {
  // rows 22, 23, 29, 38 and 39
  tally sum;
  std::atomic<int> taken{0};
  std::atomic<int> loads{0};
  std::atomic<int> failures{0};
  std::atomic<int> overfull{0};
  {
    weir::ttl_cache<int, value, weir::steady_clock, tally_traits> c{
        {.max_entries = 32, .expire_after_write = 200us, .negative_ttl = 50us, .stale_for = 100us},
        {},
        {&sum}};
    on_threads([&](int t) {
      std::mt19937_64 random{static_cast<std::uint64_t>(t) + 1};
      for (int n = 0; n < 4000; ++n) {
        const int key = static_cast<int>(random() % 48U);
        const auto what = random() % 100U;
        if (what < 40) {
          try {
            (void)c.get_or_load(
                key,
                [&]() -> std::optional<value> {
                  loads.fetch_add(1);
                  if (n % 16 == 0) std::this_thread::yield();
                  if (n % 7 == 0) return std::nullopt;
                  if (n % 11 == 0) throw std::runtime_error{"down"};
                  taken.fetch_add(1);
                  return std::make_shared<counted>(n);
                },
                n % 5 == 0 ? weir::deadline{weir::steady_clock::now() + 20us} : weir::deadline{});
          } catch (const std::runtime_error&) {
            failures.fetch_add(1);
          }
        } else if (what < 60) {
          (void)c.get(key);
        } else if (what < 75) {
          taken.fetch_add(1);
          c.insert_or_assign(
              key, std::make_shared<counted>(n),
              n % 9 == 0 ? std::optional<weir::duration>{weir::duration::max()} : std::nullopt);
        } else if (what < 80) {
          c.set_ttl(key, n % 2 == 0 ? weir::duration::max() : weir::duration{1us});
        } else if (what < 90) {
          c.erase(key);
        } else if (what < 92) {
          c.invalidate_if([&](int k, const value& v) { return k == key || v->n == n; });
        } else if (what < 93) {
          c.invalidate_all();
        } else if (what < 96) {
          c.for_each([](int, const value& v) { (void)v->n; });
        } else {
          c.maintain(8);
        }
        if (c.stats().entries > 32) overfull.fetch_add(1);
      }
    });
    const weir::ttl_cache_stats s = c.stats();
    CHECK(static_cast<int>(s.loads_ok + s.loads_failed) == loads.load());
    CHECK(s.in_flight == 0);
    CHECK(failures.load() > 0);
  }
  CHECK(overfull.load() == 0);
  CHECK(sum.told.load() == taken.load());
  CHECK(sum.twice.load() == 0);
  CHECK(counted::alive.load() == 0);
}

TEST_CASE("concurrent computes of a key lose no update", "[ttl_cache][stress]") {
  // row 31
  weir::ttl_cache<int, int> c{{.max_entries = 4}};
  on_threads([&](int) {
    for (int n = 0; n < 2000; ++n) c.compute(n % 2, [](const int* v) { return v ? *v + 1 : 1; });
  });
  CHECK(c.get(0).value_or(0) + c.get(1).value_or(0) == threads * 2000);
}

TEST_CASE("a reader beside a writer of the same key sees the old or the new value, never none",
          "[ttl_cache][stress]") {
  // row 10
  weir::ttl_cache<int, int> c{{.max_entries = 2}};
  c.insert(1, 0);
  std::atomic<int> absent{0};
  std::atomic<int> backwards{0};
  on_threads([&](int t) {
    int last = 0;
    for (int n = 1; n <= 5000; ++n) {
      if (t == 0) {
        c.insert_or_assign(1, n);
      } else {
        const std::optional<int> v = c.get(1);
        if (!v) absent.fetch_add(1);
        if (v.value_or(last) < last) backwards.fetch_add(1);
        last = v.value_or(last);
      }
    }
  });
  CHECK(absent.load() == 0);
  CHECK(backwards.load() == 0);
}

TEST_CASE("nobody reads a value whose load began before an invalidation that has returned",
          "[ttl_cache][stress]") {
  // rows 5 and 38
  weir::ttl_cache<int, int> c{{.max_entries = 4}};
  std::atomic<int> truth{0};    // what a load reads
  std::atomic<int> settled{0};  // the truth of which all caches have been told
  std::atomic<int> outdated{0};
  on_threads([&](int t) {
    for (int n = 1; n <= 3000; ++n) {
      if (t == 0) {
        truth.store(n);
        if (n % 3 == 0) {
          c.invalidate_all();
        } else if (n % 3 == 1) {
          c.erase(1);
        } else {
          c.invalidate_if([](int, int) { return true; });
        }
        settled.store(n);
      } else {
        const int known = settled.load();
        const int got = **c.get_or_load(1, [&] { return truth.load(); });
        if (got < known) outdated.fetch_add(1);
      }
    }
  });
  CHECK(outdated.load() == 0);
}

TEST_CASE("callers that arrive while a load ends join it or hit, but never load again",
          "[ttl_cache][stress]") {
  // row 14
  weir::ttl_cache<int, int> c{{.max_entries = 1000}};
  std::atomic<int> loads{0};
  on_threads([&](int) {
    for (int key = 0; key < 1000; ++key) (void)c.get_or_load(key, [&] { return loads.fetch_add(1); });
  });
  CHECK(loads.load() == 1000);
  const weir::ttl_cache_stats s = c.stats();
  CHECK(s.hits + s.misses == threads * 1000U);
  CHECK(s.misses - s.joined == 1000U);
}

TEST_CASE("waiters that are stopped at any moment leave nothing behind", "[ttl_cache][stress]") {
  // row 12
  weir::ttl_cache<int, int> c{{.max_entries = 4}};
  std::atomic<int> answers{0};
  std::atomic<int> refusals{0};
  for (int round = 0; round < 100; ++round) {
    c.invalidate_all();
    std::stop_source stop;
    on_threads([&](int t) {
      if (t == 0) {
        stop.request_stop();
        return;
      }
      const auto got = c.get_or_load(
          1, [&] { return std::this_thread::yield(), round; }, {},
          t == 1 ? stop.get_token() : std::stop_token{});
      (got ? answers : refusals).fetch_add(1);
      if (got && **got != round) refusals.fetch_add(1000);
    });
  }
  CHECK(answers.load() + refusals.load() == 300);
  CHECK(refusals.load() <= 100);
  CHECK(c.stats().in_flight == 0);
}
