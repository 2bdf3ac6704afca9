// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <filesystem>
#include <string_view>

#include "domain/tree.hpp"

namespace progression {

/// The tree that a JSON text `{version, description, cost?, nodes[]}` describes; data/tree.json is the
/// example.
///
/// Throws std::invalid_argument that names the node and the field, for a field that is unknown, missing, of
/// the wrong type or not valid.
[[nodiscard]] tree parse_tree(std::string_view json);

/// The same from a file.  Throws std::runtime_error, too, if it cannot be read.
[[nodiscard]] tree load_tree(const std::filesystem::path& file);

}  // namespace progression
