// SPDX-License-Identifier: BSL-1.0
// Many threads: every caller is answered once, calls and callers add up.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include <weir/single_flight.hpp>

using namespace std::chrono_literals;

TEST_CASE("calls and callers add up under joins, failures, deadlines, stops and forgets",
          "[single_flight][stress]") {
  constexpr int threads = 4;
  constexpr int rounds = 2000;
  weir::single_flight<int, int> f;
  std::atomic<int> calls{0};
  std::atomic<int> inside[3] = {0, 0, 0};
  std::atomic<int> overlaps{0};
  std::atomic<int> answered{0};
  std::atomic<int> refused{0};
  std::atomic<int> failed{0};
  std::atomic<int> strange{0};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      for (int n = 0; n < rounds; ++n) {
        const int key = (n + t * (n % 2)) % 3;
        std::stop_source stop;
        if (n % 13 == 0) stop.request_stop();
        try {
          const auto got = f.run(
              key,
              [&](const int& k) {
                calls.fetch_add(1);
                if (inside[k].fetch_add(1) != 0 && k != 2) overlaps.fetch_add(1);
                std::this_thread::yield();
                inside[k].fetch_sub(1);
                if (n % 10 == 0) throw std::runtime_error{"down"};
                return k + 100;
              },
              n % 7 == 0 ? weir::deadline{weir::steady_clock::now() + 10us} : weir::deadline{},
              stop.get_token());
          (got ? answered : refused).fetch_add(1);
          if (got && got->value != key + 100) strange.fetch_add(1);
        } catch (const std::runtime_error&) {
          failed.fetch_add(1);
        }
        if (n % 5 == 0) f.forget(2);  // of this key alone two calls may overlap
      }
    });
  }
  for (std::thread& t : all) t.join();
  CHECK(answered.load() + refused.load() + failed.load() == threads * rounds);
  CHECK(overlaps.load() == 0);
  CHECK(strange.load() == 0);
  const weir::single_flight_stats s = f.stats();
  CHECK(static_cast<int>(s.led) == calls.load());
  CHECK(s.in_flight == 0);
}
