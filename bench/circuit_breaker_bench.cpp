// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>

namespace {

using namespace std::chrono_literals;

/// The same under a plain mutex: closed and open, a count window of 100.
class mutex_breaker {
 public:
  bool try_acquire() {
    const std::lock_guard lock{mutex_};
    return !open_ || weir::steady_clock::now() >= until_;
  }
  void report(bool failed) {
    const std::lock_guard lock{mutex_};
    failures_ -= ring_[next_];
    ring_[next_] = failed ? 1 : 0;
    failures_ += ring_[next_];
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
    if (failures_ * 2 >= ring_.size()) trip();
  }
  void trip() {
    open_ = true;
    until_ = weir::steady_clock::now() + 1h;
  }

 private:
  std::mutex mutex_;
  std::vector<std::size_t> ring_ = std::vector<std::size_t>(100);
  std::size_t next_ = 0;
  std::size_t failures_ = 0;
  bool open_ = false;
  weir::time_point until_;
};

void pass(benchmark::State& state, weir::circuit_breaker& breaker) {
  for (auto _ : state) {
    if (auto p = breaker.try_acquire()) std::move(*p).success();
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_circuit_breaker_closed_count_window(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::count_window{100}}};
  pass(state, breaker);
}
BENCHMARK(BM_circuit_breaker_closed_count_window)->Threads(1)->Threads(2)->UseRealTime();

void BM_circuit_breaker_closed_time_window(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::time_window{10s}}};
  pass(state, breaker);
}
BENCHMARK(BM_circuit_breaker_closed_time_window)->Threads(1)->Threads(2)->UseRealTime();

void BM_circuit_breaker_refuse_open(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.open_for = 1h}};
  if (state.thread_index() == 0) breaker.transition_to(weir::breaker_state::open);
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire().has_value());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_circuit_breaker_refuse_open)->Threads(1)->Threads(2)->UseRealTime();

void BM_circuit_breaker_closed_mutex(benchmark::State& state) {
  static mutex_breaker breaker;
  for (auto _ : state) {
    if (breaker.try_acquire()) breaker.report(false);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_circuit_breaker_closed_mutex)->Threads(1)->Threads(2)->UseRealTime();

void BM_circuit_breaker_refuse_open_mutex(benchmark::State& state) {
  static mutex_breaker breaker;
  if (state.thread_index() == 0) breaker.trip();
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_circuit_breaker_refuse_open_mutex)->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
