// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <random>
#include <stdexcept>

#include <weir/batcher.hpp>

#include "batcher/support.hpp"

using namespace std::chrono_literals;
using namespace batcher_test;

TEST_CASE("under deadlines, stops, throws and a close every request is executed once or surely not",
          "[batcher][stress]") {
  constexpr int threads = 6;
  constexpr int each = 1200;
  std::vector<std::atomic<int>> executed(threads * each);
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};
  std::atomic<bool> too_large{false};
  weir::batcher<int, int> b{{.max_batch = 4, .max_waiting = 5, .linger = 20us},
                            [&](std::span<int_item> batch) {
                              if (inside.fetch_add(1) != 0) overlapped = true;
                              if (batch.size() > 4) too_large = true;
                              for (int_item& i : batch) ++executed[static_cast<std::size_t>(i.request())];
                              for (int_item& i : batch) {
                                if (i.request() % 31 == 0) {
                                  inside.fetch_sub(1);
                                  throw std::runtime_error{"some batches fail"};
                                }
                                i.set_value(i.request());
                              }
                              inside.fetch_sub(1);
                            }};

  std::atomic<int> answered{0}, thrown{0}, refused{0}, wrong{0};
  std::latch start{threads};
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::mt19937 random{static_cast<std::uint32_t>(t)};
      start.arrive_and_wait();
      for (int i = 0; i < each; ++i) {
        const int n = t * each + i;
        const auto kind = random() % 4;
        std::stop_source stop;
        std::jthread stopper;
        if (kind == 0 && i % 8 == 0) stopper = std::jthread{[&stop] { stop.request_stop(); }};
        const weir::deadline until =
            kind == 1 ? weir::deadline::after(weir::steady_clock::now(), weir::duration{random() % 30'000})
                      : weir::deadline{};
        try {
          const auto result = b.submit(n, until, stop.get_token());
          if (result) {
            ++answered;
            if (*result != n || executed[static_cast<std::size_t>(n)] != 1) ++wrong;
          } else {
            ++refused;
            if (executed[static_cast<std::size_t>(n)] != 0) ++wrong;
          }
        } catch (const std::runtime_error&) {
          ++thrown;
          if (executed[static_cast<std::size_t>(n)] != 1) ++wrong;
        }
        if (n == threads * each - each / 10) b.close();
      }
    });
  }
  workers.clear();

  CHECK(wrong == 0);
  CHECK_FALSE(overlapped);
  CHECK_FALSE(too_large);
  CHECK(answered + thrown + refused == threads * each);
  CHECK(answered > 0);
  CHECK(thrown > 0);
  CHECK(refused > 0);
  const auto stats = b.stats();
  CHECK(stats.waiting == 0);
  CHECK(stats.requests == static_cast<std::uint64_t>(answered + thrown));
  CHECK(stats.refused + stats.abandoned == static_cast<std::uint64_t>(refused));
}

TEST_CASE("what a caller did before it submitted is seen by the call, and back", "[batcher][stress]") {
  constexpr int threads = 4;
  constexpr int each = 800;
  struct cell {
    int in = 0;
    int out = 0;
  };
  weir::batcher<cell*, void> b{{.max_batch = 3}, [](std::span<weir::batch_item<cell*, void>> batch) {
                                 for (auto& i : batch) {
                                   i.request()->out = i.request()->in + 1;
                                   i.set_value();
                                 }
                               }};
  std::atomic<int> wrong{0};
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        cell c{i, 0};
        if (!b.submit(&c) || c.out != i + 1) ++wrong;
      }
    });
  }
  workers.clear();
  CHECK(wrong == 0);
  CHECK(b.stats().requests == threads * each);
}
