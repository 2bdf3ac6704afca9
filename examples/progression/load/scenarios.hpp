// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "application/store.hpp"
#include "load/http_client.hpp"

namespace progression::load {

/// What was offered, what the service said and what the database holds.
struct report {
  std::string name;
  std::string store;
  std::int64_t offered = 0;   ///< messages sent, repeats included
  std::int64_t accepted = 0;  ///< answered so, as are the next two
  std::int64_t duplicates = 0;
  std::int64_t rejected = 0;  ///< refused, invalid, or left without an answer
  std::int64_t recorded = 0;  ///< found in the database
  std::int64_t lost = 0;      ///< acknowledged, but not found
  std::int64_t unlocks = 0;
  std::int64_t duplicate_unlocks = 0;
  std::int64_t statements = 0;
  std::int64_t commits = 0;
  double seconds = 0;
  double p50_ms = 0;
  double p99_ms = 0;
  std::vector<std::string> failures;  ///< empty: pass

  void require(bool good, const std::string& otherwise) {
    if (!good) failures.push_back(otherwise);
  }
  [[nodiscard]] bool passed() const noexcept { return failures.empty(); }
};

/// One service, in as many processes as there are servers, on one database that is looked at directly.
struct target_system {
  std::vector<endpoint> servers;
  progression::store* db = nullptr;
  std::string store_name;  ///< "sqlite" or "postgres"
  std::string admin_key;
  std::string run_id;  ///< what every event id of this run begins with
};

struct burst_options {
  std::size_t messages = 100;
  /// The pot is brought so far from its goal beforehand that only recording is measured.
  bool without_unlock = false;
};

/// Messages at once on a warm service, each on a connection of its own; then a tenth of them again.
[[nodiscard]] report burst(const target_system& system, const std::string& name,
                           const burst_options& options);

/// A vote, then messages of `connections` connections at once that take the pot over its goal.
[[nodiscard]] report unlock_race(const target_system& system, std::size_t connections);

struct sustained_options {
  double seconds = 10;
  std::size_t connections = 64;
  std::size_t batch = 1;  ///< messages of one request
  double per_second = 0;  ///< requests; 0: closed loop
};

/// Messages for some seconds.
[[nodiscard]] report sustained(const target_system& system, const sustained_options& options);

}  // namespace progression::load
