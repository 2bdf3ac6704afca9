// SPDX-License-Identifier: BSL-1.0
#include "domain/tree.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "domain/score.hpp"

namespace progression {

namespace {

constexpr int highest_max_level = 100;
constexpr std::size_t longest_key = 100;

[[noreturn]] void invalid(const std::string& node, const std::string& field_and_fault) {
  throw std::invalid_argument{"tree: node " + node + ": " + field_and_fault};
}

std::string got(std::int64_t n) { return ", got " + std::to_string(n); }

bool is_key(std::string_view key) {
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (key.empty() || key.size() > longest_key || !lower(key.front())) return false;
  return std::ranges::all_of(key, [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '_'; });
}

void check_fields(const node& n, std::size_t position, const cost_formula& cost) {
  if (!is_key(n.key)) {
    invalid("number " + std::to_string(position + 1),
            "key must be 1 to 100 of a-z, 0-9 and _, a letter first");
  }
  if (n.name.empty()) invalid(n.key, "name must not be empty");
  if (n.type > node_type::job) invalid(n.key, "type must be feature, item, upgrade or job");
  if (n.size > node_size::large) invalid(n.key, "size must be small, medium or large");
  if (n.tier < 0) invalid(n.key, "tier must not be negative" + got(n.tier));
  if (n.max_level < 1 || n.max_level > highest_max_level) {
    invalid(n.key, "max_level must be 1 to 100" + got(n.max_level));
  }
  if (n.rate_per_level_milli < 0 || n.rate_per_level_milli > 1'000'000) {
    invalid(n.key, "rate_per_level_milli must be 0 to 1000000" + got(n.rate_per_level_milli));
  }
  try {
    static_cast<void>(cost(n.tier, n.size));
  } catch (const std::invalid_argument&) {
    invalid(n.key, "tier must be one whose cost fits" + got(n.tier));
  }
  for (const dynamic_prerequisite& d : n.dynamic) {
    const int count = std::visit([](const auto& p) { return p.count; }, d);
    if (count <= 0) invalid(n.key, "dynamic_prerequisites: count must be positive" + got(count));
    const auto* below = std::get_if<unlocked_below_tier>(&d);
    if (below && below->tier < 0) {
      invalid(n.key, "dynamic_prerequisites: tier must not be negative" + got(below->tier));
    }
  }
}

int distinct_below(const tree& t, const unlock_levels& unlocked, int tier) {
  return static_cast<int>(std::ranges::count_if(unlocked, [&](const auto& entry) {
    const node* n = t.find(entry.first);
    return n && entry.second > 0 && n->tier < tier;
  }));
}

int distinct(const tree& t, const unlock_levels& unlocked) {
  return static_cast<int>(std::ranges::count_if(
      unlocked, [&](const auto& entry) { return entry.second > 0 && t.find(entry.first); }));
}

struct is_met {
  const tree& t;
  const unlock_levels& unlocked;
  bool operator()(const total_unlocked& p) const { return distinct(t, unlocked) >= p.count; }
  bool operator()(const unlocked_below_tier& p) const {
    return distinct_below(t, unlocked, p.tier) >= p.count;
  }
};

}  // namespace

std::string_view to_string(node_type type) noexcept {
  switch (type) {
    case node_type::feature:
      return "feature";
    case node_type::item:
      return "item";
    case node_type::upgrade:
      return "upgrade";
    case node_type::job:
      return "job";
  }
  return "unknown";
}

std::string_view to_string(node_size size) noexcept {
  switch (size) {
    case node_size::small:
      return "small";
    case node_size::medium:
      return "medium";
    case node_size::large:
      return "large";
  }
  return "unknown";
}

points cost_formula::operator()(int tier, node_size size) const {
  const auto require = [](bool holds, const char* field, std::int64_t n) {
    if (!holds) throw std::invalid_argument{std::string{"cost_formula: "} + field + got(n)};
  };
  require(tier >= 0, "tier must not be negative", tier);
  require(size <= node_size::large, "size must be small, medium or large", static_cast<int>(size));
  require(small > 0, "small must be positive", small);
  require(medium > 0, "medium must be positive", medium);
  require(large > 0, "large must be positive", large);
  require(factor_milli > 0, "factor_milli must be positive", factor_milli);

  // Exact: the factor as a fraction in its lowest terms, one rounding at the end.
  const std::int64_t base = size == node_size::small ? small : size == node_size::medium ? medium : large;
  const std::int64_t common = std::gcd(factor_milli, std::int64_t{1000});
  std::int64_t numerator = base;
  std::int64_t denominator = 1;
  try {
    for (int i = 0; i < tier; ++i) {
      numerator = checked_mul(numerator, factor_milli / common);
      denominator = checked_mul(denominator, 1000 / common);
    }
    return {checked_mul(divide_rounding(numerator, denominator), 1000)};
  } catch (const std::overflow_error&) {
    throw std::invalid_argument{"cost_formula: tier must be one whose cost fits" + got(tier)};
  }
}

tree::tree(std::vector<node> nodes, cost_formula cost) : nodes_{std::move(nodes)}, cost_{cost} {
  if (nodes_.empty()) throw std::invalid_argument{"tree: nodes must not be empty"};
  static_cast<void>(cost_(0, node_size::small));
  for (std::size_t i = 0; i < nodes_.size(); ++i) check_fields(nodes_[i], i, cost_);
  std::ranges::sort(nodes_, {}, [](const node& n) { return std::tie(n.sort_order, n.key); });
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!by_key_.emplace(nodes_[i].key, i).second) invalid(nodes_[i].key, "key must be unique");
    total_levels_ += nodes_[i].max_level;
  }
  for (const node& n : nodes_) {
    std::set<std::string_view> seen;
    for (const std::string& p : n.prerequisites) {
      const node* needed = find(p);
      if (!needed) invalid(n.key, "prerequisites must be nodes, there is no " + p);
      if (!seen.insert(p).second) invalid(n.key, "prerequisites must not repeat " + p);
      if (n.auto_unlock && !needed->auto_unlock) {
        invalid(n.key, "auto_unlock must not wait for a node that is not auto_unlock itself: " + p);
      }
    }
    if (n.auto_unlock && !n.dynamic.empty()) {
      invalid(n.key, "auto_unlock must not wait for dynamic_prerequisites");
    }
  }
  check_acyclic();
  check_reachable();
}

void tree::check_acyclic() const {
  enum class colour : std::uint8_t { white, grey, black };
  std::vector<colour> colours(nodes_.size(), colour::white);
  struct frame {
    std::size_t node;
    std::size_t next_edge;
  };
  for (std::size_t start = 0; start < nodes_.size(); ++start) {
    if (colours[start] != colour::white) continue;
    std::vector<frame> path{{start, 0}};  // own stack: a long chain must not end the process
    colours[start] = colour::grey;
    while (!path.empty()) {
      frame& top = path.back();
      const node& n = nodes_[top.node];
      if (top.next_edge == n.prerequisites.size()) {
        colours[top.node] = colour::black;
        path.pop_back();
        continue;
      }
      const std::size_t needed = by_key_.find(n.prerequisites[top.next_edge++])->second;
      if (colours[needed] == colour::grey) {
        invalid(n.key, "prerequisites must not lead back to their node, as " + nodes_[needed].key + " does");
      }
      if (colours[needed] == colour::white) {
        colours[needed] = colour::grey;
        path.push_back({needed, 0});
      }
    }
  }
}

void tree::check_reachable() const {
  // Unlocking takes nothing away, so doing all that can be done, in any order, shows what can ever be done.
  unlock_levels unlocked;
  for (const node& n : nodes_) {
    if (n.auto_unlock) unlocked[n.key] = 1;
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (const node& n : nodes_) {
      if (level_of(unlocked, n.key) == 0 && available_level(n, unlocked) == 1) {
        unlocked[n.key] = 1;
        progress = true;
      }
    }
  }
  for (const node& n : nodes_) {
    const bool prerequisites_met = std::ranges::all_of(
        n.prerequisites, [&](const std::string& p) { return level_of(unlocked, p) >= 1; });
    if (level_of(unlocked, n.key) == 0 && prerequisites_met) {
      invalid(n.key, "dynamic_prerequisites can never be met");
    }
  }
}

const node* tree::find(std::string_view key) const noexcept {
  const auto at = by_key_.find(key);
  return at == by_key_.end() ? nullptr : &nodes_[at->second];
}

int tree::available_level(const node& n, const unlock_levels& unlocked) const {
  const int level = level_of(unlocked, n.key);
  if (level >= n.max_level) return 0;
  const bool met = std::ranges::all_of(n.prerequisites,
                                       [&](const std::string& p) { return level_of(unlocked, p) >= 1; }) &&
                   std::ranges::all_of(n.dynamic, [&](const dynamic_prerequisite& d) {
                     return std::visit(is_met{*this, unlocked}, d);
                   });
  return met ? level + 1 : 0;
}

std::vector<node_level> tree::available(const unlock_levels& unlocked) const {
  std::vector<node_level> found;
  for (const auto& [key, position] : by_key_) {
    const int level = available_level(nodes_[position], unlocked);
    if (level > 0) found.push_back({key, level});
  }
  return found;
}

bool tree::is_available(const node_level& what, const unlock_levels& unlocked) const {
  const node* n = find(what.node);
  return n && what.level > 0 && available_level(*n, unlocked) == what.level;
}

bool tree::all_unlocked(const unlock_levels& unlocked) const {
  return std::ranges::all_of(nodes_, [&](const node& n) { return level_of(unlocked, n.key) >= n.max_level; });
}

std::int64_t tree::rate_milli(const unlock_levels& unlocked) const {
  return std::accumulate(nodes_.begin(), nodes_.end(), std::int64_t{0}, [&](std::int64_t sum, const node& n) {
    return sum + level_of(unlocked, n.key) * n.rate_per_level_milli;
  });
}

int level_of(const unlock_levels& unlocked, std::string_view key) {
  const auto at = unlocked.find(key);
  return at == unlocked.end() ? 0 : at->second;
}

}  // namespace progression
