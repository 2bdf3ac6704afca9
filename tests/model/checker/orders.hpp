// SPDX-License-Identifier: BSL-1.0
// Experiments with memory orders: is each as strong as it must be, and no stronger?
#pragma once

#include <string>
#include <vector>

#include "runner.hpp"

namespace weir_model {

/// Weakens every order of the library that the scenarios execute, one at a time, and looks for a scenario that
/// fails then: its witness.  Writes a row for each to `file`.  0 unless that cannot be done.
int weaken_all(const std::vector<registered_scenario>& scenarios, const std::string& file);

/// Explores with one order weakened: `task_gate.hpp:123:load:acquire=relaxed`.
void weaken_one(const std::string& what);

}  // namespace weir_model
