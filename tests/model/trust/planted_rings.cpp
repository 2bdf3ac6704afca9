// SPDX-License-Identifier: BSL-1.0
// Planted bugs of bounded queues whose slots carry a sequence number, and of a stack of nodes.
#include "model/scenario.hpp"

#include <atomic>
#include <cstddef>
#include <optional>
#include <thread>

namespace {

using enum std::memory_order;
using weir_model::expect;
using weir_model::scenario;
using weir_model::verdict;
using weir_model::world;

/// The textbook's queue of many producers and consumers (D. Vyukov): a slot says whose turn it is.
///
/// \tparam Period  Positions and sequence numbers are counted modulo this; 0: never wrap.
template <unsigned Capacity, unsigned Period = 0>
class textbook_ring {
 public:
  textbook_ring() {
    for (unsigned i = 0; i < Capacity; ++i) slots_[i].turn.store(i, relaxed);
  }

  bool try_push(int value) {
    unsigned position = tail_.load(relaxed);
    for (;;) {
      slot& s = slots_[position % Capacity];
      const unsigned turn = s.turn.load(acquire);
      if (turn == position) {
        if (!tail_.compare_exchange_strong(position, next(position, 1), relaxed)) continue;
        s.value = value;
        s.turn.store(next(position, 1), release);
        return true;
      }
      if (behind(turn, position)) return false;
      position = tail_.load(relaxed);
    }
  }

  std::optional<int> try_pop() {
    unsigned position = head_.load(relaxed);
    for (;;) {
      slot& s = slots_[position % Capacity];
      const unsigned turn = s.turn.load(acquire);
      const unsigned filled = next(position, 1);
      if (turn == filled) {
        if (!head_.compare_exchange_strong(position, next(position, 1), relaxed)) continue;
        const int value = s.value;
        s.turn.store(next(position, Capacity), release);
        return value;
      }
      if (behind(turn, filled)) return std::nullopt;
      position = head_.load(relaxed);
    }
  }

 private:
  struct slot {
    std::atomic<unsigned> turn{0};
    int value = 0;
  };

  static unsigned next(unsigned position, unsigned by) {
    return Period == 0 ? position + by : (position + by) % Period;
  }
  static bool behind(unsigned turn, unsigned position) {
    if (Period == 0) return static_cast<int>(turn - position) < 0;
    return (turn + Period - position) % Period >= Period / 2;
  }

  slot slots_[Capacity];
  std::atomic<unsigned> tail_{0};
  std::atomic<unsigned> head_{0};
};

// ---- capacity one

/// What is pushed is popped, once.
template <unsigned Capacity>
void two_pushes(world& w) {
  struct state {
    textbook_ring<Capacity> ring;
    int pushed[2] = {};
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] { s.pushed[i] = s.ring.try_push(i + 1) ? i + 1 : 0; });
  }
  w.after([&s] {
    int sum = s.pushed[0] + s.pushed[1];
    while (const std::optional<int> value = s.ring.try_pop()) sum -= *value;
    expect(sum == 0, "what was accepted comes out");
  });
}

const scenario capacity_one{
    "planted", "textbook ring of capacity 1: a full slot looks free", {}, two_pushes<1>, verdict::found};
const scenario capacity_two{"planted", "textbook ring of capacity 2", {}, two_pushes<2>};

// ---- positions that wrap

/// One pop has found its slot filled and is late to claim it, while the positions come round to where they were.
template <unsigned Period>
void wrap(world& w) {
  struct state {
    textbook_ring<2, Period> ring;
    int pushed[4] = {1};
    int out[4] = {};
  };
  auto& s = w.make<state>();
  s.ring.try_push(0);
  const auto count = [&s](const std::optional<int>& value) {
    if (value) ++s.out[*value];
  };
  w.thread([&s, count] { count(s.ring.try_pop()); });
  w.thread([&s, count] {
    for (int i = 1; i <= 3; ++i) {
      count(s.ring.try_pop());
      s.pushed[i] = s.ring.try_push(i) ? 1 : 0;
    }
    count(s.ring.try_pop());
  });
  w.after([&s, count] {
    while (const std::optional<int> value = s.ring.try_pop()) count(value);
    for (int i = 0; i <= 3; ++i) expect(s.out[i] == s.pushed[i], "what was accepted comes out, once");
  });
}

const scenario wrap_short{
    "planted", "ring whose positions wrap after two laps", {.preemptions = 2}, wrap<4>, verdict::found};
const scenario wrap_never{"planted", "ring whose positions do not wrap", {.preemptions = 2}, wrap<0>};

// ---- close

/// A consumer drains the ring after it has closed it: does it miss what was accepted?
template <bool Counted>
void close_and_drain(world& w) {
  struct state {
    textbook_ring<2> ring;
    std::atomic<bool> closed{false};
    std::atomic<int> inside{0};
    int accepted = 0;
    int drained = 0;

    bool push(int value) {
      if (Counted) inside.fetch_add(1, seq_cst);
      const bool done = !closed.load(seq_cst) && ring.try_push(value);
      if (Counted) inside.fetch_sub(1, seq_cst);
      return done;
    }
    void drain() {
      closed.store(true, seq_cst);
      while (Counted && inside.load(seq_cst) != 0) std::this_thread::yield();
      while (ring.try_pop()) ++drained;
    }
  };
  auto& s = w.make<state>();
  w.thread([&s] { s.accepted = s.push(7) ? 1 : 0; });
  w.thread([&s] { s.drain(); });
  w.after([&s] { expect(s.accepted == s.drained, "what was accepted is drained"); });
}

const scenario close_loses{"planted",
                           "close by a flag beside the ring loses an accepted item",
                           {},
                           close_and_drain<false>,
                           verdict::found};
const scenario close_counts{"planted", "close that waits for those inside", {}, close_and_drain<true>};

// ---- the slot says full or empty, not whose turn it is

template <bool Turns>
void slot_flag(world& w) {
  struct state {
    std::atomic<unsigned> tail{0};
    std::atomic<unsigned> turn{0};
    int value = 0;
    int accepted = 0;

    /// One slot: a producer claims a position, then fills the slot; it is full when `turn` is odd.
    bool push(int v) {
      unsigned position = tail.load(relaxed);
      const unsigned seen = turn.load(acquire);
      if (Turns ? seen != position * 2 : seen % 2 != 0) return false;
      if (!tail.compare_exchange_strong(position, position + 1, relaxed)) return false;
      value = v;
      turn.store(seen + 1, release);
      return true;
    }
  };
  auto& s = w.make<state>();
  for (int i = 1; i <= 2; ++i) {
    w.thread([&s, i] { s.push(i); });
  }
}

const scenario slot_full{
    "planted", "slot that says full, not whose turn it is", {}, slot_flag<false>, verdict::found};
const scenario slot_turn{"planted", "slot that says whose turn it is", {}, slot_flag<true>};

// ---- a stack of nodes that are freed and made again

/// \tparam Tagged  The head counts its changes, so that an old one is not mistaken for a new one.
template <bool Tagged>
void stack_of_nodes(world& w) {
  struct node {
    int next = 0;
  };
  /// Nodes by number, 1 .. 3; what is popped may be pushed again at once.
  struct stack {
    node nodes[4];
    std::atomic<unsigned> head{0};

    static unsigned word(unsigned old, int top) {
      return (Tagged ? (old / 8 + 1) * 8 : 0) + static_cast<unsigned>(top);
    }
    void push(int n) {
      unsigned old = head.load(relaxed);
      do {
        std::atomic_ref{nodes[n].next}.store(static_cast<int>(old % 8), relaxed);
      } while (!head.compare_exchange_strong(old, word(old, n), acq_rel, acquire));
    }
    int pop() {
      unsigned old = head.load(acquire);
      for (;;) {
        const int top = static_cast<int>(old % 8);
        if (top == 0) return 0;
        const int below = std::atomic_ref{nodes[top].next}.load(relaxed);
        if (head.compare_exchange_strong(old, word(old, below), acq_rel, acquire)) return top;
      }
    }
  };
  struct state {
    stack s;
    int held[4] = {};
  };
  auto& t = w.make<state>();
  t.s.push(1);
  t.s.push(2);
  w.thread([&t] { ++t.held[t.s.pop()]; });
  w.thread([&t] {
    const int first = t.s.pop();
    const int second = t.s.pop();
    if (second != 0) ++t.held[second];
    if (first != 0) t.s.push(first);
  });
  w.after([&t] {
    while (const int n = t.s.pop()) ++t.held[n];
    expect(t.held[1] == 1 && t.held[2] == 1, "each node is held once");
  });
}

const scenario stack_aba{"planted",
                         "stack whose head comes back (ABA)",
                         {.preemptions = 2},
                         stack_of_nodes<false>,
                         verdict::found};
const scenario stack_tagged{
    "planted", "stack whose head counts its changes", {.preemptions = 2}, stack_of_nodes<true>};

}  // namespace
