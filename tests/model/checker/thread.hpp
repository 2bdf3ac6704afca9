// SPDX-License-Identifier: BSL-1.0
// One thread of an execution, and what it is about to do.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "memory.hpp"

namespace weir_model {

/// What an operation touches, as far as others can tell; decides which operations commute.
struct operation {
  enum class kind : std::uint8_t {
    none,          // nothing that others see
    read,          // reads `object`
    ordered_read,  // reads it in the total order of seq_cst
    write,         // changes `object`, and `second` if there is one
    everything,    // a seq_cst fence
  };
  kind what = kind::none;
  int object = -1;
  int second = -1;

  [[nodiscard]] bool depends_on(const operation& other) const {
    if (what == kind::none || other.what == kind::none) return false;
    if (what == kind::everything || other.what == kind::everything) return true;
    if (!meets(other)) return false;
    // Two ordered reads of one object order each other.
    return what == kind::write || other.what == kind::write ||
           (what == kind::ordered_read && other.what == kind::ordered_read);
  }

 private:
  [[nodiscard]] bool meets(const operation& other) const {
    return touches(other.object) || (other.second >= 0 && touches(other.second));
  }
  [[nodiscard]] bool touches(int o) const { return o == object || (second >= 0 && o == second); }
};

/// A mutex, as an execution sees it.
struct mutex_state {
  int object = -1;
  int owner = -1;
  view given;  // by the last who unlocked it
};

/// Why a blocked thread goes on.
enum class wake : std::uint8_t { notified, spurious, timed_out };

/// More than the standard library's wait, which loads sixteen times before it sleeps.
inline constexpr int looks_before_sleep = 32;

inline constexpr long long no_deadline = std::numeric_limits<long long>::max();

struct model_thread {
  enum class state : std::uint8_t {
    fresh,    // has not run yet
    ready,    // may run, if `needs` is free
    blocked,  // waits on `waits_on`
    yielded,  // spins: may run once somebody has written something
    done,
  };

  fiber context;
  state is = state::done;
  operation next;                      // what it does when it is scheduled
  const mutex_state* needs = nullptr;  // a mutex that must be free before it can go on
  const volatile void* waits_on = nullptr;
  long long deadline = no_deadline;  // of the wait; ns of virtual time
  wake woken = wake::notified;
  const model_thread* joins = nullptr;  // a thread that must end before it can go on

  void (*run)(void*) = nullptr;
  void* argument = nullptr;
  std::vector<std::pair<void (*)(void*), void*>> at_exit;  // destructors of thread_local variables

  // A thread that loads the same value at the same place again and again spins.
  const void* last_load = nullptr;
  std::uint64_t last_value = 0;
  int repeated = 0;
  bool saw_stale = false;  // its last load did not return the newest store
  int unmoved = 0;         // so many loads more may see nothing new, until it sleeps

  int priority = 0;        // of the random scheduler
  std::string blocked_at;  // while tracing: where it waits

  [[nodiscard]] bool enabled() const {
    return is == state::ready && (needs == nullptr || needs->owner < 0) &&
           (joins == nullptr || joins->is == state::done);
  }
};

}  // namespace weir_model
