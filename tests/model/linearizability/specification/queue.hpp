// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <string>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "request.hpp"

namespace weir_model {

enum class queue_verb { try_push, push, push_for, try_pop, try_pop_n, pop, pop_for, close, take_all, closed };
enum class queue_word { accepted, full, given, empty, closed, timed_out, done, yes, no };

struct queue_setup {
  int capacity = 1;
  weir::overflow_policy overflow = weir::overflow_policy::block;
};

/// bounded_queue.
///
/// `in_one_step` is the model of its contract, a list and a flag, with every call at one instant.  Otherwise
/// a push or pop that waits is two: it stands in line, then goes away with what it was given; the value that
/// a waiting consumer was promised keeps its room until the consumer has taken it.
class queue_specification {
 public:
  using operation = request<queue_verb>;
  using answer = reply<queue_word>;
  using queue_event = event<operation, answer>;

  struct state {
    std::vector<int> values;
    int promised = 0;
    bool closed = false;
    std::vector<int> consumers;                  // threads in line
    std::vector<std::pair<int, int>> producers;  // threads in line, with their values
    per_thread<phase> at{};
    friend auto operator<=>(const state&, const state&) = default;
  };

  queue_specification(const queue_setup& setup, bool in_one_step)
      : setup_{setup}, in_one_step_{in_one_step} {}

  [[nodiscard]] static state initial() { return {}; }

  [[nodiscard]] int steps(const operation& o) const { return !in_one_step_ && may_wait(o.verb) ? 2 : 1; }

  [[nodiscard]] bool step(state& s, const queue_event& e) const {
    if (e.step == 1) return follow_up(s, e);
    switch (e.operation.verb) {
      case queue_verb::try_push:
        return e.allows(place(s, e.operation.argument));
      case queue_verb::push:
      case queue_verb::push_for:
        return push(s, e);
      case queue_verb::try_pop:
        return e.allows(available(s) > 0 ? answer{queue_word::given, {take(s)}} : nothing(s));
      case queue_verb::try_pop_n: {
        if (available(s) == 0) return e.allows(nothing(s));
        // Values in a row, not all that are there: some may be just on their way in.
        answer some{queue_word::given, {}};
        for (int i = 0; i < e.operation.argument && available(s) > 0; ++i) {
          some.values.push_back(take(s));
          if (e.allows(some)) return true;
        }
        return false;
      }
      case queue_verb::pop:
      case queue_verb::pop_for:
        return pop(s, e);
      case queue_verb::close:
        close(s);
        return e.allows({queue_word::done, {}});
      case queue_verb::take_all: {
        answer all{queue_word::given, {s.values.begin() + s.promised, s.values.end()}};
        s.values.resize(static_cast<std::size_t>(s.promised));
        close(s);
        return e.allows(all);
      }
      case queue_verb::closed:
        return e.allows({s.closed ? queue_word::yes : queue_word::no, {}});
    }
    return false;
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"try_push ",      "push ",  "push_for ", "try_pop",
                                            "try_pop_n ",     "pop",    "pop_for",   "close",
                                            "close_and_take", "closed?"};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"accepted",  "full", "given", "empty", "closed",
                                            "timed_out", "done", "yes",   "no"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return show_list(s.values) + (s.promised > 0 ? " promised " + std::to_string(s.promised) : "") +
           (s.closed ? " closed" : "");
  }

 private:
  static bool may_wait(queue_verb v) {
    return v == queue_verb::push || v == queue_verb::push_for || v == queue_verb::pop ||
           v == queue_verb::pop_for;
  }
  static int available(const state& s) { return static_cast<int>(s.values.size()) - s.promised; }
  static answer nothing(const state& s) { return {s.closed ? queue_word::closed : queue_word::empty, {}}; }

  [[nodiscard]] bool has_room(const state& s) const {
    return static_cast<int>(s.values.size()) < setup_.capacity;
  }

  /// Takes the value or says why not.
  [[nodiscard]] answer place(state& s, int value) const {
    if (s.closed) return {queue_word::closed, {}};
    if (!has_room(s)) {
      if (setup_.overflow == weir::overflow_policy::drop_newest) return {queue_word::accepted, {value}};
      if (setup_.overflow != weir::overflow_policy::drop_oldest) return {queue_word::full, {}};
      const int oldest = s.values.front();
      s.values.erase(s.values.begin());
      s.values.push_back(value);
      return {queue_word::accepted, {oldest}};
    }
    s.values.push_back(value);
    settle(s);
    return {queue_word::accepted, {}};
  }

  [[nodiscard]] int take(state& s) const {
    const int first = s.values.front();
    s.values.erase(s.values.begin());
    settle(s);
    return first;
  }

  /// Room goes to those who wait to push, values to those who wait to pop.
  void settle(state& s) const {
    while (has_room(s) && !s.producers.empty()) {
      s.values.push_back(s.producers.front().second);
      of(s.at, s.producers.front().first) = phase::granted;
      s.producers.erase(s.producers.begin());
    }
    while (available(s) > 0 && !s.consumers.empty()) {
      of(s.at, s.consumers.front()) = phase::granted;
      s.consumers.erase(s.consumers.begin());
      ++s.promised;
    }
  }

  static void close(state& s) {
    s.closed = true;
    for (const auto& [thread, value] : s.producers) of(s.at, thread) = phase::refused;
    for (const int thread : s.consumers) of(s.at, thread) = phase::refused;
    s.producers.clear();
    s.consumers.clear();
  }

  [[nodiscard]] bool push(state& s, const queue_event& e) const {
    const answer now = place(s, e.operation.argument);
    const bool waits = now.word == queue_word::full && setup_.overflow == weir::overflow_policy::block;
    if (in_one_step_) return waits ? times_out(e) : e.allows(now);
    of(s.at, e.thread) = waits ? phase::waiting : phase::settled;
    if (waits) s.producers.emplace_back(e.thread, e.operation.argument);
    return waits || e.allows(now);
  }

  [[nodiscard]] bool pop(state& s, const queue_event& e) const {
    const bool waits = available(s) == 0 && !s.closed;
    if (in_one_step_ && waits) return times_out(e);
    of(s.at, e.thread) = waits ? phase::waiting : phase::settled;
    if (waits) {
      s.consumers.push_back(e.thread);
      return true;
    }
    const answer now = available(s) > 0 ? answer{queue_word::given, {take(s)}} : nothing(s);
    if (in_one_step_) of(s.at, e.thread) = phase::idle;
    return e.allows(now);
  }

  static bool is_timed(queue_verb v) { return v == queue_verb::push_for || v == queue_verb::pop_for; }
  static bool times_out(const queue_event& e) {
    return is_timed(e.operation.verb) && e.allows({queue_word::timed_out, {}});
  }

  [[nodiscard]] bool follow_up(state& s, const queue_event& e) const {
    const bool pushes = e.operation.verb == queue_verb::push || e.operation.verb == queue_verb::push_for;
    switch (std::exchange(of(s.at, e.thread), phase::idle)) {
      case phase::settled:
        return true;
      case phase::refused:
        return e.allows({queue_word::closed, {}});
      case phase::granted:
        if (pushes) return e.allows({queue_word::accepted, {}});
        --s.promised;
        return e.allows({queue_word::given, {take(s)}});
      case phase::waiting:
        std::erase(s.consumers, e.thread);
        std::erase_if(s.producers, [&](const auto& p) { return p.first == e.thread; });
        return times_out(e);
      default:
        return false;
    }
  }

  queue_setup setup_;
  bool in_one_step_;
};

static_assert(specification<queue_specification>);

}  // namespace weir_model
