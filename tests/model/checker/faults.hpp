// SPDX-License-Identifier: BSL-1.0
// Turns what would end the program into a failure of the execution.
#pragma once

namespace weir_model {

/// Segmentation faults and their like, std::abort, std::terminate.
void catch_faults();

/// From now on an exploration that takes longer fails; 0: never.
void limit_seconds(unsigned seconds);

}  // namespace weir_model
