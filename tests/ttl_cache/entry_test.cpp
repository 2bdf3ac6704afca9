// SPDX-License-Identifier: BSL-1.0
// Entries without loading: bound, expiry, writes, causes.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;
using weir::duration;
using weir::removal_cause;
using weir::time_point;
using weir::ttl_cache_options;
using weir_test::logged_cache;
using weir_test::manual_clock;
using cache = logged_cache<std::string, int>;
using log = weir_test::removal_log<std::string, int>;

namespace {

template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing";
}

/// A listener that calls the cache back.
struct reentrant {
  struct traits;
  using cache = weir::ttl_cache<int, std::shared_ptr<int>, weir::steady_clock, traits>;
  struct listener {
    cache** inside = nullptr;
    int* told = nullptr;
    void on_removed(const int& key, const std::shared_ptr<int>&, removal_cause) noexcept;
  };
  struct traits : weir::ttl_cache_traits<int> {
    using listener = reentrant::listener;
  };
};

void reentrant::listener::on_removed(const int& key, const std::shared_ptr<int>&, removal_cause) noexcept {
  if (*inside == nullptr) return;
  ++*told;
  (void)(*inside)->get(key);
  (*inside)->maintain();
  (*inside)->set_ttl(key, 1h);
}

}  // namespace

TEST_CASE("a table of operations in time gives the results it must", "[ttl_cache]") {
  enum class op { put, get, size };
  struct row {
    duration at;
    op what;
    std::string key;
    std::optional<int> value;  // put: stored; get and size: expected, empty for a miss
  };
  struct table {
    std::string name;
    std::vector<row> rows;
  };
  const std::vector<table> tables{
      {"CA-01: expiry is at exactly ttl",
       {{0s, op::put, "a", 1},
        {9s, op::get, "a", 1},
        {10s - 1ns, op::get, "a", 1},
        {10s, op::get, "a", std::nullopt},
        {10s, op::size, "", 0}}},
      {"CA-02: least recently used goes first, expired ones before it",
       {{0s, op::put, "a", 1},
        {1s, op::put, "b", 2},
        {2s, op::get, "a", 1},
        {3s, op::put, "c", 3},
        {3s, op::get, "b", std::nullopt},
        {3s, op::get, "a", 1},
        {10500ms, op::put, "d", 4},
        {10500ms, op::get, "c", 3},
        {10500ms, op::get, "d", 4}}},
      {"CA-04: put renews",
       {{0s, op::put, "a", 1},
        {8s, op::put, "a", 2},
        {12s, op::get, "a", 2},
        {18s, op::get, "a", std::nullopt}}},
      {"CA-03: room is exact, the same key twice takes one place",  // row 27 of the peers' faults
       {{0s, op::put, "a", 1},
        {0s, op::put, "b", 2},
        {0s, op::put, "b", 3},
        {0s, op::size, "", 2},
        {0s, op::get, "b", 3},
        {0s, op::get, "a", 1}}}};
  for (const table& t : tables) {
    manual_clock clock;
    cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
    for (std::size_t n = 0; n < t.rows.size(); ++n) {
      const row& r = t.rows[n];
      INFO(t.name << ", row " << n);
      clock.set(time_point{r.at});
      if (r.what == op::put) {
        c.insert_or_assign(r.key, *r.value);
      } else if (r.what == op::get) {
        CHECK(c.get(r.key) == r.value);
      } else {
        CHECK(c.size() == static_cast<std::size_t>(*r.value));
      }
    }
  }
}

TEST_CASE("a bad option is refused with the name and the value", "[ttl_cache]") {
  manual_clock clock;
  const auto made = [&](const ttl_cache_options& o) { return thrown([&] { cache{o, clock.source()}; }); };
  CHECK(made({}) == "ttl_cache: max_entries must be positive, got 0");
  CHECK(made({.max_entries = 1, .expire_after_write = 0s}) ==
        "ttl_cache: expire_after_write must be positive, got 0 ns");
  CHECK(made({.max_entries = 1, .expire_after_access = -1ns}) ==
        "ttl_cache: expire_after_access must be positive, got -1 ns");
  CHECK(made({.max_entries = 1, .jitter = 1.0}).starts_with("ttl_cache: jitter must be in [0, 1), got 1"));
  CHECK(
      made({.max_entries = 1, .jitter = -0.1}).starts_with("ttl_cache: jitter must be in [0, 1), got -0.1"));
  CHECK(made({.max_entries = 1, .jitter = std::numeric_limits<double>::quiet_NaN()}) ==
        "ttl_cache: jitter must be in [0, 1), got nan");
  CHECK(made({.max_entries = 1, .negative_ttl = 0s}) == "ttl_cache: negative_ttl must be positive, got 0 ns");
  CHECK(made({.max_entries = 1, .error_ttl = -5ns}) == "ttl_cache: error_ttl must be positive, got -5 ns");
  CHECK(made({.max_entries = 1, .stale_for = -1ns}) ==
        "ttl_cache: stale_for must not be negative, got -1 ns");
  CHECK(made({.max_entries = 1, .stale_if_error = -1ns}) ==
        "ttl_cache: stale_if_error must not be negative, got -1 ns");
  CHECK(made({.max_entries = 1, .load_lease = 0ns}) == "ttl_cache: load_lease must be positive, got 0 ns");
  CHECK(made({.max_entries = 1}) == "nothing");
}

TEST_CASE("a time to live that is not positive is refused and changes nothing", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  c.insert("a", 1);
  CHECK(thrown([&] { c.insert_or_assign("a", 2, 0s); }) == "ttl_cache: ttl must be positive, got 0 ns");
  CHECK(thrown([&] { c.set_ttl("a", -1ns); }) == "ttl_cache: ttl must be positive, got -1 ns");
  CHECK(thrown([&] { c.compute("a", [](const int*) { return weir::loaded<int>{3, 0s}; }); }) ==
        "ttl_cache: ttl must be positive, got 0 ns");
  CHECK(c.get("a") == 1);
}

TEST_CASE("insert keeps what is fresh, insert_or_assign replaces it, both say which", "[ttl_cache]") {
  manual_clock clock;
  log l;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source(), {&l}};
  CHECK(c.insert("a", 1));
  CHECK_FALSE(c.insert("a", 2));
  CHECK_FALSE(c.try_emplace("a", 2));
  CHECK(c.get("a") == 1);
  CHECK_FALSE(c.insert_or_assign("a", 3));
  CHECK(c.get("a") == 3);
  clock.advance(10s);
  CHECK(c.try_emplace("a", 4));  // what has expired is not in the way
  CHECK(c.get("a") == 4);
  CHECK(l.events ==
        std::vector<log::event>{{"a", 1, removal_cause::replaced}, {"a", 3, removal_cause::expired}});
}

TEST_CASE("a value may live shorter, longer or for ever, by a time of its own", "[ttl_cache]") {
  // rows 35 and 22
  manual_clock clock;
  cache c{{.max_entries = 4, .expire_after_write = 10s}, clock.source()};
  c.insert("short", 1, 1500us);
  c.insert("long", 2, 20s);
  c.insert("ever", 3, duration::max());
  clock.advance(1500us - 1ns);
  CHECK(c.contains("short"));
  clock.advance(1ns);
  CHECK_FALSE(c.contains("short"));
  clock.advance(15s);
  CHECK(c.contains("long"));
  clock.set(time_point::max() - 1ns);
  CHECK_FALSE(c.contains("long"));
  CHECK(c.contains("ever"));
}

TEST_CASE("without a limit nothing expires", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  c.insert("a", 1);
  clock.advance(1000000h);
  CHECK(c.get("a") == 1);
  CHECK(c.maintain() == 0);
}

TEST_CASE("the life of a value can be changed without rewriting it", "[ttl_cache]") {
  // rows 42 and 9
  manual_clock clock;
  log l;
  cache c{{.max_entries = 2}, clock.source(), {&l}};
  c.insert("a", 1);
  CHECK(c.set_ttl("a", 5s));
  CHECK_FALSE(c.set_ttl("b", 5s));
  clock.advance(5s);
  CHECK_FALSE(c.set_ttl("a", 5s));
  CHECK(l.events.empty());
  CHECK(c.maintain() == 1);
  CHECK(l.events == std::vector<log::event>{{"a", 1, removal_cause::expired}});
}

TEST_CASE("a read extends a life that is limited by access, at once and only within its write limit",
          "[ttl_cache]") {
  // row 28
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s, .expire_after_access = 4s}, clock.source()};
  c.insert("a", 1);
  clock.advance(3s);
  CHECK(c.get("a") == 1);
  clock.advance(3s);
  CHECK(c.visit("a", [](int v) { (void)v; }));
  clock.advance(3s);
  CHECK(c.contains("a"));  // looks, does not extend
  CHECK(c.get("a") == 1);
  clock.advance(1s);
  CHECK_FALSE(c.get("a"));
}

TEST_CASE("an expired value is missed, counted and reported once", "[ttl_cache]") {
  // row 37
  manual_clock clock;
  log l;
  cache c{{.max_entries = 2, .expire_after_write = 1s}, clock.source(), {&l}};
  c.insert("a", 1);
  clock.advance(1s);
  CHECK_FALSE(c.get("a"));
  CHECK_FALSE(c.visit("a", [](int) {}));
  CHECK(c.maintain() == 1);
  CHECK(c.maintain() == 0);
  CHECK(c.stats().expired == 1);
  CHECK(c.stats().misses == 2);
  CHECK(l.events.size() == 1);
}

TEST_CASE("whatever removes an expired value, its cause is expiry and it is reported once", "[ttl_cache]") {
  // row 7
  manual_clock clock;
  log l;
  cache c{{.max_entries = 1, .expire_after_write = 1s}, clock.source(), {&l}};
  const auto expire = [&] {
    c.insert_or_assign("a", 1);
    clock.advance(1s);
    l.events.clear();
  };
  expire();
  SECTION("erase") { CHECK_FALSE(c.erase("a")); }
  SECTION("replace") { CHECK(c.insert_or_assign("a", 2)); }
  SECTION("room") { CHECK(c.insert("b", 2)); }
  SECTION("invalidate_all") { c.invalidate_all(); }
  SECTION("invalidate_if") {
    CHECK(c.invalidate_if([](const std::string&, int) { return true; }) == 0);
  }
  SECTION("maintain") { c.maintain(); }
  CHECK(l.events == std::vector<log::event>{{"a", 1, removal_cause::expired}});
}

TEST_CASE("every way to leave has its cause", "[ttl_cache]") {
  manual_clock clock;
  log l;
  {
    cache c{{.max_entries = 1, .expire_after_write = 1s}, clock.source(), {&l}};
    c.insert("a", 1);
    c.insert_or_assign("a", 2);
    c.insert("b", 3);
    CHECK(c.erase("b"));
    CHECK_FALSE(c.invalidate("b"));
    c.insert("c", 4);
    c.invalidate_all();
    c.insert("d", 5);
    CHECK(c.invalidate_if([](const std::string& k, int) { return k == "d"; }) == 1);
    c.insert("e", 6);
    CHECK_FALSE(c.compute("e", [](const int*) { return std::optional<int>{}; }));
    c.insert("f", 7);
    const weir::ttl_cache_stats s = c.stats();
    CHECK(s.explicit_ == 4);
    CHECK(s.replaced == 1);
    CHECK(s.evicted == 1);
    CHECK(s.entries == 1);
  }
  CHECK(l.events == std::vector<log::event>{{"a", 1, removal_cause::replaced},
                                            {"a", 2, removal_cause::evicted},
                                            {"b", 3, removal_cause::explicit_},
                                            {"c", 4, removal_cause::explicit_},
                                            {"d", 5, removal_cause::explicit_},
                                            {"e", 6, removal_cause::explicit_},
                                            {"f", 7, removal_cause::explicit_}});
}

TEST_CASE("an entry written again after it was expired survives maintenance", "[ttl_cache]") {
  // row 1
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 1s}, clock.source()};
  c.insert("a", 1);
  clock.advance(1s);
  c.insert("a", 2);
  CHECK(c.maintain() == 0);
  CHECK(c.get("a") == 2);
}

TEST_CASE("a new value is given the life of the cache, not the one of its predecessor", "[ttl_cache]") {
  // row 30
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  c.insert("a", 1, 1s);
  c.insert_or_assign("a", 2);
  clock.advance(9s);
  CHECK(c.get("a") == 2);
}

TEST_CASE("the bound is exact under sustained writes, and nothing goes before it is reached", "[ttl_cache]") {
  // rows 2 and 32
  manual_clock clock;
  weir::ttl_cache<int, int, manual_clock::view> c{{.max_entries = 100, .expire_after_write = 50s},
                                                  clock.source()};
  for (int n = 0; n < 100; ++n) c.insert(n, n);
  CHECK(c.size() == 100);
  CHECK(c.stats().evicted == 0);
  bool bounded = true;
  for (int n = 0; n < 5000; ++n) {
    clock.advance(100ms);
    c.insert_or_assign(n % 3 == 0 ? n % 50 : n, n, n % 7 == 0 ? 1ms : 1000s);
    bounded = bounded && c.stats().entries <= 100 && c.contains(n % 3 == 0 ? n % 50 : n);  // row 36
  }
  CHECK(bounded);
  CHECK(c.stats().entries == 100);
}

TEST_CASE("maintenance reclaims no more than its budget, the longest expired first", "[ttl_cache]") {
  manual_clock clock;
  log l;
  cache c{{.max_entries = 8}, clock.source(), {&l}};
  c.insert("c", 3, 3s);
  c.insert("a", 1, 1s);
  c.insert("b", 2, 2s);
  c.insert("d", 4, 4s);
  clock.advance(3s);
  CHECK(c.maintain(2) == 2);
  CHECK(l.events ==
        std::vector<log::event>{{"a", 1, removal_cause::expired}, {"b", 2, removal_cause::expired}});
  CHECK(c.maintain() == 1);
  CHECK(c.stats().entries == 1);
}

TEST_CASE("time does not run back for a cache", "[ttl_cache]") {
  // row 24
  manual_clock clock{time_point{100s}};
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  c.insert("a", 1);
  clock.set(time_point{50s});
  CHECK(c.get("a") == 1);
  c.insert("b", 2);  // lives from 100 s, not from 50 s
  clock.set(time_point{109s});
  CHECK(c.get("a") == 1);
  CHECK(c.get("b") == 2);
  clock.set(time_point{110s});
  CHECK_FALSE(c.get("a"));
  clock.set(time_point{60s});
  CHECK_FALSE(c.get("a"));
}

TEST_CASE("compute sees what is fresh, writes what it gives back and keeps other entries", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2, .expire_after_write = 10s}, clock.source()};
  const auto add = [](const int* there) { return there ? *there + 1 : 1; };
  CHECK(c.compute("a", add));
  CHECK(c.compute("a", add));
  CHECK(c.get("a") == 2);
  clock.advance(10s);
  CHECK(c.compute("a", add));
  CHECK(c.get("a") == 1);
  CHECK_FALSE(c.compute("a", [](const int*) { return std::nullopt; }));
  CHECK_FALSE(c.contains("a"));
  CHECK(c.compute("a", [](const int*) { return weir::loaded<int>{7, 1s}; }));
  clock.advance(1s);
  CHECK_FALSE(c.contains("a"));
}

TEST_CASE("compute runs again when the entry changed under it", "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 2}, clock.source()};
  int runs = 0;
  c.compute("a", [&](const int* there) {
    if (++runs == 1) c.insert("a", 10);
    return there ? *there + 1 : 1;
  });
  CHECK(runs == 2);
  CHECK(c.get("a") == 11);
}

TEST_CASE("iteration, size and contains pass over the expired", "[ttl_cache]") {
  // row 43
  manual_clock clock;
  cache c{{.max_entries = 4}, clock.source()};
  c.insert("a", 1, 1s);
  c.insert("b", 2, 5s);
  c.insert("c", 3);
  clock.advance(1s);
  CHECK(c.size() == 2);
  CHECK_FALSE(c.contains("a"));
  std::vector<std::string> seen;
  c.for_each([&](const std::string& k, int) {
    seen.push_back(k);
    c.erase(k);  // may call the cache
  });
  CHECK(seen == std::vector<std::string>{"c", "b"});
  CHECK(c.size() == 0);
}

TEST_CASE("invalidation catches what was written just before it", "[ttl_cache]") {
  // row 25
  manual_clock clock;
  cache c{{.max_entries = 4}, clock.source()};
  c.insert("a", 1);
  c.insert("b", 2);
  CHECK(c.invalidate_if([](const std::string&, int v) { return v == 2; }) == 1);
  CHECK(c.size() == 1);
  c.insert("b", 3);
  c.invalidate_all();
  CHECK(c.size() == 0);
  c.insert("b", 4);
  CHECK(c.get("b") == 4);
}

TEST_CASE("a value that is visited outlives its removal", "[ttl_cache]") {
  // row 44
  manual_clock clock;
  weir::ttl_cache<int, std::shared_ptr<int>, manual_clock::view> c{{.max_entries = 1}, clock.source()};
  c.insert(1, std::make_shared<int>(7));
  int seen = 0;
  c.visit(1, [&](const std::shared_ptr<int>& v) {
    c.insert(2, nullptr);
    c.invalidate_all();
    seen = *v;
  });
  CHECK(seen == 7);
}

TEST_CASE("one hash for all keys never gives the value of another", "[ttl_cache]") {
  // row 34
  struct colliding : weir::ttl_cache_traits<std::string> {
    struct hash {
      std::size_t operator()(const std::string&) const noexcept { return 1; }
    };
  };
  weir::ttl_cache<std::string, std::string, weir::steady_clock, colliding> c{{.max_entries = 50}};
  for (int n = 0; n < 100; ++n) c.insert(std::to_string(n), std::to_string(n));
  int right = 0;
  for (int n = 50; n < 100; ++n) right += c.get(std::to_string(n)) == std::to_string(n) ? 1 : 0;
  CHECK(right == 50);
  CHECK_FALSE(c.get("0"));
}

TEST_CASE("a transparent hash and equality find without making a key", "[ttl_cache]") {
  struct transparent : weir::ttl_cache_traits<std::string> {
    struct hash {
      using is_transparent = void;
      std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    using equal = std::equal_to<>;
  };
  weir::ttl_cache<std::string, int, weir::steady_clock, transparent> c{{.max_entries = 4}};
  c.insert("a", 1);
  CHECK(c.get(std::string_view{"a"}) == 1);
  CHECK(c.visit("a", [](int) {}));
  CHECK(c.get_or_load(std::string_view{"b"}, [](const std::string& k) {
           return static_cast<int>(k.size());
         })->value == 1);
  CHECK(c.set_ttl(std::string_view{"b"}, 5min));
  CHECK(c.compute(std::string_view{"b"}, [](const int* v) { return *v + 1; }));
  CHECK(c.contains(std::string_view{"b"}));
  CHECK(c.erase(std::string_view{"b"}));
}

TEST_CASE("a cache can be reconfigured: a smaller one evicts, what is there keeps its expiry",
          "[ttl_cache]") {
  manual_clock clock;
  cache c{{.max_entries = 4, .expire_after_write = 10s}, clock.source()};
  c.insert("a", 1);
  c.insert("b", 2);
  c.insert("c", 3);
  CHECK(thrown([&] { c.reconfigure({}); }) == "ttl_cache: max_entries must be positive, got 0");
  c.reconfigure({.max_entries = 2, .expire_after_write = 1s});
  CHECK_FALSE(c.contains("a"));
  CHECK(c.size() == 2);
  c.insert_or_assign("c", 4);
  clock.advance(9s);
  CHECK(c.contains("b"));
  CHECK_FALSE(c.contains("c"));
}

TEST_CASE("jitter spreads the life of many over its whole width and no further", "[ttl_cache]") {
  // CA-05
  manual_clock clock;
  const auto lives = [&](std::uint64_t seed) {
    clock.set(time_point{});
    weir::ttl_cache<int, int, manual_clock::view> c{
        {.max_entries = 1000, .expire_after_write = 10s, .jitter = 0.1, .seed = seed}, clock.source()};
    for (int n = 0; n < 1000; ++n) c.insert(n, n);
    std::vector<std::size_t> left;
    for (int tick = 0; tick <= 20; ++tick) {
      clock.set(time_point{9s + tick * 100ms});
      left.push_back(c.size());
    }
    return left;
  };
  const std::vector<std::size_t> left = lives(1);
  CHECK(left.front() == 1000);
  CHECK(left.back() == 0);
  for (std::size_t n = 1; n < left.size(); ++n) CHECK(left[n - 1] - left[n] > 20);  // 50 on average
  CHECK(lives(1) == left);
  CHECK(lives(2) != left);
}

TEST_CASE("a life that is given with the value is not jittered", "[ttl_cache]") {
  manual_clock clock;
  weir::ttl_cache<int, int, manual_clock::view> c{
      {.max_entries = 100, .expire_after_write = 1s, .jitter = 0.5}, clock.source()};
  for (int n = 0; n < 100; ++n) c.insert(n, n, 10s);
  clock.advance(10s - 1ns);
  CHECK(c.size() == 100);
  clock.advance(1ns);
  CHECK(c.size() == 0);
}

TEST_CASE("the listener and the destructor of a value may call the cache", "[ttl_cache]") {
  // row 20
  reentrant::cache* inside = nullptr;
  int told = 0;
  int destroyed = 0;
  const auto value = [&] {
    return std::shared_ptr<int>{new int{1}, [&](const int* p) {
                                  delete p;
                                  ++destroyed;
                                  inside->insert_or_assign(99, nullptr);
                                }};
  };
  reentrant::cache c{{.max_entries = 2}, {}, {&inside, &told}};
  inside = &c;
  c.insert(1, value());
  c.insert_or_assign(1, value());
  c.erase(1);
  CHECK(destroyed == 2);
  c.insert(2, value());
  c.invalidate_all();
  CHECK(destroyed == 3);
  CHECK(told >= 3);
  inside = nullptr;
}
