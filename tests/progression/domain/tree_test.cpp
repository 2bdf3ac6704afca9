// SPDX-License-Identifier: BSL-1.0
#include "domain/tree.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace progression;
using Catch::Matchers::ContainsSubstring;

namespace {

node plain(std::string key, std::vector<std::string> prerequisites = {}) {
  node n;
  n.key = std::move(key);
  n.name = n.key;
  n.prerequisites = std::move(prerequisites);
  return n;
}

std::string fault_of(std::vector<node> nodes) {
  try {
    const tree t{std::move(nodes)};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no fault";
}

}  // namespace

TEST_CASE("a tree that is not valid is refused, with the node and the field named", "[progression]") {
  struct row {
    std::function<void(node&)> spoil;
    const char* field;
  };
  const row rows[] = {
      {[](node& n) { n.name.clear(); }, "name"},
      {[](node& n) { n.type = static_cast<node_type>(9); }, "type"},
      {[](node& n) { n.size = static_cast<node_size>(9); }, "size"},
      {[](node& n) { n.tier = -1; }, "tier"},
      {[](node& n) { n.tier = 100; }, "tier"},
      {[](node& n) { n.max_level = 0; }, "max_level"},
      {[](node& n) { n.max_level = 101; }, "max_level"},
      {[](node& n) { n.rate_per_level_milli = -1; }, "rate_per_level_milli"},
      {[](node& n) { n.prerequisites = {"nowhere"}; }, "prerequisites"},
      {[](node& n) { n.prerequisites = {"first", "first"}; }, "prerequisites"},
      {[](node& n) { n.prerequisites = {"second"}; }, "prerequisites"},
      {[](node& n) { n.dynamic = {total_unlocked{0}}; }, "dynamic_prerequisites"},
      {[](node& n) { n.dynamic = {unlocked_below_tier{-1, 1}}; }, "dynamic_prerequisites"},
      {[](node& n) { n.dynamic = {unlocked_below_tier{1, -2}}; }, "dynamic_prerequisites"},
      {[](node& n) { n.dynamic = {total_unlocked{2}}; }, "dynamic_prerequisites can never be met"},
      {[](node& n) { n.dynamic = {unlocked_below_tier{0, 1}}; }, "dynamic_prerequisites can never be met"},
      {[](node& n) { n.auto_unlock = true, n.prerequisites = {"first"}; }, "auto_unlock"},
      {[](node& n) { n.auto_unlock = true, n.dynamic = {total_unlocked{1}}; }, "auto_unlock"},
  };
  REQUIRE(fault_of({plain("first"), plain("second")}) == "no fault");
  for (const row& r : rows) {
    node second = plain("second");
    r.spoil(second);
    CHECK_THAT(fault_of({plain("first"), second}), ContainsSubstring("second") && ContainsSubstring(r.field));
  }
}

TEST_CASE("a key is unique and made of a-z, 0-9 and _", "[progression]") {
  for (const char* key : {"", "A", "9a", "_a", "a-b", "a b", "\xc3\xa9"}) {
    CAPTURE(key);
    CHECK_THAT(fault_of({plain("ok"), plain(key)}), ContainsSubstring("number 2: key"));
  }
  CHECK_THAT(fault_of({plain(std::string(101, 'a'))}), ContainsSubstring("key"));
  CHECK_THAT(fault_of({plain("twice"), plain("once"), plain("twice")}), ContainsSubstring("twice: key"));
  CHECK_THAT(fault_of({}), ContainsSubstring("nodes must not be empty"));
}

TEST_CASE("prerequisites that lead back are found, however long the way", "[progression]") {
  CHECK_THAT(fault_of({plain("a", {"c"}), plain("b", {"a"}), plain("c", {"b"})}),
             ContainsSubstring("prerequisites"));
  CHECK(fault_of({plain("a"), plain("b", {"a"}), plain("c", {"a"}), plain("d", {"b", "c"})}) == "no fault");
  std::vector<node> chain{plain("n0")};
  for (int i = 1; i < 3000; ++i)
    chain.push_back(plain("n" + std::to_string(i), {"n" + std::to_string(i - 1)}));
  CHECK(fault_of(chain) == "no fault");
  chain.front().prerequisites = {"n2999"};
  CHECK_THAT(fault_of(chain), ContainsSubstring("prerequisites"));
}

TEST_CASE("the next level is available once every prerequisite is met", "[progression]") {
  node many = plain("many", {"root"});
  many.max_level = 3;
  node gate = plain("gate", {"many"});
  gate.tier = 1;
  gate.dynamic = {unlocked_below_tier{1, 3}};
  node last = plain("last");
  last.dynamic = {total_unlocked{4}};
  const tree t{{plain("root"), many, plain("other"), gate, last}};

  using levels = std::vector<node_level>;
  CHECK(t.available({}) == levels{{"other", 1}, {"root", 1}});
  CHECK(t.available({{"root", 1}}) == levels{{"many", 1}, {"other", 1}});
  CHECK(t.available({{"root", 1}, {"many", 2}}) == levels{{"many", 3}, {"other", 1}});
  // Levels of one node count once, and the gate itself is not below its tier.
  CHECK(t.available({{"root", 1}, {"many", 3}, {"other", 1}}) == levels{{"gate", 1}});
  CHECK(t.available({{"root", 1}, {"many", 3}, {"other", 1}, {"gate", 1}}) == levels{{"last", 1}});
  CHECK(t.is_available({"many", 1}, {{"root", 1}}));
  CHECK_FALSE(t.is_available({"many", 2}, {{"root", 1}}));
  CHECK_FALSE(t.is_available({"many", 0}, {}));
  CHECK_FALSE(t.is_available({"nowhere", 1}, {}));
  CHECK(t.total_levels() == 7);
  CHECK_FALSE(t.all_unlocked({{"root", 1}, {"many", 2}, {"other", 1}, {"gate", 1}, {"last", 1}}));
  CHECK(t.all_unlocked({{"root", 1}, {"many", 3}, {"other", 1}, {"gate", 1}, {"last", 1}}));
}

TEST_CASE("below a tier is strictly below, and a node that was removed counts for nothing", "[progression]") {
  node low = plain("low");
  node same = plain("same");
  same.tier = 2;
  node gate = plain("gate");
  gate.tier = 2;
  gate.dynamic = {unlocked_below_tier{2, 1}};
  const tree t{{low, same, gate}};
  CHECK_FALSE(t.is_available({"gate", 1}, {{"same", 1}, {"removed", 1}}));
  CHECK(t.is_available({"gate", 1}, {{"low", 1}}));
}

TEST_CASE("rates of all unlocked levels add up", "[progression]") {  // W32
  node up = plain("up");
  up.max_level = 5;
  up.rate_per_level_milli = 100;
  node more = plain("more");
  more.rate_per_level_milli = 50;
  const tree t{{up, more}};
  CHECK(t.rate_milli({}) == 0);
  CHECK(t.rate_milli({{"up", 3}}) == 300);
  CHECK(t.rate_milli({{"up", 3}, {"more", 1}}) == 350);
}
