// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

#include "domain/model.hpp"

/// What a store does with a step, in memory.
namespace progression::testing {

struct id_source {
  std::int64_t session = 0;
  std::int64_t option = 0;
};

inline void apply(const step& s, world& w, id_source& ids) {
  for (const node_level& g : s.granted) w.unlocked[g.node] = g.level;
  if (s.unlock) {
    w.unlocked[s.unlock->what.node] = s.unlock->what.level;
    w.pot.filled = s.unlock->rollover;
    ++w.pot.cycle;
  }
  if (s.ended) w.open_session.reset();
  if (s.next) {
    w.pot.goal = s.next;
  } else if (s.clear_goal) {
    w.pot.goal.reset();
  }
  if (s.started) {
    voting_session opened{.id = ++ids.session,
                          .status = session_status::voting,
                          .started_at = s.started->started_at,
                          .ends_at = s.started->ends_at,
                          .options = {},
                          .winner = {}};
    for (const node_level& what : s.started->options) {
      opened.options.push_back({.id = ++ids.option, .what = what, .votes = 0, .reached_at = {}});
    }
    w.open_session = opened;
  }
}

}  // namespace progression::testing
