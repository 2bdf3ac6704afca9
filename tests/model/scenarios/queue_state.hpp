// SPDX-License-Identifier: BSL-1.0
// A queue, what went in, and what came out of it.
#pragma once

#include <array>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include <weir/bounded_queue.hpp>

#include "support.hpp"

namespace weir_model {

/// Counts its lives.  Plain memory: values on the way between threads are ordered by the queue, and by it alone.
/// The queue keeps those whose move might throw under a lock, the others in a ring.
template <bool MightThrow>
struct basic_message {
  explicit basic_message(int v) : value{v} { count(1); }
  basic_message(basic_message&& other) noexcept(!MightThrow) : value{std::exchange(other.value, -1)} {
    count(1);
  }
  basic_message& operator=(basic_message&&) = delete;
  ~basic_message() { count(-1); }

  int value;
  static inline int alive = 0;

 private:
  static void count(int n) {
    outside([n] { alive += n; });
  }
};

using message = basic_message<false>;
using guarded_message = basic_message<true>;

/// Its move throws where it says so.
struct fragile {
  fragile() = default;
  explicit fragile(bool t) : throws{t} {}
  fragile(fragile&& other) : throws{other.throws} {
    if (throws) throw std::runtime_error{"the move"};
    other.taken = true;
  }
  ~fragile() = default;

  bool throws = false;
  bool taken = false;
};

template <class Message, class Clock>
struct queue_state_on {
  using message = Message;
  using queue_type = weir::bounded_queue<message, Clock>;

  explicit queue_state_on(std::size_t capacity, weir::overflow_policy overflow = weir::overflow_policy::block)
      : queue{{.capacity = capacity, .overflow = overflow}} {
    message::alive = 0;
  }

  static message value_of(std::size_t producer, int i) {
    return message{static_cast<int>(producer) * most + i};
  }

  /// By the thread of that producer.
  template <class Pushed>
  void note(std::size_t producer, int i, const Pushed& pushed) {
    accepted[producer][static_cast<std::size_t>(i)] = pushed.has_value();
  }

  /// By the thread of that consumer.
  void note(std::size_t consumer, const weir::outcome<message>& popped) {
    if (popped) out[consumer].values[out[consumer].count++] = popped->value;
  }

  [[nodiscard]] std::size_t popped() const { return out[0].count + out[1].count; }

  /// Each accepted value has come out once, or is in the queue still; in the order of its producer.
  void expect_conserved() {
    const weir::bounded_queue_stats stats = queue.stats();
    expect(stats.waiting_producers == 0 && stats.waiting_consumers == 0, "nobody waits at the end");
    expect(stats.pushed == stats.popped + stats.dropped + stats.left, "the counts agree");
    expect(stats.left <= stats.capacity, "no more than the capacity");
    expect(static_cast<int>(stats.left) == message::alive, "each value lives once");
    std::size_t in = 0;
    for (const auto& of_one : accepted) {
      for (const bool a : of_one) in += a ? 1 : 0;
    }
    expect(in == stats.pushed, "what was accepted is counted");
    expect(popped() == stats.popped, "what came out is counted");
    while (const auto left = queue.try_pop()) note(2, left);
    std::array<std::array<int, most>, 2> seen{};
    for (const auto& o : out) {
      std::array<int, 2> last{-1, -1};
      for (std::size_t k = 0; k < o.count; ++k) {
        const int v = o.values[k];
        expect(v >= 0 && v < 2 * most, "a value that was pushed");
        const auto p = static_cast<std::size_t>(v / most);
        expect(v > last[p], "first in, first out");
        last[p] = v;
        ++seen[p][static_cast<std::size_t>(v % most)];
      }
    }
    for (std::size_t p = 0; p < 2; ++p) {
      for (std::size_t i = 0; i < most; ++i)
        expect(seen[p][i] == (accepted[p][i] ? 1 : 0), "accepted, then given once");
    }
  }

  static constexpr int most = 4;
  queue_type queue;
  std::array<std::array<bool, most>, 2> accepted{};
  struct consumed {
    std::array<int, 2 * most> values{};
    std::size_t count = 0;
  };
  std::array<consumed, 3> out{};  // of two consumers, and what was left
};

using queue_state = queue_state_on<message, still_clock>;
using timed_queue_state = queue_state_on<message, weir::steady_clock>;
using monitor_state = queue_state_on<guarded_message, still_clock>;
using timed_monitor_state = queue_state_on<guarded_message, weir::steady_clock>;

}  // namespace weir_model
