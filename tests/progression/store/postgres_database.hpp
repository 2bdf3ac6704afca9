// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string>

#include <pqxx/pqxx>

namespace progression::test {

/// An empty database of its own in the cluster of this process, dropped at the end; with a role of its own
/// that is no superuser.
///
/// The cluster is the one that WEIR_TEST_POSTGRES names, or else a private one, started on first use and gone
/// with the process however it ends.  Skips the test, loudly, where no cluster can be had.
class postgres_database {
 public:
  postgres_database();
  postgres_database(const postgres_database&) = delete;
  postgres_database& operator=(const postgres_database&) = delete;
  ~postgres_database();

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// For the role of the database; for the superuser.
  [[nodiscard]] std::string conninfo() const;
  [[nodiscard]] std::string superuser_conninfo() const;

  /// One statement of the superuser; the first field of the answer, or nothing.
  std::string ask(const std::string& sql) const;

  /// Kills every session of the role in this database.
  void kill_backends() const;

 private:
  std::string name_;
};

}  // namespace progression::test
