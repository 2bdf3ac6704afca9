// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "progression/store/conformance.hpp"

namespace progression::conformance {

namespace {

/// What a store is, without a database.
class reference {
 public:
  record_result record(const std::vector<engagement>& batch) {
    record_result r;
    for (const engagement& e : batch) {
      const bool is_new = events_.emplace(e.origin, e.event_id).second;
      r.status.push_back(is_new ? record_status::accepted : record_status::duplicate);
      if (is_new) add(e.user_id, e.points);
    }
    r.pot = now.pot;
    return r;
  }

  vote_status vote(const ballot& b) {
    const auto s =
        std::find_if(sessions.begin(), sessions.end(), [&](const auto& x) { return x.id == b.session; });
    if (s == sessions.end()) return vote_status::no_such_session;
    const auto o =
        std::find_if(s->options.begin(), s->options.end(), [&](const auto& x) { return x.id == b.option; });
    if (o == s->options.end()) return vote_status::no_such_option;
    if (voted_.contains({b.session, b.user_id})) return vote_status::already_voted;
    if (s->status != session_status::voting || b.at >= s->ends_at) return vote_status::session_closed;
    voted_.emplace(b.session, b.user_id);
    ++o->votes;
    o->reached_at = b.at;
    add(b.user_id, b.points);
    return vote_status::counted;
  }

  /// Takes over what the store made of a step, ids included.
  void apply(const step& s, const world& after) {
    for (const node_level& g : s.granted) now.unlocked[g.node] = g.level;
    if (s.unlock) {
      now.unlocked[s.unlock->what.node] = s.unlock->what.level;
      ++now.pot.cycle;
      now.pot.filled = s.unlock->rollover;
      gone.milli += s.unlock->cost.milli + s.unlock->discarded.milli;
    }
    if (s.ended) {
      sessions.back().status = session_status::completed;
      sessions.back().winner = s.ended->winner;
    }
    if (s.next) now.pot.goal = s.next;
    if (s.started) sessions.push_back(after.open_session.value());
  }

  [[nodiscard]] world as_world() const {
    world w = now;
    if (!sessions.empty() && sessions.back().status != session_status::completed)
      w.open_session = sessions.back();
    return w;
  }

  world now;
  std::vector<voting_session> sessions;
  std::map<std::string, points, std::less<>> by_user;
  points gone;

 private:
  void add(const std::string& user, points p) {
    by_user[user].milli += p.milli;
    now.pot.filled.milli += p.milli;
  }
  std::set<std::pair<origin, std::string>> events_;
  std::set<std::pair<std::int64_t, std::string>> voted_;
};

}  // namespace

TEST_CASE("any sequence of calls leaves what a plain model says", "[store]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  const auto user = [&] { return "chat:" + std::to_string(below(7)); };

  const auto data = make_database();
  auto s = data->open();
  reference model;
  int unlocks = 0;
  int votes = 0;
  for (int i = 0; i < 250; ++i) {
    CAPTURE(i);
    const auto action = below(10);
    if (action < 4) {
      std::vector<engagement> batch;
      for (auto n = below(6); n > 0; --n) {
        engagement e = worth(std::to_string(below(400)), user(), {below(3'000)});
        if (below(9) == 0) e.origin = origin::admin;
        batch.push_back(std::move(e));
      }
      const record_result expected = model.record(batch);
      const record_result r = s->record(batch, at(i));
      REQUIRE(r.status == expected.status);
      REQUIRE(r.pot == expected.pot);
    } else if (action < 7) {
      if (model.sessions.empty()) continue;
      const auto pick = [&] {
        return model.sessions.at(static_cast<std::size_t>(below(model.sessions.size())));
      };
      const voting_session from = below(3) == 0 ? pick() : model.sessions.back();
      ballot b = vote_of(user(), from, static_cast<std::size_t>(below(from.options.size())));
      if (below(8) == 0) b.session += 1;
      b.at = at(i);
      const vote_status expected = model.vote(b);
      REQUIRE(s->vote(b) == expected);
      if (expected == vote_status::counted) ++votes;
    } else if (action < 9) {
      const std::uint64_t coin = random();
      const auto done = s->transition([&](const world& w) -> std::optional<step> {
        auto next = buy_levels({700})(w);
        if (!w.pot.goal) {
          next.emplace();
          next->next = target{.what = {.node = "lamp", .level = 1}, .cost = points::whole(9)};
        }
        if (coin % 3 != 0) return next;
        if (!next) next.emplace();
        if (w.open_session) {
          const auto& options = w.open_session->options;
          next->ended =
              session_end{.session = w.open_session->id, .winner = options.at(coin % options.size()).id};
        }
        if (coin % 2 == 0 || !w.open_session) {
          next->started =
              session_start{.started_at = at(i),
                            .ends_at = at(i + 40),
                            .options = {{.node = "a", .level = i + 1}, {.node = "b", .level = 1}}};
        }
        return next;
      });
      if (done) model.apply(done->step, done->after);
      if (done && done->step.unlock) ++unlocks;
    } else if (below(4) == 0) {
      s.reset();
      s = data->open();
    }
    REQUIRE(describe(s->read_world()) == describe(model.as_world()));
  }
  CHECK(unlocks > 0);
  CHECK(votes > 0);
  if (!model.sessions.empty()) CHECK(describe(s->latest_session()) == describe(model.sessions.back()));
  for (const auto& [id, sum] : model.by_user) CHECK(s->engagement_of(id).points == sum);
  const auto leaders = s->leaders(100);
  CHECK(leaders.size() == model.by_user.size());
  for (const leader& l : leaders) CHECK(model.by_user.at(l.user_id) == l.points);
  const audit_report a = s->audit();
  CHECK(a.consumed.milli + a.discarded.milli == model.gone.milli);
  check_invariants(*s);
}

}  // namespace progression::conformance
