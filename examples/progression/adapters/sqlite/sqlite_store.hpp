// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "application/store.hpp"

namespace progression {

/// When a commit is on the disk.
enum class sqlite_sync : std::uint8_t {
  full,    ///< before it is acknowledged: survives a loss of power
  normal,  ///< at the next checkpoint: survives a crash of the process, but not always a loss of power
};

struct sqlite_options {
  std::string path;                              ///< a file; created if it is not there
  std::chrono::milliseconds busy_timeout{5000};  ///< longest wait for the write lock or a connection; >= 0
  sqlite_sync synchronous = sqlite_sync::full;
  std::size_t readers = 4;  ///< connections for reading, opened when first needed; > 0
};

/// The store in one file.
///
/// Model          WAL: one writer at a time over all processes, readers see the last commit and never wait
///                for it.
/// Blocking       Every member waits at most twice the busy timeout: once for its turn within this process,
///                once for other processes.  Turns are first come, first served.
/// Several processes, and several stores in one process, may open the same file on a local file system.
class sqlite_store final : public store {
 public:
  /// Opens the file and brings its schema up to date.  Throws std::invalid_argument if an option is unfit,
  /// store_error if the file cannot be opened or has a schema that is newer or was changed.
  explicit sqlite_store(sqlite_options options);
  ~sqlite_store() override;

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
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace progression
