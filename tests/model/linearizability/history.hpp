// SPDX-License-Identifier: BSL-1.0
// Whether what several threads were answered could have come from one thread at a time.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace weir_model {

/// One call: what was asked, and what was answered; no answer if the call had not ended.
template <class Operation, class Answer>
struct recorded {
  int thread = 0;
  Operation operation{};
  std::optional<Answer> answer{};
  int called = 0;  ///< moments of one counter, for `in_real_time`; -1 has not ended
  int returned = -1;
};

/// What a specification is asked: may this step of a call come next?
template <class Operation, class Answer>
struct event {
  const Operation& operation;
  const Answer* answer;  ///< null: the call has not ended, so that nothing is known of its answer
  int thread;
  int number;  ///< of the call in its history
  int step;    ///< 0 for the first step of the call

  /// Whether the call may have been given this answer.
  [[nodiscard]] bool allows(const Answer& given) const { return answer == nullptr || *answer == given; }
};

/// What is to be fulfilled: an automaton that runs one call after the other.
///
///   state, operation, answer   `state` is ordered by <, `answer` compared by ==
///   initial()                  the state at first
///   step(state&, event)        whether the event may come next, which moves the state on
///   successors(state, event, emit)   instead of `step` where there are several states to move on to
///   steps(operation)           optional: how many steps a call has; 1 if not given
///   show(...)                  of a state, an operation, an answer: for the trace
///
/// A call that waits for others is two steps, its request and its follow-up, each of which happens at one
/// instant between call and return (Scherer and Scott, DISC 2004): what it did to others when it began to
/// wait is then part of the specification.
template <class S>
concept specification =
    std::totally_ordered<typename S::state> && std::equality_comparable<typename S::answer> &&
    requires(const S& s, const typename S::state& state, const typename S::operation& operation,
             const typename S::answer& answer) {
      { s.initial() } -> std::convertible_to<typename S::state>;
      { s.show(state) } -> std::convertible_to<std::string>;
      { s.show(operation) } -> std::convertible_to<std::string>;
      { s.show(answer) } -> std::convertible_to<std::string>;
    };

/// `before[i]` is the set of the calls, a bit each, that ended before call i began.
using call_order = std::vector<std::uint64_t>;

/// The order of a history whose `called` and `returned` are of one counter.
template <class Record>
[[nodiscard]] call_order in_real_time(const std::vector<Record>& calls) {
  call_order before(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (std::size_t j = 0; j < calls.size(); ++j) {
      const bool ended = calls[j].answer && calls[j].returned >= 0;
      if (ended && calls[j].returned < calls[i].called) before[i] |= std::uint64_t{1} << j;
    }
  }
  return before;
}

/// The order where call j comes before call i if `precedes(j, i)`: for a relation like happens-before, which
/// must be transitive.
template <class Record, std::predicate<std::size_t, std::size_t> Precedes>
[[nodiscard]] call_order in_order_of(const std::vector<Record>& calls, Precedes precedes) {
  call_order before(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (std::size_t j = 0; j < calls.size(); ++j) {
      if (i != j && calls[j].answer && precedes(j, i)) before[i] |= std::uint64_t{1} << j;
    }
  }
  return before;
}

/// What the search came to.
struct linearization {
  bool found = false;
  std::vector<int> order;   ///< the calls, by number, a place for each step; if not found, as far as it went
  std::size_t visited = 0;  ///< sets of steps, with the state they lead to
};

/// Searches for an order of the calls that the specification allows and that keeps to `before`.
///
/// The search of Wing and Gong (J. Parallel Distrib. Comput. 17, 1993), which remembers where it has been as
/// Lowe does (Concurrency Computat. 29(4), 2017).  A call that has not ended may have taken effect or not.
/// At most 64 steps.
template <specification S>
class linearizer {
 public:
  using state = typename S::state;
  using record = recorded<typename S::operation, typename S::answer>;

  linearizer(const S& wanted, const std::vector<record>& calls, const call_order& before)
      : wanted_{wanted}, calls_{calls}, before_{before} {
    assert(before.size() == calls.size());
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const int count = steps(calls[i].operation);
      const std::uint64_t first = std::uint64_t{1} << steps_.size();
      for (int s = 0; s < count; ++s) steps_.push_back({i, s});
      all_of_.push_back((first << count) - first);
      if (calls[i].answer) required_ |= all_of_.back();
    }
    assert(steps_.size() < 64 && "a history of at most 63 steps");
    for (step_of& s : steps_) {
      for (std::size_t j = 0; j < calls.size(); ++j) {
        if ((before[s.call] >> j & 1) != 0) s.needs |= all_of_[j];
      }
      if (s.step > 0) s.needs |= std::uint64_t{1} << (static_cast<std::size_t>(&s - steps_.data()) - 1);
    }
  }

  [[nodiscard]] linearization search() {
    linearization result;
    result.found = extend(0, wanted_.initial(), result);
    result.order = result.found ? path_ : farthest_;
    result.visited = seen_.size();
    return result;
  }

  /// How far the search came, and what stood in the way of each call there: for people.
  [[nodiscard]] std::string explain() const {
    std::string text;
    std::uint64_t done = 0;
    for (const int s : farthest_steps_) {
      text += "  then  " + show(static_cast<std::size_t>(s)) + '\n';
      done |= std::uint64_t{1} << s;
    }
    text += "  state " + wanted_.show(farthest_state_) + '\n';
    for (std::size_t s = 0; s < steps_.size(); ++s) {
      if ((done >> s & 1) != 0) continue;
      const bool waits = (steps_[s].needs & ~done) != 0;
      text += (waits ? "  later " : "  not   ") + show(s) + '\n';
    }
    return text;
  }

 private:
  struct step_of {
    std::size_t call;
    int step;
    std::uint64_t needs = 0;  // the steps that come first
  };

  [[nodiscard]] int steps(const typename S::operation& operation) const {
    if constexpr (requires { wanted_.steps(operation); }) {
      return wanted_.steps(operation);
    } else {
      return 1;
    }
  }

  [[nodiscard]] event<typename S::operation, typename S::answer> event_of(std::size_t s) const {
    const record& call = calls_[steps_[s].call];
    return {call.operation, call.answer ? &*call.answer : nullptr, call.thread,
            static_cast<int>(steps_[s].call), steps_[s].step};
  }

  [[nodiscard]] std::string show(std::size_t s) const {
    const record& call = calls_[steps_[s].call];
    std::string text = "thread " + std::to_string(call.thread) + "  " + wanted_.show(call.operation);
    if (steps(call.operation) > 1) text += " [step " + std::to_string(steps_[s].step + 1) + "]";
    return text + " -> " + (call.answer ? wanted_.show(*call.answer) : std::string{"(not ended)"});
  }

  bool extend(std::uint64_t done, const state& at, linearization& result) {
    if ((done & required_) == required_) return true;
    if (!seen_.emplace(done, at).second) return false;
    if (path_steps_.size() > farthest_steps_.size() || farthest_steps_.empty()) {
      farthest_ = path_;
      farthest_steps_ = path_steps_;
      farthest_state_ = at;
    }
    for (std::size_t s = 0; s < steps_.size(); ++s) {
      if ((done >> s & 1) != 0 || (steps_[s].needs & ~done) != 0) continue;
      const auto go_on = [&](const state& next) {
        path_.push_back(static_cast<int>(steps_[s].call));
        path_steps_.push_back(static_cast<int>(s));
        if (extend(done | std::uint64_t{1} << s, next, result)) return true;
        path_.pop_back();
        path_steps_.pop_back();
        return false;
      };
      bool found = false;
      if constexpr (requires { wanted_.successors(at, event_of(s), [](const state&) {}); }) {
        wanted_.successors(at, event_of(s), [&](const state& next) { found = found || go_on(next); });
      } else {
        state next = at;
        found = wanted_.step(next, event_of(s)) && go_on(next);
      }
      if (found) return true;
    }
    return false;
  }

  const S& wanted_;
  const std::vector<record>& calls_;
  const call_order& before_;
  std::vector<step_of> steps_;
  std::vector<std::uint64_t> all_of_;  // the steps of each call
  std::uint64_t required_ = 0;         // the steps of the calls that have ended
  std::set<std::pair<std::uint64_t, state>> seen_;
  std::vector<int> path_;
  std::vector<int> path_steps_;
  std::vector<int> farthest_;
  std::vector<int> farthest_steps_;
  state farthest_state_ = wanted_.initial();
};

template <specification S>
[[nodiscard]] linearization linearize(const S& wanted,
                                      const std::vector<typename linearizer<S>::record>& calls,
                                      const call_order& before) {
  return linearizer<S>{wanted, calls, before}.search();
}

}  // namespace weir_model
