// SPDX-License-Identifier: BSL-1.0
// Names: circuit_breaker/<what>, the same thing under a mutex as peer/..., and what the hardware asks for as
// floor/...; `floor/clock` is to be taken from where the clock is not counted.
#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>

namespace {

using namespace std::chrono_literals;

/// A second thread for as long as the program lasts: no library may take it for single-threaded.
class parked_thread {
 public:
  parked_thread() = default;
  parked_thread(const parked_thread&) = delete;
  parked_thread& operator=(const parked_thread&) = delete;
  ~parked_thread() { leave_.release(); }

 private:
  std::binary_semaphore leave_{0};
  std::jthread thread_{[this] { leave_.acquire(); }};
};
const parked_thread parked;

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

void closed_count_window(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::count_window{100}}};
  pass(state, breaker);
}

void closed_time_window(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::time_window{10s}}};
  pass(state, breaker);
}

void closed_consecutive(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::consecutive_failures{}}};
  pass(state, breaker);
}

/// One call of a hundred fails.
void closed_one_percent_fails(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.window = weir::count_window{100}}};
  int calls = 0;
  for (auto _ : state) {
    auto p = breaker.try_acquire();
    if (++calls == 100) {
      calls = 0;
      std::move(*p).failure();
    } else {
      std::move(*p).success();
    }
  }
  state.SetItemsProcessed(state.iterations());
}

void open(benchmark::State& state) {
  static weir::circuit_breaker breaker{{.open_for = 1000h}};
  if (state.thread_index() == 0) breaker.transition_to(weir::breaker_state::open);
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire().has_value());
  state.SetItemsProcessed(state.iterations());
}

void mutex_closed(benchmark::State& state) {
  static mutex_breaker breaker;
  for (auto _ : state) {
    if (breaker.try_acquire()) breaker.report(false);
  }
  state.SetItemsProcessed(state.iterations());
}

void mutex_open(benchmark::State& state) {
  static mutex_breaker breaker;
  if (state.thread_index() == 0) breaker.trip();
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire());
  state.SetItemsProcessed(state.iterations());
}

void clock_read(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(weir::steady_clock::now());
  state.SetItemsProcessed(state.iterations());
}

void clock_and_load(benchmark::State& state) {
  static std::atomic<weir::duration::rep> until{weir::duration::max().count()};
  for (auto _ : state) {
    const auto now = weir::steady_clock::now().time_since_epoch().count();
    benchmark::DoNotOptimize(now < until.load(std::memory_order_acquire));
  }
  state.SetItemsProcessed(state.iterations());
}

struct alignas(64) line {
  std::atomic<std::uint64_t> word{0};
};

void cas_own_line(benchmark::State& state) {
  static std::array<line, 64> lines;
  std::atomic<std::uint64_t>& word = lines[static_cast<std::size_t>(state.thread_index())].word;
  for (auto _ : state) {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    benchmark::DoNotOptimize(word.compare_exchange_strong(seen, seen + 1, std::memory_order_relaxed));
  }
  state.SetItemsProcessed(state.iterations());
}

void for_threads(const char* name, void (*run)(benchmark::State&)) {
  benchmark::RegisterBenchmark(name, run)->Threads(1)->Threads(2)->UseRealTime();
}

[[maybe_unused]] const bool registered = [] {
  for_threads("circuit_breaker/closed_count_window", closed_count_window);
  for_threads("circuit_breaker/closed_time_window", closed_time_window);
  for_threads("circuit_breaker/closed_consecutive", closed_consecutive);
  for_threads("circuit_breaker/closed_one_percent_fails", closed_one_percent_fails);
  for_threads("circuit_breaker/open", open);
  for_threads("circuit_breaker/closed_count_window/peer:mutex", mutex_closed);
  for_threads("circuit_breaker/open/peer:mutex", mutex_open);
  for_threads("circuit_breaker/closed_time_window/floor:clock", clock_read);
  for_threads("circuit_breaker/open/floor:clock+load", clock_and_load);
  for_threads("circuit_breaker/closed_count_window/floor:CAS", cas_own_line);
  return true;
}();

}  // namespace
