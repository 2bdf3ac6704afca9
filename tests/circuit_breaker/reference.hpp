// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>

namespace weir_test {

/// A breaker written down in the most literal way: every call of the generation in a list, time in whole
/// nanoseconds, rates in per cent.
struct literal_breaker {
  using breaker_state = weir::breaker_state;
  enum class kind : std::uint8_t { count, time, run };

  kind window;
  std::int64_t size;  // calls; or buckets of `width` ns; or failures in a row
  std::int64_t minimum, percent, open_for, cap, probes;
  std::optional<std::int64_t> needed;
  std::optional<std::int64_t> max_wait;
  std::int64_t width = 10;
  std::int64_t factor = 2;
  std::optional<std::int64_t> slow_percent = std::nullopt;
  std::int64_t slow_after = 0;
  bool one_rate = false;     // slow calls count as failed
  std::int64_t watched = 0;  // calls that are out and judged meanwhile
  std::int64_t ramp = 0;

  struct call {
    std::int64_t at;
    bool failed;
    bool slow;
    int id = 0;  // of a watched call
  };
  /// A watched call that is out.
  struct out_call {
    int id;
    std::int64_t began;
    bool counted;
  };
  struct seen {
    std::int64_t all = 0, failed = 0, slow = 0;
  };

  breaker_state state = breaker_state::closed;
  int generation = 0;
  std::vector<call> calls{};  // of this generation
  std::int64_t latest = std::numeric_limits<std::int64_t>::min();
  std::int64_t since = 0, wait = 0, opens = 0, out = 0, progress = 0;
  std::int64_t climbs_from = 0, climbs_until = 0, climbed = 0;  // the ramp, in hundredths of a call
  std::vector<out_call> watching{};
  int ids = 0;
  std::int64_t opened = 0;                                      // in all
  std::vector<std::pair<breaker_state, breaker_state>> told{};  // moves from one state to another

  int admitted = 0;  // the latest call that passed, if it is watched

  std::int64_t settle(std::int64_t now) { return latest = std::max(latest, now); }

  void enter(breaker_state to, std::int64_t now) {
    if (state != to) {
      told.emplace_back(state, to);
      opened += to == breaker_state::open ? 1 : 0;
    }
    state = to;
    calls.clear();
    climbs_until = climbs_from;
    begin_generation();
    since = now;
    if (to == breaker_state::closed) opens = 0;
    if (to == breaker_state::half_open && opens == 0) wait = open_for;
    if (to == breaker_state::open) {
      wait = open_for;
      for (std::int64_t i = 0; i < opens && wait < cap && factor > 1; ++i)
        wait = wait > cap / factor ? cap : wait * factor;
      wait = std::min(wait, cap);
      ++opens;
    }
  }
  void begin_generation() {
    ++generation;
    out = 0;
    watching.clear();
  }
  [[nodiscard]] bool recording() const {
    return state == breaker_state::closed || state == breaker_state::metrics_only;
  }
  /// Whether admission looks at the clock and may refuse although it is closed.
  [[nodiscard]] bool gated() const { return climbing() || (watched > 0 && recording()); }
  [[nodiscard]] bool climbing() const { return state == breaker_state::closed && climbs_until > climbs_from; }
  /// Watched calls that have been out for too long are slow from now on.
  void find_late(std::int64_t time) {
    if (watching.empty()) return;
    const std::int64_t now = settle(time);
    for (std::size_t i = 0; i < watching.size(); ++i) {
      if (watching[i].counted || now - watching[i].began <= slow_after) continue;
      watching[i].counted = true;
      calls.push_back({now, one_rate, true, watching[i].id});
      if (state == breaker_state::closed && must_open(now)) return enter(breaker_state::open, now);
    }
  }
  void advance(std::int64_t time) {
    const std::int64_t now = settle(time);
    if (state == breaker_state::open && now - since >= wait) {
      enter(breaker_state::half_open, now);
    } else if (state == breaker_state::half_open && out > 0 &&
               now - progress >= max_wait.value_or(std::max<std::int64_t>(wait, 1))) {
      enter(breaker_state::open, now);
    }
    if (climbing() && now >= climbs_until) climbs_until = climbs_from;
    find_late(time);
  }
  /// A look at the state; where nothing can move, it does not even tell the time.
  void look(std::int64_t time) {
    const bool over = state == breaker_state::open && time - since >= wait;
    if (over || gated() || state == breaker_state::half_open) advance(time);
  }
  bool admit(std::int64_t time) {
    if (state == breaker_state::forced_open) return false;
    if (state == breaker_state::open && time - since < wait) return false;
    admitted = 0;
    if (state != breaker_state::open && state != breaker_state::half_open && !gated()) return true;
    advance(time);
    if (state == breaker_state::open) return false;
    if (recording()) {
      if (climbing()) {
        climbed += 10 + (latest - climbs_from) * 90 / (climbs_until - climbs_from);
        if (climbed < 100) return false;
        climbed -= 100;
      }
      if (static_cast<std::int64_t>(watching.size()) < watched) {
        watching.push_back({admitted = ++ids, latest, false});
      }
      return true;
    }
    if (out + static_cast<std::int64_t>(calls.size()) >= probes) return false;
    if (out++ == 0) progress = latest;
    return true;
  }
  /// A result of generation `of`; whether it counts.
  bool report(int of, std::int64_t time, weir::call_verdict verdict, bool slow = false, int id = 0) {
    if (of == generation) find_late(time);
    if (of != generation) return false;
    if (state == breaker_state::disabled) return true;
    const bool failed = verdict == weir::call_verdict::failure || (slow && one_rate);
    if (verdict == weir::call_verdict::success && !slow && quiet(time)) {
      calls.push_back({latest, false, false});
      return true;
    }
    const std::int64_t now = settle(time);
    if (state == breaker_state::half_open) {
      --out;
      progress = now;
    }
    const auto known = std::ranges::find(watching, id, &out_call::id);
    const bool counted = known != watching.end() && known->counted;
    if (known != watching.end()) watching.erase(known);
    if (verdict == weir::call_verdict::ignore) return true;
    if (!counted) calls.push_back({now, failed, slow});
    for (call& c : calls) {
      if (counted && c.id == id) c.failed = c.failed || failed;
    }
    if (state == breaker_state::half_open) {
      judge_probes(now);
    } else if (state == breaker_state::closed && must_open(now)) {
      enter(breaker_state::open, now);
    }
    return true;
  }
  /// Whether a good call decides nothing: then it counts where time stands, and does not tell the time.
  [[nodiscard]] bool quiet(std::int64_t time) const {
    if (!recording() || watched > 0) return false;
    if (window == kind::time) {
      const bool told_a_time = latest != std::numeric_limits<std::int64_t>::min();
      if (!told_a_time || bucket(time, width) > bucket(latest, width)) return false;
    }
    if (state == breaker_state::metrics_only || window == kind::run) return true;
    const seen s = in_window(latest);
    const std::int64_t least = window == kind::count ? std::min(minimum, size) : minimum;
    return s.all >= least ? !over(s) : s.failed == 0 && s.slow == 0;
  }
  [[nodiscard]] bool over(const seen& s) const {
    return s.failed * 100 >= percent * s.all || (slow_percent && s.slow * 100 >= *slow_percent * s.all);
  }
  void judge_probes(std::int64_t now) {
    const seen s = reported();
    if (needed) {
      const auto bad =
          std::ranges::count_if(calls, [&](const call& c) { return c.failed || (slow_percent && c.slow); });
      if (s.all - bad >= *needed) {
        enter(breaker_state::closed, now);
      } else if (bad > probes - *needed) {
        enter(breaker_state::open, now);
      }
    } else if (s.all >= probes) {
      enter(over(s) ? breaker_state::open : breaker_state::closed, now);
    }
    if (state == breaker_state::closed) {
      climbs_from = now;
      climbs_until = now + ramp;
      climbed = 90;
    }
  }
  [[nodiscard]] seen reported() const {
    seen s;
    for (const call& c : calls) add(s, c);
    return s;
  }
  [[nodiscard]] static std::int64_t bucket(std::int64_t at, std::int64_t width) {
    return at / width - (at % width < 0 ? 1 : 0);
  }
  static void add(seen& s, const call& c) {
    ++s.all;
    s.failed += c.failed ? 1 : 0;
    s.slow += c.slow ? 1 : 0;
  }
  /// What the window holds at `now`.
  [[nodiscard]] seen in_window(std::int64_t now) const {
    seen s;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      if (window == kind::count && static_cast<std::int64_t>(calls.size() - i) > size) continue;
      if (window == kind::time && bucket(now, width) - bucket(calls[i].at, width) >= size) continue;
      add(s, calls[i]);
    }
    return s;
  }
  [[nodiscard]] std::int64_t failures_in_a_row() const {
    std::int64_t run = 0;
    for (const call& c : calls) run = c.failed ? run + 1 : 0;
    return run;
  }
  [[nodiscard]] bool must_open(std::int64_t now) const {
    if (window == kind::run) return failures_in_a_row() >= size;
    const seen s = in_window(now);
    const std::int64_t least = window == kind::count ? std::min(minimum, size) : minimum;
    return s.all >= least && over(s);
  }
  /// Whether it decides from `time` on as one newly made.
  [[nodiscard]] bool is_as_new(std::int64_t time) const {
    if (state != breaker_state::closed || !watching.empty()) return false;
    if (climbing() && std::max(latest, time) < climbs_until) return false;
    return window == kind::run ? failures_in_a_row() == 0 : in_window(std::max(latest, time)).all == 0;
  }
  /// By hand; whether it is a move that there is.
  bool move(breaker_state to, std::int64_t time) {
    const bool bypassed = state == breaker_state::metrics_only;
    if (to == breaker_state::half_open && (bypassed || state == breaker_state::closed)) return false;
    if (to == breaker_state::open && bypassed) return false;
    if (to != breaker_state::open && to != breaker_state::half_open) opens = 0;
    if (to == breaker_state::open && state == to && opens > 0) --opens;
    enter(to, settle(time));
    return true;
  }
  /// The same to open, for as long as until `until`.
  bool open_until(std::int64_t until, std::int64_t time) {
    if (!move(breaker_state::open, time)) return false;
    wait = until - since;
    return true;
  }
  /// Takes the options of `next`; what it is doing goes on.
  void reconfigure(const literal_breaker& next) {
    const bool same = window == next.window && (window == kind::run || size == next.size) &&
                      (window != kind::time || width == next.width);
    if (!same && state != breaker_state::half_open) calls.clear();
    window = next.window;
    size = next.size;
    width = next.width;
    minimum = next.minimum;
    percent = next.percent;
    open_for = next.open_for;
    cap = next.cap;
    factor = next.factor;
    probes = next.probes;
    needed = next.needed;
    max_wait = next.max_wait;
    slow_percent = next.slow_percent;
    slow_after = next.slow_after;
    one_rate = next.one_rate;
    ramp = next.ramp;
    const bool others = watched != next.watched;
    watched = next.watched;
    if (others && state != breaker_state::half_open) begin_generation();
    if (state == breaker_state::half_open) {
      calls.clear();
      begin_generation();
    }
  }
};

}  // namespace weir_test
