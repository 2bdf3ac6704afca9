// SPDX-License-Identifier: BSL-1.0
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

#include "../campaign.hpp"
#include "../specification/breaker.hpp"

namespace weir_model {
namespace {

using operation = breaker_specification::operation;
using answer = breaker_specification::answer;
using verb = breaker_verb;
using word = breaker_word;

struct breaker_component {
  static constexpr const char* name = "circuit_breaker";
  using specification = breaker_specification;
  using setup = breaker_setup;

  static setup draw_setup(dice& roll) { return {.in_a_row = roll(3), .open_for = 10, .probes = 1 + roll(2)}; }

  static std::vector<operation> draw_thread(dice& roll, const setup&, int, int calls) {
    std::vector<operation> all;
    int out = 0;
    for (int i = 0; i < calls; ++i) {
      verb what = roll.one_of({verb::admit, verb::admit, verb::state, verb::advance, verb::advance,
                               verb::reset, verb::force_open});
      if (out > 0 && roll(3) != 0) {
        what = roll.one_of(
            {verb::failure, verb::failure, verb::failure, verb::success, verb::success, verb::ignore});
      }
      if (i == 0 && roll(3) != 0) what = verb::admit;
      out += what == verb::admit                                                      ? 1
             : what == verb::success || what == verb::failure || what == verb::ignore ? -1
                                                                                      : 0;
      all.push_back({what, what == verb::advance ? 10 : 0, 0});
    }
    return all;
  }

  static operation without_value(const operation& o) { return o; }

  template <class Plan>
  static void complete(Plan& p) {
    p.closing = {{verb::state, 0, 0}, {verb::admit, 0, 0}, {verb::stats, 0, 0}};
  }

  static std::string show(const setup& s) {
    return (s.in_a_row > 0 ? "opens at " + std::to_string(s.in_a_row) + " failures in a row"
                           : std::string{"opens when one of two has failed"}) +
           ", open for " + std::to_string(s.open_for) + " ns, probes " + std::to_string(s.probes);
  }
};

weir::circuit_breaker_options options_of(const breaker_setup& setup) {
  weir::circuit_breaker_options o;
  if (setup.in_a_row > 0) {
    o.window = weir::consecutive_failures{static_cast<std::uint32_t>(setup.in_a_row)};
  } else {
    o.window = weir::count_window{2};
  }
  o.minimum_calls = 2;
  o.open_for = weir::duration{setup.open_for};
  o.probes = static_cast<std::uint32_t>(setup.probes);
  return o;
}

/// Its clock is one that the checker orders like any other memory.
class breaker_subject {
 public:
  explicit breaker_subject(const breaker_setup& setup)
      : breaker_{options_of(setup), clock_.source()}, in_a_row_{setup.in_a_row > 0} {}

  answer apply(int thread, const operation& o) {
    auto& permits = of(permits_, thread);
    switch (o.verb) {
      case verb::admit: {
        auto permit = breaker_.try_acquire();
        if (!permit)
          return {word::refused, {permit.error().retry_after.value_or(weir::duration{-1}).count()}};
        permits.push_back(std::move(*permit));
        return {word::admitted, {}};
      }
      case verb::success:
        return report(permits, weir::call_verdict::success);
      case verb::failure:
        return report(permits, weir::call_verdict::failure);
      case verb::ignore:
        return report(permits, weir::call_verdict::ignore);
      case verb::state:
        return {word_of(breaker_.state()), {}};
      case verb::reset:
        breaker_.reset();
        return {word::done, {}};
      case verb::force_open:
        breaker_.force_open();
        return {word::done, {}};
      case verb::advance:
        clock_.advance(weir::duration{o.argument});
        return {word::done, {}};
      case verb::stats: {
        const auto s = breaker_.stats();
        return {
            word::counted,
            {static_cast<long long>(s.late), static_cast<long long>(s.refused),
             static_cast<long long>(s.opened), static_cast<long long>(s.successes),
             static_cast<long long>(s.failures),
             s.state == weir::breaker_state::closed && in_a_row_ ? 0
                                                                 : static_cast<long long>(s.window_calls)}};
      }
    }
    return {};
  }

 protected:
  using breaker = weir::basic_circuit_breaker<weir::testing::manual_clock::view>;
  using permit_list = std::vector<breaker::permit>;

  static word word_of(weir::breaker_state state) {
    switch (state) {
      case weir::breaker_state::open:
        return word::open;
      case weir::breaker_state::half_open:
        return word::half_open;
      case weir::breaker_state::forced_open:
        return word::forced_open;
      default:
        return word::closed;
    }
  }

  static answer report(permit_list& permits, weir::call_verdict verdict) {
    if (permits.empty()) return {word::nothing, {}};
    std::move(permits.front()).report(verdict);
    permits.erase(permits.begin());
    return {word::done, {}};
  }

  weir::testing::manual_clock clock_;
  breaker breaker_;
  bool in_a_row_;
  per_thread<permit_list> permits_{};
};

/// While the time stands still.  Under a weak memory it must: threads need not agree on what came first, a
/// move of the breaker or a reading of the clock.
struct breaker_at_rest : breaker_component {
  static std::vector<operation> draw_thread(dice& roll, const setup& s, int thread, int calls) {
    auto all = breaker_component::draw_thread(roll, s, thread, calls);
    for (operation& o : all) {
      if (o.verb == verb::advance) o = {verb::state, 0, 0};
    }
    return all;
  }
};

/// Planted: a result counts for whatever generation there is by then.
class forgetful_breaker : public breaker_subject {
 public:
  using breaker_subject::breaker_subject;
  answer apply(int thread, const operation& o) {
    const bool reports = o.verb == verb::success || o.verb == verb::failure;
    auto& permits = of(permits_, thread);
    if (!reports || permits.empty()) return breaker_subject::apply(thread, o);
    permits.erase(permits.begin());
    auto another = breaker_.try_acquire();
    if (another) {
      std::move(*another).report(o.verb == verb::success ? weir::call_verdict::success
                                                         : weir::call_verdict::failure);
    }
    return {word::done, {}};
  }
};

}  // namespace

campaigns judge_breaker(const campaign_options& options) {
  const auto wanted = [](const breaker_setup& s) { return breaker_specification{s, false}; };
  using component = breaker_component;
  return {
      campaign<component, breaker_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<breaker_at_rest, breaker_subject>(options, weak(options), "histories by happens-before",
                                                 wanted),
      campaign<component, forgetful_breaker>(options, consistent(options), "planted: late results count",
                                             wanted, true),
  };
}

}  // namespace weir_model
