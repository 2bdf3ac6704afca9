// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "adapters/sqlite/connection.hpp"

namespace progression::sqlite {

/// Brings the file up to the present schema, each migration in a transaction of its own; several processes
/// may try at once.  Throws store_error (rejected) if the file has a newer schema, one whose migrations were
/// changed since, or belongs to another program.
void migrate(connection& c);

}  // namespace progression::sqlite
