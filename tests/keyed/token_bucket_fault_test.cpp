// SPDX-License-Identifier: BSL-1.0
// Whatever throws while a key is made, looked up or forgotten: nothing has changed.
#include <catch2/catch_test_macros.hpp>

#include <string_view>

#include <weir/keyed_token_bucket.hpp>

#include "support/fault_loop.hpp"

using weir::keyed_overflow;
using weir_test::fault;
using weir_test::fault_loop;

namespace {

/// A key of which every copy, hash and comparison is a fault point.
struct fragile_key {
  explicit fragile_key(int v) : value{v} {}
  fragile_key(const fragile_key& other) : value{other.value}, padding{other.padding} { fault::point("copy"); }
  fragile_key(fragile_key&&) noexcept = default;
  fragile_key& operator=(const fragile_key&) = delete;
  fragile_key& operator=(fragile_key&&) = delete;
  ~fragile_key() = default;
  friend bool operator==(const fragile_key& a, const fragile_key& b) {
    fault::point("compare");
    return a.value == b.value;
  }
  int value;
  std::string padding = std::string(100, 'x');  // so that a copy allocates
};

struct fragile_hash {
  std::size_t operator()(const fragile_key& key) const {
    fault::point("hash");
    return static_cast<std::size_t>(key.value);
  }
};

using map_type = weir::keyed_token_bucket<fragile_key, weir::steady_clock, fragile_hash>;

/// 63 keys: the next one but one needs memory of its own.
void fill(map_type& map) {
  for (int key = 0; key < 63; ++key) REQUIRE(map.try_acquire(fragile_key{key}));
}

}  // namespace

TEST_CASE("a key that could not be made is not there, and nobody else's tokens are gone", "[keyed][fault]") {
  int injected = 0;
  int failures = 0;
  for (const std::string_view kind : {"allocation", "copy", "compare", "hash"}) {
    injected += fault_loop("keyed_token_bucket", kind, [&failures](fault& next) {
      map_type map{{.max_keys = 200, .shards = 1}, {.rate = weir::rate::zero(), .burst = 2}};
      fill(map);
      const fragile_key first{100};
      const fragile_key second{101};
      const bool first_failed = next.strike([&] { static_cast<void>(map.try_acquire(first)); });
      const bool second_failed = next.strike([&] { static_cast<void>(map.try_acquire(second)); });
      // A table that cannot be widened goes on as it is, so that one allocation may fail unseen.
      failures += first_failed || second_failed ? 1 : 0;
      CHECK(map.available_approx(first) == (first_failed ? 2 : 1));
      CHECK(map.available_approx(second) == (second_failed ? 2 : 1));
      CHECK(map.size_approx() == (first_failed || second_failed ? 64 : 65));
      CHECK(map.stats().granted == map.size_approx());
      for (int key = 0; key < 63; ++key) CHECK(map.available_approx(fragile_key{key}) == 1);
    });
  }
  CHECK(failures > 5);
  CHECK(injected == failures + 1);
}

TEST_CASE("a key that could not take the place of another has not driven it out", "[keyed][fault]") {
  int injected = 0;
  for (const std::string_view kind : {"allocation", "copy", "compare", "hash"}) {
    injected += fault_loop("keyed_token_bucket", kind, [](fault& next) {
      map_type map{{.max_keys = 2, .shards = 1}, {.rate = weir::rate::zero(), .burst = 2}};
      const fragile_key first{1};
      const fragile_key second{2};
      const fragile_key third{3};
      REQUIRE(map.try_acquire(first));
      REQUIRE(map.try_acquire(second));
      next.strike_through([&] { static_cast<void>(map.try_acquire(third)); });
      CHECK(map.stats().keys.evicted_forced == (next.happened() ? 0 : 1));
      CHECK(map.available_approx(first) == (next.happened() ? 1 : 2));
      CHECK(map.available_approx(second) == 1);
      CHECK(map.available_approx(third) == (next.happened() ? 2 : 1));
    });
  }
  CHECK(injected > 2);
}
