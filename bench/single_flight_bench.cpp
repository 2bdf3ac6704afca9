// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include <weir/single_flight.hpp>

namespace {

using flights = weir::single_flight<int, std::uint64_t>;

/// The same with a map of shared futures under one mutex: no deadline, no stop, no recursion check.
class plain_flights {
 public:
  template <class F>
  std::uint64_t run(int key, F&& f) {
    std::promise<std::uint64_t> promise;
    std::shared_future<std::uint64_t> running;
    {
      const std::lock_guard lock{mutex_};
      const auto [at, first] = map_.try_emplace(key);
      if (first) {
        at->second = promise.get_future().share();
      } else {
        running = at->second;
      }
    }
    if (running.valid()) return running.get();
    const std::uint64_t value = f();
    {
      const std::lock_guard lock{mutex_};
      map_.erase(key);
    }
    promise.set_value(value);
    return value;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int, std::shared_future<std::uint64_t>> map_;
};

template <class F>
void run(benchmark::State& state, bool one_key) {
  static F f;
  const int key = one_key ? 0 : state.thread_index();
  std::uint64_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(f.run(key, [&] { return ++n; }));
  state.SetItemsProcessed(state.iterations());
}

void BM_single_flight_run_own_key(benchmark::State& state) { run<flights>(state, false); }
void BM_single_flight_run_own_key_mutex(benchmark::State& state) { run<plain_flights>(state, false); }
void BM_single_flight_run_one_key(benchmark::State& state) { run<flights>(state, true); }
void BM_single_flight_run_one_key_mutex(benchmark::State& state) { run<plain_flights>(state, true); }
BENCHMARK(BM_single_flight_run_own_key)->Name("single_flight/own_key")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_single_flight_run_own_key_mutex)
    ->Name("single_flight/own_key/peer:mutex")
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();
BENCHMARK(BM_single_flight_run_one_key)->Name("single_flight/one_key")->Threads(2)->UseRealTime();
BENCHMARK(BM_single_flight_run_one_key_mutex)
    ->Name("single_flight/one_key/peer:mutex")
    ->Threads(2)
    ->UseRealTime();

void BM_single_flight_run_refused(benchmark::State& state) {
  flights f;
  const weir::deadline over{weir::time_point{}};
  for (auto _ : state) benchmark::DoNotOptimize(f.run(1, [] { return std::uint64_t{1}; }, over));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_single_flight_run_refused)->Name("single_flight/refused");

}  // namespace
