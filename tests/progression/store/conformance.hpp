// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "application/store.hpp"

/// The suite that every store passes, and the few words it is written in.
namespace progression::conformance {

/// The database of one test: empty when it is made, removed when it is destroyed, after its stores.
class database {
 public:
  database() = default;
  database(const database&) = delete;
  database& operator=(const database&) = delete;
  virtual ~database() = default;

  /// A store on this data, as another process or the next start would open it.
  virtual std::unique_ptr<store> open() = 0;
};

/// Defined by the program that links the suite.
std::unique_ptr<database> make_database();

/// A database with one store on it.
struct fixture {
  std::unique_ptr<database> data = make_database();
  std::unique_ptr<progression::store> opened = data->open();
  progression::store& store = *opened;
};

/// `seconds` after an arbitrary fixed instant.
[[nodiscard]] wall_time at(std::int64_t seconds);

/// A message worth one point, by a user of its own.
[[nodiscard]] engagement message(std::string event_id);
/// `count` messages, `prefix` and a number their ids.
[[nodiscard]] std::vector<engagement> messages(const std::string& prefix, std::size_t count);
[[nodiscard]] engagement worth(std::string event_id, std::string user_id, points p);

record_result record_one(store& s, const engagement& e);
void fill(store& s, std::string event_id, points p);

/// Commits `wanted` whatever the world is.
std::optional<store::transitioned> commit(store& s, const step& wanted);
void set_goal(store& s, node_level what, points cost);
/// Opens a session from at(0) to at(3600); its id and options as they stand.
voting_session open_session(store& s, std::vector<node_level> options);
void end_session(store& s, std::int64_t session, std::optional<std::int64_t> winner);
[[nodiscard]] ballot vote_of(const std::string& user_id, const voting_session& s, std::size_t option);

/// Buys the goal with a full pot, keeps at most `cap` for the next cycle, whose goal is the next level.
[[nodiscard]] decide buy_levels(points cap);

/// All that can be read from a store, as text.
[[nodiscard]] std::string describe(const world& w);
[[nodiscard]] std::string describe(const std::optional<voting_session>& s);
[[nodiscard]] std::string describe(const audit_report& a);
[[nodiscard]] std::string describe_all(store& s);

/// The invariants that hold at any instant.
void check_invariants(store& s);

/// Asks again when the store says that it gave way or that it is busy.
template <class F>
auto persist(F ask) {
  for (int attempt = 0;; ++attempt) {
    try {
      return ask();
    } catch (const store_error& e) {
      const bool again = e.kind() == store_failure::conflict || e.kind() == store_failure::overloaded;
      if (!again || attempt == 1000) throw;
    }
  }
}

/// The kind of store_error that `ask` ends in, if it does.
template <class F>
std::optional<store_failure> failure_of(F ask) {
  try {
    ask();
    return std::nullopt;
  } catch (const store_error& e) {
    return e.kind();
  }
}

/// Runs work(0) ... work(n - 1) in a thread each, let go at one instant; what they threw, as text.
[[nodiscard]] std::vector<std::string> in_threads(std::size_t n,
                                                  const std::function<void(std::size_t)>& work);

}  // namespace progression::conformance
