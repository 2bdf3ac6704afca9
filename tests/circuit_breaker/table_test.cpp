// SPDX-License-Identifier: BSL-1.0
// Scripts of calls with the states they must lead to; each runs on the core and on the shell.
#include <catch2/catch_test_macros.hpp>

#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::duration;
using weir::time_point;
using weir::detail::circuit_core;
using weir::detail::window_totals;
using weir::testing::manual_clock;

namespace {

constexpr auto closed = breaker_state::closed;
constexpr auto open = breaker_state::open;
constexpr auto half_open = breaker_state::half_open;
using counts = window_totals;  // calls, failed, slow

/// What a script drives.
class machine {
 public:
  virtual ~machine() = default;
  virtual void at(time_point now) = 0;
  virtual bool permit(const std::string& name) = 0;
  virtual void report(const std::string& name, call_verdict verdict) = 0;
  virtual void move(breaker_state to) = 0;
  virtual breaker_state state() = 0;
  virtual window_totals totals() = 0;
};

class shell_machine final : public machine {
 public:
  explicit shell_machine(const circuit_breaker_options& options) : breaker_{options, clock_.source()} {}
  void at(time_point now) override { clock_.set(now); }
  bool permit(const std::string& name) override {
    auto p = breaker_.try_acquire();
    if (!p) return false;
    permits_.insert_or_assign(name, std::move(*p));
    return true;
  }
  void report(const std::string& name, call_verdict verdict) override {
    std::move(permits_.at(name)).report(verdict);
  }
  void move(breaker_state to) override { breaker_.transition_to(to); }
  breaker_state state() override { return breaker_.state(); }
  window_totals totals() override {
    const auto s = breaker_.stats();
    return {s.window_calls, s.window_failed, s.window_slow};
  }

 private:
  using breaker_type = basic_circuit_breaker<manual_clock::view>;
  manual_clock clock_;
  breaker_type breaker_;
  std::map<std::string, breaker_type::permit> permits_;
};

class core_machine final : public machine {
 public:
  explicit core_machine(const circuit_breaker_options& options) : core_{options} {}
  void at(time_point now) override { now_ = now; }
  bool permit(const std::string& name) override {
    const auto a = core_.admit(now_, ignore_moves);
    if (a.granted) permits_[name] = {core_.serial(), now_, a.place};
    return a.granted;
  }
  void report(const std::string& name, call_verdict verdict) override {
    const held& p = permits_.at(name);
    if (core_.counts(p.serial)) core_.find_late(now_, ignore_moves);
    if (!core_.counts(p.serial)) return;
    const auto& limit = core_.options().slow;
    const bool slow = limit && weir::elapsed(p.began, now_) > limit->longer_than;
    core_.record(now_, verdict, slow, p.place, ignore_moves);
  }
  void move(breaker_state to) override {
    REQUIRE(weir::detail::legal_move(core_.state(), to));
    core_.move(now_, to, ignore_moves);
  }
  breaker_state state() override {
    core_.advance(now_, ignore_moves);
    return core_.state();
  }
  window_totals totals() override { return core_.totals_at(now_); }

 private:
  static constexpr auto ignore_moves = [](breaker_state, breaker_state) noexcept {};
  circuit_core core_;
  time_point now_;
  struct held {
    std::uint64_t serial;
    time_point began;
    weir::detail::in_flight::place place;
  };
  std::map<std::string, held> permits_;
};

struct row {
  duration at;
  std::string ops;  // S F; permit:x ok:x err:x ign:x; to:open to:closed
  std::optional<breaker_state> state = std::nullopt;
  std::optional<bool> granted = std::nullopt;          // what every permit of the row gets
  std::optional<window_totals> totals = std::nullopt;  // of the window, after the row
};

struct script {
  std::string name;
  circuit_breaker_options options;
  std::vector<row> rows;
};

const circuit_breaker_options timed{.window = weir::time_window{20s},
                                    .failure_rate = {50},
                                    .slow = weir::slow_calls{4s, {50}},
                                    .minimum_calls = 5,
                                    .open_for = 5s,
                                    .probes = 4};

const std::vector<script> scripts{
    {"CB-01 opens on the call that reaches the minimum, even a success",
     timed,
     {{0s, "F F F S", closed}, {0s, "S", open}, {0s, "permit:x", {}, false}}},
    {"CB-02 opens exactly at the threshold",
     timed,
     {{0s, "S", closed},
      {1s, "S", closed},
      {2s, "S", closed},
      {3s, "F", closed},
      {4s, "F", closed},
      {5s, "F", open}}},
    {"CB-04 the wait in open, then probes, then the verdict",
     timed,
     {{0s, "F F F F F", open},
      {3s, "permit:a", {}, false},
      {5s, "permit:a", {}, true},
      {5s, "permit:b permit:c permit:d", {}, true},
      {5s, "permit:e", {}, false},
      {6s, "err:a err:b ok:c", half_open},
      {6s, "err:d", open}}},
    {"CB-05 closes below the threshold",
     timed,
     {{0s, "F F F F F", open},
      {5s, "permit:a permit:b permit:c permit:d", {}, true},
      {5s, "ok:a ok:b ok:c", half_open},
      {5s, "err:d", closed}}},
    {"CB-07 an ignored result gives its probe back, once",
     timed,
     {{0s, "to:open", open},
      {5s, "permit:a permit:b permit:c permit:d", {}, true},
      {5s, "permit:e", {}, false},
      {5s, "ign:a", half_open},
      {5s, "permit:e", {}, true},
      {5s, "permit:f", {}, false}}},
    {"CB-08 late results of closed do not judge half_open",
     {.window = weir::count_window{8}, .failure_rate = {50}, .open_for = 1s, .probes = 2},
     {{0s, "permit:a permit:b permit:c permit:d permit:e permit:f permit:g permit:h", {}, true},
      {0s, "err:a err:b err:c err:d ok:e", closed},
      {0s, "F F F", open},
      {2s, "permit:p", {}, true},
      {2s, "ok:f ok:g", half_open},
      {3s, "err:p", half_open},
      {3s, "permit:q", {}, true},
      {3s, "ok:q", open}}},
    {"CB-09 late ignored results give no probe back",
     {.window = weir::count_window{2}, .open_for = 1s, .probes = 2},
     {{0s, "permit:a permit:b permit:c permit:d permit:e", {}, true},
      {0s, "err:a err:b", open},
      {1s, "permit:p permit:q", half_open, true},
      {1s, "ign:c ign:d ign:e", half_open},
      {1s, "permit:r", half_open, false}}},
    {"CB-10 half_open does not last for ever",
     {.window = weir::count_window{2}, .open_for = 1s, .probes = 2, .half_open_max_wait = 10s},
     {{0s, "F F", open},
      {1s, "permit:a permit:b", {}, true},
      {2s, "permit:c", {}, false},
      {11s, "permit:c", {}, false},
      {11s, "", open},
      {12s, "permit:c", {}, true},
      {13s, "ok:a", half_open}}},
    {"CB-11 the open wait grows to its cap and falls back on close",
     {.window = weir::count_window{2}, .open_for = 5s, .open_for_factor = 1.5, .open_for_max = 10s},
     {{0s, "F F", open},
      {4999ms, "permit:a", {}, false},
      {5s, "F", open},
      {12499ms, "permit:a", {}, false},
      {12500ms, "F", open},
      {22499ms, "permit:a", {}, false},
      {22500ms, "S", closed},
      {23s, "F F", open},
      {27999ms, "permit:a", {}, false},
      {28s, "permit:a", {}, true}}},
    {"CB-14 failures in a row, with the counts",
     {.window = weir::consecutive_failures{6}, .open_for = 60s},
     {{0s, "F F F F F", closed, {}, counts{5, 5, 0}},
      {0s, "S", closed, {}, counts{6, 5, 0}},
      {0s, "F", closed, {}, counts{7, 6, 0}},
      {0s, "F F F F F", open, {}, counts{0, 0, 0}},
      {59999ms, "permit:x", open, false, counts{0, 0, 0}},
      {60999ms, "", half_open, {}, counts{0, 0, 0}},
      {60999ms, "F", open, {}, counts{0, 0, 0}},
      {120998ms, "", open, {}, counts{0, 0, 0}},
      {121s, "", half_open, {}, counts{0, 0, 0}},
      {121s, "S", closed, {}, counts{0, 0, 0}}}},
    {"CB-16 a result from before the counts were cleared is dropped",
     {.window = weir::consecutive_failures{6}, .probes = 3},
     {{29s, "S permit:a", closed, true, counts{1, 0, 0}},
      {30500ms, "to:closed", closed, {}, counts{0, 0, 0}},
      {31s, "ok:a", closed, {}, counts{0, 0, 0}}}},
    {"WIN-01 a window of 4 calls",
     {.window = weir::count_window{4}, .failure_rate = {100}, .minimum_calls = 4},
     {{0s, "F", closed, {}, counts{1, 1, 0}},
      {0s, "S", closed, {}, counts{2, 1, 0}},
      {0s, "S", closed, {}, counts{3, 1, 0}},
      {0s, "S", closed, {}, counts{4, 1, 0}},
      {0s, "S", closed, {}, counts{4, 0, 0}}}},
    {"WIN-02 slow calls, well and badly",
     {.window = weir::count_window{5}, .failure_rate = {100}, .slow = weir::slow_calls{9s, {100}}},
     {{0s, "permit:a permit:b", closed, true},
      {10s, "ok:a err:b", closed, {}, counts{2, 1, 2}},
      {10s, "permit:c permit:d permit:e", closed, true},
      {10100ms, "ok:c ok:d ok:e", closed, {}, counts{5, 1, 2}}}},
    {"WIN-04 a window of time empties without new calls",
     {.window = weir::time_window{5s, 5}, .minimum_calls = 10},
     {{0s, "F", {}, {}, counts{1, 1, 0}},
      {100ms, "S", {}, {}, counts{2, 1, 0}},
      {800ms, "F", {}, {}, counts{3, 2, 0}},
      {4800ms, "", {}, {}, counts{3, 2, 0}},
      {5800ms, "", {}, {}, counts{0, 0, 0}},
      {5900ms, "S", {}, {}, counts{1, 0, 0}},
      {10900ms, "S", {}, {}, counts{1, 0, 0}}}},
    {"WIN-05 reading does not evict when the clock is behind",
     {.window = weir::time_window{10s}, .minimum_calls = 20},
     {{10s, "S S S S S S S S S S", {}, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}},
      {8s, "", closed, {}, counts{10, 0, 0}}}},
    {"WIN-07 a bucket leaves when the length of the window has passed since it began",
     {.window = weir::time_window{10s}, .failure_rate = {100}},
     {{0s, "F S"},
      {2s, "", {}, {}, counts{2, 1, 0}},
      {2s, "F S"},
      {4s, "", {}, {}, counts{4, 2, 0}},
      {4s, "S S"},
      {6s, "", {}, {}, counts{6, 2, 0}},
      {6s, "S S"},
      {8s, "", {}, {}, counts{8, 2, 0}},
      {8s, "S S"},
      {10s, "", {}, {}, counts{8, 1, 0}},
      {12s, "", {}, {}, counts{6, 0, 0}}}},
    {"WIN-08 one success a second leaves one a second",
     {.window = weir::time_window{10s}},
     {{0s, "S"},
      {1s, "S"},
      {2s, "S"},
      {3s, "S"},
      {4s, "S"},
      {5s, "S"},
      {6s, "S"},
      {7s, "S"},
      {8s, "S"},
      {9s, "S"},
      {10s, "", {}, {}, counts{9, 0, 0}},
      {11s, "", {}, {}, counts{8, 0, 0}}}},
    {"regression: a threshold of 100 % is reached by 100 %",
     {.window = weir::count_window{3}, .failure_rate = {1, 1}},
     {{0s, "F F", closed}, {0s, "F", open}}},
    {"regression: an ignored last probe does not leave it half_open for ever",
     {.window = weir::count_window{1}, .open_for = 1s},
     {{0s, "F", open}, {1s, "permit:a", half_open, true}, {1s, "ign:a", half_open}, {1s, "S", closed}}},
    {"regression: an idle half_open breaker that is only looked at does not open again",
     {.window = weir::count_window{1}, .open_for = 1s},
     {{0s, "F", open}, {1s, "", half_open}, {1000s, "", half_open}, {1000s, "S", closed}}},
    {"regression: few but steady probes are not taken for lost",
     {.window = weir::count_window{1}, .open_for = 1s, .probes = 3, .half_open_max_wait = 2s},
     {{0s, "F", open}, {1s, "S", half_open}, {10s, "S", half_open}, {20s, "S", closed}}},
};

void run(const script& s, machine& m) {
  int anonymous = 0;
  for (std::size_t i = 0; i < s.rows.size(); ++i) {
    const row& r = s.rows[i];
    INFO("row " << i << ": " << r.ops);
    m.at(time_point{1000s} + r.at);
    std::istringstream ops{r.ops};
    for (std::string op; ops >> op;) {
      const std::string verb = op.substr(0, op.find(':'));
      const std::string name = op.find(':') == std::string::npos ? "" : op.substr(op.find(':') + 1);
      if (verb == "S" || verb == "F") {
        const std::string call = "#" + std::to_string(anonymous++);
        REQUIRE(m.permit(call));
        m.report(call, verb == "S" ? call_verdict::success : call_verdict::failure);
      } else if (verb == "permit") {
        CHECK(m.permit(name) == r.granted.value_or(true));
      } else if (verb == "to") {
        m.move(name == "open" ? open : closed);
      } else {
        m.report(name, verb == "ok"    ? call_verdict::success
                       : verb == "err" ? call_verdict::failure
                                       : call_verdict::ignore);
      }
    }
    if (r.state) CHECK(weir::to_string(m.state()) == weir::to_string(*r.state));
    if (r.totals) CHECK(m.totals() == *r.totals);
  }
}

struct verdict_row {
  std::string failure, success;  // k/n
  std::string results;
  std::size_t decided_at;
  breaker_state state;
};

// CB-17
const std::vector<verdict_row> verdicts{
    {"-", "-", "F", 1, open},          {"3/3", "-", "FFF", 3, open},     {"2/3", "-", "FSF", 3, open},
    {"2/2", "3/3", "SSF", 3, open},    {"3/5", "3/4", "SFSF", 4, open},  {"-", "2/3", "FSF", 3, open},
    {"1/1", "2/4", "SFFF", 4, open},   {"-", "3/3", "SF", 2, open},      {"3/5", "3/3", "F", 1, open},
    {"-", "-", "S", 1, closed},        {"2/3", "-", "FSS", 3, closed},   {"3/3", "-", "FS", 2, closed},
    {"3/5", "3/4", "SFSS", 4, closed}, {"2/2", "3/3", "SSS", 3, closed}, {"-", "2/3", "FSS", 3, closed},
    {"2/2", "3/4", "SSFS", 4, closed}, {"-", "3/3", "SSS", 3, closed},   {"3/5", "2/2", "SS", 2, closed}};

/// k failures of n reached means n - k + 1 successes are not: the same question asked the other way round.
circuit_breaker_options probing(const verdict_row& r) {
  const auto k = [](const std::string& s) { return static_cast<std::uint32_t>(s[0] - '0'); };
  const auto n = [](const std::string& s) { return static_cast<std::uint32_t>(s[2] - '0'); };
  circuit_breaker_options o{.window = weir::count_window{1}, .open_for = 1s, .probe_successes = 1};
  if (r.success != "-") {
    o.probes = n(r.success);
    o.probe_successes = k(r.success);
  } else if (r.failure != "-") {
    o.probes = n(r.failure);
    o.probe_successes = n(r.failure) - k(r.failure) + 1;
  }
  return o;
}

template <class Machine>
void judge(const verdict_row& r) {
  INFO("failure " << r.failure << ", success " << r.success << ", results " << r.results);
  Machine m{probing(r)};
  m.at(time_point{1s});
  m.move(open);
  m.at(time_point{2s});
  for (std::size_t i = 0; i < r.results.size(); ++i) {
    REQUIRE(m.permit("p"));
    m.report("p", r.results[i] == 'S' ? call_verdict::success : call_verdict::failure);
    CHECK(weir::to_string(m.state()) == weir::to_string(i + 1 == r.decided_at ? r.state : half_open));
  }
}

}  // namespace

TEST_CASE("the shell goes through every script as it stands", "[circuit_breaker][table]") {
  for (const script& s : scripts) {
    INFO(s.name);
    shell_machine m{s.options};
    run(s, m);
  }
}

TEST_CASE("the core goes through every script as it stands", "[circuit_breaker][table]") {
  for (const script& s : scripts) {
    INFO(s.name);
    core_machine m{s.options};
    run(s, m);
  }
}

TEST_CASE("half_open decides at the very call that settles it", "[circuit_breaker][table]") {
  for (const verdict_row& r : verdicts) {
    judge<shell_machine>(r);
    judge<core_machine>(r);
  }
}

TEST_CASE("only legal moves can be made by hand", "[circuit_breaker][table]") {
  // CB-13; rows from, columns to, in the order of breaker_state
  const std::vector<std::string> legal{"yy-yyy", "yyyyyy", "yyyyyy", "yyyyyy", "yyyyyy", "y--yyy"};
  int count = 0;
  for (std::size_t from = 0; from < 6; ++from) {
    for (std::size_t to = 0; to < 6; ++to) {
      manual_clock clock;
      basic_circuit_breaker breaker{{}, clock.source()};
      const auto source = static_cast<breaker_state>(from);
      const auto target = static_cast<breaker_state>(to);
      INFO(weir::to_string(source) << " to " << weir::to_string(target));
      if (source == half_open) breaker.transition_to(open);
      breaker.transition_to(source);
      if (legal[from][to] == 'y') {
        ++count;
        CHECK_NOTHROW(breaker.transition_to(target));
        CHECK(breaker.state_approx() == target);
      } else {
        CHECK_THROWS_AS(breaker.transition_to(target), std::invalid_argument);
        CHECK(breaker.state_approx() == source);
      }
      CHECK(weir::detail::legal_move(source, target) == (legal[from][to] == 'y'));
      if (legal[from][to] != 'y') continue;
      core_machine core{{}};
      if (source == half_open) core.move(open);
      core.move(source);
      core.move(target);
      CHECK(core.state() == target);
    }
  }
  CHECK(count == 33);
}
