// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include <weir/keyed.hpp>

#include "keyed/support.hpp"

using namespace std::chrono_literals;
using namespace keyed_test;

TEST_CASE("under evictions, erasures and pins no component is lost or destroyed in use", "[keyed][stress]") {
  constexpr int threads = 4;
  constexpr int each = 6000;
  std::atomic<int> alive{0};
  std::atomic<int> made{0};
  struct watched {
    explicit watched(std::atomic<int>& a, std::atomic<int>& m) : alive{a} {
      ++alive;
      ++m;
    }
    watched(const watched&) = delete;
    watched& operator=(const watched&) = delete;
    ~watched() {
      intact = 0;
      --alive;
    }
    [[nodiscard]] bool is_as_new_at(weir::time_point) const noexcept { return uses.load() % 3 == 0; }
    std::atomic<int>& alive;
    std::atomic<int> uses{0};
    int intact = 42;  // plain on purpose: a use after its destruction is a race
  };
  std::atomic<int> broken{0};
  std::atomic<std::size_t> most{0};
  std::atomic<std::uint64_t> served{0};
  {
    weir::keyed<int, watched> map{{.max_keys = 24, .shards = 3}, [&](int) { return watched{alive, made}; }};
    std::latch start{threads};
    std::vector<std::jthread> workers;
    for (int t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] {
        std::mt19937 random{static_cast<std::uint32_t>(t)};
        start.arrive_and_wait();
        for (int i = 0; i < each; ++i) {
          const int key = static_cast<int>(random() % 60);
          const auto kind = random() % 32;
          if (kind == 0) {
            map.erase(key);
          } else if (kind == 1) {
            map.evict_as_new();
          } else {
            auto p = map.pin(key);
            if (!p) continue;
            if (kind == 2) map.erase(key);
            (*p)->uses.fetch_add(1);
            if (kind == 3) std::this_thread::yield();
            if ((*p)->intact != 42 || p->key() != key) ++broken;
            ++served;
          }
          if (i % 64 == 0) most = std::max(most.load(), map.size_approx());
        }
      });
    }
    workers.clear();
    const auto stats = map.stats();
    CHECK(stats.keys <= 24);
    CHECK(stats.created == stats.keys + stats.evicted_as_new + stats.evicted_forced + stats.erased);
    CHECK(static_cast<std::uint64_t>(made.load()) >= stats.created);
    CHECK(alive == static_cast<int>(stats.keys));
    CHECK(stats.evicted_as_new > 0);
    CHECK(stats.evicted_forced > 0);
    CHECK(stats.erased > 0);
  }
  CHECK(alive == 0);
  CHECK(broken == 0);
  CHECK(served > 0);
  CHECK(most <= 24);
}

TEST_CASE("threads that race for a new key agree on one component", "[keyed][stress]") {
  constexpr int threads = 4;
  constexpr int keys = 500;
  weir::keyed<int, small_bucket> map{{.max_keys = keys}, [](int) { return small_bucket{1h, 2}; }};
  std::atomic<int> granted{0};
  std::latch start{threads};
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      start.arrive_and_wait();
      for (int key = 0; key < keys; ++key) {
        if (*map.with(key, [](small_bucket& b) { return b.take_at(weir::steady_clock::now()); })) ++granted;
      }
    });
  }
  workers.clear();
  CHECK(granted == 2 * keys);
}
