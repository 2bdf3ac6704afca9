// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace progression::sqlite {

struct counters {
  std::atomic<std::uint64_t> statements{0};
  std::atomic<std::uint64_t> commits{0};
};

struct connection_options {
  std::string path;
  std::chrono::milliseconds busy_timeout{0};
  bool sync_each_commit = true;
  bool read_only = false;
};

class connection;

/// One run of a prepared statement: bound when it is made, read row by row, reset when it is destroyed.
class cursor final {
 public:
  cursor(const cursor&) = delete;
  cursor& operator=(const cursor&) = delete;
  ~cursor();

  /// Moves on to the next row; false after the last one.
  bool next();
  /// Runs to the end and says how many rows a writing statement changed.
  std::int64_t finish();

  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string text(int column) const;

 private:
  friend class connection;
  struct unbound {};
  cursor(unbound, connection& owner, sqlite3_stmt* statement) noexcept
      : owner_{owner}, statement_{statement} {}
  template <class... Args>
  cursor(connection& owner, sqlite3_stmt* statement, const Args&... args)
      : cursor{unbound{}, owner, statement} {
    int index = 0;
    (bind(++index, args), ...);
  }

  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view value);
  void bind(int index, std::nullopt_t);
  template <class T>
  void bind(int index, const std::optional<T>& value) {
    if (value) {
      bind(index, *value);
    } else {
      bind(index, std::nullopt);
    }
  }

  connection& owner_;
  sqlite3_stmt* const statement_;
  bool started_ = false;
};

/// One connection, used by one thread at a time.  Every failure is a store_error.
class connection final {
 public:
  connection(const connection_options& options, counters& count);
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection();

  /// \param sql  Must outlive the connection (a literal): it is the key of the prepared statement.
  template <class... Args>
  [[nodiscard]] cursor query(std::string_view sql, const Args&... args) {
    return cursor{*this, prepared(sql), args...};
  }

  /// Runs a statement for its effect; the rows it changed.
  template <class... Args>
  std::int64_t run(std::string_view sql, const Args&... args) {
    return query(sql, args...).finish();
  }

  /// Runs all statements of a text, none of them cached.
  void script(const std::string& sql);

  /// False after a failure that leaves the state of the connection in question.
  [[nodiscard]] bool usable() const noexcept { return usable_; }
  [[nodiscard]] bool in_transaction() const noexcept;
  /// How many rows this connection has changed since it was opened, modulo 2^32.
  [[nodiscard]] std::uint32_t total_changes() const noexcept;

 private:
  friend class cursor;
  friend class transaction;
  struct close_database {
    void operator()(sqlite3* db) const noexcept;
  };
  struct finalize_statement {
    void operator()(sqlite3_stmt* s) const noexcept;
  };
  using statement = std::unique_ptr<sqlite3_stmt, finalize_statement>;

  void set_up(const connection_options& options);
  void write_ahead(std::chrono::milliseconds patience);
  sqlite3_stmt* prepared(std::string_view sql);
  statement prepare(const char* sql, std::size_t length, const char** rest);
  [[noreturn]] void fail(int code);

  counters& count_;
  bool usable_ = true;
  std::unique_ptr<sqlite3, close_database> db_;
  std::map<std::string_view, statement, std::less<>> statements_;  // finalized before db_ is closed
};

enum class access : std::uint8_t { read, write };

/// BEGIN now; ROLLBACK when destroyed, unless committed.  A writer holds the one write lock of the file from
/// the start, so that it never has to give up for another's sake half way.
class transaction final {
 public:
  transaction(connection& c, access mode);
  transaction(const transaction&) = delete;
  transaction& operator=(const transaction&) = delete;
  ~transaction();

  void commit();

 private:
  connection& connection_;
  const std::uint32_t changes_before_;
};

}  // namespace progression::sqlite
