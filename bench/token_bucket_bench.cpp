// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include <weir/token_bucket.hpp>

namespace {

using weir::coarse_clock;
using weir::rate;
using weir::steady_clock;

// A rate that no thread can exhaust, though it is counted; and one that nobody outlives.
const weir::token_bucket_options plenty{.rate = rate::per_second(1'000'000'000), .burst = 1'000'000'000};
const weir::token_bucket_options nothing{.rate = rate{1, std::chrono::hours{24}}, .burst = 1, .initial = 0};

/// The same under a plain mutex.
template <class Clock>
class mutex_bucket {
 public:
  explicit mutex_bucket(const weir::token_bucket_options& o)
      : p_{o.rate.tokens()},
        q_{o.rate.per().count()},
        burst_{o.burst},
        tokens_{o.initial.value_or(o.burst)},
        last_{Clock::now()} {}

  bool try_acquire() {
    const std::lock_guard lock{mutex_};
    const weir::time_point now = Clock::now();
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

/// What no limiter can do without: to read the clock, and to write one word.
template <class Clock>
class clock_and_exchange {
 public:
  explicit clock_and_exchange(const weir::token_bucket_options&) {}

  bool try_acquire() {
    const std::int64_t now = Clock::now().time_since_epoch().count();
    std::int64_t found = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(found, now, std::memory_order_relaxed)) {
    }
    return true;
  }

 private:
  alignas(64) std::atomic<std::int64_t> word_{0};
};

/// To refuse: to read the clock, and to read one word.
template <class Clock>
class clock_and_load {
 public:
  explicit clock_and_load(const weir::token_bucket_options&) {}

  bool try_acquire() {
    return Clock::now().time_since_epoch().count() > word_.load(std::memory_order_relaxed);
  }

 private:
  alignas(64) std::atomic<std::int64_t> word_{0};
};

template <class Bucket>
void ask(benchmark::State& state, const weir::token_bucket_options& options) {
  static Bucket* bucket;
  if (state.thread_index() == 0) bucket = new Bucket{options};
  // What the peers answer, and what most callers look at: yes or no.
  for (auto _ : state) benchmark::DoNotOptimize(static_cast<bool>(bucket->try_acquire()));
  if (state.thread_index() == 0) delete bucket;
}

template <class Bucket>
void compare(const std::string& name, const weir::token_bucket_options& options) {
  benchmark::RegisterBenchmark(name.c_str(), ask<Bucket>, options)->Threads(1)->Threads(2)->UseRealTime();
}

template <class Clock>
void compare_all(const std::string& clock) {
  using bucket = weir::basic_token_bucket<Clock>;
  compare<bucket>("token_bucket/admit" + clock, plenty);
  compare<clock_and_exchange<Clock>>("token_bucket/admit" + clock + "/floor:clock+CAS", plenty);
  compare<mutex_bucket<Clock>>("token_bucket/admit" + clock + "/peer:mutex", plenty);
  compare<bucket>("token_bucket/refuse" + clock, nothing);
  compare<clock_and_load<Clock>>("token_bucket/refuse" + clock + "/floor:clock+load", nothing);
  compare<mutex_bucket<Clock>>("token_bucket/refuse" + clock + "/peer:mutex", nothing);
}

void BM_reserve(benchmark::State& state) {
  weir::token_bucket bucket{plenty};
  for (auto _ : state) {
    if (auto booked = bucket.reserve()) std::move(*booked).use();
  }
}

const bool registered = [] {
  compare_all<steady_clock>("");
  compare_all<coarse_clock>("/coarse");
  benchmark::RegisterBenchmark("token_bucket/reserve+use", BM_reserve);
  return true;
}();

}  // namespace
