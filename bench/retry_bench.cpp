// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <cstdint>
#include <mutex>

#include <weir/retry.hpp>

namespace {

using namespace std::chrono_literals;

void BM_retry_call_success(benchmark::State& state) {
  static weir::retry policy;
  for (auto _ : state) benchmark::DoNotOptimize(policy.call([] { return 1; }));
}

/// The same bookkeeping with a lock: a count of successes and a bucket of tokens.
void BM_retry_mutex_success(benchmark::State& state) {
  static std::mutex mutex;
  static std::uint64_t succeeded = 0;
  static std::uint64_t tokens = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(1);
    const std::lock_guard lock{mutex};
    ++succeeded;
    if (tokens < 1000) ++tokens;
  }
  benchmark::DoNotOptimize(succeeded + tokens);
}

/// Fails once, with no delay and no budget: what the machinery of one retry costs.
void BM_retry_call_one_retry(benchmark::State& state) {
  static weir::retry policy{{.backoff = {.base = 0ns}, .budget = weir::no_retry_budget{}}};
  for (auto _ : state) {
    benchmark::DoNotOptimize(policy.call([](std::uint32_t attempt) -> weir::outcome<int> {
      if (attempt == 1) return weir::refusal{weir::refusal_reason::busy};
      return 1;
    }));
  }
}

/// The refusal path: the budget is spent.
void BM_retry_call_out_of_budget(benchmark::State& state) {
  static weir::retry policy{{.backoff = {.base = 0ns}, .budget = weir::token_budget{.capacity = 0}}};
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        policy.call([]() -> weir::outcome<int> { return weir::refusal{weir::refusal_reason::busy}; }));
  }
}

void BM_retry_backoff_delay(benchmark::State& state) {
  const weir::backoff_options options{};
  std::uint32_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(weir::backoff_delay(options, n++ % 16, options.base, 0.5));
}

}  // namespace

BENCHMARK(BM_retry_call_success)->Name("retry/success")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_retry_mutex_success)->Name("retry/success/peer:mutex")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_retry_call_one_retry)->Name("retry/one_retry")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_retry_call_out_of_budget)->Name("retry/out_of_budget")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_retry_backoff_delay)->Name("retry/backoff_delay");
