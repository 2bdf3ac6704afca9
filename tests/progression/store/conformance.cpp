// SPDX-License-Identifier: BSL-1.0
#include "progression/store/conformance.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <latch>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

namespace progression::conformance {

wall_time at(std::int64_t seconds) {
  return wall_time{std::chrono::seconds{1'700'000'000 + seconds}} + std::chrono::microseconds{123'456};
}

engagement message(std::string event_id) {
  std::string user_id = "chat:" + event_id;
  return worth(std::move(event_id), std::move(user_id), points::whole(1));
}

std::vector<engagement> messages(const std::string& prefix, std::size_t count) {
  std::vector<engagement> batch;
  batch.reserve(count);
  for (std::size_t i = 0; i < count; ++i) batch.push_back(message(prefix + std::to_string(i)));
  return batch;
}

engagement worth(std::string event_id, std::string user_id, points p) {
  std::string username = "name of " + user_id;
  return {.origin = origin::client,
          .event_id = std::move(event_id),
          .user_id = std::move(user_id),
          .username = std::move(username),
          .metric = "message",
          .value = 1,
          .points = p};
}

record_result record_one(store& s, const engagement& e) { return s.record({&e, 1}, at(1)); }

void fill(store& s, std::string event_id, points p) {
  record_one(s, worth(std::move(event_id), "chat:filler", p));
}

std::optional<store::transitioned> commit(store& s, const step& wanted) {
  return s.transition([&](const world&) { return wanted; });
}

void set_goal(store& s, node_level what, points cost) {
  step goal;
  goal.next = target{.what = std::move(what), .cost = cost};
  commit(s, goal);
}

voting_session open_session(store& s, std::vector<node_level> options) {
  step start;
  start.started = session_start{.started_at = at(0), .ends_at = at(3600), .options = std::move(options)};
  return commit(s, start).value().after.open_session.value();
}

void end_session(store& s, std::int64_t session, std::optional<std::int64_t> winner) {
  step end;
  end.ended = session_end{.session = session, .winner = winner};
  commit(s, end);
}

ballot vote_of(const std::string& user_id, const voting_session& s, std::size_t option) {
  return {.session = s.id,
          .option = s.options.at(option).id,
          .user_id = user_id,
          .username = "name of " + user_id,
          .points = points::whole(1),
          .at = at(10)};
}

decide buy_levels(points cap) {
  return [cap](const world& w) -> std::optional<step> {
    if (!w.pot.is_full()) return std::nullopt;
    const target& goal = *w.pot.goal;
    const std::int64_t surplus = w.pot.filled.milli - goal.cost.milli;
    const std::int64_t rollover = std::min(surplus, cap.milli);
    step s;
    s.unlock = unlock_step{.what = goal.what,
                           .source = unlock_source::vote,
                           .filled = w.pot.filled,
                           .cost = goal.cost,
                           .rollover = {rollover},
                           .discarded = {surplus - rollover}};
    s.next = target{.what = {.node = goal.what.node, .level = goal.what.level + 1}, .cost = goal.cost};
    return s;
  };
}

std::string describe(const std::optional<voting_session>& s) {
  std::ostringstream out;
  if (!s) return "no session";
  out << "session " << s->id << " status " << static_cast<int>(s->status) << " from "
      << s->started_at.time_since_epoch().count() << " to " << s->ends_at.time_since_epoch().count();
  if (s->winner) out << " won by " << *s->winner;
  for (const vote_option& o : s->options) {
    out << "; option " << o.id << ' ' << o.what.node << ' ' << o.what.level << ": " << o.votes;
    if (o.reached_at) out << " at " << o.reached_at->time_since_epoch().count();
  }
  return out.str();
}

std::string describe(const world& w) {
  std::ostringstream out;
  out << "cycle " << w.pot.cycle << " filled " << w.pot.filled.milli;
  if (w.pot.goal) {
    out << " of " << w.pot.goal->cost.milli << " for " << w.pot.goal->what.node << ' '
        << w.pot.goal->what.level;
  }
  for (const auto& [node, level] : w.unlocked) out << "; " << node << " has level " << level;
  out << '\n' << describe(w.open_session);
  return out.str();
}

std::string describe(const audit_report& a) {
  std::ostringstream out;
  out << "ledger " << a.ledger_entries << " worth " << a.ledger_points.milli << " = pot "
      << a.pot_points.milli << " + consumed " << a.consumed.milli << " + discarded " << a.discarded.milli
      << "; cycle " << a.cycle << " paid " << a.paid_unlocks << " of " << a.unlocks << " unlocks, "
      << a.duplicate_unlocks << " twice; " << a.open_sessions << " open sessions, " << a.miscounted_options
      << " options miscounted, " << a.double_votes << " double votes";
  return out.str();
}

std::string describe_all(store& s) {
  std::ostringstream out;
  out << describe(s.read_world()) << '\n'
      << describe(s.latest_session()) << '\n'
      << describe(s.audit()) << '\n';
  for (const leader& l : s.leaders(1000)) {
    out << l.rank << ' ' << l.user_id << " (" << l.username << ") " << l.points.milli << ':';
    for (const auto& [metric, sum] : s.engagement_of(l.user_id).by_metric) out << ' ' << metric << ' ' << sum;
    out << '\n';
  }
  for (const auto& [metric, milli] : s.weights()) out << metric << ' ' << milli << '\n';
  return out.str();
}

void check_invariants(store& s) {
  const audit_report a = s.audit();
  INFO(describe(a));
  CHECK(a.conserves_points());           // I2
  CHECK(a.open_sessions <= 1);           // I3
  CHECK(a.duplicate_unlocks == 0);       // I4
  CHECK(a.cycle == a.paid_unlocks + 1);  // I6
  CHECK(a.miscounted_options == 0);      // I8
  CHECK(a.double_votes == 0);            // I8
}

std::vector<std::string> in_threads(std::size_t n, const std::function<void(std::size_t)>& work) {
  std::latch start{static_cast<std::ptrdiff_t>(n)};
  std::mutex mutex;
  std::vector<std::string> thrown;
  std::vector<std::jthread> threads;
  threads.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      try {
        work(i);
      } catch (const std::exception& e) {
        const std::scoped_lock lock{mutex};
        thrown.emplace_back(e.what());
      }
    });
  }
  threads.clear();
  return thrown;
}

}  // namespace progression::conformance
