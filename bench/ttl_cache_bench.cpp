// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <type_traits>
#include <unordered_map>

#include <weir/ttl_cache.hpp>

namespace {

using namespace std::chrono_literals;
using key = std::uint64_t;

constexpr key resident = 10000;

using cache = weir::ttl_cache<key, key, weir::coarse_clock>;

/// The least that could be called a cache: a map with deadlines under one mutex, no bound, no order.
class plain_cache {
 public:
  void insert(key k, key v) {
    const std::lock_guard lock{mutex_};
    map_[k] = {v, weir::coarse_clock::now() + 1h};
  }
  std::optional<key> get(key k) {
    const std::lock_guard lock{mutex_};
    const auto at = map_.find(k);
    if (at == map_.end() || at->second.expires <= weir::coarse_clock::now()) return std::nullopt;
    return at->second.value;
  }

 private:
  struct entry {
    key value;
    weir::time_point expires;
  };
  std::mutex mutex_;
  std::unordered_map<key, entry> map_;
};

template <class C>
C& filled() {
  static C c = [] {
    if constexpr (std::is_same_v<C, cache>) {
      return cache{{.max_entries = resident, .expire_after_write = 1h}};
    } else {
      return C{};
    }
  }();
  static const bool once = [] {
    for (key k = 0; k < resident; ++k) c.insert(k, k);
    return true;
  }();
  (void)once;
  return c;
}

/// A different walk over the keys for each thread.
class walk {
 public:
  explicit walk(const benchmark::State& state) : at_{static_cast<key>(state.thread_index()) * 7919} {}
  key next() noexcept { return at_ = (at_ * 6364136223846793005ULL + 1442695040888963407ULL); }

 private:
  key at_;
};

template <class C>
void hit(benchmark::State& state) {
  C& c = filled<C>();
  walk w{state};
  for (auto _ : state) benchmark::DoNotOptimize(c.get((w.next() >> 33U) % resident));
  state.SetItemsProcessed(state.iterations());
}

template <class C>
void miss(benchmark::State& state) {
  C& c = filled<C>();
  walk w{state};
  for (auto _ : state) benchmark::DoNotOptimize(c.get(resident + (w.next() >> 33U)));
  state.SetItemsProcessed(state.iterations());
}

void BM_ttl_cache_get_hit(benchmark::State& state) { hit<cache>(state); }
void BM_ttl_cache_get_hit_mutex(benchmark::State& state) { hit<plain_cache>(state); }
void BM_ttl_cache_get_miss(benchmark::State& state) { miss<cache>(state); }
void BM_ttl_cache_get_miss_mutex(benchmark::State& state) { miss<plain_cache>(state); }
BENCHMARK(BM_ttl_cache_get_hit)->Name("ttl_cache/get_hit")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_ttl_cache_get_hit_mutex)
    ->Name("ttl_cache/get_hit/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();
BENCHMARK(BM_ttl_cache_get_miss)->Name("ttl_cache/get_miss")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_ttl_cache_get_miss_mutex)
    ->Name("ttl_cache/get_miss/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();

void BM_ttl_cache_visit_hit(benchmark::State& state) {
  cache& c = filled<cache>();
  walk w{state};
  for (auto _ : state)
    c.visit((w.next() >> 33U) % resident, [](const key& v) { benchmark::DoNotOptimize(v); });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ttl_cache_visit_hit)->Name("ttl_cache/visit_hit")->Threads(1)->Threads(2)->UseRealTime();

/// Every insertion into a full cache evicts.
void BM_ttl_cache_insert_evicting(benchmark::State& state) {
  cache c{{.max_entries = resident, .expire_after_write = 1h}};
  key k = 0;
  for (auto _ : state) c.insert_or_assign(k++, 1);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ttl_cache_insert_evicting)->Name("ttl_cache/insert_evicting");

void BM_ttl_cache_get_or_load_hit(benchmark::State& state) {
  cache& c = filled<cache>();
  walk w{state};
  for (auto _ : state)
    benchmark::DoNotOptimize(c.get_or_load((w.next() >> 33U) % resident, [] { return key{1}; }));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ttl_cache_get_or_load_hit)
    ->Name("ttl_cache/get_or_load_hit")
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();

void BM_ttl_cache_get_or_load_miss(benchmark::State& state) {
  cache c{{.max_entries = resident, .expire_after_write = 1h}};
  key k = 0;
  for (auto _ : state) benchmark::DoNotOptimize(c.get_or_load(k++, [] { return key{1}; }));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ttl_cache_get_or_load_miss)->Name("ttl_cache/get_or_load_miss");

/// The refusal: a caller whose deadline is over.
void BM_ttl_cache_get_or_load_refused(benchmark::State& state) {
  cache c{{.max_entries = 1}};
  const weir::deadline over{weir::time_point{}};
  for (auto _ : state) benchmark::DoNotOptimize(c.get_or_load(1, [] { return key{1}; }, over));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ttl_cache_get_or_load_refused)->Name("ttl_cache/get_or_load_refused");

}  // namespace
