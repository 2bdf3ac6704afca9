// SPDX-License-Identifier: BSL-1.0
#include <optional>
#include <string>
#include <vector>

#include <weir/ttl_cache.hpp>

#include "../campaign.hpp"
#include "../specification/cache.hpp"

namespace weir_model {
namespace {

using operation = cache_specification::operation;
using answer = cache_specification::answer;
using verb = cache_verb;
using word = cache_word;

struct cache_component {
  static constexpr const char* name = "ttl_cache";
  using specification = cache_specification;
  using setup = cache_setup;

  static setup draw_setup(dice& roll) {
    return {.max_entries = roll.one_of({1, 2, 8}), .ttl = roll(2) == 0 ? 0 : 10};
  }

  static std::vector<operation> draw_thread(dice& roll, const setup& s, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      verb what = roll.one_of({verb::get, verb::get, verb::contains, verb::put, verb::put, verb::insert,
                               verb::erase, verb::erase, verb::compute, verb::clear, verb::load, verb::load,
                               verb::load, verb::load, verb::load_failing, verb::advance});
      if (what == verb::advance && s.ttl == 0) what = verb::load;
      const bool brings = what == verb::put || what == verb::insert || what == verb::compute ||
                          what == verb::load || what == verb::load_failing;
      const int keys = s.max_entries < 8 ? 2 + roll(2) : 1 + roll(2);
      all.push_back({what,
                     what == verb::advance ? 5 + 5 * roll(2)
                     : what == verb::clear ? 0
                                           : roll(keys),
                     brings ? value_of(thread, all.size()) : 0});
    }
    return all;
  }

  static operation without_value(operation o) {
    o.other = 0;
    return o;
  }

  template <class Plan>
  static void complete(Plan& p) {
    for (int key = 0; key < 3; ++key) p.closing.push_back({verb::get, key, 0});
  }

  static std::string show(const setup& s) {
    return "max_entries " + std::to_string(s.max_entries) + ", expire_after_write " +
           (s.ttl > 0 ? std::to_string(s.ttl) + " ns" : std::string{"never"});
  }
};

weir::ttl_cache_options options_of(const cache_setup& setup) {
  weir::ttl_cache_options o;
  o.max_entries = static_cast<std::size_t>(setup.max_entries);
  if (setup.ttl > 0) o.expire_after_write = weir::duration{setup.ttl};
  return o;
}

class cache_subject {
 public:
  explicit cache_subject(const cache_setup& setup) : cache_{options_of(setup)} {}

  template <class Split>
  answer apply(int, const operation& o, const Split& split) {
    const int key = o.argument;
    const int value = o.other;
    switch (o.verb) {
      case verb::get: {
        const auto found = cache_.get(key);
        return found ? answer{word::value, {*found}} : answer{word::none, {}};
      }
      case verb::contains:
        return yes_or_no(cache_.contains(key));
      case verb::put:
        return yes_or_no(cache_.insert_or_assign(key, value));
      case verb::insert:
        return yes_or_no(cache_.insert(key, value));
      case verb::erase:
        return yes_or_no(cache_.erase(key));
      case verb::compute: {
        int before = 0;
        cache_.compute(key, [&](const int* seen) {
          before = seen != nullptr ? *seen : 0;
          return value;
        });
        return {word::value, {before}};
      }
      case verb::clear:
        cache_.invalidate_all();
        return {word::done, {}};
      case verb::load:
      case verb::load_failing:
        return load(o, split);
      case verb::advance:
        advance(key);
        return {word::done, {}};
      default:  // a part of a load
        return {};
    }
  }

 protected:
  static answer yes_or_no(bool yes) { return {yes ? word::yes : word::no, {}}; }

  template <class Split>
  answer load(const operation& o, const Split& split) {
    const bool fails = o.verb == verb::load_failing;
    try {
      const auto found = cache_.get_or_load(o.argument, [&] {
        split(answer{word::leads, {}},
              operation{fails ? verb::land_failing : verb::land, o.argument, o.other});
        if (fails) throw failure_of{o.other};
        return o.other;
      });
      if (!found || !*found) return {word::none, {}};
      switch (found->source) {
        case weir::lookup_source::hit:
          return {word::hit, {**found}};
        case weir::lookup_source::loaded:
          return {word::loaded, {**found}};
        case weir::lookup_source::joined:
          return {word::joined, {**found}};
        default:
          return {word::none, {}};
      }
    } catch (const failure_of& failed) {
      return {word::threw, {failed.value}};
    }
  }

  weir::ttl_cache<int, int> cache_;
};

/// Planted: a loaded value is stored whatever has been erased or written meanwhile.
class reviving_cache : public cache_subject {
 public:
  using cache_subject::cache_subject;
  template <class Split>
  answer apply(int thread, const operation& o, const Split& split) {
    if (o.verb != verb::load) return cache_subject::apply(thread, o, split);
    if (const auto found = cache_.get(o.argument)) return {word::hit, {*found}};
    split(answer{word::leads, {}}, operation{verb::land, o.argument, o.other});
    cache_.insert_or_assign(o.argument, o.other);
    return {word::loaded, {o.other}};
  }
};

/// Planted: to replace a value is to erase it and to insert the new one.
class flickering_cache : public cache_subject {
 public:
  using cache_subject::cache_subject;
  template <class Split>
  answer apply(int thread, const operation& o, const Split& split) {
    if (o.verb != verb::put) return cache_subject::apply(thread, o, split);
    const bool there = cache_.erase(o.argument);
    cache_.insert_or_assign(o.argument, o.other);
    return yes_or_no(!there);
  }
};

}  // namespace

campaigns judge_cache(const campaign_options& options) {
  const auto wanted = [](const cache_setup& s) { return cache_specification{s}; };
  using component = cache_component;
  return {
      campaign<component, cache_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<component, cache_subject>(options, weak(options), "histories by happens-before", wanted),
      campaign<component, reviving_cache>(options, consistent(options),
                                          "planted: a load that brings back the dead", wanted, true),
      campaign<component, flickering_cache>(options, consistent(options),
                                            "planted: nothing there during a write", wanted, true),
  };
}

}  // namespace weir_model
