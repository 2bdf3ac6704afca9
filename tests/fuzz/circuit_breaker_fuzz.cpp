// SPDX-License-Identifier: BSL-1.0
// Calls, results, lost permits, moves by hand, other options and clocks that step, against the literal
// breaker.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>

#include "circuit_breaker/reference.hpp"
#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using weir::breaker_state;
using weir::call_verdict;
using weir::duration;
using kind = literal_breaker::kind;

struct recorder {
  std::vector<std::pair<breaker_state, breaker_state>>* moves;
  std::uint64_t* refused;
  void on_refused(const weir::refusal&) noexcept { ++*refused; }
  void on_transition(breaker_state from, breaker_state to) noexcept { moves->emplace_back(from, to); }
};

/// Options, for the breaker and for the reference.
struct setting {
  weir::circuit_breaker_options options;
  literal_breaker model;
};

setting draw(input& in) {
  literal_breaker m{.window = static_cast<kind>(in.below(3)),
                    .size = in.within<std::int64_t>(1, 12),
                    .minimum = in.within<std::int64_t>(1, 12),
                    .percent = in.within<std::int64_t>(1, 100),
                    .open_for = in.within<std::int64_t>(1, 100),
                    .cap = std::int64_t{1} << 40U,
                    .probes = in.within<std::int64_t>(1, 4),
                    .needed = std::nullopt,
                    .max_wait = std::nullopt};
  m.width = in.pick<std::int64_t>({10, 1, 7, 1000});
  m.factor = in.pick<std::int64_t>({1, 2, 3, 10});
  const unsigned extras = in.byte();
  if ((extras & 1U) != 0) m.cap = m.open_for + in.byte();
  if ((extras & 2U) != 0) m.needed = in.within<std::int64_t>(1, m.probes);
  if ((extras & 4U) != 0) m.max_wait = in.within<std::int64_t>(1, 200);
  if ((extras & 8U) != 0 && m.window != kind::run) m.slow_percent = in.within<std::int64_t>(1, 100);

  const auto small = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
  weir::circuit_breaker_options o{.failure_rate = {small(m.percent)},
                                  .minimum_calls = small(m.minimum),
                                  .open_for = duration{m.open_for},
                                  .open_for_factor = static_cast<double>(m.factor),
                                  .open_for_max = duration{m.cap},
                                  .probes = small(m.probes)};
  if (m.needed) o.probe_successes = small(*m.needed);
  if (m.max_wait) o.half_open_max_wait = duration{*m.max_wait};
  m.slow_after = in.below(20);
  if (m.slow_percent) {
    m.one_rate = (extras & 16U) != 0;
    if ((extras & 32U) != 0) m.watched = in.within<std::int64_t>(1, 4);
    o.slow = weir::slow_calls{duration{m.slow_after}, {small(*m.slow_percent)}, m.one_rate, small(m.watched)};
  }
  if ((extras & 64U) != 0) m.ramp = in.within<std::int64_t>(1, 300);
  o.ramp = duration{m.ramp};
  if (m.window == kind::count) o.window = weir::count_window{small(m.size)};
  if (m.window == kind::time) o.window = weir::time_window{duration{m.width * m.size}, small(m.size)};
  if (m.window == kind::run) o.window = weir::consecutive_failures{small(m.size)};
  return {o, m};
}

class game {
  using breaker_type = weir::basic_circuit_breaker<leaping_clock::view, recorder>;
  struct held {
    breaker_type::permit permit;
    int generation;
    std::optional<std::int64_t> began;
    int id;
  };

 public:
  explicit game(input& in) : in_{in}, setting_{draw(in)}, model_{setting_.model} {
    clock_.now = weir::time_point{duration{in.magnitude() >> 2}};  // far from the ends of time
    breaker_.emplace(setting_.options, clock_.source(), recorder{&moves_, &told_});
  }

  void play() {
    while (!in_.empty()) {
      const int steps = in_.below(8);
      clock_.now += duration{steps < 5    ? steps
                             : steps == 5 ? in_.byte()
                             : steps == 6 ? in_.byte() * 37
                                          : -in_.byte()};
      step();
      compare();
    }
    permits_.clear();
  }

 private:
  [[nodiscard]] std::int64_t now() const { return clock_.now.time_since_epoch().count(); }

  void step() {
    switch (in_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return admit();
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
      case 10:
        return report();
      case 11: {
        const breaker_state seen = breaker_->state_at(clock_.now);
        model_.look(now());
        return expect(seen == model_.state, "the state that is told is the state");
      }
      case 12:
        return move();
      case 13:
        if (in_.below(4) == 0) reconfigure();
        return;
      case 14:
        return expect(breaker_->is_as_new_at(clock_.now) == (!reconfigured_ && model_.is_as_new(now())),
                      "as new if nothing that it holds will count");
      default:
        return call();
    }
  }

  /// Admission as the reference sees it; when a probe may pass, if that is known.
  bool admitted(std::optional<duration>& after) {
    const bool yes = model_.admit(now());
    refused_ += yes ? 0U : 1U;
    after = model_.state == breaker_state::open ? duration{model_.since + model_.wait - now()}
            : model_.climbing()                 ? duration{model_.climbs_until - model_.latest}
                                                : duration{0};
    return yes;
  }

  [[nodiscard]] std::optional<std::int64_t> beginning(breaker_state before) const {
    const bool clocked = before == breaker_state::open || before == breaker_state::half_open ||
                         (model_.slow_percent && before != breaker_state::disabled);
    return clocked ? std::optional{now()} : std::nullopt;
  }

  void admit() {
    const breaker_state before = model_.state;
    std::optional<duration> after;
    const bool expected = admitted(after);
    auto got = breaker_->try_acquire();
    expect(got.has_value() == expected, "admitted as the reference admits");
    if (!got) {
      expect(got.error().reason == weir::refusal_reason::circuit_open, "refused because it is open");
      expect(got.error().retry_after == after, "refused until the next probe");
      return;
    }
    permits_.push_back({std::move(*got), model_.generation, beginning(before), model_.admitted});
  }

  void record(int generation, std::optional<std::int64_t> began, int id, call_verdict verdict) {
    const bool slow = model_.slow_percent && began && now() - *began > model_.slow_after;
    const bool bypassed = model_.state == breaker_state::disabled;
    if (!model_.report(generation, now(), verdict, slow, id)) {
      ++late_;
    } else if (!bypassed) {
      ++(verdict == call_verdict::ignore    ? ignored_
         : verdict == call_verdict::failure ? failed_
                                            : succeeded_);
      slow_ += slow && verdict != call_verdict::ignore ? 1U : 0U;
    }
  }

  void report() {
    if (permits_.empty()) return;
    const auto which =
        permits_.begin() + in_.below(static_cast<int>(std::min<std::size_t>(permits_.size(), 256)));
    const int how = in_.below(8);
    const call_verdict verdict = how < 3   ? call_verdict::success
                                 : how < 6 ? call_verdict::failure
                                           : call_verdict::ignore;
    record(which->generation, which->began, which->id, verdict);
    if (how != 7) std::move(which->permit).report(verdict);
    permits_.erase(which);  // dropped, if it has not been reported on
  }

  void call() {
    const breaker_state before = model_.state;
    std::optional<duration> after;
    const bool expected = admitted(after);
    const int generation = model_.generation;
    const auto began = beginning(before);
    const int id = model_.admitted;
    const int how = in_.below(6);
    const duration takes{in_.below(32)};
    bool ran = false;
    try {
      const auto got = breaker_->call([&]() -> weir::outcome<int> {
        ran = true;
        clock_.now += takes;
        if (how == 0) throw std::runtime_error{"down"};
        if (how == 1) return weir::refusal{weir::refusal_reason::timed_out};
        if (how == 2) return weir::refusal{weir::refusal_reason::busy};
        return 7;
      });
      expect(got.has_value() == (expected && how > 2) && (how != 0 || !expected),
             "a call ends as its function does");
    } catch (const std::runtime_error&) {
      expect(how == 0, "a call throws what its function throws");
    }
    expect(ran == expected, "a call is made if it is admitted");
    if (!expected) return;
    record(generation, began, id,
           how < 2    ? call_verdict::failure
           : how == 2 ? call_verdict::ignore
                      : call_verdict::success);
  }

  void move() {
    const int which = in_.below(8);
    const auto to = static_cast<breaker_state>(which);
    const std::int64_t until = now() + in_.byte() - 64;
    const bool legal = which < 6 ? model_.move(to, now()) : model_.open_until(until, now());
    try {
      if (which < 6) {
        breaker_->transition_to(to);
      } else {
        breaker_->open_until(weir::time_point{duration{until}});
      }
      expect(legal, "a move that there is not is refused");
    } catch (const std::invalid_argument&) {
      expect(!legal, "a move that there is is made");
    }
  }

  void reconfigure() {
    const setting next = draw(in_);
    breaker_->reconfigure(next.options);
    model_.reconfigure(next.model);
    reconfigured_ = true;
  }

  void compare() {
    expect(breaker_->state_approx() == model_.state, "the state is that of the reference");
    expect(moves_ == model_.told, "each move is told of once, in order");
    if (!in_.flag()) return;
    const auto s = breaker_->stats();
    const auto in_window = model_.state == breaker_state::half_open
                               ? model_.reported()
                               : model_.in_window(std::max(model_.latest, now()));
    const auto same = [](std::uint64_t a, std::int64_t b) { return a == static_cast<std::uint64_t>(b); };
    expect(s.successes == succeeded_ && s.failures == failed_, "the counts of results are right");
    expect(s.ignored == ignored_ && s.late == late_ && s.slow == slow_, "so are those of the others");
    expect(s.refused == refused_ && told_ == refused_ && same(s.opened, model_.opened), "and of refusals");
    expect(s.state == model_.state && s.events_lost == 0, "the state in the row is the state");
    expect(same(s.window_calls, in_window.all) && same(s.window_failed, in_window.failed) &&
               same(s.window_slow, in_window.slow),
           "the window holds what the reference holds");
  }

  input& in_;
  setting setting_;
  literal_breaker model_;
  leaping_clock clock_;
  std::vector<std::pair<breaker_state, breaker_state>> moves_;
  std::uint64_t told_ = 0, refused_ = 0, late_ = 0, ignored_ = 0, failed_ = 0, succeeded_ = 0, slow_ = 0;
  bool reconfigured_ = false;
  std::optional<breaker_type> breaker_;
  std::vector<held> permits_;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
