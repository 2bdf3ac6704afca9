// SPDX-License-Identifier: BSL-1.0
#include "domain/cycle.hpp"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

namespace progression {

namespace {

target priced(const tree& t, const node_level& what) { return {what, t.cost_of(*t.find(what.node))}; }

std::vector<node_level> missing_grants(const tree& t, const unlock_levels& unlocked) {
  std::vector<node_level> missing;
  for (const node& n : t.nodes()) {
    if (n.auto_unlock && level_of(unlocked, n.key) == 0) missing.push_back({n.key, 1});
  }
  return missing;
}

/// The vote on what follows `goal`; empty if nothing does.
std::optional<session_start> next_vote(const tree& t, unlock_levels unlocked, const node_level& goal,
                                       wall_time now, rng& random, const cycle_rules& rules) {
  unlocked[goal.node] = goal.level;
  session_start vote{
      .started_at = now, .ends_at = now + rules.voting_period, .options = t.available(unlocked)};
  random.draw(vote.options, rules.max_options);
  std::ranges::sort(vote.options);
  if (vote.options.empty()) return std::nullopt;
  return vote;
}

struct choice {
  std::optional<node_level> next;
  std::optional<std::int64_t> winner;  ///< option id
};

choice choose(const tree& t, const world& w, const unlock_levels& unlocked, rng& random) {
  std::vector<vote_option> eligible;
  if (w.open_session) {
    std::ranges::copy_if(w.open_session->options, std::back_inserter(eligible),
                         [&](const vote_option& o) { return t.is_available(o.what, unlocked); });
  }
  if (const auto winner = vote_winner(eligible, random)) {
    return {eligible[*winner].what, eligible[*winner].id};
  }
  const std::vector<node_level> all = t.available(unlocked);
  if (all.empty()) return {};
  return {all[random.below(all.size())], std::nullopt};
}

}  // namespace

std::optional<std::size_t> vote_winner(std::span<const vote_option> options, rng& random) {
  if (options.empty()) return std::nullopt;
  if (std::ranges::all_of(options, [](const vote_option& o) { return o.votes == 0; })) {
    return random.below(options.size());
  }
  const auto before = [](const vote_option& a, const vote_option& b) {
    const auto reached = [](const vote_option& o) { return o.reached_at.value_or(wall_time::max()); };
    return std::tuple{-a.votes, reached(a), std::tie(a.what, a.id)} <
           std::tuple{-b.votes, reached(b), std::tie(b.what, b.id)};
  };
  return static_cast<std::size_t>(std::ranges::min_element(options, before) - options.begin());
}

pot_split split(points filled, points cost, points cap) {
  const std::int64_t surplus = filled.milli - cost.milli;
  const std::int64_t rollover = std::min(surplus, cap.milli);
  return {{rollover}, {surplus - rollover}};
}

std::optional<step> next_step(const tree& t, const world& w, wall_time now, rng& random,
                              const cycle_rules& rules) {
  step s;
  unlock_levels unlocked = w.unlocked;

  s.granted = missing_grants(t, unlocked);
  if (!s.granted.empty()) {
    for (const node_level& g : s.granted) unlocked[g.node] = g.level;
    s.all_unlocked = t.all_unlocked(unlocked);
    return s;
  }

  const bool goal_stands = w.pot.goal && t.is_available(w.pot.goal->what, unlocked);
  if (goal_stands && !w.pot.is_full()) {
    if (w.open_session) return std::nullopt;
    s.started = next_vote(t, std::move(unlocked), w.pot.goal->what, now, random, rules);
    if (!s.started) return std::nullopt;
    return s;
  }

  if (goal_stands) {
    const target& goal = *w.pot.goal;
    const pot_split parts = split(w.pot.filled, goal.cost, rules.rollover_cap);
    s.unlock = unlock_step{.what = goal.what,
                           .source = unlock_source::vote,
                           .filled = w.pot.filled,
                           .cost = goal.cost,
                           .rollover = parts.rollover,
                           .discarded = parts.discarded};
    unlocked[goal.what.node] = goal.what.level;
    s.all_unlocked = t.all_unlocked(unlocked);
  }
  const choice chosen = choose(t, w, unlocked, random);
  if (w.open_session) s.ended = session_end{w.open_session->id, chosen.winner};
  if (chosen.next) {
    s.next = priced(t, *chosen.next);
    s.started = next_vote(t, std::move(unlocked), *chosen.next, now, random, rules);
  } else {
    s.clear_goal = w.pot.goal.has_value();
  }
  if (s.changes_nothing()) return std::nullopt;
  return s;
}

}  // namespace progression
