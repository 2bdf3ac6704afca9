// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

#include <weir/task_gate.hpp>

namespace {

/// What one writes without a library.
class mutex_gate {
 public:
  explicit mutex_gate(std::uint32_t capacity) : free_{capacity} {}
  bool try_enter() {
    const std::lock_guard lock{mutex_};
    if (free_ == 0) return false;
    --free_;
    return true;
  }
  void leave() {
    const std::lock_guard lock{mutex_};
    ++free_;
  }

 private:
  std::mutex mutex_;
  std::uint32_t free_;  // guarded by mutex_
};

/// A process that never made a thread has cheaper mutexes: see to it that this one has.
const bool threaded = (std::thread{[] {}}.join(), true);

constexpr std::uint32_t slots = 4;

void BM_task_gate_enter_leave(benchmark::State& state) {
  static weir::task_gate gate{{.capacity = slots}};
  for (auto _ : state) benchmark::DoNotOptimize(gate.try_enter());
}

void BM_task_gate_enter_leave_mutex(benchmark::State& state) {
  static mutex_gate gate{slots};
  for (auto _ : state) {
    if (gate.try_enter()) gate.leave();
  }
}

/// The floor: two bare exchanges.
void BM_task_gate_enter_leave_bare_cas(benchmark::State& state) {
  static std::atomic<std::uint32_t> free{slots};
  for (auto _ : state) {
    // [relaxed] Measures the cost of the instructions only.
    auto n = free.load(std::memory_order_relaxed);
    while (n != 0 && !free.compare_exchange_weak(n, n - 1, std::memory_order_relaxed)) {
    }
    if (n == 0) continue;
    n = free.load(std::memory_order_relaxed);
    while (!free.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) {
    }
  }
}

void BM_task_gate_busy(benchmark::State& state) {
  static weir::task_gate gate;
  static const auto held = gate.try_enter();
  for (auto _ : state) benchmark::DoNotOptimize(gate.try_enter());
}

void BM_task_gate_busy_mutex(benchmark::State& state) {
  static mutex_gate gate{0};
  for (auto _ : state) benchmark::DoNotOptimize(gate.try_enter());
}

void BM_task_gate_run_if_idle(benchmark::State& state) {
  static weir::task_gate gate;
  for (auto _ : state) benchmark::DoNotOptimize(gate.run_if_idle([] {}));
}

void BM_task_gate_run_coalesced(benchmark::State& state) {
  static weir::task_gate gate;
  for (auto _ : state) benchmark::DoNotOptimize(gate.run_coalesced([] {}));
}

BENCHMARK(BM_task_gate_enter_leave)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_enter_leave_mutex)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_enter_leave_bare_cas)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_busy)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_busy_mutex)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_run_if_idle)->Threads(1)->Threads(2);
BENCHMARK(BM_task_gate_run_coalesced)->Threads(1)->Threads(2);

}  // namespace
