// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/clock.hpp>
#include <weir/detail/probe.hpp>
#include <weir/detail/slot_table.hpp>
#include <weir/detail/token_bucket_core.hpp>
#include <weir/keyed.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/token_bucket_types.hpp>

namespace weir::inline v0 {

/// Counts since construction; each shard's share of one instant.
struct keyed_token_bucket_stats {
  keyed_stats keys;
  std::uint64_t granted = 0;       ///< requests granted
  std::uint64_t rate_limited = 0;  ///< requests refused because the tokens are not there yet
};

/// A token bucket for each key, all with the same options, in bounded memory: a limiter for each user.
///
/// What `keyed<Key, token_bucket>` does, where all buckets are alike and nobody waits: 24 bytes a key beside the
/// key itself, and 4 to 8 of the table.
///
/// Model       Shards, each a lock, a table and one GCRA word a key (detail/token_bucket_core.hpp); options and
///             time are the shard's.  Each call takes one step through the table and forgets a few keys whose
///             bucket is as new.
/// Invariants  I1  Any window of w ns grants a key at most burst + floor(rate x w) tokens, as long as it is not
///                 forced out (`evicted_forced`) or let through untracked (`untracked`).
///             I2  What is refused takes no tokens.
///             I3  Never more than max_keys keys; each shard has its fixed share of them.
///             I4  A key forgotten as new is one whose next use would find it as it was left.
///             I5  Time never runs back: an instant before the latest one at which a shard granted or forgot, or
///                 moved its time range on, is taken for that.
/// No room     First the 16 keys not used for longest are searched for one as new; then `when_full`.
/// Locks       One short lock of a shard for each use, two for a key not known.  The hash runs outside it, as do
///             the copy and the destructor of the key; Equal under it.
/// Ordering    Publishes nothing: a grant orders no memory of the caller.
/// Thread safety  Every member from any thread, except the destructor.
/// When not    For keys with different rates, to wait, or to book ahead: `keyed<Key, token_bucket>`.
/// Source      ITU-T I.371 (GCRA); a bucket is as new once its theoretical arrival time has passed.
template <class Key, monotonic_clock Clock = steady_clock, class Hash = keyed_hash<Key>,
          class Equal = std::equal_to<>, class Observer = no_observer>
  requires refusal_observer<Observer>
class keyed_token_bucket {
  static_assert(std::is_nothrow_move_constructible_v<Key>, "a key that is forgotten is moved out");

  template <class K>
  static constexpr bool looks_up = detail::lookup_key<K, Key, Hash, Equal>;

 public:
  /// Throws std::invalid_argument unless the options are as they say.
  explicit keyed_token_bucket(const keyed_options& keys, const token_bucket_options& bucket, Clock clock = {},
                              Hash hash = {}, Equal equal = {}, Observer observer = {})
      : when_full_{keys.when_full},
        shard_count_{detail::shard_count(keys)},
        shards_{std::make_unique<shard[]>(shard_count_)},
        clock_{std::move(clock)},
        hash_{std::move(hash)},
        equal_{std::move(equal)},
        observer_{std::move(observer)} {
    const detail::bucket_start start = detail::bucket_start::of(bucket);
    const time_point now = clock_.now();
    for (std::size_t i = 0; i < shard_count_; ++i) {
      shards_[i].max = keys.max_keys / shard_count_ + (i < keys.max_keys % shard_count_ ? 1 : 0);
      shards_[i].start = start;
      shards_[i].origin = shards_[i].latest = now;
    }
  }

  keyed_token_bucket(const keyed_token_bucket&) = delete;
  keyed_token_bucket& operator=(const keyed_token_bucket&) = delete;
  /// No call may be in progress.
  ~keyed_token_bucket() = default;

  /// Takes `n` tokens of the bucket of `key` if they are there now, all or none.
  ///
  /// \return     Success; `rate_limited` with the time until they will be there, or never at rate zero;
  ///             `exceeds_capacity`, for ever, if n exceeds the burst; `full` if the key is not known and there
  ///             is no room (see keyed_overflow).  n = 0 always succeeds.
  /// Complexity  O(1), now and then an allocation for a new key.  At a rate whose tokens are no whole number of
  ///             nanoseconds apart, O(keys of the shard) when its time range is moved on: at least 0.25 s apart.
  /// Blocking    Never waits for tokens.
  /// Exceptions  What the hash, Equal and the copy of the key throw, std::bad_alloc; nothing has changed then.
  template <class K = Key>
    requires looks_up<K>
  outcome<void> try_acquire(const K& key, std::uint64_t n = 1) {
    return try_acquire_at(clock_.now(), key, n);
  }

  /// The same at an instant of the clock that the caller has read.
  template <class K = Key>
    requires looks_up<K>
  outcome<void> try_acquire_at(time_point now, const K& key, std::uint64_t n = 1) {
    const outcome<void> result = attempt(now, detail::as_lookup_key<Key, Hash, Equal>(key), n);
    if (!result) {
      observer_.on_refused(result.error());
    } else if constexpr (grant_observer<Observer>) {
      observer_.on_granted(n);
    }
    return result;
  }

  /// Whole tokens that the bucket of `key` holds at `now`; the greatest number if the rate is unlimited.
  template <class K = Key>
    requires looks_up<K>
  [[nodiscard]] std::int64_t available_at(time_point now, const K& key) const {
    decltype(auto) wanted = detail::as_lookup_key<Key, Hash, Equal>(key);
    const std::uint64_t hash = detail::mixed_hash(hash_(wanted));
    const shard& s = shard_of(hash);
    const std::lock_guard lock{s.mutex};
    if (s.start.limits.unlimited()) return std::numeric_limits<std::int64_t>::max();
    const slot found = s.table.find(hash, wanted, equal_);
    if (found == table_type::none) return s.start.initial;
    const time_point t = std::max({now, s.latest, s.origin});
    detail::bucket_core core = s.core_of(found);
    core.rebase(t);
    return core.tokens(t);
  }

  template <class K = Key>
    requires looks_up<K>
  [[nodiscard]] std::int64_t available_approx(const K& key) const {
    return available_at(clock_.now(), key);
  }

  /// Forgets `key`: its next use finds a new bucket.  False if it was not known.
  template <class K = Key>
    requires looks_up<K>
  bool erase(const K& key) {
    decltype(auto) wanted = detail::as_lookup_key<Key, Hash, Equal>(key);
    const std::uint64_t hash = detail::mixed_hash(hash_(wanted));
    shard& s = shard_of(hash);
    std::optional<Key> gone;  // destroyed after the lock
    const std::lock_guard lock{s.mutex};
    const slot found = s.table.find(hash, wanted, equal_);
    if (found == table_type::none) return false;
    gone.emplace(s.table.extract(found));
    ++s.counts.keys.erased;
    return true;
  }

  /// Forgets every key whose bucket is as new.  Never needed: each call takes its share.
  ///
  /// \return     How many.
  /// Complexity  O(keys), a shard at a time.  The keys are destroyed under the lock.
  std::size_t evict_as_new() {
    std::size_t count = 0;
    for (std::size_t i = 0; i < shard_count_; ++i) {
      const std::lock_guard lock{shards_[i].mutex};
      count += shards_[i].evict_as_new(clock_.now());
    }
    return count;
  }

  /// Goes on with other options, from now, for every key at the same instant.  `bucket.initial` counts for keys
  /// not known yet, and with `held_tokens::reset`.  A key whose bucket is as new is not known: it is forgotten
  /// first, so that it makes no difference whether it has been already.
  /// Complexity  O(keys), under the locks of all shards; the keys that are forgotten are destroyed there.
  /// Exceptions  std::invalid_argument as from the constructor; nothing is then changed.
  void reconfigure(const token_bucket_options& bucket, held_tokens kept = held_tokens::keep) {
    const detail::bucket_start next = detail::bucket_start::of(bucket);
    for (std::size_t i = 0; i < shard_count_; ++i) shards_[i].mutex.lock();
    const time_point now = clock_.now();
    for (std::size_t i = 0; i < shard_count_; ++i) {
      shards_[i].evict_as_new(now);
      shards_[i].reconfigure(now, next, kept);
    }
    for (std::size_t i = shard_count_; i-- > 0;) shards_[i].mutex.unlock();
  }

  /// How many keys are known; stale when read.
  [[nodiscard]] std::size_t size_approx() const noexcept { return stats().keys.keys; }

  [[nodiscard]] keyed_token_bucket_stats stats() const noexcept {
    keyed_token_bucket_stats sum;
    for (std::size_t i = 0; i < shard_count_; ++i) {
      const shard& s = shards_[i];
      const std::lock_guard lock{s.mutex};
      sum.keys += s.counts.keys;
      sum.keys.keys += s.table.size();
      sum.granted += s.counts.granted;
      sum.rate_limited += s.counts.rate_limited;
    }
    return sum;
  }

 private:
  /// When the bucket of a key will be full again: ticks from the origin of its shard.
  using full_at = std::int64_t;
  using table_type = detail::slot_table<Key, full_at>;
  using slot = typename table_type::slot;

  static constexpr int searched_for_room = 16;
  static constexpr int swept_at_once = 4;

  struct room {
    bool granted = true;
    slot victim = table_type::none;  // to be evicted first, if any
    bool forced = false;
  };

  struct alignas(64) shard {  // a line of its own: shards are to be used at the same time
    mutable std::mutex mutex;
    table_type table;                 // guarded by mutex
    detail::bucket_start start{};     // guarded by mutex
    time_point origin;                // guarded by mutex
    time_point latest;                // guarded by mutex; at which anything changed
    std::size_t max = 0;              // set before use
    std::size_t hand = 0;             // guarded by mutex; the next chain to sweep
    keyed_token_bucket_stats counts;  // guarded by mutex; without the gauge `keys`

    // All of them: the mutex is held.

    [[nodiscard]] detail::bucket_core core_of(slot s) const noexcept {
      return {start.limits, origin, table.state(s)};
    }

    /// `now`, or the latest instant known; the time range reaches it.
    [[nodiscard]] time_point settled(time_point now) noexcept {
      const time_point t = std::max({now, latest, origin});
      if (!detail::bucket_core{start.limits, origin}.in_range(t)) rebase(t);
      return t;
    }

    void rebase(time_point t) noexcept {
      for_each([&](detail::bucket_core& core) { core.rebase(t); });
      origin = t;
    }

    void reconfigure(time_point now, const detail::bucket_start& next, held_tokens kept) noexcept {
      const time_point t = std::max({now, latest, origin});
      for_each([&](detail::bucket_core& core) { core.reconfigure(t, next.limits, kept, next.initial); });
      start = next;
      origin = latest = t;
    }

    template <class F>
    void for_each(F f) noexcept {
      for (slot s = table.oldest(); s != table_type::none; s = table.newer(s)) {
        detail::bucket_core core = core_of(s);
        f(core);
        table.state(s) = core.full_at;
      }
    }

    /// Whether a new bucket would answer alike from `t` on: full where it starts full; at rate zero as it was at
    /// the start.  One that starts with less is not, since what has come back a new one lacks.
    [[nodiscard]] bool is_as_new(slot s, time_point t) const noexcept {
      const detail::bucket_limits& limits = start.limits;
      const bool stands = limits.speed == 0 || start.initial == limits.burst;
      return stands && core_of(s).held(t) == start.initial * limits.cost;
    }

    [[nodiscard]] Key evict_as_new(slot s, time_point t) noexcept {
      latest = t;
      ++counts.keys.evicted_as_new;
      return table.extract(s);
    }

    /// All that are; returns how many.  The keys are destroyed.
    std::size_t evict_as_new(time_point now) noexcept {
      const time_point t = settled(now);
      std::size_t count = 0;
      for (slot next = table.oldest(); next != table_type::none;) {
        const slot one = std::exchange(next, table.newer(next));
        if (!is_as_new(one, t)) continue;
        static_cast<void>(evict_as_new(one, t));
        ++count;
      }
      return count;
    }

    /// Where room for one more key would come from; changes nothing.
    [[nodiscard]] room find_room(time_point t, keyed_overflow when_full) const noexcept {
      if (table.size() < max) return {};
      slot candidate = table.oldest();
      for (int i = 0; i < searched_for_room && candidate != table_type::none; ++i) {
        if (is_as_new(candidate, t)) return {true, candidate, false};
        candidate = table.newer(candidate);
      }
      if (when_full == keyed_overflow::evict_oldest) return {true, table.oldest(), true};
      return {false, table_type::none, false};
    }
  };

  /// Keys taken out under the lock; gone once it is free.
  class graveyard {
   public:
    void add(Key&& key) noexcept { keys_[count_++].emplace(std::move(key)); }

   private:
    std::optional<Key> keys_[swept_at_once];  // one step of the sweep, or the one that made room
    int count_ = 0;
  };

  [[nodiscard]] shard& shard_of(std::uint64_t hash) const noexcept {
    // The upper half, scaled: the chains go by the lower one.
    return shards_[((hash >> 32U) * shard_count_) >> 32U];
  }

  template <class K>
  outcome<void> attempt(time_point now, const K& key, std::uint64_t n) {
    if (n == 0) return {};
    const std::uint64_t hash = detail::mixed_hash(hash_(key));
    shard& s = shard_of(hash);
    {
      graveyard dead;
      const std::lock_guard lock{s.mutex};
      if (const auto decided = without_bucket(s, n)) return *decided;
      const time_point t = s.settled(now);
      if (const slot known = s.table.find(hash, key, equal_); known != table_type::none) {
        s.table.touch(known);
        const outcome<void> result = take(s, known, now, t, n);
        sweep(s, t, dead);
        return result;
      }
      sweep(s, t, dead);
      if (!s.find_room(t, when_full_).granted) return without_room(s, now, t, n);
    }
    Key copy(key);

    graveyard dead;
    const std::lock_guard lock{s.mutex};
    if (const auto decided = without_bucket(s, n)) return *decided;
    const time_point t = s.settled(now);
    slot known = s.table.find(hash, key, equal_);  // somebody may have been quicker
    if (known == table_type::none) {
      const room r = s.find_room(t, when_full_);
      if (!r.granted) return without_room(s, now, t, n);
      if (r.victim != table_type::none) {
        if (r.forced) {
          ++s.counts.keys.evicted_forced;
          dead.add(s.table.extract(r.victim));
        } else {
          dead.add(s.evict_as_new(r.victim, t));
        }
      }
      known = s.table.insert(std::move(copy), hash, new_bucket(s, t));
      ++s.counts.keys.created;
    } else {
      s.table.touch(known);
    }
    return take(s, known, now, t, n);
  }

  // From here on the lock of the shard is held.

  /// What is answered alike for every key.
  static std::optional<outcome<void>> without_bucket(shard& s, std::uint64_t n) noexcept {
    if (s.start.limits.unlimited()) {
      ++s.counts.granted;
      return outcome<void>{};
    }
    if (n > static_cast<std::uint64_t>(s.start.limits.burst)) {
      return outcome<void>{refused_for_ever(refusal_reason::exceeds_capacity)};
    }
    return std::nullopt;
  }

  /// For a key that is not known and finds no room.
  outcome<void> without_room(shard& s, time_point now, time_point t, std::uint64_t n) const noexcept {
    if (when_full_ != keyed_overflow::fail_open) {
      ++s.counts.keys.refused;
      return refusal{refusal_reason::full};
    }
    ++s.counts.keys.untracked;
    detail::bucket_core fresh = detail::bucket_core::holding(s.start.limits, t, s.start.initial);
    return decide(s, fresh, now, t, n);
  }

  static full_at new_bucket(const shard& s, time_point t) noexcept {
    const detail::bucket_core fresh = detail::bucket_core::holding(s.start.limits, t, s.start.initial);
    return detail::bucket_core{s.start.limits, s.origin}.ticks(t) + fresh.full_at;
  }

  static outcome<void> take(shard& s, slot known, time_point now, time_point t, std::uint64_t n) noexcept {
    detail::bucket_core core = s.core_of(known);
    const outcome<void> result = decide(s, core, now, t, n);
    if (result) {
      s.table.state(known) = core.full_at;
      s.latest = t;
    }
    return result;
  }

  static outcome<void> decide(shard& s, detail::bucket_core& core, time_point now, time_point t,
                              std::uint64_t n) noexcept {
    const detail::bucket_answer answer = core.ask(t, static_cast<std::int64_t>(n));
    if (answer.excess <= 0) {
      core.full_at = answer.full_at;
      ++s.counts.granted;
      return {};
    }
    ++s.counts.rate_limited;
    const std::optional<duration> wait = core.wait_for(answer.excess);
    if (!wait) return refused_for_ever(refusal_reason::rate_limited);
    return refusal{refusal_reason::rate_limited, elapsed(now, saturating_add(t, *wait))};
  }

  /// One step: the as-new of one chain.
  static void sweep(shard& s, time_point t, graveyard& dead) noexcept {
    slot next = s.table.chain_at(s.hand++);
    for (int i = 0; next != table_type::none && i < swept_at_once; ++i) {
      const slot one = std::exchange(next, s.table.next_in_chain(next));
      if (s.is_as_new(one, t)) dead.add(s.evict_as_new(one, t));
    }
  }

  const keyed_overflow when_full_;
  const std::size_t shard_count_;
  const std::unique_ptr<shard[]> shards_;
  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Hash hash_;
  [[no_unique_address]] Equal equal_;
  [[no_unique_address]] Observer observer_;
};

}  // namespace weir::inline v0
