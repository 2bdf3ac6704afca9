// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <semaphore>
#include <stop_token>
#include <thread>

#include <weir/task_gate.hpp>

namespace {

using namespace std::chrono_literals;

/// Sleeps as long as the program runs: a process with one thread has cheaper mutexes.
class bystander {
 public:
  bystander() = default;

 private:
  std::mutex mutex_;
  std::condition_variable_any never_;
  std::jthread thread_{[this](const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    never_.wait(lock, stop, [] { return false; });
  }};
};
const bystander parked;

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

constexpr std::uint32_t slots = 4;

// ---- enter and leave

void floor_cas_pair(benchmark::State& state) {
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

void gate_enter_leave(benchmark::State& state) {
  static weir::task_gate gate{{.capacity = slots}};
  for (auto _ : state) {
    if (const auto pass = gate.try_enter()) benchmark::ClobberMemory();
  }
}

void gate_enter_number_leave(benchmark::State& state) {
  static weir::task_gate gate{{.capacity = slots}};
  for (auto _ : state) {
    auto pass = gate.try_enter();
    benchmark::DoNotOptimize(pass ? pass->number() : 0);
  }
}

void gate_enter_leave_leased(benchmark::State& state) {
  static weir::task_gate gate{{.capacity = slots, .lease = 1h}};
  for (auto _ : state) {
    if (const auto pass = gate.try_enter()) benchmark::ClobberMemory();
  }
}

void mutex_enter_leave(benchmark::State& state) {
  static mutex_gate gate{slots};
  for (auto _ : state) {
    if (gate.try_enter()) gate.leave();
  }
}

void try_lock_unlock(benchmark::State& state) {
  static std::mutex mutex;
  for (auto _ : state) {
    if (mutex.try_lock()) mutex.unlock();
  }
}

void semaphore_acquire_release(benchmark::State& state) {
  static std::counting_semaphore<slots> semaphore{slots};
  for (auto _ : state) {
    if (semaphore.try_acquire()) semaphore.release();
  }
}

// ---- busy

void floor_load(benchmark::State& state) {
  static std::atomic<std::uint64_t> word{0};
  for (auto _ : state) {
    // [relaxed] As above.
    if (word.load(std::memory_order_relaxed) != 0) benchmark::ClobberMemory();
  }
}

void gate_busy(benchmark::State& state) {
  static weir::task_gate gate;
  static const auto held = gate.try_enter();
  for (auto _ : state) {
    if (const auto pass = gate.try_enter()) benchmark::ClobberMemory();
  }
}

void gate_busy_leased(benchmark::State& state) {
  static weir::task_gate gate{{.lease = 1h}};
  static const auto held = gate.try_enter();
  for (auto _ : state) {
    if (const auto pass = gate.try_enter()) benchmark::ClobberMemory();
  }
}

void mutex_busy(benchmark::State& state) {
  static mutex_gate gate{0};
  for (auto _ : state) benchmark::DoNotOptimize(gate.try_enter());
}

void semaphore_busy(benchmark::State& state) {
  static std::counting_semaphore<slots> semaphore{0};
  for (auto _ : state) benchmark::DoNotOptimize(semaphore.try_acquire());
}

// ---- runs

void gate_run_if_idle(benchmark::State& state) {
  static weir::task_gate gate;
  for (auto _ : state) benchmark::DoNotOptimize(gate.run_if_idle([] {}));
}

void gate_run_coalesced(benchmark::State& state) {
  static weir::task_gate gate;
  for (auto _ : state) benchmark::DoNotOptimize(gate.run_coalesced([] {}));
}

void add(const char* name, void (*body)(benchmark::State&)) {
  benchmark::RegisterBenchmark(name, body)->Threads(1)->Threads(2);
}

const bool registered = [] {
  add("task_gate/enter_leave/floor:CAS_pair", floor_cas_pair);
  add("task_gate/enter_leave", gate_enter_leave);
  add("task_gate/enter_number_leave", gate_enter_number_leave);
  add("task_gate/enter_leave_leased", gate_enter_leave_leased);
  add("task_gate/enter_leave/peer:mutex", mutex_enter_leave);
  add("task_gate/enter_leave/peer:try_lock", try_lock_unlock);
  add("task_gate/enter_leave/peer:counting_semaphore", semaphore_acquire_release);
  add("task_gate/busy/floor:load", floor_load);
  add("task_gate/busy", gate_busy);
  add("task_gate/busy_leased", gate_busy_leased);
  add("task_gate/busy/peer:mutex", mutex_busy);
  add("task_gate/busy/peer:counting_semaphore", semaphore_busy);
  add("task_gate/run_if_idle", gate_run_if_idle);
  add("task_gate/run_coalesced", gate_run_coalesced);
  return true;
}();

}  // namespace
