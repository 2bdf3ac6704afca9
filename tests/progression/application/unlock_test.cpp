// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "application/service.hpp"
#include "fixture.hpp"

using namespace progression;
using namespace progression::testing;
using namespace std::chrono_literals;

namespace {

/// I2 to I4 and I7, of a store at rest.
void check_invariants(memory_store& db, const tree& t) {
  const audit_report r = db.audit();
  CHECK(r.conserves_points());
  CHECK(r.duplicate_unlocks == 0);
  CHECK(r.cycle == r.paid_unlocks + 1);
  for (const unlock_step& u : db.unlocks) {
    if (u.source != unlock_source::vote) continue;
    CHECK(u.filled >= u.cost);
    CHECK(u.filled.milli == u.cost.milli + u.rollover.milli + u.discarded.milli);
  }
  const world w = db.read_world();
  CHECK_FALSE(w.pot.is_full());
  CHECK(w.pot.goal.has_value() == !t.available(w.unlocked).empty());
  if (w.pot.goal) CHECK(t.is_available(w.pot.goal->what, w.unlocked));
}

}  // namespace

TEST_CASE("many messages that cross the threshold at once unlock once", "[progression]") {  // I6
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    memory_store db;
    event_log log;
    service_options o = unlimited();
    o.seed = seed;
    service s{small_tree(), db, o, log.sink()};
    s.start();
    REQUIRE(s.contribute({.event_id = "almost", .amount = 49}));
    std::atomic<int> accepted{0};
    together(64, [&](int i) {
      if (s.handle(chat(std::to_string(i)))) accepted.fetch_add(1);
    });
    // 49 + 64 >= 2 x 50: the threshold of the next goal is crossed as well, or it is "faster" and more so.
    CHECK(accepted == 64);
    CHECK(db.ledger.size() == 65);
    const auto r = db.audit();
    CHECK((r.paid_unlocks == 2 || r.paid_unlocks == 1));
    CHECK(log.paid_unlocks() == static_cast<std::size_t>(r.paid_unlocks));
    CHECK(log.all<cycle_completed>().size() == static_cast<std::size_t>(r.paid_unlocks));
    CHECK(s.stats().unlocks == static_cast<std::uint64_t>(r.paid_unlocks));
    check_invariants(db, small_tree());
  }
}

TEST_CASE("one crossing by many is one unlock, one new cycle, one event", "[progression]") {  // I6
  memory_store db;
  event_log log;
  std::latch all_recorded{1};
  std::atomic<bool> hold{false};
  db.on_call = [&](operation op, std::uint64_t) -> std::optional<fault> {
    if (op == operation::transition && hold.load()) all_recorded.wait();
    return std::nullopt;
  };
  service s{small_tree(), db, unlimited(), log.sink()};
  s.start();
  REQUIRE(s.contribute({.event_id = "almost", .amount = 20}));
  const auto before = s.stats();
  hold = true;
  {
    std::vector<std::jthread> senders;
    for (int i = 0; i < 64; ++i) {
      senders.emplace_back([&, i] { static_cast<void>(s.handle(chat(std::to_string(i)))); });
    }
    await([&] { return s.stats().accepted == before.accepted + 63; });  // all but the one inside the check
    hold = false;
    all_recorded.count_down();
  }
  CHECK(db.audit().paid_unlocks == 1);
  CHECK(db.audit().cycle == 2);
  CHECK(log.paid_unlocks() == 1);
  CHECK(log.all<cycle_completed>().size() == 1);
  CHECK(log.all<cycle_completed>()[0].cycle == 1);
  CHECK(s.stats().unlocks == 1);
  CHECK(s.stats().checks - before.checks == 1);
  check_invariants(db, small_tree());
}

TEST_CASE("those who shared the commit that filled the pot share one check", "[progression]") {  // I6
  memory_store db;
  std::latch first_is_in{1};
  std::latch go{1};
  std::atomic<bool> hold{false};
  db.before_record = [&](std::span<const engagement>) {
    if (hold.exchange(false)) {
      first_is_in.count_down();
      go.wait();
    }
  };
  service s{small_tree(), db, unlimited()};
  s.start();
  const auto before = s.stats();
  hold = true;
  {
    std::jthread first{[&] { static_cast<void>(s.handle(chat("first"))); }};
    first_is_in.wait();
    std::vector<std::jthread> others;
    for (int i = 0; i < 60; ++i) {
      others.emplace_back([&, i] { static_cast<void>(s.handle(chat(std::to_string(i)))); });
    }
    await([&] { return s.stats().queued == 60; });
    go.count_down();
  }
  CHECK(db.audit().paid_unlocks == 1);
  CHECK(s.stats().check_triggers - before.check_triggers == 60);
  CHECK(s.stats().checks - before.checks == 1);
  check_invariants(db, small_tree());
}

TEST_CASE("ten thousand triggers during the check that deals with them cost no other, and none is lost",
          "[progression]") {  // I5
  memory_store db;
  std::latch in_check{1};
  std::latch go{1};
  std::atomic<bool> hold{false};
  db.on_call = [&](operation op, std::uint64_t) -> std::optional<fault> {
    if (op == operation::transition && hold.exchange(false)) {
      in_check.count_down();
      go.wait();
    }
    return std::nullopt;
  };
  service s{long_tree(), db, unlimited()};
  s.start();
  const auto before = s.stats();
  hold = true;
  {
    std::jthread owner{[&] { static_cast<void>(s.contribute({.event_id = "full", .amount = 50})); }};
    in_check.wait();
    for (int i = 0; i < 10'000; ++i) static_cast<void>(s.handle(chat(std::to_string(i))));
    go.count_down();
  }
  CHECK(s.stats().check_triggers - before.check_triggers == 10'001);
  CHECK(s.stats().checks - before.checks == 1);
  CHECK(db.audit().paid_unlocks >= 1);
  const auto steps = s.stats().steps;
  s.start();  // checks without a reason
  CHECK(s.stats().steps == steps);
  check_invariants(db, long_tree());
}

TEST_CASE("a check that failed is repeated by the next tick without further traffic",
          "[progression]") {  // I5
  for (const store_failure kind :
       {store_failure::unavailable, store_failure::overloaded, store_failure::rejected}) {
    memory_store db;
    std::atomic<bool> down{false};
    db.on_call = [&](operation op, std::uint64_t) -> std::optional<fault> {
      if (op == operation::transition && down) return fault{kind};
      return std::nullopt;
    };
    service s{small_tree(), db, standing()};
    s.start();
    down = true;
    CHECK(s.contribute({.event_id = "full", .amount = 50}).value().status == record_status::accepted);
    s.tick();
    CHECK(s.stats().failed_checks == 2);
    CHECK(db.audit().paid_unlocks == 0);
    down = false;
    s.tick();
    CHECK(db.audit().paid_unlocks == 1);
    const auto checks = s.stats().checks;
    s.tick();
    CHECK(s.stats().checks == checks);  // nothing is owed any more
  }
}

TEST_CASE("what another process left is found by the check that comes now and then", "[progression]") {
  memory_store db;
  service s{small_tree(), db, standing()};
  s.start();
  db.alter([](world& w) { w.pot.goal.reset(); });
  advance(29s);
  s.tick();
  CHECK_FALSE(db.read_world().pot.goal);
  advance(1s);
  s.tick();
  CHECK(db.read_world().pot.goal);
}

TEST_CASE("played to the end every level is unlocked once and the end is told once", "[progression]") {
  memory_store db;
  event_log log;
  service s{small_tree(), db, unlimited(), log.sink()};
  s.start();
  for (int i = 0; i < 40; ++i) REQUIRE(s.contribute({.event_id = std::to_string(i), .amount = 35}));
  CHECK(s.status().value().all_unlocked);
  CHECK(s.status().value().unlocked_levels == 8);
  CHECK(log.all<all_unlocked>().size() == 1);
  CHECK(log.paid_unlocks() == 7);
  CHECK_FALSE(s.status().value().session);
  CHECK(s.session().value().value().session.status == session_status::completed);
  CHECK(s.unlock_progress().value().percent == 0);
  check_invariants(db, small_tree());
}

TEST_CASE("a sink that throws harms nobody and is counted", "[progression]") {
  memory_store db;
  service s{small_tree(), db, unlimited(), [](const event&) { throw std::runtime_error{"sink"}; }};
  s.start();
  CHECK(s.contribute({.event_id = "1", .amount = 50}));
  CHECK(db.audit().paid_unlocks == 1);
  CHECK(s.stats().sink_errors >= 5);
}

TEST_CASE("a sink may ask the service", "[progression]") {
  memory_store db;
  std::unique_ptr<service> s;
  int asked = 0;
  s = std::make_unique<service>(small_tree(), db, unlimited(), [&](const event&) {
    if (s && s->status()) ++asked;
  });
  s->start();
  CHECK(asked > 0);
}

TEST_CASE("two services on one store keep every invariant under load", "[progression][stress]") {  // I17
  memory_store db;
  event_log log;
  service_options o = unlimited();
  service one{long_tree(), db, o, log.sink()};
  o.seed = 2;
  service two{long_tree(), db, o, log.sink()};
  one.start();
  two.start();
  std::atomic<int> accepted{0};
  std::atomic<int> duplicates{0};
  together(16, [&](int thread) {
    service& s = thread % 2 == 0 ? one : two;
    for (int i = 0; i < 100; ++i) {
      // Every event is sent by two threads, one at each service.
      const auto sent =
          s.handle(chat(std::to_string(thread / 2) + "-" + std::to_string(i), std::to_string(thread)));
      if (sent) (sent->status == record_status::accepted ? accepted : duplicates).fetch_add(1);
      if (i % 10 == 0) {
        if (const auto session = one.session(); session && *session) {
          static_cast<void>(s.vote({.session = (*session)->session.id,
                                    .option = (*session)->session.options[0].id,
                                    .platform = "test",
                                    .platform_id = std::to_string(thread)}));
        }
      }
      if (i % 25 == 0) s.tick();
    }
  });
  CHECK(accepted == 800);
  CHECK(duplicates == 800);
  CHECK(db.count_events("") == 800);
  CHECK(log.paid_unlocks() == static_cast<std::size_t>(db.audit().paid_unlocks));
  CHECK(log.paid_unlocks() == one.stats().unlocks + two.stats().unlocks);
  CHECK(db.audit().paid_unlocks >= 16);
  std::set<std::int64_t> cycles;
  for (const cycle_completed& c : log.all<cycle_completed>()) CHECK(cycles.insert(c.cycle).second);
  check_invariants(db, long_tree());
}
