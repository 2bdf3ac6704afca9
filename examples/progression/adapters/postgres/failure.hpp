// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>
#include <string_view>

#include "application/store.hpp"

namespace progression::pq {

/// What was going on when an exception came.
enum class phase {
  connecting,
  open,        ///< inside a transaction that was not asked to commit yet, or a statement that only reads
  committing,  ///< a commit was under way, be it the one implied by a statement on its own
};

struct failure {
  store_failure kind;
  bool keep_connection;  ///< false: its state is not known
  std::string what;
};

/// The exception being handled, as the application sees it.  By type first, then by SQLSTATE: some errors
/// have none, and version 6 of libpqxx hides it for others.  To be called in a handler only.
[[nodiscard]] failure classify(phase when);

/// By SQLSTATE alone; the connection stands.
[[nodiscard]] store_failure classify_sqlstate(std::string_view state, phase when) noexcept;

}  // namespace progression::pq
