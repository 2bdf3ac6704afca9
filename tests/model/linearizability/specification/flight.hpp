// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <compare>
#include <set>
#include <string>
#include <utility>

#include "request.hpp"

namespace weir_model {

enum class flight_verb { run, run_for, run_failing, forget };
enum class flight_word { alone, shared, threw, timed_out, forgotten, nothing };

struct flight_setup {
  int keys = 2;
};

/// single_flight: who comes while a call of the key is listed joins it; the others make one of their own.
///
/// A run is two steps: it joins or lists, then lands.  Every leader gives a value of its own, which names its
/// flight.
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
  [[nodiscard]] static int steps(const operation& o) { return o.verb == flight_verb::forget ? 1 : 2; }

  [[nodiscard]] static bool step(state& s, const flight_event& e) {
    int& listed = s.listed[static_cast<std::size_t>(e.operation.argument)];
    const int mine = e.operation.other;
    if (e.operation.verb == flight_verb::forget) {
      const bool was = std::exchange(listed, 0) != 0;
      return e.allows({was ? flight_word::forgotten : flight_word::nothing, {}});
    }
    int& flight = of(s.flight, e.thread);
    if (e.step == 0) {
      flight = listed != 0 ? listed : mine;
      if (flight != mine) s.joined.insert(flight);
      listed = flight;
      return true;
    }
    const int of_mine = std::exchange(flight, 0);
    if (of_mine != mine) {
      if (!s.landed.contains(of_mine)) {
        return e.operation.verb == flight_verb::run_for && e.allows({flight_word::timed_out, {}});
      }
      return e.allows({s.failed.contains(of_mine) ? flight_word::threw : flight_word::shared, {of_mine}});
    }
    if (listed == mine) listed = 0;
    s.landed.insert(mine);
    if (e.operation.verb == flight_verb::run_failing) {
      s.failed.insert(mine);
      return e.allows({flight_word::threw, {mine}});
    }
    return e.allows({s.joined.contains(mine) ? flight_word::shared : flight_word::alone, {mine}});
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"run", "run_for", "run (its call throws)", "forget"};
    return std::string{names[static_cast<int>(o.verb)]} + " key " + std::to_string(o.argument) +
           (o.verb == flight_verb::forget ? "" : " value " + std::to_string(o.other));
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"alone", "shared", "threw", "timed_out", "forgotten", "nothing"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "listed " + show_list(s.listed) + ", landed " + show_list(s.landed);
  }
};

static_assert(specification<flight_specification>);

}  // namespace weir_model
