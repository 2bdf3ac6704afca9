// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

#include "halting_clock.hpp"
#include "trace.hpp"

namespace weir_model {

inline constexpr std::chrono::seconds one_tick{1};
inline constexpr std::size_t most_callers = 3;

/// What a breaker has told since it was last asked.
struct told {
  std::vector<std::pair<weir::breaker_state, weir::breaker_state>> moves;
  std::vector<weir::refusal> refusals;
};

class listener {
 public:
  explicit listener(told& sink) noexcept : sink_{&sink} {}
  void on_refused(const weir::refusal& why) noexcept { sink_->refusals.push_back(why); }
  void on_transition(weir::breaker_state from, weir::breaker_state to) noexcept {
    sink_->moves.emplace_back(from, to);
  }

 private:
  told* sink_;
};

using breaker = weir::basic_circuit_breaker<halting_clock, listener>;
using admission = weir::outcome<breaker::permit>;

/// The breaker's word, which it shows to nobody: an explicit instantiation may name what is private.
std::atomic<std::uint64_t> breaker::* word_of_breaker() noexcept;
template <auto Member>
struct reveal {
  friend std::atomic<std::uint64_t> breaker::* word_of_breaker() noexcept { return Member; }
};
template struct reveal<&breaker::word_>;

/// The threads of the callers; they outlive the breakers of the traces.
using callers = std::array<halted_call<admission>, most_callers>;

/// A breaker that makes the calls of one trace, and says where it differs from the model.
class replayed_breaker {
 public:
  replayed_breaker(const model_options& options, callers& threads)
      : options_{options_of(options)}, threads_{threads} {}
  replayed_breaker(const replayed_breaker&) = delete;
  replayed_breaker& operator=(const replayed_breaker&) = delete;
  ~replayed_breaker() {
    for (auto& thread : threads_) {
      if (thread.busy()) static_cast<void>(thread.end());
    }
  }

  /// Makes the call; what differs from what the model says of it, in words, or nothing.
  [[nodiscard]] std::optional<std::string> make(const model_step& step) {
    if (step.caller >= most_callers) return "no such caller";
    if (step.what == call::look && breaker_.state_approx() != weir::breaker_state::open) {
      return "the model finds the breaker open, the code does not";
    }
    told_.moves.clear();
    told_.refusals.clear();
    const weir::circuit_breaker_stats before = breaker_.stats();
    const auto got = perform(step);
    expect(step, before);
    return difference(step, got);
  }

 private:
  struct reply {
    answer said = answer::nothing;
    weir::duration retry_after{};
  };

  static weir::circuit_breaker_options options_of(const model_options& m) {
    weir::circuit_breaker_options o{.window = weir::consecutive_failures{m.threshold},
                                    .open_for = m.open_for * one_tick,
                                    .probes = m.probes,
                                    .half_open_max_wait = m.lease * one_tick};
    if (m.successes > 0) o.probe_successes = m.successes;
    return o;
  }

  reply perform(const model_step& step) {
    std::optional<breaker::permit>& permit = permits_[step.caller];
    const auto verdict = static_cast<weir::call_verdict>(step.argument);
    switch (step.what) {
      case call::tick:
        time_.advance(one_tick);
        return {};
      case call::try_acquire:
        return take(permit, breaker_.try_acquire());
      case call::look:
        threads_[step.caller].begin([this] { return breaker_.try_acquire(); });
        return {};
      case call::admit:
        return take(permit, threads_[step.caller].end());
      case call::finish:
        return end(permit, [&] { std::move(*permit).report(verdict); });
      case call::drop:
        return end(permit, [&] { permit.reset(); });
      case call::lose:
        lost_.push_back(std::move(*permit));
        permit.reset();
        return {};
      case call::state_at:
        if (breaker_.state() != step.state) return {answer::illegal};
        return {};
      case call::transition_to:
        try {
          breaker_.transition_to(static_cast<weir::breaker_state>(step.argument));
        } catch (const std::invalid_argument&) {
          return {answer::illegal};
        }
        return {};
      case call::reconfigure:
        breaker_.reconfigure(options_);
        reconfigured_ = true;
        // A serial of its own, in the generation that there is; half_open begins another one.
        if (step.state != weir::breaker_state::half_open) ++serials_;
        return {};
    }
    return {answer::illegal};
  }

  static reply take(std::optional<breaker::permit>& permit, admission&& got) {
    if (!got) return {answer::refused, got.error().retry_after.value_or(weir::duration::max())};
    permit.emplace(std::move(*got));
    return {answer::granted};
  }

  /// What became of a result, from the counts.
  template <class F>
  reply end(std::optional<breaker::permit>& permit, F&& f) {
    const auto heard = [](const weir::circuit_breaker_stats& s) {
      return s.successes + s.failures + s.ignored;
    };
    const weir::circuit_breaker_stats before = breaker_.stats();
    f();
    permit.reset();
    const weir::circuit_breaker_stats after = breaker_.stats();
    if (heard(after) != heard(before)) return {answer::recorded};
    return {after.late != before.late ? answer::late : answer::nothing};
  }

  /// What the counts and the listener must have become.
  void expect(const model_step& step, const weir::circuit_breaker_stats& before) {
    counts_ = before;
    if (step.said == answer::refused) ++counts_.refused;
    if (step.said == answer::late) ++counts_.late;
    if (step.said == answer::recorded) {
      const auto verdict = static_cast<weir::call_verdict>(step.argument);
      ++(verdict == weir::call_verdict::success   ? counts_.successes
         : verdict == weir::call_verdict::failure ? counts_.failures
                                                  : counts_.ignored);
    }
    moves_.clear();
    if (step.state != state_) {
      moves_.emplace_back(state_, step.state);
      if (step.state == weir::breaker_state::open) ++counts_.opened;
    }
    state_ = step.state;
  }

  [[nodiscard]] std::optional<std::string> difference(const model_step& step, const reply& got) {
    const weir::circuit_breaker_stats now = breaker_.stats();
    const std::uint64_t word = (breaker_.*word_of_breaker()).load();
    const bool half_open = step.state == weir::breaker_state::half_open;
    const bool as_new = step.state == weir::breaker_state::closed && step.failures == 0 && !reconfigured_;
    std::ostringstream out;
    const auto compare = [&](const char* what, auto model, auto code) {
      if (model != code) out << "  " << what << ": model " << +model << ", code " << +code << '\n';
    };
    compare("answer", static_cast<unsigned>(step.said), static_cast<unsigned>(got.said));
    compare("retry_after", (step.retry_after * one_tick).count(),
            std::chrono::duration_cast<std::chrono::seconds>(got.retry_after).count());
    compare("state", static_cast<unsigned>(step.state), static_cast<unsigned>(word & 7));
    compare("generation", step.generation + serials_, word >> 6);
    compare("as new", as_new, breaker_.is_as_new_at(time_.now()));
    compare("stats.state", static_cast<unsigned>(step.state), static_cast<unsigned>(now.state));
    compare("stats.successes", counts_.successes, now.successes);
    compare("stats.failures", counts_.failures, now.failures);
    compare("stats.ignored", counts_.ignored, now.ignored);
    compare("stats.late", counts_.late, now.late);
    compare("stats.refused", counts_.refused, now.refused);
    compare("stats.opened", counts_.opened, now.opened);
    compare("probes reported", step.probe_calls, half_open ? now.window_calls : 0);
    compare("probes failed", step.bad_probes, half_open ? now.window_failed : 0);
    compare("refusals told", counts_.refused - refused_, std::uint64_t{told_.refusals.size()});
    if (told_.moves != moves_) out << "  the listener was told of " << told_.moves.size() << " other moves\n";
    if (!told_.refusals.empty() && told_.refusals.back().retry_after != got.retry_after) {
      out << "  the listener was told of another refusal\n";
    }
    refused_ = counts_.refused;
    if (out.view().empty()) return std::nullopt;
    return out.str();
  }

  told told_;
  weir::testing::manual_clock time_;
  weir::circuit_breaker_options options_;
  breaker breaker_{options_, halting_clock{time_}, listener{told_}};
  callers& threads_;
  std::array<std::optional<breaker::permit>, most_callers> permits_;
  std::vector<breaker::permit> lost_;  // never ended while the trace lasts
  bool reconfigured_ = false;
  std::uint64_t serials_ = 0;  // that are no generations

  weir::breaker_state state_ = weir::breaker_state::closed;  // of the model
  weir::circuit_breaker_stats counts_;                       // expected
  std::vector<std::pair<weir::breaker_state, weir::breaker_state>> moves_;
  std::uint64_t refused_ = 0;
};

}  // namespace weir_model
