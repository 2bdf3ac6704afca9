// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <string>
#include <utility>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class breaker_verb { admit, success, failure, ignore, state, reset, force_open, advance, stats };
enum class breaker_word { admitted, refused, nothing, done, closed, open, half_open, forced_open, counted };

struct breaker_setup {
  int in_a_row = 1;  ///< failures in a row that open it; 0: half of the last two calls
  int open_for = 10;
  int probes = 1;
};

/// circuit_breaker, written anew from its contract.
///
/// A permit remembers the generation that issued it; each move begins another, and a result of an earlier one
/// is late.  Two steps for what reads the clock: the reading, then the decision.
class breaker_specification {
 public:
  using operation = request<breaker_verb>;
  using answer = reply<breaker_word>;
  using breaker_event = event<operation, answer>;

  struct state {
    breaker_word at = breaker_word::closed;
    int generation = 0;
    int now = 0;
    int latest = 0;              // the latest instant it was told of
    int until = 0;               // open: when it ends; half_open: when the probes are given up
    std::vector<bool> failed{};  // the window
    int probes_out = 0;
    int probes_back = 0;
    int probes_failed = 0;
    int succeeded = 0;
    int failures = 0;
    int late = 0;
    int refused = 0;
    int opened = 0;
    per_thread<std::vector<int>> permits{};  // their generations, the oldest first
    per_thread<int> read{};                  // the clock, by calls between their steps
    friend auto operator<=>(const state&, const state&) = default;
  };

  breaker_specification(const breaker_setup& setup, bool in_one_step)
      : setup_{setup}, in_one_step_{in_one_step} {}

  [[nodiscard]] static state initial() { return {}; }

  [[nodiscard]] int steps(const operation& o) const {
    return in_one_step_ || o.verb == breaker_verb::advance || o.verb == breaker_verb::stats ? 1 : 2;
  }

  [[nodiscard]] bool step(state& s, const breaker_event& e) const {
    if (in_one_step_) return decide(s, e, s.now);
    if (steps(e.operation) == 2 && e.step == 0) {
      of(s.read, e.thread) = s.now;
      return true;
    }
    return decide(s, e, std::exchange(of(s.read, e.thread), 0));
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"admit", "success",    "failure",  "ignore", "state",
                                            "reset", "force_open", "advance ", "stats"};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"admitted",
                                            "refused, retry after",
                                            "nothing",
                                            "done",
                                            "closed",
                                            "open",
                                            "half_open",
                                            "forced_open",
                                            "late, refused, opened, succeeded, failed, in the window:"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return show(answer{s.at, {}}) + ", generation " + std::to_string(s.generation) + ", time " +
           std::to_string(s.now) + ", until " + std::to_string(s.until);
  }

 private:
  [[nodiscard]] bool decide(state& s, const breaker_event& e, int clock) const {
    switch (e.operation.verb) {
      case breaker_verb::admit:
        return admit(s, e, clock);
      case breaker_verb::success:
      case breaker_verb::failure:
      case breaker_verb::ignore: {
        auto& permits = of(s.permits, e.thread);
        if (permits.empty()) return e.allows({breaker_word::nothing, {}});
        const int generation = permits.front();
        permits.erase(permits.begin());
        if (generation == s.generation) {
          s.succeeded += e.operation.verb == breaker_verb::success ? 1 : 0;
          s.failures += e.operation.verb == breaker_verb::failure ? 1 : 0;
          record(s, e.operation.verb, quiet(s, e.operation.verb) ? s.latest : settle(s, clock));
        } else {
          ++s.late;
        }
        return e.allows({breaker_word::done, {}});
      }
      case breaker_verb::state:
        // Where nothing can move, it does not even tell the time.
        if (s.at == breaker_word::half_open || (s.at == breaker_word::open && clock >= s.until)) {
          advance(s, clock);
        }
        return e.allows({s.at, {}});
      case breaker_verb::reset:
        move(s, breaker_word::closed, settle(s, clock));
        return e.allows({breaker_word::done, {}});
      case breaker_verb::force_open:
        move(s, breaker_word::forced_open, settle(s, clock));
        return e.allows({breaker_word::done, {}});
      case breaker_verb::advance:
        s.now += e.operation.argument;
        return e.allows({breaker_word::done, {}});
      case breaker_verb::stats:
        return e.allows(
            {breaker_word::counted, {s.late, s.refused, s.opened, s.succeeded, s.failures, in_window(s)}});
    }
    return false;
  }

  [[nodiscard]] bool admit(state& s, const breaker_event& e, int clock) const {
    const auto refuse = [&](int retry_after) {
      ++s.refused;
      return e.allows({breaker_word::refused, {retry_after}});
    };
    if (s.at == breaker_word::forced_open) return refuse(0);
    if (s.at == breaker_word::open && clock < s.until) return refuse(s.until - clock);
    if (s.at != breaker_word::closed) {
      advance(s, clock);
      if (s.at == breaker_word::open) return refuse(std::max(0, s.until - clock));
      if (s.probes_back + s.probes_out >= setup_.probes) return refuse(0);
      if (s.probes_out++ == 0) s.until = s.latest + setup_.open_for;
    }
    of(s.permits, e.thread).push_back(s.generation);
    return e.allows({breaker_word::admitted, {}});
  }

  /// Calls in the window, or probes that have reported; a run of failures has no window that it tells of.
  [[nodiscard]] int in_window(const state& s) const {
    if (s.at == breaker_word::half_open) return s.probes_back;
    return s.at == breaker_word::closed && setup_.in_a_row == 0 ? static_cast<int>(s.failed.size()) : 0;
  }

  /// A success that cannot open it, which does not tell the time.
  [[nodiscard]] bool quiet(const state& s, breaker_verb verdict) const {
    const bool below = setup_.in_a_row == 0 && s.failed.size() < 2;
    return verdict == breaker_verb::success && s.at == breaker_word::closed &&
           !(below && std::count(s.failed.begin(), s.failed.end(), true) > 0);
  }

  /// Time does not run back.
  static int settle(state& s, int clock) { return s.latest = std::max(s.latest, clock); }

  /// An open wait that is over admits probes; probes that are out too long are lost.
  void advance(state& s, int clock) const {
    const int t = settle(s, clock);
    if (s.at == breaker_word::open && t >= s.until) {
      move(s, breaker_word::half_open, t);
    } else if (s.at == breaker_word::half_open && s.probes_out > 0 && t >= s.until) {
      move(s, breaker_word::open, t);
    }
  }

  void move(state& s, breaker_word to, int t) const {
    s.at = to;
    ++s.generation;
    s.failed.clear();
    s.probes_out = s.probes_back = s.probes_failed = s.until = 0;
    if (to != breaker_word::open) return;
    s.until = t + setup_.open_for;
    ++s.opened;
  }

  void record(state& s, breaker_verb verdict, int t) const {
    const bool failed = verdict == breaker_verb::failure;
    if (s.at == breaker_word::half_open) {
      --s.probes_out;
      s.until = t + setup_.open_for;
      if (verdict == breaker_verb::ignore) return;
      s.probes_failed += failed ? 1 : 0;
      if (++s.probes_back < setup_.probes) return;
      move(s, 2 * s.probes_failed >= setup_.probes ? breaker_word::open : breaker_word::closed, t);
    } else if (s.at == breaker_word::closed && verdict != breaker_verb::ignore) {
      if (setup_.in_a_row > 0 && !failed) s.failed.clear();
      if (setup_.in_a_row == 0 || failed) s.failed.push_back(failed);
      if (setup_.in_a_row == 0 && s.failed.size() > 2) s.failed.erase(s.failed.begin());
      const auto failures = std::count(s.failed.begin(), s.failed.end(), true);
      if (setup_.in_a_row > 0 ? failures >= setup_.in_a_row : s.failed.size() == 2 && failures >= 1) {
        move(s, breaker_word::open, t);
      }
    }
  }

  breaker_setup setup_;
  bool in_one_step_;
};

static_assert(specification<breaker_specification>);

}  // namespace weir_model
