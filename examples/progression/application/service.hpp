// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/outcome.hpp>

#include "application/errors.hpp"
#include "application/event.hpp"
#include "application/store.hpp"
#include "domain/cycle.hpp"
#include "domain/model.hpp"
#include "domain/tree.hpp"

namespace progression {

/// Every protection can be switched off, so that what it does can be measured.
struct service_options {
  // Recording: many callers, one commit.
  bool batching = true;
  std::size_t max_batch = 512;     ///< callers whose engagements share one commit
  std::size_t max_commit = 4096;   ///< messages that share one commit; at least max_messages
  std::size_t max_waiting = 4096;  ///< callers waiting for their batch; one more is refused with `full`
  weir::duration linger = std::chrono::milliseconds{2};  ///< a leader waits so long for others, never alone

  // Weights and rates.
  bool cache_weights = true;
  weir::duration weights_ttl = std::chrono::seconds{60};

  // Unlock check: at most one at a time here; the database decides in any case.
  bool coalesce_checks = true;
  weir::duration check_interval = std::chrono::seconds{30};  ///< between the checks that nothing triggered

  // Rate limits, in messages.
  bool limit_users = true;
  std::uint32_t user_burst = 60;
  std::uint32_t user_per_second = 20;
  std::size_t max_users = 10'000;  ///< whose rate is remembered
  bool limit_total = true;
  std::uint32_t total_burst = 20'000;
  std::uint32_t total_per_second = 100'000;

  // The database port.
  bool retrying = true;
  std::uint32_t max_attempts = 5;
  bool breaking = true;
  std::uint32_t failures_to_open = 5;  ///< consecutive
  weir::duration open_for = std::chrono::seconds{2};
  weir::duration store_timeout = std::chrono::seconds{10};  ///< for all attempts of one batch together

  std::int64_t max_contribution = 1'000'000;  ///< whole points of one `contribute`
  std::size_t max_messages = 1000;            ///< of one `handle_batch`
  cycle_rules rules = {};
  std::uint64_t seed = 0;  ///< of what is left to chance; 0 takes one from the system

  // Time, for tests.
  weir::time_point (*now)() noexcept = &std::chrono::steady_clock::now;
  wall_time (*wall_now)() = nullptr;  ///< nullptr: the system's clock
};

/// One message of a client.  Limits: `event_id`, `platform`, `platform_id` and `metric` 1..100 bytes,
/// `username` 0..100, `text` at most 10'000, no control characters in any but `text`, `value` 1..1'000'000.
struct message {
  std::string event_id;  ///< unique for what happened: the same id again is a repeat and changes nothing
  std::string platform;
  std::string platform_id;
  std::string username = {};
  std::string metric = "message";
  std::int64_t value = 1;
  std::string text = {};  ///< looked at, not kept
};

/// A message that is committed.
struct handled {
  record_status status = record_status::accepted;
  progression::points points;  ///< what it was worth; of no effect if it is a duplicate
  friend bool operator==(const handled&, const handled&) = default;
};

/// What became of one message of a batch.  A store_failure other than `rejected` means: not acknowledged,
/// send it again.
using verdict = std::variant<handled, weir::refusal, invalid_input, store_failure>;

struct vote_request {
  std::int64_t session = 0;
  std::int64_t option = 0;  ///< option id
  std::string platform;
  std::string platform_id;
  std::string username = {};
};

struct contribution {
  std::string event_id;
  std::int64_t amount = 0;  ///< whole points, 1..max_contribution
};

struct node_view {
  const node* definition = nullptr;  ///< lives as long as the service
  int level = 0;                     ///< unlocked
  int available_level = 0;           ///< that may be unlocked next, 0 if none
  points cost;                       ///< of each level
};

struct session_view {
  voting_session session;
  bool accepts_votes = false;  ///< voting, and its time is not over
};

struct status_view {
  int unlocked_nodes = 0;
  int total_nodes = 0;
  int unlocked_levels = 0;
  int total_levels = 0;
  bool all_unlocked = false;
  progression::pot pot;
  std::optional<session_view> session;  ///< the open one
};

struct progress_view {
  progression::pot pot;
  std::string target_name;  ///< of the goal's node; empty without a goal
  int percent = 0;          ///< 0..100, rounded down; 0 without a goal
};

struct service_stats {
  std::uint64_t accepted = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t invalid = 0;
  std::uint64_t refused_user_rate = 0;
  std::uint64_t refused_total_rate = 0;
  std::uint64_t refused_circuit = 0;
  std::uint64_t refused_full = 0;
  std::uint64_t refused_timed_out = 0;
  std::uint64_t refused_closed = 0;  ///< draining
  std::uint64_t store_errors = 0;    ///< messages that a store error kept from being acknowledged

  std::uint64_t batches = 0;
  std::uint64_t batched_messages = 0;
  std::uint64_t largest_batch = 0;
  std::uint64_t queued = 0;   ///< gauge: callers waiting for their batch
  std::uint64_t waiting = 0;  ///< gauge: callers inside, whatever for

  std::uint64_t weight_loads = 0;
  std::uint64_t weight_hits = 0;

  std::uint64_t check_triggers = 0;
  std::uint64_t checks = 0;   ///< executed
  std::uint64_t steps = 0;    ///< committed by this process
  std::uint64_t unlocks = 0;  ///< committed by this process
  std::uint64_t failed_checks = 0;

  std::uint64_t attempts = 0;  ///< at the database, of all that is retried
  std::uint64_t retries = 0;
  std::string_view circuit = "closed";  ///< closed, open or half_open; `off` if switched off
  std::uint64_t circuit_opened = 0;
  std::uint64_t tracked_users = 0;
  std::uint64_t sink_errors = 0;

  store_stats store;
};

/// The use cases.  Composes the parts of weir; knows neither SQL nor HTTP.
///
/// Thread safety  Every member from any thread, except the destructor.
/// Refusals       rate_limited, full, circuit_open, timed_out, cancelled and closed (after `drain` began),
/// each
///                with the time after which to ask again.  What is refused was not recorded.
/// Exceptions     invalid_input for what can never be accepted; store_error if the database failed and no
///                circuit was open yet.  Nothing was acknowledged then, but it may be recorded: sent again
///                under its event id it is recorded once.
/// In doubt       If the connection breaks during a commit, the repetition may find its own work done: a
///                message is then called a duplicate, a vote already cast, and the events of a step are lost.
class service {
 public:
  /// `db` and what `sink` refers to outlive the service.  Throws std::invalid_argument for a bad option.
  service(progression::tree tree, store& db, service_options options = {}, event_sink sink = {});
  service(const service&) = delete;
  service& operator=(const service&) = delete;
  ~service();

  /// Grants what is free, sets a goal and opens a vote where there is none.  Throws store_error.
  void start();

  [[nodiscard]] weir::outcome<handled> handle(const message& m, weir::deadline deadline = {},
                                              std::stop_token stop = {});

  /// A verdict for each message, in order; the admitted ones share one commit.  Throws invalid_input only if
  /// there are more than `max_messages`.
  [[nodiscard]] std::vector<verdict> handle_batch(std::span<const message> messages,
                                                  weir::deadline deadline = {}, std::stop_token stop = {});

  /// A vote that is counted contributes one whole point.
  [[nodiscard]] weir::outcome<vote_status> vote(const vote_request& request, weir::deadline deadline = {},
                                                std::stop_token stop = {});

  /// For administrators; no rate limit.
  [[nodiscard]] weir::outcome<handled> contribute(const contribution& c, weir::deadline deadline = {},
                                                  std::stop_token stop = {});

  /// To be called about once a second: repeats a check that failed and, every `check_interval`, checks what
  /// another process may have left.  Never throws for the database's sake.
  void tick();

  // Reads.  Refused with circuit_open while the database is known to be down.
  [[nodiscard]] const progression::tree& definition() const noexcept;
  [[nodiscard]] weir::outcome<std::vector<node_view>> tree();
  [[nodiscard]] weir::outcome<status_view> status();
  [[nodiscard]] weir::outcome<std::optional<session_view>> session();  ///< the newest, open or completed
  [[nodiscard]] weir::outcome<progress_view> unlock_progress();
  [[nodiscard]] weir::outcome<std::vector<leader>> leaderboard(std::int64_t limit = 10);  ///< limit 1..100
  [[nodiscard]] weir::outcome<user_engagement> engagement(std::string_view platform,
                                                          std::string_view platform_id);

  /// Whether the database answers now; asks it, circuit or not.  For a readiness probe.
  [[nodiscard]] bool ready() noexcept;

  /// Forgets the weights; the next message loads them anew.
  void reload_weights();

  /// From now on everything new is refused with `closed`; waits for what was admitted.  Returns how many
  /// callers were left at the deadline, 0 if none: then nothing here touches the store any more.
  std::size_t drain(weir::deadline deadline);

  [[nodiscard]] service_stats stats() const;  ///< never blocks for the database

 private:
  class impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace progression
