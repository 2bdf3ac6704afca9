// SPDX-License-Identifier: BSL-1.0
// What a cache asks of its types, and what it refuses, at compile time.
#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support.hpp"

namespace {

/// A key that can be copied, moved, hashed and compared, and nothing else.
struct bare_key {
  explicit bare_key(int n) : id{n} {}
  int id;
};
struct bare_traits {
  struct hash {
    std::size_t operator()(const bare_key& k) const { return static_cast<std::size_t>(k.id); }
  };
  struct equal {
    bool operator()(const bare_key& a, const bare_key& b) const { return a.id == b.id; }
  };
  using listener = weir::no_removal_listener;
};
using bare_cache = weir::ttl_cache<bare_key, std::unique_ptr<int>, weir::steady_clock, bare_traits>;

using text_cache = weir::ttl_cache<std::string, int>;
static_assert(!std::is_copy_constructible_v<text_cache> && !std::is_move_constructible_v<text_cache>);
static_assert(weir::removal_listener<weir::no_removal_listener, int, int>);

struct throwing_listener {
  void on_removed(const int&, const int&, weir::removal_cause) {}
};
static_assert(!weir::removal_listener<throwing_listener, int, int>, "a listener must not throw");

template <class C, class K>
concept can_get = requires(C& c, const K& k) { c.get(k); };
static_assert(can_get<text_cache, const char*>, "what converts to the key finds it");
static_assert(!can_get<text_cache, int>);
static_assert(!can_get<bare_cache, int>, "an explicit conversion is not made behind the caller's back");

static_assert(!can_get<weir::ttl_cache<int, std::unique_ptr<int>>, int>, "get gives back a copy");

/// Finds strings by a view, but cannot tell which of the two a literal is to be.
struct picky_traits : weir::ttl_cache_traits<std::string> {
  struct hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept { return s.size(); }
    std::size_t operator()(const std::string& s) const noexcept { return s.size(); }
  };
  using equal = std::equal_to<>;
};
using picky_cache = weir::ttl_cache<std::string, int, weir::steady_clock, picky_traits>;
static_assert(can_get<picky_cache, std::string_view> && can_get<picky_cache, const char*>);
static_assert(!can_get<picky_cache, int>, "transparent is not everything");

template <class C, class L>
concept can_load = requires(C& c, L& l) { c.get_or_load(std::string{}, l); };
static_assert(can_load<text_cache, int (*)()>);
static_assert(can_load<text_cache, int (*)(const std::string&)>);
static_assert(can_load<text_cache, std::optional<int> (*)(const std::string&, std::stop_token)>);
static_assert(can_load<text_cache, weir::outcome<weir::loaded<int>> (*)(std::stop_token)>);
static_assert(!can_load<text_cache, int (*)(std::string, std::string)>);

/// Keys are numbers whose meaning is in a table elsewhere.
struct by_table {
  const std::vector<int>& table;
  bool operator()(int a, int b) const {
    return table[static_cast<std::size_t>(a)] == table[static_cast<std::size_t>(b)];
  }
};
struct by_table_traits : weir::ttl_cache_traits<int> {
  struct hash {
    std::size_t operator()(int) const noexcept { return 1; }
  };
  using equal = by_table;
};

}  // namespace

TEST_CASE("an equality that cannot be assigned, because it refers to something, will do", "[ttl_cache]") {
  const std::vector<int> table{5, 6, 5};
  weir::ttl_cache<int, int, weir::steady_clock, by_table_traits> c{
      {.max_entries = 2}, {}, {}, {}, by_table{table}};
  CHECK(c.insert(0, 50));
  CHECK(c.get(2) == 50);
  CHECK(**c.get_or_load(1, [] { return 60; }) == 60);
  c.invalidate_all();
  CHECK(c.size() == 0);
  CHECK(c.insert(2, 51));
  CHECK(c.get(0) == 51);
}

TEST_CASE("what a transparent hash cannot take is converted to the key", "[ttl_cache]") {
  picky_cache c{{.max_entries = 2}};
  CHECK(c.insert("one", 1));
  CHECK(c.get("one") == 1);
  CHECK(c.get(std::string_view{"one"}) == 1);
  CHECK(c.get(std::string{"one"}) == 1);
  CHECK(**c.get_or_load("three", [] { return 3; }) == 3);
  CHECK(c.erase("three"));
}

TEST_CASE("a value that cannot be copied can be stored and visited", "[ttl_cache]") {
  bare_cache c{{.max_entries = 2}};
  CHECK(c.insert(bare_key{1}, std::make_unique<int>(7)));
  CHECK(c.try_emplace(bare_key{2}, new int{8}));
  int sum = 0;
  c.for_each([&](const bare_key&, const std::unique_ptr<int>& v) { sum += *v; });
  CHECK(sum == 15);
  CHECK(c.visit(bare_key{1}, [&](const std::unique_ptr<int>& v) { sum = *v; }));
  CHECK(sum == 7);
  CHECK(c.compute(bare_key{1}, [](const std::unique_ptr<int>* v) { return std::make_unique<int>(**v + 1); }));
  CHECK(c.invalidate_if([](const bare_key&, const std::unique_ptr<int>& v) { return *v == 8; }) == 2);
}

TEST_CASE("an optional can be a value", "[ttl_cache]") {
  weir::ttl_cache<int, std::optional<int>> c{{.max_entries = 2, .negative_ttl = std::chrono::hours{1}}};
  const auto empty = c.get_or_load(1, [] { return std::optional<int>{}; });
  CHECK(empty->source == weir::lookup_source::loaded);
  CHECK(empty->value == std::optional<std::optional<int>>{std::optional<int>{}});
  CHECK(c.size() == 1);
  const auto none = c.get_or_load(2, [] { return std::optional<std::optional<int>>{}; });
  CHECK(none->source == weir::lookup_source::negative);
  CHECK(c.size() == 1);
}
