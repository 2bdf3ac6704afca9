// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <string>
#include <utility>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class lease_verb { try_enter, leave, holds, running, advance };
enum class lease_word { entered, busy, left, yes, no, running, done };

struct lease_setup {
  int capacity = 1;
  int lease = 10;  ///< nanoseconds
};

/// task_gate with leases: units, those who hold some until when, and the time.
///
/// A call reads the clock, then acts as of its reading, or of a later one that the gate has been told.
/// `try_enter` looks first and enters then; `leave` gives up what it holds, reads the clock and comes to the gate.
class lease_specification {
 public:
  using operation = request<lease_verb>;
  using answer = reply<lease_word>;
  using lease_event = event<operation, answer>;

  enum class hold_state : unsigned char { held, ended, given_up };
  struct hold {
    int units = 0;
    int ends = 0;
    hold_state is = hold_state::held;
    friend auto operator<=>(const hold&, const hold&) = default;
  };

  struct state {
    int now = 0;
    int latest = 0;  // that the gate has been told
    int free = 0;
    int numbers = 0;
    per_thread<std::vector<hold>> holds{};
    per_thread<int> read{};    // the clock, by calls between their steps
    per_thread<bool> first{};  // what the first step came to, likewise
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit lease_specification(const lease_setup& setup) : setup_{setup} {}

  [[nodiscard]] state initial() const {
    state s;
    s.free = setup_.capacity;
    return s;
  }

  [[nodiscard]] static int steps(const operation& o) {
    switch (o.verb) {
      case lease_verb::advance:
        return 1;
      case lease_verb::holds:
      case lease_verb::running:
        return 2;
      default:
        return 3;
    }
  }

  [[nodiscard]] bool step(state& s, const lease_event& e) const {
    auto& mine = of(s.holds, e.thread);
    switch (e.operation.verb) {
      case lease_verb::advance:
        s.now += e.operation.argument;
        return e.allows({lease_word::done, {}});
      case lease_verb::running:
        if (e.step == 0) return read_clock(s, e);
        collect(s, e);
        return e.allows({lease_word::running, {setup_.capacity - s.free}});
      case lease_verb::holds:
        if (e.step == 0) {
          of(s.first, e.thread) = !mine.empty() && mine.back().is == hold_state::held;
          return true;
        }
        return e.allows({std::exchange(of(s.first, e.thread), false) && s.now < mine.back().ends
                             ? lease_word::yes
                             : lease_word::no,
                         {}});
      case lease_verb::try_enter:
        return try_enter(s, e, mine);
      case lease_verb::leave:
        return leave(s, e, mine);
    }
    return false;
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"try_enter ", "leave", "holds", "running", "advance "};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"entered", "busy", "left", "yes", "no", "running", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "time " + std::to_string(s.now) + ", " + std::to_string(s.free) + " free";
  }

 private:
  static bool read_clock(state& s, const lease_event& e) {
    of(s.read, e.thread) = s.now;
    return true;
  }

  /// The gate is told the time.
  static void collect(state& s, const lease_event& e) {
    s.latest = std::max(s.latest, of(s.read, e.thread));
    for (auto& holds : s.holds) {
      for (hold& h : holds) {
        if (h.is != hold_state::held || s.latest < h.ends) continue;
        h.is = hold_state::ended;
        s.free += h.units;
      }
    }
  }

  bool try_enter(state& s, const lease_event& e, std::vector<hold>& mine) const {
    const int units = e.operation.argument;
    if (e.step == 0) return read_clock(s, e);
    collect(s, e);
    if (e.step == 1) {
      of(s.first, e.thread) = s.free >= units;
      return true;
    }
    if (!std::exchange(of(s.first, e.thread), false) || s.free < units)
      return e.allows({lease_word::busy, {}});
    s.free -= units;
    mine.push_back({units, s.latest + setup_.lease, hold_state::held});
    return e.allows({lease_word::entered, {++s.numbers}});
  }

  static bool leave(state& s, const lease_event& e, std::vector<hold>& mine) {
    if (mine.empty()) return e.step < 2 || e.allows({lease_word::left, {}});
    if (e.step == 0) {
      of(s.first, e.thread) = mine.back().is == hold_state::held;
      if (of(s.first, e.thread)) mine.back().is = hold_state::given_up;
      return true;
    }
    if (e.step == 1) return read_clock(s, e);
    if (std::exchange(of(s.first, e.thread), false)) {
      s.free += mine.back().units;
      collect(s, e);
    }
    mine.pop_back();
    return e.allows({lease_word::left, {}});
  }

  lease_setup setup_;
};

static_assert(specification<lease_specification>);

}  // namespace weir_model
