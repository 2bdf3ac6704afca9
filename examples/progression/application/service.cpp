// SPDX-License-Identifier: BSL-1.0
#include "application/service.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <weir/task_gate.hpp>

#include "application/admission.hpp"
#include "application/input.hpp"
#include "application/recorder.hpp"
#include "application/scoring.hpp"
#include "application/service_clock.hpp"
#include "application/store_port.hpp"
#include "application/unlock_cycle.hpp"
#include "domain/score.hpp"

namespace progression {

namespace {

using weir::outcome;
using weir::refusal;
using weir::refusal_reason;

service_options checked(service_options o) {
  const auto require = [](bool ok, const char* what, auto got) {
    if (!ok) throw std::invalid_argument{"service: " + std::string{what} + ", got " + std::to_string(got)};
  };
  require(o.max_messages > 0, "max_messages must be positive", o.max_messages);
  require(o.max_commit >= o.max_messages, "max_commit must be at least max_messages", o.max_commit);
  require(o.max_contribution > 0, "max_contribution must be positive", o.max_contribution);
  require(o.check_interval > weir::duration::zero(), "check_interval must be positive",
          o.check_interval.count());
  require(o.store_timeout > weir::duration::zero(), "store_timeout must be positive",
          o.store_timeout.count());
  require(o.rules.rollover_cap.milli >= 0, "rules.rollover_cap must not be negative",
          o.rules.rollover_cap.milli);
  require(o.rules.max_options > 0, "rules.max_options must be positive", o.rules.max_options);
  require(o.rules.voting_period.count() > 0, "rules.voting_period must be positive",
          o.rules.voting_period.count());
  if (o.now == nullptr) throw std::invalid_argument{"service: now must not be null"};
  return o;
}

wall_time system_now() {
  return std::chrono::time_point_cast<wall_time::duration>(std::chrono::system_clock::now());
}

int floor_percent(points part, points whole) {
  if (part >= whole) return 100;
  const std::int64_t hundredth = whole.milli / 100;
  if (part.milli <= std::numeric_limits<std::int64_t>::max() / 100) {
    return static_cast<int>(part.milli * 100 / whole.milli);
  }
  return static_cast<int>(part.milli / hundredth);
}

}  // namespace

class service::impl {
 public:
  impl(progression::tree shape, store& db, const service_options& o, event_sink sink)
      : options_{checked(o)},
        tree_{std::move(shape)},
        db_{db},
        wall_now_{o.wall_now ? o.wall_now : &system_now},
        port_{options_},
        scoring_{tree_, db_, port_, options_},
        admission_{options_},
        recorder_{db_, port_, wall_now_, options_},
        cycle_{tree_,     db_,     port_, std::move(sink), [this](const step& s) { committed(s); },
               wall_now_, options_},
        inside_{{.capacity = std::numeric_limits<std::int32_t>::max()}, service_clock{o.now}} {}

  void start() { cycle_.settle(); }

  outcome<handled> handle(const message& m, weir::deadline until, std::stop_token stop) {
    return counted([&]() -> outcome<handled> {
      input::check(m);
      const auto inside = inside_.try_enter();
      if (!inside) return draining();
      std::string user = input::user_id(m.platform, m.platform_id);
      if (const auto admitted = admission_.admit(user); !admitted) return admitted.error();
      const auto scores = scoring_.get(until, stop);
      if (!scores) return scores.error();
      return record(weighed(m, std::move(user), **scores), until, std::move(stop));
    });
  }

  std::vector<verdict> handle_batch(std::span<const message> messages, weir::deadline until,
                                    std::stop_token stop) {
    if (messages.size() > options_.max_messages) {
      invalid_.add();
      throw invalid_input{"messages", "must be at most " + std::to_string(options_.max_messages)};
    }
    std::vector<verdict> verdicts(messages.size(), verdict{refusal{refusal_reason::closed}});
    const auto inside = inside_.try_enter();
    if (inside) judge(messages, verdicts, until, std::move(stop));
    for (const verdict& v : verdicts) count(v);
    return verdicts;
  }

  outcome<handled> contribute(const contribution& c, weir::deadline until, std::stop_token stop) {
    return counted([&]() -> outcome<handled> {
      input::check(c, options_.max_contribution);
      const auto inside = inside_.try_enter();
      if (!inside) return draining();
      return record({.origin = origin::admin,
                     .event_id = c.event_id,
                     .user_id = "admin",
                     .username = "admin",
                     .metric = "contribution",
                     .value = c.amount,
                     .points = points::whole(c.amount)},
                    until, std::move(stop));
    });
  }

  outcome<vote_status> vote(const vote_request& v, weir::deadline until, std::stop_token stop) {
    return guarded([&]() -> outcome<vote_status> {
      input::check(v);
      const auto inside = inside_.try_enter();
      if (!inside) return draining();
      if (stop.stop_requested()) return refusal{refusal_reason::cancelled};
      if (until.reached(options_.now())) return refusal{refusal_reason::timed_out};
      const ballot b{.session = v.session,
                     .option = v.option,
                     .user_id = input::user_id(v.platform, v.platform_id),
                     .username = v.username,
                     .points = points::whole(1),
                     .at = wall_now_()};
      if (const auto admitted = admission_.admit(b.user_id); !admitted) return admitted.error();
      auto status = port_.call([&] { return db_.vote(b); }, std::move(stop));
      if (status && *status == vote_status::counted) cycle_.trigger();
      return status;
    });
  }

  void tick() {
    if (const auto inside = inside_.try_enter()) cycle_.tick();
  }

  /// A question to the store.
  template <class F>
  auto read(F&& f) -> outcome<std::invoke_result_t<F&>> {
    return guarded([&]() -> outcome<std::invoke_result_t<F&>> {
      const auto inside = inside_.try_enter();
      if (!inside) return draining();
      return port_.call(f);
    });
  }

  outcome<std::vector<node_view>> tree_levels() {
    return read([&] {
      const unlock_levels unlocked = db_.read_world().unlocked;
      std::vector<node_view> all;
      for (const node& n : tree_.nodes()) {
        all.push_back({.definition = &n,
                       .level = level_of(unlocked, n.key),
                       .available_level = tree_.available_level(n, unlocked),
                       .cost = tree_.cost_of(n)});
      }
      return all;
    });
  }

  outcome<status_view> status() {
    return read([&] {
      world w = db_.read_world();
      status_view s;
      for (const node& n : tree_.nodes()) {
        const int level = level_of(w.unlocked, n.key);
        s.unlocked_nodes += level > 0 ? 1 : 0;
        s.unlocked_levels += std::min(level, n.max_level);
      }
      s.total_nodes = static_cast<int>(tree_.nodes().size());
      s.total_levels = tree_.total_levels();
      s.all_unlocked = tree_.all_unlocked(w.unlocked);
      s.pot = std::move(w.pot);
      if (w.open_session) s.session = view_of(*std::move(w.open_session));
      return s;
    });
  }

  outcome<std::optional<session_view>> session() {
    return read([&]() -> std::optional<session_view> {
      auto newest = db_.latest_session();
      if (!newest) return std::nullopt;
      return view_of(*std::move(newest));
    });
  }

  outcome<progress_view> unlock_progress() {
    return read([&] {
      progress_view p{.pot = db_.read_world().pot, .target_name = {}, .percent = 0};
      if (p.pot.goal) {
        const node* n = tree_.find(p.pot.goal->what.node);
        p.target_name = n ? n->name : p.pot.goal->what.node;
        p.percent = floor_percent(p.pot.filled, p.pot.goal->cost);
      }
      return p;
    });
  }

  outcome<std::vector<leader>> leaderboard(std::int64_t limit) {
    if (limit < 1 || limit > 100) throw invalid_input{"limit", "must be 1 to 100"};
    return read([&] { return db_.leaders(static_cast<int>(limit)); });
  }

  outcome<user_engagement> engagement_of(std::string_view platform, std::string_view platform_id) {
    input::check_user(platform, platform_id);
    return read([&] { return db_.engagement_of(input::user_id(platform, platform_id)); });
  }

  bool ready() noexcept {
    try {
      const auto inside = inside_.try_enter();
      if (!inside) return false;
      db_.ping();
      return true;
    } catch (...) {
      return false;
    }
  }

  void reload_weights() { scoring_.forget(); }

  std::size_t drain(weir::deadline until) {
    inside_.close();
    if (inside_.wait_idle_until(until)) return 0;
    return inside_.stats().running;
  }

  service_stats stats() const {
    const auto batches = recorder_.stats();
    service_stats s;
    s.accepted = accepted_.value();
    s.duplicates = duplicates_.value();
    s.invalid = invalid_.value();
    s.refused_user_rate = admission_.refused_user();
    s.refused_total_rate = admission_.refused_total();
    s.refused_circuit = refused_circuit_.value();
    s.refused_full = refused_full_.value();
    s.refused_timed_out = refused_timed_out_.value();
    s.refused_closed = refused_closed_.value();
    s.store_errors = store_errors_.value();
    s.batches = batches.batches;
    s.batched_messages = recorder_.written();
    s.largest_batch = batches.largest_batch;
    s.queued = batches.waiting;
    s.waiting = inside_.stats().running;
    s.weight_loads = scoring_.loads();
    s.weight_hits = scoring_.hits();
    s.check_triggers = cycle_.triggers();
    s.checks = cycle_.checks();
    s.steps = cycle_.steps();
    s.unlocks = cycle_.unlocks();
    s.failed_checks = cycle_.failed();
    s.attempts = port_.attempts();
    s.retries = port_.retries();
    s.circuit = port_.circuit();
    s.circuit_opened = port_.circuit_opened();
    s.tracked_users = admission_.tracked();
    s.sink_errors = cycle_.sink_errors();
    s.store = db_.stats();
    return s;
  }

  [[nodiscard]] const progression::tree& definition() const noexcept { return tree_; }

 private:
  static refusal draining() noexcept { return weir::refused_for_ever(refusal_reason::closed); }

  static progression::engagement weighed(const message& m, std::string user, const score_table& scores) {
    try {
      return {.origin = origin::client,
              .event_id = m.event_id,
              .user_id = std::move(user),
              .username = m.username,
              .metric = m.metric,
              .value = m.value,
              .points = scores.score_of(m.metric, m.value)};
    } catch (const std::overflow_error&) {
      throw invalid_input{"value", "must be smaller: its points do not fit"};
    }
  }

  outcome<handled> record(progression::engagement e, weir::deadline until, std::stop_token stop) {
    const points worth = e.points;
    record_answer answer;
    const auto full = recorder_.record({&e, 1}, {&answer, 1}, until, std::move(stop));
    if (!full) return full.error();
    if (*full) cycle_.trigger(**full);
    if (const auto* why = std::get_if<refusal>(&answer)) return *why;
    if (const auto* fault = std::get_if<store_fault>(&answer)) throw store_error{fault->kind, fault->what};
    return handled{std::get<record_status>(answer), worth};
  }

  /// The verdict of each message; those that may pass go to the store together.
  void judge(std::span<const message> messages, std::vector<verdict>& verdicts, weir::deadline until,
             std::stop_token stop) {
    std::vector<std::size_t> places;
    std::vector<progression::engagement> entries;
    std::optional<outcome<scoring::snapshot>> scores;  // asked for once, if anybody needs it
    for (std::size_t i = 0; i < messages.size(); ++i) {
      verdicts[i] = [&]() -> verdict {
        try {
          input::check(messages[i]);
          std::string user = input::user_id(messages[i].platform, messages[i].platform_id);
          if (const auto admitted = admission_.admit(user); !admitted) return admitted.error();
          if (!scores) scores = scoring_.get(until, stop);
          if (!*scores) return scores->error();
          entries.push_back(weighed(messages[i], std::move(user), ***scores));
          places.push_back(i);
          return handled{};
        } catch (const invalid_input& e) {
          return e;
        } catch (const store_error& e) {
          return e.kind();
        }
      }();
    }
    if (entries.empty()) return;
    std::vector<points> worth;
    worth.reserve(entries.size());
    for (const progression::engagement& e : entries) worth.push_back(e.points);
    std::vector<record_answer> answers(entries.size());
    const auto full = recorder_.record(entries, answers, until, std::move(stop));
    if (!full) std::ranges::fill(answers, record_answer{full.error()});
    for (std::size_t k = 0; k < places.size(); ++k) verdicts[places[k]] = verdict_of(answers[k], worth[k]);
    if (full && *full) cycle_.trigger(**full);
  }

  static verdict verdict_of(const record_answer& answer, points worth) {
    if (const auto* status = std::get_if<record_status>(&answer)) return handled{*status, worth};
    if (const auto* why = std::get_if<refusal>(&answer)) return *why;
    return std::get<store_fault>(answer).kind;
  }

  /// Runs a use case and counts how it ended if it did not end well.
  template <class F>
  std::invoke_result_t<F&> guarded(F&& f) {
    try {
      auto result = f();
      if (!result) count(result.error());
      return result;
    } catch (const invalid_input&) {
      invalid_.add();
      throw;
    } catch (const store_error&) {
      store_errors_.add();
      throw;
    }
  }

  template <class F>
  outcome<handled> counted(F&& f) {
    auto result = guarded(f);
    if (result) count(*result);
    return result;
  }

  void count(const verdict& v) noexcept {
    std::visit([this](const auto& each) { count(each); }, v);
  }
  void count(const handled& h) noexcept {
    (h.status == record_status::accepted ? accepted_ : duplicates_).add();
  }
  void count(const invalid_input&) noexcept { invalid_.add(); }
  void count(store_failure) noexcept { store_errors_.add(); }
  void count(const refusal& why) noexcept {
    switch (why.reason) {
      case refusal_reason::circuit_open:
        return refused_circuit_.add();
      case refusal_reason::full:
        return refused_full_.add();
      case refusal_reason::timed_out:
      case refusal_reason::cancelled:
        return refused_timed_out_.add();
      case refusal_reason::closed:
        return refused_closed_.add();
      default:
        return;  // rate limits count their own
    }
  }

  session_view view_of(voting_session s) const {
    const bool open = s.status == session_status::voting && wall_now_() < s.ends_at;
    return {.session = std::move(s), .accepts_votes = open};
  }

  /// An unlocked upgrade changes what every message is worth from now on.
  void committed(const step& s) {
    const auto changes_rate = [&](const node_level& what) {
      const node* n = tree_.find(what.node);
      return n && n->rate_per_level_milli > 0;
    };
    if ((s.unlock && changes_rate(s.unlock->what)) || std::ranges::any_of(s.granted, changes_rate)) {
      scoring_.forget();
    }
  }

  const service_options options_;
  const progression::tree tree_;
  store& db_;
  const std::function<wall_time()> wall_now_;
  store_port port_;
  scoring scoring_;
  admission admission_;
  recorder recorder_;
  unlock_cycle cycle_;
  weir::event_counter accepted_;
  weir::event_counter duplicates_;
  weir::event_counter invalid_;
  weir::event_counter refused_circuit_;
  weir::event_counter refused_full_;
  weir::event_counter refused_timed_out_;
  weir::event_counter refused_closed_;
  weir::event_counter store_errors_;
  weir::basic_task_gate<service_clock> inside_;  // everybody who may touch the store is in here
};

service::service(progression::tree tree, store& db, service_options options, event_sink sink)
    : impl_{std::make_unique<impl>(std::move(tree), db, options, std::move(sink))} {}

service::~service() = default;

void service::start() { impl_->start(); }

outcome<handled> service::handle(const message& m, weir::deadline deadline, std::stop_token stop) {
  return impl_->handle(m, deadline, std::move(stop));
}

std::vector<verdict> service::handle_batch(std::span<const message> messages, weir::deadline deadline,
                                           std::stop_token stop) {
  return impl_->handle_batch(messages, deadline, std::move(stop));
}

outcome<vote_status> service::vote(const vote_request& request, weir::deadline deadline,
                                   std::stop_token stop) {
  return impl_->vote(request, deadline, std::move(stop));
}

outcome<handled> service::contribute(const contribution& c, weir::deadline deadline, std::stop_token stop) {
  return impl_->contribute(c, deadline, std::move(stop));
}

void service::tick() { impl_->tick(); }

const progression::tree& service::definition() const noexcept { return impl_->definition(); }
outcome<std::vector<node_view>> service::tree() { return impl_->tree_levels(); }
outcome<status_view> service::status() { return impl_->status(); }
outcome<std::optional<session_view>> service::session() { return impl_->session(); }
outcome<progress_view> service::unlock_progress() { return impl_->unlock_progress(); }
outcome<std::vector<leader>> service::leaderboard(std::int64_t limit) { return impl_->leaderboard(limit); }

outcome<user_engagement> service::engagement(std::string_view platform, std::string_view platform_id) {
  return impl_->engagement_of(platform, platform_id);
}

bool service::ready() noexcept { return impl_->ready(); }
void service::reload_weights() { impl_->reload_weights(); }
std::size_t service::drain(weir::deadline deadline) { return impl_->drain(deadline); }
service_stats service::stats() const { return impl_->stats(); }

}  // namespace progression
