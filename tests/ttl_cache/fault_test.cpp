// SPDX-License-Identifier: BSL-1.0
// Whatever throws, wherever it throws: the cache is as before and goes on.
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <map>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support.hpp"
#include "support/failing_new.hpp"

using namespace std::chrono_literals;
using weir::lookup_source;
using weir_test::allocation_budget;
using weir_test::manual_clock;

namespace {

struct fault : std::runtime_error {
  fault() : std::runtime_error{"fault"} {}
};

/// Throws when it is told to, and counts how many are alive.
struct brittle {
  static inline int alive = 0;
  static inline bool copy_throws = false;
  static inline bool move_throws = false;
  static inline bool compare_throws = false;
  static inline bool hash_throws = false;

  explicit brittle(int v) : n{v} { ++alive; }
  brittle(const brittle& o) : n{o.n} {
    if (copy_throws) throw fault{};
    ++alive;
  }
  brittle(brittle&& o) : n{o.n} {  // NOLINT(performance-noexcept-move-constructor): the point of it
    if (move_throws) throw fault{};
    ++alive;
  }
  brittle& operator=(const brittle&) = delete;
  brittle& operator=(brittle&&) = delete;
  ~brittle() { --alive; }

  static void mend() { copy_throws = move_throws = compare_throws = hash_throws = false; }

  int n;
};

struct brittle_traits {
  struct hash {
    std::size_t operator()(const brittle& b) const {
      if (brittle::hash_throws) throw fault{};
      return static_cast<std::size_t>(b.n % 2);
    }
  };
  struct equal {
    bool operator()(const brittle& a, const brittle& b) const {
      if (brittle::compare_throws) throw fault{};
      return a.n == b.n;
    }
  };
  using listener = weir::no_removal_listener;
};
using cache = weir::ttl_cache<brittle, brittle, manual_clock::view, brittle_traits>;

std::map<int, int> content(const cache& c) {
  std::map<int, int> all;
  c.for_each([&](const brittle& k, const brittle& v) { all.emplace(k.n, v.n); });
  return all;
}

using operation = std::function<void(cache&)>;

const std::vector<std::pair<std::string, operation>>& operations() {
  static const std::vector<std::pair<std::string, operation>> all{
      {"insert a new key", [](cache& c) { c.insert(brittle{100}, brittle{1}); }},
      {"replace", [](cache& c) { c.insert_or_assign(brittle{1}, brittle{1000}); }},
      {"try_emplace", [](cache& c) { c.try_emplace(brittle{101}, 5); }},
      {"compute a new key",
       [](cache& c) { c.compute(brittle{102}, [](const brittle*) { return brittle{5}; }); }},
      {"compute an old key",
       [](cache& c) { c.compute(brittle{2}, [](const brittle*) { return brittle{5}; }); }},
      {"load", [](cache& c) { (void)c.get_or_load(brittle{103}, [] { return brittle{7}; }); }},
      {"load none", [](cache& c) { (void)c.get_or_load(brittle{104}, [] { return std::nullopt; }); }},
      {"erase", [](cache& c) { c.erase(brittle{3}); }},
      {"invalidate_if",
       [](cache& c) { c.invalidate_if([](const brittle& k, const brittle&) { return k.n < 4; }); }},
      {"get", [](cache& c) { (void)c.get(brittle{1}); }},
      {"set_ttl", [](cache& c) { c.set_ttl(brittle{1}, 1h); }},
  };
  return all;
}

}  // namespace

TEST_CASE("an allocation that fails leaves the cache as it was, at any allocation of any operation",
          "[ttl_cache]") {
  manual_clock clock;
  int walked = 0;
  for (const auto& [name, run] : operations()) {
    for (const int held : {12, 13, 14, 16, 20}) {  // around the growth of the index and of the expiry heap
      for (long k = 0;; ++k) {
        INFO(name << " with " << held << " entries, allocation " << k);
        bool hit = false;
        {
          cache c{{.max_entries = 20, .expire_after_write = 1h, .negative_ttl = 1h}, clock.source()};
          for (int n = 1; n <= held; ++n) c.insert(brittle{n}, brittle{n});
          const std::map<int, int> before = content(c);
          bool failed = false;
          {
            const allocation_budget budget{k};
            try {
              run(c);
            } catch (const std::bad_alloc&) {
              failed = true;
            }
            hit = allocation_budget::was_hit();
          }
          CHECK(failed == hit);
          if (failed) CHECK(content(c) == before);
          CHECK(c.stats().in_flight == 0);
          CHECK(c.stats().entries <= 20);
          run(c);  // works now
        }
        CHECK(brittle::alive == 0);
        if (!hit) break;
        ++walked;
      }
    }
  }
  CHECK(walked > 100);
}

TEST_CASE("a hash, comparison, copy or move that throws leaves the cache as it was", "[ttl_cache]") {
  manual_clock clock;
  int thrown = 0;
  for (bool* const trap :
       {&brittle::hash_throws, &brittle::compare_throws, &brittle::copy_throws, &brittle::move_throws}) {
    for (const auto& [name, run] : operations()) {
      INFO(name);
      {
        cache c{{.max_entries = 8, .expire_after_write = 1h, .negative_ttl = 1h}, clock.source()};
        for (int n = 1; n <= 6; ++n) c.insert(brittle{n}, brittle{n});
        const std::map<int, int> before = content(c);
        bool failed = false;
        *trap = true;
        try {
          run(c);
        } catch (const fault&) {
          failed = true;
        }
        brittle::mend();
        // A copy for the caller comes after the load: the value is then there.
        if (failed && content(c).count(103) == 0) CHECK(content(c) == before);
        CHECK(c.stats().in_flight == 0);
        thrown += failed ? 1 : 0;
        run(c);
      }
      CHECK(brittle::alive == 0);
    }
  }
  CHECK(thrown > 20);
}

TEST_CASE("a copy that throws for one caller of a load spares the others", "[ttl_cache]") {
  manual_clock clock;
  struct value {
    explicit value(int v) : n{v} {}
    value(const value& o) : n{o.n} {
      if (std::this_thread::get_id() == unlucky) throw fault{};
    }
    value(value&&) = default;
    value& operator=(const value&) = delete;
    value& operator=(value&&) = delete;
    ~value() = default;
    int n;
    std::thread::id unlucky = cursed();
    static std::thread::id& cursed() {
      static std::thread::id id;
      return id;
    }
  };
  weir::ttl_cache<int, value, manual_clock::view> c{{.max_entries = 2}, clock.source()};
  value::cursed() = std::this_thread::get_id();
  int got = 0;
  std::thread waiter;
  CHECK_THROWS_AS(
      c.get_or_load(1,
                    [&] {
                      waiter = std::thread{[&] { got = (**c.get_or_load(1, [] { return value{0}; })).n; }};
                      weir_test::await_joined(c, 1);
                      return value{7};
                    }),
      fault);
  waiter.join();
  CHECK(got == 7);
  CHECK(c.contains(1));
}

TEST_CASE("a predicate or a visitor that throws changes nothing", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 8}, clock.source()};
  for (int n = 1; n <= 4; ++n) c.insert(brittle{n}, brittle{n});
  const std::map<int, int> before = content(c);
  CHECK_THROWS_AS(
      c.invalidate_if([](const brittle& k, const brittle&) { return k.n == 2 ? throw fault{} : true; }),
      fault);
  CHECK_THROWS_AS(c.visit(brittle{1}, [](const brittle&) { throw fault{}; }), fault);
  CHECK_THROWS_AS(c.for_each([](const brittle&, const brittle&) { throw fault{}; }), fault);
  CHECK_THROWS_AS(c.compute(brittle{1}, [](const brittle*) -> brittle { throw fault{}; }), fault);
  CHECK(content(c) == before);
}

TEST_CASE("a write that fails does not overtake the load of its key that is running", "[ttl_cache]") {
  manual_clock clock;
  const std::vector<std::pair<std::string, operation>> writes{
      {"insert", [](cache& c) { c.insert(brittle{1}, brittle{8}); }},
      {"insert_or_assign", [](cache& c) { c.insert_or_assign(brittle{1}, brittle{8}); }},
      {"try_emplace", [](cache& c) { c.try_emplace(brittle{1}, 8); }},
      {"compute", [](cache& c) { c.compute(brittle{1}, [](const brittle*) { return brittle{8}; }); }},
  };
  int walked = 0;
  for (const auto& write : writes) {
    for (long k = 0;; ++k) {
      INFO(write.first << ", allocation " << k);
      cache c{{.max_entries = 2}, clock.source()};
      bool failed = false;
      const auto load = [&] {
        const allocation_budget budget{k};
        try {
          write.second(c);
        } catch (const std::bad_alloc&) {
          failed = true;
        }
        return brittle{7};
      };
      CHECK((**c.get_or_load(brittle{1}, load)).n == 7);
      REQUIRE(c.get(brittle{1}).has_value());
      CHECK(c.get(brittle{1})->n == (failed ? 7 : 8));
      if (!failed) break;
      ++walked;
    }
  }
  CHECK(walked > 8);
}
