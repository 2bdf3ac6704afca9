// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <span>

namespace progression::pq {

/// One step of the schema; the files stand in migrations/ and become part of the program when it is built.
struct migration {
  int version;
  const char* checksum;  ///< SHA-256 of the file
  const char* sql;
};

/// By version, from 1 without a gap.
[[nodiscard]] std::span<const migration> migrations() noexcept;

}  // namespace progression::pq
