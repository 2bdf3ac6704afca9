// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/detail/cache_orders.hpp>
#include <weir/detail/probe.hpp>
#include <weir/ttl_cache_types.hpp>

namespace weir::inline v0::detail {

/// A value under its key; once it is indexed, the constant part may be read by whoever shares it.
template <class Key, class Value>
struct cache_entry {
  cache_entry(Key of, std::size_t hashed, std::optional<Value> what)
      : key{std::move(of)}, hash{hashed}, value{std::move(what)} {}
  cache_entry(Key of, std::size_t hashed, std::exception_ptr why)
      : key{std::move(of)}, hash{hashed}, error{std::move(why)} {}

  const Key key;
  const std::size_t hash;
  const std::optional<Value> value;  // empty: known to be absent, or known to fail
  const std::exception_ptr error;    // set: asking for it fails like this

  // The rest is guarded by the lock of the cache, and after the removal owned by whoever removed it.
  time_point written_until = time_point::max();  // the limit that the last write set
  time_point expires = time_point::max();        // the earlier of that and the limit of the last access
  time_point retry_at = time_point::min();       // a load failed; until then the stale value stands in
  std::size_t place = 0;                         // in the expiry heap
  cache_entry* newer = nullptr;                  // in the order of use
  cache_entry* older = nullptr;
  std::shared_ptr<cache_entry> next_removed;
  removal_cause cause = removal_cause::explicit_;

  [[nodiscard]] bool fresh(time_point now) const noexcept { return now < expires; }
};

/// What a cache holds: by key, by expiry, by use.  Plain state, no lock, no clock; time never runs back here
/// because the caller clamps it.
///
/// Invariants  Each entry stands in all three orders or in none.
///             At most `max_entries` entries after every call.
template <class Key, class Value, class Equal>
class cache_core {
 public:
  using entry = cache_entry<Key, Value>;
  using pointer = std::shared_ptr<entry>;
  using removals = removal_chain<entry>;

  /// `equal` outlives the core.
  cache_core(const ttl_cache_options& options, const Equal& equal)
      : options_{options}, random_{options.seed}, index_{0, stored_hash{}, stored_equal<Equal>{&equal}} {}

  [[nodiscard]] const ttl_cache_options& options() const noexcept { return options_; }

  [[nodiscard]] std::size_t size() const noexcept { return index_.size(); }

  /// The entry of a key, fresh or not; null if there is none.  May throw what the comparison throws.
  template <class K>
  [[nodiscard]] pointer find(const probe<K>& wanted) const {
    const auto at = index_.find(wanted);
    return at == index_.end() ? nullptr : *at;
  }

  [[nodiscard]] bool holds(const entry& e) const noexcept { return index_.find(&e) != index_.end(); }

  /// How many values are fresh.
  [[nodiscard]] std::size_t fresh_values(time_point now) const noexcept {
    std::size_t n = index_.size() - valueless_;
    expiry_.for_each_expired(now, [&](const entry& e) { n -= e.value ? 1U : 0U; });
    return n;
  }

  /// A fresh entry was read.
  void read(entry& e, time_point now) noexcept {
    use_.used(e);
    if (!options_.expire_after_access) return;
    e.expires = limit(e, now);
    expiry_.moved(e);
  }

  void set_ttl(entry& e, duration ttl, time_point now) noexcept {
    e.written_until = saturating_add(now, ttl);
    e.expires = limit(e, now);
    expiry_.moved(e);
    use_.used(e);
  }

  /// Whether an entry past its time may still answer at once while somebody loads.
  [[nodiscard]] bool serves_while_loading(const entry& e, time_point now) const noexcept {
    return e.value && now < saturating_add(e.expires, options_.stale_for);
  }
  /// Whether it may stand in for a load that failed.
  [[nodiscard]] bool serves_for_failure(const entry& e, time_point now) const noexcept {
    return e.value && now < saturating_add(e.expires, grace());
  }

  /// Stores `e` in the place of `old`, the entry of the same key, or beside the others if that is null; then
  /// makes room.  Its life begins now, and lasts `ttl` or what the options say.  Strong guarantee; with an
  /// `old` it cannot fail.
  void store(const pointer& e, entry* old, std::optional<duration> ttl, time_point now, removals& gone) {
    if (!ttl && !e->value) ttl = e->error ? options_.error_ttl : options_.negative_ttl;
    if (!ttl && options_.expire_after_write) ttl = jittered(*options_.expire_after_write);
    e->written_until = ttl ? saturating_add(now, *ttl) : time_point::max();
    e->expires = limit(*e, now);
    if (old != nullptr) {
      auto node = index_.extract(index_.find(old));
      expiry_.substitute(*old, *e);
      use_.removed(*old);
      leave(*old, std::exchange(node.value(), e), removal_cause::replaced, now, gone);
      index_.insert(std::move(node));
      use_.inserted(*e);
    } else {
      expiry_.make_room();
      index_.insert(e);
      expiry_.push(*e);
      use_.inserted(*e);
    }
    if (!e->value) ++valueless_;
    shrink(now, gone);
    reclaim(now, reclaimed_per_store, gone);
  }

  void remove(entry& e, removal_cause cause, time_point now, removals& gone) noexcept {
    const auto at = index_.find(&e);
    pointer owner = *at;
    index_.erase(at);
    expiry_.remove(e);
    use_.removed(e);
    leave(e, std::move(owner), cause, now, gone);
  }

  /// Removes what nothing can use any more, at most `budget` entries, the longest expired first.
  std::size_t reclaim(time_point now, std::size_t budget, removals& gone) noexcept {
    std::size_t n = 0;
    for (; n < budget && !expiry_.empty(); ++n) {
      if (saturating_add(expiry_.first().expires, grace()) > now) break;
      remove(expiry_.first(), removal_cause::expired, now, gone);
    }
    return n;
  }

  /// What is there keeps its expiry; the surplus goes.
  void reconfigure(const ttl_cache_options& options, time_point now, removals& gone) noexcept {
    options_ = options;
    shrink(now, gone);
  }

  /// Removes everything, the least recently used first.
  void clear(removal_cause cause, time_point now, removals& gone) noexcept {
    while (entry* e = use_.victim()) remove(*e, cause, now, gone);
  }

  /// The values that are fresh at `now`, the last used first.
  [[nodiscard]] std::vector<pointer> values(time_point now) const {
    std::vector<pointer> all;
    all.reserve(size());
    for (entry* e = use_.newest(); e != nullptr; e = e->older) {
      if (e->value && e->fresh(now)) all.push_back(*index_.find(e));
    }
    return all;
  }

  /// Exchanges the entries with another's, in constant time.
  void swap_entries(cache_core& other) noexcept {
    index_.swap(other.index_);
    std::swap(expiry_, other.expiry_);
    std::swap(use_, other.use_);
    std::swap(valueless_, other.valueless_);
  }

 private:
  static constexpr std::size_t reclaimed_per_store = 16;

  [[nodiscard]] duration grace() const noexcept {
    return std::max(options_.stale_for, options_.stale_if_error);
  }

  [[nodiscard]] time_point limit(const entry& e, time_point now) const noexcept {
    if (!options_.expire_after_access || !e.value) return e.written_until;
    return std::min(e.written_until, saturating_add(now, *options_.expire_after_access));
  }

  [[nodiscard]] duration jittered(duration ttl) noexcept {
    if (options_.jitter <= 0.0) return ttl;
    const auto width = static_cast<std::uint64_t>(static_cast<double>(ttl.count()) * options_.jitter);
    std::uint64_t r = random_ += 0x9e3779b97f4a7c15ULL;  // splitmix64
    r = (r ^ (r >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    r = (r ^ (r >> 27U)) * 0x94d049bb133111ebULL;
    const auto life = static_cast<std::uint64_t>(ttl.count()) - width + (r ^ (r >> 31U)) % (2 * width + 1);
    return duration{
        static_cast<duration::rep>(std::min(life, static_cast<std::uint64_t>(duration::max().count())))};
  }

  /// Makes room: what has expired goes first, then what was used least recently.  What was stored just now is
  /// neither.
  void shrink(time_point now, removals& gone) noexcept {
    while (index_.size() > options_.max_entries) {
      entry& first = expiry_.first();
      remove(first.fresh(now) ? *use_.victim() : first, removal_cause::evicted, now, gone);
    }
  }

  void leave(entry& e, pointer owner, removal_cause cause, time_point now, removals& gone) noexcept {
    if (!e.value) --valueless_;
    gone.push(std::move(owner), e.fresh(now) ? cause : removal_cause::expired);
  }

  ttl_cache_options options_;
  std::uint64_t random_;
  key_index<entry, Equal> index_;
  expiry_heap<entry> expiry_;
  use_order<entry> use_;
  std::size_t valueless_ = 0;
};

}  // namespace weir::inline v0::detail
