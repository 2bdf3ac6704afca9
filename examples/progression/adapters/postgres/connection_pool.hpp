// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/clock.hpp>

#include "application/store.hpp"

namespace progression::pq {

/// What a pool asks of a connection.  None of the three may throw.
template <class C>
concept poolable = requires(C& c) {
  { c.is_open() } noexcept -> std::same_as<bool>;
  { c.has_news() } noexcept -> std::same_as<bool>;  ///< unread bytes: most often the server's farewell
  { c.answers() } noexcept -> std::same_as<bool>;   ///< asks the server; a round trip
};

struct pool_options {
  std::size_t max_connections = 8;
  std::size_t max_waiters = 64;    ///< callers beyond these are turned away at once
  std::size_t max_connecting = 2;  ///< connects under way at a time: a server that restarts meets no herd
  weir::duration acquire_timeout = std::chrono::seconds{1};
  weir::duration check_after_idle = std::chrono::seconds{1};
  weir::duration max_lifetime =
      std::chrono::minutes{30};  ///< a tenth less by chance, so that not all end at once
  weir::duration backoff_base = std::chrono::milliseconds{50};
  weir::duration backoff_cap = std::chrono::seconds{5};
};

struct pool_stats {
  std::size_t open = 0;
  std::size_t in_use = 0;
  std::size_t waiting = 0;
  std::uint64_t acquire_timeouts = 0;
  std::uint64_t turned_away = 0;
  std::uint64_t connects = 0;
  std::uint64_t connect_failures = 0;
  std::uint64_t discarded = 0;  ///< broken, silent, too old, or given back as doubtful
};

/// Lends at most `max_connections` connections; who finds none free waits in line, bounded in number and time.
///
/// Model          `in_use` slots are held by leases; a waiter is handed the slot of whoever gives one back,
///                first come, first served.  A slot's holder takes the idle connection used last, or connects.
/// Invariants     I1  in_use <= max_connections, open <= max_connections.
///                I2  waiting > 0 implies in_use == max_connections.
///                I3  The connection of a lease that was discarded is never lent again.
/// Back-off       After n failed connects in a row none is tried for a random time up to
///                min(cap, base * 2^(n-1)); who would have to connect is refused at once meanwhile.
/// Blocking       `acquire` waits up to acquire_timeout, and for the connect itself.  The factory and the
///                connections are never called under the lock.
template <poolable Connection, weir::monotonic_clock Clock = weir::steady_clock>
class connection_pool {
  struct pooled {
    std::unique_ptr<Connection> connection;
    weir::time_point expires;
    weir::time_point idle_since;
  };

 public:
  /// Makes a connection or throws store_error.
  using factory = std::function<std::unique_ptr<Connection>()>;

  /// A connection on loan; given back by the destructor.
  class [[nodiscard]] lease {
   public:
    lease(lease&& other) noexcept
        : pool_{std::exchange(other.pool_, nullptr)}, held_{std::move(other.held_)} {}
    lease& operator=(lease&&) = delete;
    ~lease() {
      if (pool_ != nullptr) pool_->give_back(std::move(held_), doubtful_);
    }

    [[nodiscard]] Connection& operator*() const noexcept { return *held_.connection; }
    [[nodiscard]] Connection* operator->() const noexcept { return held_.connection.get(); }

    /// Its state is not known: close it instead of lending it again.
    void discard() noexcept { doubtful_ = true; }

   private:
    friend connection_pool;
    lease(connection_pool& pool, pooled held) noexcept : pool_{&pool}, held_{std::move(held)} {}

    connection_pool* pool_;
    pooled held_;
    bool doubtful_ = false;
  };

  connection_pool(pool_options options, factory connect, Clock clock = {},
                  std::uint64_t seed = std::random_device{}())
      : options_{checked(options)}, connect_{std::move(connect)}, clock_{std::move(clock)}, random_{seed} {
    idle_.reserve(options_.max_connections);  // giving back must not fail
  }

  connection_pool(const connection_pool&) = delete;
  connection_pool& operator=(const connection_pool&) = delete;
  /// No lease may be left.
  ~connection_pool() = default;

  /// Throws store_error: `overloaded` if the line is full or the time is over, `unavailable` while connects
  /// fail.
  [[nodiscard]] lease acquire() {
    const auto until = weir::saturating_add(std::chrono::steady_clock::now(), options_.acquire_timeout);
    take_slot(until);
    try {
      for (;;) {
        std::optional<pooled> idle = take_idle_or_turn_to_connect(until);
        if (!idle) return lease{*this, connected()};
        if (fit(*idle)) return lease{*this, std::move(*idle)};
        drop(std::move(*idle));
      }
    } catch (...) {
      release_slot();
      throw;
    }
  }

  [[nodiscard]] pool_stats stats() const {
    const std::lock_guard lock{mutex_};
    pool_stats s = counters_;
    s.in_use = in_use_;
    s.open = open_;
    s.waiting = line_.size();
    return s;
  }

 private:
  struct waiter {
    std::condition_variable signal;
    bool granted = false;  // guarded by mutex_
  };

  static pool_options checked(pool_options o) {
    const auto positive = [](auto value, const char* name) {
      if (value <= decltype(value){}) {
        throw std::invalid_argument{std::string{"connection_pool: "} + name + " must be positive"};
      }
    };
    positive(o.max_connections, "max_connections");
    positive(o.max_connecting, "max_connecting");
    positive(o.max_lifetime, "max_lifetime");
    positive(o.backoff_base, "backoff_base");
    if (o.acquire_timeout < weir::duration::zero() || o.check_after_idle < weir::duration::zero()) {
      throw std::invalid_argument{"connection_pool: a time must not be negative"};
    }
    if (o.backoff_cap < o.backoff_base) {
      throw std::invalid_argument{"connection_pool: backoff_cap must not be below backoff_base"};
    }
    return o;
  }

  void take_slot(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock{mutex_};
    if (in_use_ < options_.max_connections) {
      ++in_use_;
      return;
    }
    if (line_.size() >= options_.max_waiters) {
      ++counters_.turned_away;
      throw store_error{store_failure::overloaded,
                        "every connection is in use and the line of those who wait is full"};
    }
    waiter self;
    line_.push_back(&self);
    self.signal.wait_until(lock, until, [&] { return self.granted; });
    if (self.granted) return;
    std::erase(line_, &self);
    ++counters_.acquire_timeouts;
    throw store_error{store_failure::overloaded, "no connection became free in time"};
  }

  void release_slot() noexcept {
    const std::lock_guard lock{mutex_};
    release_slot_locked();
  }

  void release_slot_locked() noexcept {
    if (line_.empty()) {
      --in_use_;
      return;
    }
    waiter* const next = line_.front();
    line_.pop_front();
    next->granted = true;
    next->signal.notify_one();  // under the lock: the waiter may be gone once it is free
  }

  /// An idle connection, or nothing: the caller may and must connect then, and has been counted as
  /// connecting.
  [[nodiscard]] std::optional<pooled> take_idle_or_turn_to_connect(
      std::chrono::steady_clock::time_point until) {
    std::unique_lock lock{mutex_};
    for (;;) {
      if (!idle_.empty()) {
        pooled last = std::move(idle_.back());
        idle_.pop_back();
        return last;
      }
      if (clock_.now() < next_connect_) {
        throw store_error{store_failure::unavailable,
                          "the database could not be reached a moment ago: " + why_};
      }
      if (connecting_ < options_.max_connecting) {
        ++connecting_;
        ++open_;
        return std::nullopt;
      }
      if (may_connect_.wait_until(lock, until) == std::cv_status::timeout && idle_.empty() &&
          connecting_ >= options_.max_connecting) {
        ++counters_.acquire_timeouts;
        throw store_error{store_failure::overloaded, "no connection was made in time"};
      }
    }
  }

  [[nodiscard]] pooled connected() {
    try {
      std::unique_ptr<Connection> made = connect_();
      const std::lock_guard lock{mutex_};
      --connecting_;
      failures_in_a_row_ = 0;
      ++counters_.connects;
      may_connect_.notify_all();
      const auto now = clock_.now();
      return pooled{std::move(made),
                    weir::saturating_add(now, options_.max_lifetime - up_to(options_.max_lifetime / 10)),
                    now};
    } catch (const std::exception& e) {
      const std::lock_guard lock{mutex_};
      --connecting_;
      --open_;
      ++counters_.connect_failures;
      may_connect_.notify_all();
      weir::duration most = options_.backoff_base;
      for (unsigned i = 0; i < failures_in_a_row_ && most < options_.backoff_cap; ++i) most *= 2;
      ++failures_in_a_row_;
      next_connect_ = weir::saturating_add(clock_.now(), up_to(std::min(most, options_.backoff_cap)));
      why_ = e.what();
      throw;
    }
  }

  /// Uniform in [0, most].  The lock must be held.
  [[nodiscard]] weir::duration up_to(weir::duration most) {
    return weir::duration{std::uniform_int_distribution<weir::duration::rep>{0, most.count()}(random_)};
  }

  /// Whether an idle connection may be lent.  Asks the server only if there is reason to.
  [[nodiscard]] bool fit(const pooled& p) const {
    const auto now = clock_.now();
    if (!p.connection->is_open() || now >= p.expires) return false;
    const bool rested = weir::elapsed(p.idle_since, now) > options_.check_after_idle;
    return !(rested || p.connection->has_news()) || p.connection->answers();
  }

  void drop(pooled p) noexcept {
    p.connection.reset();  // says good-bye to the server: not under the lock
    const std::lock_guard lock{mutex_};
    --open_;
    ++counters_.discarded;
  }

  void give_back(pooled p, bool doubtful) noexcept {
    const auto now = clock_.now();
    if (doubtful || !p.connection->is_open() || now >= p.expires) {
      drop(std::move(p));
      release_slot();
      return;
    }
    p.idle_since = now;
    const std::lock_guard lock{mutex_};
    idle_.push_back(std::move(p));
    may_connect_.notify_one();
    release_slot_locked();
  }

  const pool_options options_;
  const factory connect_;
  [[no_unique_address]] const Clock clock_;

  mutable std::mutex mutex_;  // guards everything below
  std::mt19937_64 random_;
  std::vector<pooled> idle_;  // used last at the back
  std::deque<waiter*> line_;
  std::condition_variable may_connect_;
  std::size_t in_use_ = 0;
  std::size_t open_ = 0;  // idle, lent and being made
  std::size_t connecting_ = 0;
  unsigned failures_in_a_row_ = 0;
  weir::time_point next_connect_ = weir::time_point::min();
  std::string why_;
  pool_stats counters_;
};

}  // namespace progression::pq
