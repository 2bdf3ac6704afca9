// SPDX-License-Identifier: BSL-1.0
#include "adapters/postgres/failure.hpp"

#include <stdexcept>
#include <string>
#include <type_traits>

#include <catch2/catch_test_macros.hpp>

#include "adapters/postgres/pqxx_compat.hpp"
#include "adapters/postgres/text_array.hpp"

namespace progression::pq {
namespace {

/// libpqxx 6 makes them of a message, libpqxx 7 of a message and a query.
template <class Error>
Error rolled_back() {
  if constexpr (std::is_constructible_v<Error, std::string, std::string>) {
    return Error{std::string{"again"}, std::string{}};
  } else {
    return Error{std::string{"again"}};
  }
}

template <class E>
failure thrown(const E& e, phase when) {
  try {
    throw e;
  } catch (...) {
    return classify(when);
  }
}

TEST_CASE("an SQLSTATE tells whose fault a failure is", "[postgres]") {
  struct row {
    const char* state;
    store_failure open;
    store_failure committing;
  };
  using enum store_failure;
  const row rows[] = {
      {"40001", conflict, conflict},        // serialization failure
      {"40P01", conflict, conflict},        // deadlock
      {"40003", in_doubt, in_doubt},        // statement completion unknown
      {"53300", overloaded, overloaded},    // too many connections
      {"53100", overloaded, overloaded},    // disk full
      {"55P03", overloaded, overloaded},    // lock timeout
      {"57014", overloaded, overloaded},    // statement timeout
      {"57P01", unavailable, in_doubt},     // terminated
      {"57P02", unavailable, in_doubt},     // crash of another backend
      {"57P03", unavailable, in_doubt},     // starting up
      {"25P03", unavailable, in_doubt},     // idle in transaction for too long
      {"08006", unavailable, in_doubt},     // connection failure
      {"", unavailable, in_doubt},          // nothing from the server at all
      {"25006", unavailable, unavailable},  // the server has become a standby
      {"XX001", unavailable, unavailable},  // data corrupted
      {"22003", rejected, rejected},        // out of range
      {"22021", rejected, rejected},        // not UTF-8
      {"23505", rejected, rejected},        // unique violation
      {"23514", rejected, rejected},        // check violation
      {"42P01", rejected, rejected},        // no such table
  };
  for (const row& r : rows) {
    INFO(r.state);
    CHECK(classify_sqlstate(r.state, phase::open) == r.open);
    CHECK(classify_sqlstate(r.state, phase::committing) == r.committing);
  }
}

TEST_CASE("a failure is told by the type of its exception where it has no SQLSTATE", "[postgres]") {
  CHECK(thrown(pqxx::broken_connection{"gone"}, phase::connecting).kind == store_failure::unavailable);
  CHECK(thrown(pqxx::broken_connection{"gone"}, phase::open).kind == store_failure::unavailable);
  CHECK(thrown(pqxx::broken_connection{"gone"}, phase::committing).kind == store_failure::in_doubt);
  CHECK(thrown(pqxx::in_doubt_error{"who knows"}, phase::open).kind == store_failure::in_doubt);
  CHECK(thrown(rolled_back<pqxx::serialization_failure>(), phase::committing).kind ==
        store_failure::conflict);
  CHECK(thrown(rolled_back<pqxx::deadlock_detected>(), phase::open).kind == store_failure::conflict);
  CHECK(thrown(rolled_back<pqxx::statement_completion_unknown>(), phase::open).kind ==
        store_failure::in_doubt);
}

TEST_CASE("a connection is kept only where its state is known", "[postgres]") {
  CHECK_FALSE(thrown(pqxx::broken_connection{"gone"}, phase::open).keep_connection);
  CHECK_FALSE(thrown(pqxx::in_doubt_error{"who knows"}, phase::committing).keep_connection);
  CHECK_FALSE(thrown(pqxx::sql_error{"gone", "SELECT", "57P01"}, phase::open).keep_connection);
  CHECK(thrown(pqxx::sql_error{"no", "SELECT", "23505"}, phase::open).keep_connection);
  CHECK(thrown(rolled_back<pqxx::deadlock_detected>(), phase::open).keep_connection);
}

TEST_CASE("an exception that is not of the database passes unchanged", "[postgres]") {
  CHECK_THROWS_AS(thrown(std::out_of_range{"mine"}, phase::open), std::out_of_range);
}

TEST_CASE("every text is one element of an array, whatever it holds", "[postgres]") {
  text_array array;
  array.add("plain");
  array.add("");
  array.add("NULL");
  array.add(R"(a"b\c,{d})");
  array.add(-7);
  CHECK(std::move(array).take() == R"({"plain","","NULL","a\"b\\c,{d}",-7})");
  CHECK(text_array{}.take() == "{}");
  text_array refusing;
  CHECK_THROWS_AS(refusing.add(std::string_view{"a\0b", 3}), store_error);
}

}  // namespace
}  // namespace progression::pq
