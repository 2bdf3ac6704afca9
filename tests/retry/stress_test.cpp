// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

#include <weir/retry.hpp>

using namespace std::chrono_literals;

TEST_CASE("threads that share a policy never take more than its budget has", "[retry][stress]") {
  constexpr int threads = 4;
  constexpr int each = 2000;
  weir::retry policy{{.max_attempts = 4,
                      .backoff = {.base = 0ns},
                      .budget = weir::token_budget{.capacity = 500, .per_success = 0.25}}};
  std::atomic<std::uint64_t> attempts{0}, ok{0}, failed{0};
  std::latch start{threads};
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      start.arrive_and_wait();
      for (int i = 0; i < each; ++i) {
        try {
          (void)policy.call([&] {
            ++attempts;
            if ((i + t) % 3 != 0) throw std::runtime_error{"down"};
          });
          ++ok;
        } catch (const std::runtime_error&) {
          ++failed;
        }
      }
    });
  }
  workers.clear();
  const auto stats = policy.stats();
  CHECK(ok + failed == threads * each);
  CHECK(stats.succeeded == ok);
  CHECK(stats.exhausted + stats.out_of_budget == failed);
  CHECK(stats.retries == policy.budget()->stats().withdrawn);
  CHECK(attempts == threads * each + stats.retries);
  CHECK(stats.retries <= 500 + ok / 4);
  CHECK(stats.retries + policy.budget()->available_approx() + 1 >=
        500);  // a full bucket forgets what it earns
  CHECK(stats.out_of_budget > 0);
}
