// SPDX-License-Identifier: BSL-1.0
// Calls that fail in every way, with hints, deadlines, stops and clocks that wake late, attempt by attempt
// and sleep by sleep.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/retry.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "retry/reference.hpp"

namespace weir_test {
namespace {

using std::chrono::milliseconds;
using weir::duration;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;

struct down {
  int number;
};
struct confused {};

/// Judges exceptions by their number: one in four is final, one asks for time, one confuses the classifier.
struct picky {
  [[nodiscard]] weir::retry_verdict operator()(const std::exception_ptr& error) const {
    try {
      std::rethrow_exception(error);
    } catch (const down& what) {
      if (what.number % 4 == 1) return false;
      if (what.number % 4 == 2) return {true, milliseconds{what.number}};
      if (what.number % 16 == 3) throw confused{};
      return true;
    }
  }
};

class game {
  using retry_type = weir::basic_retry<leaping_clock::view, picky>;
  enum class end : std::uint8_t { none, succeeded, final, exhausted, late, broke, cancelled, confused };

 public:
  explicit game(input& in)
      : in_{in}, most_{in.within<std::uint32_t>(1, 6)}, factor_{in.within(1, 4)}, growth_{in.below(3)} {
    weir::basic_retry_options<leaping_clock::view> options{
        .max_attempts = in.below(8) == 7 ? weir::unlimited_attempts : most_};
    if (options.max_attempts == weir::unlimited_attempts) most_ = weir::unlimited_attempts;
    options.backoff = {
        .growth = static_cast<weir::backoff_growth>(growth_),
        .base = milliseconds{in.below(20)},
        .factor = static_cast<double>(factor_),
        .cap = milliseconds{20 + in.byte()},
        .jitter = in.flag() ? weir::backoff_jitter::none : static_cast<weir::backoff_jitter>(in.below(5)),
        .proportion = in.byte() / 255.0};
    options.seed = in.byte();
    backoff_ = options.backoff;
    switch (in.below(3)) {
      case 0:
        options.budget = weir::no_retry_budget{};
        break;
      case 1: {
        const weir::token_budget form{.capacity = in.byte() / 8U, .per_success = in.below(9) / 8.0};
        budget_ = naive_budget::tokens(form.capacity, form.per_success);
        options.budget = form;
        break;
      }
      default: {
        const weir::window_budget form{.window = milliseconds{in.within(1, 256)},
                                       .ratio = in.below(9) / 8.0,
                                       .min_per_second = in.byte()};
        budget_ = naive_budget::window(form.window.count(), form.ratio, form.min_per_second);
        options.budget = form;
      }
    }
    retry_.emplace(options, clock_.source());
    clock_.meanwhile = [this] { sleeping(); };
  }

  void play() {
    while (!in_.empty()) {
      clock_.now += milliseconds{in_.below(4) == 0 ? in_.byte() : in_.below(4)};
      call();
    }
  }

 private:
  [[nodiscard]] std::int64_t now() const { return clock_.now.time_since_epoch().count(); }

  /// While the policy sleeps: its caller may lose patience, and the clock may be slow to wake it.
  void sleeping() {
    slept_from_ = clock_.now;
    if (in_.below(16) == 15) stop_->request_stop();
    oversleeps_ = in_.below(8) == 7;
    if (oversleeps_) clock_.now += milliseconds{in_.byte()};
  }

  /// The delay without jitter.
  [[nodiscard]] duration plain(std::uint32_t step) const {
    duration d = backoff_.base;
    for (std::uint32_t i = 0; i < step && d < backoff_.cap; ++i) {
      if (growth_ == 1) d += backoff_.base;
      if (growth_ == 2) d *= factor_;
      if (d == duration{0} || growth_ == 0) break;
    }
    return std::min(backoff_.cap, d);
  }

  /// What an attempt will do, and what the policy is to make of it.
  struct attempt {
    int kind;
    int number;
    duration hint;
    bool endless;  // a refusal for ever
  };
  attempt draw() {
    return {in_.below(10), in_.byte(), milliseconds{in_.below(4) == 0 ? in_.byte() : 0}, in_.below(16) == 15};
  }

  void call() {
    std::stop_source stop;
    stop_ = &stop;
    if (in_.below(16) == 15) stop.request_stop();
    const weir::deadline until =
        in_.flag() ? weir::deadline::never() : weir::deadline{clock_.now + milliseconds{in_.byte() - 4}};
    end expected = stop.stop_requested() ? end::cancelled : until.reached(clock_.now) ? end::late : end::none;
    const bool tried = expected == end::none;
    std::uint32_t made = 0, step = 0;
    attempt last{};
    std::optional<duration> pause;  // before the next attempt; none if the jitter draws it
    bool stops = false;
    const auto f = [&](std::uint32_t number) -> weir::outcome<int> {
      if (made != 0) check_pause(pause, until, stop);
      ++made;
      expect(expected == end::none && number == std::min(made, most_),
             "another attempt is made if there is to be one");
      last = draw();
      clock_.now += milliseconds{in_.below(3)};
      stops = in_.below(16) == 15;
      if (stops) stop.request_stop();
      expected = judge(last, made, step, pause, until, stop);
      slept_from_.reset();
      if (last.kind < 3) return last.number;
      if (last.kind < 7) throw down{last.number};
      const refusal_reason why = last.kind < 9 ? refusal_reason::busy : refusal_reason::closed;
      return last.endless ? weir::refused_for_ever(why) : refusal{why, last.hint};
    };
    try {
      const auto got = retry_->call(f, until, stop.get_token());
      if (tried) settle(expected, pause, until, stop);
      expect((made > 0) == tried, "a call is tried if it may be");
      expect(got.has_value() == (tried && last.kind < 3), "the last result comes out");
      if (got) expect(*got == last.number && expected == end::succeeded, "a value ends the call");
      if (!tried) {
        expect(got.error().reason ==
                   (expected == end::late ? refusal_reason::timed_out : refusal_reason::cancelled),
               "a call that was never tried is told why");
      } else if (!got) {
        expect(last.kind >= 7 &&
                   got.error().reason == (last.kind < 9 ? refusal_reason::busy : refusal_reason::closed),
               "the last refusal comes out");
      }
    } catch (const down& what) {
      settle(expected, pause, until, stop);
      expect(last.kind >= 3 && last.kind < 7 && what.number == last.number, "the last exception comes out");
    } catch (const confused&) {
      expect(expected == end::confused, "what the classifier throws comes out");
    }
    count(expected);
    compare();
  }

  /// After an attempt: how the call ends, or for how long it sleeps.
  end judge(const attempt& a, std::uint32_t made, std::uint32_t& step, std::optional<duration>& pause,
            weir::deadline until, const std::stop_source& stop) {
    if (a.kind < 3) {
      if (budget_) budget_->deposit(now());
      return end::succeeded;
    }
    bool again = true;
    duration after{0};
    if (a.kind < 7) {
      if (a.number % 16 == 3) return end::confused;
      again = a.number % 4 != 1;
      if (a.number % 4 == 2) after = milliseconds{a.number};
    } else {
      again = a.kind < 9 && !a.endless;
      after = a.endless ? duration{0} : a.hint;
    }
    if (!again) return end::final;
    const bool drawn = backoff_.jitter != weir::backoff_jitter::none;
    least_ = after;
    const duration own = plain(step);
    pause = drawn ? std::nullopt : std::optional{std::max(own, after)};
    step = after > duration{0} ? 0 : step + 1;
    if (made >= most_ && most_ != weir::unlimited_attempts) return end::exhausted;
    if (stop.stop_requested()) return end::cancelled;
    if (drawn) return end::none;  // the draw decides; what it decided is judged by what was done
    if (until.reached(clock_.now + *pause)) return end::late;
    if (budget_ && !budget_->withdraw(now())) return end::broke;
    withdrawn_at_ = now();
    planned_ = clock_.now + *pause;
    return end::none;
  }

  /// Before another attempt: the sleep was as long as it should be.
  void check_pause(const std::optional<duration>& pause, weir::deadline until, const std::stop_source& stop) {
    expect(!until.reached(clock_.now), "no attempt begins at the deadline or after it");
    expect(!stop.stop_requested() || (pause && *pause == duration{0}), "no attempt follows a stop");
    if (pause) {
      if (slept_from_ || *pause > duration{0}) {
        expect(slept_from_.has_value() == (*pause > duration{0}) && clock_.now >= planned_,
               "the pause is the back-off");
        if (!oversleeps_) expect(clock_.now == planned_, "and no longer");
      }
    } else {
      const time_point from = slept_from_.value_or(clock_.now);
      expect(clock_.now - from >= least_, "a hint is obeyed");
      if (!oversleeps_)
        expect(clock_.now - from <= std::max(least_, backoff_.cap), "no delay of ours is above the cap");
      if (budget_) expect(budget_->withdraw(from.time_since_epoch().count()), "a retry is paid for");
    }
  }

  /// The call ended while or before it slept for another attempt: why, and what became of the retry that was
  /// paid for.
  void settle(end& expected, const std::optional<duration>& pause, weir::deadline until,
              const std::stop_source& stop) {
    if (expected != end::none) return;
    if (!pause) return drawn_end(expected, until, stop);
    expect(slept_from_.has_value(), "only out of a sleep");
    expected = stop.stop_requested() ? end::cancelled : end::late;
    expect(stop.stop_requested() || until.reached(clock_.now), "a sleep ends for a reason");
    if (budget_) budget_->refund(now(), withdrawn_at_);
  }

  /// The same where the jitter decides: the counts say which it was.
  void drawn_end(end& expected, weir::deadline until, const std::stop_source& stop) {
    const auto s = retry_->stats();
    if (s.out_of_budget != broke_) {
      expected = end::broke;
      return expect(budget_ && !budget_->withdraw(now()), "out of budget only if it is spent");
    }
    expected = s.cancelled != cancelled_ ? end::cancelled : end::late;
    if (!slept_from_) {
      const bool possible = until.reached(clock_.now + std::max(least_, backoff_.cap));
      return expect(expected == end::late && possible, "late only if a delay may lead to the deadline");
    }
    expect(expected == end::cancelled ? stop.stop_requested() : until.reached(clock_.now),
           "a sleep ends for a reason");
    if (budget_) {
      const std::int64_t from = slept_from_->time_since_epoch().count();
      expect(budget_->withdraw(from), "a retry is paid for");
      budget_->refund(now(), from);
    }
  }

  void count(end e) {
    succeeded_ += e == end::succeeded ? 1U : 0U;
    final_ += e == end::final ? 1U : 0U;
    exhausted_ += e == end::exhausted ? 1U : 0U;
    late_ += e == end::late ? 1U : 0U;
    broke_ += e == end::broke ? 1U : 0U;
    cancelled_ += e == end::cancelled ? 1U : 0U;
  }

  void compare() {
    const auto s = retry_->stats();
    expect(s.succeeded == succeeded_ && s.not_retryable == final_ && s.exhausted == exhausted_,
           "the counts are right");
    expect(s.past_deadline == late_ && s.out_of_budget == broke_ && s.cancelled == cancelled_, "all of them");
    if (budget_)
      expect(retry_->budget()->available_approx() == budget_->available(now()),
             "the budget is as it should be");
  }

  input& in_;
  leaping_clock clock_;
  std::uint32_t most_;
  const int factor_;
  const int growth_;
  weir::backoff_options backoff_;
  std::optional<naive_budget> budget_;
  std::optional<retry_type> retry_;
  std::stop_source* stop_ = nullptr;
  std::optional<time_point> slept_from_;  // the latest sleep, if there was one since the latest attempt
  time_point planned_;                    // when it was to end
  std::int64_t withdrawn_at_ = 0;
  duration least_{};
  bool oversleeps_ = false;
  std::uint64_t succeeded_ = 0, final_ = 0, exhausted_ = 0, late_ = 0, broke_ = 0, cancelled_ = 0;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
