// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <weir/bounded_queue.hpp>

namespace {

constexpr std::size_t capacity = 1024;

/// What one writes without a library.
class mutex_queue {
 public:
  explicit mutex_queue(std::size_t n) : capacity_{n} {}

  bool try_push(std::uint64_t v) {
    {
      const std::lock_guard lock{mutex_};
      if (values_.size() == capacity_) return false;
      values_.push_back(v);
    }
    not_empty_.notify_one();
    return true;
  }
  std::optional<std::uint64_t> try_pop() {
    std::optional<std::uint64_t> v;
    {
      const std::lock_guard lock{mutex_};
      if (values_.empty()) return v;
      v = values_.front();
      values_.pop_front();
    }
    not_full_.notify_one();
    return v;
  }
  void push(std::uint64_t v) {
    {
      std::unique_lock lock{mutex_};
      not_full_.wait(lock, [this] { return values_.size() < capacity_; });
      values_.push_back(v);
    }
    not_empty_.notify_one();
  }
  std::uint64_t pop() {
    std::unique_lock lock{mutex_};
    not_empty_.wait(lock, [this] { return !values_.empty(); });
    const auto v = values_.front();
    values_.pop_front();
    lock.unlock();
    not_full_.notify_one();
    return v;
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable not_empty_, not_full_;
  std::deque<std::uint64_t> values_;  // guarded by mutex_
};

struct weir_queue : weir::bounded_queue<std::uint64_t> {
  explicit weir_queue(std::size_t n) : bounded_queue{weir::bounded_queue_options{.capacity = n}} {}
};

/// A process that never made a thread has cheaper mutexes: see to it that this one has.
const bool threaded = (std::thread{[] {}}.join(), true);

template <class Queue>
void BM_bounded_queue_push_pop_solo(benchmark::State& state) {
  Queue queue{capacity};
  std::uint64_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.try_push(++i));
    benchmark::DoNotOptimize(queue.try_pop());
  }
  state.SetItemsProcessed(state.iterations());
}

template <class Queue>
void BM_bounded_queue_push_refused(benchmark::State& state) {
  Queue queue{1};
  benchmark::DoNotOptimize(queue.try_push(1));
  for (auto _ : state) benchmark::DoNotOptimize(queue.try_push(2));
}

/// Even threads produce, odd ones consume, the same number each.
template <class Queue>
void BM_bounded_queue_try_pairs(benchmark::State& state) {
  static std::unique_ptr<Queue> queue;
  if (state.thread_index() == 0) queue = std::make_unique<Queue>(capacity);
  const bool producer = state.thread_index() % 2 == 0;
  for (auto _ : state) {
    if (producer) {
      while (!queue->try_push(1)) std::this_thread::yield();
    } else {
      while (!queue->try_pop()) std::this_thread::yield();
    }
  }
  state.SetItemsProcessed(producer ? state.iterations() : 0);
}

template <class Queue>
void BM_bounded_queue_wait_pairs(benchmark::State& state) {
  static std::unique_ptr<Queue> queue;
  if (state.thread_index() == 0) queue = std::make_unique<Queue>(capacity);
  const bool producer = state.thread_index() % 2 == 0;
  for (auto _ : state) {
    if (producer) {
      static_cast<void>(queue->push(1));
    } else {
      benchmark::DoNotOptimize(queue->pop());
    }
  }
  state.SetItemsProcessed(producer ? state.iterations() : 0);
}

BENCHMARK(BM_bounded_queue_push_pop_solo<weir_queue>)->Name("bounded_queue/push_pop_solo");
BENCHMARK(BM_bounded_queue_push_pop_solo<mutex_queue>)->Name("bounded_queue/push_pop_solo/peer:mutex");
BENCHMARK(BM_bounded_queue_push_refused<weir_queue>)->Name("bounded_queue/push_refused");
BENCHMARK(BM_bounded_queue_push_refused<mutex_queue>)->Name("bounded_queue/push_refused/peer:mutex");
BENCHMARK(BM_bounded_queue_try_pairs<weir_queue>)
    ->Name("bounded_queue/try_pairs")
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();
BENCHMARK(BM_bounded_queue_try_pairs<mutex_queue>)
    ->Name("bounded_queue/try_pairs/peer:mutex")
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();
BENCHMARK(BM_bounded_queue_wait_pairs<weir_queue>)
    ->Name("bounded_queue/wait_pairs")
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();
BENCHMARK(BM_bounded_queue_wait_pairs<mutex_queue>)
    ->Name("bounded_queue/wait_pairs/peer:mutex")
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();

}  // namespace
