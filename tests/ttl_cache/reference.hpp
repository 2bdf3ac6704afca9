// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <weir/ttl_cache.hpp>

namespace weir_test {

/// The cache as one would write it on paper: a list in order of use, walked from end to end.  One thread.
///
/// No two entries may expire at the same instant where it matters which of them goes first.
class naive_cache {
 public:
  using duration = weir::duration;
  using time_point = weir::time_point;
  using removal_cause = weir::removal_cause;

  struct entry {
    int key = 0;
    std::optional<int> value{};
    bool error = false;  // without a value: asking for it fails
    time_point limit{};
    time_point expires{};
    time_point retry_at = time_point::min();
    int id = 0;
  };

  /// How a loader ends.
  enum class end : std::uint8_t { value, none, thrown, refused };
  /// What a caller is answered.
  enum class answer : std::uint8_t { hit, stale, negative, loaded, thrown, refused, recursion, timed_out };

  /// A load that has begun.
  struct load {
    int key = 0;
    time_point began{};
    std::optional<entry> held{};  // what the key had then
    int id = 0;
  };

  struct counts {
    std::uint64_t hits = 0, stale = 0, negative = 0, misses = 0, ok = 0, failed = 0;
  };

  explicit naive_cache(const weir::ttl_cache_options& o) : options_{o} {}

  std::optional<int> get(int key, time_point now) {
    const auto at = fresh(key, now);
    if (at == entries_.end()) return ++count.misses, std::nullopt;
    use(at, now);
    ++(at->value ? count.hits : count.negative);
    return entries_.front().value;
  }
  bool contains(int key, time_point now) {
    const auto at = fresh(key, now);
    return at != entries_.end() && at->value;
  }
  bool put(int key, std::optional<int> value, std::optional<duration> ttl, bool assign, time_point now) {
    const bool there = contains(key, now);
    if (there && !assign) return false;
    store({.key = key, .value = value}, ttl, now);
    overtake(key);
    return !there;
  }
  bool erase(int key, time_point now) {
    const bool there = contains(key, now);
    drop(find(key), removal_cause::explicit_, now);
    overtake(key);
    return there;
  }
  bool set_ttl(int key, duration ttl, time_point now) {
    const auto at = fresh(key, now);
    if (at == entries_.end() || !at->value) return false;
    at->limit = weir::saturating_add(now, ttl);
    use(at, now);
    limit(entries_.front(), now);
    return true;
  }

  /// What asking finds at once; nothing if a load begins, to be ended by `land`.
  std::optional<answer> ask(int key, bool may_load, time_point now, load& begun) {
    const auto at = find(key);
    if (at != entries_.end() && now < at->expires) {
      ++(at->value ? count.hits : count.negative);
      said = at->value;
      const answer a = at->value ? answer::hit : at->error ? answer::thrown : answer::negative;
      use(at, now);
      return a;
    }
    if (const load* running = joinable(key, now)) return static_cast<void>(running), answer::recursion;
    const bool stale = at != entries_.end() && at->value;
    const bool waits_out = stale && now < at->retry_at && stands_in(*at, now);
    if (waits_out || (stale && !may_load && now < weir::saturating_add(at->expires, options_.stale_for))) {
      ++count.stale;
      said = at->value;
      entries_.splice(entries_.begin(), entries_, at);
      return answer::stale;
    }
    ++count.misses;
    if (!may_load) return answer::timed_out;
    begun = {key, now, std::nullopt, ++next_id_};
    if (at != entries_.end()) begun.held = *at;
    loads_.push_back(begun);
    return std::nullopt;
  }

  /// A load ends; `ttl` as its loader gave it.
  answer land(const load& l, end how, int value, std::optional<duration> ttl, time_point now) {
    const bool listed = std::erase_if(loads_, [&](const load& each) { return each.id == l.id; }) != 0;
    ++(how == end::value || how == end::none ? count.ok : count.failed);
    const auto remainder = l.held && listed ? find_id(l.held->id) : entries_.end();
    if (how == end::value || how == end::none) {
      const bool lasting = ttl ? *ttl > duration::zero() : how == end::value || options_.negative_ttl;
      entry e{.key = l.key};
      if (how == end::value) e.value = value;
      said = e.value;
      if (listed && lasting) {
        store(e, ttl, now);
      } else {
        drop(remainder, removal_cause::explicit_, now);
        if (e.value) reject(value);
      }
      return e.value ? answer::loaded : answer::negative;
    }
    const bool stale = listed && l.held && l.held->value && stands_in(*l.held, now);
    if (how == end::thrown && listed && options_.error_ttl) {
      if (!stale) {
        store({.key = l.key, .error = true}, {}, now);
      } else if (remainder != entries_.end()) {
        remainder->retry_at = weir::saturating_add(now, *options_.error_ttl);
      }
    }
    if (stale) said = l.held->value;
    return stale ? answer::stale : how == end::thrown ? answer::thrown : answer::refused;
  }

  template <class P>
  std::size_t erase_if(P&& pred, time_point now) {
    std::size_t n = 0;
    for (auto at = entries_.begin(); at != entries_.end();) {
      const auto next = std::next(at);
      if (pred(*at)) {
        n += at->value && now < at->expires ? 1U : 0U;
        drop(at, removal_cause::explicit_, now);
      }
      at = next;
    }
    loads_.clear();
    return n;
  }

  /// Removes what nothing can use any more, at most `budget`, the longest expired first; how many.
  std::size_t reclaim(std::size_t budget, time_point now) {
    std::size_t n = 0;
    for (; n < budget && !entries_.empty(); ++n) {
      const auto first = std::ranges::min_element(entries_, {}, &entry::expires);
      if (weir::saturating_add(first->expires, grace()) > now) break;
      drop(first, removal_cause::expired, now);
    }
    return n;
  }

  void reconfigure(const weir::ttl_cache_options& o, time_point now) {
    options_ = o;
    shrink(now, 0);
  }

  [[nodiscard]] std::vector<std::pair<int, int>> content(time_point now) const {
    std::vector<std::pair<int, int>> all;
    for (const entry& e : entries_) {
      if (e.value && now < e.expires) all.emplace_back(e.key, *e.value);
    }
    return all;
  }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  /// No load that is running will be stored.
  void forget_loads() { loads_.clear(); }
  [[nodiscard]] std::size_t loading() const { return loads_.size(); }
  [[nodiscard]] const weir::ttl_cache_options& options() const { return options_; }

  std::map<int, removal_cause> left;  // by value: each is unique
  counts count;
  std::optional<int> said{};  // with the last answer of `ask` or `land`

 private:
  using place = std::list<entry>::iterator;

  place find(int key) {
    return std::ranges::find_if(entries_, [&](const entry& e) { return e.key == key; });
  }
  place find_id(int id) {
    return std::ranges::find_if(entries_, [&](const entry& e) { return e.id == id; });
  }
  place fresh(int key, time_point now) {
    const place at = find(key);
    return at != entries_.end() && now < at->expires ? at : entries_.end();
  }
  /// The load of the key, unless it has outlived its lease: then it is one of the past.
  const load* joinable(int key, time_point now) {
    const auto at = std::ranges::find(loads_, key, &load::key);
    if (at == loads_.end()) return nullptr;
    if (options_.load_lease && now - at->began >= *options_.load_lease) return loads_.erase(at), nullptr;
    return &*at;
  }
  void overtake(int key) {
    std::erase_if(loads_, [&](const load& l) { return l.key == key; });
  }
  [[nodiscard]] duration grace() const { return std::max(options_.stale_for, options_.stale_if_error); }
  [[nodiscard]] bool stands_in(const entry& e, time_point now) const {
    return now < weir::saturating_add(e.expires, grace());
  }
  void store(entry e, std::optional<duration> ttl, time_point now) {
    drop(find(e.key), removal_cause::replaced, now);
    if (!ttl && !e.value) ttl = e.error ? options_.error_ttl : options_.negative_ttl;
    if (!ttl) ttl = options_.expire_after_write;
    e.limit = ttl ? weir::saturating_add(now, *ttl) : time_point::max();
    e.id = ++next_id_;
    entries_.push_front(e);
    limit(entries_.front(), now);
    shrink(now, e.id);
    reclaim(16, now);
  }
  void shrink(time_point now, int spared) {
    while (entries_.size() > options_.max_entries) {
      const auto first = std::ranges::min_element(entries_, {}, &entry::expires);
      const bool expired = first->expires <= now && first->id != spared;
      drop(expired ? first : std::prev(entries_.end()), removal_cause::evicted, now);
    }
  }
  void limit(entry& e, time_point now) const {
    e.expires = e.limit;
    if (e.value && options_.expire_after_access) {
      e.expires = std::min(e.limit, weir::saturating_add(now, *options_.expire_after_access));
    }
  }
  void use(place at, time_point now) {
    entries_.splice(entries_.begin(), entries_, at);
    if (options_.expire_after_access) limit(entries_.front(), now);
  }
  void reject(int value) { left.emplace(value, removal_cause::rejected); }
  void drop(place at, removal_cause cause, time_point now) {
    if (at == entries_.end()) return;
    if (at->value) left.emplace(*at->value, now < at->expires ? cause : removal_cause::expired);
    entries_.erase(at);
  }

  weir::ttl_cache_options options_;
  std::list<entry> entries_;
  std::vector<load> loads_;  // that run and were not overtaken
  int next_id_ = 0;
};

}  // namespace weir_test
