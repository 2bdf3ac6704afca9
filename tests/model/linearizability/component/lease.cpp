// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>

#include "../campaign.hpp"
#include "../specification/leases.hpp"

namespace weir_model {
namespace {

using operation = lease_specification::operation;
using answer = lease_specification::answer;
using verb = lease_verb;
using word = lease_word;

struct lease_component {
  static constexpr const char* name = "task_gate";
  using specification = lease_specification;
  using setup = lease_setup;

  static setup draw_setup(dice& roll) { return {.capacity = 1 + roll(2), .lease = 10}; }

  static std::vector<operation> draw_thread(dice& roll, const setup& s, int, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what = roll.one_of({verb::try_enter, verb::try_enter, verb::try_enter, verb::leave,
                                     verb::leave, verb::holds, verb::running, verb::advance, verb::advance});
      all.push_back({what,
                     what == verb::try_enter ? 1 + roll(s.capacity)
                     : what == verb::advance ? 5 + 5 * roll(2)
                                             : 0,
                     0});
    }
    return all;
  }

  static operation without_value(const operation& o) { return o; }

  template <class Plan>
  static void complete(Plan& p) {
    p.closing = {{verb::running, 0, 0}, {verb::advance, 10, 0}, {verb::running, 0, 0}};
  }

  static std::string show(const setup& s) {
    return "capacity " + std::to_string(s.capacity) + ", a lease of " + std::to_string(s.lease) + " ns";
  }
};

class leased_gate {
 public:
  explicit leased_gate(const lease_setup& setup)
      : gate_{weir::task_gate_options{.capacity = static_cast<std::uint32_t>(setup.capacity),
                                      .lease = weir::duration{setup.lease}}} {}

  answer apply(int thread, const operation& o) {
    auto& mine = of(passes_, thread);
    switch (o.verb) {
      case verb::try_enter: {
        auto pass = gate_.try_enter(static_cast<std::uint32_t>(o.argument));
        if (!pass) return {word::busy, {}};
        mine.push_back(std::move(*pass));
        return {word::entered, {static_cast<long long>(mine.back().number())}};
      }
      case verb::leave:
        if (!mine.empty()) mine.pop_back();
        return {word::left, {}};
      case verb::holds:
        return {!mine.empty() && mine.back() ? word::yes : word::no, {}};
      case verb::running:
        return {word::running, {gate_.stats().running}};
      case verb::advance:
        advance(o.argument);
        return {word::done, {}};
    }
    return {};
  }

 private:
  weir::task_gate gate_;
  per_thread<std::vector<weir::task_gate::pass>> passes_{};
};

/// Planted: who leaves gives back a unit, although its lease has ended and given it back already.
class generous_gate {
 public:
  explicit generous_gate(const lease_setup& setup) : setup_{setup}, free_{setup.capacity} {}

  answer apply(int thread, const operation& o) {
    const std::lock_guard lock{mutex_};
    for (auto& all : holds_) {
      for (auto& [units, ends] : all) {
        if (ends == 0 || virtual_time() < ends) continue;
        free_ += units;
        ends = 0;
      }
    }
    auto& mine = of(holds_, thread);
    switch (o.verb) {
      case verb::try_enter:
        if (free_ < o.argument) return {word::busy, {}};
        free_ -= o.argument;
        mine.emplace_back(o.argument, virtual_time() + setup_.lease);
        return {word::entered, {++numbers_}};
      case verb::leave:
        if (mine.empty()) return {word::left, {}};
        free_ += mine.back().first;
        mine.pop_back();
        return {word::left, {}};
      case verb::holds:
        return {!mine.empty() && mine.back().second != 0 ? word::yes : word::no, {}};
      case verb::running:
        return {word::running, {setup_.capacity - free_}};
      case verb::advance:
        advance(o.argument);
        return {word::done, {}};
    }
    return {};
  }

 private:
  std::mutex mutex_;
  lease_setup setup_;
  int free_;
  long long numbers_ = 0;
  per_thread<std::vector<std::pair<int, long long>>> holds_{};  // units, and until when; 0: ended
};

}  // namespace

campaigns judge_lease(const campaign_options& options) {
  const auto wanted = [](const lease_setup& s) { return lease_specification{s}; };
  using component = lease_component;
  return {
      campaign<component, leased_gate>(options, consistent(options), "leases, histories in real time",
                                       wanted),
      campaign<component, generous_gate>(options, consistent(options),
                                         "planted: a late release gives its unit back again", wanted, true),
  };
}

}  // namespace weir_model
