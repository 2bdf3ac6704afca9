// SPDX-License-Identifier: BSL-1.0
#include "adapters/sqlite/schema.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "application/store.hpp"

namespace progression::sqlite {

namespace {

// Once released, a migration is never edited: the checksum of what was applied is in the file.
// Times are microseconds since 1970, points are thousandths.
constexpr std::string_view tables = R"sql(
CREATE TABLE users (
  user_id  TEXT PRIMARY KEY CHECK (user_id <> ''),
  username TEXT NOT NULL,
  points   INTEGER NOT NULL CHECK (typeof(points) = 'integer' AND points >= 0)
) WITHOUT ROWID;
CREATE INDEX users_by_points ON users (points DESC, user_id);

CREATE TABLE ledger (
  origin   TEXT NOT NULL CHECK (origin IN ('client', 'vote', 'admin')),
  event_id TEXT NOT NULL CHECK (event_id <> ''),
  user_id  TEXT NOT NULL CHECK (user_id <> ''),
  metric   TEXT NOT NULL CHECK (metric <> ''),
  value    INTEGER NOT NULL CHECK (typeof(value) = 'integer' AND value >= 0),
  points   INTEGER NOT NULL CHECK (typeof(points) = 'integer' AND points >= 0),
  cycle    INTEGER NOT NULL CHECK (cycle >= 1),
  at       INTEGER NOT NULL,
  PRIMARY KEY (origin, event_id)
);
CREATE INDEX ledger_by_user ON ledger (user_id);

-- The one pot. lifetime is the sum of the ledger: bounding it bounds every other sum of points.
CREATE TABLE pot (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  cycle      INTEGER NOT NULL CHECK (cycle >= 1),
  filled     INTEGER NOT NULL CHECK (typeof(filled) = 'integer' AND filled >= 0),
  lifetime   INTEGER NOT NULL CHECK (typeof(lifetime) = 'integer' AND lifetime >= filled),
  goal_node  TEXT,
  goal_level INTEGER CHECK (goal_level >= 1),
  goal_cost  INTEGER CHECK (goal_cost >= 0),
  CHECK ((goal_node IS NULL) = (goal_level IS NULL) AND (goal_node IS NULL) = (goal_cost IS NULL))
);
INSERT INTO pot (id, cycle, filled, lifetime) VALUES (1, 1, 0, 0);

-- Levels of a node unlock in order: each one refers to the one before.
CREATE TABLE unlocks (
  node           TEXT NOT NULL CHECK (node <> ''),
  level          INTEGER NOT NULL CHECK (level >= 1),
  source         TEXT NOT NULL CHECK (source IN ('vote', 'admin', 'automatic')),
  unlocked_at    INTEGER NOT NULL,
  previous_level INTEGER GENERATED ALWAYS AS (CASE WHEN level > 1 THEN level - 1 END) STORED,
  UNIQUE (node, level),
  FOREIGN KEY (node, previous_level) REFERENCES unlocks (node, level)
);

-- What each unlock from the pot did with the points.
CREATE TABLE cycles (
  cycle     INTEGER PRIMARY KEY CHECK (cycle >= 1),
  node      TEXT NOT NULL,
  level     INTEGER NOT NULL,
  filled    INTEGER NOT NULL,
  cost      INTEGER NOT NULL CHECK (cost >= 0),
  rollover  INTEGER NOT NULL CHECK (rollover >= 0),
  discarded INTEGER NOT NULL CHECK (discarded >= 0),
  closed_at INTEGER NOT NULL,
  UNIQUE (node, level),
  CHECK (filled = cost + rollover + discarded),
  FOREIGN KEY (node, level) REFERENCES unlocks (node, level)
);

CREATE TABLE sessions (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  status     TEXT NOT NULL CHECK (status IN ('voting', 'frozen', 'completed')),
  started_at INTEGER NOT NULL,
  ends_at    INTEGER NOT NULL,
  winner     INTEGER CHECK (winner IS NULL OR status = 'completed'),
  FOREIGN KEY (id, winner) REFERENCES options (session, id)
);
CREATE UNIQUE INDEX one_open_session ON sessions ((1)) WHERE status <> 'completed';
CREATE TRIGGER completed_sessions_stay BEFORE UPDATE ON sessions WHEN OLD.status = 'completed'
BEGIN SELECT RAISE(ABORT, 'a completed session never changes'); END;

CREATE TABLE options (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  session    INTEGER NOT NULL REFERENCES sessions (id),
  node       TEXT NOT NULL CHECK (node <> ''),
  level      INTEGER NOT NULL CHECK (level >= 1),
  votes      INTEGER NOT NULL DEFAULT 0 CHECK (votes >= 0),
  reached_at INTEGER CHECK ((reached_at IS NULL) = (votes = 0)),
  UNIQUE (session, node, level),
  UNIQUE (session, id)
);

CREATE TABLE votes (
  session INTEGER NOT NULL,
  user_id TEXT NOT NULL CHECK (user_id <> ''),
  option  INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (session, user_id),
  FOREIGN KEY (session, option) REFERENCES options (session, id)
) WITHOUT ROWID;
CREATE TRIGGER votes_need_an_open_session BEFORE INSERT ON votes
WHEN (SELECT status FROM sessions WHERE id = NEW.session) <> 'voting'
BEGIN SELECT RAISE(ABORT, 'the session is not open'); END;

CREATE TABLE weights (
  metric TEXT PRIMARY KEY CHECK (metric <> ''),
  milli  INTEGER NOT NULL CHECK (typeof(milli) = 'integer' AND milli >= 0)
) WITHOUT ROWID;
INSERT INTO weights (metric, milli) VALUES
  ('message', 1000), ('command', 2000), ('item_crafted', 200000), ('item_used', 10000),
  ('search_performed', 25000), ('item_sold', 50000), ('item_bought', 50000), ('item_disassembled', 50000),
  ('slots_spin', 1000), ('slots_win', 1000), ('slots_big_win', 10000), ('slots_jackpot', 200000);
)sql";

constexpr std::array migrations{tables};  // version 1, 2, ...

/// FNV-1a, 64 bit: tells an edited migration, not a forged one.
constexpr std::uint64_t checksum(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::string checksum_text(std::string_view text) { return std::to_string(checksum(text)); }

[[noreturn]] void refuse(const std::string& why) {
  throw store_error{store_failure::rejected, "sqlite: schema: " + why};
}

std::int64_t now_micros() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

bool has_migrations_table(connection& c) {
  bool any = false;
  cursor table = c.query("SELECT name FROM sqlite_master WHERE type = 'table'");
  while (table.next()) {
    if (table.text(0) == "schema_migrations") return true;
    any = true;
  }
  if (any) refuse("the file belongs to another program");
  return false;
}

/// How many migrations the file has seen, each of them as it is known here.
std::size_t applied(connection& c) {
  if (!has_migrations_table(c)) {
    c.run(
        "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL, "
        "applied_at INTEGER NOT NULL)");
  }
  std::size_t count = 0;
  cursor row = c.query("SELECT version, checksum FROM schema_migrations ORDER BY version");
  while (row.next()) {
    const std::int64_t version = row.integer(0);
    if (version > std::int64_t{migrations.size()}) {
      refuse("version " + std::to_string(version) + " is newer than this program, which knows " +
             std::to_string(migrations.size()));
    }
    if (version != static_cast<std::int64_t>(count) + 1)
      refuse("a migration is missing before version " + std::to_string(version));
    if (row.text(1) != checksum_text(migrations.at(count))) {
      refuse("version " + std::to_string(version) + " was changed after it had been applied");
    }
    ++count;
  }
  return count;
}

}  // namespace

void migrate(connection& c) {
  for (;;) {
    transaction tx{c, access::write};
    const std::size_t done = applied(c);
    if (done < migrations.size()) {
      c.script(std::string{migrations.at(done)});
      c.run("INSERT INTO schema_migrations (version, checksum, applied_at) VALUES (?1, ?2, ?3)",
            static_cast<std::int64_t>(done) + 1, checksum_text(migrations.at(done)), now_micros());
    }
    tx.commit();
    if (done + 1 >= migrations.size()) return;
  }
}

}  // namespace progression::sqlite
