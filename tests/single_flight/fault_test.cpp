// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <new>
#include <stdexcept>

#include "support.hpp"
#include "support/failing_new.hpp"

using weir_test::allocation_budget;

namespace {

struct fault : std::runtime_error {
  fault() : std::runtime_error{"fault"} {}
};

struct brittle {
  static inline bool copy_throws = false;
  static inline bool compare_throws = false;
  static inline bool hash_throws = false;
  explicit brittle(int v) : n{v} {}
  brittle(const brittle& o) : n{o.n} {
    if (copy_throws) throw fault{};
  }
  brittle& operator=(const brittle&) = delete;
  ~brittle() = default;
  int n;
};

struct brittle_traits {
  struct hash {
    std::size_t operator()(const brittle&) const { return brittle::hash_throws ? throw fault{} : 1U; }
  };
  struct equal {
    bool operator()(const brittle& a, const brittle& b) const {
      return brittle::compare_throws ? throw fault{} : a.n == b.n;
    }
  };
};
using brittle_flights = weir::single_flight<brittle, brittle, weir::steady_clock, brittle_traits>;

}  // namespace

TEST_CASE("an allocation that fails reaches the caller and leaves no flight behind", "[single_flight]") {
  int walked = 0;
  for (long k = 0;; ++k) {
    INFO("allocation " << k);
    brittle_flights f;
    bool failed = false;
    bool hit = false;
    {
      const allocation_budget budget{k};
      try {
        (void)f.run(brittle{1}, [](std::stop_token) { return brittle{7}; });
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      hit = allocation_budget::was_hit();
    }
    CHECK(failed == hit);
    CHECK(f.stats().in_flight == 0);
    CHECK(f.run(brittle{1}, [] { return brittle{8}; })->value.n == 8);
    if (!hit) break;
    ++walked;
  }
  CHECK(walked >= 3);
}

TEST_CASE("a hash, comparison or copy that throws leaves no flight behind", "[single_flight]") {
  brittle_flights f;
  for (bool* const trap : {&brittle::hash_throws, &brittle::copy_throws}) {
    *trap = true;
    CHECK_THROWS_AS(f.run(brittle{1}, [] { return brittle{7}; }), fault);
    *trap = false;
    CHECK(f.stats().in_flight == 0);
  }
  const auto led = f.run(brittle{1}, [&] {
    brittle::compare_throws = true;
    CHECK_THROWS_AS(f.run(brittle{2}, [] { return brittle{8}; }), fault);
    brittle::compare_throws = false;
    return brittle{7};
  });
  CHECK(led->value.n == 7);
  CHECK(f.stats().in_flight == 0);
}
