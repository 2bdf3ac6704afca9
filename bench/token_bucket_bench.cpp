// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <mutex>

#include <weir/token_bucket.hpp>

namespace {

using weir::rate;

// A rate that no thread can exhaust, though it is counted; and one that nobody outlives.
const weir::token_bucket_options plenty{.rate = rate::per_second(1'000'000'000), .burst = 1'000'000'000};
const weir::token_bucket_options nothing{.rate = rate{1, std::chrono::hours{24}}, .burst = 1, .initial = 0};

/// The same under a plain mutex.
class mutex_bucket {
 public:
  explicit mutex_bucket(const weir::token_bucket_options& o)
      : p_{o.rate.tokens()},
        q_{o.rate.per().count()},
        burst_{o.burst},
        tokens_{o.initial.value_or(o.burst)},
        last_{weir::steady_clock::now()} {}

  bool try_acquire() {
    const std::lock_guard lock{mutex_};
    const auto now = weir::steady_clock::now();
    __extension__ using wide = __int128;
    const wide x = static_cast<wide>((now - last_).count()) * p_ + remainder_;
    tokens_ += static_cast<std::int64_t>(x / q_);
    remainder_ = static_cast<std::int64_t>(x % q_);
    if (tokens_ >= burst_) tokens_ = burst_, remainder_ = 0;
    last_ = now;
    if (tokens_ < 1) return false;
    --tokens_;
    return true;
  }

 private:
  std::mutex mutex_;
  std::int64_t p_, q_, burst_, tokens_, remainder_ = 0;
  weir::time_point last_;
};

template <class Bucket>
void ask(benchmark::State& state, Bucket& bucket) {
  for (auto _ : state) benchmark::DoNotOptimize(bucket.try_acquire());
  state.SetItemsProcessed(state.iterations());
}

void BM_token_bucket_admit(benchmark::State& state) {
  static weir::token_bucket bucket{plenty};
  ask(state, bucket);
}
BENCHMARK(BM_token_bucket_admit)->Threads(1)->Threads(2)->UseRealTime();

void BM_token_bucket_admit_coarse_clock(benchmark::State& state) {
  static weir::basic_token_bucket<weir::coarse_clock> bucket{plenty};
  ask(state, bucket);
}
BENCHMARK(BM_token_bucket_admit_coarse_clock)->Threads(1)->Threads(2)->UseRealTime();

void BM_token_bucket_refuse(benchmark::State& state) {
  static weir::token_bucket bucket{nothing};
  ask(state, bucket);
}
BENCHMARK(BM_token_bucket_refuse)->Threads(1)->Threads(2)->UseRealTime();

void BM_token_bucket_admit_mutex(benchmark::State& state) {
  static mutex_bucket bucket{plenty};
  ask(state, bucket);
}
BENCHMARK(BM_token_bucket_admit_mutex)->Threads(1)->Threads(2)->UseRealTime();

void BM_token_bucket_refuse_mutex(benchmark::State& state) {
  static mutex_bucket bucket{nothing};
  ask(state, bucket);
}
BENCHMARK(BM_token_bucket_refuse_mutex)->Threads(1)->Threads(2)->UseRealTime();

void BM_token_bucket_reserve_use(benchmark::State& state) {
  static weir::token_bucket bucket{plenty};
  for (auto _ : state) {
    if (auto booked = bucket.reserve()) std::move(*booked).use();
  }
}
BENCHMARK(BM_token_bucket_reserve_use);

}  // namespace
