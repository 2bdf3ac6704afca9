// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <thread>

namespace bounded_queue_test {

/// Returns once so many producers and so many consumers wait.
template <class Queue>
void await_waiting(const Queue& queue, std::size_t producers, std::size_t consumers) {
  for (;;) {
    const auto now = queue.stats();
    if (now.waiting_producers == producers && now.waiting_consumers == consumers) return;
    std::this_thread::yield();
  }
}

/// Whether every value that came is accounted for.
template <class Queue>
bool conserved(const Queue& queue) {
  const auto s = queue.stats();
  return s.pushed == s.popped + s.dropped + s.left && s.left <= s.capacity;
}

}  // namespace bounded_queue_test
