// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstdint>
#include <latch>
#include <thread>
#include <utility>
#include <vector>

#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::bandwidth;
using weir::rate;
using weir::testing::manual_clock;

TEST_CASE("threads together get what the tightest band holds, whatever they book, cancel and change",
          "[multi_token_bucket][stress]") {
  constexpr std::int64_t initial = 200'000;
  const std::vector<bandwidth> one{{.rate = rate::zero(), .burst = 1'000'000},
                                   {.rate = rate::zero(), .burst = 1'000'000, .initial = initial}};
  const std::vector<bandwidth> other{{.rate = {7, 11ns}, .burst = 2'000'000},
                                     {.rate = rate::zero(), .burst = 500'000}};
  manual_clock clock;  // stands: nothing is refilled
  weir::request_counts counts;
  weir::basic_multi_token_bucket bucket{one, clock.source(), weir::counting_observer{counts}};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> grants{0};
  std::latch start{5};
  std::vector<std::thread> workers;
  for (std::uint64_t i = 0; i != 4; ++i) {
    workers.emplace_back([&, i] {
      start.arrive_and_wait();
      for (std::uint64_t k = 0; k != 4000; ++k) {
        const std::uint64_t n = 1 + (k + i) % 20;
        if (k % 8 != 0) {
          if (bucket.try_acquire(n)) taken += n, ++grants;
        } else if (auto booked = bucket.reserve(n); booked && k % 16 == 0) {
          std::move(*booked).use();
          taken += n, ++grants;
        }
      }
    });
  }
  int changes = 0;
  start.arrive_and_wait();
  for (; changes != 200; ++changes) {
    if (changes % 2 == 0) {
      auto given = bucket.reserve(5);
      if (given) given->cancel();
    }
    std::this_thread::yield();
  }
  for (std::thread& w : workers) w.join();
  CHECK(taken > 0);
  CHECK(static_cast<std::int64_t>(taken) + bucket.available_approx() == initial);
  CHECK(counts.granted.value() == grants);
  bucket.reconfigure(other);
  CHECK(static_cast<std::int64_t>(taken) + bucket.available_approx() == initial);
}

TEST_CASE("to change the bands under load tears nothing", "[multi_token_bucket][stress]") {
  constexpr std::int64_t initial = 200'000;
  const std::vector<bandwidth> one{{.rate = rate::zero(), .burst = 1'000'000, .initial = initial}};
  const std::vector<bandwidth> two{{.rate = {7, 11ns}, .burst = 2'000'000},
                                   {.rate = {1, 1s}, .burst = 9'000'000}};
  manual_clock clock;
  weir::basic_multi_token_bucket bucket{one, clock.source()};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> done{false};
  std::latch start{9};
  std::vector<std::thread> workers;
  for (std::uint64_t i = 0; i != 8; ++i) {
    workers.emplace_back([&, i] {
      start.arrive_and_wait();
      for (std::uint64_t k = 0; k != 2000; ++k) {
        const std::uint64_t n = 1 + (k + i) % 9;
        if (bucket.try_acquire(n)) taken += n;
      }
    });
  }
  start.arrive_and_wait();
  std::thread changer{[&] {
    for (int turn = 0; !done; ++turn) bucket.reconfigure(turn % 2 == 0 ? two : one);
  }};
  for (std::thread& w : workers) w.join();
  done = true;
  changer.join();
  CHECK(taken > 0);
  bucket.reconfigure(one);
  CHECK(static_cast<std::int64_t>(taken) + bucket.available_approx() == initial);
}
