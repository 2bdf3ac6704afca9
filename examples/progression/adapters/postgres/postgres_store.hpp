// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "application/store.hpp"

namespace progression {

struct postgres_options {
  std::string conninfo;  ///< key=value pairs or a postgresql:// address; a transaction pooler's will do
  std::size_t max_connections = 8;
  std::size_t max_waiters = 64;  ///< callers that may wait for a connection; others are turned away at once
  std::chrono::milliseconds acquire_timeout{1000};
  std::chrono::seconds connect_timeout{2};
  std::chrono::milliseconds statement_timeout{5000};  ///< of each statement of a transaction
  std::chrono::milliseconds lock_timeout{2000};       ///< waiting for another transaction's lock
  std::chrono::minutes max_lifetime{30};              ///< of a connection
};

/// The port on PostgreSQL 12 or later.
///
/// Model          `record` is one statement, one round trip and one commit for the whole batch.  Every writer
///                takes the lock of the pot's row first: no two can deadlock, and every row of the ledger
///                bears the cycle of the pot that its points fell into.
/// Session state  None: statements without names, settings and locks of the transaction only.  A pooler in
///                transaction mode may stand between.
/// Blocking       A call waits for a connection, and then for the server at most four times the longer
///                timeout: one that stays silent so long is hung up on.  Not so the constructor, `audit` and
///                `count_events`.
/// Schema         Made and brought up to date by the constructor, under a lock of the database.
class postgres_store final : public store {
 public:
  /// Connects.  Throws std::invalid_argument for a wrong option and store_error if the database does not
  /// answer, or holds a newer or a changed schema.
  explicit postgres_store(const postgres_options& options);
  ~postgres_store() override;

  record_result record(std::span<const engagement> batch, wall_time at) override;
  vote_status vote(const ballot& b) override;
  std::optional<transitioned> transition(const decide& d) override;
  [[nodiscard]] world read_world() override;
  [[nodiscard]] std::optional<voting_session> latest_session() override;
  [[nodiscard]] std::map<std::string, std::int64_t, std::less<>> weights() override;
  [[nodiscard]] std::vector<leader> leaders(int limit) override;
  [[nodiscard]] user_engagement engagement_of(std::string_view user_id) override;
  [[nodiscard]] audit_report audit() override;
  [[nodiscard]] std::int64_t count_events(std::string_view prefix) override;
  void ping() override;
  [[nodiscard]] store_stats stats() const override;

 private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

}  // namespace progression
