// SPDX-License-Identifier: BSL-1.0
#include "adapters/postgres/postgres_store.hpp"

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "adapters/postgres/failure.hpp"
#include "adapters/postgres/pqxx_compat.hpp"
#include "adapters/postgres/statements.hpp"
#include "progression/store/conformance.hpp"
#include "progression/store/postgres_database.hpp"

namespace progression {

namespace conformance {

std::unique_ptr<database> make_database() {
  class postgres final : public database {
   public:
    std::unique_ptr<store> open() override {
      return std::make_unique<postgres_store>(postgres_options{.conninfo = data_.conninfo()});
    }

   private:
    test::postgres_database data_;
  };
  return std::make_unique<postgres>();
}

}  // namespace conformance

namespace {

using namespace std::chrono_literals;
using conformance::at;
using conformance::failure_of;
using conformance::in_threads;
using conformance::message;
using test::postgres_database;

/// Holds the pot's lock until it is destroyed.
class pot_lock {
 public:
  explicit pot_lock(const postgres_database& d) : connection_{d.superuser_conninfo()}, work_{connection_} {
    work_.exec("SELECT 1 FROM progression.pot FOR UPDATE");
  }

 private:
  pqxx::connection connection_;
  pqxx::work work_;
};

void await_lock_waiters(const postgres_database& d, int count) {
  const std::string sql = "SELECT count(*) >= " + std::to_string(count) +
                          " FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '" + d.name() +
                          "'";
  while (d.ask(sql) != "t") std::this_thread::yield();
}

template <class F>
pq::failure classified(pq::phase when, F f) {
  try {
    f();
  } catch (...) {
    return pq::classify(when);
  }
  FAIL("nothing was thrown");
  return {};
}

step granting(node_level what) {
  step s;
  s.granted = {std::move(what)};
  return s;
}

std::vector<engagement> messages(const std::string& prefix, int n) {
  std::vector<engagement> batch;
  for (int i = 0; i < n; ++i) batch.push_back(message(prefix + std::to_string(i)));
  return batch;
}

// What libpqxx does in surprising ways.

TEST_CASE("a connection that died is not replaced behind our back", "[postgres]") {
  const postgres_database database;
  pqxx::connection connection{database.conninfo()};
  pq::no_silent_reconnect(connection);
  {
    pqxx::work work{connection};
    work.exec("SELECT 1");
    work.commit();
  }
  database.kill_backends();
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto f = classified(pq::phase::open, [&] {
      pqxx::work work{connection};
      work.exec("SELECT 1");
    });
    CHECK(f.kind == store_failure::unavailable);
    CHECK_FALSE(f.keep_connection);
  }
  CHECK_FALSE(connection.is_open());
}

TEST_CASE("a serialization failure and a deadlock of the server are conflicts", "[postgres]") {
  const postgres_database database;
  database.ask("CREATE TABLE public.t AS SELECT i, 0 AS v FROM generate_series(1, 2) i");
  pqxx::connection a{database.superuser_conninfo()};
  pqxx::connection b{database.superuser_conninfo()};
  {
    pqxx::work first{a};
    pqxx::work second{b};
    second.exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    second.exec("SELECT * FROM public.t");
    first.exec("UPDATE public.t SET v = 1 WHERE i = 1");
    first.commit();
    const auto f = classified(pq::phase::open, [&] { second.exec("UPDATE public.t SET v = 2 WHERE i = 1"); });
    CHECK(f.kind == store_failure::conflict);
    CHECK(f.keep_connection);
  }
  pqxx::work first{a};
  pqxx::work second{b};
  second.exec("SET LOCAL deadlock_timeout = '10s'");  // the other one notices, and gives way
  first.exec("SET LOCAL deadlock_timeout = '10ms'");
  first.exec("UPDATE public.t SET v = 1 WHERE i = 1");
  second.exec("UPDATE public.t SET v = 1 WHERE i = 2");
  std::jthread other{[&] { second.exec("UPDATE public.t SET v = 1 WHERE i = 1"); }};
  while (database.ask("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0") std::this_thread::yield();
  const auto f = classified(pq::phase::open, [&] { first.exec("UPDATE public.t SET v = 1 WHERE i = 2"); });
  first.abort();
  CHECK(f.kind == store_failure::conflict);
  CHECK(f.keep_connection);
}

TEST_CASE("whatever keeps a connection from being made, the database is unavailable", "[postgres]") {
  const postgres_database database;
  const auto opened = [&](const std::string& conninfo) {
    return failure_of([&] { postgres_store{{.conninfo = conninfo}}; });
  };
  CHECK(opened(database.conninfo() + " dbname=no_such_database") == store_failure::unavailable);
  CHECK(opened("host=/no/such/directory dbname=x") == store_failure::unavailable);
  database.ask("ALTER ROLE " + database.name() + " CONNECTION LIMIT 0");
  CHECK(opened(database.conninfo()) == store_failure::unavailable);
}

TEST_CASE("a connection that breaks in a commit leaves it in doubt", "[postgres]") {
  const postgres_database database;
  database.ask("CREATE TABLE public.t (i int)");
  pqxx::connection connection{database.superuser_conninfo() + " application_name=victim"};
  pq::no_silent_reconnect(connection);
  pqxx::work work{connection};
  work.exec("INSERT INTO public.t VALUES (1)");
  database.ask(
      "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'victim'");
  const auto f = classified(pq::phase::committing, [&] { work.commit(); });
  CHECK(f.kind == store_failure::in_doubt);
  CHECK_FALSE(f.keep_connection);
}

TEST_CASE("a transaction left idle for too long is lost, not rejected", "[postgres]") {
  const postgres_database database;
  pqxx::connection connection{database.superuser_conninfo() + " application_name=victim"};
  pq::no_silent_reconnect(connection);
  pqxx::work work{connection};
  work.exec("SET LOCAL idle_in_transaction_session_timeout = 10");
  while (database.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'victim'") != "0") {
    std::this_thread::yield();
  }
  const auto f = classified(pq::phase::open, [&] { work.exec("SELECT 1"); });
  CHECK(f.kind == store_failure::unavailable);
  CHECK_FALSE(f.keep_connection);
}

TEST_CASE("the limits of a transaction bound its statements and end with it", "[postgres]") {
  const postgres_database database;
  const postgres_store store{{.conninfo = database.conninfo()}};
  pqxx::connection connection{database.superuser_conninfo()};
  {
    pqxx::work work{connection};
    pq::exec(work, pq::sql::lock_pot, std::string{"1234"}, std::string{"10"});
    const auto f = classified(pq::phase::open, [&] { work.exec("SELECT pg_sleep(60)"); });
    CHECK(f.kind == store_failure::overloaded);
    CHECK(f.keep_connection);
  }
  pqxx::nontransaction plain{connection};
  CHECK(pq::get<std::string>(plain.exec("SHOW lock_timeout"), 0, 0) == "0");
  CHECK(pq::get<std::string>(plain.exec("SHOW statement_timeout"), 0, 0) == "0");
  CHECK(pq::get<int>(plain.exec("SELECT count(*) FROM pg_prepared_statements"), 0, 0) == 0);
}

// The store on a real server.

TEST_CASE("the server counts the statements that the store counts, and none has a name", "[postgres]") {
  const postgres_database database;
  const std::string log = "pg_read_file(current_setting('unix_socket_directories') || '/log')";
  const auto logged = [&](const std::string& what) {
    return std::stoull(database.ask("SELECT count(*) FROM regexp_matches(" + log + ", '\\] " +
                                    database.name() + " LOG:  " + what + "', 'g')"));
  };
  try {
    logged("nothing");
  } catch (const std::exception& e) {
    SKIP("the log of this server cannot be read: " << e.what());
  }
  database.ask("ALTER ROLE " + database.name() + " SET log_statement = 'all'");
  store_stats s;
  {
    postgres_store store{{.conninfo = database.conninfo()}};
    store.record(messages("a", 100), at(0));
    store.record(messages("a", 100), at(0));
    store.record({}, at(0));
    const voting_session session = conformance::open_session(store, {{"lamp", 1}, {"pump", 1}});
    store.vote(conformance::vote_of("chat:ann", session, 0));
    store.vote(conformance::vote_of("chat:ann", session, 1));
    store.transition([](const world&) { return std::optional<step>{}; });
    CHECK_THROWS(
        store.transition([](const world&) -> std::optional<step> { throw std::runtime_error{"no"}; }));
    CHECK(failure_of([&] { store.record(std::vector{message("")}, at(0)); }) == store_failure::rejected);
    (void)store.read_world();
    (void)store.latest_session();
    (void)store.weights();
    (void)store.leaders(3);
    (void)store.engagement_of("chat:ann");
    (void)store.audit();
    (void)store.count_events("a");
    store.ping();
    s = store.stats();
  }
  CHECK(logged("(statement|execute)") == s.statements);
  CHECK(logged("(statement|execute <unnamed>)") == s.statements);
  CHECK(logged("statement: (COMMIT|commit)") + 1 == s.commits);  // the first batch commits by itself
}

TEST_CASE("a batch of a hundred is one statement and one commit", "[postgres]") {  // I10
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo()}};
  const auto before = store.stats();
  store.record(messages("a", 100), at(0));
  CHECK(store.stats().statements - before.statements == 1);
  CHECK(store.stats().commits - before.commits == 1);
}

TEST_CASE("no statement of the hot path is ever worth compiling to the planner", "[postgres]") {
  const postgres_database database;
  const postgres_store store{
      {.conninfo = database.conninfo()}};  // without statistics: the planner's worst day
  std::string ids = "{";
  for (int i = 0; i < 1000; ++i) ids += (i > 0 ? "," : "") + std::to_string(i);
  ids += "}";
  const auto cost = [&](const std::string& sql, const std::vector<std::string>& values) {
    std::string execute = "EXPLAIN (FORMAT JSON) EXECUTE tried(";
    for (std::size_t i = 0; i < values.size(); ++i) execute += (i > 0 ? ",'" : "'") + values[i] + "'";
    pqxx::connection connection{database.superuser_conninfo()};
    pqxx::nontransaction plain{connection};
    plain.exec("PREPARE tried AS " + sql);
    const auto plan = pq::get<std::string>(
        plain.exec(values.empty() ? "EXPLAIN (FORMAT JSON) EXECUTE tried" : execute + ")"), 0, 0);
    const auto from = plan.find("\"Total Cost\": ") + 14;
    return std::stod(plan.substr(from));
  };
  constexpr double jit_above_cost = 100'000;  // the server's default
  CHECK(cost(pq::sql::record, {ids, ids, ids, ids, ids, ids, ids, "0", "1000"}) < jit_above_cost);
  CHECK(cost(pq::sql::read_world, {}) < jit_above_cost);
  CHECK(cost(pq::sql::lock_pot, {"1000", "1000"}) < jit_above_cost);
  CHECK(cost(pq::sql::cast_vote, {"1", "1", "u", "u", "1", "0", "e"}) < jit_above_cost);
}

TEST_CASE("a connection that died at rest costs nobody an error", "[postgres]") {
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo()}};
  store.record(messages("a", 3), at(0));
  database.kill_backends();
  CHECK(store.record(messages("b", 3), at(0)).pot.filled == points::whole(6));
  CHECK(store.stats().connections_open == 1);
}

TEST_CASE("a batch whose connection dies is in doubt, and sent again it counts once", "[postgres]") {  // I1
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo(), .lock_timeout = 60s}};
  std::optional<store_failure> seen;
  {
    const pot_lock lock{database};
    std::jthread sender{[&] { seen = failure_of([&] { store.record(messages("a", 10), at(0)); }); }};
    await_lock_waiters(database, 1);
    database.kill_backends();
  }
  CHECK(seen == store_failure::in_doubt);
  CHECK(store.record(messages("a", 10), at(0)).pot.filled == points::whole(10));
  CHECK(store.record(messages("a", 10), at(0)).pot.filled == points::whole(10));
  CHECK(store.audit().ledger_entries == 10);
  CHECK(store.stats().connections_in_use == 0);
}

TEST_CASE("a transaction whose connection dies has changed nothing and may be repeated", "[postgres]") {
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo(), .statement_timeout = 60s, .lock_timeout = 60s}};
  const voting_session session = conformance::open_session(store, {{"lamp", 1}, {"pump", 1}});
  const ballot b = conformance::vote_of("chat:ann", session, 1);
  std::optional<store_failure> seen;
  {
    const pot_lock lock{database};
    std::jthread voter{[&] { seen = failure_of([&] { store.vote(b); }); }};
    await_lock_waiters(database, 1);
    database.kill_backends();
  }
  CHECK(seen == store_failure::unavailable);
  CHECK(store.vote(b) == vote_status::counted);

  const step wanted = granting({"root", 1});
  CHECK(failure_of([&] {
          store.transition([&](const world&) {
            database.kill_backends();
            return std::optional{wanted};
          });
        }) == store_failure::unavailable);
  CHECK(store.audit().unlocks == 0);
  CHECK(conformance::commit(store, wanted));
  CHECK(store.audit().unlocks == 1);
  CHECK(store.audit().miscounted_options == 0);
}

TEST_CASE("who waits too long for the pot is told that the database is busy", "[postgres]") {
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo(), .lock_timeout = 20ms}};
  const voting_session session = conformance::open_session(store, {{"lamp", 1}});
  store.record(messages("a", 1), at(0));
  {
    const pot_lock lock{database};
    CHECK(failure_of([&] { store.record(messages("b", 1), at(0)); }) == store_failure::overloaded);
    CHECK(failure_of([&] { store.vote(conformance::vote_of("chat:ann", session, 0)); }) ==
          store_failure::overloaded);
    CHECK(failure_of([&] { store.transition([](const world&) { return std::optional<step>{}; }); }) ==
          store_failure::overloaded);
    CHECK(store.read_world().pot.filled == points::whole(1));  // readers wait for nobody
  }
  CHECK(store.record(messages("b", 1), at(0)).pot.filled == points::whole(2));
  CHECK(store.stats().connections_open == 1);  // none of this was the connection's fault
}

TEST_CASE("nobody waits for ever for a server that is silent, and the next call is served", "[postgres]") {
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo(), .statement_timeout = 100ms}};
  {
    // Waited for before a statement can set a limit of its own: to the client it is a server that hangs.
    pqxx::connection other{database.superuser_conninfo()};
    pqxx::work holder{other};
    holder.exec("LOCK TABLE progression.pot IN ACCESS EXCLUSIVE MODE");
    CHECK(failure_of([&] { static_cast<void>(store.read_world()); }) == store_failure::unavailable);
    CHECK(failure_of([&] { store.record(messages("a", 1), at(0)); }) == store_failure::in_doubt);
  }
  // What was in doubt came about once the lock was gone, or did not: either way it counts once.
  store.record(messages("a", 1), at(0));
  CHECK(store.read_world().pot.filled == points::whole(1));
  CHECK(store.audit().ledger_entries == 1);
}

TEST_CASE("callers beyond the pool and its line are turned away at once", "[postgres]") {
  const postgres_database database;
  postgres_store store{
      {.conninfo = database.conninfo(), .max_connections = 1, .max_waiters = 0, .lock_timeout = 60s}};
  {
    std::jthread sender;  // ends after the lock
    const pot_lock lock{database};
    sender = std::jthread{[&] { store.record(messages("a", 1), at(0)); }};
    await_lock_waiters(database, 1);
    CHECK(failure_of([&] { store.ping(); }) == store_failure::overloaded);
    CHECK(store.stats().connections_in_use == 1);
  }
  store.ping();
  CHECK(store.stats().connections_in_use == 0);
}

TEST_CASE("a server that has no connection left is unavailable until it has one", "[postgres]") {
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo(), .lock_timeout = 60s}};
  database.ask("ALTER ROLE " + database.name() + " CONNECTION LIMIT 1");  // the one that the store holds
  {
    std::jthread sender;  // ends after the lock
    const pot_lock lock{database};
    sender = std::jthread{[&] { store.record(messages("a", 1), at(0)); }};
    await_lock_waiters(database, 1);
    CHECK(failure_of([&] { store.ping(); }) == store_failure::unavailable);
  }
  store.ping();  // on the connection that came back, whatever the back-off
  CHECK(store.count_events("a") == 1);
  CHECK(store.stats().connections_open == 1);
}

TEST_CASE("stores that start at once on an empty database make its schema once", "[postgres]") {
  const postgres_database database;
  const auto thrown =
      in_threads(6, [&](std::size_t) { postgres_store{{.conninfo = database.conninfo()}}.ping(); });
  CHECK(thrown.empty());
  CHECK(database.ask("SELECT count(*) = max(version) FROM progression.schema_migrations") == "t");
}

TEST_CASE("a store does not start on a schema that is newer than it or was changed", "[postgres]") {
  const postgres_database database;
  const auto opened = [&] { return failure_of([&] { postgres_store{{.conninfo = database.conninfo()}}; }); };
  REQUIRE_FALSE(opened());
  REQUIRE_FALSE(opened());
  database.ask("INSERT INTO progression.schema_migrations (version, checksum) VALUES (1000, '')");
  CHECK(opened() == store_failure::rejected);
  database.ask("DELETE FROM progression.schema_migrations WHERE version = 1000");
  REQUIRE_FALSE(opened());
  database.ask("UPDATE progression.schema_migrations SET checksum = 'other' WHERE version = 1");
  CHECK(opened() == store_failure::rejected);
}

TEST_CASE("the database holds its invariants against any program", "[postgres]") {  // I2, I3, I4, I8
  const postgres_database database;
  postgres_store store{{.conninfo = database.conninfo()}};
  const voting_session first = conformance::open_session(store, {{"lamp", 1}, {"pump", 1}});
  store.vote(conformance::vote_of("chat:ann", first, 0));
  conformance::end_session(store, first.id, first.options[0].id);
  const voting_session open = conformance::open_session(store, {{"pump", 1}});
  conformance::commit(store, granting({"root", 1}));
  const std::string id = std::to_string(first.id);
  const auto refused = [&](const std::string& sql) {
    try {
      database.ask(sql);
      return false;
    } catch (const pqxx::sql_error& e) {
      return pq::sqlstate(e).starts_with("23") || pq::sqlstate(e) == "428C9";
    }
  };
  CHECK(refused("INSERT INTO progression.pot (id) VALUES (1)"));
  CHECK(refused("INSERT INTO progression.pot (id) VALUES (2)"));
  CHECK(refused("UPDATE progression.pot SET filled = -1"));
  CHECK(refused("UPDATE progression.pot SET goal_node = 'lamp'"));
  CHECK(refused("INSERT INTO progression.sessions (started_at, ends_at) VALUES (now(), now())"));
  CHECK(refused("UPDATE progression.sessions SET winner = " + std::to_string(first.options[1].id) +
                " WHERE id = " + id));
  CHECK(refused("UPDATE progression.sessions SET status = 'completed', ended_at = now(), winner = " +
                std::to_string(first.options[0].id) + " WHERE id = " + std::to_string(open.id)));
  CHECK(refused("INSERT INTO progression.unlocks (node, level, source) VALUES ('root', 1, 'vote')"));
  CHECK(refused("INSERT INTO progression.unlocks (node, level, source) VALUES ('root', 3, 'vote')"));
  CHECK(refused("INSERT INTO progression.cycles VALUES (1, 'root', 1, 10, 5, 4, 0)"));
  CHECK(refused("INSERT INTO progression.cycles VALUES (1, 'lamp', 1, 10, 10, 0, 0)"));
  CHECK(refused("INSERT INTO progression.votes VALUES (" + std::to_string(open.id) + ", 'chat:ann', " +
                std::to_string(first.options[0].id) + ", now())"));
  CHECK(refused(
      "INSERT INTO progression.users VALUES ('chat:bob', 'Bob', 0); INSERT INTO progression.votes VALUES (" +
      id + ", 'chat:bob', " + std::to_string(first.options[0].id) + ", now())"));
  CHECK(refused("INSERT INTO progression.ledger SELECT * FROM progression.ledger"));
}

TEST_CASE("sixty-four threads on two pools cross the threshold and unlock once",
          "[postgres][stress]") {  // I6, I17
  const postgres_database database;
  const postgres_options options{
      .conninfo = database.conninfo(), .acquire_timeout = 30s, .lock_timeout = 30s};
  postgres_store first{options};
  postgres_store second{options};
  conformance::set_goal(first, {"lamp", 1}, points::whole(60));
  std::atomic<int> unlocked{0};
  const auto thrown = in_threads(64, [&](std::size_t i) {
    store& mine = i % 2 == 0 ? first : second;
    const record_result r = mine.record(std::vector{message(std::to_string(i))}, at(0));
    if (!r.pot.is_full()) return;
    const auto done = mine.transition([](const world& w) -> std::optional<step> {
      if (!w.pot.is_full()) return std::nullopt;
      const points over{w.pot.filled.milli - w.pot.goal->cost.milli};
      step bought;
      bought.unlock = unlock_step{.what = w.pot.goal->what,
                                  .filled = w.pot.filled,
                                  .cost = w.pot.goal->cost,
                                  .rollover = over,
                                  .discarded = {}};
      bought.clear_goal = true;
      return bought;
    });
    if (done) ++unlocked;
  });
  CHECK(thrown.empty());
  CHECK(unlocked == 1);
  const audit_report a = first.audit();
  CHECK(a.cycle == 2);
  CHECK(a.unlocks == 1);
  CHECK(a.pot_points == points::whole(4));
  CHECK(a.conserves_points());
  CHECK(database.ask("SELECT count(*) FROM progression.ledger WHERE cycle = 1 AND points > 0") != "0");
  CHECK(database.ask("SELECT (SELECT sum(points) FROM progression.ledger WHERE cycle = 1) = filled "
                     "FROM progression.cycles") == "t");
}

TEST_CASE("a store refuses options that make no sense", "[postgres]") {
  CHECK_THROWS_AS((postgres_store{{.conninfo = "", .max_connections = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((postgres_store{{.conninfo = "", .lock_timeout = 0ms}}), std::invalid_argument);
  CHECK_THROWS_AS((postgres_store{{.conninfo = "", .acquire_timeout = -1ms}}), std::invalid_argument);
}

}  // namespace
}  // namespace progression
