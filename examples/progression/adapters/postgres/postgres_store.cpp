// SPDX-License-Identifier: BSL-1.0
#include "adapters/postgres/postgres_store.hpp"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <tuple>
#include <utility>

#include "adapters/postgres/connection_pool.hpp"
#include "adapters/postgres/failure.hpp"
#include "adapters/postgres/migrations.hpp"
#include "adapters/postgres/pqxx_compat.hpp"
#include "adapters/postgres/statements.hpp"
#include "adapters/postgres/text_array.hpp"
#include "adapters/postgres/watchdog.hpp"

namespace progression {
namespace {

using pq::get;
using pq::get_optional;
using pq::phase;

/// What the server was asked to do; shared by all connections of a store.
struct counters {
  // [relaxed] for both: plain counts, they order nothing.
  std::atomic<std::uint64_t> statements{0};
  std::atomic<std::uint64_t> commits{0};

  void count_statement() noexcept { statements.fetch_add(1, std::memory_order_relaxed); }
  void count_commit() noexcept { commits.fetch_add(1, std::memory_order_relaxed); }
};

class connection {
 public:
  connection(const std::string& conninfo, counters& count) : database_{conninfo}, count_{count} {
    pq::no_silent_reconnect(database_);
  }

  /// One statement in a transaction of its own.
  template <class... Parameters>
  pqxx::result run(const std::string& sql, const Parameters&... parameters) {
    pqxx::nontransaction transaction{database_};
    count_.count_statement();
    return pq::exec(transaction, sql, parameters...);
  }

  [[nodiscard]] bool is_open() const noexcept { return database_.is_open(); }

  [[nodiscard]] bool has_news() const noexcept {
    pollfd socket{.fd = database_.sock(), .events = POLLIN, .revents = 0};
    return ::poll(&socket, 1, 0) != 0;
  }

  [[nodiscard]] bool answers() noexcept {
    try {
      run("SELECT 1");
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  [[nodiscard]] pqxx::connection& database() noexcept { return database_; }
  [[nodiscard]] counters& count() noexcept { return count_; }

 private:
  pqxx::connection database_;
  counters& count_;
};

static_assert(pq::poolable<connection>);

/// BEGIN to COMMIT; rolls back if it is destroyed before.
class transaction {
 public:
  transaction(connection& on, phase& when) : on_{on}, when_{when}, work_{on.database()} {
    on_.count().count_statement();
  }
  transaction(const transaction&) = delete;
  transaction& operator=(const transaction&) = delete;
  ~transaction() {
    if (!ended_) on_.count().count_statement();
  }

  template <class... Parameters>
  pqxx::result run(const std::string& sql, const Parameters&... parameters) {
    on_.count().count_statement();
    return pq::exec(work_, sql, parameters...);
  }

  void commit() {
    when_ = phase::committing;
    ended_ = true;
    on_.count().count_statement();
    work_.commit();
    on_.count().count_commit();
  }

 private:
  connection& on_;
  phase& when_;
  pqxx::work work_;
  bool ended_ = false;
};

/// libpqxx would cut a parameter at a NUL, and no text of PostgreSQL can hold one.
const std::string& plain(const std::string& text) {
  if (text.find('\0') == std::string::npos) return text;
  throw store_error{store_failure::rejected, "a text must not hold a NUL character"};
}

std::int64_t micros(wall_time t) { return t.time_since_epoch().count(); }
wall_time instant(std::int64_t micros) { return wall_time{std::chrono::microseconds{micros}}; }

std::string or_empty(const std::optional<std::int64_t>& n) { return n ? std::to_string(*n) : std::string{}; }

/// Columns cycle, filled, goal_node, goal_level, goal_cost.
pot pot_of(const pqxx::result& rows) {
  if (rows.empty()) throw store_error{store_failure::rejected, "the schema has lost its pot"};
  pot p{.cycle = get<std::int64_t>(rows, 0, 0), .filled = {get<std::int64_t>(rows, 0, 1)}, .goal = {}};
  if (auto node = get_optional<std::string>(rows, 0, 2)) {
    p.goal = target{{std::move(*node), get<int>(rows, 0, 3)}, {get<std::int64_t>(rows, 0, 4)}};
  }
  return p;
}

session_status status_of(std::string_view text) {
  if (text == "voting") return session_status::voting;
  return text == "frozen" ? session_status::frozen : session_status::completed;
}

/// Rows of read_world or read_latest_session.
world world_of(const pqxx::result& rows) {
  enum column : std::size_t { kind, place, id, name, level, number, first, second };
  world w;
  std::vector<vote_option> options;  // they come before their session
  for (std::size_t row = 0; row < pq::row_count(rows); ++row) {
    switch (pq::field(rows, row, kind).c_str()[0]) {
      case 'o': {
        vote_option& o = options.emplace_back();
        o.id = get<std::int64_t>(rows, row, id);
        o.what = {get<std::string>(rows, row, name), get<int>(rows, row, level)};
        o.votes = get<std::int64_t>(rows, row, number);
        if (const auto at = get_optional<std::int64_t>(rows, row, first)) o.reached_at = instant(*at);
        break;
      }
      case 'p':
        w.pot.cycle = get<std::int64_t>(rows, row, id);
        w.pot.filled = {get<std::int64_t>(rows, row, number)};
        if (auto node = get_optional<std::string>(rows, row, name)) {
          w.pot.goal =
              target{{std::move(*node), get<int>(rows, row, level)}, {get<std::int64_t>(rows, row, first)}};
        }
        break;
      case 's': {
        voting_session& s = w.open_session.emplace();
        s.id = get<std::int64_t>(rows, row, id);
        s.status = status_of(get<std::string>(rows, row, name));
        s.started_at = instant(get<std::int64_t>(rows, row, first));
        s.ends_at = instant(get<std::int64_t>(rows, row, second));
        s.winner = get_optional<std::int64_t>(rows, row, number);
        s.options = std::exchange(options, {});
        break;
      }
      default:
        w.unlocked.emplace(get<std::string>(rows, row, name), get<int>(rows, row, level));
    }
  }
  return w;
}

/// Adds `name=value` unless the caller has said something about it.
std::string with_default(std::string conninfo, const std::string& name, const std::string& value) {
  if (conninfo.find(name + "=") != std::string::npos) return conninfo;
  const bool is_address = conninfo.find("://") != std::string::npos;
  if (!is_address) return conninfo + " " + name + "=" + value;
  return conninfo + (conninfo.find('?') == std::string::npos ? "?" : "&") + name + "=" + value;
}

std::string complete(const postgres_options& o) {
  std::string conninfo =
      with_default(o.conninfo, "connect_timeout", std::to_string(o.connect_timeout.count()));
  conninfo = with_default(std::move(conninfo), "application_name", "progression");
  // A peer that vanished without a word is noticed; without effect on a unix socket.
  return with_default(std::move(conninfo), "tcp_user_timeout",
                      std::to_string(std::chrono::milliseconds{o.statement_timeout * 2}.count()));
}

const postgres_options& checked(const postgres_options& o) {
  if (o.statement_timeout.count() <= 0 || o.lock_timeout.count() <= 0 || o.connect_timeout.count() <= 0) {
    throw std::invalid_argument{"postgres_store: statement, lock and connect timeout must be positive"};
  }
  return o;
}

}  // namespace

class postgres_store::implementation {
 public:
  explicit implementation(const postgres_options& o)
      : conninfo_{complete(checked(o))},
        statement_timeout_{std::to_string(o.statement_timeout.count())},
        lock_timeout_{std::to_string(o.lock_timeout.count())},
        pool_{{.max_connections = o.max_connections,
               .max_waiters = o.max_waiters,
               .acquire_timeout = o.acquire_timeout,
               .max_lifetime = o.max_lifetime},
              [this] { return connect(); }},
        watchdog_{std::max(o.statement_timeout, o.lock_timeout) * 2} {}

  /// Lends a connection to `f(connection, phase)` and turns what it throws into a store_error.  What is not
  /// of the database, such as an exception of a caller's function, passes unchanged.
  template <class F>
  auto with_connection(phase when, F f) {
    return with_patience(when, [&](connection& c, phase& now) {
      const pq::watchdog::guard watched{watchdog_, c.database().sock()};
      return f(c, now);
    });
  }

  /// The same for what may take as long as it takes.
  template <class F>
  auto with_patience(phase when, F f) {
    auto lent = pool_.acquire();
    try {
      return f(*lent, when);
    } catch (...) {
      throw_classified(when, [&]() noexcept { lent.discard(); });
    }
  }

  template <class F>
  auto in_transaction(F f) {
    return with_connection(phase::open, [&](connection& c, phase& when) {
      transaction t{c, when};
      t.run(pq::sql::lock_pot, lock_timeout_, statement_timeout_);
      return f(t);
    });
  }

  /// A statement that reads, on its own.
  template <class... Parameters>
  pqxx::result read(const char* sql, const Parameters&... parameters) {
    return with_connection(phase::open, [&](connection& c, phase&) { return c.run(sql, parameters...); });
  }

  /// One that looks through all there is.
  template <class... Parameters>
  pqxx::result survey(const char* sql, const Parameters&... parameters) {
    return with_patience(phase::open, [&](connection& c, phase&) { return c.run(sql, parameters...); });
  }

  record_result record(std::span<const engagement> batch, wall_time at) {
    record_result result{std::vector(batch.size(), record_status::duplicate), {}};
    // The first of each key in the batch is the one that counts.
    const auto key = [&](std::size_t i) { return std::tie(batch[i].origin, batch[i].event_id); };
    std::vector<std::size_t> firsts(batch.size());
    for (std::size_t i = 0; i < firsts.size(); ++i) firsts[i] = i;
    std::sort(firsts.begin(), firsts.end(),
              [&](auto a, auto b) { return std::tuple{key(a), a} < std::tuple{key(b), b}; });
    firsts.erase(std::unique(firsts.begin(), firsts.end(), [&](auto a, auto b) { return key(a) == key(b); }),
                 firsts.end());

    std::vector<std::size_t> in_order = firsts;
    std::sort(in_order.begin(), in_order.end());
    pq::text_array origins, event_ids, user_ids, usernames, metrics, values, milli;
    for (const std::size_t i : in_order) {
      const engagement& e = batch[i];
      origins.add(static_cast<int>(e.origin));
      event_ids.add(e.event_id);
      user_ids.add(e.user_id);
      usernames.add(e.username);
      metrics.add(e.metric);
      values.add(e.value);
      milli.add(e.points.milli);
    }

    // One statement is one commit: if the connection breaks, nobody knows which side of it.
    with_connection(phase::committing, [&](connection& c, phase&) {
      const pqxx::result rows =
          c.run(pq::sql::record, std::move(origins).take(), std::move(event_ids).take(),
                std::move(user_ids).take(), std::move(usernames).take(), std::move(metrics).take(),
                std::move(values).take(), std::move(milli).take(), micros(at), lock_timeout_);
      result.pot = pot_of(rows);
      if (pq::field(rows, 0, 6).is_null()) return;
      count_.count_commit();
      for (std::size_t row = 0; row < pq::row_count(rows); ++row) {
        const auto from = static_cast<origin>(get<int>(rows, row, 5));
        const auto event_id = get<std::string>(rows, row, 6);
        const auto entered = std::tie(from, event_id);
        const auto found = std::lower_bound(firsts.begin(), firsts.end(), entered,
                                            [&](std::size_t i, const auto& k) { return key(i) < k; });
        result.status[*found] = record_status::accepted;
      }
    });
    return result;
  }

  vote_status vote(const ballot& b) {
    return in_transaction([&](transaction& t) {
      const pqxx::result session =
          t.run(pq::sql::look_at_session, b.session, b.option, plain(b.user_id), micros(b.at));
      if (session.empty()) return vote_status::no_such_session;
      if (!get<bool>(session, 0, 1)) return vote_status::no_such_option;
      // Before "closed": who asks again, because the first answer was lost, learns that the vote counts.
      if (get<bool>(session, 0, 2)) return vote_status::already_voted;
      if (!get<bool>(session, 0, 0)) return vote_status::session_closed;
      const std::string event_id = std::to_string(b.session) + ":" + b.user_id;
      const pqxx::result counted = t.run(pq::sql::cast_vote, b.session, b.option, plain(b.user_id),
                                         plain(b.username), b.points.milli, micros(b.at), event_id);
      if (get<std::int64_t>(counted, 0, 0) == 0) return vote_status::already_voted;
      t.commit();
      return vote_status::counted;
    });
  }

  std::optional<transitioned> transition(const decide& d) {
    return in_transaction([&](transaction& t) -> std::optional<transitioned> {
      const world before = world_of(t.run(pq::sql::read_world));
      std::optional<step> decided = d(before);
      if (!decided || decided->changes_nothing()) return std::nullopt;
      apply(t, before, *decided);
      transitioned result{std::move(*decided), world_of(t.run(pq::sql::read_world))};
      t.commit();
      return result;
    });
  }

  /// Each migration in a transaction of its own, one program at a time.
  void migrate() {
    const auto known = pq::migrations();
    for (bool complete = false; !complete;) {
      with_patience(phase::open, [&](connection& c, phase& when) {
        transaction t{c, when};
        t.run("SET LOCAL client_min_messages = warning");
        t.run("SET LOCAL lock_timeout = '60s'");
        t.run("SELECT pg_advisory_xact_lock(hashtextextended('progression.schema_migrations', 0))");
        if (get<bool>(t.run("SELECT to_regclass('progression.schema_migrations') IS NULL"), 0, 0)) {
          t.run("CREATE SCHEMA IF NOT EXISTS progression");
          t.run(
              "CREATE TABLE progression.schema_migrations (version integer PRIMARY KEY, checksum text NOT "
              "NULL, "
              "applied_at timestamptz NOT NULL DEFAULT now())");
        }
        const pqxx::result applied =
            t.run("SELECT version, checksum FROM progression.schema_migrations ORDER BY version");
        const std::size_t count = pq::row_count(applied);
        for (std::size_t i = 0; i < count; ++i) {
          const int version = get<int>(applied, i, 0);
          if (i >= known.size() || version != known[i].version) {
            throw store_error{store_failure::rejected,
                              "the schema of the database is newer than this program: it has "
                              "migration " +
                                  std::to_string(version)};
          }
          if (get<std::string>(applied, i, 1) != known[i].checksum) {
            throw store_error{store_failure::rejected, "migration " + std::to_string(version) +
                                                           " was not the one that this program holds"};
          }
        }
        complete = count == known.size();
        if (complete) return;
        const pq::migration& next = known[count];
        t.run(next.sql);
        t.run("INSERT INTO progression.schema_migrations (version, checksum) VALUES ($1::integer, $2)",
              next.version, std::string{next.checksum});
        t.commit();
      });
    }
  }

  [[nodiscard]] store_stats stats() const {
    const pq::pool_stats pool = pool_.stats();
    return {.statements = count_.statements.load(std::memory_order_relaxed),
            .commits = count_.commits.load(std::memory_order_relaxed),
            .connections_open = pool.open,
            .connections_in_use = pool.in_use,
            .acquire_timeouts = pool.acquire_timeouts};
  }

 private:
  std::unique_ptr<connection> connect() {
    try {
      return std::make_unique<connection>(conninfo_, count_);
    } catch (...) {
      throw_classified(phase::connecting, []() noexcept {});
    }
  }

  template <class Discard>
  [[noreturn]] static void throw_classified(phase when, Discard discard) {
    pq::failure f{};
    try {
      f = pq::classify(when);
    } catch (...) {
      discard();
      throw;
    }
    if (!f.keep_connection) discard();
    throw store_error{f.kind, f.what};
  }

  static void apply(transaction& t, const world& before, const step& s) {
    pot after = before.pot;
    pq::text_array nodes, levels, sources;
    for (const node_level& n : s.granted) {
      nodes.add(n.node);
      levels.add(n.level);
      sources.add(to_string(unlock_source::automatic));
    }
    if (s.unlock) {
      nodes.add(s.unlock->what.node);
      levels.add(s.unlock->what.level);
      sources.add(to_string(s.unlock->source));
    }
    if (s.unlock || !s.granted.empty()) {
      t.run(pq::sql::unlock, std::move(nodes).take(), std::move(levels).take(), std::move(sources).take());
    }
    if (s.unlock) {
      const unlock_step& u = *s.unlock;
      if (u.filled != before.pot.filled) {
        throw store_error{store_failure::rejected, "an unlock must account for what the pot holds"};
      }
      t.run(pq::sql::close_cycle, before.pot.cycle, plain(u.what.node), u.what.level, u.filled.milli,
            u.cost.milli, u.rollover.milli, u.discarded.milli);
      ++after.cycle;
      after.filled = u.rollover;
    }
    if (s.ended) {
      const pqxx::result ended = t.run(pq::sql::end_session, s.ended->session, or_empty(s.ended->winner));
      if (ended.affected_rows() != 1) {
        throw store_error{store_failure::rejected, "the session to be ended is not open"};
      }
    }
    if (s.next) {
      if (get<bool>(t.run(pq::sql::is_unlocked, plain(s.next->what.node), s.next->what.level), 0, 0)) {
        throw store_error{store_failure::rejected, "the goal is unlocked already: " + s.next->what.node};
      }
      after.goal = s.next;
    } else if (s.clear_goal) {
      after.goal.reset();
    }
    if (after != before.pot) {
      const bool has_goal = after.goal.has_value();
      t.run(pq::sql::write_pot, after.cycle, after.filled.milli,
            has_goal ? plain(after.goal->what.node) : std::string{},
            has_goal ? std::to_string(after.goal->what.level) : std::string{},
            has_goal ? std::to_string(after.goal->cost.milli) : std::string{});
    }
    if (s.started) {
      pq::text_array option_nodes, option_levels;
      for (const node_level& n : s.started->options) {
        option_nodes.add(n.node);
        option_levels.add(n.level);
      }
      t.run(pq::sql::start_session, micros(s.started->started_at), micros(s.started->ends_at),
            std::move(option_nodes).take(), std::move(option_levels).take());
    }
  }

  const std::string conninfo_;
  const std::string statement_timeout_;  // in milliseconds
  const std::string lock_timeout_;       // in milliseconds
  counters count_;
  pq::connection_pool<connection> pool_;
  pq::watchdog watchdog_;
};

postgres_store::postgres_store(const postgres_options& options)
    : implementation_{std::make_unique<implementation>(options)} {
  implementation_->migrate();
}

postgres_store::~postgres_store() = default;

record_result postgres_store::record(std::span<const engagement> batch, wall_time at) {
  if (batch.empty()) return {{}, pot_of(implementation_->read(pq::sql::read_pot))};
  return implementation_->record(batch, at);
}

vote_status postgres_store::vote(const ballot& b) { return implementation_->vote(b); }

std::optional<store::transitioned> postgres_store::transition(const decide& d) {
  return implementation_->transition(d);
}

world postgres_store::read_world() { return world_of(implementation_->read(pq::sql::read_world)); }

std::optional<voting_session> postgres_store::latest_session() {
  return world_of(implementation_->read(pq::sql::read_latest_session)).open_session;
}

std::map<std::string, std::int64_t, std::less<>> postgres_store::weights() {
  const pqxx::result rows = implementation_->read("SELECT metric, milli FROM progression.weights");
  std::map<std::string, std::int64_t, std::less<>> weights;
  for (std::size_t i = 0; i < pq::row_count(rows); ++i) {
    weights.emplace(get<std::string>(rows, i, 0), get<std::int64_t>(rows, i, 1));
  }
  return weights;
}

std::vector<leader> postgres_store::leaders(int limit) {
  const pqxx::result rows = implementation_->read(pq::sql::leaders, std::max(limit, 0));
  std::vector<leader> leaders;
  leaders.reserve(pq::row_count(rows));
  for (std::size_t i = 0; i < pq::row_count(rows); ++i) {
    leaders.push_back({get<std::string>(rows, i, 0),
                       get<std::string>(rows, i, 1),
                       {get<std::int64_t>(rows, i, 2)},
                       get<std::int64_t>(rows, i, 3)});
  }
  return leaders;
}

user_engagement postgres_store::engagement_of(std::string_view user_id) {
  const pqxx::result rows = implementation_->read(pq::sql::engagement_of, plain(std::string{user_id}));
  user_engagement result;
  for (std::size_t i = 0; i < pq::row_count(rows); ++i) {
    result.by_metric.emplace(get<std::string>(rows, i, 0), get<std::int64_t>(rows, i, 1));
    result.points.milli += get<std::int64_t>(rows, i, 2);
  }
  return result;
}

audit_report postgres_store::audit() {
  const pqxx::result rows = implementation_->survey(pq::sql::audit);
  const auto column = [&](std::size_t i) { return get<std::int64_t>(rows, 0, i); };
  return {.ledger_entries = column(0),
          .ledger_points = {column(1)},
          .pot_points = {column(2)},
          .consumed = {column(3)},
          .discarded = {column(4)},
          .cycle = column(5),
          .paid_unlocks = column(6),
          .unlocks = column(7),
          .duplicate_unlocks = column(8),
          .open_sessions = column(9),
          .miscounted_options = column(10),
          .double_votes = column(11)};
}

std::int64_t postgres_store::count_events(std::string_view prefix) {
  return get<std::int64_t>(implementation_->survey(pq::sql::count_events, plain(std::string{prefix})), 0, 0);
}

void postgres_store::ping() { implementation_->read("SELECT 1"); }

store_stats postgres_store::stats() const { return implementation_->stats(); }

}  // namespace progression
