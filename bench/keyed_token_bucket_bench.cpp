// SPDX-License-Identifier: BSL-1.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <random>
#include <unordered_map>
#include <vector>

#include <weir/keyed_token_bucket.hpp>

namespace {

constexpr std::uint64_t key_count = 10'000;
// A rate that no thread can exhaust, though it is counted; and one that nobody outlives.
constexpr weir::token_bucket_options plenty{.rate = weir::rate::per_second(1'000'000'000),
                                            .burst = 1'000'000'000};
constexpr weir::token_bucket_options nothing{.rate = weir::rate{1, std::chrono::hours{24}}, .burst = 1};

const std::vector<std::uint64_t>& keys() {
  static const std::vector<std::uint64_t> drawn = [] {
    std::mt19937_64 random{1};
    std::vector<std::uint64_t> k(1 << 14);
    for (auto& key : k) key = random() % key_count;
    return k;
  }();
  return drawn;
}

/// What one writes without a library: one lock, and no bound on the memory.
class mutex_buckets {
 public:
  bool try_acquire(std::uint64_t key) {
    const auto now = weir::steady_clock::now();
    const std::lock_guard lock{mutex_};
    auto [at, made] = full_at_.try_emplace(key, now);
    const auto next = std::max(at->second, now) + weir::duration{1};
    if (next - now > std::chrono::seconds{1}) return false;
    at->second = next;
    return true;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, weir::time_point> full_at_;
};

template <class Buckets>
void ask(benchmark::State& state, Buckets& buckets) {
  std::size_t i = static_cast<std::size_t>(state.thread_index()) * 777;
  for (auto _ : state) benchmark::DoNotOptimize(buckets.try_acquire(keys()[i++ % keys().size()]));
}

void BM_admit(benchmark::State& state) {
  static weir::keyed_token_bucket<std::uint64_t> map{{}, plenty};
  ask(state, map);
}
void BM_admit_mutex(benchmark::State& state) {
  static mutex_buckets map;
  ask(state, map);
}
void BM_refuse(benchmark::State& state) {
  static weir::keyed_token_bucket<std::uint64_t> map{{}, nothing};
  for (const std::uint64_t key : keys()) static_cast<void>(map.try_acquire(key));
  ask(state, map);
}

BENCHMARK(BM_admit)->Name("keyed_token_bucket/admit")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_admit_mutex)->Name("keyed_token_bucket/admit/peer:mutex")->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_refuse)->Name("keyed_token_bucket/refuse")->Threads(1)->Threads(2)->UseRealTime();

}  // namespace
