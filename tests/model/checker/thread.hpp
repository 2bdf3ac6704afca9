// SPDX-License-Identifier: BSL-1.0
// One thread of an execution, and what it is about to do.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
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

/// What a thread has loaded since it last changed something or saw something new: who loads the same value of an
/// atomic again and again spins.
class look_table {
 public:
  struct look {
    int location;
    int store;
    std::uint64_t value;
    int times;
    bool stale;  // there was a newer store
  };

  void clear() { count_ = 0; }

  [[nodiscard]] const look* find(int location) const {
    const auto end = looks_.begin() + count_;
    const auto at = std::find_if(looks_.begin(), end, [&](const look& l) { return l.location == location; });
    return at == end ? nullptr : &*at;
  }

  /// How often `value` has been seen there in a row, this time included.
  int note(int location, int store, std::uint64_t value, bool stale) {
    look* known = const_cast<look*>(std::as_const(*this).find(location));
    if (known != nullptr && known->value != value) {
      clear();
      known = nullptr;
    }
    if (known == nullptr) {
      if (count_ == static_cast<int>(looks_.size())) clear();
      known = &looks_[static_cast<std::size_t>(count_++)];
      *known = {location, store, value, 0, stale};
    }
    known->store = store;
    known->stale = stale;
    return ++known->times;
  }

 private:
  std::array<look, 16> looks_{};
  int count_ = 0;
};

/// So often in a row a thread may see the same before it counts as one that spins.
inline constexpr int looks_of_a_spin = 4;
/// So often a thread that spins may look once more and see nothing new: more than the standard library's wait, which
/// loads sixteen times before it sleeps.
inline constexpr int looks_in_vain = 64;
/// So often in an execution a thread that spins or yields may go on although nobody has written anything.
inline constexpr int goes_on_alone = 3;

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

  look_table looks;
  bool saw_stale = false;  // its last load did not return the newest store
  int tireless = 0;        // so many looks more may see nothing new
  int goes_on = 0;         // so often more it may go on alone
  int error = 0;           // its errno

  int priority = 0;        // of the random scheduler
  std::string blocked_at;  // while tracing: where it waits

  [[nodiscard]] bool enabled() const {
    return is == state::ready && (needs == nullptr || needs->owner < 0) &&
           (joins == nullptr || joins->is == state::done);
  }
};

}  // namespace weir_model
