// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>

#include "../campaign.hpp"
#include "../specification/gate.hpp"

namespace weir_model {
namespace {

using operation = gate_specification::operation;
using answer = gate_specification::answer;
using verb = gate_verb;
using word = gate_word;

struct gate_component {
  static constexpr const char* name = "task_gate";
  using specification = gate_specification;
  using setup = gate_setup;

  static setup draw_setup(dice& roll) { return {.capacity = 1 + roll(2)}; }

  /// Nobody waits while holding a pass, and every pass ends: so nobody waits for ever.
  static std::vector<operation> draw_thread(dice& roll, const setup& s, int, int calls) {
    std::vector<operation> all;
    bool inside = false;
    while (static_cast<int>(all.size()) < calls) {
      if (inside) {
        const verb what =
            roll.one_of({verb::leave, verb::leave, verb::leave, verb::run_if_idle, verb::close});
        all.push_back({what, 0, 0});
        inside = what != verb::leave;
        continue;
      }
      const verb what =
          roll.one_of({verb::try_enter, verb::try_enter, verb::enter, verb::enter, verb::run_if_idle,
                       verb::run_if_idle, verb::wait_idle, verb::close, verb::set_capacity});
      inside = what == verb::try_enter || what == verb::enter;
      all.push_back({what, inside || what == verb::set_capacity ? 1 + roll(s.capacity) : 0, 0});
    }
    if (inside) all.push_back({verb::leave, 0, 0});
    return all;
  }

  static operation without_value(const operation& o) { return o; }

  template <class Plan>
  static void complete(Plan& p) {
    p.closing = {{verb::try_enter, 1, 0}, {verb::try_enter, 1, 0}, {verb::try_enter, 1, 0}};
  }

  static std::string show(const setup& s) { return "capacity " + std::to_string(s.capacity); }
};

class gate_subject {
 public:
  explicit gate_subject(const gate_setup& setup)
      : gate_{weir::task_gate_options{static_cast<std::uint32_t>(setup.capacity)}} {}

  answer apply(int thread, const operation& o) {
    const auto units = static_cast<std::uint32_t>(o.argument);
    switch (o.verb) {
      case verb::try_enter: {
        auto pass = gate_.try_enter(units);
        if (!pass) return {word::busy, {}};
        of(passes_, thread).push_back(std::move(*pass));
        return {word::entered, {}};
      }
      case verb::enter: {
        auto pass = gate_.enter({}, units);
        if (!pass) {
          const bool closed = pass.error().reason == weir::refusal_reason::closed;
          return {closed ? word::closed : word::too_much, {}};
        }
        of(passes_, thread).push_back(std::move(*pass));
        return {word::entered, {}};
      }
      case verb::leave:
        if (of(passes_, thread).empty()) return {word::nothing, {}};
        of(passes_, thread).pop_back();
        return {word::left, {}};
      case verb::run_if_idle:
        switch (gate_.run_if_idle([] {})) {
          case weir::run_result::ran:
            return {word::ran, {}};
          case weir::run_result::closed:
            return {word::closed, {}};
          default:
            return {word::skipped, {}};
        }
      case verb::wait_idle:
        return {gate_.wait_idle() ? word::done : word::busy, {}};
      case verb::close:
        gate_.close();
        return {word::done, {}};
      case verb::set_capacity:
        gate_.set_capacity(units);
        return {word::done, {}};
    }
    return {};
  }

 private:
  weir::task_gate gate_;
  per_thread<std::vector<weir::task_gate::pass>> passes_{};
};

/// Scenarios of calls that never wait.
struct gate_of_tries : gate_component {
  static std::vector<operation> draw_thread(dice& roll, const setup&, int, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      all.push_back({roll.one_of({verb::try_enter, verb::try_enter, verb::leave}), 1, 0});
    }
    return all;
  }
};

/// Planted: it looks whether there is room, then takes it, in two steps.
class wide_gate {
 public:
  explicit wide_gate(const gate_setup& setup) : free_{setup.capacity} {}

  answer apply(int thread, const operation& o) {
    int& held = of(held_, thread);
    if (o.verb == verb::leave) {
      if (held == 0) return {word::nothing, {}};
      --held;
      free_.fetch_add(1);
      return {word::left, {}};
    }
    if (free_.load() < 1) return {word::busy, {}};
    free_.fetch_sub(1);
    ++held;
    return {word::entered, {}};
  }

 private:
  std::atomic<int> free_;
  per_thread<int> held_{};
};

/// Planted: a try that meets another in its first step says busy, although nobody is inside.
class shy_gate {
 public:
  explicit shy_gate(const gate_setup& setup) : free_{setup.capacity} {}

  answer apply(int thread, const operation& o) {
    int& held = of(held_, thread);
    if (o.verb == verb::leave) {
      if (held == 0) return {word::nothing, {}};
      --held;
      free_.fetch_add(1);
      return {word::left, {}};
    }
    int free = free_.load();
    if (free < 1 || !free_.compare_exchange_strong(free, free - 1)) return {word::busy, {}};
    ++held;
    return {word::entered, {}};
  }

 private:
  std::atomic<int> free_;
  per_thread<int> held_{};
};

}  // namespace

campaigns judge_gate(const campaign_options& options) {
  const auto wanted = [](const gate_setup& s) { return gate_specification{s}; };
  using component = gate_component;
  return {
      campaign<component, gate_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<component, gate_subject>(options, weak(options), "histories by happens-before", wanted),
      campaign<gate_of_tries, wide_gate>(options, consistent(options), "planted: admits two", wanted, true),
      campaign<gate_of_tries, shy_gate>(options, consistent(options), "planted: busy with nobody inside",
                                        wanted, true),
  };
}

}  // namespace weir_model
