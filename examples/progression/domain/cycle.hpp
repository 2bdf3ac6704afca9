// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "domain/model.hpp"
#include "domain/random.hpp"
#include "domain/tree.hpp"

namespace progression {

struct cycle_rules {
  points rollover_cap = points::whole(200);  ///< what of a surplus stays in the pot
  std::size_t max_options = 4;               ///< of one vote
  std::chrono::seconds voting_period = std::chrono::hours{24};
};

/// Position of the winner: most votes; of equals the one that has had them longest; then the first node by
/// key.  Without a single vote, one of all by chance.  Empty only if there is no option.
[[nodiscard]] std::optional<std::size_t> vote_winner(std::span<const vote_option> options, rng& random);

/// Splits a full pot: filled = cost + rollover + discarded, rollover at most `cap`.
struct pot_split {
  points rollover;
  points discarded;
};
[[nodiscard]] pot_split split(points filled, points cost, points cap);

/// The next step of the cycle in this world; empty if it is at rest.
///
/// Pure: the same world, time and state of `random` give the same step, so a transaction may be repeated.  A
/// store applies one step, then asks again: a rollover may pay for the next goal at once.
///
/// - What is granted at the start comes first.
/// - A goal that is missing, unlocked already or out of reach is replaced, a full pot unlocks its goal.  In
///   both cases the open session is ended in the same step, and its winner becomes the goal: the best of its
///   options that can be unlocked now, or else anything that can.  Then the next vote begins.
/// - A vote is on what follows the goal, so what the goal itself opens is among its options.
/// - At `ends_at` the vote is over, but not the session: it holds its winner until the pot takes it.  So a
///   winner is taken once, in the transaction that ends its session, and cannot be taken again.
[[nodiscard]] std::optional<step> next_step(const tree& t, const world& w, wall_time now, rng& random,
                                            const cycle_rules& rules = {});

}  // namespace progression
