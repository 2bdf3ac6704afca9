// SPDX-License-Identifier: BSL-1.0
// Many scenarios of one component, and what they came to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generator.hpp"
#include "trial.hpp"

namespace weir_model {

/// What a loader or call that is to fail throws.
struct failure_of {
  int value;
};

struct campaign_options {
  int scenarios = 60;
  std::uint64_t seed = 1;
  int preemptions = 2;
  long executions = 600;  ///< of a scenario, at most; then half as many at random.  Weak: half of both
};

struct campaign_result {
  std::string component;
  std::string name;  ///< what was judged, and in which order
  int preemptions = 0;
  long random = 0;       ///< random executions of each scenario
  bool planted = false;  ///< a bug that must be found
  int scenarios = 0;
  int violations = 0;  ///< scenarios with one
  int complete = 0;    ///< scenarios of which everything within the bound was explored
  long executions = 0;
  long histories = 0;
  long calls = 0;
  double seconds = 0;
  std::string first_violation;  ///< scenario, history and trace

  [[nodiscard]] bool as_expected() const { return scenarios > 0 && (violations > 0) == planted; }
};

/// Judges what `Subject` does by `wanted(setup)`, in `options.scenarios` scenarios; a planted bug until it is
/// found.
template <class Component, class Subject, class Wanted>
[[nodiscard]] campaign_result campaign(const campaign_options& options, bounds limits, std::string name,
                                       Wanted wanted, bool planted = false) {
  campaign_result all;
  all.component = Component::name;
  all.name = std::move(name);
  all.planted = planted;
  all.preemptions = limits.preemptions;
  all.random = limits.random_executions;
  generator<Component> draw{options.seed};
  while (all.scenarios < options.scenarios && !(planted && all.violations > 0)) {
    const auto drawn = draw.next();
    if (!drawn) break;
    ++all.scenarios;
    const auto specification = wanted(drawn->setup);
    const trial_result one = try_out<Component, Subject>(*drawn, specification, limits);
    all.executions += one.explored.executions;
    all.histories += one.histories;
    all.calls += one.calls;
    all.seconds += one.explored.seconds;
    if (one.explored.failure.empty()) {
      all.complete += one.explored.complete ? 1 : 0;
      continue;
    }
    if (all.violations++ == 0) {
      all.first_violation = "scenario " + std::to_string(all.scenarios) + " of seed " +
                            std::to_string(options.seed) + ", " + all.component + ", " + all.name + ":\n" +
                            drawn->show() + "failure: " + one.explored.failure + '\n' + one.violation +
                            "execution:\n" + one.explored.trace;
    }
  }
  return all;
}

/// Sequentially consistent executions, ordered by real time.
[[nodiscard]] inline bounds consistent(const campaign_options& options) {
  return {.preemptions = options.preemptions,
          .weak = false,
          .executions = options.executions,
          .random_executions = options.executions / 2};
}

/// All that the memory model allows, ordered by happens-before.
[[nodiscard]] inline bounds weak(const campaign_options& options) {
  return {.preemptions = options.preemptions,
          .weak = true,
          .executions = options.executions / 2,
          .random_executions = options.executions / 4};
}

/// The campaigns of a component, its planted bugs among them.
using campaigns = std::vector<campaign_result>;
campaigns judge_queue(const campaign_options&);
campaigns judge_gate(const campaign_options&);
campaigns judge_lease(const campaign_options&);
campaigns judge_bucket(const campaign_options&);
campaigns judge_breaker(const campaign_options&);
campaigns judge_flight(const campaign_options&);
campaigns judge_cache(const campaign_options&);
campaigns judge_keyed(const campaign_options&);
campaigns judge_batch(const campaign_options&);

}  // namespace weir_model
