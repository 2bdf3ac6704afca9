// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include <weir/bounded_queue.hpp>

#include "queue_peers.hpp"

namespace {

constexpr std::size_t capacity = 1024;

struct weir_queue {
  explicit weir_queue(std::size_t n) : queue{weir::bounded_queue_options{.capacity = n}} {}

  bool try_push(std::uint64_t v) { return queue.try_push(v).has_value(); }
  bool try_pop(std::uint64_t& v) {
    const auto got = queue.try_pop();
    if (got) v = *got;
    return got.has_value();
  }
  void push(std::uint64_t v) { static_cast<void>(queue.push(v)); }
  std::uint64_t pop() { return *queue.pop(); }

  weir::bounded_queue<std::uint64_t> queue;
};

/// A process that never made a thread has cheaper mutexes: see to it that this one has.
const bool threaded = (std::thread{[] {}}.join(), true);

/// How one waits who may not sleep: for a while with the core, then without it.
class impatience {
 public:
  void wait() {
    if (++looks_ % 64 != 0) {
      weir::detail::pause();
    } else {
      std::this_thread::yield();
    }
  }

 private:
  unsigned looks_ = 0;
};

template <class Queue>
void BM_solo(benchmark::State& state) {
  Queue queue{capacity};
  std::uint64_t i = 0;
  std::uint64_t v = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.try_push(++i));
    benchmark::DoNotOptimize(queue.try_pop(v));
  }
  state.SetItemsProcessed(state.iterations());
}

template <class Queue>
void BM_refused(benchmark::State& state) {
  Queue queue{1};
  benchmark::DoNotOptimize(queue.try_push(1));
  for (auto _ : state) benchmark::DoNotOptimize(queue.try_push(2));
}

/// Even threads produce, odd ones consume, the same number each.
template <class Queue>
void BM_try_pairs(benchmark::State& state) {
  static std::unique_ptr<Queue> queue;
  if (state.thread_index() == 0) queue = std::make_unique<Queue>(capacity);
  const bool producer = state.thread_index() % 2 == 0;
  std::uint64_t v = 0;
  for (auto _ : state) {
    impatience other;
    if (producer) {
      while (!queue->try_push(1)) other.wait();
    } else {
      while (!queue->try_pop(v)) other.wait();
    }
  }
  state.SetItemsProcessed(producer ? state.iterations() : 0);
}

template <class Queue>
void BM_wait_pairs(benchmark::State& state) {
  static std::unique_ptr<Queue> queue;
  if (state.thread_index() == 0) queue = std::make_unique<Queue>(capacity);
  const bool producer = state.thread_index() % 2 == 0;
  for (auto _ : state) {
    if (producer) {
      queue->push(1);
    } else {
      benchmark::DoNotOptimize(queue->pop());
    }
  }
  state.SetItemsProcessed(producer ? state.iterations() : 0);
}

using weir_bench::mutex_queue;

template <class Queue>
void compare_tries(const char* peer) {
  const std::string after{peer};
  benchmark::RegisterBenchmark(("bounded_queue/push_pop_solo" + after).c_str(), BM_solo<Queue>);
  benchmark::RegisterBenchmark(("bounded_queue/try_pairs" + after).c_str(), BM_try_pairs<Queue>)
      ->Threads(2)
      ->Threads(4)
      ->UseRealTime();
}

template <class Queue>
void compare_waits(const char* peer) {
  const std::string after{peer};
  benchmark::RegisterBenchmark(("bounded_queue/wait_pairs" + after).c_str(), BM_wait_pairs<Queue>)
      ->Threads(2)
      ->Threads(4)
      ->Threads(16)
      ->UseRealTime();
}

const bool compared = [] {
  compare_tries<weir_queue>("");
  compare_tries<mutex_queue>("/peer:mutex");
  compare_waits<weir_queue>("");
  compare_waits<mutex_queue>("/peer:mutex");
#if defined(WEIR_PEER_BOOST)
  compare_tries<weir_bench::boost_queue<capacity>>("/peer:boost");
#endif
#if defined(WEIR_PEER_TBB)
  compare_tries<weir_bench::tbb_queue>("/peer:tbb");
  compare_waits<weir_bench::tbb_queue>("/peer:tbb");
#endif
#if defined(WEIR_PEER_MOODYCAMEL)
  compare_tries<weir_bench::moodycamel_queue>("/peer:moodycamel");
  compare_waits<weir_bench::moodycamel_queue>("/peer:moodycamel");
#endif
  return true;
}();

BENCHMARK(BM_refused<weir_queue>)->Name("bounded_queue/push_refused");
BENCHMARK(BM_refused<mutex_queue>)->Name("bounded_queue/push_refused/peer:mutex");

}  // namespace
