// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <future>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>

#include "support/broken_clock.hpp"
#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using weir::basic_token_bucket;
using weir::rate;
using weir::testing::manual_clock;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty_clock;

namespace {

using bucket_type = basic_token_bucket<faulty_clock>;

}  // namespace

TEST_CASE("a wait that the clock cannot take on gives its tokens back", "[token_bucket][fault]") {
  for (const char* const kind : {"timer", "allocation"}) {
    const int faults = fault_loop("token_bucket", kind, [](fault& next) {
      manual_clock clock;  // remembers whom to wake in a vector
      bucket_type bucket{{.rate = rate::per_second(1), .burst = 2, .initial = 0},
                         faulty_clock{clock, faulty_clock::time::leaps}};
      for (std::uint64_t n = 1; n != 4; ++n) {
        const auto before = bucket.stats();
        const auto held = bucket.available_approx();
        const auto began = clock.now();
        const bool thrown = next.strike_through([&] { (void)bucket.acquire(2); });
        CHECK(bucket.available_approx() == (thrown ? held : 0));
        CHECK(bucket.stats().cancelled == before.cancelled + (thrown ? 1 : 0));
        CHECK(bucket.stats().used == before.used + (thrown ? 0 : 1));
        CHECK(clock.now() - began == (thrown ? 0s : 2s));
      }
      CHECK(bucket.acquire(1));
    });
    CHECK(faults == (kind[0] == 't' ? 3 : 1));
  }
}

TEST_CASE("a wait that fails leaves who waits before it the instant that was booked",
          "[token_bucket][fault]") {
  const int faults = fault_loop("token_bucket", "timer", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{{.rate = rate::per_second(1), .burst = 2, .initial = 0}, faulty_clock{clock}};
    auto calm = std::async(std::launch::async, [&] { return bucket.acquire(1).has_value(); });
    clock.await_sleepers(1);
    auto struck =
        std::async(std::launch::async, [&] { return next.strike([&] { (void)bucket.acquire(1); }); });
    while (clock.sleepers() < 2 && bucket.stats().cancelled == 0) std::this_thread::yield();
    clock.advance(1s);
    CHECK(calm.get());
    clock.advance(1s);
    const bool thrown = struck.get();
    CHECK(thrown == next.happened());
    CHECK(bucket.stats().used == (thrown ? 1 : 2));
    CHECK(bucket.available_approx() == (thrown ? 1 : 0));
  });
  CHECK(faults == 1);
}

TEST_CASE("a wait that fails leaves who booked behind it the instant that was booked",
          "[token_bucket][fault]") {
  std::function<void()> meanwhile;
  basic_token_bucket bucket{{.rate = rate::per_second(1), .burst = 2, .initial = 0},
                            weir_test::broken_clock{&meanwhile}};
  auto behind = bucket.reserve(1);
  behind->cancel();
  meanwhile = [&] { behind = bucket.reserve(1); };
  CHECK_THROWS_AS(bucket.acquire(1), std::bad_alloc);
  REQUIRE(behind);
  CHECK(behind->act_at() == weir::time_point{2s});
  std::move(*behind).use();
  CHECK(bucket.stats().used == 1);
}

TEST_CASE("a bucket whose options cannot even be complained about is left as it was",
          "[token_bucket][fault]") {
  const int faults = fault_loop("token_bucket", "allocation", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{{.rate = rate::per_second(1), .burst = 2}, faulty_clock{clock}};
    bool complained = false;
    const bool silent = next.strike_through([&] {
      try {
        bucket.reconfigure({.rate = rate::per_second(1), .burst = 2, .initial = 3});
      } catch (const std::invalid_argument&) {
        complained = true;
      }
    });
    CHECK(complained != silent);
    CHECK(bucket.available_approx() == 2);
    CHECK(bucket.is_as_new_at(clock.now()));
  });
  CHECK(faults >= 1);
}

TEST_CASE("to take needs no memory; the first booking, wait or change does, and fails with nothing changed",
          "[token_bucket][fault]") {
  struct first_use {
    std::function<void(bucket_type&)> use;
    int points;
  };
  const first_use firsts[]{
      {[](bucket_type& b) { std::move(*b.reserve()).use(); }, 1},
      {[](bucket_type& b) { b.reconfigure({.rate = rate::per_second(1), .burst = 10}); }, 1},
      {[](bucket_type& b) { (void)b.acquire(10); }, 2},  // the clock remembers whom to wake
  };
  for (const first_use& first : firsts) {
    const int faults = fault_loop("token_bucket", "allocation", [&](fault& next) {
      manual_clock clock;
      bucket_type bucket{{.rate = rate::per_second(1), .burst = 10},
                         faulty_clock{clock, faulty_clock::time::leaps}};
      CHECK_FALSE(next.strike_through([&] {
        for (int i = 0; i != 3; ++i) (void)bucket.try_acquire();
      }));
      const bool thrown = next.strike_through([&] { first.use(bucket); });
      CHECK((bucket.available_approx() == 7) == (thrown || bucket.stats().used == 0));
      CHECK(bucket.stats().refused == 0);
      if (thrown) {
        CHECK(bucket.stats().used == 0);
        CHECK(bucket.is_as_new_at(clock.now() + 3s));
      }
      first.use(bucket);
      CHECK_FALSE(next.strike_through([&] {
        for (int i = 0; i != 20; ++i) {
          (void)bucket.try_acquire();
          if (auto booked = bucket.reserve(1, 30s)) std::move(*booked).use();
          bucket.reconfigure({.rate = rate::per_second(2 + i), .burst = 10});
        }
      }));
      CHECK(bucket.stats().used > 10);  // not vacuous
    });
    CHECK(faults == first.points);
  }
}

TEST_CASE("what can never be granted is refused without memory", "[token_bucket][fault]") {
  const int faults = fault_loop("token_bucket", "allocation", [](fault& next) {
    manual_clock clock;
    bucket_type bucket{{.rate = rate::zero(), .burst = 2}, faulty_clock{clock}};
    CHECK_FALSE(next.strike_through([&] {
      (void)bucket.acquire(3);
      (void)bucket.acquire(2);
      (void)bucket.acquire(1);
    }));
    CHECK(bucket.available_approx() == 0);
  });
  CHECK(faults == 0);
}

TEST_CASE("a bucket that does not start full needs memory to be made", "[token_bucket][fault]") {
  const int faults = fault_loop("token_bucket", "allocation", [](fault& next) {
    manual_clock clock;
    next.strike_through([&] {
      bucket_type bucket{{.rate = rate::per_second(1), .burst = 10, .initial = 3}, faulty_clock{clock}};
    });
  });
  CHECK(faults == 1);
}
