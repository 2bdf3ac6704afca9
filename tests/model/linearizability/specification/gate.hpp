// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <compare>
#include <string>
#include <utility>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class gate_verb { try_enter, enter, leave, run_if_idle, wait_idle, close, set_capacity };
enum class gate_word { entered, busy, left, nothing, ran, skipped, closed, too_much, done };

struct gate_setup {
  int capacity = 1;
};

/// task_gate: a try-lock with `capacity` units, and a line of those who wait for some.
///
/// `enter` is two steps, standing in line and going in; `run_if_idle` is two, going in and leaving; so a
/// refusal is right only while somebody is inside or in line.
class gate_specification {
 public:
  using operation = request<gate_verb>;
  using answer = reply<gate_word>;
  using gate_event = event<operation, answer>;

  struct state {
    int free = 0;
    int capacity = 0;
    bool closed = false;
    std::vector<std::pair<int, int>> line;  // threads, with the units they want
    std::vector<int> watchers;              // threads that wait for idleness
    per_thread<std::vector<int>> held{};
    per_thread<phase> at{};
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit gate_specification(const gate_setup& setup) : setup_{setup} {}

  [[nodiscard]] state initial() const {
    state s;
    s.free = s.capacity = setup_.capacity;
    return s;
  }

  [[nodiscard]] static int steps(const operation& o) {
    return o.verb == gate_verb::enter || o.verb == gate_verb::run_if_idle || o.verb == gate_verb::wait_idle
               ? 2
               : 1;
  }

  [[nodiscard]] static bool step(state& s, const gate_event& e) {
    if (e.step == 1) return follow_up(s, e);
    const int units = e.operation.argument;
    switch (e.operation.verb) {
      case gate_verb::try_enter:
        if (!take(s, units)) return e.allows({gate_word::busy, {}});
        of(s.held, e.thread).push_back(units);
        return e.allows({gate_word::entered, {}});
      case gate_verb::enter:
        of(s.at, e.thread) = stand_in_line(s, units, e.thread);
        return true;
      case gate_verb::leave: {
        auto& held = of(s.held, e.thread);
        if (held.empty()) return e.allows({gate_word::nothing, {}});
        s.free += held.back();
        held.pop_back();
        settle(s);
        return e.allows({gate_word::left, {}});
      }
      case gate_verb::run_if_idle:
        of(s.at, e.thread) = take(s, 1) ? phase::granted : phase::settled;
        if (of(s.at, e.thread) == phase::granted) return e.allows({gate_word::ran, {}});
        return e.allows({s.closed ? gate_word::closed : gate_word::skipped, {}});
      case gate_verb::wait_idle:
        of(s.at, e.thread) = idle(s) ? phase::granted : phase::waiting;
        if (!idle(s)) s.watchers.push_back(e.thread);
        return true;
      case gate_verb::close:
        s.closed = true;
        for (const auto& waiting : s.line) of(s.at, waiting.first) = phase::refused;
        s.line.clear();
        return e.allows({gate_word::done, {}});
      case gate_verb::set_capacity:
        s.free += units - std::exchange(s.capacity, units);
        std::erase_if(s.line, [&](const auto& waiting) {
          if (waiting.second <= units) return false;
          of(s.at, waiting.first) = phase::unfit;
          return true;
        });
        settle(s);
        return e.allows({gate_word::done, {}});
    }
    return false;
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"try_enter ", "enter ", "leave",        "run_if_idle",
                                            "wait_idle",  "close",  "set_capacity "};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"entered", "busy",   "left",     "nothing", "ran",
                                            "skipped", "closed", "too_much", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return std::to_string(s.free) + " of " + std::to_string(s.capacity) + " free, " +
           std::to_string(s.line.size()) + " in line" + (s.closed ? ", closed" : "");
  }

 private:
  static bool idle(const state& s) { return s.free == s.capacity; }

  static bool take(state& s, int units) {
    if (s.closed || !s.line.empty() || s.free < units) return false;
    s.free -= units;
    return true;
  }

  static phase stand_in_line(state& s, int units, int thread) {
    if (take(s, units)) return phase::granted;
    if (units > s.capacity) return phase::unfit;
    if (s.closed) return phase::refused;
    s.line.emplace_back(thread, units);
    return phase::waiting;
  }

  /// The first in line goes in as soon as it fits, and nobody before it.
  static void settle(state& s) {
    while (!s.line.empty() && s.line.front().second <= s.free) {
      s.free -= s.line.front().second;
      of(s.at, s.line.front().first) = phase::granted;
      s.line.erase(s.line.begin());
    }
    if (!idle(s)) return;
    for (const int thread : s.watchers) of(s.at, thread) = phase::granted;
    s.watchers.clear();
  }

  static bool follow_up(state& s, const gate_event& e) {
    const phase at = std::exchange(of(s.at, e.thread), phase::idle);
    if (e.operation.verb == gate_verb::wait_idle) {
      return at == phase::granted && e.allows({gate_word::done, {}});
    }
    if (e.operation.verb == gate_verb::run_if_idle) {
      if (at == phase::granted) {
        ++s.free;
        settle(s);
      }
      return true;
    }
    if (at == phase::granted) of(s.held, e.thread).push_back(e.operation.argument);
    return (at == phase::granted && e.allows({gate_word::entered, {}})) ||
           (at == phase::refused && e.allows({gate_word::closed, {}})) ||
           (at == phase::unfit && e.allows({gate_word::too_much, {}}));
  }

  gate_setup setup_;
};

static_assert(specification<gate_specification>);

}  // namespace weir_model
