// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <cstdint>
#include <mutex>
#include <span>

#include <weir/batcher.hpp>

namespace {

using item = weir::batch_item<std::uint64_t, std::uint64_t>;

/// Stands for a commit: the same work however many are in it.
std::uint64_t commit(std::uint64_t n) {
  for (int i = 0; i < 2000; ++i) benchmark::DoNotOptimize(n += static_cast<std::uint64_t>(i));
  return n;
}

auto make(bool costly) {
  return [costly](std::span<item> batch) {
    const std::uint64_t done = costly ? commit(1) : 1;
    for (item& i : batch) i.set_value(i.request() + done);
  };
}

void submit(benchmark::State& state, bool costly) {
  static weir::batcher<std::uint64_t, std::uint64_t> cheap{{}, make(false)};
  static weir::batcher<std::uint64_t, std::uint64_t> dear{{}, make(true)};
  auto& b = costly ? dear : cheap;
  for (auto _ : state) benchmark::DoNotOptimize(b.submit(1));
  state.SetItemsProcessed(state.iterations());
}

void under_mutex(benchmark::State& state, bool costly) {
  static std::mutex mutex;
  for (auto _ : state) {
    const std::lock_guard lock{mutex};
    benchmark::DoNotOptimize(costly ? commit(1) : 1);
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_batcher_submit_free_call(benchmark::State& state) { submit(state, false); }
void BM_batcher_submit_costly_call(benchmark::State& state) { submit(state, true); }
void BM_batcher_mutex_free_call(benchmark::State& state) { under_mutex(state, false); }
void BM_batcher_mutex_costly_call(benchmark::State& state) { under_mutex(state, true); }

void BM_batcher_submit_refused(benchmark::State& state) {
  static weir::batcher<std::uint64_t, std::uint64_t> b = [] {
    return weir::batcher<std::uint64_t, std::uint64_t>{{}, make(false)};
  }();
  b.close();
  for (auto _ : state) benchmark::DoNotOptimize(b.submit(1));
}

}  // namespace

BENCHMARK(BM_batcher_submit_free_call)
    ->Name("batcher/free_call")
    ->Threads(1)
    ->Threads(2)
    ->Threads(8)
    ->UseRealTime();
BENCHMARK(BM_batcher_mutex_free_call)
    ->Name("batcher/free_call/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->Threads(8)
    ->UseRealTime();
BENCHMARK(BM_batcher_submit_costly_call)
    ->Name("batcher/costly_call")
    ->Threads(1)
    ->Threads(2)
    ->Threads(8)
    ->UseRealTime();
BENCHMARK(BM_batcher_mutex_costly_call)
    ->Name("batcher/costly_call/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->Threads(8)
    ->UseRealTime();
BENCHMARK(BM_batcher_submit_refused)->Name("batcher/refused")->Threads(1)->Threads(2)->UseRealTime();
