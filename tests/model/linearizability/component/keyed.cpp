// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <string>
#include <vector>

#include <weir/keyed.hpp>

#include "../campaign.hpp"
#include "../specification/keyed.hpp"

namespace weir_model {
namespace {

using operation = keyed_specification::operation;
using answer = keyed_specification::answer;
using verb = keyed_verb;
using word = keyed_word;

struct keyed_component {
  static constexpr const char* name = "keyed";
  using specification = keyed_specification;
  using setup = keyed_setup;

  static setup draw_setup(dice& roll) {
    using enum weir::keyed_overflow;
    const bool counters = roll(3) != 0;
    return {.of_counters = counters,
            .max_keys = counters ? 1 + roll(2) : 8,
            .when_full = counters ? roll.one_of({fail_closed, fail_open}) : fail_closed};
  }

  static std::vector<operation> draw_thread(dice& roll, const setup& s, int, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what = s.of_counters
                            ? roll.one_of({verb::add, verb::add, verb::remove, verb::evict})
                            : roll.one_of({verb::pin, verb::pin, verb::pin, verb::find, verb::erase});
      all.push_back({what, what == verb::evict ? 0 : roll(s.of_counters ? s.max_keys + 1 : 2), 0});
    }
    return all;
  }

  static operation without_value(const operation& o) { return o; }

  template <class Plan>
  static void complete(Plan& p) {
    for (int key = 0; key < (p.setup.of_counters ? keyed_specification::keys : 2); ++key) {
      p.closing.push_back({p.setup.of_counters ? verb::remove : verb::find, key, 0});
    }
  }

  static std::string show(const setup& s) {
    return (s.of_counters ? "counters, max_keys " : "things, max_keys ") + std::to_string(s.max_keys) +
           (s.when_full == weir::keyed_overflow::fail_open ? ", fail_open" : ", fail_closed");
  }
};

/// As new at zero.
struct counter {
  std::atomic<int> count{0};
  [[nodiscard]] bool is_as_new() const noexcept { return count.load() == 0; }

  int add() { return count.fetch_add(1); }
  int remove() {
    int before = count.load();
    while (before > 0 && !count.compare_exchange_weak(before, before - 1)) {
    }
    return before;
  }
};

struct thing {
  long long number;
};

class keyed_subject {
 public:
  explicit keyed_subject(const keyed_setup& setup)
      : counters_{options_of(setup), [](int) { return counter{}; }},
        things_{options_of(setup), [this](int) { return thing{++made_}; }} {}

  answer apply(int, const operation& o) {
    const int key = o.argument;
    switch (o.verb) {
      case verb::add:
        return counted(counters_.with(key, [](counter& c) { return c.add(); }));
      case verb::remove:
        return counted(counters_.with(key, [](counter& c) { return c.remove(); }));
      case verb::evict:
        counters_.evict_as_new();
        return {word::done, {}};
      case verb::pin:
        if (const auto found = things_.pin(key)) return {word::found, {(*found)->number}};
        return {word::full, {}};
      case verb::find:
        if (const auto found = things_.find(key)) return {word::found, {(*found)->number}};
        return {word::none, {}};
      case verb::erase:
        return {things_.erase(key) ? word::yes : word::no, {}};
    }
    return {};
  }

 protected:
  static weir::keyed_options options_of(const keyed_setup& setup) {
    return {.max_keys = static_cast<std::size_t>(setup.max_keys), .shards = 1, .when_full = setup.when_full};
  }
  static answer counted(const weir::outcome<int>& result) {
    return result ? answer{word::counted, {*result}} : answer{word::full, {}};
  }

  std::atomic<long long> made_{0};
  weir::keyed<int, counter> counters_;
  weir::keyed<int, thing> things_;
};

/// Planted: it looks for the key, and makes another where it found none, without a second look.
class doubling_keyed : public keyed_subject {
 public:
  using keyed_subject::keyed_subject;
  answer apply(int thread, const operation& o) {
    if (o.verb != verb::pin || things_.find(o.argument)) return keyed_subject::apply(thread, o);
    things_.erase(o.argument);
    return keyed_subject::apply(thread, o);
  }
};

/// Planted: a counter is read and written in two uses.
class leaky_keyed : public keyed_subject {
 public:
  using keyed_subject::keyed_subject;
  answer apply(int thread, const operation& o) {
    if (o.verb != verb::add) return keyed_subject::apply(thread, o);
    const auto before = counters_.with(o.argument, [](counter& c) { return c.count.load(); });
    if (!before) return counted(before);
    const auto written = counters_.with(o.argument, [&](counter& c) { c.count.store(*before + 1); });
    return written ? counted(before) : answer{word::full, {}};
  }
};

}  // namespace

campaigns judge_keyed(const campaign_options& options) {
  const auto wanted = [](const keyed_setup& s) { return keyed_specification{s}; };
  using component = keyed_component;
  return {
      campaign<component, keyed_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<component, keyed_subject>(options, weak(options), "histories by happens-before", wanted),
      campaign<component, doubling_keyed>(options, consistent(options), "planted: two components of one key",
                                          wanted, true),
      campaign<component, leaky_keyed>(options, consistent(options), "planted: a count is lost", wanted,
                                       true),
  };
}

}  // namespace weir_model
