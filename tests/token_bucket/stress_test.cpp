// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <latch>
#include <numeric>
#include <thread>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::held_tokens;
using weir::rate;
using weir::testing::manual_clock;

namespace {

constexpr int threads = 4;

/// Runs work(i) on `threads` threads and `beside` on one more until they are done; the sum of their results.
template <class Work, class Beside>
std::uint64_t all_at_once(Work work, Beside beside) {
  std::vector<std::uint64_t> results(threads);
  std::atomic<bool> done{false};
  std::latch start{threads + 1};
  std::thread other{[&] {
    start.arrive_and_wait();
    do {
      beside();
      std::this_thread::yield();
    } while (!done.load(std::memory_order_relaxed));
  }};
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      start.arrive_and_wait();
      results[i] = work(i);
    });
  }
  for (std::thread& w : workers) w.join();
  done.store(true, std::memory_order_relaxed);
  other.join();
  return std::accumulate(results.begin(), results.end(), std::uint64_t{0});
}

}  // namespace

TEST_CASE("threads together get exactly the burst", "[token_bucket][stress]") {
  manual_clock clock;
  weir::request_counts counts;
  basic_token_bucket bucket{
      {.rate = rate::zero(), .burst = 10'000}, clock.source(), weir::counting_observer{counts}};
  const std::uint64_t granted = all_at_once(
      [&](std::size_t) {
        std::uint64_t mine = 0;
        for (int i = 0; i < 10'000; ++i) mine += bucket.try_acquire() ? 1 : 0;
        return mine;
      },
      [] {});
  CHECK(granted == 10'000);
  CHECK(counts.granted.value() == 10'000);
  CHECK(counts.refused.value() == threads * 10'000 - 10'000);
}

TEST_CASE("no token is lost or minted while time passes, ranges end and bookings come and go",
          "[token_bucket][stress]") {
  // 999 999 937 a second has no smaller terms, so the range of the word ends again and again.
  constexpr std::int64_t a_second = 999'999'937;
  manual_clock clock;
  basic_token_bucket bucket{{.rate = rate::per_second(a_second), .burst = 2'000'000'000, .initial = 0},
                            clock.source()};
  std::atomic<int> steps{1};
  clock.advance(100ms);  // so that there is something to take, however the threads are scheduled
  const std::uint64_t granted = all_at_once(
      [&](std::size_t i) {
        std::uint64_t mine = 0;
        for (std::uint64_t k = 0; k < 4000; ++k) {
          // 1.6e9 tokens are taken in all at the most, and the bucket holds that: it is never full.
          const std::uint64_t n = 1 + (k * 7 + i) % 100'000;
          if (k % 8 != 0) {
            if (bucket.try_acquire(n)) mine += n;
          } else if (auto booked = bucket.reserve(n, 0ns)) {
            std::move(*booked).use();
            mine += n;
          }
        }
        return mine;
      },
      [&] {
        if (steps.fetch_add(1, std::memory_order_relaxed) < 19) clock.advance(100ms);
      });
  const int passed = std::min(steps.load(), 19);
  const std::int64_t minted = a_second / 10 * passed + a_second % 10 * passed / 10;
  CHECK(static_cast<std::int64_t>(granted) + bucket.available_approx() == minted);
  CHECK(granted > 0);
}

TEST_CASE("reconfiguring under load is never torn: every token is accounted for", "[token_bucket][stress]") {
  constexpr std::int64_t initial = 300'000'000;
  manual_clock clock;  // stands: nothing is refilled
  basic_token_bucket bucket{{.rate = rate{3, 10ns}, .burst = 1'000'000'000, .initial = initial},
                            clock.source()};
  int turn = 0;
  const std::uint64_t granted = all_at_once(
      [&](std::size_t i) {
        std::uint64_t mine = 0;
        for (std::uint64_t k = 0; k < 40'000; ++k) {
          const std::uint64_t n = 1 + (k + i) % 1000;
          if (k % 8 != 0) {
            if (bucket.try_acquire(n)) mine += n;
          } else if (auto booked = bucket.reserve(n); booked && k % 16 == 0) {
            std::move(*booked).use();
            mine += n;
          }
        }
        return mine;
      },
      [&] {
        switch (turn++ % 3) {
          case 0:
            bucket.reconfigure({.rate = rate{7, 11ns}, .burst = 2'000'000'000}, held_tokens::keep);
            break;
          case 1:
            bucket.reconfigure({.rate = rate{999'999'937, 1s}, .burst = 1'000'000'000}, held_tokens::keep);
            break;
          default:
            bucket.reconfigure({.rate = rate{3, 10ns}, .burst = 1'000'000'000}, held_tokens::keep);
        }
      });
  CHECK(turn > 0);
  CHECK(granted > 0);
  CHECK(static_cast<std::int64_t>(granted) + bucket.available_approx() == initial);
}
