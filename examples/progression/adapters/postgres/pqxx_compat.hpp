// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <pqxx/pqxx>

/// One source for libpqxx 6.4 to 7.10: all that differs between them and is used here.
namespace progression::pq {

/// A parameterised statement without a name, in one round trip: a transaction pooler lets it through.
template <class Transaction, class... Parameters>
pqxx::result exec(Transaction& transaction, const std::string& sql, const Parameters&... parameters) {
  if constexpr (sizeof...(Parameters) == 0) {
    return transaction.exec(sql);
  } else {
#if PQXX_VERSION_MAJOR > 7 || (PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR >= 10)
    return transaction.exec(sql, pqxx::params{parameters...});
#else
    return transaction.exec_params(sql, parameters...);
#endif
  }
}

/// Five characters, or none if the error did not come from the server.  (A `const char*` here, a `zview`
/// there.)
[[nodiscard]] inline std::string sqlstate(const pqxx::sql_error& error) {
  return std::string{error.sqlstate()};
}

/// A field, whatever the index types are called.
[[nodiscard]] inline pqxx::field field(const pqxx::result& rows, std::size_t row, std::size_t column) {
  using row_index = decltype(rows.size());
  using column_index = decltype(rows.columns());
  return rows[static_cast<row_index>(row)][static_cast<column_index>(column)];
}

[[nodiscard]] inline std::size_t row_count(const pqxx::result& rows) {
  return static_cast<std::size_t>(rows.size());
}

template <class T>
[[nodiscard]] T get(const pqxx::result& rows, std::size_t row, std::size_t column) {
  return field(rows, row, column).template as<T>();
}

template <class T>
[[nodiscard]] std::optional<T> get_optional(const pqxx::result& rows, std::size_t row, std::size_t column) {
  const auto f = field(rows, row, column);
  if (f.is_null()) return std::nullopt;
  return f.template as<T>();
}

/// Version 6 connects anew by itself when a transaction begins on a dead connection: settings and locks are
/// gone then, with no error.  Later versions never do.  To be called on every connection.
inline void no_silent_reconnect([[maybe_unused]] pqxx::connection& connection) {
#if PQXX_VERSION_MAJOR < 7
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  connection.inhibit_reactivation(true);
#pragma GCC diagnostic pop
#endif
}

}  // namespace progression::pq
