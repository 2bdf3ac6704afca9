// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

namespace weir_test {

/// The contract of bounded_queue, naively: a list, a flag, and those who wait, first come first served.
///
/// `fuse` counts the moves of values as the queue makes them; the move that finds it at 1 throws.
struct naive_queue {
  enum class end : std::uint8_t { none, granted, closed, thrown };
  struct waiting {
    int value = 0;  // of a producer, or handed to a consumer
    end how = end::none;
  };
  struct pushed_result {
    std::optional<weir::refusal_reason> refused{};
    bool thrown = false;  // out of the push
    bool taken = false;
  };

  std::size_t capacity;
  weir::overflow_policy overflow;
  bool tells_drops = true;
  bool hands_over = false;  // a waiting consumer is given his value, not promised one
  std::deque<int> values{};
  std::vector<int> dropped{};  // as `on_drop` is told
  bool closed = false;
  int fuse = 0;
  std::size_t promised = 0;
  std::deque<waiting*> producers{};
  std::deque<waiting*> consumers{};
  std::uint64_t pushed = 0, popped = 0, lost = 0, rejected = 0;

  [[nodiscard]] std::size_t available() const { return values.size() - promised; }
  [[nodiscard]] bool full() const { return values.size() == capacity; }

  bool move_throws() { return fuse > 0 && --fuse == 0; }

  pushed_result push(int v) {
    if (closed) return ++rejected, pushed_result{weir::refusal_reason::closed};
    if (full() && (overflow == weir::overflow_policy::block || overflow == weir::overflow_policy::reject)) {
      return ++rejected, pushed_result{weir::refusal_reason::full};
    }
    if (move_throws()) return {.thrown = true};
    ++pushed;
    if (!full()) {
      values.push_back(v);
      settle();
      return {.taken = true};
    }
    ++lost;
    if (overflow == weir::overflow_policy::drop_newest) {
      drop(v);
      return {.taken = true};
    }
    const int oldest = values.front();
    values.pop_front();
    values.push_back(v);
    if (!move_throws()) return drop(oldest), pushed_result{.taken = true};
    return {.thrown = tells_drops, .taken = true};
  }

  void drop(int v) {
    if (tells_drops) dropped.push_back(v);
  }

  /// Nothing, or why not; `thrown` leaves the value in its place.
  std::optional<int> pop(bool& thrown) {
    thrown = move_throws();
    if (thrown) return settle(), std::nullopt;
    const int v = values.front();
    values.pop_front();
    ++popped;
    settle();
    return v;
  }

  [[nodiscard]] weir::refusal_reason nothing_there() const {
    return closed ? weir::refusal_reason::closed : weir::refusal_reason::empty;
  }

  void settle() {
    while (!full() && !producers.empty()) {
      waiting& next = *producers.front();
      producers.pop_front();
      next.how = move_throws() ? end::thrown : end::granted;
      if (next.how == end::thrown) continue;
      values.push_back(next.value);
      ++pushed;
    }
    while (available() != 0 && !consumers.empty()) {
      waiting& next = *consumers.front();
      consumers.pop_front();
      next.how = end::granted;
      if (!hands_over) {
        ++promised;
        continue;
      }
      next.value = values.front();
      values.pop_front();
      ++popped;
    }
  }

  void close() {
    closed = true;
    for (auto* list : {&producers, &consumers}) {
      for (waiting* w : std::exchange(*list, {})) w->how = end::closed;
    }
  }

  std::vector<int> close_and_take() {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(promised);
    std::vector<int> taken(from, values.end());
    values.erase(from, values.end());
    popped += taken.size();
    close();
    return taken;
  }
};

}  // namespace weir_test
