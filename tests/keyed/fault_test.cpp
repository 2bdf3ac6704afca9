// SPDX-License-Identifier: BSL-1.0
// Whatever throws, wherever it throws: no key is half there, none is lost, no shard stays locked.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <future>
#include <latch>
#include <string_view>
#include <thread>
#include <utility>

#include <weir/keyed.hpp>

#include "keyed/support.hpp"
#include "support/fault_loop.hpp"

using namespace keyed_test;
using weir::keyed;
using weir::keyed_overflow;
using weir_test::allocation_budget;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;

namespace {

/// Counts its uses, hands out a copy of what it owns, and never fades.
struct owning {
  explicit owning(int n) : owned{n} {}
  weir::outcome<int> try_acquire(std::uint64_t n) { return uses += static_cast<int>(n); }
  faulty owned;
  int uses = 0;
};

struct make {
  owning operator()(const faulty& key) const {
    fault::point("factory");
    return owning{key.value};
  }
};

using map_type = keyed<faulty, owning>;

struct operation {
  std::string_view name;
  void (*run)(map_type&);
  bool uses = false;  // user code runs after the key is there
};

/// Keys 1 and 2 are there and have been used once; there is no room for more.
constexpr std::array operations{
    operation{"acquire for a new key", [](map_type& m) { (void)m.try_acquire(faulty{3}, 0); }},
    operation{"acquire for an old key", [](map_type& m) { (void)m.try_acquire(faulty{1}, 0); }},
    operation{"pin a new key", [](map_type& m) { (void)m.pin(faulty{3}); }},
    operation{"find", [](map_type& m) { (void)m.find(faulty{1}); }},
    operation{"erase", [](map_type& m) { m.erase(faulty{1}); }},
    operation{"use a new key",
              [](map_type& m) {
                (void)m.with(faulty{3}, [](owning& o) -> const faulty& {
                  fault::point("function");
                  return o.owned;
                });
              },
              true},
    operation{"use an old key",
              [](map_type& m) { (void)m.with(faulty{2}, [](owning&) { fault::point("function"); }); }, true},
};

bool adds_up(const weir::keyed_stats& s) {
  return s.created == s.keys + s.evicted_as_new + s.evicted_forced + s.erased;
}

int walk(std::string_view kind, const operation& op, keyed_overflow when_full) {
  return fault_loop("keyed", kind, [&](fault& next) {
    INFO(op.name);
    map_type map{{.max_keys = 2, .shards = 1, .when_full = when_full}, make{}};
    for (const int key : {1, 2}) (void)map.try_acquire(faulty{key}, 1);
    const bool thrown = next.strike_through([&] { op.run(map); });
    CHECK(adds_up(map.stats()));
    CHECK(map.stats().keys <= 2);
    if (thrown && !op.uses) {
      CHECK(map.stats().created == 2);
      CHECK(map.stats().erased == 0);
      CHECK(map.stats().refused == 0);
      CHECK(map.stats().untracked == 0);
      for (const int key : {1, 2}) CHECK(*map.try_acquire(faulty{key}, 0) == 1);
    }
    op.run(map);  // works now
    CHECK(adds_up(map.stats()));
  });
}

}  // namespace

TEST_CASE("whatever throws on the way to a component, the map is as it was", "[keyed][fault]") {
  for (const char* const kind :
       {"allocation", "copy", "move", "hash", "compare", "factory", "function", "assign"}) {
    for (const auto when_full :
         {keyed_overflow::evict_oldest, keyed_overflow::fail_closed, keyed_overflow::fail_open}) {
      int walked = 0;
      for (const operation& op : operations) walked += walk(kind, op, when_full);
      const std::string_view which{kind};
      const bool none_is_made = when_full == keyed_overflow::fail_closed && which != "hash" &&
                                which != "compare" && which != "function";
      const bool never = which == "assign" || none_is_made;
      CHECK((walked == 0) == never);
    }
  }
}

TEST_CASE("a construction that fails leaks nothing and says so", "[keyed][fault]") {
  const auto walk_construction = [](const char* kind) {
    return fault_loop("keyed", kind, [](fault& next) {
      const auto owning_maker = [owned = faulty{1}](int n) { return tally{n + owned.value}; };
      bool made = false;
      const bool thrown = next.strike_through([&] {
        keyed<int, tally> map{{.shards = 3}, owning_maker};
        made = map.size_approx() == 0;
      });
      CHECK(made != thrown);
    });
  };
  CHECK(walk_construction("allocation") >= 4);
  CHECK(walk_construction("copy") >= 1);
  CHECK(walk_construction("move") >= 1);
}

TEST_CASE("a table that cannot grow serves as well", "[keyed][fault]") {
  keyed<int, tally> map{{.max_keys = 1000, .shards = 1}, [](int) { return tally{0}; }};
  for (int key = 0; key < 300; ++key) {
    // Enough for the node of the key and not for a wider table.
    const allocation_budget limit{1};
    (void)map.try_acquire(key, static_cast<std::uint64_t>(key));
  }
  CHECK(map.size_approx() == 300);
  for (int key = 0; key < 300; ++key) CHECK(*map.try_acquire(key, 0) == key);
}

TEST_CASE("two make the component of one key: what throws for one does not touch the other's",
          "[keyed][fault]") {
  for (const char* const kind : {"factory", "compare", "copy", "move", "hash", "allocation"}) {
    const int faults = fault_loop("keyed", kind, [](fault& next) {
      std::atomic<int> calls = 0;
      std::atomic<bool> gone = false;
      std::latch overtaken{1};
      keyed<faulty, owning> map{{.max_keys = 4, .shards = 1}, [&](const faulty& key) {
                                  if (++calls == 1) {
                                    overtaken.wait();
                                    fault::point("factory");
                                  }
                                  return owning{key.value};
                                }};
      auto slow = std::async(std::launch::async, [&] {
        const bool thrown = next.strike([&] { (void)map.try_acquire(faulty{1}, 1); });
        gone = true;
        return thrown;
      });
      while (calls == 0 && !gone) std::this_thread::yield();
      if (calls == 0) ++calls;  // it failed before it called: nobody is to wait
      CHECK(*map.try_acquire(faulty{1}, 10) == 10);
      overtaken.count_down();
      const bool thrown = slow.get();
      CHECK(thrown == next.happened());
      CHECK(map.stats().created == 1);
      CHECK(*map.try_acquire(faulty{1}, 0) == (thrown ? 10 : 11));
    });
    CHECK(faults >= 1);
  }
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
