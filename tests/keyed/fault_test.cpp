// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include <weir/keyed.hpp>

#include "keyed/support.hpp"
#include "support/failing_new.hpp"

using namespace keyed_test;
using weir::keyed;
using weir_test::allocation_budget;

TEST_CASE("an allocation that fails leaves the map as it was", "[keyed]") {
  int failed = 0;
  for (long k = 0;; ++k) {
    keyed<std::string, tally> map{{.max_keys = 2, .shards = 1}, [](const std::string&) { return tally{0}; }};
    const std::string first(100, 'a');
    const std::string second(100, 'b');
    const std::string third(100, 'c');
    (void)map.try_acquire(first, 1);
    (void)map.try_acquire(second, 1);
    bool done = false;
    try {
      const allocation_budget limit{k};
      (void)map.try_acquire(third, 1);
      done = true;
    } catch (const std::bad_alloc&) {
      ++failed;
    }
    if (done) break;
    CHECK(map.stats().created == 2);
    CHECK(map.stats().evicted_forced == 0);
    CHECK(*map.try_acquire(first, 1) == 2);
    CHECK(*map.try_acquire(second, 1) == 2);
  }
  CHECK(failed >= 2);  // the key and the node
}

TEST_CASE("a construction that runs out of memory leaks nothing and says so", "[keyed]") {
  int failed = 0;
  for (long k = 0;; ++k) {
    try {
      const allocation_budget limit{k};
      keyed<int, tally> map{{.shards = 3}, [](int) { return tally{0}; }};
      break;
    } catch (const std::bad_alloc&) {
      ++failed;
    }
  }
  CHECK(failed >= 4);
}

TEST_CASE("a table that cannot grow serves as well", "[keyed]") {
  keyed<int, tally> map{{.max_keys = 1000, .shards = 1}, [](int) { return tally{0}; }};
  for (int key = 0; key < 300; ++key) {
    // Enough for the node of the key and not for a wider table.
    const allocation_budget limit{1};
    (void)map.try_acquire(key, static_cast<std::uint64_t>(key));
  }
  CHECK(map.size_approx() == 300);
  for (int key = 0; key < 300; ++key) CHECK(*map.try_acquire(key, 0) == key);
}

TEST_CASE("a factory that throws leaves no key behind", "[keyed]") {
  bool broken = true;
  keyed<int, tally> map{{.max_keys = 1}, [&](int) {
                          if (broken) throw std::runtime_error{"no component"};
                          return tally{0};
                        }};
  CHECK_THROWS_AS(map.pin(1), std::runtime_error);
  CHECK(map.size_approx() == 0);
  broken = false;
  CHECK(map.pin(1).has_value());
  broken = true;
  CHECK_THROWS_AS(map.pin(2), std::runtime_error);
  CHECK(map.find(1).has_value());
  CHECK(map.stats().evicted_forced == 0);
}

namespace {

struct broken_hash {
  const bool* broken;
  std::size_t operator()(int) const {
    if (*broken) throw std::domain_error{"hash"};
    return 1;
  }
};
struct broken_equal {
  const bool* broken;
  bool operator()(int a, int b) const {
    if (*broken) throw std::range_error{"equal"};
    return a == b;
  }
};

}  // namespace

TEST_CASE("a hash or a comparison that throws changes nothing and keeps nothing locked", "[keyed]") {
  bool hash_broken = false;
  bool equal_broken = false;
  keyed<int, tally, weir::steady_clock, broken_hash, broken_equal> map{
      {}, [](int) { return tally{0}; }, {}, {&hash_broken}, {&equal_broken}};
  (void)map.try_acquire(1, 1);
  hash_broken = true;
  CHECK_THROWS_AS(map.try_acquire(1, 1), std::domain_error);
  CHECK_THROWS_AS(map.erase(1), std::domain_error);
  hash_broken = false;
  equal_broken = true;
  CHECK_THROWS_AS(map.try_acquire(1, 1), std::range_error);
  CHECK_THROWS_AS(map.find(1), std::range_error);
  CHECK_THROWS_AS(map.erase(1), std::range_error);
  equal_broken = false;
  CHECK(*map.try_acquire(1, 1) == 2);
}

TEST_CASE("components and keys are destroyed outside the locks", "[keyed]") {
  struct nosy {
    explicit nosy(keyed<int, nosy>** map) : map_{map} {}
    nosy(const nosy&) = delete;
    nosy& operator=(const nosy&) = delete;
    ~nosy() {
      if (*map_) (void)(*map_)->stats();  // would not return if the shard were locked
    }
    [[nodiscard]] bool is_as_new() const noexcept { return fresh; }
    keyed<int, nosy>** map_;
    bool fresh = false;
  };
  keyed<int, nosy>* self = nullptr;
  keyed<int, nosy> map{{.max_keys = 2, .shards = 1}, [&](int) { return nosy{&self}; }};
  self = &map;
  for (int key = 0; key < 10; ++key) (void)map.with(key, [](nosy&) {});
  map.erase(9);
  (void)map.with(8, [](nosy& n) { n.fresh = true; });
  CHECK(map.evict_as_new() == 1);
  CHECK(map.stats().evicted_forced == 8);
  self = nullptr;
}
