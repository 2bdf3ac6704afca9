// SPDX-License-Identifier: BSL-1.0
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <weir/single_flight.hpp>

#include "../campaign.hpp"
#include "../specification/flight.hpp"

namespace weir_model {
namespace {

using operation = flight_specification::operation;
using answer = flight_specification::answer;
using verb = flight_verb;
using word = flight_word;

struct flight_component {
  static constexpr const char* name = "single_flight";
  using specification = flight_specification;
  using setup = flight_setup;

  static setup draw_setup(dice& roll) { return {.keys = 1 + roll(2)}; }

  static std::vector<operation> draw_thread(dice& roll, const setup& s, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what =
          roll.one_of({verb::run, verb::run, verb::run, verb::run_for, verb::run_failing, verb::forget});
      all.push_back({what, roll(s.keys), what == verb::forget ? 0 : value_of(thread, all.size())});
    }
    return all;
  }

  static operation without_value(operation o) {
    o.other = 0;
    return o;
  }

  template <class Plan>
  static void complete(Plan& p) {
    for (int key = 0; key < p.setup.keys; ++key) p.closing.push_back({verb::forget, key, 0});
  }

  static std::string show(const setup& s) { return "keys " + std::to_string(s.keys); }
};

class flight_subject {
 public:
  explicit flight_subject(const flight_setup&) {}

  template <class Split>
  answer apply(int, const operation& o, const Split& split) {
    if (o.verb == verb::forget) return {flights_.forget(o.argument) ? word::forgotten : word::nothing, {}};
    const weir::deadline until = o.verb == verb::run_for
                                     ? weir::deadline::after(weir::steady_clock::now(), weir::duration{10})
                                     : weir::deadline::never();
    const bool fails = o.verb == verb::run_failing;
    try {
      const auto result = flights_.run(
          o.argument,
          [&] {
            split(answer{word::leads, {}},
                  operation{fails ? verb::land_failing : verb::land, o.argument, o.other});
            if (fails) throw failure_of{o.other};
            return o.other;
          },
          until);
      if (!result) return {word::timed_out, {}};
      return {result->shared ? word::shared : word::alone, {result->value}};
    } catch (const failure_of& failed) {
      return {word::threw, {failed.value}};
    }
  }

 private:
  weir::single_flight<int, int> flights_;
};

/// Planted: a result stays and answers callers who come when its call has ended.
class lingering_flight {
 public:
  explicit lingering_flight(const flight_setup& setup) : inner_{setup} {}

  template <class Split>
  answer apply(int thread, const operation& o, const Split& split) {
    {
      const std::lock_guard lock{mutex_};
      const auto kept = kept_.find(o.argument);
      if (kept != kept_.end() && o.verb == verb::run) return {word::shared, {kept->second}};
    }
    const answer given = inner_.apply(thread, o, split);
    if (given.word == word::shared) {
      const std::lock_guard lock{mutex_};
      kept_[o.argument] = static_cast<int>(given.values.front());
    }
    return given;
  }

 private:
  flight_subject inner_;
  std::mutex mutex_;
  std::map<int, int> kept_;  // guarded by mutex_
};

}  // namespace

campaigns judge_flight(const campaign_options& options) {
  const auto wanted = [](const flight_setup& s) { return flight_specification{s}; };
  using component = flight_component;
  return {
      campaign<component, flight_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<component, flight_subject>(options, weak(options), "histories by happens-before", wanted),
      campaign<component, lingering_flight>(options, consistent(options), "planted: a result that stays",
                                            wanted, true),
  };
}

}  // namespace weir_model
