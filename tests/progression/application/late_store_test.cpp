// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <utility>

#include "application/late_store.hpp"
#include "application/service.hpp"
#include "fixture.hpp"

using namespace progression;
using namespace progression::testing;

TEST_CASE("a service whose store is not open yet is not ready, says so, and works once it is",
          "[progression]") {
  bool reachable = false;
  int attempts = 0;
  memory_store* opened = nullptr;
  late_store db{[&]() -> std::unique_ptr<store> {
    ++attempts;
    if (!reachable) throw store_error{store_failure::unavailable, "nobody listens"};
    auto made = std::make_unique<memory_store>();
    opened = made.get();
    return made;
  }};
  service_options options = standing();
  options.breaking = false;
  service s{small_tree(), db, options};

  CHECK_THROWS_AS(db.open(), store_error);
  CHECK_THROWS_AS(s.start(), store_error);
  CHECK_FALSE(db.is_open());
  CHECK_FALSE(s.ready());
  CHECK_THROWS_AS(static_cast<void>(s.handle(chat("1"))), store_error);
  CHECK_THROWS_AS(static_cast<void>(s.status()), store_error);
  CHECK(s.stats().store.statements == 0);

  reachable = true;
  db.open();
  db.open();
  CHECK(attempts == 2);
  CHECK(db.is_open());
  s.start();
  CHECK(s.ready());
  CHECK(s.handle(chat("1")).value().status == record_status::accepted);
  CHECK(s.status().value().pot.goal);
  REQUIRE(opened != nullptr);
  CHECK(opened->ledger.size() == 1);
}

TEST_CASE("what keeps a store from opening for ever is told to whoever opens it", "[progression]") {
  late_store db{
      []() -> std::unique_ptr<store> { throw store_error{store_failure::rejected, "the schema is newer"}; }};
  try {
    db.open();
    FAIL("it opened");
  } catch (const store_error& e) {
    CHECK(e.kind() == store_failure::rejected);
  }
  CHECK_FALSE(db.is_open());
}
