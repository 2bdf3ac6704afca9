// SPDX-License-Identifier: BSL-1.0
#include "adapters/json/tree_file.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace progression {

namespace {

using nlohmann::json;

/// One JSON object, and what to call it in an error.
class object {
 public:
  object(const json& value, std::string where) : value_{value}, where_{std::move(where)} {
    if (!value_.is_object()) throw std::invalid_argument{where_ + " must be an object"};
  }

  [[noreturn]] void fail(const std::string& field, const std::string& must) const {
    throw std::invalid_argument{where_ + ": " + field + " must " + must};
  }

  void allow_only(std::initializer_list<std::string_view> fields) const {
    for (const auto& [key, ignored] : value_.items()) {
      if (std::ranges::find(fields, key) == fields.end()) {
        throw std::invalid_argument{where_ + ": unknown field " + key};
      }
    }
  }

  void rename(std::string where) { where_ = std::move(where); }

  [[nodiscard]] std::string text(const char* field) const {
    const json& v = required(field);
    if (!v.is_string()) fail(field, "be a string");
    return v.get<std::string>();
  }
  [[nodiscard]] std::string text_or(const char* field, std::string otherwise) const {
    return value_.contains(field) ? text(field) : std::move(otherwise);
  }

  template <class Int>
  [[nodiscard]] Int number(const char* field) const {
    const json& v = required(field);
    if (!v.is_number_integer()) fail(field, "be a whole number");
    const bool fits = v.is_number_unsigned() ? std::in_range<Int>(v.get<std::uint64_t>())
                                             : std::in_range<Int>(v.get<std::int64_t>());
    if (!fits) fail(field, "be at most " + std::to_string(std::numeric_limits<Int>::max()));
    return v.get<Int>();
  }
  template <class Int>
  [[nodiscard]] Int number_or(const char* field, Int otherwise) const {
    return value_.contains(field) ? number<Int>(field) : otherwise;
  }

  [[nodiscard]] bool flag_or(const char* field, bool otherwise) const {
    if (!value_.contains(field)) return otherwise;
    if (!value_[field].is_boolean()) fail(field, "be true or false");
    return value_[field].get<bool>();
  }

  /// The elements of a list; none if the field is absent.
  [[nodiscard]] std::vector<json> list(const char* field) const {
    if (!value_.contains(field)) return {};
    if (!value_[field].is_array()) fail(field, "be a list");
    return value_[field].get<std::vector<json>>();
  }

  template <class Enum, std::size_t N>
  [[nodiscard]] Enum one_of(const char* field, const std::array<Enum, N>& values) const {
    const std::string given = text(field);
    std::string names;
    for (const Enum e : values) {
      if (to_string(e) == given) return e;
      names += (names.empty() ? "" : ", ") + std::string{to_string(e)};
    }
    fail(field, "be one of " + names);
  }

  [[nodiscard]] const json& required(const char* field) const {
    if (!value_.contains(field)) fail(field, "be present");
    return value_[field];
  }
  [[nodiscard]] bool has(const char* field) const { return value_.contains(field); }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }

 private:
  const json& value_;
  std::string where_;
};

dynamic_prerequisite parse_dynamic(const json& value, const std::string& where) {
  const object o{value, where + ": dynamic_prerequisites"};
  const std::string type = o.text("type");
  if (type == "total_nodes_unlocked") {
    o.allow_only({"type", "count"});
    return total_unlocked{o.number<int>("count")};
  }
  if (type == "nodes_unlocked_below_tier") {
    o.allow_only({"type", "tier", "count"});
    return unlocked_below_tier{.tier = o.number<int>("tier"), .count = o.number<int>("count")};
  }
  o.fail("type", "be total_nodes_unlocked or nodes_unlocked_below_tier");
}

node parse_node(const json& value, std::size_t position) {
  object o{value, "tree: node number " + std::to_string(position + 1)};
  node n;
  n.key = o.text("key");
  o.rename("tree: node " + n.key);
  o.allow_only({"key", "name", "type", "description", "category", "sort_order", "tier", "size", "max_level",
                "auto_unlock", "prerequisites", "dynamic_prerequisites", "rate_per_level_milli"});
  n.name = o.text("name");
  n.type =
      o.one_of("type", std::array{node_type::feature, node_type::item, node_type::upgrade, node_type::job});
  n.description = o.text_or("description", "");
  n.category = o.text("category");
  n.sort_order = o.number_or<int>("sort_order", 0);
  n.tier = o.number<int>("tier");
  n.size = o.one_of("size", std::array{node_size::small, node_size::medium, node_size::large});
  n.max_level = o.number_or<int>("max_level", 1);
  n.auto_unlock = o.flag_or("auto_unlock", false);
  n.rate_per_level_milli = o.number_or<std::int64_t>("rate_per_level_milli", 0);
  for (const json& p : o.list("prerequisites")) {
    if (!p.is_string()) o.fail("prerequisites", "be a list of strings");
    n.prerequisites.push_back(p.get<std::string>());
  }
  for (const json& d : o.list("dynamic_prerequisites")) n.dynamic.push_back(parse_dynamic(d, o.where()));
  return n;
}

cost_formula parse_cost(const json& value) {
  const object o{value, "tree: cost"};
  o.allow_only({"small", "medium", "large", "factor_milli"});
  const cost_formula standard;
  return {.small = o.number_or("small", standard.small),
          .medium = o.number_or("medium", standard.medium),
          .large = o.number_or("large", standard.large),
          .factor_milli = o.number_or("factor_milli", standard.factor_milli)};
}

}  // namespace

tree parse_tree(std::string_view text) {
  json parsed;
  try {
    parsed = json::parse(text);
  } catch (const json::parse_error& e) {
    throw std::invalid_argument{"tree: not JSON at byte " + std::to_string(e.byte)};
  }
  const object file{parsed, "tree: file"};
  file.allow_only({"version", "description", "cost", "nodes"});
  static_cast<void>(file.text("version"));
  static_cast<void>(file.text("description"));
  static_cast<void>(file.required("nodes"));
  std::vector<node> nodes;
  for (const json& n : file.list("nodes")) nodes.push_back(parse_node(n, nodes.size()));
  return tree{std::move(nodes), file.has("cost") ? parse_cost(file.required("cost")) : cost_formula{}};
}

tree load_tree(const std::filesystem::path& file) {
  std::ifstream in{file, std::ios::binary};
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw std::runtime_error{"tree: cannot read " + file.string()};
  return parse_tree(text.str());
}

}  // namespace progression
