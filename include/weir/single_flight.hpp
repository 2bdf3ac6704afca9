// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/flight.hpp>
#include <weir/detail/probe.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0 {

/// A result, and whether it was asked for by more than one caller.
template <class Value>
struct flown {
  Value value;
  bool shared = false;
};

struct single_flight_stats {
  std::uint64_t led = 0;        ///< calls made
  std::uint64_t joined = 0;     ///< callers that waited for a call of another
  std::uint64_t failed = 0;     ///< calls that ended with an exception or a refusal
  std::uint64_t abandoned = 0;  ///< waiters that gave up: deadline or stop
  std::size_t in_flight = 0;    ///< calls that can be joined now
};

/// The types of a `single_flight` that are seldom changed.  Both must be callable as const.
template <class Key>
struct single_flight_traits {
  using hash = std::hash<Key>;
  using equal = std::equal_to<Key>;
};

/// Lets one of many simultaneous callers of a key do the work and gives all of them its result.
///
/// Model       A set of flights by key.  `run` joins the flight of its key or starts one; a flight ends with
///             the call, and nothing is kept after it.
/// Invariants  I1  At most one flight a key can be joined at any time.
///             I2  Each caller of a flight gets the same result, or the same exception, or its own refusal.
///             I3  A waiter that gives up disturbs nobody.
/// Threads     The leader makes the call on its own thread, so it stays to the end whatever its deadline
///             says; its stop reaches the call only when nobody else waits.  Two calls that wait for each
///             other's key on two threads do so until a deadline comes.
/// Lifetime    No call may be running when it is destroyed.
/// When not    To keep results: see ttl_cache.
/// Source      The duplicate suppression of groupcache.
template <class Key, class Value, monotonic_clock Clock = steady_clock,
          class Traits = single_flight_traits<Key>>
class single_flight {
  static_assert(std::copy_constructible<Value>, "single_flight gives each caller its own copy of the value");

  using hash_type = typename Traits::hash;
  using equal_type = typename Traits::equal;

 public:
  explicit single_flight(Clock clock = Clock{}, hash_type hash = {}, equal_type equal = {})
      : clock_{std::move(clock)}, hash_{std::move(hash)}, equal_{std::move(equal)}, flights_{equal_} {}
  single_flight(const single_flight&) = delete;
  single_flight& operator=(const single_flight&) = delete;
  ~single_flight() = default;

  /// The result of `f` for `key`: of a call that is running, else of one made now.
  ///
  /// \param f       `f()`, `f(key)`, `f(stop_token)` or `f(key, stop_token)`, giving a Value or an
  ///                outcome<Value>.  Its token is triggered once no caller wants the result any more; a new
  ///                caller then makes a call of its own.
  /// \param until   When a waiter gives up.  A leader does not start after it, and stays to the end.
  /// \return        The value, or `timed_out`, `cancelled`, or the refusal that `f` gave back.
  /// Blocking       Until the call ends, or for a waiter `until` or `stop`.
  /// Exceptions     What `f` throws, to every caller of the flight; the same object, so treat it as const.
  ///                std::logic_error if `f` asks for its own key.
  ///                What the copy of a value throws, to that caller alone.
  /// Ordering       The end of `f` happens-before the return of every caller of the flight.
  template <class K, class F>
    requires detail::lookup_key<K, Key, hash_type, equal_type> && detail::flyable<F, Key>
  outcome<flown<Value>> run(const K& key, F&& f, deadline until = {}, std::stop_token stop = {}) {
    const auto& wanted = detail::as_lookup_key<Key, hash_type, equal_type>(key);
    const detail::probe<std::remove_cvref_t<decltype(wanted)>> probe{wanted, hash_(wanted)};
    pointer running;  // these outlive the lock: what they hold may be destroyed with them
    pointer mine;     // made without the lock, for it copies the key
    {
      std::unique_lock lock{mutex_};
      for (;;) {
        running = flights_.find(probe);
        if (running) {
          table::refuse_recursion(*running, "single_flight");
          joined_.add();
          const outcome<> landed = flights_.join(lock, running, clock_, until, stop);
          lock.unlock();
          if (!landed) return abandoned_.add(), landed.error();
          return result(*running->landing, true);
        }
        if (stop.stop_requested()) return refusal{refusal_reason::cancelled};
        if (until.reached(clock_.now())) return refusal{refusal_reason::timed_out};
        if (mine) break;
        lock.unlock();
        mine = std::make_shared<flight>(Key(wanted), probe.hash);
        if constexpr (detail::takes_stop<F, Key>) mine->work = std::stop_source{};
        lock.lock();
      }
      flights_.list(mine);
    }
    return lead(*mine, std::forward<F>(f), stop);
  }

  /// The next caller of `key` starts a call of its own; those who wait already keep theirs.
  ///
  /// \return  Whether there was a flight to forget.
  template <class K>
    requires detail::lookup_key<K, Key, hash_type, equal_type>
  bool forget(const K& key) {
    const auto& wanted = detail::as_lookup_key<Key, hash_type, equal_type>(key);
    const detail::probe<std::remove_cvref_t<decltype(wanted)>> probe{wanted, hash_(wanted)};
    pointer forgotten;  // outlives the lock
    const std::lock_guard lock{mutex_};
    forgotten = flights_.find(probe);
    if (!forgotten) return false;
    flights_.drop(*forgotten);
    return true;
  }

  [[nodiscard]] single_flight_stats stats() const {
    const std::lock_guard lock{mutex_};
    return {led_.value(), joined_.value(), failed_.value(), abandoned_.value(), flights_.size()};
  }

 private:
  struct landing {
    std::shared_ptr<const Value> value;
    std::exception_ptr error;
    std::optional<refusal> why;
  };
  using flight = detail::flight<Key, landing>;
  using table = detail::flight_table<flight, equal_type>;
  using pointer = typename table::pointer;

  template <class F>
  outcome<flown<Value>> lead(flight& mine, F&& f, const std::stop_token& stop) {
    landing end;
    try {
      const detail::leader_watch<table, flight> watch{flights_, mutex_, mine, stop};
      take(end, detail::fly(std::forward<F>(f), mine.key, mine.work));
    } catch (...) {
      end.error = std::current_exception();
    }
    led_.add();
    if (!end.value) failed_.add();
    bool shared = false;
    {
      const std::lock_guard lock{mutex_};
      flights_.land(mine, std::move(end));
      shared = mine.joined;
    }
    return result(*mine.landing, shared);
  }

  template <class R>
  static void take(landing& end, R&& result) {
    using said = std::remove_cvref_t<R>;
    // Said first, for a Value that anything converts to would swallow it.
    constexpr bool may_refuse = std::same_as<said, outcome<Value>> || std::same_as<said, refusal>;
    if constexpr (std::convertible_to<R, Value> && !may_refuse) {
      end.value = std::make_shared<const Value>(std::forward<R>(result));
    } else {
      static_assert(std::convertible_to<R, outcome<Value>>,
                    "the call of a single_flight gives back a Value or an outcome<Value>");
      outcome<Value> given{std::forward<R>(result)};
      if (given) {
        end.value = std::make_shared<const Value>(*std::move(given));
      } else {
        end.why = given.error();
      }
    }
  }

  static outcome<flown<Value>> result(const landing& end, bool shared) {
    if (end.error) std::rethrow_exception(end.error);
    if (end.why) return *end.why;
    return flown<Value>{*end.value, shared};
  }

  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] const hash_type hash_;
  [[no_unique_address]] const equal_type equal_;
  mutable std::mutex mutex_;
  table flights_;  // guarded by mutex_
  event_counter led_;
  event_counter joined_;
  event_counter failed_;
  event_counter abandoned_;
};

}  // namespace weir::inline v0
