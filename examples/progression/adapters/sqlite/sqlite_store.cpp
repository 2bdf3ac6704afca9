// SPDX-License-Identifier: BSL-1.0
#include "adapters/sqlite/sqlite_store.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "adapters/sqlite/connection.hpp"
#include "adapters/sqlite/connection_pool.hpp"
#include "adapters/sqlite/rows.hpp"
#include "adapters/sqlite/schema.hpp"

namespace progression {

namespace {

using sqlite::access;
using sqlite::connection;
using sqlite::cursor;
using sqlite::transaction;

constexpr std::int64_t max_integer = std::numeric_limits<std::int64_t>::max();

[[noreturn]] void reject(const std::string& why) { throw store_error{store_failure::rejected, why}; }

std::int64_t micros(wall_time t) noexcept { return t.time_since_epoch().count(); }
wall_time from_micros(std::int64_t us) noexcept { return wall_time{std::chrono::microseconds{us}}; }
std::int64_t now_micros() {
  return micros(std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now()));
}

std::string_view name_of(origin from) noexcept {
  switch (from) {
    case origin::client:
      return "client";
    case origin::vote:
      return "vote";
    case origin::admin:
      return "admin";
  }
  return "";
}

session_status status_of(std::string_view name) noexcept {
  if (name == "voting") return session_status::voting;
  return name == "frozen" ? session_status::frozen : session_status::completed;
}

void require_key(std::string_view field, std::string_view text) {
  if (text.empty()) reject(std::string{field} + " must not be empty");
  sqlite::require_text(field, text);
}

void require_count(std::string_view field, std::int64_t number) {
  if (number < 0) reject(std::string{field} + " must not be negative, got " + std::to_string(number));
}

void require_valid(const engagement& e) {
  require_key("event_id", e.event_id);
  require_key("user_id", e.user_id);
  sqlite::require_text("username", e.username);
  require_key("metric", e.metric);
  require_count("value", e.value);
  require_count("points", e.points.milli);
}

points operator+(points a, points b) {
  if (b.milli > max_integer - a.milli) reject("points: the sum does not fit");
  return {a.milli + b.milli};
}

pot pot_of(const cursor& row) {
  pot p{.cycle = row.integer(0), .filled = {row.integer(1)}, .goal = std::nullopt};
  if (!row.is_null(2)) {
    p.goal = target{.what = {.node = row.text(2), .level = static_cast<int>(row.integer(3))},
                    .cost = {row.integer(4)}};
  }
  return p;
}

pot read_pot(connection& c) {
  cursor row = c.query("SELECT cycle, filled, goal_node, goal_level, goal_cost FROM pot");
  if (!row.next()) throw store_error{store_failure::unavailable, "sqlite: the pot is missing"};
  return pot_of(row);
}

pot add_to_pot(connection& c, points more) {
  cursor row = c.query(
      "UPDATE pot SET filled = filled + ?1, lifetime = lifetime + ?1 "
      "WHERE lifetime <= 9223372036854775807 - ?1 "
      "RETURNING cycle, filled, goal_node, goal_level, goal_cost",
      more.milli);
  if (!row.next()) reject("points: the sum of all points does not fit");
  pot p = pot_of(row);
  row.finish();
  return p;
}

struct share {
  std::string_view username;
  progression::points points;
};
using shares = std::map<std::string_view, share>;

void add_share(shares& all, std::string_view user_id, std::string_view username, points more) {
  share& s = all[user_id];
  if (!username.empty()) s.username = username;
  s.points = s.points + more;
}

void credit(connection& c, const shares& all) {
  sqlite::rows rows;
  for (const auto& [user_id, s] : all) rows.begin().add(user_id).add(s.username).add(s.points.milli).end();
  c.run(
      "INSERT INTO users (user_id, username, points) "
      "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') "
      "FROM json_each(?1) WHERE true "
      "ON CONFLICT (user_id) DO UPDATE SET points = points + excluded.points, "
      "username = CASE excluded.username WHEN '' THEN username ELSE excluded.username END",
      std::move(rows).take());
}

/// The session of a join with its options, one row each: nothing if there is no row.
std::optional<voting_session> read_session(cursor& row) {
  std::optional<voting_session> s;
  while (row.next()) {
    if (!s) {
      s.emplace();
      s->id = row.integer(0);
      s->status = status_of(row.text(1));
      s->started_at = from_micros(row.integer(2));
      s->ends_at = from_micros(row.integer(3));
      if (!row.is_null(4)) s->winner = row.integer(4);
    }
    if (row.is_null(5)) continue;  // a session without options
    vote_option o;
    o.id = row.integer(5);
    o.what = {.node = row.text(6), .level = static_cast<int>(row.integer(7))};
    o.votes = row.integer(8);
    if (!row.is_null(9)) o.reached_at = from_micros(row.integer(9));
    s->options.push_back(std::move(o));
  }
  return s;
}

world read_world_of(connection& c) {
  world w;
  w.pot = read_pot(c);
  cursor levels = c.query("SELECT node, max(level) FROM unlocks GROUP BY node");
  while (levels.next()) w.unlocked.emplace(levels.text(0), static_cast<int>(levels.integer(1)));
  cursor session = c.query(
      "SELECT s.id, s.status, s.started_at, s.ends_at, s.winner, o.id, o.node, o.level, o.votes, "
      "o.reached_at "
      "FROM sessions s LEFT JOIN options o ON o.session = s.id WHERE s.status <> 'completed' ORDER BY o.id");
  w.open_session = read_session(session);
  return w;
}

void insert_unlock(connection& c, const node_level& what, unlock_source source, std::int64_t now) {
  require_key("node", what.node);
  c.run("INSERT INTO unlocks (node, level, source, unlocked_at) VALUES (?1, ?2, ?3, ?4)", what.node,
        std::int64_t{what.level}, to_string(source), now);
}

void pay(connection& c, const unlock_step& u, std::int64_t now) {
  insert_unlock(c, u.what, u.source, now);
  c.run(
      "INSERT INTO cycles (cycle, node, level, filled, cost, rollover, discarded, closed_at) "
      "SELECT cycle, ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM pot",
      u.what.node, std::int64_t{u.what.level}, u.filled.milli, u.cost.milli, u.rollover.milli,
      u.discarded.milli, now);
  const auto paid = c.run("UPDATE pot SET cycle = cycle + 1, filled = ?2 WHERE filled = ?1", u.filled.milli,
                          u.rollover.milli);
  if (paid == 0) reject("unlock: filled is not what the pot holds");
}

void end_session(connection& c, const session_end& e) {
  const auto ended =
      c.run("UPDATE sessions SET status = 'completed', winner = ?2 WHERE id = ?1 AND status <> 'completed'",
            e.session, e.winner);
  if (ended == 0) reject("session " + std::to_string(e.session) + " is not open");
}

void set_goal(connection& c, const target& t) {
  require_key("node", t.what.node);
  const auto set = c.run(
      "UPDATE pot SET goal_node = ?1, goal_level = ?2, goal_cost = ?3 "
      "WHERE NOT EXISTS (SELECT 1 FROM unlocks WHERE node = ?1 AND level = ?2)",
      t.what.node, std::int64_t{t.what.level}, t.cost.milli);
  if (set == 0) reject("goal: " + t.what.node + " is unlocked already");
}

void start_session(connection& c, const session_start& s) {
  std::int64_t id = 0;
  {
    cursor row =
        c.query("INSERT INTO sessions (status, started_at, ends_at) VALUES ('voting', ?1, ?2) RETURNING id",
                micros(s.started_at), micros(s.ends_at));
    row.next();
    id = row.integer(0);
    row.finish();
  }
  sqlite::rows rows;
  for (const node_level& o : s.options) {
    require_key("node", o.node);
    rows.begin().add(o.node).add(std::int64_t{o.level}).end();
  }
  c.run(
      "INSERT INTO options (session, node, level) "
      "SELECT ?1, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?2) ORDER BY key",
      id, std::move(rows).take());
}

void apply(connection& c, const step& s) {
  const std::int64_t now = now_micros();
  for (const node_level& what : s.granted) insert_unlock(c, what, unlock_source::automatic, now);
  if (s.unlock) pay(c, *s.unlock, now);
  if (s.ended) end_session(c, *s.ended);
  if (s.next) {
    set_goal(c, *s.next);
  } else if (s.clear_goal) {
    c.run("UPDATE pot SET goal_node = NULL, goal_level = NULL, goal_cost = NULL");
  }
  if (s.started) start_session(c, *s.started);
}

std::int64_t single(cursor&& row) { return row.next() ? row.integer(0) : 0; }

sqlite_options checked(sqlite_options o) {
  if (o.path.empty() || o.path == ":memory:") {
    throw std::invalid_argument{"sqlite_store: path must name a file, got '" + o.path + "'"};
  }
  if (o.busy_timeout.count() < 0) {
    throw std::invalid_argument{"sqlite_store: busy_timeout must not be negative, got " +
                                std::to_string(o.busy_timeout.count()) + " ms"};
  }
  if (o.readers == 0) throw std::invalid_argument{"sqlite_store: readers must be positive, got 0"};
  return o;
}

}  // namespace

struct sqlite_store::impl {
  explicit impl(sqlite_options o) : options{checked(std::move(o))} {}

  std::unique_ptr<connection> open(access mode) {
    return std::make_unique<connection>(
        sqlite::connection_options{.path = options.path,
                                   .busy_timeout = options.busy_timeout,
                                   .sync_each_commit = options.synchronous == sqlite_sync::full,
                                   .read_only = mode == access::read},
        count);
  }

  const sqlite_options options;
  sqlite::counters count;
  sqlite::connection_pool writer{1, options.busy_timeout, [this] { return open(access::write); }};
  sqlite::connection_pool readers{options.readers, options.busy_timeout,
                                  [this] { return open(access::read); }};
};

sqlite_store::sqlite_store(sqlite_options options) : impl_{std::make_unique<impl>(std::move(options))} {
  sqlite::migrate(*impl_->writer.acquire());
}

sqlite_store::~sqlite_store() = default;

record_result sqlite_store::record(std::span<const engagement> batch, wall_time at) {
  record_result result;
  result.status.assign(batch.size(), record_status::duplicate);
  if (batch.empty()) {
    result.pot = read_pot(*impl_->readers.acquire());
    return result;
  }
  std::map<std::pair<std::string_view, std::string_view>, std::size_t> first;
  sqlite::rows rows;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const engagement& e = batch[i];
    require_valid(e);
    if (!first.try_emplace({name_of(e.origin), e.event_id}, i).second) continue;
    rows.begin()
        .add(name_of(e.origin))
        .add(e.event_id)
        .add(e.user_id)
        .add(e.metric)
        .add(e.value)
        .add(e.points.milli);
    rows.end();
  }

  const auto lease = impl_->writer.acquire();
  connection& c = *lease;
  transaction tx{c, access::write};
  std::vector<std::size_t> accepted;
  {
    cursor row = c.query(
        "INSERT INTO ledger (origin, event_id, user_id, metric, value, points, cycle, at) "
        "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), "
        "json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'), "
        "(SELECT cycle FROM pot), ?2 FROM json_each(?1) WHERE true "
        "ON CONFLICT (origin, event_id) DO NOTHING RETURNING origin, event_id",
        std::move(rows).take(), micros(at));
    while (row.next()) {
      const std::string from = row.text(0);
      const std::string event_id = row.text(1);
      accepted.push_back(first.at({from, event_id}));
    }
  }
  if (accepted.empty()) {
    result.pot = read_pot(c);
    return result;
  }
  std::sort(accepted.begin(), accepted.end());  // the latest name is the last of the batch
  shares by_user;
  points sum;
  for (const std::size_t i : accepted) {
    const engagement& e = batch[i];
    result.status[i] = record_status::accepted;
    sum = sum + e.points;
    add_share(by_user, e.user_id, e.username, e.points);
  }
  result.pot = add_to_pot(c, sum);  // first: it refuses what would not fit anywhere else
  credit(c, by_user);
  tx.commit();
  return result;
}

vote_status sqlite_store::vote(const ballot& b) {
  require_key("user_id", b.user_id);
  sqlite::require_text("username", b.username);
  require_count("points", b.points.milli);

  const auto lease = impl_->writer.acquire();
  connection& c = *lease;
  transaction tx{c, access::write};
  bool open = false;
  {
    cursor session = c.query("SELECT status = 'voting' AND ?2 < ends_at FROM sessions WHERE id = ?1",
                             b.session, micros(b.at));
    if (!session.next()) return vote_status::no_such_session;
    open = session.integer(0) != 0;
  }
  if (!c.query("SELECT 1 FROM options WHERE session = ?1 AND id = ?2", b.session, b.option).next()) {
    return vote_status::no_such_option;
  }
  // Before "closed": a voter who asks again, because the first answer was lost, learns that the vote counts.
  if (c.query("SELECT 1 FROM votes WHERE session = ?1 AND user_id = ?2", b.session, b.user_id).next()) {
    return vote_status::already_voted;
  }
  if (!open) return vote_status::session_closed;
  c.run("INSERT INTO votes (session, user_id, option, at) VALUES (?1, ?2, ?3, ?4)", b.session, b.user_id,
        b.option, micros(b.at));
  c.run("UPDATE options SET votes = votes + 1, reached_at = ?2 WHERE id = ?1", b.option, micros(b.at));
  c.run(
      "INSERT INTO ledger (origin, event_id, user_id, metric, value, points, cycle, at) "
      "SELECT 'vote', ?1, ?2, 'vote_cast', 1, ?3, cycle, ?4 FROM pot",
      std::to_string(b.session) + '/' + b.user_id, b.user_id, b.points.milli, micros(b.at));
  add_to_pot(c, b.points);
  credit(c, {{b.user_id, {.username = b.username, .points = b.points}}});
  tx.commit();
  return vote_status::counted;
}

std::optional<store::transitioned> sqlite_store::transition(const decide& d) {
  const auto lease = impl_->writer.acquire();
  connection& c = *lease;
  transaction tx{c, access::write};
  std::optional<step> decided = d(read_world_of(c));
  if (!decided || decided->changes_nothing()) return std::nullopt;
  apply(c, *decided);
  transitioned result{.step = *std::move(decided), .after = read_world_of(c)};
  tx.commit();
  return result;
}

world sqlite_store::read_world() {
  const auto lease = impl_->readers.acquire();
  const transaction tx{*lease, access::read};
  return read_world_of(*lease);
}

std::optional<voting_session> sqlite_store::latest_session() {
  const auto lease = impl_->readers.acquire();
  cursor row = lease->query(
      "SELECT s.id, s.status, s.started_at, s.ends_at, s.winner, o.id, o.node, o.level, o.votes, "
      "o.reached_at "
      "FROM sessions s LEFT JOIN options o ON o.session = s.id "
      "WHERE s.id = (SELECT max(id) FROM sessions) ORDER BY o.id");
  return read_session(row);
}

std::map<std::string, std::int64_t, std::less<>> sqlite_store::weights() {
  const auto lease = impl_->readers.acquire();
  std::map<std::string, std::int64_t, std::less<>> all;
  cursor row = lease->query("SELECT metric, milli FROM weights");
  while (row.next()) all.emplace(row.text(0), row.integer(1));
  return all;
}

std::vector<leader> sqlite_store::leaders(int limit) {
  std::vector<leader> first;
  if (limit <= 0) return first;
  const auto lease = impl_->readers.acquire();
  cursor row =
      lease->query("SELECT user_id, username, points FROM users ORDER BY points DESC, user_id LIMIT ?1",
                   std::int64_t{limit});
  while (row.next()) {
    const points p{row.integer(2)};
    const auto place = static_cast<std::int64_t>(first.size()) + 1;
    const std::int64_t rank = !first.empty() && first.back().points == p ? first.back().rank : place;
    first.push_back({.user_id = row.text(0), .username = row.text(1), .points = p, .rank = rank});
  }
  return first;
}

user_engagement sqlite_store::engagement_of(std::string_view user_id) {
  const auto lease = impl_->readers.acquire();
  user_engagement sums;
  // In two halves, so that values of any size can be added up; what does not fit stays at the largest
  // integer.
  cursor row = lease->query(
      "SELECT metric, sum(value / 4294967296), sum(value % 4294967296), sum(points) "
      "FROM ledger WHERE user_id = ?1 GROUP BY metric",
      user_id);
  while (row.next()) {
    constexpr std::int64_t half = 4294967296;
    const std::int64_t low = row.integer(2);
    const std::int64_t high = row.integer(1) + low / half;
    const bool fits = high <= max_integer / half;
    sums.by_metric.emplace(row.text(0), fits ? high * half + low % half : max_integer);
    sums.points = sums.points + points{row.integer(3)};
  }
  return sums;
}

audit_report sqlite_store::audit() {
  const auto lease = impl_->readers.acquire();
  connection& c = *lease;
  const transaction tx{c, access::read};
  audit_report a;
  {
    cursor row = c.query("SELECT count(*), coalesce(sum(points), 0) FROM ledger");
    row.next();
    a.ledger_entries = row.integer(0);
    a.ledger_points = {row.integer(1)};
  }
  {
    cursor row = c.query("SELECT count(*), coalesce(sum(cost), 0), coalesce(sum(discarded), 0) FROM cycles");
    row.next();
    a.paid_unlocks = row.integer(0);
    a.consumed = {row.integer(1)};
    a.discarded = {row.integer(2)};
  }
  const pot p = read_pot(c);
  a.pot_points = p.filled;
  a.cycle = p.cycle;
  a.unlocks = single(c.query("SELECT count(*) FROM unlocks"));
  a.duplicate_unlocks = single(
      c.query("SELECT count(*) FROM (SELECT 1 FROM unlocks GROUP BY node, level HAVING count(*) > 1)"));
  a.open_sessions = single(c.query("SELECT count(*) FROM sessions WHERE status <> 'completed'"));
  a.miscounted_options =
      single(c.query("SELECT count(*) FROM options o WHERE o.votes <> "
                     "(SELECT count(*) FROM votes v WHERE v.session = o.session AND v.option = o.id)"));
  a.double_votes = single(
      c.query("SELECT count(*) FROM (SELECT 1 FROM votes GROUP BY session, user_id HAVING count(*) > 1)"));
  return a;
}

std::int64_t sqlite_store::count_events(std::string_view prefix) {
  const auto lease = impl_->readers.acquire();
  // No UTF-8 text holds the byte 0xff: all that begins with the prefix sorts between these two.
  return single(
      lease->query("SELECT count(*) FROM ledger WHERE origin = 'client' AND event_id >= ?1 AND event_id < ?2",
                   prefix, std::string{prefix} + '\xff'));
}

void sqlite_store::ping() { read_pot(*impl_->readers.acquire()); }

store_stats sqlite_store::stats() const {
  const auto writer = impl_->writer.used();
  const auto readers = impl_->readers.used();
  return {// [relaxed] counts, each on its own
          .statements = impl_->count.statements.load(std::memory_order_relaxed),
          .commits = impl_->count.commits.load(std::memory_order_relaxed),
          .connections_open = writer.open + readers.open,
          .connections_in_use = writer.in_use + readers.in_use,
          .acquire_timeouts = writer.timeouts + readers.timeouts};
}

}  // namespace progression
