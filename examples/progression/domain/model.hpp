// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The plain values of the domain.  Nothing here knows of SQL, HTTP or threads.
namespace progression {

/// Wall time, for the record only: no decision but the end of a vote depends on it.
using wall_time = std::chrono::sys_time<std::chrono::microseconds>;

/// Points in thousandths, so that a weight or a rate below one is not rounded away on each message.
struct points {
  std::int64_t milli = 0;

  [[nodiscard]] static constexpr points whole(std::int64_t n) noexcept { return {n * 1000}; }
  friend constexpr auto operator<=>(const points&, const points&) noexcept = default;
};

/// One level of one node: what is voted for, paid for and unlocked.
struct node_level {
  std::string node;
  int level = 1;
  friend auto operator<=>(const node_level&, const node_level&) = default;
};

/// What the pot is filling for.
struct target {
  node_level what;
  points cost;
  friend bool operator==(const target&, const target&) = default;
};

/// The one pot.  `cycle` counts completed unlocks by vote; it names the pot's present filling.
struct pot {
  std::int64_t cycle = 1;
  points filled;
  std::optional<target> goal;

  [[nodiscard]] bool is_full() const noexcept { return goal && filled >= goal->cost; }
  friend bool operator==(const pot&, const pot&) = default;
};

enum class session_status : std::uint8_t { voting, frozen, completed };

[[nodiscard]] constexpr std::string_view to_string(session_status status) noexcept {
  switch (status) {
    case session_status::voting:
      return "voting";
    case session_status::frozen:
      return "frozen";
    case session_status::completed:
      return "completed";
  }
  return "";
}

struct vote_option {
  std::int64_t id = 0;  ///< unique over all sessions
  node_level what;
  std::int64_t votes = 0;
  std::optional<wall_time> reached_at;  ///< when `votes` took its present value; empty while there is none
};

struct voting_session {
  std::int64_t id = 0;
  session_status status = session_status::voting;
  wall_time started_at;
  wall_time ends_at;  ///< the vote is over then, whether or not an unlock came first
  std::vector<vote_option> options;
  std::optional<std::int64_t> winner;  ///< option id, set when the session is completed
};

/// Highest unlocked level of each node; a node that is absent has none.
using unlock_levels = std::map<std::string, int, std::less<>>;

/// All that decides the next step, read in one transaction.
struct world {
  progression::pot pot;
  unlock_levels unlocked;
  std::optional<voting_session> open_session;  ///< voting or frozen; there is at most one
};

enum class unlock_source : std::uint8_t { vote, admin, automatic };

[[nodiscard]] constexpr std::string_view to_string(unlock_source source) noexcept {
  switch (source) {
    case unlock_source::vote:
      return "vote";
    case unlock_source::admin:
      return "admin";
    case unlock_source::automatic:
      return "automatic";
  }
  return "";
}

/// An unlock and, if the pot paid for it, how its points were split: filled = cost + rollover + discarded.
struct unlock_step {
  node_level what;
  unlock_source source = unlock_source::vote;
  points filled;
  points cost;
  points rollover;
  points discarded;
};

struct session_end {
  std::int64_t session = 0;
  std::optional<std::int64_t> winner;  ///< option id; empty if nobody could win
};

struct session_start {
  wall_time started_at;
  wall_time ends_at;
  std::vector<node_level> options;
};

/// One step of the cycle, decided from a `world` by a pure function and applied in the same transaction.
/// Members are applied in this order; what is empty changes nothing.
struct step {
  std::vector<node_level> granted;  ///< unlocked free of charge (source automatic), levels in order
  std::optional<unlock_step>
      unlock;  ///< paid from the pot: closes the cycle, starts the next with the rollover
  std::optional<session_end> ended;      ///< closes the open session
  std::optional<target> next;            ///< becomes the goal of the pot
  bool clear_goal = false;               ///< the pot has no goal after this step (ignored if `next` is set)
  std::optional<session_start> started;  ///< opens a session
  bool all_unlocked = false;             ///< nothing is left to unlock; changes no state

  [[nodiscard]] bool changes_nothing() const noexcept {
    return granted.empty() && !unlock && !ended && !next && !clear_goal && !started;
  }
};

}  // namespace progression
