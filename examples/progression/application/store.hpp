// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "domain/model.hpp"

namespace progression {

/// Where a ledger entry came from; an event id is unique within its origin.
enum class origin : std::uint8_t { client, vote, admin };

/// One contribution, weighed already.
struct engagement {
  progression::origin origin = origin::client;
  std::string event_id;
  std::string user_id;   ///< "platform:platform_id"
  std::string username;  ///< display name, the latest one wins
  std::string metric;    ///< "message", "command", ...
  std::int64_t value = 1;
  progression::points points;
};

enum class record_status : std::uint8_t { accepted, duplicate };

struct record_result {
  std::vector<record_status> status;  ///< one for each engagement, in order
  progression::pot pot;               ///< as it stood when the batch was committed, this batch included
};

struct ballot {
  std::int64_t session = 0;
  std::int64_t option = 0;  ///< option id
  std::string user_id;
  std::string username;
  progression::points points;  ///< what the act of voting contributes to the pot
  wall_time at;
};

enum class vote_status : std::uint8_t {
  counted,
  already_voted,
  no_such_session,
  no_such_option,
  session_closed
};

struct leader {
  std::string user_id;
  std::string username;
  progression::points points;
  std::int64_t rank = 0;  ///< 1 is first; equal points share a rank
};

struct user_engagement {
  std::map<std::string, std::int64_t, std::less<>> by_metric;  ///< sum of values
  progression::points points;
};

/// What a check of the invariants needs, read in one transaction.
struct audit_report {
  std::int64_t ledger_entries = 0;
  progression::points ledger_points;
  progression::points pot_points;
  progression::points consumed;   ///< cost of all paid unlocks
  progression::points discarded;  ///< above the rollover cap
  std::int64_t cycle = 0;
  std::int64_t paid_unlocks = 0;
  std::int64_t unlocks = 0;
  std::int64_t duplicate_unlocks = 0;  ///< (node, level) pairs that stand more than once
  std::int64_t open_sessions = 0;
  std::int64_t miscounted_options = 0;  ///< options whose count differs from their votes
  std::int64_t double_votes = 0;        ///< (user, session) pairs that stand more than once

  /// I2: no point is lost or made.
  [[nodiscard]] bool conserves_points() const noexcept {
    return ledger_points.milli == pot_points.milli + consumed.milli + discarded.milli;
  }
};

struct store_stats {
  std::uint64_t statements = 0;  ///< sent to the database, BEGIN and COMMIT included
  std::uint64_t commits = 0;     ///< transactions that changed something, implicit ones included
  std::uint64_t connections_open = 0;
  std::uint64_t connections_in_use = 0;
  std::uint64_t acquire_timeouts = 0;
};

/// Why a store could not do what it was asked.
enum class store_failure : std::uint8_t {
  unavailable,  ///< the database cannot be reached, or the connection broke before a commit was sent
  conflict,     ///< rolled back by the database in favour of another transaction: try again at once
  in_doubt,     ///< the connection broke while a commit was under way; every write here is safe to repeat
  overloaded,   ///< no connection in time, or the database said that it is too busy
  rejected,     ///< the request itself is at fault; repeating it cannot help
};

[[nodiscard]] constexpr std::string_view to_string(store_failure kind) noexcept {
  switch (kind) {
    case store_failure::unavailable:
      return "unavailable";
    case store_failure::conflict:
      return "conflict";
    case store_failure::in_doubt:
      return "in_doubt";
    case store_failure::overloaded:
      return "overloaded";
    case store_failure::rejected:
      return "rejected";
  }
  return "unknown";
}

class store_error : public std::runtime_error {
 public:
  store_error(store_failure kind, const std::string& what) : std::runtime_error{what}, kind_{kind} {}
  [[nodiscard]] store_failure kind() const noexcept { return kind_; }

 private:
  store_failure kind_;
};

/// Decides the next step from the world as it stands under the store's lock.  Pure: it may be called again if
/// the transaction has to be repeated.  An empty result, or a step that changes nothing, leaves the database
/// as it is.
using decide = std::function<std::optional<step>(const world&)>;

/// What the application needs of a database.  Each member is one transaction: all of it happens, or none.
///
/// Thread safety  Every member from any thread.
/// Blocking       All of them block for the database; each bounds its own waiting.
/// Exceptions     store_error; nothing was changed then, except possibly for `in_doubt`.
class store {
 public:
  store() = default;
  store(const store&) = delete;
  store& operator=(const store&) = delete;
  virtual ~store() = default;

  /// Writes each engagement whose (origin, event id) is new to the ledger and adds its points to the pot, in
  /// one commit.  Repeats, within the batch too, change nothing.  An empty batch reads the pot.
  virtual record_result record(std::span<const engagement> batch, wall_time at) = 0;

  /// Counts the ballot unless its user has voted in that session, and adds its points to the ledger and the
  /// pot.
  virtual vote_status vote(const ballot& b) = 0;

  /// Locks the pot, reads the world, asks `d`, applies the step.  Returns the step that was committed with
  /// the world as it stands after it, or nothing.  Serialises with every other transition and with the points
  /// of `record`.
  struct transitioned {
    progression::step step;
    progression::world after;
  };
  virtual std::optional<transitioned> transition(const decide& d) = 0;

  /// The world at one instant.
  [[nodiscard]] virtual world read_world() = 0;

  /// The newest session, open or completed.
  [[nodiscard]] virtual std::optional<voting_session> latest_session() = 0;

  /// Weight of each metric in thousandths.
  [[nodiscard]] virtual std::map<std::string, std::int64_t, std::less<>> weights() = 0;

  /// Users by points, most first, ties by user id.
  [[nodiscard]] virtual std::vector<leader> leaders(int limit) = 0;
  [[nodiscard]] virtual user_engagement engagement_of(std::string_view user_id) = 0;

  [[nodiscard]] virtual audit_report audit() = 0;

  /// How many of the ledger's client event ids begin with `prefix`: what a load generator checks its sums
  /// with.
  [[nodiscard]] virtual std::int64_t count_events(std::string_view prefix) = 0;

  /// Throws store_error if the database does not answer.
  virtual void ping() = 0;

  [[nodiscard]] virtual store_stats stats() const = 0;
};

}  // namespace progression
