// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <sqlite3.h>
#include <stdlib.h>  // mkdtemp

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "adapters/sqlite/sqlite_store.hpp"

namespace progression::conformance {

/// A directory for one test, removed with all that is in it.
class temporary_directory final {
 public:
  temporary_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "progression-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"mkdtemp failed for " + name};
    path_ = name;
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file() const { return (path_ / "progression.db").string(); }

 private:
  std::filesystem::path path_;
};

/// Raw access to the file, past the store.
class raw_database final {
 public:
  explicit raw_database(const std::string& path) {
    sqlite3* db = nullptr;
    sqlite3_open(path.c_str(), &db);
    db_.reset(db);
    run("PRAGMA foreign_keys = 1");
  }
  /// The result code of the statements.
  int run(const std::string& sql) { return sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr); }

 private:
  struct close {
    void operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
  };
  std::unique_ptr<sqlite3, close> db_;
};

}  // namespace progression::conformance
