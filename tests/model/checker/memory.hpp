// SPDX-License-Identifier: BSL-1.0
// The memory model of C++20 as an operational machine: which stores may a load return, and what orders what.
//
// A location is the list of the stores to it, in modification order.  A thread has a view: the newest store of each
// location that it must not read behind.  A releasing store carries the view of its thread along, an acquiring load
// takes it over.  Limits, all of them on the side of finding less: modification order is the order of execution
// (no 2+2W), and no load reads from a store that is executed later (no load buffering).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace weir_model {

inline constexpr int max_threads = 8;     ///< the builder is thread 0
inline constexpr int max_locations = 96;  ///< atomics in one execution
inline constexpr int history = 64;        ///< stores to one location that are kept

using std::memory_order;

/// Whether an operation of this order takes over what the store that it reads carries.
[[nodiscard]] constexpr bool acquires(memory_order o) {
  return o != memory_order::relaxed && o != memory_order::release;
}

/// Whether an operation of this order hands on what its thread has seen.
[[nodiscard]] constexpr bool releases(memory_order o) {
  return o == memory_order::release || o == memory_order::acq_rel || o == memory_order::seq_cst;
}

using timestamp = std::int16_t;

/// When each thread was last heard of: a vector clock.
struct vector_clock {
  std::array<timestamp, max_threads> of{};

  void join(const vector_clock& other) {
    for (int i = 0; i < max_threads; ++i) of[at(i)] = std::max(of[at(i)], other.of[at(i)]);
  }
  [[nodiscard]] static std::size_t at(int i) { return static_cast<std::size_t>(i); }
};

/// What a thread knows, or what a store carries.
struct view {
  std::array<timestamp, max_locations> newest{};  ///< of each location, the newest store that is known
  vector_clock clock;

  void join_stores(const view& other) {
    for (std::size_t i = 0; i < newest.size(); ++i) newest[i] = std::max(newest[i], other.newest[i]);
  }
  void join(const view& other) {
    join_stores(other);
    clock.join(other.clock);
  }
};

class memory {
 public:
  void reset() {
    locations_ = 0;
    last_in_order_ = view{};
    for (thread_state& t : threads_) t = thread_state{};
    begin(0);
  }

  /// A thread begins with what its parent knows.
  void start(int thread, int parent) {
    thread_state& child = state(thread);
    child = thread_state{};
    child.current = state(parent).current;
    begin(thread);
    tick(parent);
  }

  /// What `thread` did happens before what `by` does from now on.
  void join(int by, int thread) { take(by, state(thread).current); }

  /// A new location that holds `value`; -1 if there are too many.
  [[nodiscard]] int locate(int thread, std::uint64_t value) {
    if (locations_ == max_locations) return -1;
    const int l = locations_++;
    location& where = at(l);
    where.stores = 1;
    where.kept[0].value = value;
    where.kept[0].carried = view{};
    for (thread_state& t : threads_) t.floor[index(l)] = 0;
    static_cast<void>(thread);
    return l;
  }

  [[nodiscard]] int newest(int l) const { return at(l).stores - 1; }
  [[nodiscard]] std::uint64_t value(int l, int store) const { return message_of(l, store).value; }

  /// The oldest store of `l` that a load of this order may return.
  [[nodiscard]] int oldest_visible(int thread, int l, memory_order order) const {
    const thread_state& t = state(thread);
    int oldest = std::max(t.current.newest[index(l)], t.floor[index(l)]);
    if (order == memory_order::seq_cst) oldest = std::max<int>(oldest, last_in_order_.newest[index(l)]);
    return std::max(std::min(oldest, newest(l)), at(l).stores - history);
  }

  /// The thread reads `store` of `l`.
  std::uint64_t read(int thread, int l, int store, memory_order order) {
    observe(thread, l, store, order);
    tick(thread);
    return value(l, store);
  }

  /// False if the history has no room for one more store.
  [[nodiscard]] bool write(int thread, int l, std::uint64_t value, memory_order order) {
    const bool room = put(thread, l, value, order, nullptr);
    tick(thread);
    return room;
  }

  /// Reads the newest store and replaces it, as one.
  [[nodiscard]] bool exchange(int thread, int l, std::uint64_t value, memory_order order) {
    observe(thread, l, newest(l), order);
    const view chain = message_of(l, newest(l)).carried;  // an exchange continues a release sequence
    const bool room = put(thread, l, value, order, &chain);
    tick(thread);
    return room;
  }

  void fence(int thread, memory_order order) {
    thread_state& t = state(thread);
    if (acquires(order)) t.current.join(t.acquirable);
    if (order == memory_order::seq_cst) {
      t.current.join_stores(last_in_order_);
      t.acquirable.join_stores(last_in_order_);
      last_in_order_.join_stores(t.current);
    }
    if (releases(order)) t.released = t.current;
    tick(thread);
  }

  /// What a lock hands from the one who unlocks it to the next who locks it.
  [[nodiscard]] view give(int thread) {
    const view given = state(thread).current;
    tick(thread);
    return given;
  }
  void take(int thread, const view& given) {
    state(thread).current.join(given);
    state(thread).acquirable.join(given);
    tick(thread);
  }

  /// The thread has looked at everything in vain: from now on it reads newer stores, once there are any.
  void insist(int thread) {
    thread_state& t = state(thread);
    for (int l = 0; l < locations_; ++l) {
      t.floor[index(l)] = static_cast<timestamp>(t.current.newest[index(l)] + 1);
    }
  }

  /// The thread has been told that `l` changed.
  void refresh(int thread, int l) { state(thread).floor[index(l)] = static_cast<timestamp>(newest(l)); }

  /// Whether the instants of the thread have nearly run out.
  [[nodiscard]] bool exhausted(int thread) const { return present(thread) >= INT16_MAX - 8; }

  [[nodiscard]] const vector_clock& clock(int thread) const { return state(thread).current.clock; }
  [[nodiscard]] timestamp present(int thread) const { return clock(thread).of[vector_clock::at(thread)]; }

 private:
  struct message {
    std::uint64_t value = 0;
    view carried;
  };
  struct location {
    int stores = 0;  // ever made
    std::array<message, history> kept;
  };
  struct thread_state {
    view current;     // what it knows
    view acquirable;  // what it would know after an acquire fence
    view released;    // what it knew at its last release fence
    std::array<timestamp, max_locations> floor{};
  };

  [[nodiscard]] static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  [[nodiscard]] location& at(int l) { return places_[index(l)]; }
  [[nodiscard]] const location& at(int l) const { return places_[index(l)]; }
  [[nodiscard]] thread_state& state(int t) { return threads_[index(t)]; }
  [[nodiscard]] const thread_state& state(int t) const { return threads_[index(t)]; }
  [[nodiscard]] message& message_of(int l, int store) { return at(l).kept[index(store % history)]; }
  [[nodiscard]] const message& message_of(int l, int store) const {
    return at(l).kept[index(store % history)];
  }

  void begin(int thread) {
    thread_state& t = state(thread);
    // From 1 on: what is done at instant c is covered by a release at c or later.
    t.current.clock.of[index(thread)] = 1;
    t.acquirable = t.current;
  }

  void tick(int thread) {
    thread_state& t = state(thread);
    const timestamp next = static_cast<timestamp>(t.current.clock.of[index(thread)] + 1);
    t.current.clock.of[index(thread)] = next;
    t.acquirable.clock.of[index(thread)] = next;
  }

  void observe(int thread, int l, int store, memory_order order) {
    thread_state& t = state(thread);
    const message& m = message_of(l, store);
    timestamp& known = t.current.newest[index(l)];
    known = std::max(known, static_cast<timestamp>(store));
    if (acquires(order)) t.current.join(m.carried);
    t.acquirable.join(m.carried);
    t.acquirable.join(t.current);
    if (order == memory_order::seq_cst) raise_order(l, store);
  }

  [[nodiscard]] bool put(int thread, int l, std::uint64_t value, memory_order order, const view* chain) {
    location& where = at(l);
    if (where.stores == INT16_MAX) return false;
    const int store = where.stores++;
    thread_state& t = state(thread);
    t.current.newest[index(l)] = t.acquirable.newest[index(l)] = static_cast<timestamp>(store);
    message& m = message_of(l, store);
    m.value = value;
    m.carried = releases(order) ? t.current : t.released;
    if (chain != nullptr) m.carried.join(*chain);
    m.carried.newest[index(l)] = static_cast<timestamp>(store);
    if (order == memory_order::seq_cst) raise_order(l, store);
    return true;
  }

  void raise_order(int l, int store) {
    timestamp& last = last_in_order_.newest[index(l)];
    last = std::max(last, static_cast<timestamp>(store));
  }

  int locations_ = 0;
  view last_in_order_;  // of each location, the newest store that the total order of seq_cst has seen
  std::array<thread_state, max_threads> threads_;
  std::array<location, max_locations> places_;
};

}  // namespace weir_model
