// SPDX-License-Identifier: BSL-1.0
#include "application/service.hpp"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <latch>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "fixture.hpp"

using namespace progression;
using namespace progression::testing;
using namespace std::chrono_literals;
using weir::refusal_reason;

TEST_CASE("a start grants the root, sets a goal and opens a vote, once", "[progression]") {
  memory_store db;
  event_log log;
  service s{small_tree(), db, unlimited(), log.sink()};
  s.start();
  const auto status = s.status();
  REQUIRE(status);
  CHECK(status->unlocked_nodes == 1);
  CHECK(status->total_nodes == 7);
  CHECK(status->total_levels == 8);
  CHECK(status->pot.goal);
  REQUIRE(status->session);
  CHECK(status->session->accepts_votes);
  CHECK(status->session->session.options.size() == 4);
  CHECK(log.names() == std::vector<std::string>{"progression.node_unlocked", "progression.target.set",
                                                "progression.voting_started"});

  service another{small_tree(), db, unlimited(), log.sink()};
  another.start();
  CHECK(log.names().size() == 3);
}

TEST_CASE("a message is recorded once, however often it is sent", "[progression]") {  // I1
  memory_store db;
  service s{small_tree(), db, unlimited()};
  s.start();
  CHECK(s.handle(chat("1")).value() == handled{record_status::accepted, points::whole(1)});
  CHECK(s.handle(chat("1")).value() == handled{record_status::duplicate, points::whole(1)});
  CHECK(s.handle(chat("1", "somebody else")).value().status == record_status::duplicate);
  CHECK(db.ledger.size() == 1);
  CHECK(db.audit().pot_points == points::whole(1));
  CHECK(s.stats().accepted == 1);
  CHECK(s.stats().duplicates == 2);
}

TEST_CASE("a metric is worth its weight, and one point if it has none", "[progression]") {  // W10, W29, I12
  memory_store db;
  service s{small_tree(), db, unlimited()};
  const auto worth = [&](std::string metric, std::int64_t value) {
    message m = chat(metric + std::to_string(value));
    m.metric = metric;
    m.value = value;
    return s.handle(m).value().points.milli;
  };
  CHECK(worth("message", 1) == 1000);
  CHECK(worth("command", 3) == 6000);
  CHECK(worth("penny", 7) == 7);
  CHECK(worth("never_heard_of", 2) == 2000);
  CHECK(s.stats().weight_loads == 1);
}

TEST_CASE("points that do not fit are the sender's fault, not a wrong number", "[progression]") {  // W11
  memory_store db;
  db.weight_table["huge"] = 9'000'000'000'000'000'000;
  service s{small_tree(), db, unlimited()};
  message m = chat("1");
  m.metric = "huge";
  m.value = 1'000'000;
  CHECK_THROWS_AS(s.handle(m), invalid_input);
  CHECK(db.ledger.empty());
}

TEST_CASE("a batch gets a verdict for each message and one commit", "[progression]") {
  memory_store db;
  service_options o = standing();
  o.limit_users = true;
  o.user_burst = 2;
  o.user_per_second = 1;
  service s{small_tree(), db, o};
  CHECK(s.handle(chat("old", "first")));
  std::vector<message> messages{chat("old", "a"), chat("new", "a"), chat("", "b"),        chat("new", "b"),
                                chat("x", "c"),   chat("y", "c"),   chat("too many", "c")};
  const auto verdicts = s.handle_batch(messages);
  REQUIRE(verdicts.size() == messages.size());
  const auto status = [&](std::size_t i) { return std::get<handled>(verdicts[i]).status; };
  CHECK(status(0) == record_status::duplicate);
  CHECK(status(1) == record_status::accepted);
  CHECK(std::get<invalid_input>(verdicts[2]).field() == "event_id");
  CHECK(status(3) == record_status::duplicate);  // of the one before it in the same batch
  CHECK(status(4) == record_status::accepted);
  CHECK(status(5) == record_status::accepted);
  CHECK(std::get<weir::refusal>(verdicts[6]).reason == refusal_reason::rate_limited);
  CHECK(db.batches == std::vector<std::size_t>{1, 5});
  const auto counts = s.stats();
  CHECK(counts.accepted + counts.duplicates + counts.invalid + counts.refused_user_rate == 8);  // I13
}

TEST_CASE("a batch that is too large is refused whole, an empty one is nothing", "[progression]") {
  memory_store db;
  service_options o = unlimited();
  o.max_messages = 3;
  service s{small_tree(), db, o};
  const std::vector<message> four(4, chat("1"));
  CHECK_THROWS_AS(s.handle_batch(four), invalid_input);
  CHECK(s.handle_batch({}).empty());
  CHECK(db.calls(operation::record) == 0);
}

TEST_CASE("callers that come while a commit is under way share the next one", "[progression]") {
  memory_store db;
  std::latch first_is_in{1};
  std::latch go{1};
  std::atomic<int> calls{0};
  db.before_record = [&](std::span<const engagement>) {
    if (calls.fetch_add(1) == 0) {  // seq_cst: a test's convenience
      first_is_in.count_down();
      go.wait();
    }
  };
  service s{small_tree(), db, unlimited()};
  std::atomic<int> accepted{0};
  const auto send = [&](int i) {
    if (s.handle(chat(std::to_string(i)))) accepted.fetch_add(1);
  };
  {
    std::jthread first{[&] { send(0); }};
    first_is_in.wait();
    std::vector<std::jthread> others;
    for (int i = 1; i <= 50; ++i) others.emplace_back([&, i] { send(i); });
    await([&] { return s.stats().queued == 50; });
    go.count_down();
  }
  CHECK(accepted == 51);
  CHECK(db.batches == std::vector<std::size_t>{1, 50});
  CHECK(s.stats().largest_batch == 50);
  CHECK(s.stats().queued == 0);
}

TEST_CASE("who finds no room among the waiting is refused at once", "[progression]") {  // I13
  memory_store db;
  std::latch first_is_in{1};
  std::latch go{1};
  std::atomic<int> calls{0};
  db.before_record = [&](std::span<const engagement>) {
    if (calls.fetch_add(1) == 0) {
      first_is_in.count_down();
      go.wait();
    }
  };
  service_options o = unlimited();
  o.max_waiting = 1;
  service s{small_tree(), db, o};
  {
    std::jthread first{[&] { static_cast<void>(s.handle(chat("1"))); }};
    first_is_in.wait();
    std::jthread second{[&] { static_cast<void>(s.handle(chat("2"))); }};
    await([&] { return s.stats().queued == 1; });
    const auto third = s.handle(chat("3"));
    CHECK_FALSE(third);
    CHECK(third.error().reason == refusal_reason::full);
    const auto late = s.handle(chat("4"), weir::deadline{weir::time_point::min()});
    CHECK_FALSE(late);
    go.count_down();
  }
  CHECK(db.ledger.size() == 2);
  CHECK(s.stats().refused_full >= 1);
}

TEST_CASE("a deadline that has passed and a stop that was asked for keep a message out", "[progression]") {
  memory_store db;
  service s{small_tree(), db, unlimited()};
  const auto late = s.handle(chat("1"), weir::deadline{weir::time_point::min()});
  CHECK(late.error().reason == refusal_reason::timed_out);
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = s.handle(chat("1"), {}, stop.get_token());
  CHECK(stopped.error().reason == refusal_reason::cancelled);
  CHECK(db.ledger.empty());
}

TEST_CASE("a cold cache costs one load of the weights, however many ask", "[progression]") {  // I10, W28
  memory_store db;
  service s{small_tree(), db, unlimited()};
  std::atomic<int> accepted{0};
  together(64, [&](int i) {
    if (s.handle(chat(std::to_string(i)))) accepted.fetch_add(1);
  });
  CHECK(accepted == 64);
  CHECK(db.calls(operation::weights) == 1);
}

TEST_CASE("weights are loaded again when their time is over, and when asked to", "[progression]") {  // I11
  memory_store db;
  service s{small_tree(), db, standing()};
  CHECK(s.handle(chat("1")).value().points == points::whole(1));
  db.weight_table["message"] = 5000;
  advance(59s);
  CHECK(s.handle(chat("2")).value().points == points::whole(1));
  advance(1s);
  CHECK(s.handle(chat("3")).value().points == points::whole(5));
  db.weight_table["message"] = 6000;
  s.reload_weights();
  CHECK(s.handle(chat("4")).value().points == points::whole(6));
  CHECK(s.stats().weight_loads == 3);
}

TEST_CASE("an unlocked upgrade counts from the next message on", "[progression]") {  // W30, W34
  memory_store db;
  service s{tree{{[] {
                    node n = plain("faster");
                    n.rate_per_level_milli = 500;
                    return n;
                  }(),
                  plain("other", {"faster"})}},
            db, standing()};
  s.start();
  CHECK(s.handle(chat("1")).value().points.milli == 1000);
  CHECK(s.contribute({.event_id = "c", .amount = 49}));
  CHECK(db.audit().paid_unlocks == 1);
  CHECK(s.handle(chat("2")).value().points.milli == 1500);
}

TEST_CASE("a user has a burst and a rate, and takes nothing from others", "[progression]") {  // I14, W40
  memory_store db;
  service_options o = standing();
  o.limit_users = true;
  o.user_burst = 3;
  o.user_per_second = 1;
  service s{small_tree(), db, o};
  int n = 0;
  const auto send = [&](std::string user) { return s.handle(chat(std::to_string(++n), std::move(user))); };
  for (int i = 0; i < 3; ++i) CHECK(send("a"));
  const auto refused = send("a");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == refusal_reason::rate_limited);
  CHECK(refused.error().retry_after == 1s);
  CHECK(send("b"));
  CHECK(s.stats().tracked_users == 2);
  advance(1s);
  CHECK(send("a"));
  CHECK_FALSE(send("a"));
  CHECK(s.stats().refused_user_rate == 2);
  CHECK(db.ledger.size() == 5);
}

TEST_CASE("all users together have a burst and a rate", "[progression]") {
  memory_store db;
  service_options o = standing();
  o.limit_total = true;
  o.total_burst = 2;
  o.total_per_second = 1;
  service s{small_tree(), db, o};
  CHECK(s.handle(chat("1", "a")));
  CHECK(s.handle(chat("2", "b")));
  const auto refused = s.handle(chat("3", "c"));
  CHECK(refused.error().reason == refusal_reason::rate_limited);
  CHECK(s.stats().refused_total_rate == 1);
  advance(1s);
  CHECK(s.handle(chat("3", "c")));
}

TEST_CASE("each protection can be switched off", "[progression]") {
  memory_store db;
  service_options o = unlimited();
  o.batching = false;
  o.cache_weights = false;
  o.coalesce_checks = false;
  o.retrying = false;
  o.breaking = false;
  service s{small_tree(), db, o};
  s.start();
  for (int i = 0; i < 60; ++i) CHECK(s.handle(chat(std::to_string(i))));
  CHECK(s.stats().weight_loads == 60);
  CHECK(s.stats().batches == 0);
  CHECK(s.stats().batched_messages == 60);
  CHECK(s.stats().circuit == "off");
  CHECK(s.stats().unlocks == 1);
  CHECK(db.audit().conserves_points());
}

TEST_CASE("a vote counts once and is worth one point", "[progression]") {  // I8
  memory_store db;
  service s{small_tree(), db, unlimited()};
  s.start();
  const auto session = s.session().value().value().session;
  const vote_request v{
      .session = session.id, .option = session.options[1].id, .platform = "test", .platform_id = "u"};
  CHECK(s.vote(v).value() == vote_status::counted);
  CHECK(s.vote(v).value() == vote_status::already_voted);
  CHECK(s.session().value().value().session.options[1].votes == 1);
  CHECK(db.audit().pot_points == points::whole(1));
  vote_request other = v;
  other.platform_id = "v";
  other.option = 999;
  CHECK(s.vote(other).value() == vote_status::no_such_option);
  other.session = 999;
  CHECK(s.vote(other).value() == vote_status::no_such_session);
  other.platform = "";
  CHECK_THROWS_AS(s.vote(other), invalid_input);
}

TEST_CASE("no vote counts once its time is over, whether or not an unlock came first",
          "[progression]") {  // W27
  memory_store db;
  service s{small_tree(), db, unlimited()};
  s.start();
  const auto session = s.session().value().value().session;
  const vote_request v{
      .session = session.id, .option = session.options[0].id, .platform = "test", .platform_id = "u"};
  wall_micros.fetch_add(std::chrono::microseconds{24h}.count());
  CHECK(s.vote(v).value() == vote_status::session_closed);
  CHECK_FALSE(s.session().value().value().accepts_votes);
  wall_micros.fetch_sub(std::chrono::microseconds{24h}.count());
  CHECK(s.vote(v).value() == vote_status::counted);
}

TEST_CASE("an administrator may contribute within the cap", "[progression]") {
  memory_store db;
  service_options o = unlimited();
  o.max_contribution = 40;
  service s{small_tree(), db, o};
  s.start();
  CHECK_THROWS_AS(s.contribute({.event_id = "1", .amount = 0}), invalid_input);
  CHECK_THROWS_AS(s.contribute({.event_id = "1", .amount = 41}), invalid_input);
  CHECK_THROWS_AS(s.contribute({.event_id = "", .amount = 1}), invalid_input);
  CHECK(s.contribute({.event_id = "1", .amount = 40}).value().status == record_status::accepted);
  CHECK(s.contribute({.event_id = "1", .amount = 40}).value().status == record_status::duplicate);
  CHECK(s.unlock_progress().value().percent == 80);
  CHECK(s.handle(chat("1")));  // an event id of its own
}

TEST_CASE("the reads tell what was recorded", "[progression]") {
  memory_store db;
  service s{small_tree(), db, unlimited()};
  s.start();
  for (int i = 0; i < 3; ++i) CHECK(s.handle(chat(std::to_string(i), "a")));
  CHECK(s.handle(chat("9", "b")));
  const auto leaders = s.leaderboard(1).value();
  REQUIRE(leaders.size() == 1);
  CHECK(leaders[0].user_id == "test:a");
  CHECK_THROWS_AS(s.leaderboard(0), invalid_input);
  CHECK_THROWS_AS(s.leaderboard(101), invalid_input);
  CHECK(s.engagement("test", "a").value().by_metric.at("message") == 3);
  CHECK_THROWS_AS(s.engagement("", "a"), invalid_input);
  const auto progress = s.unlock_progress().value();
  CHECK(progress.percent == 8);
  CHECK(progress.target_name == "The " + progress.pot.goal->what.node);
  const auto nodes = s.tree().value();
  REQUIRE(nodes.size() == 7);
  const auto root = std::ranges::find(nodes, "root", [](const node_view& n) { return n.definition->key; });
  CHECK(root->level == 1);
  CHECK(root->available_level == 0);
  CHECK(root->cost == points::whole(50));
  CHECK(s.ready());
}

TEST_CASE("a drain refuses what is new and waits for what was let in", "[progression]") {  // I16
  memory_store db;
  std::latch inside{1};
  std::latch go{1};
  db.before_record = [&](std::span<const engagement>) {
    inside.count_down();
    go.wait();
  };
  service s{small_tree(), db, unlimited()};
  bool accepted = false;
  {
    std::jthread caller{[&] { accepted = s.handle(chat("1")).has_value(); }};
    inside.wait();
    CHECK(s.drain(weir::deadline{weir::time_point::min()}) == 1);
    const auto refused = s.handle(chat("2"));
    CHECK(refused.error().reason == refusal_reason::closed);
    CHECK(std::get<weir::refusal>(s.handle_batch(std::vector{chat("3")})[0]).reason ==
          refusal_reason::closed);
    CHECK(s.vote({.session = 1, .option = 1, .platform = "p", .platform_id = "i"}).error().reason ==
          refusal_reason::closed);
    CHECK(s.contribute({.event_id = "1", .amount = 1}).error().reason == refusal_reason::closed);
    CHECK(s.status().error().reason == refusal_reason::closed);
    CHECK_FALSE(s.ready());
    s.tick();
    go.count_down();
    CHECK(s.drain(weir::deadline::never()) == 0);
  }
  CHECK(accepted);
  CHECK(db.ledger.size() == 1);
  CHECK(db.calls(operation::transition) == 0);
}
