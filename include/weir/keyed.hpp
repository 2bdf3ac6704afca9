// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/detail/as_outcome.hpp>
#include <weir/detail/probe.hpp>
#include <weir/detail/wide_arithmetic.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0 {

/// A component that can say when it has become indistinguishable from a new one: forgetting it then loses
/// nothing.  Asked under a lock of `keyed`, of components that nobody uses: must be quick and must not throw.
template <class C>
concept fades_at = requires(const C& component, time_point now) {
  { component.is_as_new_at(now) } noexcept -> std::convertible_to<bool>;
};

/// The same for a component that needs no time for it.
template <class C>
concept fades = requires(const C& component) {
  { component.is_as_new() } noexcept -> std::convertible_to<bool>;
};

/// What happens to a key that is not known when there is no room for it and nothing as-new to forget.
enum class keyed_overflow : std::uint8_t {
  evict_oldest,  ///< the key not used for longest is forgotten with all it had used up; counted as forced
  fail_closed,   ///< the new key is refused as `full`
  fail_open,     ///< the new key gets a new component that is forgotten after use: it is not limited
};

struct keyed_options {
  std::size_t max_keys = 65'536;  ///< at least 1

  /// 1 to max_keys; by default one for each 4096 keys, up to 16.
  std::optional<std::size_t> shards = std::nullopt;

  keyed_overflow when_full = keyed_overflow::evict_oldest;
};

/// Counts since construction, but for the gauge `keys`; each shard's share of one instant.
/// `created == keys + evicted_as_new + evicted_forced + erased`.
struct keyed_stats {
  std::size_t keys = 0;
  std::uint64_t created = 0;
  std::uint64_t evicted_as_new = 0;
  std::uint64_t evicted_forced = 0;
  std::uint64_t erased = 0;
  std::uint64_t refused = 0;    ///< no room, fail_closed (or evict_oldest and every key in use)
  std::uint64_t untracked = 0;  ///< no room, fail_open

  /// Of one shard and another.
  constexpr keyed_stats& operator+=(const keyed_stats& other) noexcept {
    keys += other.keys;
    created += other.created;
    evicted_as_new += other.evicted_as_new;
    evicted_forced += other.evicted_forced;
    erased += other.erased;
    refused += other.refused;
    untracked += other.untracked;
    return *this;
  }
};

/// The hash that `keyed` uses unless it is given another: for the strings of the standard library by their
/// characters, so that a lookup needs no copy; std::hash otherwise, which alone knows what a key's own `==`
/// holds for equal.
template <class Key>
struct keyed_hash : std::hash<Key> {};
template <class Allocator>
struct keyed_hash<std::basic_string<char, std::char_traits<char>, Allocator>> {
  using is_transparent = void;
  [[nodiscard]] std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

namespace detail {

/// How many shards the options come to.  Throws std::invalid_argument if one is out of range.
[[nodiscard]] inline std::size_t shard_count(const keyed_options& o) {
  if (o.max_keys == 0) throw std::invalid_argument{"keyed: max_keys must be positive, got 0"};
  if (o.shards && (*o.shards == 0 || *o.shards > o.max_keys)) {
    throw std::invalid_argument{"keyed: shards must be between 1 and max_keys, got " +
                                std::to_string(*o.shards)};
  }
  return o.shards.value_or(std::clamp<std::size_t>(o.max_keys / 4096, 1, 16));
}

/// An answer that can be copied, so that it owns nothing of the component that gave it.
template <class R>
concept hands_out_nothing = std::is_void_v<R> || std::copy_constructible<std::remove_cvref_t<R>>;

}  // namespace detail

/// One component for each key, made when the key is first used, in bounded memory: a limiter for each user, a
/// breaker for each host.
///
/// Model       Shards, each a lock, a hash table and its keys in order of use.  Each call takes one step
///             through the table and forgets a few keys whose component is as new (`fades_at`, `fades`);
///             a component that cannot say is forgotten only when there is no room.
/// Invariants  I1  Never more than max_keys keys; each shard has its fixed share of them.
///             I2  A component in use (pinned) is never destroyed, and of one key there is never more than
///                 one, but for the untracked of fail_open and those erased while in use.
///             I3  A key forgotten as new is one whose next use would find it as it was left, if the clock does
///                 not step back in between: a component that is no more remembers no time.
/// No room     First the 16 keys not used for longest are searched for one as new; then `when_full`.
/// Locks       One short lock of a shard for each use.  The factory, `f`, and the destructors of Key and
///             Component run outside it; the hash too; Equal and the as-new question under it.
/// Thread safety  Every member from any thread; Component must be as thread safe as its use by several
///             callers of one key demands.  A `pinned` may outlive the map.
/// When not    For few keys known beforehand: an array of components.
/// Source      "As new" in GCRA: TAT <= now; see token_bucket.hpp.
template <class Key, class Component, monotonic_clock Clock = steady_clock, class Hash = keyed_hash<Key>,
          class Equal = std::equal_to<>>
class keyed {
  struct node;

  template <class K>
  static constexpr bool looks_up = std::same_as<K, Key> || detail::lookup_key<K, Key, Hash, Equal>;

 public:
  class pinned;

  /// `make(key)` makes the component of a key, on any thread, for several keys at a time; the type may be one
  /// that cannot be moved.
  /// Throws std::invalid_argument if an option is out of range.
  template <class Make>
    requires std::is_invocable_r_v<Component, Make&, const Key&> ||
                 std::same_as<std::invoke_result_t<Make&, const Key&>, Component>
  explicit keyed(keyed_options options, Make make, Clock clock = {}, Hash hash = {}, Equal equal = {})
      : options_{options},
        shard_count_{detail::shard_count(options)},
        make_{std::make_unique<maker_of<Make>>(std::move(make))},
        shards_{std::make_unique<shard[]>(shard_count_)},
        clock_{std::move(clock)},
        hash_{std::move(hash)},
        equal_{std::move(equal)} {
    for (std::size_t i = 0; i < shard_count_; ++i) {
      shards_[i].max = options.max_keys / shard_count_ + (i < options.max_keys % shard_count_ ? 1 : 0);
    }
  }

  keyed(const keyed&) = delete;
  keyed& operator=(const keyed&) = delete;

  /// Requires that no call is in progress; what is pinned stays valid.
  ~keyed() {
    for (std::size_t i = 0; i < shard_count_; ++i) {
      for (node* n = shards_[i].oldest; n != nullptr;) release(std::exchange(n, n->newer));
    }
  }

  /// The component of `key`, made if there is none, kept from being forgotten while the result lives.
  ///
  /// \return        `full` if there is no room (see keyed_overflow).
  /// Complexity     O(1), one allocation for a new key.
  /// Exceptions     What the hash, Equal, the copy of the key and the factory throw, std::bad_alloc; nothing
  ///                has changed then.
  template <class K = Key>
    requires looks_up<K>
  outcome<pinned> pin(const K& key) {
    if constexpr (std::same_as<K, Key> || detail::transparent_key<K, Key, Hash, Equal>) {
      return pin_as(key);
    } else {
      return pin_as(static_cast<Key>(key));
    }
  }

  /// The component of `key` if there is one; it counts as a use.
  template <class K = Key>
    requires looks_up<K>
  [[nodiscard]] std::optional<pinned> find(const K& key) {
    if constexpr (std::same_as<K, Key> || detail::transparent_key<K, Key, Hash, Equal>) {
      return find_as(key);
    } else {
      return find_as(static_cast<Key>(key));
    }
  }

  /// `f(component of key)`, as an outcome, or the refusal of `pin`.  No lock is held while `f` runs.
  template <class K = Key, class F>
    requires looks_up<K> && std::invocable<F, Component&>
  auto with(const K& key, F&& f) -> detail::as_outcome_t<std::invoke_result_t<F, Component&>> {
    using raw = std::invoke_result_t<F, Component&>;
    outcome<pinned> found = pin(key);
    if (!found) return found.error();
    if constexpr (std::is_void_v<raw>) {
      std::invoke(std::forward<F>(f), **found);
      return {};
    } else if constexpr (detail::as_outcome<raw>::flat) {
      return std::invoke(std::forward<F>(f), **found);
    } else {
      return detail::as_outcome_t<raw>{std::in_place, std::invoke(std::forward<F>(f), **found)};
    }
  }

  /// `component.try_acquire()` of the component of `key`, or the refusal of `pin`.
  ///
  /// Not for a component that hands out something move-only (the permit of a breaker): it must not outlive
  /// the pin.  Pin the component, and acquire from that.
  template <class K = Key>
    requires looks_up<K> && requires(Component& c) {
      { c.try_acquire() } -> detail::hands_out_nothing;
    }
  auto try_acquire(const K& key) {
    return with(key, [](Component& c) { return c.try_acquire(); });
  }

  /// The same with `component.try_acquire(n)`.
  template <class K = Key>
    requires looks_up<K> && requires(Component& c, std::uint64_t n) {
      { c.try_acquire(n) } -> detail::hands_out_nothing;
    }
  auto try_acquire(const K& key, std::uint64_t n) {
    return with(key, [n](Component& c) { return c.try_acquire(n); });
  }

  /// Forgets `key`; who has it pinned keeps the component for as long.  False if it was not known.
  template <class K = Key>
    requires looks_up<K>
  bool erase(const K& key) {
    if constexpr (std::same_as<K, Key> || detail::transparent_key<K, Key, Hash, Equal>) {
      return erase_as(key);
    } else {
      return erase_as(static_cast<Key>(key));
    }
  }

  /// Forgets every key that is as new and not in use.  Never needed: each call takes its share.
  ///
  /// \return        How many.
  /// Complexity     O(keys), a shard at a time.
  std::size_t evict_as_new() {
    std::size_t count = 0;
    for (std::size_t i = 0; i < shard_count_; ++i) {
      shard& s = shards_[i];
      graveyard dead;
      const std::lock_guard lock{s.mutex};
      const time_point now = clock_.now();
      for (node* n = s.oldest; n != nullptr;) {
        node* const candidate = std::exchange(n, n->newer);
        if (!idle(*candidate) || !is_as_new(*candidate, now)) continue;
        evict_locked(s, *candidate, dead, s.counts.evicted_as_new);
        ++count;
      }
    }
    return count;
  }

  /// How many keys are known; stale when read.
  [[nodiscard]] std::size_t size_approx() const noexcept { return stats().keys; }

  [[nodiscard]] keyed_stats stats() const noexcept {
    keyed_stats sum;
    for (std::size_t i = 0; i < shard_count_; ++i) {
      const shard& s = shards_[i];
      const std::lock_guard lock{s.mutex};
      sum += s.counts;
    }
    return sum;
  }

 private:
  struct maker {
    virtual ~maker() = default;
    virtual std::unique_ptr<node> operator()(Key key, std::uint64_t hash) = 0;
  };
  template <class Make>
  struct maker_of final : maker {
    explicit maker_of(Make m) : make{std::move(m)} {}
    std::unique_ptr<node> operator()(Key key, std::uint64_t hash) override {
      return std::make_unique<node>(std::move(key), hash, make);
    }
    Make make;
  };

  struct node {
    template <class Make>
    node(Key&& k, std::uint64_t h, Make& make)
        : hash{h}, key(std::move(k)), component(make(std::as_const(key))) {}

    node* chain = nullptr;  // guarded by the shard; the next in the bucket, or among the dead
    node* older = nullptr;  // guarded by the shard
    node* newer = nullptr;  // guarded by the shard
    const std::uint64_t hash;
    std::atomic<std::uint32_t> references{1};  // the table's own, and one a pin; raised only under the lock
    const Key key;
    Component component;
  };

  /// Nodes taken out under the lock; gone once it is free.
  struct graveyard {
    graveyard() = default;
    graveyard(const graveyard&) = delete;
    graveyard& operator=(const graveyard&) = delete;
    ~graveyard() {
      while (head != nullptr) release(std::exchange(head, head->chain));
    }
    void add(node& n) noexcept { n.chain = std::exchange(head, &n); }
    node* head = nullptr;
  };

  struct alignas(64) shard {  // a line of its own: shards are to be used at the same time
    mutable std::mutex mutex;
    std::vector<node*> buckets = std::vector<node*>(16);  // guarded by mutex; a power of two
    node* oldest = nullptr;                               // guarded by mutex; use order
    node* newest = nullptr;                               // guarded by mutex
    std::size_t max = 0;                                  // set before use
    std::size_t hand = 0;                                 // guarded by mutex; the next bucket to sweep
    keyed_stats counts;                                   // guarded by mutex
  };

  struct room {
    bool granted = true;
    node* victim = nullptr;  // to be evicted first, if any
    bool forced = false;
  };

  static constexpr int searched_for_room = 16;
  static constexpr int swept_at_once = 4;

  static void release(node* n) noexcept {
    // [A] release: whoever destroys or evicts the component sees what was done with it; acquire, pairs with
    // [A] of the others.
    if (n->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete n;
  }

  /// Under the lock, under which alone a pin is made: if only the table knows it, nobody will use it.
  [[nodiscard]] static bool idle(const node& n) noexcept {
    // [B] acquire, pairs with [A].
    return n.references.load(std::memory_order_acquire) == 1;
  }

  [[nodiscard]] static bool is_as_new(const node& n, [[maybe_unused]] time_point now) noexcept {
    if constexpr (fades_at<Component>) {
      return n.component.is_as_new_at(now);
    } else if constexpr (fades<Component>) {
      return n.component.is_as_new();
    } else {
      return false;
    }
  }

  template <class K>
  [[nodiscard]] std::uint64_t hash_of(const K& key) const {
    // Fibonacci hashing, the product whole and folded: the bits of a plain std::hash of an integer are the
    // integer's own, and keys may differ in its highest alone.
    return detail::folded_product(hash_(key), 0x9e3779b97f4a7c15U);
  }
  [[nodiscard]] shard& shard_of(std::uint64_t hash) const noexcept {
    return shards_[(hash >> 40U) % shard_count_];
  }
  [[nodiscard]] static node*& bucket_of(shard& s, std::uint64_t hash) noexcept {
    return s.buckets[hash & (s.buckets.size() - 1)];
  }

  template <class K>
  [[nodiscard]] node* find_locked(shard& s, std::uint64_t hash, const K& key) const {
    for (node* n = bucket_of(s, hash); n != nullptr; n = n->chain) {
      if (n->hash == hash && equal_(n->key, key)) return n;
    }
    return nullptr;
  }

  [[nodiscard]] pinned use_locked(shard& s, node& n) noexcept {
    if (s.newest != &n) {
      unlink_use_locked(s, n);
      link_use_locked(s, n);
    }
    return pinned_locked(n);
  }

  [[nodiscard]] static pinned pinned_locked(node& n) noexcept {
    // [relaxed] The table's reference is held under the lock, so the count cannot be on its way to zero.
    n.references.fetch_add(1, std::memory_order_relaxed);
    return pinned{&n};
  }

  static void link_use_locked(shard& s, node& n) noexcept {
    n.older = s.newest;
    n.newer = nullptr;
    (s.newest ? s.newest->newer : s.oldest) = &n;
    s.newest = &n;
  }
  static void unlink_use_locked(shard& s, node& n) noexcept {
    (n.older ? n.older->newer : s.oldest) = n.newer;
    (n.newer ? n.newer->older : s.newest) = n.older;
  }

  static void evict_locked(shard& s, node& n, graveyard& dead, std::uint64_t& cause) noexcept {
    node** link = &bucket_of(s, n.hash);
    while (*link != &n) link = &(*link)->chain;
    *link = n.chain;
    unlink_use_locked(s, n);
    --s.counts.keys;
    ++cause;
    dead.add(n);
  }

  void insert_locked(shard& s, node& n) noexcept {
    if (s.counts.keys >= s.buckets.size()) grow_locked(s);
    node*& bucket = bucket_of(s, n.hash);
    n.chain = std::exchange(bucket, &n);
    link_use_locked(s, n);
    ++s.counts.keys;
    ++s.counts.created;
  }

  static void grow_locked(shard& s) noexcept {
    try {
      std::vector<node*> wider(s.buckets.size() * 2);
      s.buckets.swap(wider);
    } catch (const std::bad_alloc&) {
      return;  // longer chains serve as well
    }
    for (node* n = s.oldest; n != nullptr; n = n->newer) {
      n->chain = std::exchange(bucket_of(s, n->hash), n);
    }
  }

  /// Where room for one more key would come from; changes nothing.
  [[nodiscard]] room room_locked(const shard& s) const noexcept {
    if (s.counts.keys < s.max) return {};
    node* oldest_idle = nullptr;
    int searched = 0;
    const time_point now = clock_.now();
    for (node* n = s.oldest; n != nullptr; n = n->newer) {
      if (++searched > searched_for_room &&
          (oldest_idle || options_.when_full != keyed_overflow::evict_oldest)) {
        break;
      }
      if (!idle(*n)) continue;
      if (is_as_new(*n, now)) return {true, n, false};
      if (oldest_idle == nullptr) oldest_idle = n;
    }
    if (options_.when_full == keyed_overflow::evict_oldest && oldest_idle) return {true, oldest_idle, true};
    return {false, nullptr, false};
  }

  /// One step: the as-new of one bucket.
  void sweep_locked(shard& s, graveyard& dead) noexcept {
    if constexpr (fades_at<Component> || fades<Component>) {
      node* n = s.buckets[s.hand++ & (s.buckets.size() - 1)];
      if (n == nullptr) return;
      const time_point now = clock_.now();
      for (int i = 0; n != nullptr && i < swept_at_once; ++i) {
        node* const candidate = std::exchange(n, n->chain);
        if (idle(*candidate) && is_as_new(*candidate, now)) {
          evict_locked(s, *candidate, dead, s.counts.evicted_as_new);
        }
      }
    }
  }

  template <class K>
  outcome<pinned> pin_as(const K& key) {
    const std::uint64_t hash = hash_of(key);
    shard& s = shard_of(hash);
    bool room_expected = false;
    {
      graveyard dead;
      const std::lock_guard lock{s.mutex};
      node* const known = find_locked(s, hash, key);
      outcome<pinned> found{refusal{refusal_reason::full}};
      if (known != nullptr) found = use_locked(s, *known);
      sweep_locked(s, dead);
      if (known != nullptr) return found;
      room_expected = room_locked(s).granted;
      if (!room_expected && options_.when_full != keyed_overflow::fail_open) {
        ++s.counts.refused;
        return found;
      }
    }
    std::unique_ptr<node> fresh = (*make_)(Key(key), hash);

    graveyard dead;
    const std::lock_guard lock{s.mutex};
    // Somebody was quicker; `fresh` goes after the lock.
    if (node* const known = find_locked(s, hash, key)) return use_locked(s, *known);
    const room r = room_locked(s);
    if (!r.granted) {
      if (options_.when_full == keyed_overflow::fail_open) {
        ++s.counts.untracked;
        return pinned{fresh.release()};
      }
      ++s.counts.refused;
      return refusal{refusal_reason::full};
    }
    if (r.victim) {
      evict_locked(s, *r.victim, dead, r.forced ? s.counts.evicted_forced : s.counts.evicted_as_new);
    }
    node& n = *fresh.release();
    insert_locked(s, n);
    return pinned_locked(n);
  }

  template <class K>
  std::optional<pinned> find_as(const K& key) {
    const std::uint64_t hash = hash_of(key);
    shard& s = shard_of(hash);
    const std::lock_guard lock{s.mutex};
    node* const n = find_locked(s, hash, key);
    if (n == nullptr) return std::nullopt;
    return use_locked(s, *n);
  }

  template <class K>
  bool erase_as(const K& key) {
    const std::uint64_t hash = hash_of(key);
    shard& s = shard_of(hash);
    graveyard dead;
    const std::lock_guard lock{s.mutex};
    node* const n = find_locked(s, hash, key);
    if (n != nullptr) evict_locked(s, *n, dead, s.counts.erased);
    return n != nullptr;
  }

  const keyed_options options_;
  const std::size_t shard_count_;
  const std::unique_ptr<maker> make_;  // called from any thread, at the same time
  const std::unique_ptr<shard[]> shards_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Hash hash_;
  [[no_unique_address]] Equal equal_;
};

/// A component in use: not forgotten, and not destroyed, before this is.  Move-only.
/// To be held for as long as anything that the component handed out (a permit, a reservation) is in use.
template <class Key, class Component, monotonic_clock Clock, class Hash, class Equal>
class [[nodiscard]] keyed<Key, Component, Clock, Hash, Equal>::pinned {
 public:
  pinned(pinned&& other) noexcept : node_{std::exchange(other.node_, nullptr)} {}
  pinned& operator=(pinned&& other) noexcept {
    pinned taken{std::move(other)};
    std::swap(node_, taken.node_);
    return *this;
  }
  ~pinned() {
    if (node_ != nullptr) release(node_);
  }

  [[nodiscard]] Component& operator*() const noexcept { return node_->component; }
  [[nodiscard]] Component* operator->() const noexcept { return std::addressof(node_->component); }
  [[nodiscard]] const Key& key() const noexcept { return node_->key; }

 private:
  friend keyed;
  explicit pinned(node* n) noexcept : node_{n} {}
  node* node_;  // null once moved from
};

}  // namespace weir::inline v0
