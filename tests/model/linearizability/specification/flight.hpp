// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <compare>
#include <set>
#include <string>
#include <utility>

#include "request.hpp"

namespace weir_model {

enum class flight_verb { run, run_for, run_failing, land, land_failing, forget };
enum class flight_word { leads, alone, shared, threw, timed_out, forgotten, nothing };

struct flight_setup {
  int keys = 2;
};

/// single_flight: who comes while a call of the key is listed joins it; the others make one of their own.
///
/// A run is two steps: it joins a flight, then gets what that gives.  Where it leads instead, it ends
/// when its own call begins, and what follows is another call, that of `land`.  Every leader gives a
/// value of its own, which names its flight.
class flight_specification {
 public:
  using operation = request<flight_verb>;  // key, value
  using answer = reply<flight_word>;
  using flight_event = event<operation, answer>;

  struct state {
    std::array<int, 3> listed{};  // by key; 0: none
    std::set<int> joined{};
    std::set<int> landed{};
    std::set<int> failed{};
    per_thread<int> flight{};  // that a call between its steps is on
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit flight_specification(const flight_setup&) {}

  [[nodiscard]] static state initial() { return {}; }
  [[nodiscard]] static int steps(const operation& o) { return o.verb <= flight_verb::run_failing ? 2 : 1; }

  [[nodiscard]] static bool step(state& s, const flight_event& e) {
    int& listed = s.listed[static_cast<std::size_t>(e.operation.argument)];
    const int mine = e.operation.other;
    if (e.operation.verb == flight_verb::forget) {
      const bool was = std::exchange(listed, 0) != 0;
      return e.allows({was ? flight_word::forgotten : flight_word::nothing, {}});
    }
    if (e.operation.verb == flight_verb::land || e.operation.verb == flight_verb::land_failing) {
      if (listed == mine) listed = 0;
      s.landed.insert(mine);
      if (e.operation.verb == flight_verb::land) {
        return e.allows({s.joined.contains(mine) ? flight_word::shared : flight_word::alone, {mine}});
      }
      s.failed.insert(mine);
      return e.allows({flight_word::threw, {mine}});
    }
    int& flight = of(s.flight, e.thread);
    if (e.step == 0) {
      const bool leads = listed == 0;
      if (leads) listed = mine;
      if (!leads) s.joined.insert(listed);
      flight = leads ? 0 : listed;
      return !leads || e.allows({flight_word::leads, {}});
    }
    const int joined = std::exchange(flight, 0);
    if (joined == 0) return true;
    if (s.landed.contains(joined)) {
      return e.allows({s.failed.contains(joined) ? flight_word::threw : flight_word::shared, {joined}});
    }
    return e.operation.verb == flight_verb::run_for && e.allows({flight_word::timed_out, {}});
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"run",  "run_for",       "run (its call throws)",
                                            "land", "land (throws)", "forget"};
    return std::string{names[static_cast<int>(o.verb)]} + " key " + std::to_string(o.argument) +
           (o.verb == flight_verb::forget ? "" : " value " + std::to_string(o.other));
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"leads",     "alone",     "shared", "threw",
                                            "timed_out", "forgotten", "nothing"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "listed " + show_list(s.listed) + ", landed " + show_list(s.landed);
  }
};

static_assert(specification<flight_specification>);

}  // namespace weir_model
