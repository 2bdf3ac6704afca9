// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <compare>
#include <set>
#include <string>
#include <utility>

#include <weir/keyed.hpp>

#include "request.hpp"

namespace weir_model {

enum class keyed_verb { add, remove, evict, pin, find, erase };
enum class keyed_word { counted, full, found, none, yes, no, done };

struct keyed_setup {
  bool of_counters = true;  ///< add, remove and evict of counters; else pin, find and erase of things
  int max_keys = 8;
  weir::keyed_overflow when_full = weir::keyed_overflow::fail_closed;
};

/// keyed, in one of two lights.
///
/// Of counters, which are as new at zero: it counts as if it never forgot one, for what it forgets is zero.
/// A call pins its key, counts, and lets go: three steps.  There is no room where `max_keys` others are
/// pinned or count something.  Of things that are never as new: the same thing for a key until it is erased,
/// then one that was never seen before.
class keyed_specification {
 public:
  using operation = request<keyed_verb>;  // key
  using answer = reply<keyed_word>;
  using keyed_event = event<operation, answer>;

  static constexpr int keys = 3;

  struct state {
    std::array<int, keys> count{};
    std::array<int, keys> pinned{};
    std::array<long long, keys> thing{};
    std::set<long long> seen{};
    per_thread<phase> at{};
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit keyed_specification(const keyed_setup& setup) : setup_{setup} {}

  [[nodiscard]] static state initial() { return {}; }
  [[nodiscard]] static int steps(const operation& o) {
    return o.verb == keyed_verb::add || o.verb == keyed_verb::remove ? 3 : 1;
  }

  [[nodiscard]] bool step(state& s, const keyed_event& e) const {
    const auto key = static_cast<std::size_t>(e.operation.argument);
    switch (e.operation.verb) {
      case keyed_verb::add:
      case keyed_verb::remove:
        return count(s, e, key);
      case keyed_verb::evict:
        return e.allows({keyed_word::done, {}});
      case keyed_verb::pin:
        if (s.thing[key] != 0) return e.allows({keyed_word::found, {s.thing[key]}});
        if (e.answer == nullptr || e.answer->word != keyed_word::found) return false;
        s.thing[key] = e.answer->values.front();
        return s.seen.insert(s.thing[key]).second;
      case keyed_verb::find:
        return e.allows(s.thing[key] != 0 ? answer{keyed_word::found, {s.thing[key]}}
                                          : answer{keyed_word::none, {}});
      case keyed_verb::erase:
        return e.allows({std::exchange(s.thing[key], 0) != 0 ? keyed_word::yes : keyed_word::no, {}});
    }
    return false;
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"add", "remove", "evict_as_new", "pin", "find", "erase"};
    const std::string name = names[static_cast<int>(o.verb)];
    return o.verb == keyed_verb::evict ? name : name + ' ' + std::to_string(o.argument);
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"counted", "full", "found", "none", "yes", "no", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "counts " + show_list(s.count) + ", things " + show_list(s.thing);
  }

 private:
  [[nodiscard]] bool has_room(const state& s, std::size_t key) const {
    int others = 0;
    for (std::size_t k = 0; k < keys; ++k) others += k != key && (s.count[k] > 0 || s.pinned[k] > 0) ? 1 : 0;
    return others < setup_.max_keys;
  }

  /// The answer is the count before.
  [[nodiscard]] bool count(state& s, const keyed_event& e, std::size_t key) const {
    phase& at = of(s.at, e.thread);
    if (e.step == 0) {
      at = has_room(s, key) ? phase::granted : phase::refused;
      if (at == phase::granted) ++s.pinned[key];
      return true;
    }
    if (e.step == 2) {
      if (std::exchange(at, phase::idle) == phase::granted) --s.pinned[key];
      return true;
    }
    if (at == phase::refused) {
      // fail_open counts in one that is forgotten at once.
      return e.allows(setup_.when_full == weir::keyed_overflow::fail_open ? answer{keyed_word::counted, {0}}
                                                                          : answer{keyed_word::full, {}});
    }
    const int before = s.count[key];
    if (e.operation.verb == keyed_verb::add) ++s.count[key];
    if (e.operation.verb == keyed_verb::remove && before > 0) --s.count[key];
    return e.allows({keyed_word::counted, {before}});
  }

  keyed_setup setup_;
};

static_assert(specification<keyed_specification>);

}  // namespace weir_model
