// SPDX-License-Identifier: BSL-1.0
// Runs a drawn scenario through the checker, records each execution as a history, and judges it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "../scenario.hpp"
#include "generator.hpp"
#include "history.hpp"

namespace weir_model {

/// What orders the calls of a history.
enum class ordering {
  real_time,       ///< the wall clock: for sequentially consistent executions
  happens_before,  ///< the memory model's relation: where stale reads are legal
};

/// What became of the executions of one scenario.
struct trial_result {
  report explored;
  long histories = 0;
  long calls = 0;
  std::string violation;  ///< empty: every history was linearizable
};

/// The histories of a scenario, execution by execution.  Lives outside of them.
template <class Component>
class recorder {
 public:
  using specification = typename Component::specification;
  using operation = typename specification::operation;
  using answer = typename specification::answer;
  using record = recorded<operation, answer>;

  recorder(const plan<Component>& planned, const specification& wanted, ordering how)
      : planned_{planned}, wanted_{wanted}, how_{how} {}

  void begin() {
    outside([&] {
      history_.clear();
      moments_.clear();
      clock_ = 0;
    });
  }

  /// What a thread does: `call(operation, split)` for each, between two moments of its own.
  ///
  /// `split(answer, next)` ends the call that runs and begins another, where a call calls back: so that the
  /// history knows when.
  template <class Call>
  void run(int thread, const std::vector<operation>& calls, std::atomic<int>& calling, Call call) {
    for (const operation& next : calls) {
      std::size_t at = begin_call(thread, next, calling);
      const answer given = call(next, [&](const answer& so_far, const operation& then) {
        end_call(at, so_far);
        at = begin_call(thread, then, calling);
      });
      end_call(at, given);
    }
  }

  /// Whether the history of the execution that ends is linearizable.
  [[nodiscard]] bool judge() {
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    call_order before;
    if (how_ == ordering::happens_before) {
      const std::size_t n = history_.size();
      outside([&] { before.resize(n); });
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          const bool precedes = i != j && weir_model::happens_before(moments_[j].second, moments_[i].first);
          if (precedes) before[i] |= std::uint64_t{1} << j;
        }
      }
    }
    bool holds = false;
    outside([&] {
      if (how_ == ordering::real_time) before = in_real_time(history_);
      ++result.histories;
      result.calls += static_cast<long>(history_.size());
      linearizer<specification> search{wanted_, history_, before};
      holds = search.search().found;
      if (!holds) result.violation = show_history() + "as far as it can be ordered:\n" + search.explain();
      before = {};
    });
    return holds;
  }

  trial_result result;

 private:
  [[nodiscard]] std::size_t begin_call(int thread, const operation& what, std::atomic<int>& calling) {
    // Calls are events that the checker orders: otherwise the moment of a call would always be that of the
    // return before it.  Not under a weak memory, where it would be one more order between the threads.
    if (how_ == ordering::real_time) calling.fetch_add(1, std::memory_order_relaxed);
    const moment here = how_ == ordering::happens_before ? now() : moment{};
    std::size_t at = 0;
    outside([&] {
      at = history_.size();
      history_.push_back({thread, what, std::nullopt, clock_++, -1});
      moments_.push_back({here, here});
    });
    return at;
  }

  void end_call(std::size_t at, const answer& given) {
    const moment here = how_ == ordering::happens_before ? now() : moment{};
    outside([&] {
      history_[at].answer = given;
      history_[at].returned = clock_++;
      moments_[at].second = here;
    });
  }

  [[nodiscard]] std::string show_history() const {
    std::string text = "history (call and return in the order of one clock):\n";
    for (const record& c : history_) {
      text += "  " + std::to_string(c.called) + ".." + std::to_string(c.returned) + "  thread " +
              std::to_string(c.thread) + "  " + specification::show(c.operation) + " -> " +
              (c.answer ? specification::show(*c.answer) : std::string{"(not ended)"}) + '\n';
    }
    return text;
  }

  const plan<Component>& planned_;
  const specification& wanted_;
  const ordering how_;
  std::vector<record> history_;
  std::vector<std::pair<moment, moment>> moments_;
  int clock_ = 0;
};

template <class Subject, class Operation, class Split>
auto apply(Subject& subject, int thread, const Operation& o, const Split& split) {
  if constexpr (requires { subject.apply(thread, o, split); }) {
    return subject.apply(thread, o, split);
  } else {
    return subject.apply(thread, o);
  }
}

/// Explores `planned` on a `Subject`, which is made from the setup and answers `apply(thread, operation)`.
template <class Component, class Subject>
[[nodiscard]] trial_result try_out(const plan<Component>& planned,
                                   const typename Component::specification& wanted, const bounds& limits) {
  recorder<Component> notes{planned, wanted, limits.weak ? ordering::happens_before : ordering::real_time};
  notes.result.explored = explore(limits, [&](world& w) {
    notes.begin();
    auto& calling = w.make<std::atomic<int>>(0);
    Subject& subject = w.make<Subject>(planned.setup);
    for (std::size_t t = 0; t < planned.threads.size(); ++t) {
      w.thread([&notes, &planned, &calling, &subject, t] {
        const int thread = static_cast<int>(t) + 1;
        notes.run(thread, planned.threads[t], calling,
                  [&](const auto& o, const auto& split) { return apply(subject, thread, o, split); });
      });
    }
    w.after([&] {
      notes.run(0, planned.closing, calling,
                [&](const auto& o, const auto& split) { return apply(subject, 0, o, split); });
      expect(notes.judge(), "the history is linearizable");
    });
  });
  return std::move(notes.result);
}

}  // namespace weir_model
