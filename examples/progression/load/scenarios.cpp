// SPDX-License-Identifier: BSL-1.0
#include "load/scenarios.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

namespace progression::load {

using json = nlohmann::json;
using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view message_path = "/api/v1/message/handle";
constexpr std::size_t users = 5000;

void say(const report& r, const std::string& what) {
  std::fprintf(stderr, "%-12s %s\n", r.name.c_str(), what.c_str());
}

std::string message_json(const std::string& prefix, std::size_t n) {
  const std::string user = std::to_string(n % users);
  return R"({"event_id":")" + prefix + std::to_string(n) + R"(","platform":"load","platform_id":"u)" + user +
         R"(","username":"User )" + user + R"(","message":"hello number )" + std::to_string(n) + "\"}";
}

std::string message_request(const std::string& prefix, std::size_t n) {
  return http_request_text("POST", message_path, message_json(prefix, n));
}

/// The number that follows `"name":`, which stands before any other of that name.
std::int64_t number_after(std::string_view body, std::string_view name) {
  const std::string key = "\"" + std::string{name} + "\":";
  const std::size_t at = body.find(key);
  std::int64_t n = 0;
  if (at != std::string_view::npos)
    std::from_chars(body.data() + at + key.size(), body.data() + body.size(), n);
  return n;
}

/// Counts answers of the message endpoint.
class tally {
 public:
  explicit tally(std::size_t expected) { took_.reserve(expected); }

  void add(const answer& a, std::size_t messages = 1) {
    took_.push_back(std::chrono::duration<double, std::milli>(a.took).count());
    const auto n = static_cast<std::int64_t>(messages);
    if (a.reply == nullptr) {
      ++unanswered;
      rejected += n;
    } else if (messages > 1) {
      accepted += number_after(a.reply->body, "accepted");
      duplicates += number_after(a.reply->body, "duplicates");
      rejected += n - number_after(a.reply->body, "accepted") - number_after(a.reply->body, "duplicates");
      if (a.reply->status != 200) note(*a.reply);
    } else if (a.reply->status == 200 && a.reply->body.find("\"accepted\"") != std::string::npos) {
      ++accepted;
    } else if (a.reply->status == 200 && a.reply->body.find("\"duplicate\"") != std::string::npos) {
      ++duplicates;
    } else {
      ++rejected;
      note(*a.reply);
    }
  }

  [[nodiscard]] double percentile(double share) {
    if (took_.empty()) return 0;
    const auto at =
        std::min(took_.size() - 1, static_cast<std::size_t>(share * static_cast<double>(took_.size())));
    std::nth_element(took_.begin(), took_.begin() + static_cast<std::ptrdiff_t>(at), took_.end());
    return took_[at];
  }

  void into(report& r) {
    r.accepted += accepted;
    r.duplicates += duplicates;
    r.rejected += rejected;
    r.p50_ms = percentile(0.50);
    r.p99_ms = percentile(0.99);
    r.require(unanswered == 0, std::to_string(unanswered) + " requests got no answer");
    if (!first_error.empty()) r.require(false, "not every message was taken; the first said: " + first_error);
  }

  std::int64_t accepted = 0;
  std::int64_t duplicates = 0;
  std::int64_t rejected = 0;
  std::int64_t unanswered = 0;
  std::string first_error;

 private:
  void note(const http_reply& reply) {
    if (first_error.empty()) first_error = std::to_string(reply.status) + " " + reply.body.substr(0, 200);
  }
  std::vector<double> took_;
};

struct counters {
  std::int64_t statements = 0;
  std::int64_t commits = 0;
};

counters read_counters(const target_system& system) {
  counters sum;
  for (const endpoint& server : system.servers) {
    const std::string text = connection{server}.request("GET", "/metrics").body;
    const auto value = [&text](const std::string& name) -> std::int64_t {
      const std::size_t at = text.find("\n" + name + " ");
      if (at == std::string::npos) throw std::runtime_error("/metrics does not say " + name);
      std::int64_t n = 0;
      std::from_chars(text.data() + at + name.size() + 2, text.data() + text.size(), n);
      return n;
    };
    sum.statements += value("progression_store_statements_total");
    sum.commits += value("progression_store_commits_total");
  }
  return sum;
}

/// Waits until the service leaves the database alone and the pot is not over its goal.
counters await_rest(const target_system& system) {
  counters last = read_counters(system);
  for (const auto until = clock::now() + 5s; clock::now() < until;) {
    std::this_thread::sleep_for(30ms);
    const counters now = read_counters(system);
    if (now.statements == last.statements && !system.db->read_world().pot.is_full()) return now;
    last = now;
  }
  return last;
}

/// Measures what lies between its construction and `finish`.
class measurement {
 public:
  measurement(const target_system& system, report& r)
      : system_{system},
        report_{r},
        audit_{system.db->audit()},
        before_{await_rest(system)},
        began_{clock::now()} {
    r.store = system.store_name;
  }

  void stop_watch() { report_.seconds = std::chrono::duration<double>(clock::now() - began_).count(); }

  /// `prefix` is that of the event ids, `distinct` how many of them were acknowledged.
  void finish(const std::string& prefix, std::int64_t distinct) {
    const counters after = await_rest(system_);
    report& r = report_;
    r.statements = after.statements - before_.statements;
    r.commits = after.commits - before_.commits;
    r.recorded = system_.db->count_events(prefix);
    r.lost = std::max<std::int64_t>(0, distinct - r.recorded);
    now_ = system_.db->audit();
    r.unlocks = now_.paid_unlocks - audit_.paid_unlocks;
    r.duplicate_unlocks = now_.duplicate_unlocks;

    r.require(r.offered == r.accepted + r.duplicates + r.rejected,
              "offered is not accepted + duplicates + rejected");
    r.require(r.lost == 0, std::to_string(r.lost) + " acknowledged messages are not in the database");
    r.require(r.recorded == distinct || r.rejected != 0,
              std::to_string(r.recorded) + " recorded, " + std::to_string(distinct) + " acknowledged");
    r.require(now_.conserves_points(), "the points of ledger, pot and unlocks do not add up");
    r.require(now_.duplicate_unlocks == 0, "something was unlocked twice");
    r.require(now_.open_sessions <= 1, "more than one vote is open");
    r.require(now_.miscounted_options == 0 && now_.double_votes == 0, "the votes do not add up");
    r.require(now_.cycle - audit_.cycle == r.unlocks, "there are not as many new cycles as unlocks");
    r.require(!system_.db->read_world().pot.is_full(), "the pot is over its goal and nothing was unlocked");
  }

 private:
  const target_system& system_;
  report& report_;
  audit_report audit_;
  audit_report now_;
  counters before_;
  clock::time_point began_;
};

/// Sends the messages `from`, `from + 1`, ... and tells how far it is.
void play(crowd& all, const report& r, const std::string& prefix, std::size_t count, tally& into,
          std::size_t from = 0) {
  std::size_t answered = 0;
  auto told = clock::now();
  all.run({.requests = count,
           .text = [&](std::size_t i) { return message_request(prefix, from + i); },
           .on_answer =
               [&](const answer& a) {
                 into.add(a);
                 ++answered;
                 if (clock::now() - told > 500ms) {
                   told = clock::now();
                   say(r, std::to_string(answered) + " of " + std::to_string(count) + " answered");
                 }
               }});
}

void warm_up(crowd& all, const target_system& system, const report& r, std::size_t count) {
  tally ignored{count};
  play(all, r, system.run_id + "-warm-" + r.name + "-", count, ignored);
  if (ignored.rejected != 0) {
    throw std::runtime_error("the service does not take the messages of the warm-up: " + ignored.first_error);
  }
}

void expect_duplicates(report& r, std::int64_t repeats, const tally& again) {
  r.require(again.duplicates == repeats,
            std::to_string(repeats - again.duplicates) + " repeats were not recognised as such");
}

/// The goal of the pot, after a moment if there is none just now.
world world_with_goal(const target_system& system) {
  for (const auto until = clock::now() + 3s;; std::this_thread::sleep_for(20ms)) {
    world w = system.db->read_world();
    if (w.pot.goal && !w.pot.is_full()) return w;
    if (clock::now() > until)
      throw std::runtime_error("there is nothing left to unlock: start on a fresh database");
  }
}

void contribute(const target_system& system, std::int64_t whole_points, const std::string& event_id) {
  const std::string key =
      system.admin_key.empty() ? std::string{} : "X-Admin-Key: " + system.admin_key + "\r\n";
  const json body{{"amount", whole_points}, {"event_id", event_id}};
  const http_reply reply = connection{system.servers.front()}.request(
      "POST", "/api/v1/progression/admin/contribution", body.dump(), key);
  if (reply.status != 200) throw std::runtime_error("the contribution was refused: " + reply.body);
}

std::string vote(const endpoint& server, const std::string& user, std::int64_t session, std::int64_t option) {
  const json body{{"platform", "load"},
                  {"platform_id", user},
                  {"username", user},
                  {"session_id", session},
                  {"option_id", option}};
  const http_reply reply = connection{server}.request("POST", "/api/v1/progression/vote", body.dump());
  if (reply.status != 200) throw std::runtime_error("the vote was refused: " + reply.body);
  return json::parse(reply.body).at("status").get<std::string>();
}

/// What one message is worth now, in thousandths.
std::int64_t worth_of_a_message(const target_system& system, const report& r) {
  const http_reply reply = connection{system.servers.front()}.request(
      "POST", message_path, message_json(system.run_id + "-probe-" + r.name, 1));
  const json body = json::parse(reply.body, nullptr, false);
  if (reply.status != 200 || !body.contains("points"))
    throw std::runtime_error("the probe was refused: " + reply.body);
  return std::max<std::int64_t>(1, std::llround(body.at("points").get<double>() * 1000.0));
}

std::size_t occurrences(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// Leaves a pot that needs from `least` to `most` messages: contributes, crossing goals that are too near.
void make_room(const target_system& system, std::int64_t worth, std::int64_t least, std::int64_t most) {
  for (int attempt = 0; attempt != 40; ++attempt) {
    const world w = world_with_goal(system);
    const std::int64_t missing = w.pot.goal->cost.milli - w.pot.filled.milli;
    const std::int64_t messages = (missing + worth - 1) / worth;
    const std::string id = system.run_id + "-fill-" + std::to_string(least) + "-" + std::to_string(attempt);
    if (messages < least) {
      contribute(system, (missing + 999) / 1000, id);  // too near: on to the next goal
      await_rest(system);
    } else if (messages > most) {
      contribute(system, std::max<std::int64_t>(1, (missing - most * worth) / 1000), id);
    } else {
      return;
    }
  }
  throw std::runtime_error("the pot cannot be brought near its goal");
}

}  // namespace

report burst(const target_system& system, const std::string& name, const burst_options& options) {
  report r;
  r.name = name;
  const std::size_t messages = options.messages;
  const std::string prefix = system.run_id + "-" + name + "-";
  say(r, "opening " + std::to_string(messages) + " connections and warming up");
  crowd all{system.servers, messages};
  warm_up(all, system, r, messages);
  if (options.without_unlock) {
    const auto n = static_cast<std::int64_t>(messages);
    make_room(system, worth_of_a_message(system, r), n + n / 2, std::numeric_limits<std::int64_t>::max());
  }

  measurement measured{system, r};
  say(r, "sending " + std::to_string(messages) + " messages at once");
  tally first{messages};
  play(all, r, prefix, messages, first);
  measured.stop_watch();
  const auto distinct = first.accepted + first.duplicates;
  first.into(r);
  r.require(first.duplicates == 0, "a message was called a duplicate when it came first");

  const std::size_t repeats = messages / 10;
  say(r, "sending " + std::to_string(repeats) + " of them again");
  tally again{repeats};
  play(all, r, prefix, repeats, again);
  expect_duplicates(r, static_cast<std::int64_t>(repeats), again);
  r.duplicates += again.duplicates;
  r.accepted += again.accepted;
  r.rejected += again.rejected;
  r.offered = static_cast<std::int64_t>(messages + repeats);

  say(r, "looking into the database");
  measured.finish(prefix, distinct);
  r.require(r.recorded == static_cast<std::int64_t>(messages), "not every message was recorded");
  return r;
}

report unlock_race(const target_system& system, std::size_t connections) {
  report r;
  r.name = "unlock_race";
  const std::string prefix = system.run_id + "-race-";
  say(r, "opening " + std::to_string(connections) + " connections and warming up");
  crowd all{system.servers, connections};
  warm_up(all, system, r, connections);
  await_rest(system);
  const std::int64_t worth = worth_of_a_message(system, r);
  make_room(system, worth, 40, 256);

  // One who votes twice is counted once.  The vote itself is worth a point.
  const world before_vote = world_with_goal(system);
  if (!before_vote.open_session || before_vote.open_session->options.empty()) {
    throw std::runtime_error("no vote is open");
  }
  const voting_session session = *before_vote.open_session;
  const vote_option chosen = session.options.back();
  say(r, "voting for " + chosen.what.node);
  const std::string voter = "voter-" + system.run_id;
  r.require(vote(system.servers.front(), voter, session.id, chosen.id) == "counted",
            "the vote was not counted");
  r.require(vote(system.servers.back(), voter, session.id, chosen.id) == "already_voted",
            "a second vote of the same user was not recognised");

  const world w = world_with_goal(system);
  r.require(w.open_session && w.open_session->id == session.id, "the vote was over before the race began");
  const std::int64_t missing = (w.pot.goal->cost.milli - w.pot.filled.milli + worth - 1) / worth;
  // Enough beyond the goal that many messages come after it, too little to pay for the next one.
  const std::size_t messages = static_cast<std::size_t>(missing + 30'000 / worth);

  std::vector<connection> listeners;
  for (const endpoint& server : system.servers) {
    listeners.emplace_back(server, 400ms);
    listeners.back().send(http_request_text("GET", "/events", {}));
    (void)listeners.back().read_until([](std::string_view s) { return s.find(": listening") != s.npos; });
  }

  measurement measured{system, r};
  say(r, std::to_string(messages) + " messages cross the goal '" + w.pot.goal->what.node + "' after " +
             std::to_string(missing));
  tally first{messages};
  play(all, r, prefix, messages, first);
  measured.stop_watch();
  const auto distinct = first.accepted + first.duplicates;
  first.into(r);
  const std::size_t repeats = messages / 10;
  tally again{repeats};
  play(all, r, prefix, repeats, again);
  expect_duplicates(r, static_cast<std::int64_t>(repeats), again);
  r.duplicates += again.duplicates;
  r.accepted += again.accepted;
  r.rejected += again.rejected;
  r.offered = static_cast<std::int64_t>(messages + repeats);

  say(r, "looking into the database");
  measured.finish(prefix, distinct);
  r.require(r.recorded == static_cast<std::int64_t>(messages), "not every message was recorded");
  r.require(r.unlocks == 1, std::to_string(r.unlocks) + " unlocks where there should be one");

  const world after = system.db->read_world();
  r.require(after.pot.cycle == w.pot.cycle + 1, "there is not exactly one new cycle");
  const auto level = after.unlocked.find(w.pot.goal->what.node);
  r.require(level != after.unlocked.end() && level->second >= w.pot.goal->what.level,
            "the goal is not unlocked");
  r.require(after.pot.goal && after.pot.goal->what == chosen.what,
            "the winner of the vote is not the new goal");
  std::size_t told = 0;
  for (connection& listener : listeners) {
    told += occurrences(listener.read_until([](std::string_view) { return false; }),
                        "event: progression.node_unlocked\n");
  }
  r.require(told == 1, "the unlock was told " + std::to_string(told) + " times");
  return r;
}

report sustained(const target_system& system, const sustained_options& options) {
  report r;
  r.name = "sustained";
  const std::string prefix = system.run_id + "-sustained-";
  crowd all{system.servers, options.connections};
  warm_up(all, system, r, options.connections);

  measurement measured{system, r};
  say(r, std::to_string(options.connections) + " connections for " + std::to_string(options.seconds) + " s");
  tally seen{1 << 20};
  const auto began = clock::now();
  const auto until =
      began + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(options.seconds));
  auto told = began;
  std::int64_t sent = 0;
  const std::size_t most = options.per_second > 0
                               ? static_cast<std::size_t>(options.per_second * options.seconds)
                               : std::size_t{1} << 40U;
  all.run({.requests = most,
           .per_second = options.per_second,
           .text =
               [&](std::size_t i) {
                 sent += static_cast<std::int64_t>(options.batch);
                 if (options.batch == 1) return message_request(prefix, i);
                 std::string body = R"({"messages":[)";
                 for (std::size_t k = 0; k != options.batch; ++k) {
                   if (k != 0) body += ',';
                   body += message_json(prefix, i * options.batch + k);
                 }
                 return http_request_text("POST", message_path, body += "]}");
               },
           .on_answer =
               [&](const answer& a) {
                 seen.add(a, options.batch);
                 if (clock::now() - told > 1s) {
                   told = clock::now();
                   const double passed = std::chrono::duration<double>(told - began).count();
                   say(r, std::to_string(std::llround(static_cast<double>(seen.accepted) / passed)) +
                              " messages/s");
                 }
               },
           .stop = [&] { return clock::now() >= until; }});
  measured.stop_watch();
  r.offered = sent;
  seen.into(r);
  measured.finish(prefix, r.accepted);
  return r;
}

}  // namespace progression::load
