// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the cache would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>

#include <weir/testing/manual_clock.hpp>
#include <weir/ttl_cache.hpp>

using namespace std::chrono_literals;
using weir::testing::manual_clock;

namespace {

using cache_type = weir::ttl_cache<int, int, manual_clock::view>;

}  // namespace

TEST_CASE("a life with jitter is that of splitmix64 from the seed, either side of the given one",
          "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 8, .expire_after_write = 1000ns, .jitter = 0.25, .seed = 7},
                   clock.source()};
  std::uint64_t state = 7;
  for (int i = 0; i != 50; ++i) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    const weir::duration life{750 + static_cast<std::int64_t>((z ^ (z >> 31)) % 501)};
    cache.insert_or_assign(1, int{i});
    clock.advance(life - 1ns);
    CHECK(cache.contains(1));
    clock.advance(1ns);
    CHECK_FALSE(cache.contains(1));
  }
}

TEST_CASE("the shortest life with jitter is a nanosecond", "[ttl_cache]") {
  manual_clock clock;
  cache_type cache{{.max_entries = 8, .expire_after_write = 1ns, .jitter = 0.9}, clock.source()};
  for (int i = 0; i != 20; ++i) {
    cache.insert_or_assign(1, int{i});
    CHECK(cache.contains(1));
    clock.advance(1ns);
    CHECK_FALSE(cache.contains(1));
  }
}
