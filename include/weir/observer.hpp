// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <weir/refusal.hpp>

namespace weir::inline v0 {

/// An observer is told of refusals and changes of state as they happen, never of each success: that is what
/// the counters of `stats()` are for.  It is a type parameter held by value, so that the empty default
/// compiles to nothing.  Hooks run on the thread that caused the event, outside every lock, must be noexcept
/// and must not block.

/// Told of each refusal that a component hands out.
template <class O>
concept refusal_observer = requires(O& observer, const refusal& why) {
  { observer.on_refused(why) } noexcept;
};

/// Told of each change of state, in order, once.
template <class O, class State>
concept transition_observer = requires(O& observer, State from, State to) {
  { observer.on_transition(from, to) } noexcept;
};

/// The default: listens to everything and does nothing.
struct no_observer {
  static constexpr void on_refused(const refusal&) noexcept {}
  template <class State>
  static constexpr void on_transition(State, State) noexcept {}
};

static_assert(refusal_observer<no_observer>);
static_assert(transition_observer<no_observer, refusal_reason>);

}  // namespace weir::inline v0
