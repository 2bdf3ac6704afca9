// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include <weir/clock.hpp>

namespace weir::inline v0 {

struct ttl_cache_options {
  /// The most entries at any instant; negative ones, and stale ones that are kept, count.  At least 1.
  std::size_t max_entries = 0;

  /// Life of a value from its last write; empty: no limit.
  std::optional<duration> expire_after_write{};

  /// Life of a value from its last read or write; empty: no limit.
  std::optional<duration> expire_after_access{};

  /// Spreads `expire_after_write` evenly over (1 - jitter) to (1 + jitter) times itself; in [0, 1).
  /// A time to live that is given with a value is kept exactly.
  double jitter = 0.0;

  /// How long "there is none" is remembered when a loader says so; empty: not at all.
  std::optional<duration> negative_ttl{};

  /// How long the exception of a loader is remembered and thrown again; empty: not at all.
  std::optional<duration> error_ttl{};

  /// Stale while revalidating: so long after expiry a value still answers `get_or_load`, while one caller
  /// loads and if that load fails.
  duration stale_for{};

  /// So long after expiry a value still stands in for a load that failed; at least `stale_for` in any case.
  duration stale_if_error{};

  /// A load that takes longer no longer holds its key: the next caller loads, and the late result is then not
  /// stored.  Empty: it holds its key to its end.
  std::optional<duration> load_lease{};

  /// Of the jitter.  The same operations at the same times with the same seed give the same state.
  std::uint64_t seed = 1;
};

/// Where an answer of `get_or_load` comes from.
enum class lookup_source : std::uint8_t {
  hit,       ///< a fresh value
  stale,     ///< a value past its time, within what the options allow
  loaded,    ///< this caller ran the loader
  joined,    ///< another caller ran it meanwhile
  negative,  ///< there is no such value: a loader said so, now or before
};

/// An answer: a value, or none if and only if `source` is `negative`.
template <class Value>
struct lookup {
  std::optional<Value> value;
  lookup_source source;

  [[nodiscard]] explicit operator bool() const noexcept { return value.has_value(); }
  [[nodiscard]] Value& operator*() noexcept { return *value; }
  [[nodiscard]] const Value& operator*() const noexcept { return *value; }
  [[nodiscard]] Value* operator->() noexcept { return &*value; }
  [[nodiscard]] const Value* operator->() const noexcept { return &*value; }
};

/// What a loader may give back to say more than the value.
template <class Value>
struct loaded {
  std::optional<Value> value;     ///< empty: there is none
  std::optional<duration> ttl{};  ///< instead of the cache's own; zero or less: do not store
};

/// Monotonic counts, and what is there now.  hits + stale + negative + misses = lookups.
struct ttl_cache_stats {
  std::uint64_t hits = 0;          ///< answered by a fresh value
  std::uint64_t stale = 0;         ///< answered at once by a stale value
  std::uint64_t negative = 0;      ///< answered by a remembered absence or failure
  std::uint64_t misses = 0;        ///< nothing to answer with at once
  std::uint64_t joined = 0;        ///< misses that waited for a load of another
  std::uint64_t abandoned = 0;     ///< of those, the ones that gave up: deadline or stop
  std::uint64_t loads_ok = 0;      ///< loads that gave a value or an absence
  std::uint64_t loads_failed = 0;  ///< loads that ended with an exception or a refusal
  duration load_time{};            ///< in all of them
  std::uint64_t explicit_ = 0;     ///< values that left, by cause, as the listener is told
  std::uint64_t replaced = 0;
  std::uint64_t expired = 0;
  std::uint64_t evicted = 0;
  std::uint64_t rejected = 0;
  std::size_t entries = 0;    ///< now, with the negative and the expired that still take room
  std::size_t in_flight = 0;  ///< loads that can be joined now
};

/// Why a value left a cache.
enum class removal_cause : std::uint8_t {
  explicit_,  ///< invalidated, or the cache was destroyed
  replaced,   ///< another value was written under its key while it was fresh
  expired,    ///< its time was over, whatever removed it then
  evicted,    ///< the room was needed
  rejected,   ///< loaded and given to the callers, never stored: overtaken, or its loader said not to
};

/// Told of each value that leaves: once, by the thread that caused it, outside every lock.
///
/// It may call the cache.
template <class L, class Key, class Value>
concept removal_listener = requires(L& listener, const Key& key, const Value& value, removal_cause cause) {
  { listener.on_removed(key, value, cause) } noexcept;
};

struct no_removal_listener {
  template <class Key, class Value>
  static constexpr void on_removed(const Key&, const Value&, removal_cause) noexcept {}
};

/// The types of a `ttl_cache` that are seldom changed: derive from it and name what differs.
template <class Key>
struct ttl_cache_traits {
  using hash = std::hash<Key>;
  using equal = std::equal_to<Key>;
  using listener = no_removal_listener;
};

}  // namespace weir::inline v0
