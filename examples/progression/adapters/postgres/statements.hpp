// SPDX-License-Identifier: BSL-1.0
#pragma once

/// The statements of the store that are more than a line.  $n are parameters; points are in thousandths,
/// instants in microseconds since 1970.
namespace progression::pq::sql {

/// Takes the lock that every writer takes first; what it returns is the newest version, whatever the
/// snapshot.  The limits hold for this transaction only: a setting of the session would stay with a pooler's
/// connection.
inline constexpr const char* lock_pot = R"(
WITH limits AS MATERIALIZED (
  SELECT set_config('lock_timeout', $1, true) AS lock_timeout,
         set_config('statement_timeout', $2, true) AS statement_timeout
)
SELECT p.cycle FROM progression.pot p, limits
WHERE p.id = 1 AND limits.lock_timeout IS NOT NULL AND limits.statement_timeout IS NOT NULL
FOR UPDATE OF p)";

/// A whole batch: $1 to $7 are arrays, one element an engagement, (origin, event id) unique; $8 the instant,
/// $9 the lock timeout.  One row for each entry made, or a single one without event id; every row shows the
/// pot as it stands after.  `present` is locked before the first entry is made because each needs its cycle;
/// the sum is then added to the newest version of the pot's row.
inline constexpr const char* record = R"(
WITH limits AS MATERIALIZED (
  SELECT set_config('lock_timeout', $9, true) AS lock_timeout
), present AS MATERIALIZED (
  SELECT p.cycle, p.filled, p.goal_node, p.goal_level, p.goal_cost
  FROM progression.pot p, limits WHERE p.id = 1 AND limits.lock_timeout IS NOT NULL
  FOR UPDATE OF p
), input AS MATERIALIZED (
  SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
    WITH ORDINALITY AS t(origin, event_id, user_id, username, metric, value, points, place)
), entered AS (
  INSERT INTO progression.ledger (origin, event_id, user_id, metric, value, points, cycle, recorded_at)
  SELECT i.origin, i.event_id, i.user_id, i.metric, i.value, i.points, present.cycle,
         timestamptz 'epoch' + $8::bigint * interval '1 microsecond'
  FROM input i, present
  ORDER BY i.origin, i.event_id COLLATE "C"
  ON CONFLICT (origin, event_id) DO NOTHING
  RETURNING origin, event_id, points
), credited AS (
  INSERT INTO progression.users AS u (id, username, points)
  SELECT i.user_id, coalesce((array_agg(i.username ORDER BY i.place DESC) FILTER (WHERE i.username <> ''))[1], ''),
         sum(i.points)
  FROM entered e JOIN input i ON i.origin = e.origin AND i.event_id = e.event_id
  GROUP BY i.user_id ORDER BY i.user_id COLLATE "C"
  ON CONFLICT (id) DO UPDATE
  SET username = coalesce(nullif(excluded.username, ''), u.username), points = u.points + excluded.points
), raised AS (
  UPDATE progression.pot p SET filled = p.filled + sums.points, lifetime = p.lifetime + sums.points
  FROM (SELECT sum(points)::bigint AS points FROM entered HAVING count(*) > 0) sums
  WHERE p.id = 1
  RETURNING p.filled
)
SELECT present.cycle, coalesce(raised.filled, present.filled), present.goal_node, present.goal_level,
       present.goal_cost, entered.origin, entered.event_id
FROM present LEFT JOIN raised ON true LEFT JOIN entered ON true)";

inline constexpr const char* read_pot =
    "SELECT cycle, filled, goal_node, goal_level, goal_cost FROM progression.pot WHERE id = 1";

/// Under the pot's lock: whether the session is open, has the option, has the user's vote.
inline constexpr const char* look_at_session = R"(
SELECT s.status = 'voting' AND timestamptz 'epoch' + $4::bigint * interval '1 microsecond' < s.ends_at,
       EXISTS (SELECT FROM progression.options o WHERE o.session = s.id AND o.id = $2::bigint),
       EXISTS (SELECT FROM progression.votes v WHERE v.session = s.id AND v.user_id = $3)
FROM progression.sessions s WHERE s.id = $1::bigint)";

/// Session, option, user, name, points, instant, event id.  Everything follows from the vote that was
/// entered: a second one of the same user enters none and so changes nothing.
inline constexpr const char* cast_vote = R"(
WITH ballot AS (
  INSERT INTO progression.votes (session, option, user_id, voted_at)
  VALUES ($1::bigint, $2::bigint, $3, timestamptz 'epoch' + $6::bigint * interval '1 microsecond')
  ON CONFLICT (session, user_id) DO NOTHING
  RETURNING option, voted_at
), counted AS (
  UPDATE progression.options o
  SET votes = o.votes + 1, reached_at = greatest(o.reached_at, ballot.voted_at)
  FROM ballot WHERE o.id = ballot.option
), entered AS (
  INSERT INTO progression.ledger (origin, event_id, user_id, metric, value, points, cycle, recorded_at)
  SELECT 1, $7, $3, 'vote_cast', 1, $5::bigint, p.cycle, ballot.voted_at FROM ballot, progression.pot p WHERE p.id = 1
), credited AS (
  INSERT INTO progression.users AS u (id, username, points)
  SELECT $3, $4, $5::bigint FROM ballot
  ON CONFLICT (id) DO UPDATE
  SET username = coalesce(nullif(excluded.username, ''), u.username), points = u.points + excluded.points
), raised AS (
  UPDATE progression.pot p SET filled = p.filled + $5::bigint, lifetime = p.lifetime + $5::bigint FROM ballot
  WHERE p.id = 1
)
SELECT count(*) FROM ballot)";

/// Everything that decides the next step, in one statement and so of one instant.  Rows: 'o' an option of the
/// open session, 'p' the pot, 's' the session, 'u' the highest level of a node; in this order.
inline constexpr const char* read_world = R"(
WITH session AS (SELECT * FROM progression.sessions WHERE status <> 'completed')
SELECT 'p' AS kind, 0::bigint AS place, cycle AS id, goal_node AS name, goal_level::bigint AS level, filled AS number,
       goal_cost AS first, NULL::bigint AS second FROM progression.pot WHERE id = 1
UNION ALL
SELECT 'u', 0, 0, node, max(level), 0, NULL, NULL FROM progression.unlocks GROUP BY node
UNION ALL
SELECT 's', 0, id, status, 0, winner, (extract(epoch FROM started_at) * 1000000)::bigint,
       (extract(epoch FROM ends_at) * 1000000)::bigint FROM session
UNION ALL
SELECT 'o', position, o.id, node, level, votes, (extract(epoch FROM reached_at) * 1000000)::bigint, NULL
FROM progression.options o JOIN session ON session.id = o.session
ORDER BY kind, place)";

/// The same form, the newest session alone.
inline constexpr const char* read_latest_session = R"(
WITH session AS (SELECT * FROM progression.sessions ORDER BY id DESC LIMIT 1)
SELECT 's' AS kind, 0::bigint AS place, id, status AS name, 0::bigint AS level, winner AS number,
       (extract(epoch FROM started_at) * 1000000)::bigint AS first,
       (extract(epoch FROM ends_at) * 1000000)::bigint AS second FROM session
UNION ALL
SELECT 'o', position, o.id, node, level, votes, (extract(epoch FROM reached_at) * 1000000)::bigint, NULL
FROM progression.options o JOIN session ON session.id = o.session
ORDER BY kind, place)";

inline constexpr const char* unlock = R"(
INSERT INTO progression.unlocks (node, level, source)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[]))";

inline constexpr const char* close_cycle = R"(
INSERT INTO progression.cycles (cycle, node, level, filled, cost, rollover, discarded)
VALUES ($1::bigint, $2, $3::integer, $4::bigint, $5::bigint, $6::bigint, $7::bigint))";

inline constexpr const char* end_session = R"(
UPDATE progression.sessions SET status = 'completed', ended_at = now(), winner = nullif($2, '')::bigint
WHERE id = $1::bigint AND status <> 'completed')";

/// Start, end, nodes, levels.
inline constexpr const char* start_session = R"(
WITH session AS (
  INSERT INTO progression.sessions (started_at, ends_at)
  VALUES (timestamptz 'epoch' + $1::bigint * interval '1 microsecond',
          timestamptz 'epoch' + $2::bigint * interval '1 microsecond')
  RETURNING id
)
INSERT INTO progression.options (session, position, node, level)
SELECT session.id, t.place, t.node, t.level
FROM session, unnest($3::text[], $4::integer[]) WITH ORDINALITY AS t(node, level, place)
ORDER BY t.place)";

inline constexpr const char* write_pot = R"(
UPDATE progression.pot
SET cycle = $1::bigint, filled = $2::bigint, goal_node = nullif($3, ''),
    goal_level = nullif($4, '')::integer, goal_cost = nullif($5, '')::bigint
WHERE id = 1)";

inline constexpr const char* is_unlocked =
    "SELECT EXISTS (SELECT FROM progression.unlocks WHERE node = $1 AND level = $2::integer)";

inline constexpr const char* leaders = R"(
SELECT id, username, points, rank() OVER (ORDER BY points DESC) FROM progression.users
ORDER BY points DESC, id LIMIT $1::integer)";

inline constexpr const char* engagement_of = R"(
SELECT metric, least(sum(value), 9223372036854775807)::bigint, sum(points)::bigint
FROM progression.ledger WHERE user_id = $1 GROUP BY metric)";

/// In the order of audit_report.
inline constexpr const char* audit = R"(
SELECT l.entries, l.points, p.filled, c.cost, c.discarded, p.cycle, c.paid,
       (SELECT count(*) FROM progression.unlocks),
       (SELECT count(*) FROM (SELECT 1 FROM progression.unlocks GROUP BY node, level HAVING count(*) > 1) d),
       (SELECT count(*) FROM progression.sessions WHERE status <> 'completed'),
       (SELECT count(*) FROM progression.options o WHERE o.votes <>
          (SELECT count(*) FROM progression.votes v WHERE v.session = o.session AND v.option = o.id)),
       (SELECT count(*) FROM (SELECT 1 FROM progression.votes GROUP BY session, user_id HAVING count(*) > 1) d)
FROM progression.pot p,
     (SELECT count(*) AS entries, coalesce(sum(points), 0)::bigint AS points FROM progression.ledger) l,
     (SELECT count(*) AS paid, coalesce(sum(cost), 0)::bigint AS cost, coalesce(sum(discarded), 0)::bigint AS discarded
      FROM progression.cycles) c
WHERE p.id = 1)";

inline constexpr const char* count_events =
    "SELECT count(*) FROM progression.ledger WHERE origin = 0 AND starts_with(event_id, $1)";

}  // namespace progression::pq::sql
