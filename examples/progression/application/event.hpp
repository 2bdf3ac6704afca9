// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include "domain/model.hpp"

namespace progression {

/// What the service tells the world, after the commit that made it true and exactly once: by the process that
/// committed it.  Not at all if the answer to that commit was lost with the connection.
struct node_unlocked {
  node_level what;
  std::string name;  ///< of the node, for people
  unlock_source source = unlock_source::vote;
};

struct target_set {
  target goal;
  std::string name;        ///< of the node, for people
  std::int64_t cycle = 0;  ///< the filling of the pot that the goal is for
};

struct voting_started {
  voting_session session;
};

struct cycle_completed {
  std::int64_t cycle = 0;  ///< the one that ended
  unlock_step unlock;
};

struct all_unlocked {};

using event = std::variant<node_unlocked, target_set, voting_started, cycle_completed, all_unlocked>;

/// Called on the thread that committed, one event at a time and in the order of the commits, under no lock of
/// the service.  Must not block; what it throws is dropped and counted.
using event_sink = std::function<void(const event&)>;

[[nodiscard]] constexpr std::string_view name_of(const event& e) noexcept {
  constexpr std::string_view names[] = {"progression.node_unlocked", "progression.target.set",
                                        "progression.voting_started", "progression.cycle.completed",
                                        "progression.all_unlocked"};
  return names[e.index()];
}

}  // namespace progression
