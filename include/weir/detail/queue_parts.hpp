// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/spinning.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0::detail {

/// What became of a value that was to be put into a queue.
enum class placed : std::uint8_t { taken, dropped, full, closed };

/// One instant of a queue: pushed == popped + dropped + left.
struct queue_counts {
  std::uint64_t pushed = 0;
  std::uint64_t popped = 0;
  std::uint64_t dropped = 0;
  std::size_t left = 0;
  std::size_t waiting_producers = 0;
  std::size_t waiting_consumers = 0;
};

/// What one who waits has been given.
enum class grant : std::uint8_t { none, given, closed, failed };

struct queue_waiter : waiter {
  grant got = grant::none;  // guarded by the lock of the queue
};

/// Ends the wait of the first of the list, under the lock of the queue.
inline void end_wait(wait_list& list, grant how) noexcept {
  auto& first = static_cast<queue_waiter&>(*list.front());
  first.got = how;
  list.remove(first);
  first.park.unpark();
}

/// What one who waits and was given nothing is told.
[[nodiscard]] inline refusal refusal_of(grant got, wake_reason why) noexcept {
  if (got == grant::closed) return refused_for_ever(refusal_reason::closed);
  return {why == wake_reason::deadline_reached ? refusal_reason::timed_out : refusal_reason::cancelled};
}

/// How often to look before a wait that ends at `until`: not at all if that has come.
template <class Clock>
[[nodiscard]] int spins_until(const Clock& clock, deadline until) {
  if (spins_before_sleep == 0 || until.is_never()) return spins_before_sleep;
  return until.reached(clock.now()) ? 0 : spins_before_sleep;
}

}  // namespace weir::inline v0::detail
