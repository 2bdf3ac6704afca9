// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class cache_verb {
  get,
  contains,
  put,
  insert,
  erase,
  compute,
  clear,
  load,
  load_failing,
  land,
  land_failing,
  advance
};
enum class cache_word { value, none, yes, no, hit, leads, loaded, joined, threw, done };

struct cache_setup {
  int max_entries = 8;
  int ttl = 0;  ///< nanoseconds; 0: for ever
};

/// ttl_cache with its loader.
///
/// `get_or_load` is two steps: it hits, or joins a load and gets what that gives.  Where it leads one
/// instead, it ends when the loader begins, and what follows is another call, that of `land`.  The value
/// is stored if the load is still listed; a write or an erasure of its key takes it off the list, so
/// that no load brings back what was there before (no resurrection).
class cache_specification {
 public:
  using operation = request<cache_verb>;  // key, value; or nanoseconds
  using answer = reply<cache_word>;
  using cache_event = event<operation, answer>;

  struct entry {
    int key;
    int value;
    int expires;  // 0: never
    friend auto operator<=>(const entry&, const entry&) = default;
  };

  struct state {
    std::vector<entry> entries{};  // fresh ones, the least recently used first
    int now = 0;
    std::array<int, 3> listed{};  // loads by key, named by their value; 0: none
    std::set<int> landed{};
    std::set<int> failed{};
    per_thread<int> load{};  // that a call between its steps has joined; 0: it has its answer
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit cache_specification(const cache_setup& setup) : setup_{setup} {}

  [[nodiscard]] static state initial() { return {}; }
  [[nodiscard]] static int steps(const operation& o) {
    return o.verb == cache_verb::load || o.verb == cache_verb::load_failing ? 2 : 1;
  }

  [[nodiscard]] bool step(state& s, const cache_event& e) const {
    const int key = e.operation.argument;
    const int value = e.operation.other;
    switch (e.operation.verb) {
      case cache_verb::get: {
        const int found = use(s, key);
        return e.allows(found != 0 ? answer{cache_word::value, {found}} : answer{cache_word::none, {}});
      }
      case cache_verb::contains:
        return e.allows(yes_or_no(find(s, key) != s.entries.end()));
      case cache_verb::put: {
        const bool there = find(s, key) != s.entries.end();
        store(s, key, value);
        return e.allows(yes_or_no(!there));
      }
      case cache_verb::insert: {
        const bool there = find(s, key) != s.entries.end();
        if (!there) store(s, key, value);
        return e.allows(yes_or_no(!there));
      }
      case cache_verb::erase: {
        of_key(s, key) = 0;
        return e.allows(yes_or_no(remove(s, key) != 0));
      }
      case cache_verb::compute: {  // puts the value; for an answer, the one before
        const auto found = find(s, key);
        const int before = found != s.entries.end() ? found->value : 0;
        store(s, key, value);
        return e.allows({cache_word::value, {before}});
      }
      case cache_verb::clear:
        s.entries.clear();
        s.listed = {};
        return e.allows({cache_word::done, {}});
      case cache_verb::load:
      case cache_verb::load_failing:
        return e.step == 0 ? begin_load(s, e) : end_load(s, e);
      case cache_verb::land:
      case cache_verb::land_failing:
        return land(s, e);
      case cache_verb::advance:
        s.now += key;
        std::erase_if(s.entries, [&](const entry& x) { return x.expires != 0 && x.expires <= s.now; });
        return e.allows({cache_word::done, {}});
    }
    return false;
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {
        "get ",           "contains ",      "insert_or_assign ",
        "insert ",        "erase ",         "compute ",
        "invalidate_all", "get_or_load ",   "get_or_load (its loader throws) ",
        "land ",          "land (throws) ", "advance "};
    std::string text = names[static_cast<int>(o.verb)];
    if (text.back() != ' ') return text;
    text += std::to_string(o.argument);
    const bool has_value = o.verb != cache_verb::get && o.verb != cache_verb::contains &&
                           o.verb != cache_verb::erase && o.verb != cache_verb::advance;
    return has_value ? text + " = " + std::to_string(o.other) : text;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"value", "none",   "yes",    "no",    "hit",
                                            "leads", "loaded", "joined", "threw", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    std::string text;
    for (const entry& x : s.entries) text += std::to_string(x.key) + '=' + std::to_string(x.value) + ' ';
    return text + "loads " + show_list(s.listed) + " time " + std::to_string(s.now);
  }

 private:
  static answer yes_or_no(bool yes) { return {yes ? cache_word::yes : cache_word::no, {}}; }
  static int& of_key(state& s, int key) { return s.listed[static_cast<std::size_t>(key)]; }

  static std::vector<entry>::iterator find(state& s, int key) {
    return std::find_if(s.entries.begin(), s.entries.end(), [&](const entry& x) { return x.key == key; });
  }

  static int remove(state& s, int key) {
    const auto found = find(s, key);
    if (found == s.entries.end()) return 0;
    const int value = found->value;
    s.entries.erase(found);
    return value;
  }

  /// The value, which was used last from now on; 0 if there is none.
  static int use(state& s, int key) {
    const auto found = find(s, key);
    if (found == s.entries.end()) return 0;
    std::rotate(found, found + 1, s.entries.end());
    return s.entries.back().value;
  }

  void store(state& s, int key, int value) const {
    of_key(s, key) = 0;
    static_cast<void>(remove(s, key));
    s.entries.push_back({key, value, setup_.ttl > 0 ? s.now + setup_.ttl : 0});
    if (static_cast<int>(s.entries.size()) > setup_.max_entries) s.entries.erase(s.entries.begin());
  }

  static bool begin_load(state& s, const cache_event& e) {
    if (const int found = use(s, e.operation.argument); found != 0) {
      return e.allows({cache_word::hit, {found}});
    }
    int& listed = of_key(s, e.operation.argument);
    of(s.load, e.thread) = listed;
    if (listed != 0) return true;
    listed = e.operation.other;
    return e.allows({cache_word::leads, {}});
  }

  static bool end_load(state& s, const cache_event& e) {
    const int joined = std::exchange(of(s.load, e.thread), 0);
    if (joined == 0) return true;
    const cache_word how = s.failed.contains(joined) ? cache_word::threw : cache_word::joined;
    return s.landed.contains(joined) && e.allows({how, {joined}});
  }

  [[nodiscard]] bool land(state& s, const cache_event& e) const {
    const int mine = e.operation.other;
    const bool fails = e.operation.verb == cache_verb::land_failing;
    int& listed = of_key(s, e.operation.argument);
    s.landed.insert(mine);
    if (fails) s.failed.insert(mine);
    if (listed == mine) {
      listed = 0;
      if (!fails) store(s, e.operation.argument, mine);
    }
    return e.allows({fails ? cache_word::threw : cache_word::loaded, {mine}});
  }

  cache_setup setup_;
};

static_assert(specification<cache_specification>);

}  // namespace weir_model
