// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "domain/model.hpp"

namespace progression {

enum class node_type : std::uint8_t { feature, item, upgrade, job };
enum class node_size : std::uint8_t { small, medium, large };

[[nodiscard]] std::string_view to_string(node_type type) noexcept;
[[nodiscard]] std::string_view to_string(node_size size) noexcept;

/// Met once `count` distinct nodes are unlocked.
struct total_unlocked {
  int count = 0;
  friend bool operator==(const total_unlocked&, const total_unlocked&) = default;
};

/// Met once `count` distinct nodes of a tier strictly below `tier` are unlocked.
struct unlocked_below_tier {
  int tier = 0;
  int count = 0;
  friend bool operator==(const unlocked_below_tier&, const unlocked_below_tier&) = default;
};

using dynamic_prerequisite = std::variant<total_unlocked, unlocked_below_tier>;

struct node {
  std::string key;
  std::string name;
  node_type type = node_type::feature;
  std::string description = {};
  std::string category = {};
  int sort_order = 0;
  int tier = 0;
  node_size size = node_size::small;
  int max_level = 1;
  bool auto_unlock = false;                        ///< level 1 is granted at the start, free of charge
  std::vector<std::string> prerequisites = {};     ///< each at level 1 or more
  std::vector<dynamic_prerequisite> dynamic = {};  ///< each met
  std::int64_t rate_per_level_milli = 0;           ///< 100: every level adds a tenth to all points
};

/// What a level costs: round_half_away(base[size] * factor^tier) whole points.
struct cost_formula {
  std::int64_t small = 50;
  std::int64_t medium = 200;
  std::int64_t large = 800;
  std::int64_t factor_milli = 1500;

  /// Throws std::invalid_argument if the tier is negative, a parameter is not positive or the cost does not
  /// fit.
  [[nodiscard]] points operator()(int tier, node_size size) const;
};

/// All nodes, valid as a whole and immutable from then on.
///
/// Thread safety  Every member from any thread.
class tree {
 public:
  /// Throws std::invalid_argument that names the node and the field if a node is not valid, a key stands
  /// twice, a prerequisite does not exist, leads back to its node or can never be met.
  explicit tree(std::vector<node> nodes, cost_formula cost = {});

  /// In order of sort_order, then key.
  [[nodiscard]] const std::vector<node>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const node* find(std::string_view key) const noexcept;
  [[nodiscard]] points cost_of(const node& n) const { return cost_(n.tier, n.size); }
  [[nodiscard]] int total_levels() const noexcept { return total_levels_; }

  /// The level of `n` that may be unlocked next: one more than it has, if there is one and every prerequisite
  /// is met; otherwise 0.
  [[nodiscard]] int available_level(const node& n, const unlock_levels& unlocked) const;

  /// All that may be unlocked next, in order of key.
  [[nodiscard]] std::vector<node_level> available(const unlock_levels& unlocked) const;

  /// Whether exactly this level may be unlocked next.
  [[nodiscard]] bool is_available(const node_level& what, const unlock_levels& unlocked) const;

  [[nodiscard]] bool all_unlocked(const unlock_levels& unlocked) const;

  /// What is added to every contribution by the unlocked levels, in thousandths: the sum over all nodes of
  /// level x rate_per_level_milli.
  [[nodiscard]] std::int64_t rate_milli(const unlock_levels& unlocked) const;

 private:
  void check_acyclic() const;
  void check_reachable() const;

  std::vector<node> nodes_;
  std::map<std::string, std::size_t, std::less<>> by_key_;
  cost_formula cost_;
  int total_levels_ = 0;
};

/// Level of a node, 0 if it has none.
[[nodiscard]] int level_of(const unlock_levels& unlocked, std::string_view key);

}  // namespace progression
