// SPDX-License-Identifier: BSL-1.0
// Whatever throws, wherever it throws: the cache is as before and goes on.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "support.hpp"
#include "support/fault_loop.hpp"
#include "support/shared_call.hpp"

using namespace std::chrono_literals;
using weir::lookup_source;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;
using weir_test::manual_clock;
using weir_test::share_a_call;
using weir_test::struck;

namespace {

/// How often each value was reported, by its number.
using reports = std::array<int, 64>;

struct counting {
  reports* told = nullptr;
  void on_removed(const faulty&, const faulty& value, weir::removal_cause) const noexcept {
    if (told != nullptr) ++(*told)[static_cast<std::size_t>(value.value)];
  }
};

struct angry {
  void on_removed(const faulty&, const faulty&, weir::removal_cause) const;
};
static_assert(!weir::removal_listener<angry, faulty, faulty>, "a listener that may throw is refused");

struct counting_traits : weir::ttl_cache_traits<faulty> {
  using listener = counting;
};
using cache = weir::ttl_cache<faulty, faulty, faulty_clock, counting_traits>;

std::map<int, int> content(const cache& c) {
  std::map<int, int> all;
  c.for_each([&](const faulty& k, const faulty& v) { all.emplace(k.value, v.value); });
  return all;
}

struct operation {
  std::string_view name;
  void (*run)(cache&);
  bool reads = false;  // changes nothing that can be seen even if it succeeds
};

/// Keys 1 to 20 may be there, with values of the same number; those from 30 on are not.
constexpr std::array operations{
    operation{"insert a new key", [](cache& c) { c.insert(faulty{31}, faulty{41}); }},
    operation{"insert an old key", [](cache& c) { c.insert(faulty{1}, faulty{42}); }, true},
    operation{"replace", [](cache& c) { c.insert_or_assign(faulty{1}, faulty{43}, 2h); }},
    operation{"try_emplace", [](cache& c) { c.try_emplace(faulty{32}, 44); }},
    operation{"compute a new key",
              [](cache& c) {
                c.compute(faulty{33}, [](const faulty*) { return fault::point("function"), faulty{45}; });
              }},
    operation{"compute an old key",
              [](cache& c) {
                c.compute(faulty{2}, [](const faulty*) { return fault::point("function"), faulty{46}; });
              }},
    operation{"compute none",
              [](cache& c) { c.compute(faulty{2}, [](const faulty*) { return std::optional<faulty>{}; }); }},
    operation{
        "load",
        [](cache& c) { (void)c.get_or_load(faulty{34}, [] { return fault::point("loader"), faulty{47}; }); }},
    operation{"load with a stop",
              [](cache& c) {
                (void)c.get_or_load(faulty{34}, [](std::stop_token) {
                  return fault::point("loader"), weir::outcome<faulty>{std::in_place, 47};
                });
              }},
    operation{"load what must not be stored",
              [](cache& c) {
                (void)c.get_or_load(
                    faulty{35}, [] { return fault::point("loader"), weir::loaded<faulty>{faulty{48}, 0s}; });
              },
              true},
    operation{"load none",
              [](cache& c) {
                (void)c.get_or_load(faulty{36}, [] { return fault::point("loader"), std::nullopt; });
              }},
    operation{"get_or_load what is there",
              [](cache& c) { (void)c.get_or_load(faulty{1}, [] { return faulty{49}; }); }, true},
    operation{"erase", [](cache& c) { c.erase(faulty{3}); }},
    operation{"invalidate_if",
              [](cache& c) {
                c.invalidate_if(
                    [](const faulty& k, const faulty&) { return fault::point("predicate"), k.value < 4; });
              }},
    operation{"invalidate_all", [](cache& c) { c.invalidate_all(); }},
    operation{"get", [](cache& c) { (void)c.get(faulty{1}); }, true},
    operation{"visit", [](cache& c) { c.visit(faulty{1}, [](const faulty&) { fault::point("visitor"); }); },
              true},
    operation{"for_each",
              [](cache& c) { c.for_each([](const faulty&, const faulty&) { fault::point("visitor"); }); },
              true},
    operation{"contains", [](cache& c) { (void)c.contains(faulty{1}); }, true},
    operation{"set_ttl", [](cache& c) { c.set_ttl(faulty{1}, 1h); }, true},
    operation{"maintain", [](cache& c) { c.maintain(); }, true},
    operation{"reconfigure", [](cache& c) { c.reconfigure({.max_entries = 5}); }},
};

/// Walks the faults of one operation on a cache that holds so many values.
int walk(std::string_view kind, const operation& op, int held) {
  return fault_loop("ttl_cache", kind, [&](fault& next) {
    INFO(op.name << " with " << held << " entries");
    manual_clock clock;
    reports told{};
    {
      cache c{
          {.max_entries = 20, .expire_after_write = 1h, .negative_ttl = 1h}, faulty_clock{clock}, {&told}};
      for (int n = 1; n <= held; ++n) c.insert(faulty{n}, faulty{n});
      const std::map<int, int> before = content(c);
      const bool thrown = next.strike_through([&] { op.run(c); });
      // The copies for the caller come after a load: the value is then there.
      const bool stored = c.contains(faulty{34}) && thrown;
      if ((thrown && !stored) || op.reads) CHECK(content(c) == before);
      CHECK(c.stats().in_flight == 0);
      CHECK(c.stats().entries <= 20);
      op.run(c);  // works now
      c.insert_or_assign(faulty{50}, faulty{50});
      CHECK(c.get(faulty{50})->value == 50);
    }
    for (int n = 1; n <= held; ++n) CHECK(told[static_cast<std::size_t>(n)] == 1);
    CHECK(told[50] == 1);
  });
}

}  // namespace

TEST_CASE("an allocation that fails leaves the cache as it was, at any allocation of any operation",
          "[ttl_cache][fault]") {
  int walked = 0;
  for (const operation& op : operations) {
    // Around the growth of the index and of the expiry heap.
    for (const int held : {12, 13, 14, 16, 20}) walked += walk("allocation", op, held);
  }
  CHECK(walked > 100);
}

TEST_CASE("a throw of a key, a value or a function leaves the cache as it was", "[ttl_cache][fault]") {
  for (const char* const kind :
       {"copy", "move", "hash", "compare", "loader", "function", "predicate", "visitor", "assign"}) {
    int walked = 0;
    for (const operation& op : operations) walked += walk(kind, op, 6);
    if (kind == std::string_view{"assign"}) {
      CHECK(walked == 0);
    } else {
      CHECK(walked >= 2);
    }
  }
}

TEST_CASE("a fault of one caller of a load is that caller's, and one of the load is everybody's",
          "[ttl_cache][fault]") {
  const auto walk_sides = [](const char* kind, struck who) {
    return fault_loop("ttl_cache", kind, [who](fault& next) {
      manual_clock clock;
      cache c{{.max_entries = 4}, faulty_clock{clock}};
      c.insert(faulty{3}, faulty{3});  // its hash is that of the key
      const faulty key{1};
      share_a_call(next, c, who,
                   [&](const auto& call) { return (**c.get_or_load(key, call, clock.now() + 1h)).value; });
    });
  };
  for (const char* const kind : {"allocation", "copy", "move", "hash", "compare", "work"}) {
    CHECK(walk_sides(kind, struck::leader) >= 1);
  }
  for (const char* const kind : {"allocation", "copy", "move", "hash", "compare", "timer"}) {
    CHECK(walk_sides(kind, struck::waiter) >= 1);
  }
}

TEST_CASE("a failure that cannot be remembered is thrown all the same, and a stale value stands in",
          "[ttl_cache][fault]") {
  struct no_answer {};  // needs no memory
  for (const bool stale : {false, true}) {
    for (const char* const kind : {"allocation", "copy", "move", "hash"}) {
      const int faults = fault_loop("ttl_cache", kind, [stale](fault& next) {
        manual_clock clock;
        cache c{{.max_entries = 4, .expire_after_write = 1s, .error_ttl = 1h, .stale_if_error = 1h},
                faulty_clock{clock}};
        const faulty key{1};
        if (stale) c.insert(faulty{1}, faulty{7});
        clock.advance(1s);
        int loads = 0;
        int stood_in = 0;
        const auto ask = [&] {
          try {
            const auto got = c.get_or_load(key, [&]() -> faulty {
              ++loads;
              throw no_answer{};
            });
            stood_in = (**got).value;
          } catch (const no_answer&) {
          }
        };
        const bool thrown = next.strike(ask);
        CHECK(loads <= 1);
        CHECK(c.stats().in_flight == 0);
        CHECK(c.stats().loads_failed == static_cast<std::uint64_t>(loads));
        CHECK(stood_in == (stale && !thrown ? 7 : 0));
        ask();
        CHECK(stood_in == (stale ? 7 : 0));
        CHECK((loads == 1 || (loads == 2 && next.happened())));  // remembered, if that was possible
      });
      CHECK(faults >= 1);
    }
  }
}

TEST_CASE("a loaded value that there is no memory to store is reported as rejected, once",
          "[ttl_cache][fault]") {
  int rejected = 0;
  const int faults = fault_loop("ttl_cache", "allocation", [&](fault& next) {
    manual_clock clock;
    reports told{};
    {
      cache c{{.max_entries = 20, .error_ttl = 1h}, faulty_clock{clock}, {&told}};
      const bool thrown =
          next.strike_through([&] { (void)c.get_or_load(faulty{1}, [] { return faulty{47}; }); });
      CHECK(c.contains(faulty{1}) != thrown);
      CHECK(c.stats().rejected == static_cast<std::uint64_t>(told[47]));
      rejected += told[47];
    }
    CHECK(told[47] <= 1);
  });
  CHECK(rejected >= 2);  // no room in the index, or in the order of expiry
  CHECK(faults > rejected);
}

TEST_CASE("a write that fails does not overtake the load of its key that is running", "[ttl_cache][fault]") {
  constexpr std::array writes{
      operation{"insert", [](cache& c) { c.insert(faulty{1}, faulty{8}); }},
      operation{"insert_or_assign", [](cache& c) { c.insert_or_assign(faulty{1}, faulty{8}); }},
      operation{"try_emplace", [](cache& c) { c.try_emplace(faulty{1}, 8); }},
      operation{"compute", [](cache& c) { c.compute(faulty{1}, [](const faulty*) { return faulty{8}; }); }},
  };
  for (const char* const kind : {"allocation", "copy", "move", "hash", "compare"}) {
    int walked = 0;
    for (const operation& write : writes) {
      walked += fault_loop("ttl_cache", kind, [&](fault& next) {
        INFO(write.name);
        manual_clock clock;
        cache c{{.max_entries = 2}, faulty_clock{clock}};
        const auto load = [&] {
          next.strike_through([&] { write.run(c); });
          return faulty{7};
        };
        CHECK((**c.get_or_load(faulty{1}, load)).value == 7);
        REQUIRE(c.contains(faulty{1}));
        CHECK(c.get(faulty{1})->value == (next.happened() ? 7 : 8));
      });
    }
    CHECK(walked >= 1);
  }
}
