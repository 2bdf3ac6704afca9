// SPDX-License-Identifier: BSL-1.0
#include "adapters/sqlite/connection.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "application/store.hpp"

namespace progression::sqlite {

namespace {

store_failure kind_of(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_BUSY:
      return code == SQLITE_BUSY_SNAPSHOT ? store_failure::conflict : store_failure::overloaded;
    case SQLITE_LOCKED:
    case SQLITE_ABORT:
      return store_failure::conflict;
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
      return store_failure::overloaded;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
      return store_failure::unavailable;
    default:  // a constraint, a value out of range, not a database
      return store_failure::rejected;
  }
}

/// After these the file, or what the connection believes of it, is in question: it is opened anew.
bool breaks_connection(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_READONLY:
      return true;
    default:
      return false;
  }
}

int as_length(std::size_t n) {
  if (n > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw store_error{store_failure::rejected, "sqlite: text is too long"};
  }
  return static_cast<int>(n);
}

}  // namespace

cursor::~cursor() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool cursor::next() {
  if (!started_) {
    started_ = true;
    // [relaxed] a count, nothing is published by it
    owner_.count_.statements.fetch_add(1, std::memory_order_relaxed);
  }
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) owner_.fail(code);
  return false;
}

std::int64_t cursor::finish() {
  const std::uint32_t before = owner_.total_changes();
  while (next()) {
  }
  return owner_.total_changes() - before;
}

bool cursor::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

std::int64_t cursor::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string cursor::text(int column) const {
  const unsigned char* bytes = sqlite3_column_text(statement_, column);
  if (bytes == nullptr) return {};
  return {reinterpret_cast<const char*>(bytes),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

void cursor::bind(int index, std::int64_t value) {
  if (const int code = sqlite3_bind_int64(statement_, index, value); code != SQLITE_OK) owner_.fail(code);
}

void cursor::bind(int index, std::string_view value) {
  const char* bytes = value.data() != nullptr ? value.data() : "";  // null would be bound as NULL
  const int code = sqlite3_bind_text(statement_, index, bytes, as_length(value.size()), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) owner_.fail(code);
}

void cursor::bind(int index, std::nullopt_t) {
  if (const int code = sqlite3_bind_null(statement_, index); code != SQLITE_OK) owner_.fail(code);
}

void connection::close_database::operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
void connection::finalize_statement::operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }

connection::connection(const connection_options& options, counters& count) : count_{count} {
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (options.read_only ? 0 : SQLITE_OPEN_CREATE);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(options.path.c_str(), &db, flags, nullptr);
  db_.reset(db);
  if (code != SQLITE_OK)
    throw store_error{kind_of(code), "sqlite: " + options.path + ": " + sqlite3_errstr(code)};
  set_up(options);
}

connection::~connection() = default;

void connection::set_up(const connection_options& options) {
  sqlite3_extended_result_codes(db_.get(), 1);
  const auto patience =
      std::min<std::chrono::milliseconds::rep>(options.busy_timeout.count(), std::numeric_limits<int>::max());
  sqlite3_busy_timeout(db_.get(), static_cast<int>(patience));
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (options.read_only) {
    run("PRAGMA query_only = 1");
    return;
  }
  write_ahead(options.busy_timeout);
  run(options.sync_each_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  run("PRAGMA journal_size_limit = 67108864");
}

/// The busy handler is not asked while the journal mode changes, so two processes that create the file
/// together have to take turns here.
void connection::write_ahead(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    try {
      cursor mode = query("PRAGMA journal_mode = WAL");
      if (mode.next() && mode.text(0) == "wal") return;
      throw store_error{store_failure::unavailable, "sqlite: this file system does not support WAL"};
    } catch (const store_error& e) {
      if (e.kind() != store_failure::overloaded && e.kind() != store_failure::conflict) throw;
      if (std::chrono::steady_clock::now() >= deadline) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
}

connection::statement connection::prepare(const char* sql, std::size_t length, const char** rest) {
  sqlite3_stmt* s = nullptr;
  const unsigned flags = rest == nullptr ? SQLITE_PREPARE_PERSISTENT : 0U;
  const int code = sqlite3_prepare_v3(db_.get(), sql, as_length(length), flags, &s, rest);
  if (code != SQLITE_OK) fail(code);
  return statement{s};
}

sqlite3_stmt* connection::prepared(std::string_view sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    found = statements_.emplace(sql, prepare(sql.data(), sql.size(), nullptr)).first;
  }
  return found->second.get();
}

void connection::script(const std::string& sql) {
  const char* rest = sql.data();
  const char* const end = sql.data() + sql.size();
  while (rest != end) {
    const statement s = prepare(rest, static_cast<std::size_t>(end - rest), &rest);
    if (s) cursor{*this, s.get()}.finish();  // null: nothing but space was left
  }
}

bool connection::in_transaction() const noexcept { return sqlite3_get_autocommit(db_.get()) == 0; }

std::uint32_t connection::total_changes() const noexcept {
  return static_cast<std::uint32_t>(sqlite3_total_changes(db_.get()));
}

void connection::fail(int code) {
  std::string what = "sqlite: ";
  what += db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
  if (breaks_connection(code)) usable_ = false;
  throw store_error{kind_of(code), what};
}

transaction::transaction(connection& c, access mode) : connection_{c}, changes_before_{c.total_changes()} {
  c.run(mode == access::write ? "BEGIN IMMEDIATE" : "BEGIN");
}

transaction::~transaction() {
  if (!connection_.in_transaction()) return;  // committed, or rolled back by the database itself
  try {
    connection_.run("ROLLBACK");
  } catch (...) {
    connection_.usable_ = false;  // closing it rolls back as well
  }
}

void transaction::commit() {
  try {
    connection_.run("COMMIT");
  } catch (const store_error& e) {
    // What was written may or may not survive a restart once the disk has failed in the middle.
    if (!connection_.usable_) throw store_error{store_failure::in_doubt, e.what()};
    throw;
  }
  // [relaxed] a count, nothing is published by it
  if (connection_.total_changes() != changes_before_)
    connection_.count_.commits.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace progression::sqlite
