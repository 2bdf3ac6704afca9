// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <atomic>
#include <limits>
#include <random>
#include <utility>

#include "progression/store/conformance.hpp"

namespace progression::conformance {

namespace {

constexpr auto accepted = record_status::accepted;
constexpr auto duplicate = record_status::duplicate;
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("an empty database has an empty pot, no goal, no session and the default weights", "[store]") {
  fixture f;
  f.store.ping();
  const world w = f.store.read_world();
  CHECK(w.pot == pot{});
  CHECK(w.unlocked.empty());
  CHECK_FALSE(w.open_session);
  CHECK_FALSE(f.store.latest_session());
  CHECK(f.store.leaders(10).empty());
  CHECK(f.store.audit().ledger_entries == 0);
  check_invariants(f.store);

  const auto weights = f.store.weights();
  const std::vector<std::pair<std::string, std::int64_t>> expected{
      {"message", 1'000},           {"command", 2'000},
      {"item_crafted", 200'000},    {"item_used", 10'000},
      {"search_performed", 25'000}, {"item_sold", 50'000},
      {"item_bought", 50'000},      {"item_disassembled", 50'000},
      {"slots_spin", 1'000},        {"slots_win", 1'000},
      {"slots_big_win", 10'000},    {"slots_jackpot", 200'000}};
  for (const auto& [metric, milli] : expected) {
    INFO(metric);
    REQUIRE(weights.contains(metric));
    CHECK(weights.at(metric) == milli);
  }
  CHECK_FALSE(weights.contains("vote_cast"));
}

TEST_CASE("each new event enters the ledger once and the pot in full", "[store]") {  // I1, I2
  fixture f;
  const std::vector<engagement> batch{worth("a", "chat:ann", {1'500}), worth("b", "chat:bob", {250}),
                                      worth("c", "chat:ann", {0})};
  const record_result r = f.store.record(batch, at(1));
  CHECK(r.status == std::vector{accepted, accepted, accepted});
  CHECK(r.pot == pot{.cycle = 1, .filled = {1'750}, .goal = std::nullopt});
  CHECK(f.store.read_world().pot == r.pot);
  CHECK(f.store.audit().ledger_entries == 3);
  CHECK(f.store.audit().ledger_points == points{1'750});
  check_invariants(f.store);
}

TEST_CASE("an event that was recorded before changes nothing, whatever it says now", "[store]") {  // I1
  fixture f;
  record_one(f.store, worth("a", "chat:ann", points::whole(1)));
  const std::string before = describe_all(f.store);

  CHECK(record_one(f.store, worth("a", "chat:ann", points::whole(1))).status == std::vector{duplicate});
  engagement changed = worth("a", "chat:bob", points::whole(99));
  changed.metric = "command";
  const record_result r = record_one(f.store, changed);
  CHECK(r.status == std::vector{duplicate});
  CHECK(r.pot.filled == points::whole(1));
  CHECK(describe_all(f.store) == before);
}

TEST_CASE("of the repeats within a batch the first one counts", "[store]") {  // I1
  fixture f;
  record_one(f.store, message("old"));
  const std::vector<engagement> batch{worth("x", "chat:ann", points::whole(2)), message("old"),
                                      worth("x", "chat:ann", points::whole(50)), message("y"), message("y")};
  const record_result r = f.store.record(batch, at(1));
  CHECK(r.status == std::vector{accepted, duplicate, duplicate, accepted, duplicate});
  CHECK(r.pot.filled == points::whole(4));
  CHECK(f.store.audit().ledger_entries == 3);
  check_invariants(f.store);
}

TEST_CASE("an event id belongs to its origin", "[store]") {
  fixture f;
  engagement granted = message("a");
  granted.origin = origin::admin;
  CHECK(record_one(f.store, message("a")).status == std::vector{accepted});
  CHECK(record_one(f.store, granted).status == std::vector{accepted});
  CHECK(record_one(f.store, granted).status == std::vector{duplicate});
  CHECK(f.store.read_world().pot.filled == points::whole(2));
}

TEST_CASE("of eight threads that record the same events each event is accepted from one", "[store]") {  // I1
  fixture f;
  constexpr int events = 100;
  std::vector<std::atomic<int>> acceptances(events);
  const auto thrown = in_threads(8, [&](std::size_t thread) {
    std::vector<engagement> mine = messages("e", events);
    std::shuffle(mine.begin(), mine.end(), std::mt19937_64{thread});
    for (std::size_t from = 0; from < mine.size(); from += 10) {
      const std::span<const engagement> batch{mine.data() + from, 10};
      const record_result r = persist([&] { return f.store.record(batch, at(1)); });
      for (std::size_t i = 0; i < batch.size(); ++i) {
        if (r.status.at(i) != accepted) continue;
        const auto event = static_cast<std::size_t>(std::stoi(batch[i].event_id.substr(1)));
        acceptances[event].fetch_add(1, std::memory_order_relaxed);  // [relaxed] read after the threads ended
      }
    }
  });
  CHECK(thrown.empty());
  CHECK(std::all_of(acceptances.begin(), acceptances.end(), [](const auto& n) { return n.load() == 1; }));
  CHECK(f.store.read_world().pot.filled == points::whole(events));
  CHECK(f.store.count_events("e") == events);
  check_invariants(f.store);
}

TEST_CASE("an empty batch reads the pot and commits nothing", "[store]") {
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(9));
  const record_result recorded = record_one(f.store, message("a"));
  const auto commits = f.store.stats().commits;
  const record_result r = f.store.record({}, at(2));
  CHECK(r.status.empty());
  CHECK(r.pot == recorded.pot);
  CHECK(r.pot.goal == target{.what = {.node = "lamp", .level = 1}, .cost = points::whole(9)});
  CHECK(f.store.stats().commits == commits);
}

TEST_CASE("a hundred messages in a batch are one commit and at most ten statements", "[store]") {  // I10
  fixture f;
  record_one(f.store, message("warm"));
  const store_stats before = f.store.stats();
  f.store.record(messages("m", 100), at(1));
  const store_stats after = f.store.stats();
  CHECK(after.commits == before.commits + 1);
  CHECK(after.statements > before.statements);
  CHECK(after.statements <= before.statements + 10);
}

TEST_CASE("one unfit engagement rejects its batch, and nothing of the batch is kept", "[store]") {
  fixture f;
  const auto unfit = [](auto change) {
    engagement e = message("unfit");
    change(e);
    return e;
  };
  const std::vector<std::pair<std::string, engagement>> cases{
      {"no event id", unfit([](engagement& e) { e.event_id.clear(); })},
      {"no user id", unfit([](engagement& e) { e.user_id.clear(); })},
      {"no metric", unfit([](engagement& e) { e.metric.clear(); })},
      {"negative points", unfit([](engagement& e) { e.points = {-1}; })},
      {"negative value", unfit([](engagement& e) { e.value = -1; })},
      {"zero byte", unfit([](engagement& e) { e.event_id = std::string{"a\0b", 3}; })},
      {"not UTF-8", unfit([](engagement& e) { e.username = "\xc3\x28"; })},
      {"overlong UTF-8", unfit([](engagement& e) { e.metric = "\xc0\xaf"; })},
      {"surrogate", unfit([](engagement& e) { e.event_id = "\xed\xa0\x80"; })},
  };
  const std::string before = describe_all(f.store);
  for (const auto& [name, e] : cases) {
    INFO(name);
    const std::vector<engagement> batch{message("good"), e, message("better")};
    CHECK(failure_of([&] { f.store.record(batch, at(1)); }) == store_failure::rejected);
    CHECK(describe_all(f.store) == before);
  }
  CHECK(f.store.record(messages("good", 2), at(1)).status == std::vector{accepted, accepted});
}

TEST_CASE("text comes back as it was given", "[store]") {
  fixture f;
  const std::string odd =
      "quote ' double \" back\\slash \\u0041 {}[],% _ $1 ?1 \t\n\r\x01 é \xf0\x9f\x8c\x8a";
  engagement e = worth("event " + odd, "user " + odd, points::whole(1));
  e.username = "name " + odd + std::string(5'000, 'x');
  e.metric = "metric " + odd;
  CHECK(record_one(f.store, e).status == std::vector{accepted});
  CHECK(record_one(f.store, e).status == std::vector{duplicate});
  CHECK(f.store.count_events(e.event_id) == 1);
  const auto first = f.store.leaders(1);
  REQUIRE(first.size() == 1);
  CHECK(first.front().user_id == e.user_id);
  CHECK(first.front().username == e.username);
  CHECK(f.store.engagement_of(e.user_id).by_metric.at(e.metric) == 1);
}

TEST_CASE("points that would not fit are rejected and the rest stays", "[store]") {  // I12
  fixture f;
  const auto session = open_session(f.store, {{.node = "lamp", .level = 1}});
  fill(f.store, "huge", {largest - 1'000});
  CHECK(f.store.read_world().pot.filled == points{largest - 1'000});
  const std::string before = describe_all(f.store);

  CHECK(failure_of([&] { fill(f.store, "too much", {1'001}); }) == store_failure::rejected);
  const std::vector<engagement> batch{worth("a", "chat:a", {600}), worth("b", "chat:b", {600})};
  CHECK(failure_of([&] { f.store.record(batch, at(1)); }) == store_failure::rejected);
  const std::vector<engagement> beyond{worth("a", "chat:a", {largest}), worth("b", "chat:b", {largest})};
  CHECK(failure_of([&] { f.store.record(beyond, at(1)); }) == store_failure::rejected);
  ballot b = vote_of("chat:ann", session, 0);
  b.points = {1'001};
  CHECK(failure_of([&] { f.store.vote(b); }) == store_failure::rejected);
  CHECK(describe_all(f.store) == before);

  fill(f.store, "just fits", {1'000});
  CHECK(f.store.audit().ledger_points == points{largest});
  check_invariants(f.store);
}

TEST_CASE("a sum of values stops at the largest integer", "[store]") {  // I12
  fixture f;
  engagement e = worth("a", "chat:ann", points::whole(1));
  e.value = largest;
  record_one(f.store, e);
  CHECK(f.store.engagement_of("chat:ann").by_metric.at("message") == largest);
  e.event_id = "b";
  record_one(f.store, e);
  CHECK(f.store.engagement_of("chat:ann").by_metric.at("message") == largest);
  CHECK(f.store.engagement_of("chat:ann").points == points::whole(2));
}

TEST_CASE("engagement is summed by user and metric", "[store]") {
  fixture f;
  engagement a = worth("a", "chat:ann", points::whole(3));
  a.value = 3;
  engagement b = worth("b", "chat:ann", {4'500});
  b.metric = "command";
  b.value = 2;
  engagement c = worth("c", "chat:ann", points::whole(1));
  const std::vector<engagement> batch{a, b, c, worth("d", "chat:bob", points::whole(7))};
  f.store.record(batch, at(1));
  const user_engagement sums = f.store.engagement_of("chat:ann");
  CHECK(sums.points == points{8'500});
  CHECK(sums.by_metric == std::map<std::string, std::int64_t, std::less<>>{{"command", 2}, {"message", 4}});
  CHECK(f.store.engagement_of("chat:nobody").by_metric.empty());
  CHECK(f.store.engagement_of("chat:nobody").points == points{});
}

TEST_CASE("leaders stand by points, then by user id, and equal points share a rank", "[store]") {
  fixture f;
  const std::vector<engagement> batch{
      worth("1", "chat:dora", points::whole(5)), worth("2", "chat:ann", points::whole(5)),
      worth("3", "chat:bob", points::whole(2)), worth("4", "chat:cid", points::whole(1)),
      worth("5", "chat:cid", points::whole(8))};
  f.store.record(batch, at(1));
  const auto all = f.store.leaders(10);
  REQUIRE(all.size() == 4);
  CHECK(all[0].user_id == "chat:cid");
  CHECK(all[0].points == points::whole(9));
  CHECK(all[1].user_id == "chat:ann");
  CHECK(all[2].user_id == "chat:dora");
  CHECK(all[3].user_id == "chat:bob");
  CHECK(std::vector{all[0].rank, all[1].rank, all[2].rank, all[3].rank} ==
        std::vector<std::int64_t>{1, 2, 2, 4});
  CHECK(f.store.leaders(2).size() == 2);
  CHECK(f.store.leaders(0).empty());
}

TEST_CASE("a user goes by the latest name that was given", "[store]") {
  fixture f;
  const auto named = [](std::string event_id, std::string name) {
    engagement e = worth(std::move(event_id), "chat:ann", points::whole(1));
    e.username = std::move(name);
    return e;
  };
  const auto name = [&] { return f.store.leaders(1).at(0).username; };
  const std::vector<engagement> batch{named("b", "Ann"), named("a", "Anna")};
  f.store.record(batch, at(1));
  CHECK(name() == "Anna");
  record_one(f.store, named("c", "Annie"));
  CHECK(name() == "Annie");
  record_one(f.store, named("d", ""));
  CHECK(name() == "Annie");
  record_one(f.store, named("c", "a repeat"));
  CHECK(name() == "Annie");
}

TEST_CASE("events of clients are counted by their prefix, taken literally", "[store]") {
  fixture f;
  for (const char* id : {"run1-a", "run1-b", "run10", "run2-a", "r%n", "r_n", "r\\n", "RUN1-c", "ré"}) {
    record_one(f.store, message(id));
  }
  engagement granted = message("run1-z");
  granted.origin = origin::admin;
  record_one(f.store, granted);
  CHECK(f.store.count_events("run1") == 3);
  CHECK(f.store.count_events("run1-") == 2);
  CHECK(f.store.count_events("run1-a") == 1);
  CHECK(f.store.count_events("run3") == 0);
  CHECK(f.store.count_events("r%") == 1);
  CHECK(f.store.count_events("r_") == 1);
  CHECK(f.store.count_events("r\\") == 1);
  CHECK(f.store.count_events("") == 9);
}

TEST_CASE("another start finds all that was committed", "[store]") {
  const auto data = make_database();
  std::string before;
  {
    const auto s = data->open();
    set_goal(*s, {.node = "lamp", .level = 1}, points::whole(5));
    s->record(messages("m", 7), at(1));
    s->transition(buy_levels(points::whole(100)));
    const auto session = open_session(*s, {{.node = "a", .level = 1}, {.node = "b", .level = 1}});
    s->vote(vote_of("chat:ann", session, 1));
    before = describe_all(*s);
  }
  const auto s = data->open();
  CHECK(describe_all(*s) == before);
  CHECK(s->record(messages("m", 7), at(2)).status == std::vector(7, duplicate));
  CHECK(describe_all(*s) == before);
  check_invariants(*s);
}

}  // namespace progression::conformance
