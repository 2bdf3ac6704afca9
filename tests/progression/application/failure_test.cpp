// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "application/service.hpp"
#include "domain/random.hpp"
#include "fixture.hpp"

using namespace progression;
using namespace progression::testing;
using namespace std::chrono_literals;
using weir::refusal_reason;

namespace {

/// Fails the calls `first` to `last` of one operation.
auto fails(operation which, std::uint64_t first, std::uint64_t last, fault f) {
  return [=](operation op, std::uint64_t call) -> std::optional<fault> {
    return op == which && call >= first && call <= last ? std::optional{f} : std::nullopt;
  };
}

store_failure failure_of(service& s, const message& m) {
  try {
    static_cast<void>(s.handle(m));
  } catch (const store_error& e) {
    return e.kind();
  }
  FAIL("no store_error");
  return {};
}

}  // namespace

TEST_CASE("what the database rolled back for another is tried again", "[progression]") {
  for (std::uint64_t times = 1; times <= 4; ++times) {
    memory_store db;
    db.on_call = fails(operation::record, 1, times, {store_failure::conflict});
    service s{small_tree(), db, unlimited()};
    CHECK(s.handle(chat("1")).value().status == record_status::accepted);
    CHECK(db.ledger.size() == 1);
    CHECK(s.stats().retries == times);
    CHECK(s.stats().circuit == "closed");
  }
}

TEST_CASE("after as many attempts as allowed the caller is told", "[progression]") {
  memory_store db;
  db.on_call = fails(operation::record, 1, 100, {store_failure::conflict});
  service s{small_tree(), db, unlimited()};
  CHECK(failure_of(s, chat("1")) == store_failure::conflict);
  CHECK(db.calls(operation::record) == 5);
  CHECK(s.stats().store_errors == 1);
}

TEST_CASE("a commit in doubt is repeated and still counts once", "[progression]") {  // I1, I2
  memory_store db;
  db.on_call = fails(operation::record, 1, 1, {store_failure::in_doubt, true});
  service s{small_tree(), db, unlimited()};
  CHECK(s.handle(chat("1")).value().status == record_status::duplicate);
  CHECK(db.ledger.size() == 1);
  CHECK(db.audit().pot_points == points::whole(1));
}

TEST_CASE("an unlock in doubt happens once", "[progression]") {  // I4
  for (std::uint64_t call = 1; call <= 6; ++call) {
    CAPTURE(call);
    memory_store db;
    db.on_call = fails(operation::transition, call, call, {store_failure::in_doubt, true});
    service s{small_tree(), db, unlimited()};
    s.start();
    CHECK(s.contribute({.event_id = "1", .amount = 60}));
    CHECK(db.audit().paid_unlocks == 1);
    CHECK(db.audit().duplicate_unlocks == 0);
    CHECK(db.audit().conserves_points());
  }
}

TEST_CASE("a vote in doubt counts once", "[progression]") {
  memory_store db;
  db.on_call = fails(operation::vote, 1, 1, {store_failure::in_doubt, true});
  service s{small_tree(), db, unlimited()};
  s.start();
  const auto session = s.session().value().value().session;
  CHECK(s.vote({.session = session.id, .option = session.options[0].id, .platform = "p", .platform_id = "i"})
            .value() == vote_status::already_voted);
  CHECK(s.session().value().value().session.options[0].votes == 1);
}

TEST_CASE("a database that is away is asked a few times, then left alone, then probed",
          "[progression]") {  // I15
  memory_store db;
  std::atomic<bool> down{false};
  db.on_call = [&](operation, std::uint64_t) -> std::optional<fault> {
    return down ? std::optional{fault{store_failure::unavailable}} : std::nullopt;
  };
  service s{small_tree(), db, standing()};
  s.start();
  REQUIRE(s.handle(chat("before")));
  down = true;
  for (int i = 0; i < 5; ++i) CHECK(failure_of(s, chat(std::to_string(i))) == store_failure::unavailable);
  CHECK(s.stats().circuit == "open");

  const auto asked = db.calls(operation::record);
  const auto refused = s.handle(chat("6"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == refusal_reason::circuit_open);
  CHECK(refused.error().retry_after == 2s);
  CHECK(s.status().error().reason == refusal_reason::circuit_open);
  CHECK(std::get<weir::refusal>(s.handle_batch(std::vector{chat("7")})[0]).reason ==
        refusal_reason::circuit_open);
  s.tick();
  CHECK(db.calls(operation::record) == asked);
  CHECK_FALSE(s.ready());

  advance(2s);  // the probe fails
  CHECK(failure_of(s, chat("8")) == store_failure::unavailable);
  CHECK(s.stats().circuit == "open");

  down = false;
  CHECK(s.ready());
  CHECK(s.handle(chat("9")).error().reason == refusal_reason::circuit_open);
  advance(2s);  // the probe succeeds
  CHECK(s.handle(chat("9")).value().status == record_status::accepted);
  CHECK(s.stats().circuit == "closed");
  CHECK(s.stats().circuit_opened == 2);
  CHECK(db.ledger.size() == 2);  // what was refused left nothing behind
  CHECK(s.handle(chat("0")).value().status == record_status::accepted);
}

TEST_CASE("a database that answers keeps its circuit closed, whatever it answers", "[progression]") {
  memory_store db;
  db.on_call = fails(operation::record, 1, 30, {store_failure::rejected});
  service s{small_tree(), db, unlimited()};
  for (int i = 0; i < 30; ++i) CHECK(failure_of(s, chat(std::to_string(i))) == store_failure::rejected);
  CHECK(s.stats().circuit == "closed");
  CHECK(s.handle(chat("ok")));
}

TEST_CASE("one entry that the database rejects does not take the others with it", "[progression]") {
  for (std::size_t place = 0; place < 9; ++place) {
    CAPTURE(place);
    memory_store db;
    service s{small_tree(), db, unlimited()};
    std::vector<message> messages;
    for (std::size_t i = 0; i < 9; ++i) messages.push_back(chat(i == place ? "poison" : std::to_string(i)));
    const auto verdicts = s.handle_batch(messages);
    for (std::size_t i = 0; i < 9; ++i) {
      if (i == place) {
        CHECK(std::get<store_failure>(verdicts[i]) == store_failure::rejected);
      } else {
        CHECK(std::get<handled>(verdicts[i]).status == record_status::accepted);
      }
    }
    CHECK(db.ledger.size() == 8);
    CHECK(s.stats().accepted == 8);
    CHECK(s.stats().store_errors == 1);
  }
}

TEST_CASE("a crossing inside a batch with a rejected entry still unlocks", "[progression]") {
  memory_store db;
  service s{small_tree(), db, unlimited()};
  s.start();
  std::vector<message> messages{chat("full"), chat("poison")};
  messages[0].value = 50;
  static_cast<void>(s.handle_batch(messages));
  CHECK(db.audit().paid_unlocks == 1);
}

TEST_CASE("weights that cannot be loaded again are used on; without any, nothing is weighed",
          "[progression]") {
  memory_store db;
  std::atomic<bool> down{true};
  db.on_call = [&](operation op, std::uint64_t) -> std::optional<fault> {
    return op == operation::weights && down ? std::optional{fault{store_failure::unavailable}} : std::nullopt;
  };
  service s{small_tree(), db, standing()};
  CHECK(failure_of(s, chat("1")) == store_failure::unavailable);
  CHECK(std::get<store_failure>(s.handle_batch(std::vector{chat("2")})[0]) == store_failure::unavailable);
  CHECK(db.ledger.empty());
  down = false;
  db.weight_table["message"] = 3000;
  CHECK(s.handle(chat("1")).value().points == points::whole(3));
  down = true;
  advance(61s);
  CHECK(s.handle(chat("2")).value().points == points::whole(3));
}

TEST_CASE("a start that fails says so and can be repeated", "[progression]") {
  memory_store db;
  db.on_call = fails(operation::transition, 2, 2, {store_failure::unavailable});
  service s{small_tree(), db, unlimited()};
  CHECK_THROWS_AS(s.start(), store_error);
  s.start();
  CHECK(s.status().value().pot.goal);
}

TEST_CASE("no message is lost or counted twice in a storm of failures",
          "[progression][stress]") {  // I1, I2, I15
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    memory_store db;
    std::mutex mutex;
    rng random{seed};
    std::atomic<bool> storm{true};
    std::atomic<int> failures{0};
    db.on_call = [&](operation, std::uint64_t) -> std::optional<fault> {
      const std::lock_guard lock{mutex};
      if (!storm || random.below(3) != 0) return std::nullopt;
      failures.fetch_add(1);
      switch (random.below(4)) {
        case 0:
          return fault{store_failure::conflict};
        case 1:
          return fault{store_failure::in_doubt, random.below(2) == 0};
        case 2:
          return fault{store_failure::unavailable};
        default:
          return fault{store_failure::overloaded};
      }
    };
    event_log log;
    service_options o = unlimited();
    o.seed = seed;
    o.failures_to_open = 3;
    o.open_for = 200us;
    service s{long_tree(), db, o, log.sink()};
    std::atomic<int> acknowledged{0};
    together(8, [&](int thread) {
      for (int i = 0; i < 60; ++i) {
        const message m = chat(std::to_string(thread) + "-" + std::to_string(i));
        for (bool done = false; !done;) {
          try {
            done = s.handle(m).has_value();
          } catch (const store_error&) {
          }
          if (!done) std::this_thread::yield();
        }
        acknowledged.fetch_add(1);
        if (i % 20 == 0) s.tick();
      }
    });
    storm = false;
    await([&] {
      try {
        s.start();
        return true;
      } catch (const store_error&) {
        return false;
      }
    });
    CHECK(failures > 20);
    CHECK(acknowledged == 480);
    CHECK(db.ledger.size() == 480);
    const auto r = db.audit();
    CHECK(r.conserves_points());
    CHECK(r.duplicate_unlocks == 0);
    CHECK(r.cycle == r.paid_unlocks + 1);
    CHECK_FALSE(db.read_world().pot.is_full());
    CHECK(log.paid_unlocks() <= static_cast<std::size_t>(r.paid_unlocks));
  }
}
