// SPDX-License-Identifier: BSL-1.0
#include <sqlite3.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "progression/store/conformance.hpp"
#include "progression/store/sqlite_file.hpp"

namespace progression::conformance {

namespace {

using namespace std::chrono_literals;

class sqlite_database final : public database {
 public:
  std::unique_ptr<store> open() override {
    return std::make_unique<sqlite_store>(sqlite_options{.path = directory_.file(), .busy_timeout = 30s});
  }

 private:
  temporary_directory directory_;
};

/// Files of this process cannot grow past a size for as long as this lives: what a full disk is to a
/// database.
class file_size_limit final {
 public:
  explicit file_size_limit(rlim_t bytes) {
    before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit tight{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
  }
  file_size_limit(const file_size_limit&) = delete;
  file_size_limit& operator=(const file_size_limit&) = delete;
  ~file_size_limit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_handler_);
  }

 private:
  rlimit before_{};
  void (*before_handler_)(int) = nullptr;
};

std::optional<store_failure> failure_to_open(const std::string& path) {
  return failure_of([&] { sqlite_store{{.path = path, .busy_timeout = 10ms}}; });
}

}  // namespace

std::unique_ptr<database> make_database() { return std::make_unique<sqlite_database>(); }

TEST_CASE("options that are unfit are refused by name", "[sqlite_store]") {
  CHECK_THROWS_AS(sqlite_store({.path = ""}), std::invalid_argument);
  CHECK_THROWS_AS(sqlite_store({.path = ":memory:"}), std::invalid_argument);
  CHECK_THROWS_AS(sqlite_store({.path = "x", .busy_timeout = -1ms}), std::invalid_argument);
  CHECK_THROWS_AS(sqlite_store({.path = "x", .readers = 0}), std::invalid_argument);
}

TEST_CASE("the database itself refuses what would break an invariant", "[sqlite_store]") {
  const temporary_directory directory;
  sqlite_store s{{.path = directory.file()}};
  fill(s, "a", points::whole(9));
  step grant;
  grant.granted = {{.node = "lamp", .level = 1}};
  commit(s, grant);
  const auto ended = open_session(s, {{.node = "old", .level = 1}});
  s.vote(vote_of("chat:ann", ended, 0));
  end_session(s, ended.id, ended.options[0].id);
  const auto open = open_session(s, {{.node = "a", .level = 1}, {.node = "b", .level = 1}});
  s.vote(vote_of("chat:ann", open, 0));
  const std::string before = describe_all(s);

  raw_database raw{directory.file()};
  const std::string old_session = std::to_string(ended.id);
  const std::string old_option = std::to_string(ended.options[0].id);
  const std::string session = std::to_string(open.id);
  const std::string option = std::to_string(open.options[0].id);
  const auto ballot_row = [](const std::string& in, const std::string& user, const std::string& choice) {
    return "INSERT INTO votes VALUES (" + in + ", '" + user + "', " + choice + ", 1)";
  };
  const std::vector<std::string> forbidden{
      "INSERT INTO ledger VALUES ('client', 'a', 'u', 'm', 1, 1, 1, 1)",  // I1
      "INSERT INTO ledger VALUES ('nowhere', 'b', 'u', 'm', 1, 1, 1, 1)",
      "INSERT INTO ledger VALUES ('client', 'b', 'u', 'm', 1, -1, 1, 1)",
      "INSERT INTO ledger VALUES ('client', 'b', 'u', 'm', 1, 1.5, 1, 1)",
      "INSERT INTO pot (id, cycle, filled, lifetime) VALUES (2, 1, 0, 0)",  // I3
      "UPDATE pot SET filled = -1",
      "UPDATE pot SET filled = filled + 9223372036854775807",  // I12
      "UPDATE pot SET goal_node = 'x'",
      "INSERT INTO sessions (status, started_at, ends_at) VALUES ('frozen', 1, 2)",  // I3
      "UPDATE sessions SET winner = " + option + " WHERE id = " + session,
      "UPDATE sessions SET status = 'completed', winner = " + old_option + " WHERE id = " + session,
      "UPDATE sessions SET winner = NULL WHERE status = 'completed'",  // I8
      "UPDATE sessions SET status = 'voting' WHERE status = 'completed'",
      "INSERT INTO unlocks (node, level, source, unlocked_at) VALUES ('lamp', 1, 'vote', 1)",  // I4
      "INSERT INTO unlocks (node, level, source, unlocked_at) VALUES ('lamp', 3, 'vote', 1)",
      "INSERT INTO cycles VALUES (1, 'lamp', 1, 9, 5, 3, 0, 1)",  // I2
      "INSERT INTO cycles VALUES (1, 'oven', 1, 9, 9, 0, 0, 1)",
      ballot_row(session, "chat:ann", option),  // I8
      ballot_row(session, "chat:ann", std::to_string(open.options[1].id)),
      ballot_row(session, "chat:bob", old_option),
      ballot_row(old_session, "chat:bob", old_option),
  };
  for (const std::string& sql : forbidden) {
    INFO(sql);
    CHECK(raw.run(sql) == SQLITE_CONSTRAINT);
  }
  CHECK(describe_all(s) == before);
}

TEST_CASE("a schema that this program does not know is refused and left alone", "[sqlite_store]") {
  const temporary_directory directory;
  const auto changed_by = [&](const std::string& sql) {
    std::filesystem::remove(directory.file());
    {
      const sqlite_store fresh{{.path = directory.file()}};
    }
    CHECK(raw_database{directory.file()}.run(sql) == SQLITE_OK);
    return failure_to_open(directory.file());
  };
  CHECK(changed_by("INSERT INTO schema_migrations VALUES (99, 'x', 0)") == store_failure::rejected);
  CHECK(changed_by("UPDATE schema_migrations SET checksum = 'x'") == store_failure::rejected);
  CHECK(changed_by("DELETE FROM schema_migrations WHERE version = 1; INSERT INTO schema_migrations VALUES "
                   "(0, 'x', 0)") == store_failure::rejected);
  CHECK(changed_by("SELECT 1") == std::nullopt);

  const temporary_directory other;
  CHECK(raw_database{other.file()}.run("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)") ==
        SQLITE_OK);
  CHECK(failure_to_open(other.file()) == store_failure::rejected);
  CHECK(raw_database{other.file()}.run("SELECT * FROM theirs; SELECT 1 FROM pot") == SQLITE_ERROR);
}

TEST_CASE("a file that is no database is refused, and one that cannot be is unavailable", "[sqlite_store]") {
  const temporary_directory directory;
  std::ofstream{directory.file()} << std::string(8'192, 'x');
  CHECK(failure_to_open(directory.file()) == store_failure::rejected);
  CHECK(failure_to_open(directory.file() + "/inside/of/a/file") == store_failure::unavailable);
}

TEST_CASE("many stores may create the same file at once", "[sqlite_store]") {
  const temporary_directory directory;
  const auto thrown = in_threads(8, [&](std::size_t i) {
    sqlite_store s{{.path = directory.file(), .busy_timeout = 30s}};
    record_one(s, message(std::to_string(i)));
  });
  CHECK(thrown.empty());
  sqlite_store s{{.path = directory.file()}};
  CHECK(s.audit().ledger_entries == 8);
}

TEST_CASE("a writer that another process keeps waiting says overloaded, readers go on", "[sqlite_store]") {
  const temporary_directory directory;
  sqlite_store s{{.path = directory.file(), .busy_timeout = 1ms}};
  record_one(s, message("a"));
  raw_database other{directory.file()};
  CHECK(other.run("BEGIN IMMEDIATE") == SQLITE_OK);
  CHECK(failure_of([&] { record_one(s, message("b")); }) == store_failure::overloaded);
  CHECK(failure_of([&] { commit(s, {}); }) == store_failure::overloaded);
  CHECK(s.read_world().pot.filled == points::whole(1));
  CHECK(s.audit().ledger_entries == 1);
  CHECK(other.run("ROLLBACK") == SQLITE_OK);
  CHECK(record_one(s, message("b")).status.at(0) == record_status::accepted);
  CHECK(s.stats().connections_in_use == 0);
}

TEST_CASE("calls that do not get their turn in time say overloaded and are counted", "[sqlite_store]") {
  const temporary_directory directory;
  sqlite_store s{{.path = directory.file(), .busy_timeout = 1ms, .readers = 1}};
  std::vector<std::optional<store_failure>> writers(3);
  std::optional<store_failure> reader;
  s.transition([&](const world&) {
    // The write lock is held here, a reader's connection is not.
    const auto thrown = in_threads(writers.size(), [&](std::size_t i) {
      writers[i] = failure_of([&] { record_one(s, message("a")); });
      if (i == 0) reader = failure_of([&] { s.ping(); });
    });
    CHECK(thrown.empty());
    CHECK(s.stats().connections_in_use == 1);
    return std::nullopt;
  });
  for (const auto& failure : writers) CHECK(failure == store_failure::overloaded);
  CHECK_FALSE(reader);
  CHECK(s.stats().acquire_timeouts == writers.size());
  CHECK(s.stats().connections_in_use == 0);
  CHECK(s.stats().connections_open == 2);
}

TEST_CASE("a connection that could not be opened leaves its place to the next call", "[sqlite_store]") {
  const temporary_directory directory;
  sqlite_store s{{.path = directory.file(), .busy_timeout = 1ms, .readers = 1}};
  const auto here = std::filesystem::path{directory.file()}.parent_path();
  const std::filesystem::path elsewhere = here.string() + "-moved";
  std::filesystem::rename(here, elsewhere);
  CHECK(failure_of([&] { s.ping(); }) == store_failure::unavailable);
  CHECK(failure_of([&] { s.ping(); }) == store_failure::unavailable);
  std::filesystem::rename(elsewhere, here);
  CHECK_FALSE(failure_of([&] { s.ping(); }));
  CHECK(s.stats().acquire_timeouts == 0);
}

TEST_CASE("a disk that fails in the middle of a commit loses nothing that was acknowledged",
          "[sqlite_store]") {
  const temporary_directory directory;
  sqlite_store s{{.path = directory.file()}};
  set_goal(s, {.node = "lamp", .level = 1}, points::whole(3));
  const auto log = [&] { return std::filesystem::file_size(directory.file() + "-wal"); };

  int failures = 0;
  int successes = 0;
  std::vector<std::string> acknowledged;
  // The room left for the log grows until a commit fits: each write of it fails once.
  for (rlim_t room = 0; successes < 3; room += 2'048) {
    const std::string id = "event-" + std::to_string(room);
    std::optional<store_failure> failure;
    {
      const file_size_limit limit{static_cast<rlim_t>(log()) + room};
      failure = failure_of([&] { record_one(s, message(id)); });
    }
    if (failure) {
      ++failures;
      CHECK((failure == store_failure::unavailable || failure == store_failure::in_doubt));
    } else {
      ++successes;
      acknowledged.push_back(id);
    }
    CHECK(record_one(s, message(id)).status.size() ==
          1);  // asking again is safe, whatever the first answer was
    CHECK(s.count_events(id) == 1);
    s.transition(buy_levels(points::whole(1)));
    check_invariants(s);
  }
  CHECK(failures > 3);
  for (const std::string& id : acknowledged)
    CHECK(record_one(s, message(id)).status.at(0) == record_status::duplicate);
  CHECK(s.audit().ledger_entries == failures + successes);
}

}  // namespace progression::conformance
