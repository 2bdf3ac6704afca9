// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/cache_arguments.hpp>
#include <weir/detail/cache_core.hpp>
#include <weir/detail/cache_load.hpp>
#include <weir/detail/flight.hpp>
#include <weir/detail/probe.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>
#include <weir/ttl_cache_types.hpp>

namespace weir::inline v0 {

/// Remembers values for a time, at most so many, and lets one caller load what is missing.
///
/// Model       key -> value with an instant at which it expires, exactly: at `now >= expiry` it is gone.
///             When room is needed the expired go first, then the least recently used.
/// Invariants  I1  Never more than `max_entries` entries.
///             I2  Only `get_or_load` may answer with an expired value, and only as far as the options say.
///             I3  At most one load a key can be joined; a load that an invalidation or a write of its key
///                 overtook still answers its own callers, is never stored and never joined again.
///             I4  Each value that was stored, and each that was loaded in vain, is reported to the listener
///                 once, at the latest by the destructor; what the listener stores during that is not.
/// User code   Hash, copies, loaders, predicates, the listener and destructors run outside the lock; only the
///             comparison of keys and the clock run under it and must not call the cache.  Whatever throws,
///             what is stored stays as it was; a loaded value is stored before it is copied for its callers.
/// Time        Read once an operation and clamped: what has expired stays so if the clock steps back.
///             No thread of its own: writes reclaim a few expired entries each, `maintain` as many as told.
/// Threads     Every member from any thread, the destructor apart: no call may be running then.  The listener
///             and the hash may be called by several threads at once.
/// When not    Two loaders that load each other's key on two threads wait for each other: give a deadline.
template <class Key, class Value, monotonic_clock Clock = steady_clock, class Traits = ttl_cache_traits<Key>>
class ttl_cache {
  using hash_type = typename Traits::hash;
  using equal_type = typename Traits::equal;
  using listener_type = typename Traits::listener;

  static_assert(std::is_object_v<Value> && !std::is_const_v<Value>,
                "ttl_cache<Key, Value> holds plain objects");
  static_assert(
      removal_listener<listener_type, Key, Value>,
      "the listener of a ttl_cache needs on_removed(const Key&, const Value&, removal_cause) noexcept");

  template <class K>
  static constexpr bool findable = detail::lookup_key<K, Key, hash_type, equal_type>;

 public:
  using key_type = Key;
  using mapped_type = Value;

  /// Throws std::invalid_argument if an option is out of its range.
  explicit ttl_cache(ttl_cache_options options, Clock clock = Clock{}, listener_type listener = {},
                     hash_type hash = {}, equal_type equal = {})
      : clock_{std::move(clock)},
        listener_{std::move(listener)},
        hash_{std::move(hash)},
        equal_{std::move(equal)},
        core_{detail::checked(options), equal_},
        flights_{equal_} {}
  ttl_cache(const ttl_cache&) = delete;
  ttl_cache& operator=(const ttl_cache&) = delete;
  ~ttl_cache() {
    farewell gone{*this};
    core_.clear(removal_cause::explicit_, tick(), gone.chain);
  }

  /// A copy of the fresh value.  Counts as a use.
  template <class K>
    requires findable<K> && std::copy_constructible<Value>
  [[nodiscard]] std::optional<Value> get(const K& key) {
    const pointer found = read(key);
    if (!found) return std::nullopt;
    return found->value;
  }

  /// Calls `f(const Value&)` on the fresh value without a copy; false if there is none.  Counts as a use.
  ///
  /// The value outlives the call of `f`, whatever happens to the entry meanwhile.  Keep `f` short.
  template <class K, std::invocable<const Value&> F>
    requires findable<K>
  bool visit(const K& key, F&& f) {
    const pointer found = read(key);
    if (found) std::invoke(std::forward<F>(f), *found->value);
    return found != nullptr;
  }

  /// Whether there is a fresh value.  Neither a use nor counted.
  template <class K>
    requires findable<K>
  [[nodiscard]] bool contains(const K& key) const {
    return with_key(key, [&](const auto& probe) { return peek(probe) != nullptr; });
  }

  /// The value: fresh, or stale as the options allow, or loaded, by this caller or by one that does so now.
  ///
  /// \param loader  `loader()`, `(key)`, `(stop_token)` or `(key, stop_token)`, giving a Value,
  ///                optional<Value> (empty: there is none), loaded<Value>, or an outcome of one of these.
  ///                Its token is triggered once no caller wants the result any more; a new caller then loads
  ///                for itself.  It may call the cache.
  /// \param until   When a waiter gives up.  Who loads does not start after it, and stays to the end.
  /// \return        The answer and where it is from; or `timed_out`, `cancelled`, or the loader's refusal.
  /// Stale          In `stale_for` the first caller loads, on its own thread, and gets what it loaded; the
  ///                others get the stale value at once.  If the load fails and a stale value may stand in,
  ///                all get that.
  /// Blocking       For a load: to its end, or for a waiter until `until` or `stop`.
  /// Exceptions     What the loader throws, to every caller of that load: the same object, treat it as const.
  ///                std::logic_error if the loader asks for its own key.  What the copy of a value throws, to
  ///                that caller alone.
  /// Ordering       The end of the loader happens-before the return of every caller that gets its value.
  template <class K, class L>
    requires findable<K> && detail::flyable<L, Key> && std::copy_constructible<Value>
  outcome<lookup<Value>> get_or_load(const K& key, L&& loader, deadline until = {},
                                     std::stop_token stop = {}) {
    return with_key(key, [&](const auto& probe) -> outcome<lookup<Value>> {
      pointer found;
      load_pointer running;  // these outlive the lock: what they hold may be destroyed with them
      load_pointer mine;     // made without the lock, for it copies the key
      std::unique_lock lock{mutex_};
      for (;;) {
        const time_point now = tick();
        found = core_.find(probe);
        if (found && found->fresh(now)) {
          ++(found->value ? counts_.hits : counts_.negative);
          core_.read(*found, now);
          lock.unlock();
          return answer(*found, lookup_source::hit);
        }
        running = joinable(probe, now);
        if (running) loads::refuse_recursion(*running, "ttl_cache");
        const bool may_load = !running && !until.reached(now) && !stop.stop_requested();
        const bool waits_out = found && now < found->retry_at && core_.serves_for_failure(*found, now);
        if (waits_out || (found && !may_load && core_.serves_while_loading(*found, now))) {
          ++counts_.stale;
          lock.unlock();
          return answer(*found, lookup_source::stale);
        }
        if (!running && !may_load) {
          ++counts_.misses;
          return refusal{stop.stop_requested() ? refusal_reason::cancelled : refusal_reason::timed_out};
        }
        if (running) {
          ++counts_.misses;
          ++counts_.joined;
          const outcome<> landed = flights_.join(lock, running, clock_, until, stop);
          if (!landed) return ++counts_.abandoned, landed.error();
          lock.unlock();
          return answer(*running->landing, lookup_source::joined);
        }
        if (mine) {
          flights_.list(mine);
          ++counts_.misses;
          mine->held = found;
          mine->began = now;
          break;
        }
        lock.unlock();
        found.reset();
        mine = std::make_shared<load>(Key(probe.key), probe.hash);
        if constexpr (detail::takes_stop<L, Key>) mine->work = std::stop_source{};
        lock.lock();
      }
      lock.unlock();
      return lead(*mine, std::forward<L>(loader), stop);
    });
  }

  /// Stores the value unless a fresh one is there; whether it was stored.
  ///
  /// \param ttl  Life of this value instead of `expire_after_write`.
  /// Exceptions  std::invalid_argument unless `ttl` is positive.
  bool insert(Key key, Value value, std::optional<duration> ttl = {}) {
    return put(std::move(key), std::move(value), ttl, false);
  }

  /// Stores the value; true if no fresh one was there before.  `ttl` as for `insert`.
  bool insert_or_assign(Key key, Value value, std::optional<duration> ttl = {}) {
    return put(std::move(key), std::move(value), ttl, true);
  }

  /// Stores Value(args...) unless a fresh one is there; whether it was stored.
  ///
  /// The value is made only if there is none; another thread may then still be faster.
  template <class... Args>
    requires std::constructible_from<Value, Args...>
  bool try_emplace(Key key, Args&&... args) {
    if (contains(key)) return false;
    return put(std::move(key), Value(std::forward<Args>(args)...), {}, false);
  }

  /// Replaces the value by `f(const Value*)`, null if there is none, atomically for the key.
  ///
  /// \param f    Gives back a Value, optional<Value> (empty: remove it) or loaded<Value>, whose ttl must be
  ///             positive here.  Runs without a lock, so again if the entry changed meanwhile.
  /// \return     Whether a value is stored afterwards.
  /// Exceptions  What `f` throws; std::invalid_argument for its ttl.
  template <class K, std::invocable<const Value*> F>
    requires findable<K>
  bool compute(const K& key, F&& f) {
    return with_key(key, [&](const auto& probe) {
      for (;;) {
        static_assert(!detail::is_outcome<std::remove_cvref_t<std::invoke_result_t<F&, const Value*>>>,
                      "compute must know what to store: its function may not refuse");
        const pointer seen = peek(probe);
        reply made = detail::reply_of<Value>(std::invoke(f, seen ? &*seen->value : nullptr));
        if (made.ttl) detail::check_ttl(*made.ttl);
        const pointer next =
            made.value ? std::make_shared<entry>(Key(probe.key), probe.hash, std::move(made.value)) : nullptr;
        pointer old;
        farewell gone{*this};
        const std::lock_guard lock{mutex_};
        const time_point now = tick();
        old = core_.find(probe);
        if ((visible(old, now) ? old : nullptr) != seen) continue;
        const load_pointer running = flights_.find(probe);
        if (next) {
          core_.store(next, old.get(), made.ttl, now, gone.chain);
        } else if (old) {
          core_.remove(*old, removal_cause::explicit_, now, gone.chain);
        }
        overtake(running);
        return next != nullptr;
      }
    });
  }

  /// Lets the fresh value live for `ttl` from now, and counts as a use; false if there is none.
  template <class K>
    requires findable<K>
  bool set_ttl(const K& key, duration ttl) {
    detail::check_ttl(ttl);
    return with_key(key, [&](const auto& probe) {
      pointer found;
      const std::lock_guard lock{mutex_};
      const time_point now = tick();
      found = core_.find(probe);
      if (!visible(found, now)) return false;
      core_.set_ttl(*found, ttl, now);
      return true;
    });
  }

  /// Removes the value; whether a fresh one was there.  A load of the key that is running will not be stored.
  ///
  /// Blocking  Never waits for a load.
  template <class K>
    requires findable<K>
  bool erase(const K& key) {
    return with_key(key, [&](const auto& probe) {
      pointer old;
      farewell gone{*this};
      const std::lock_guard lock{mutex_};
      const time_point now = tick();
      old = core_.find(probe);
      overtake(flights_.find(probe));
      if (!old) return false;
      core_.remove(*old, removal_cause::explicit_, now, gone.chain);
      return visible(old, now);
    });
  }

  /// The same as `erase`.
  template <class K>
    requires findable<K>
  bool invalidate(const K& key) {
    return erase(key);
  }

  /// Removes the values for which `pred(key, value)` holds, of all that are there when it is called.
  ///
  /// No load that is running then will be stored, for its value cannot be asked yet.
  /// \return     How many fresh ones it removed.
  /// Exceptions  What `pred` throws; no value is removed then.
  /// Complexity  O(entries), with a snapshot of pointers.
  template <std::predicate<const Key&, const Value&> P>
  std::size_t invalidate_if(P&& pred) {
    std::vector<pointer> judged;
    {
      const std::lock_guard lock{mutex_};
      judged = core_.values(time_point::min());  // the expired that could serve as stale are judged too
      flights_.drop_all();
    }
    std::erase_if(judged, [&](const pointer& e) { return !std::invoke(pred, e->key, *e->value); });
    std::size_t n = 0;
    farewell gone{*this};
    const std::lock_guard lock{mutex_};
    const time_point now = tick();
    flights_.drop_all();  // also those that would fall back on what is removed here
    for (const pointer& e : judged) {
      if (!core_.holds(*e)) continue;
      n += e->fresh(now) ? 1U : 0U;
      core_.remove(*e, removal_cause::explicit_, now, gone.chain);
    }
    return n;
  }

  /// Removes everything.  No load that is running will be stored.
  ///
  /// Complexity  O(loads that run) under the lock; the calling thread then destroys what was there.
  void invalidate_all() {
    core removed{ttl_cache_options{}, equal_};
    farewell gone{*this};
    time_point now;
    {
      const std::lock_guard lock{mutex_};
      now = tick();
      core_.swap_entries(removed);
      flights_.drop_all();
    }
    removed.clear(removal_cause::explicit_, now, gone.chain);
  }

  /// How many values are fresh now.  Complexity O(expired that are not yet reclaimed).
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock{mutex_};
    return core_.fresh_values(tick());
  }

  /// Calls `f(const Key&, const Value&)` for each value that is fresh when it is called, the last used first.
  /// Not a use.
  template <std::invocable<const Key&, const Value&> F>
  void for_each(F&& f) const {
    std::vector<pointer> all;
    {
      const std::lock_guard lock{mutex_};
      all = core_.values(tick());
    }
    for (const pointer& e : all) std::invoke(f, e->key, *e->value);
  }

  /// Reclaims what has expired and may not serve as stale any more, at most `budget` entries; how many.
  std::size_t maintain(std::size_t budget = std::numeric_limits<std::size_t>::max()) {
    farewell gone{*this};
    const std::lock_guard lock{mutex_};
    return core_.reclaim(tick(), budget, gone.chain);
  }

  /// Takes new options but for the seed.  What is there keeps its expiry; surplus entries are evicted.
  ///
  /// Throws std::invalid_argument as the constructor does; nothing is changed then.
  void reconfigure(const ttl_cache_options& options) {
    detail::checked(options);
    farewell gone{*this};
    const std::lock_guard lock{mutex_};
    core_.reconfigure(options, tick(), gone.chain);
  }

  [[nodiscard]] ttl_cache_stats stats() const {
    const std::lock_guard lock{mutex_};
    ttl_cache_stats all = counts_;
    all.explicit_ = removed_[index_of(removal_cause::explicit_)].value();
    all.replaced = removed_[index_of(removal_cause::replaced)].value();
    all.expired = removed_[index_of(removal_cause::expired)].value();
    all.evicted = removed_[index_of(removal_cause::evicted)].value();
    all.rejected = removed_[index_of(removal_cause::rejected)].value();
    all.entries = core_.size();
    all.in_flight = flights_.size();
    return all;
  }

 private:
  using core = detail::cache_core<Key, Value, equal_type>;
  using entry = typename core::entry;
  using pointer = typename core::pointer;
  using removals = typename core::removals;

  using landing = detail::load_landing<entry>;
  using load = detail::cache_load<Key, entry>;
  using loads = detail::flight_table<load, equal_type>;
  using load_pointer = typename loads::pointer;

  using reply = detail::load_reply<Value>;

  /// Sees off the removed once the lock is free: stands before it in the scope.
  struct farewell {
    ttl_cache& cache;
    removals chain{};

    explicit farewell(ttl_cache& c) noexcept : cache{c} {}
    farewell(const farewell&) = delete;
    farewell& operator=(const farewell&) = delete;
    ~farewell() {
      while (!chain.empty()) {
        const pointer e = chain.pop();
        if (!e->value) continue;
        cache.removed_[index_of(e->cause)].add();
        cache.listener_.on_removed(e->key, *e->value, e->cause);
      }
    }
  };

  static constexpr std::size_t index_of(removal_cause cause) noexcept {
    return static_cast<std::size_t>(cause);
  }

  /// Hashes the key, once and without the lock.
  template <class K, class F>
  decltype(auto) with_key(const K& key, F&& f) const {
    const auto& wanted = detail::as_lookup_key<Key, hash_type, equal_type>(key);
    return f(detail::probe<std::remove_cvref_t<decltype(wanted)>>{wanted, hash_(wanted)});
  }

  // Under the lock, from here to `read`.

  [[nodiscard]] time_point tick() const noexcept { return now_ = std::max(now_, clock_.now()); }
  [[nodiscard]] static bool visible(const pointer& e, time_point now) noexcept {
    return e && e->value && e->fresh(now);
  }

  /// The load to join, if any; one that outlived its lease is dropped.
  template <class K>
  [[nodiscard]] load_pointer joinable(const detail::probe<K>& probe, time_point now) {
    load_pointer running = flights_.find(probe);
    if (running && core_.options().load_lease &&
        elapsed(running->began, now) >= *core_.options().load_lease) {
      flights_.drop(*running);
      return nullptr;
    }
    return running;
  }

  /// A write of the key makes the load that is running one of the past (I3).  Comes after all that can fail.
  void overtake(const load_pointer& running) noexcept {
    if (running) flights_.drop(*running);
  }

  /// What the key still has of what it had when `ended` began.  Nothing else can be there while it is listed.
  [[nodiscard]] entry* remainder(const load& ended) const noexcept {
    return ended.held && core_.holds(*ended.held) ? ended.held.get() : nullptr;
  }

  void publish(const load& ended, const pointer& e, std::optional<duration> ttl, time_point now,
               removals& gone) {
    const bool listed = flights_.lists(ended);
    const bool lasting = ttl ? *ttl > duration::zero() : e->value || core_.options().negative_ttl;
    if (listed && lasting) return core_.store(e, remainder(ended), ttl, now, gone);
    if (entry* const old = listed ? remainder(ended) : nullptr) {
      core_.remove(*old, removal_cause::explicit_, now, gone);
    }
    if (e->value) gone.push(e, removal_cause::rejected);
  }

  /// A load failed: remembers that, as the options say.  True if a stale value stands in: one may if no write
  /// or invalidation came meanwhile.
  bool excused(const load& ended, const pointer& failure, time_point now, removals& gone) noexcept {
    if (!flights_.lists(ended)) return false;
    const bool stale = ended.held && core_.serves_for_failure(*ended.held, now);
    if (!failure || !core_.options().error_ttl) return stale;
    if (stale) {
      ended.held->retry_at = saturating_add(now, *core_.options().error_ttl);
    } else {
      try {
        core_.store(failure, remainder(ended), {}, now, gone);
      } catch (...) {  // no memory to remember it in: the next caller loads
      }
    }
    return stale;
  }

  // Without the lock, from here on.

  template <class K>
  [[nodiscard]] pointer read(const K& key) {
    return with_key(key, [&](const auto& probe) -> pointer {
      pointer found;
      const std::lock_guard lock{mutex_};
      const time_point now = tick();
      found = core_.find(probe);
      if (!found || !found->fresh(now)) return ++counts_.misses, nullptr;
      core_.read(*found, now);
      if (!found->value) return ++counts_.negative, nullptr;
      ++counts_.hits;
      return found;
    });
  }

  template <class K>
  [[nodiscard]] pointer peek(const detail::probe<K>& probe) const {
    pointer found;
    const std::lock_guard lock{mutex_};
    const time_point now = tick();
    found = core_.find(probe);
    return visible(found, now) ? found : nullptr;
  }

  bool put(Key key, Value value, std::optional<duration> ttl, bool assign) {
    if (ttl) detail::check_ttl(*ttl);
    const std::size_t hash = hash_(key);
    const auto e = std::make_shared<entry>(std::move(key), hash, std::optional<Value>{std::move(value)});
    const detail::probe<Key> probe{e->key, hash};
    pointer old;
    farewell gone{*this};
    const std::lock_guard lock{mutex_};
    const time_point now = tick();
    old = core_.find(probe);
    const bool there = visible(old, now);
    if (there && !assign) return false;
    const load_pointer running = flights_.find(probe);
    core_.store(e, old.get(), ttl, now, gone.chain);
    overtake(running);
    return !there;
  }

  template <class L>
  outcome<lookup<Value>> lead(load& mine, L&& loader, const std::stop_token& stop) {
    landing end;
    pointer made;
    std::optional<duration> ttl;
    try {
      reply said = [&] {
        const detail::leader_watch<loads, load> watch{flights_, mutex_, mine, stop};
        return detail::reply_of<Value>(detail::fly(std::forward<L>(loader), mine.key, mine.work));
      }();
      end.why = said.why;
      ttl = said.ttl;
      if (!end.why) made = std::make_shared<entry>(mine.key, mine.hash, std::move(said.value));
    } catch (...) {
      end.error = std::current_exception();
      try {
        made = std::make_shared<entry>(mine.key, mine.hash, end.error);
      } catch (...) {  // the failure is then not remembered, only thrown
      }
    }
    {
      farewell gone{*this};
      const std::lock_guard lock{mutex_};
      const time_point now = tick();
      counts_.load_time += std::min(elapsed(mine.began, now), duration::max() - counts_.load_time);
      if (made && !made->error) {
        try {
          publish(mine, made, ttl, now, gone.chain);
          end.item = made;
        } catch (...) {
          end.error = std::current_exception();
          if (made->value) gone.chain.push(made, removal_cause::rejected);
        }
      }
      ++(end.item ? counts_.loads_ok : counts_.loads_failed);
      if (!end.item && excused(mine, made && made->error ? made : nullptr, now, gone.chain)) {
        flights_.land(mine, landing{.item = mine.held, .error = {}, .why = {}, .stale = true});
      } else {
        flights_.land(mine, end);
      }
    }
    return answer(*mine.landing, lookup_source::loaded);
  }

  static outcome<lookup<Value>> answer(const entry& e, lookup_source source) {
    if (e.error) std::rethrow_exception(e.error);
    return lookup<Value>{e.value, e.value ? source : lookup_source::negative};
  }

  static outcome<lookup<Value>> answer(const landing& end, lookup_source source) {
    if (end.error) std::rethrow_exception(end.error);
    if (end.why) return *end.why;
    return answer(*end.item, end.stale ? lookup_source::stale : source);
  }

  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] listener_type listener_;
  [[no_unique_address]] const hash_type hash_;
  [[no_unique_address]] const equal_type equal_;
  mutable std::mutex mutex_;
  // Guarded by mutex_, all below but the counters of removals.
  mutable time_point now_ = time_point::min();
  core core_;
  loads flights_;
  ttl_cache_stats counts_{};
  std::array<event_counter, 5> removed_;
};

}  // namespace weir::inline v0
