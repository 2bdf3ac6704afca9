// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <random>

#include <weir/batcher.hpp>
#include <weir/testing/manual_clock.hpp>

#include "batcher/support.hpp"

using namespace std::chrono_literals;
using namespace batcher_test;

namespace {

struct submission {
  int weight;
  bool abandons;
};

/// What a script must lead to: the first request alone, then the queue in order, cut by count and weight.
std::vector<std::vector<int>> reference(const std::vector<submission>& script, std::size_t max_batch,
                                        int max_weight, std::size_t max_waiting) {
  std::vector<std::vector<int>> batches{{0}};
  std::vector<int> current;
  int weight = 0;
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < script.size(); ++i) {
    if (script[i].weight > max_weight || accepted == max_waiting) continue;
    ++accepted;
    if (script[i].abandons) continue;
    if (!current.empty() && (current.size() == max_batch || weight + script[i].weight > max_weight)) {
      batches.push_back(std::exchange(current, {}));
      weight = 0;
    }
    current.push_back(static_cast<int>(i) + 1);
    weight += script[i].weight;
  }
  if (!current.empty()) batches.push_back(current);
  return batches;
}

}  // namespace

TEST_CASE("whatever is queued behind a batch is cut as the reference cuts it", "[batcher]") {
  constexpr std::uint32_t seed = 20240611;
  INFO("seed " << seed);
  std::mt19937 random{seed};
  const auto draw = [&random](int low, int high) {
    return std::uniform_int_distribution<int>{low, high}(random);
  };
  std::size_t most_batches = 0;
  for (int round = 0; round < 60; ++round) {
    const auto max_batch = static_cast<std::size_t>(draw(1, 5));
    const int max_weight = draw(1, 8);
    const auto max_waiting = static_cast<std::size_t>(draw(1, 14));
    std::vector<submission> script(static_cast<std::size_t>(draw(0, 12)));
    for (submission& s : script) s = {draw(0, 9), draw(0, 4) == 0};

    weir::testing::manual_clock clock;
    held_call held;
    weir::batcher<int, int, weir::testing::manual_clock::view> b{
        {.max_batch = max_batch,
         .max_waiting = max_waiting,
         .max_weight = static_cast<std::uint64_t>(max_weight),
         .weigh =
             [&script](const int& n) {
               return n == 0 ? 0 : static_cast<std::uint64_t>(script[static_cast<std::size_t>(n - 1)].weight);
             }},
        held.call(),
        clock.source()};
    std::vector<std::future<weir::outcome<int>>> results;
    results.push_back(in_thread([&b] { return b.submit(0); }));
    held.entered.wait();
    for (std::size_t i = 0; i < script.size(); ++i) {
      const auto settled = [&b] {
        const auto s = b.stats();
        return s.waiting + s.refused;
      };
      const std::size_t before = settled();
      results.push_back(in_thread([&b, n = static_cast<int>(i) + 1, late = script[i].abandons] {
        return b.submit(n, late ? weir::deadline{weir::time_point{1s}} : weir::deadline{});
      }));
      while (settled() == before) std::this_thread::yield();
    }
    clock.advance(1s);
    const auto count =
        static_cast<std::uint64_t>(std::ranges::count_if(script, [](auto s) { return s.abandons; }));
    std::vector<bool> gone(results.size());
    for (std::size_t i = 0; i < script.size(); ++i) {
      if (script[i].abandons) gone[i + 1] = !results[i + 1].get().has_value();
    }
    held.release.count_down();

    const auto expected = reference(script, max_batch, max_weight, max_waiting);
    std::vector<bool> served(results.size());
    for (const auto& batch : expected) {
      for (const int n : batch) served[static_cast<std::size_t>(n)] = true;
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (i > 0 && script[i - 1].abandons) {
        CHECK(gone[i]);
        continue;
      }
      const auto result = results[i].get();
      CHECK(result.has_value() == served[i]);
      if (result) CHECK(*result == static_cast<int>(i) * 10);
    }
    INFO("round " << round);
    CHECK(held.batches == expected);
    const auto stats = b.stats();
    CHECK(stats.batches == expected.size());
    CHECK(stats.abandoned <= count);
    CHECK(stats.requests + stats.abandoned + stats.refused == results.size());
    most_batches = std::max(most_batches, expected.size());
  }
  CHECK(most_batches > 3);
}
