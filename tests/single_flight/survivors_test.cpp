// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of single_flight would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <new>
#include <optional>
#include <stop_token>
#include <thread>

#include <weir/single_flight.hpp>
#include <weir/testing/manual_clock.hpp>

#include "single_flight/support.hpp"
#include "support/broken_clock.hpp"
#include "support/inquisitive.hpp"

using namespace std::chrono_literals;
using weir_test::await_joined;
using weir_test::broken_clock;
using weir_test::callers;
using weir_test::flights;
using weir_test::inquisitive;
using weir_test::manual_clock;

namespace {

struct traits {
  using hash = inquisitive::hash;
  using equal = std::equal_to<inquisitive>;
};

}  // namespace

TEST_CASE("keys and values are copied under no lock", "[single_flight]") {
  weir::single_flight<inquisitive, inquisitive, weir::steady_clock, traits> f;
  std::atomic<std::size_t> asked = 0;
  const std::function<void()> ask = [&] { asked += f.stats().in_flight + 1; };
  const inquisitive key{1, &ask};
  std::optional<std::thread> other;
  const auto led = f.run(key, [&] {
    other.emplace([&] { CHECK(f.run(key, [] { return inquisitive{-1}; })->value.number == 7); });
    await_joined(f, 1);
    return inquisitive{7, &ask};
  });
  other->join();
  CHECK(led->value.number == 7);
  CHECK(asked >= 3);  // a key, and the value of each caller
}

TEST_CASE("who is told to stop may ask the flights", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source leader;
  std::size_t in_flight = 1;
  (void)f.run(
      1,
      [&](std::stop_token told) {
        const std::stop_callback on_stop{told, [&] { in_flight = f.stats().in_flight; }};
        leader.request_stop();
        CHECK(told.stop_requested());
        return 7;
      },
      {}, leader.get_token());
  CHECK(in_flight == 0);
}

TEST_CASE("a call that has ended is told of no stop, though its caller was stopped while others waited",
          "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source leader;
  std::stop_token told;
  std::optional<callers> others;
  (void)f.run(
      1,
      [&](std::stop_token work) {
        told = work;
        others.emplace(f, 2);
        await_joined(f, 2);
        leader.request_stop();
        return 7;
      },
      {}, leader.get_token());
  for (const auto& g : others->join()) CHECK((*g.answer)->value == 7);
  CHECK_FALSE(told.stop_requested());
}

TEST_CASE("the last waiter whose clock fails leaves a call that nobody wants to be stopped",
          "[single_flight]") {
  std::stop_source leader;
  const std::function<void()> meanwhile = [&] { leader.request_stop(); };  // while it waits
  weir::single_flight<int, int, broken_clock> f{broken_clock{&meanwhile}};
  bool threw = false;
  bool stopped = false;
  (void)f.run(
      1,
      [&](std::stop_token told) {
        std::thread waiter{[&] {
          try {
            (void)f.run(1, [] { return -1; }, weir::time_point{1h});
          } catch (const std::bad_alloc&) {
            threw = true;
          }
        }};
        waiter.join();
        stopped = told.stop_requested();
        return 7;
      },
      {}, leader.get_token());
  CHECK(threw);
  CHECK(stopped);
  CHECK(f.stats().in_flight == 0);
}

TEST_CASE("a value is not shared unless it is said to be", "[single_flight]") {
  CHECK_FALSE(weir::flown<int>{1}.shared);
}
