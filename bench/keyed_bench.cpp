// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <unordered_map>
#include <vector>

#include <weir/keyed.hpp>

namespace {

/// The cheapest component there is, so that the map is what is measured.
struct counter {
  std::atomic<std::uint64_t> uses{0};
  [[nodiscard]] bool is_as_new() const noexcept {
    // [relaxed] A benchmark's own component; nothing depends on it.
    return uses.load(std::memory_order_relaxed) == 0;
  }
  void use() noexcept {
    // [relaxed] As above.
    uses.fetch_add(1, std::memory_order_relaxed);
  }
};

constexpr std::uint64_t key_count = 10'000;
using map_type = weir::keyed<std::uint64_t, counter>;

const std::vector<std::uint64_t>& keys() {
  static const std::vector<std::uint64_t> drawn = [] {
    std::mt19937_64 random{1};
    std::vector<std::uint64_t> k(1 << 14);
    for (auto& key : k) key = random() % key_count;
    return k;
  }();
  return drawn;
}

void BM_keyed_with_known_key(benchmark::State& state) {
  static map_type map{{}, [](std::uint64_t) { return counter{}; }};
  std::size_t i = static_cast<std::size_t>(state.thread_index()) * 777;
  for (auto _ : state) (void)map.with(keys()[i++ % keys().size()], [](counter& c) { c.use(); });
}

void BM_keyed_with_one_hot_key(benchmark::State& state) {
  static map_type map{{}, [](std::uint64_t) { return counter{}; }};
  for (auto _ : state) (void)map.with(std::uint64_t{7}, [](counter& c) { c.use(); });
}

void BM_keyed_mutex_known_key(benchmark::State& state) {
  static std::mutex mutex;
  static std::unordered_map<std::uint64_t, std::shared_ptr<counter>> map;
  std::size_t i = static_cast<std::size_t>(state.thread_index()) * 777;
  for (auto _ : state) {
    std::shared_ptr<counter> found;
    {
      const std::lock_guard lock{mutex};
      auto& slot = map[keys()[i++ % keys().size()]];
      if (!slot) slot = std::make_shared<counter>();
      found = slot;
    }
    found->use();
  }
}

/// Every key is new and something must go for it.
void BM_keyed_with_eviction(benchmark::State& state) {
  static map_type map{{.max_keys = 1000}, [](std::uint64_t) { return counter{}; }};
  std::uint64_t key = static_cast<std::uint64_t>(state.thread_index()) << 40U;
  for (auto _ : state) (void)map.with(key++, [](counter& c) { c.use(); });
}

void BM_keyed_with_refused(benchmark::State& state) {
  static map_type map{{.max_keys = 1, .when_full = weir::keyed_overflow::fail_closed},
                      [](std::uint64_t) { return counter{}; }};
  (void)map.with(std::uint64_t{0}, [](counter& c) { c.use(); });
  std::uint64_t key = 1;
  for (auto _ : state) (void)map.with(key++, [](counter& c) { c.use(); });
}

}  // namespace

BENCHMARK(BM_keyed_with_known_key)->Name("keyed/known_key")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_keyed_mutex_known_key)
    ->Name("keyed/known_key/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();
BENCHMARK(BM_keyed_with_one_hot_key)->Name("keyed/one_hot_key")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_keyed_with_eviction)->Name("keyed/eviction")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_keyed_with_refused)->Name("keyed/refused")->Threads(1)->Threads(2)->UseRealTime();
