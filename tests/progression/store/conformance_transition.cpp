// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <stdexcept>
#include <thread>
#include <utility>

#include "progression/store/conformance.hpp"

namespace progression::conformance {

namespace {

unlock_step unlock_of(node_level what, points filled, points cost, points rollover, points discarded) {
  return {.what = std::move(what),
          .source = unlock_source::vote,
          .filled = filled,
          .cost = cost,
          .rollover = rollover,
          .discarded = discarded};
}

}  // namespace

TEST_CASE("a step that is empty or changes nothing commits nothing", "[store]") {
  fixture f;
  record_one(f.store, message("a"));
  const std::string before = describe_all(f.store);
  const auto commits = f.store.stats().commits;
  CHECK_FALSE(f.store.transition([](const world&) { return std::nullopt; }));
  CHECK_FALSE(f.store.transition([](const world&) { return step{}; }));
  step finished;
  finished.all_unlocked = true;
  CHECK_FALSE(commit(f.store, finished));
  CHECK(f.store.stats().commits == commits);
  CHECK(describe_all(f.store) == before);
}

TEST_CASE("a decision is made from the world as it was committed last", "[store]") {
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(5));
  fill(f.store, "a", points::whole(3));
  step grant;
  grant.granted = {{.node = "root", .level = 1}};
  commit(f.store, grant);
  const auto session = open_session(f.store, {{.node = "a", .level = 1}});
  f.store.vote(vote_of("chat:ann", session, 0));

  std::string seen;
  f.store.transition([&](const world& w) {
    seen = describe(w);
    return std::nullopt;
  });
  CHECK(seen == describe(f.store.read_world()));
  const world w = f.store.read_world();
  CHECK(w.pot.filled == points::whole(4));
  CHECK(w.pot.goal == target{.what = {.node = "lamp", .level = 1}, .cost = points::whole(5)});
  CHECK(w.unlocked == unlock_levels{{"root", 1}});
  REQUIRE(w.open_session);
  CHECK(w.open_session->options.at(0).votes == 1);
}

TEST_CASE("a transition returns its step and the world after it", "[store]") {
  fixture f;
  step s;
  s.granted = {{.node = "root", .level = 1}, {.node = "root", .level = 2}};
  s.next = target{.what = {.node = "lamp", .level = 1}, .cost = points::whole(5)};
  s.started = session_start{.started_at = at(5),
                            .ends_at = at(65),
                            .options = {{.node = "b", .level = 2}, {.node = "a", .level = 1}}};
  const auto done = commit(f.store, s);
  REQUIRE(done);
  CHECK(done->step.granted == s.granted);
  CHECK(done->step.next == s.next);
  CHECK(describe(done->after) == describe(f.store.read_world()));

  const world& w = done->after;
  CHECK(w.unlocked == unlock_levels{{"root", 2}});
  REQUIRE(w.open_session);
  CHECK(w.open_session->status == session_status::voting);
  CHECK(w.open_session->started_at == at(5));
  CHECK(w.open_session->ends_at == at(65));
  REQUIRE(w.open_session->options.size() == 2);
  CHECK(w.open_session->options[0].what == node_level{.node = "b", .level = 2});  // in the order given
  CHECK(w.open_session->options[1].what == node_level{.node = "a", .level = 1});
  CHECK(w.open_session->options[0].votes == 0);
  CHECK_FALSE(w.open_session->options[0].reached_at);
  CHECK(f.store.audit().unlocks == 2);
  CHECK(f.store.audit().paid_unlocks == 0);
  check_invariants(f.store);
}

TEST_CASE("an unlock closes the cycle and splits the pot into cost, rollover and discarded",
          "[store]") {  // I2
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(10));
  fill(f.store, "a", points::whole(17));
  const auto done = f.store.transition(buy_levels(points::whole(4)));
  REQUIRE(done);
  const target next{.what = {.node = "lamp", .level = 2}, .cost = points::whole(10)};
  CHECK(done->after.pot == pot{.cycle = 2, .filled = points::whole(4), .goal = next});
  CHECK(done->after.unlocked == unlock_levels{{"lamp", 1}});
  const audit_report a = f.store.audit();
  CHECK(a.consumed == points::whole(10));
  CHECK(a.discarded == points::whole(3));
  CHECK(a.paid_unlocks == 1);
  check_invariants(f.store);
  CHECK_FALSE(f.store.transition(buy_levels(points::whole(4))));
}

TEST_CASE("all parts of a step are applied in order and together", "[store]") {
  fixture f;
  const auto first = open_session(f.store, {{.node = "lamp", .level = 1}, {.node = "oven", .level = 1}});
  f.store.vote(vote_of("chat:ann", first, 1));
  set_goal(f.store, {.node = "lamp", .level = 2}, points::whole(1));

  step s;
  s.granted = {{.node = "lamp", .level = 1}};
  s.unlock = unlock_of({.node = "lamp", .level = 2}, points::whole(1), points::whole(1), {}, {});
  s.ended = session_end{.session = first.id, .winner = first.options[1].id};
  s.next = target{.what = {.node = "oven", .level = 1}, .cost = points::whole(3)};
  s.started = session_start{.started_at = at(1), .ends_at = at(2), .options = {{.node = "mill", .level = 1}}};
  const auto commits = f.store.stats().commits;
  const auto done = commit(f.store, s);
  CHECK(f.store.stats().commits == commits + 1);
  REQUIRE(done);
  CHECK(done->after.unlocked == unlock_levels{{"lamp", 2}});
  CHECK(done->after.pot == pot{.cycle = 2, .filled = {}, .goal = s.next});
  REQUIRE(done->after.open_session);
  CHECK(done->after.open_session->id > first.id);
  CHECK(done->after.open_session->options.at(0).id > first.options[1].id);
  check_invariants(f.store);

  step clear;
  clear.clear_goal = true;
  CHECK(commit(f.store, clear).value().after.pot == pot{.cycle = 2, .filled = {}, .goal = std::nullopt});
}

TEST_CASE("a step that breaks an invariant is rejected whole", "[store]") {  // I2, I3, I4, I8
  fixture f;
  fill(f.store, "a", points::whole(9));
  step grant;
  grant.granted = {{.node = "lamp", .level = 1}};
  commit(f.store, grant);
  const auto ended = open_session(f.store, {{.node = "old", .level = 1}});
  end_session(f.store, ended.id, ended.options[0].id);
  const auto open = open_session(f.store, {{.node = "a", .level = 1}, {.node = "b", .level = 1}});

  std::vector<std::pair<std::string, step>> cases;
  const auto add = [&](std::string name) -> step& {
    step harmless;  // would be kept if a step could be applied in part
    harmless.granted = {{.node = "harmless", .level = 1}};
    return cases.emplace_back(std::move(name), harmless).second;
  };
  const points nine = points::whole(9);
  const auto one = [](int n) { return points::whole(n); };
  add("grants what is unlocked").granted.push_back({.node = "lamp", .level = 1});
  add("grants a level before the one below").granted.push_back({.node = "oven", .level = 2});
  add("grants level zero").granted.push_back({.node = "oven", .level = 0});
  add("unlocks what is unlocked").unlock = unlock_of({.node = "lamp", .level = 1}, nine, nine, {}, {});
  add("unlocks out of order").unlock = unlock_of({.node = "lamp", .level = 3}, nine, nine, {}, {});
  add("loses points").unlock = unlock_of({.node = "oven", .level = 1}, nine, one(5), one(3), {});
  add("makes points").unlock = unlock_of({.node = "oven", .level = 1}, nine, one(5), one(5), {});
  add("pays from another pot").unlock = unlock_of({.node = "oven", .level = 1}, one(8), one(8), {}, {});
  add("pays more than there is").unlock = unlock_of({.node = "oven", .level = 1}, nine, one(10), {}, one(-1));
  add("rolls over a debt").unlock = unlock_of({.node = "oven", .level = 1}, nine, one(10), one(-1), {});
  add("ends a session that ended").ended = session_end{.session = ended.id, .winner = ended.options[0].id};
  add("ends an unknown session").ended = session_end{.session = open.id + 1, .winner = std::nullopt};
  add("elects another session's option").ended =
      session_end{.session = open.id, .winner = ended.options[0].id};
  add("elects an unknown option").ended = session_end{.session = open.id, .winner = open.options[1].id + 1};
  add("sets a goal that is unlocked").next = target{.what = {.node = "lamp", .level = 1}, .cost = one(1)};
  add("sets a negative cost").next = target{.what = {.node = "oven", .level = 1}, .cost = one(-1)};
  add("opens a second session").started =
      session_start{.started_at = at(1), .ends_at = at(2), .options = {{.node = "c", .level = 1}}};
  step& twice = add("offers an option twice");
  twice.ended = session_end{.session = open.id, .winner = open.options[0].id};
  twice.started = session_start{.started_at = at(1),
                                .ends_at = at(2),
                                .options = {{.node = "c", .level = 1}, {.node = "c", .level = 1}}};

  const std::string before = describe_all(f.store);
  for (const auto& [name, broken] : cases) {
    INFO(name);
    const step& s = broken;
    CHECK(failure_of([&] { commit(f.store, s); }) == store_failure::rejected);
    CHECK(describe_all(f.store) == before);
  }
  check_invariants(f.store);
}

TEST_CASE("what a decision throws passes through and leaves nothing behind", "[store]") {
  fixture f;
  fill(f.store, "a", points::whole(1));
  const std::string before = describe_all(f.store);
  CHECK_THROWS_AS(
      f.store.transition([](const world&) -> std::optional<step> { throw std::out_of_range{"x"}; }),
      std::out_of_range);
  CHECK_THROWS_AS(f.store.transition([](const world&) -> std::optional<step> { throw 42; }), int);
  CHECK(describe_all(f.store) == before);
  CHECK(f.store.stats().connections_in_use == 0);

  fill(f.store, "b", points::whole(1));  // the store still works, for writing too
  step grant;
  grant.granted = {{.node = "root", .level = 1}};
  CHECK(commit(f.store, grant));
}

TEST_CASE("sixty-four contributions that cross the threshold at once unlock it once", "[store]") {  // I6
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(32));
  fill(f.store, "before", points::whole(31));
  std::atomic<int> unlocks{0};
  const auto thrown = in_threads(64, [&](std::size_t i) {
    const record_result r = persist([&] { return record_one(f.store, message("m" + std::to_string(i))); });
    if (!r.pot.is_full()) return;
    const auto done = persist([&] { return f.store.transition(buy_levels(points::whole(1'000))); });
    if (done && done->step.unlock)
      unlocks.fetch_add(1, std::memory_order_relaxed);  // [relaxed] read after the join
  });
  CHECK(thrown.empty());
  // 31 + 64 points buy level 1 and, from the rollover, level 2: whoever sees a full pot buys once.
  while (f.store.transition(buy_levels(points::whole(1'000)))) ++unlocks;
  const world w = f.store.read_world();
  CHECK(unlocks == 2);
  CHECK(w.unlocked == unlock_levels{{"lamp", 2}});
  CHECK(w.pot.cycle == 3);
  CHECK(w.pot.filled == points::whole(31));
  check_invariants(f.store);
}

TEST_CASE("exactly one of sixty-four threads makes the only unlock", "[store]") {  // I6
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(50));
  std::atomic<int> unlocks{0};
  const auto thrown = in_threads(64, [&](std::size_t i) {
    persist([&] { return record_one(f.store, message("m" + std::to_string(i))); });
    const auto done = persist([&] { return f.store.transition(buy_levels(points::whole(1'000))); });
    if (done) unlocks.fetch_add(1, std::memory_order_relaxed);  // [relaxed] read after the join
  });
  CHECK(thrown.empty());
  CHECK(unlocks == 1);
  const world w = f.store.read_world();
  CHECK(w.pot.cycle == 2);
  CHECK(w.pot.filled == points::whole(14));
  CHECK(f.store.audit().paid_unlocks == 1);
  check_invariants(f.store);
}

TEST_CASE("a session opens once, however many threads open one", "[store]") {  // I3
  fixture f;
  step start;
  start.started =
      session_start{.started_at = at(0), .ends_at = at(9), .options = {{.node = "a", .level = 1}}};
  std::atomic<int> opened{0};
  std::atomic<int> rejected{0};
  const auto thrown = in_threads(10, [&](std::size_t) {
    const auto failure = failure_of([&] { persist([&] { return commit(f.store, start); }); });
    // [relaxed] both are read after the join
    if (!failure) opened.fetch_add(1, std::memory_order_relaxed);
    if (failure == store_failure::rejected) rejected.fetch_add(1, std::memory_order_relaxed);
  });
  CHECK(thrown.empty());
  CHECK(opened == 1);
  CHECK(rejected == 9);
  CHECK(f.store.audit().open_sessions == 1);
}

TEST_CASE("a session ends once and its winner never changes", "[store]") {  // I8
  fixture f;
  const auto session = open_session(
      f.store, {{.node = "a", .level = 1}, {.node = "b", .level = 1}, {.node = "c", .level = 1}});
  std::atomic<int> ended{0};
  std::atomic<std::int64_t> winner{0};
  const auto thrown = in_threads(10, [&](std::size_t i) {
    const std::int64_t mine = session.options.at(i % 3).id;
    const auto failure = failure_of([&] {
      persist([&] {
        end_session(f.store, session.id, mine);
        return 0;
      });
    });
    if (failure) return;
    // [relaxed] both are read after the join
    ended.fetch_add(1, std::memory_order_relaxed);
    winner.store(mine, std::memory_order_relaxed);
  });
  CHECK(thrown.empty());
  CHECK(ended == 1);
  const auto last = f.store.latest_session();
  REQUIRE(last);
  CHECK(last->status == session_status::completed);
  CHECK(last->winner == winner.load());
  CHECK_FALSE(f.store.read_world().open_session);
}

TEST_CASE("a reader never sees half of a commit", "[store][stress]") {  // I2 at every instant
  fixture f;
  set_goal(f.store, {.node = "lamp", .level = 1}, points::whole(25));
  std::atomic<bool> done{false};
  std::string broken;
  std::jthread reader{[&] {
    while (!done.load(std::memory_order_relaxed)) {  // [relaxed] only ends the loop
      const audit_report a = persist([&] { return f.store.audit(); });
      if (!a.conserves_points() || a.ledger_entries % 10 != 0) broken = describe(a);
    }
  }};
  for (int i = 0; i < 40; ++i) {
    f.store.record(messages(std::to_string(i) + '-', 10), at(i));
    f.store.transition(buy_levels(points::whole(7)));
  }
  done.store(true, std::memory_order_relaxed);  // [relaxed] only ends the loop
  reader.join();
  CHECK(broken.empty());
  CHECK(f.store.audit().paid_unlocks > 1);
  check_invariants(f.store);
}

TEST_CASE("two stores on one database keep every invariant under the same load", "[store][stress]") {  // I17
  const auto data = make_database();
  const auto first = data->open();
  const auto second = data->open();
  set_goal(*first, {.node = "lamp", .level = 1}, points::whole(20));
  const auto session = open_session(*second, {{.node = "a", .level = 1}, {.node = "b", .level = 1}});
  constexpr std::size_t threads = 8;
  constexpr int rounds = 12;
  std::atomic<int> accepted{0};
  std::atomic<int> counted{0};
  std::atomic<int> unlocked{0};
  const auto thrown = in_threads(threads, [&](std::size_t thread) {
    store& mine = thread % 2 == 0 ? *first : *second;
    for (int i = 0; i < rounds; ++i) {
      // Pairs of threads, one on each store, send the same events and votes.
      const std::string id = std::to_string(thread / 2) + '-' + std::to_string(i);
      const std::vector<engagement> batch{message(id + "a"), message(id + "b"), message(id + "c")};
      const record_result r = persist([&] { return mine.record(batch, at(1)); });
      // [relaxed] all counts are read after the join
      for (const record_status s : r.status) {
        if (s == record_status::accepted) accepted.fetch_add(1, std::memory_order_relaxed);
      }
      const ballot b = vote_of("chat:" + id, session, static_cast<std::size_t>(i) % 2);
      if (persist([&] { return mine.vote(b); }) == vote_status::counted) {
        counted.fetch_add(1, std::memory_order_relaxed);
      }
      while (persist([&] { return mine.transition(buy_levels(points::whole(1'000))); })) {
        unlocked.fetch_add(1, std::memory_order_relaxed);
      }
    }
  });
  CHECK(thrown.empty());
  constexpr int events = static_cast<int>(threads) / 2 * rounds;
  CHECK(accepted == events * 3);
  CHECK(counted == events);
  CHECK(unlocked == events * 4 / 20);
  CHECK(first->read_world().pot.cycle == unlocked + 1);
  CHECK(describe_all(*first) == describe_all(*second));
  check_invariants(*first);
}

}  // namespace progression::conformance
