// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

/// An observer is told of refusals and changes of state as they happen, of each success only if it asks for
/// that.  It is a type parameter held by value, so that the empty default compiles to nothing.  Hooks run on
/// the thread that caused the event, outside every lock, must be noexcept and must not block.

/// Told of each refusal that a component hands out.
template <class O>
concept refusal_observer = requires(O& observer, const refusal& why) {
  { observer.on_refused(why) } noexcept;
};

/// Told of each grant too, and of how many tokens it was: a hook that an observer may have.  One that has
/// not costs nothing, so that a component whose grant is a single write stays that.
template <class O>
concept grant_observer = refusal_observer<O> && requires(O& observer, std::uint64_t n) {
  { observer.on_granted(n) } noexcept;
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

/// What a `counting_observer` counts into; outlives the component.
struct request_counts {
  event_counter granted;  ///< requests granted, at once or after a wait, and bookings used
  event_counter refused;  ///< requests refused, for whatever reason
};

/// Counts every request.  Each costs a write to memory that all who ask share: put the counts on a cache line
/// of their own if that matters.
class counting_observer {
 public:
  explicit counting_observer(request_counts& counts) noexcept : counts_{&counts} {}

  void on_granted(std::uint64_t) const noexcept { counts_->granted.add(); }
  void on_refused(const refusal&) const noexcept { counts_->refused.add(); }

 private:
  request_counts* counts_;
};

static_assert(refusal_observer<no_observer>);
static_assert(!grant_observer<no_observer>);
static_assert(grant_observer<counting_observer>);
static_assert(transition_observer<no_observer, refusal_reason>);

}  // namespace weir::inline v0
