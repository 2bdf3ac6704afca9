// SPDX-License-Identifier: BSL-1.0
#include "adapters/postgres/failure.hpp"

#include "adapters/postgres/pqxx_compat.hpp"

namespace progression::pq {
namespace {

/// The connection is gone: whether that matters depends on what it was doing.
store_failure lost(phase when) noexcept {
  return when == phase::committing ? store_failure::in_doubt : store_failure::unavailable;
}

bool is_lost(std::string_view state) noexcept {
  return state.starts_with("08") || state.starts_with("57P") || state == "25P03" || state == "25P04";
}

}  // namespace

store_failure classify_sqlstate(std::string_view state, phase when) noexcept {
  if (state.empty() || is_lost(state)) return lost(when);
  if (state == "40003") return store_failure::in_doubt;  // completion unknown
  if (state.starts_with("40")) return store_failure::conflict;
  if (state.starts_with("53") || state == "55P03" || state == "57014") return store_failure::overloaded;
  // A server that has become a standby, or one whose disk or memory fails: not the fault of the request.
  if (state == "25006" || state.starts_with("58") || state.starts_with("XX"))
    return store_failure::unavailable;
  return store_failure::rejected;
}

failure classify(phase when) {
  try {
    throw;
  } catch (const store_error& e) {
    return {e.kind(), true, e.what()};
  } catch (const pqxx::in_doubt_error& e) {
    return {store_failure::in_doubt, false, e.what()};
  } catch (const pqxx::broken_connection& e) {
    // While connecting: down, starting, full or the wrong database; there is no SQLSTATE to tell which.
    return {lost(when), false, e.what()};
  } catch (const pqxx::serialization_failure& e) {  // no sql_error in version 6
    return {store_failure::conflict, true, e.what()};
  } catch (const pqxx::deadlock_detected& e) {  // likewise
    return {store_failure::conflict, true, e.what()};
  } catch (const pqxx::statement_completion_unknown& e) {  // likewise
    return {store_failure::in_doubt, false, e.what()};
  } catch (const pqxx::transaction_rollback& e) {  // likewise
    return {store_failure::conflict, true, e.what()};
  } catch (const pqxx::sql_error& e) {
    const std::string state = sqlstate(e);
    const store_failure kind = classify_sqlstate(state, when);
    const bool keep = kind != store_failure::unavailable && kind != store_failure::in_doubt;
    return {kind, keep, state + ": " + e.what()};
  } catch (const pqxx::failure& e) {  // version 6 throws it bare where it cannot say more
    return {lost(when), false, e.what()};
  }
}

}  // namespace progression::pq
