// SPDX-License-Identifier: BSL-1.0
// What C++20 allows a small program of atomic operations to do, by its axioms alone, enumerated by brute force.  It
// shares nothing with the checker that it judges.
//
// RC11 is that of Lahav, Vafeiadis, Kang, Hur, Dreyer: "Repairing sequential consistency in C/C++11" (PLDI 2017), with
// the release sequences of C++20.  The standard, [atomics.order], asks a little more of seq_cst than RC11: two
// operations are ordered when coherence orders them by way of a relaxed store, too.
#pragma once

#include <atomic>
#include <set>
#include <vector>

namespace weir_test {

enum class action { load, store, exchange, fetch_add, compare_exchange, fence };

struct event {
  int thread = 1;  ///< 1, 2, ...; the events of a thread follow each other as they are listed
  action what = action::load;
  int location = 0;
  int value = 0;     ///< stored, exchanged, added or desired
  int expected = 0;  ///< by a compare-exchange
  std::memory_order order = std::memory_order_relaxed;
  std::memory_order failure = std::memory_order_relaxed;  ///< of a compare-exchange that fails
};

struct program {
  int threads = 0;
  int locations = 0;
  std::vector<event> events;
};

/// What each event read, -1 for one that reads nothing, then the last value of each location.
using outcome = std::vector<int>;
using outcomes = std::set<outcome>;

/// The outcomes of a program, by four sets of axioms.
struct outcome_sets {
  outcomes rc11;
  outcomes cpp20;  ///< within RC11
  outcomes
      buffering;  ///< C++20 as its text stands: a load may read from a store that comes later in its own thread
  outcomes
      append_only;  ///< C++20 where modification order and the order of seq_cst extend an order of execution
};

/// Every location is 0 at first.  At most 24 events, the first stores counted.
outcome_sets enumerate(const program& code);

}  // namespace weir_test
