// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "application/store.hpp"
#include "domain/score.hpp"

namespace progression::testing {

enum class operation : std::uint8_t { record, vote, transition, read, weights };

/// What goes wrong with a call.
struct fault {
  store_failure kind;
  bool after_commit = false;  ///< everything is done, only the answer is lost
};

/// A store in memory, serialised by one lock, that fails when it is told to.
class memory_store final : public store {
 public:
  /// Asked before each call, outside the lock, from any thread.
  std::function<std::optional<fault>(operation, std::uint64_t call)> on_call;

  /// Called while `record` holds nothing, before it commits: to hold a batch up.
  std::function<void(std::span<const engagement>)> before_record;

  std::map<std::string, std::int64_t, std::less<>> weight_table{
      {"message", 1000}, {"command", 2000}, {"item_crafted", 200'000}, {"penny", 1}};

  /// Guarded by the test: read when no call is in progress.
  std::map<std::pair<origin, std::string>, engagement> ledger;
  std::vector<unlock_step> unlocks;
  std::vector<step> steps;
  std::vector<std::size_t> batches;  ///< sizes of the batches that were committed

  [[nodiscard]] std::uint64_t calls(operation op) const {
    // [relaxed] a count that orders nothing
    return calls_[static_cast<std::size_t>(op)].load(std::memory_order_relaxed);
  }

  record_result record(std::span<const engagement> batch, wall_time) override {
    const scope s{*this, operation::record};
    if (before_record) before_record(batch);
    record_result result;
    {
      const std::lock_guard lock{mutex_};
      for (const engagement& e : batch) {
        if (e.event_id == "poison") throw store_error{store_failure::rejected, "memory: poison"};
      }
      batches.push_back(batch.size());
      for (const engagement& e : batch) {
        result.status.push_back(add_locked(e) ? record_status::accepted : record_status::duplicate);
      }
      result.pot = world_.pot;
    }
    s.commit();
    return result;
  }

  vote_status vote(const ballot& b) override {
    const scope s{*this, operation::vote};
    const vote_status status = vote_locked(b);
    s.commit();
    return status;
  }

  std::optional<transitioned> transition(const decide& d) override {
    const scope s{*this, operation::transition};
    std::optional<transitioned> done;
    {
      const std::lock_guard lock{mutex_};
      static_cast<void>(d(world_));  // as if the first attempt had been rolled back
      const std::optional<step> decided = d(world_);
      if (decided && !decided->changes_nothing()) {
        apply_locked(*decided);
        done = transitioned{*decided, world_};
      }
    }
    s.commit();
    return done;
  }

  world read_world() override {
    const scope s{*this, operation::read};
    const std::lock_guard lock{mutex_};
    return world_;
  }

  std::optional<voting_session> latest_session() override {
    const scope s{*this, operation::read};
    const std::lock_guard lock{mutex_};
    if (world_.open_session) return world_.open_session;
    if (ended_.empty()) return std::nullopt;
    return ended_.back();
  }

  std::map<std::string, std::int64_t, std::less<>> weights() override {
    const scope s{*this, operation::weights};
    const std::lock_guard lock{mutex_};
    return weight_table;
  }

  std::vector<leader> leaders(int limit) override {
    const scope s{*this, operation::read};
    const std::lock_guard lock{mutex_};
    std::map<std::string, leader> by_user;
    for (const auto& [id, e] : ledger) {
      leader& l = by_user[e.user_id];
      l.user_id = e.user_id;
      l.username = e.username;
      l.points.milli += e.points.milli;
    }
    std::vector<leader> all;
    for (auto& [id, l] : by_user) all.push_back(std::move(l));
    std::ranges::sort(all, {}, [](const leader& l) { return std::pair{-l.points.milli, l.user_id}; });
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool tied = i > 0 && all[i].points == all[i - 1].points;
      all[i].rank = tied ? all[i - 1].rank : static_cast<std::int64_t>(i + 1);
    }
    if (all.size() > static_cast<std::size_t>(limit)) all.resize(static_cast<std::size_t>(limit));
    return all;
  }

  user_engagement engagement_of(std::string_view user_id) override {
    const scope s{*this, operation::read};
    const std::lock_guard lock{mutex_};
    user_engagement sum;
    for (const auto& [id, e] : ledger) {
      if (e.user_id != user_id) continue;
      sum.by_metric[e.metric] += e.value;
      sum.points.milli += e.points.milli;
    }
    return sum;
  }

  audit_report audit() override {
    const std::lock_guard lock{mutex_};
    audit_report r;
    r.ledger_entries = static_cast<std::int64_t>(ledger.size());
    for (const auto& [id, e] : ledger) r.ledger_points.milli += e.points.milli;
    r.pot_points = world_.pot.filled;
    r.cycle = world_.pot.cycle;
    std::set<node_level> distinct;
    for (const unlock_step& u : unlocks) {
      r.consumed.milli += u.cost.milli;
      r.discarded.milli += u.discarded.milli;
      if (u.source == unlock_source::vote) ++r.paid_unlocks;
      ++r.unlocks;
      if (!distinct.insert(u.what).second) ++r.duplicate_unlocks;
    }
    r.open_sessions = world_.open_session ? 1 : 0;
    return r;
  }

  std::int64_t count_events(std::string_view prefix) override {
    const std::lock_guard lock{mutex_};
    return std::ranges::count_if(ledger, [&](const auto& e) {
      return e.first.first == origin::client && e.first.second.starts_with(prefix);
    });
  }

  void ping() override { const scope s{*this, operation::read}; }

  store_stats stats() const override {
    store_stats s;
    for (const auto& n : calls_) s.statements += n.load(std::memory_order_relaxed);  // [relaxed] a count
    return s;
  }

  /// For set-ups that no use case reaches.
  template <class F>
  void alter(F&& f) {
    const std::lock_guard lock{mutex_};
    f(world_);
  }

 private:
  /// One call: counted, and failed on request before or after its commit.
  class scope {
   public:
    scope(memory_store& s, operation op) {
      // [relaxed] a count that orders nothing
      const auto call = s.calls_[static_cast<std::size_t>(op)].fetch_add(1, std::memory_order_relaxed) + 1;
      if (s.on_call) fault_ = s.on_call(op, call);
      if (fault_ && !fault_->after_commit) fail();
    }
    void commit() const {
      if (fault_) fail();
    }

   private:
    [[noreturn]] void fail() const { throw store_error{fault_->kind, "memory: as told"}; }
    std::optional<fault> fault_;
  };

  bool add_locked(const engagement& e) {
    if (!ledger.emplace(std::pair{e.origin, e.event_id}, e).second) return false;
    world_.pot.filled.milli = checked_add(world_.pot.filled.milli, e.points.milli);
    return true;
  }

  vote_status vote_locked(const ballot& b) {
    const std::lock_guard lock{mutex_};
    if (!world_.open_session || world_.open_session->id != b.session) {
      const bool known = std::ranges::count(ended_, b.session, &voting_session::id) > 0;
      return known ? vote_status::session_closed : vote_status::no_such_session;
    }
    auto& session = *world_.open_session;
    if (session.status != session_status::voting || b.at >= session.ends_at)
      return vote_status::session_closed;
    const auto option = std::ranges::find(session.options, b.option, &vote_option::id);
    if (option == session.options.end()) return vote_status::no_such_option;
    if (!voters_.emplace(b.session, b.user_id).second) return vote_status::already_voted;
    ++option->votes;
    option->reached_at = b.at;
    add_locked({.origin = origin::vote,
                .event_id = std::to_string(b.session) + ":" + b.user_id,
                .user_id = b.user_id,
                .username = b.username,
                .metric = "vote_cast",
                .value = 1,
                .points = b.points});
    return vote_status::counted;
  }

  void apply_locked(const step& s) {
    steps.push_back(s);
    for (const node_level& g : s.granted) {
      world_.unlocked[g.node] = g.level;
      unlocks.push_back({.what = g,
                         .source = unlock_source::automatic,
                         .filled = {},
                         .cost = {},
                         .rollover = {},
                         .discarded = {}});
    }
    if (s.unlock) {
      world_.unlocked[s.unlock->what.node] = s.unlock->what.level;
      unlocks.push_back(*s.unlock);
      world_.pot.filled = s.unlock->rollover;
      ++world_.pot.cycle;
    }
    if (s.ended && world_.open_session) {
      world_.open_session->status = session_status::completed;
      world_.open_session->winner = s.ended->winner;
      ended_.push_back(*world_.open_session);
      world_.open_session.reset();
    }
    if (s.next) {
      world_.pot.goal = s.next;
    } else if (s.clear_goal) {
      world_.pot.goal.reset();
    }
    if (s.started) {
      voting_session opened;
      opened.id = ++session_ids_;
      opened.started_at = s.started->started_at;
      opened.ends_at = s.started->ends_at;
      for (const node_level& what : s.started->options) {
        opened.options.push_back({.id = ++option_ids_, .what = what, .votes = 0, .reached_at = {}});
      }
      world_.open_session = std::move(opened);
    }
  }

  std::mutex mutex_;
  world world_;                                            // guarded by mutex_
  std::vector<voting_session> ended_;                      // guarded by mutex_
  std::set<std::pair<std::int64_t, std::string>> voters_;  // guarded by mutex_
  std::int64_t session_ids_ = 0;                           // guarded by mutex_
  std::int64_t option_ids_ = 0;                            // guarded by mutex_
  std::atomic<std::uint64_t> calls_[5] = {};
};

}  // namespace progression::testing
