// SPDX-License-Identifier: BSL-1.0
// Stands before the header of that name: threads have the numbers that the checker knows them by.  Which thread has
// which number is nothing that a component may depend on; to let them race for it would multiply the executions of
// everything.  The registry that hands them out has scenarios of its own.
#pragma once

#include <weir/detail/slot_registry.hpp>

#include "model/scenario.hpp"

namespace weir_model {

/// The number of the calling thread, if a scenario wants it to have another one.
inline thread_local int slot_here = -1;

}  // namespace weir_model

namespace weir::inline v0::detail {

inline constexpr int shared_slot = slot_registry::size;

inline int thread_slot() noexcept {
  return weir_model::slot_here >= 0 ? weir_model::slot_here : weir_model::current_thread();
}

/// There is one image alone here.
inline constexpr char the_image = 0;
inline const void* thread_slot_image() noexcept { return &the_image; }

}  // namespace weir::inline v0::detail
