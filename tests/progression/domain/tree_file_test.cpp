// SPDX-License-Identifier: BSL-1.0
#include "adapters/json/tree_file.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <set>
#include <stdexcept>
#include <string>

using namespace progression;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string fault_of(const std::string& json) {
  try {
    static_cast<void>(parse_tree(json));
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no fault";
}

std::string with_node(const std::string& fields) {
  return R"({"version": "1", "description": "", "nodes": [{"key": "mill", "name": "Mill", "type": "feature",
             "category": "c", "tier": 0, "size": "small"}, {)" +
         fields + "}]}";
}

}  // namespace

TEST_CASE("the tree of the service is valid and of the promised extent", "[progression]") {
  const tree t = load_tree(PROGRESSION_TREE);
  CHECK(t.nodes().size() >= 30);
  std::set<int> tiers;
  for (const node& n : t.nodes()) tiers.insert(n.tier);
  CHECK(tiers.size() == 4);
  const auto count = [&](auto which) { return std::ranges::count_if(t.nodes(), which); };
  CHECK(count([](const node& n) { return !n.dynamic.empty(); }) >= 3);
  CHECK(count([](const node& n) { return n.max_level > 1; }) >= 3);
  CHECK(count([](const node& n) { return n.auto_unlock; }) >= 2);
  CHECK(count([](const node& n) { return n.rate_per_level_milli > 0; }) >= 2);
}

TEST_CASE("a node is read with all its fields", "[progression]") {
  const tree t = parse_tree(with_node(
      R"("key": "wheel", "name": "Wheel", "type": "upgrade", "category": "river", "description": "turns",
         "sort_order": 7, "tier": 2, "size": "large", "max_level": 5, "rate_per_level_milli": 20,
         "prerequisites": ["mill"], "dynamic_prerequisites": [{"type": "total_nodes_unlocked", "count": 1},
         {"type": "nodes_unlocked_below_tier", "tier": 1, "count": 1}])"));
  const node* n = t.find("wheel");
  REQUIRE(n);
  CHECK(n->name == "Wheel");
  CHECK(n->type == node_type::upgrade);
  CHECK(n->category == "river");
  CHECK(n->description == "turns");
  CHECK(n->sort_order == 7);
  CHECK(n->tier == 2);
  CHECK(n->size == node_size::large);
  CHECK(n->max_level == 5);
  CHECK(n->rate_per_level_milli == 20);
  CHECK_FALSE(n->auto_unlock);
  CHECK(n->prerequisites == std::vector<std::string>{"mill"});
  CHECK(n->dynamic == std::vector<dynamic_prerequisite>{total_unlocked{1}, unlocked_below_tier{1, 1}});
  CHECK(t.cost_of(*n) == points::whole(1800));
}

TEST_CASE("costs can be configured", "[progression]") {
  const tree t = parse_tree(R"({"version": "1", "description": "", "cost": {"small": 7, "factor_milli": 2000},
    "nodes": [{"key": "a", "name": "A", "type": "item", "category": "c", "tier": 3, "size": "small"}]})");
  CHECK(t.cost_of(t.nodes().front()) == points::whole(56));
}

TEST_CASE("every fault in a node names the node and the field", "[progression]") {
  const std::string most = R"("key": "wheel", "name": "Wheel", "category": "c", )";
  struct row {
    std::string fields;
    const char* node;
    const char* field;
  };
  const row rows[] = {
      {R"("name": "Wheel")", "number 2", "key must be present"},
      {R"("key": 5)", "number 2", "key must be a string"},
      {R"("key": "Wheel", "name": "W", "type": "item", "category": "c", "tier": 0, "size": "small")",
       "number 2", "key"},
      {R"("key": "wheel")", "wheel", "name must be present"},
      {most + R"("tier": 0, "size": "small")", "wheel", "type must be present"},
      {most + R"("type": "gadget", "tier": 0, "size": "small")", "wheel", "type must be one of"},
      {most + R"("type": "item", "size": "small")", "wheel", "tier must be present"},
      {most + R"("type": "item", "tier": 1.5, "size": "small")", "wheel", "tier must be a whole number"},
      {most + R"("type": "item", "tier": 99999999999, "size": "small")", "wheel", "tier must be at most"},
      {most + R"("type": "item", "tier": -1, "size": "small")", "wheel", "tier"},
      {most + R"("type": "item", "tier": 0)", "wheel", "size must be present"},
      {most + R"("type": "item", "tier": 0, "size": "huge")", "wheel", "size must be one of"},
      {most + R"("type": "item", "tier": 0, "size": "small", "max_level": 0)", "wheel", "max_level"},
      {most + R"("type": "item", "tier": 0, "size": "small", "auto_unlock": 1)", "wheel", "auto_unlock"},
      {most + R"("type": "item", "tier": 0, "size": "small", "colour": 1)", "wheel", "colour"},
      {most + R"("type": "item", "tier": 0, "size": "small", "prerequisites": "mill")", "wheel",
       "prerequisites"},
      {most + R"("type": "item", "tier": 0, "size": "small", "prerequisites": [1])", "wheel",
       "prerequisites"},
      {most + R"("type": "item", "tier": 0, "size": "small", "dynamic_prerequisites": ["x"])", "wheel",
       "dynamic_prerequisites must be an object"},
      {most + R"("type": "item", "tier": 0, "size": "small", "dynamic_prerequisites": [{"type": "moon"}])",
       "wheel", "dynamic_prerequisites: type"},
      {most + R"("type": "item", "tier": 0, "size": "small",
                 "dynamic_prerequisites": [{"type": "total_nodes_unlocked", "tier": 1, "count": 1}])",
       "wheel", "tier"},
      {most + R"("type": "item", "tier": 0, "size": "small",
                 "dynamic_prerequisites": [{"type": "total_nodes_unlocked"}])",
       "wheel", "count must be present"},
  };
  for (const row& r : rows) {
    CHECK_THAT(fault_of(with_node(r.fields)), ContainsSubstring(r.node) && ContainsSubstring(r.field));
  }
}

TEST_CASE("a file that is no tree is refused with the field named", "[progression]") {
  CHECK_THAT(fault_of("{"), ContainsSubstring("not JSON"));
  CHECK_THAT(fault_of("[]"), ContainsSubstring("must be an object"));
  CHECK_THAT(fault_of(R"({"description": "", "nodes": []})"), ContainsSubstring("version"));
  CHECK_THAT(fault_of(R"({"version": "1", "nodes": []})"), ContainsSubstring("description"));
  CHECK_THAT(fault_of(R"({"version": "1", "description": ""})"), ContainsSubstring("nodes"));
  CHECK_THAT(fault_of(R"({"version": "1", "description": "", "nodes": 4})"), ContainsSubstring("nodes"));
  CHECK_THAT(fault_of(R"({"version": "1", "description": "", "nodes": []})"), ContainsSubstring("nodes"));
  CHECK_THAT(fault_of(R"({"version": "1", "description": "", "nodes": [3]})"),
             ContainsSubstring("node number 1"));
  CHECK_THAT(fault_of(R"({"version": "1", "description": "", "nodes": [], "cost": {"small": "x"}})"),
             ContainsSubstring("small"));
  CHECK_THROWS_AS(load_tree("/nonexistent/tree.json"), std::runtime_error);
}
