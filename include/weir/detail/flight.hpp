// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/detail/parking.hpp>
#include <weir/detail/probe.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

namespace weir::inline v0::detail {

/// One call that several callers share: the leader makes it on its own thread, the others wait for it.
///
/// Life  made by the leader; listed; joined by others; landed once, or dropped from the list before that
///       (overtaken): it then lands for those who wait already, and for nobody else.
template <class Key, class Landing>
struct flight {
  flight(Key of, std::size_t hashed) : key{std::move(of)}, hash{hashed} {}

  const Key key;
  const std::size_t hash;
  const std::thread::id leader = std::this_thread::get_id();
  std::stop_source work{std::nostopstate};  // has a state only if the call takes a stop_token

  // The rest is guarded by the lock of the component; `landing` is constant once it is there.
  std::optional<Landing> landing;
  wait_list waiters;
  bool joined = false;
  bool leader_stopped = false;
};

/// The ways a call may take what it wants to know: `f(key, stop)`, `f(key)`, `f(stop)` or `f()`.
template <class F, class Key>
inline constexpr bool takes_stop = std::invocable<F, const Key&, std::stop_token> ||
                                   (!std::invocable<F, const Key&> && std::invocable<F, std::stop_token>);

template <class F, class Key>
concept flyable = std::invocable<F, const Key&, std::stop_token> || std::invocable<F, const Key&> ||
                  std::invocable<F, std::stop_token> || std::invocable<F>;

template <class Key, class F>
decltype(auto) fly(F&& f, const Key& key, const std::stop_source& work) {
  if constexpr (std::invocable<F, const Key&, std::stop_token>) {
    return std::invoke(std::forward<F>(f), key, work.get_token());
  } else if constexpr (std::invocable<F, const Key&>) {
    return std::invoke(std::forward<F>(f), key);
  } else if constexpr (std::invocable<F, std::stop_token>) {
    return std::invoke(std::forward<F>(f), work.get_token());
  } else {
    return std::invoke(std::forward<F>(f));
  }
}

/// The flights of one component, by key.  Every member must be called under the component's lock.
///
/// `Flight` is a `flight` or derived from one.
template <class Flight, class Equal>
class flight_table {
  using index = key_index<Flight, Equal>;

 public:
  using pointer = std::shared_ptr<Flight>;

  /// `equal` outlives the table.
  explicit flight_table(const Equal& equal) : flights_{0, stored_hash{}, stored_equal<Equal>{&equal}} {}

  /// The flight that callers of this key join; null if there is none.  May throw what the comparison throws.
  template <class K>
  [[nodiscard]] pointer find(const probe<K>& wanted) const {
    const auto at = flights_.find(wanted);
    return at == flights_.end() ? nullptr : *at;
  }

  /// Strong guarantee.
  void list(const pointer& f) { flights_.insert(f); }

  [[nodiscard]] bool lists(const Flight& f) const noexcept { return flights_.find(&f) != flights_.end(); }

  /// Takes it off the list, if it is there.  Somebody else holds `f`, so nothing is destroyed here.
  void drop(const Flight& f) noexcept {
    if (const auto at = flights_.find(&f); at != flights_.end()) flights_.erase(at);
  }

  void drop_all() noexcept { flights_.clear(); }
  [[nodiscard]] std::size_t size() const noexcept { return flights_.size(); }

  /// Hands `landing` to everybody who waits.  The next caller of the key starts anew.
  template <class Landing>
  void land(Flight& f, Landing&& landing) noexcept {
    assert(!f.landing && "a flight lands once");
    f.landing.emplace(std::forward<Landing>(landing));
    drop(f);
    while (waiter* w = f.waiters.front()) {
      f.waiters.remove(*w);
      w->park.unpark();
    }
  }

  /// Waits under `lock` (given up meanwhile) until `f` lands.  The caller has refused recursion.
  template <monotonic_clock Clock>
  [[nodiscard]] outcome<> join(std::unique_lock<std::mutex>& lock, const pointer& f, const Clock& clock,
                               deadline until, const std::stop_token& stop) {
    waiter w;
    f->waiters.push_back(w);
    f->joined = true;
    const departure leave{*this, lock, *f, w};
    lock.unlock();
    const wake_reason why = sleep(w, clock, until, stop);
    lock.lock();
    if (f->landing) return {};
    return refusal{why == wake_reason::deadline_reached ? refusal_reason::timed_out
                                                        : refusal_reason::cancelled};
  }

  /// A leader that would wait for itself would wait for ever.
  static void refuse_recursion(const Flight& f, const char* component) {
    if (f.leader != std::this_thread::get_id()) return;
    throw std::logic_error{std::string{component} +
                           ": a call for a key must not ask for the same key again from inside"};
  }

  /// Somebody who wanted the result has gone: stops the work once nobody is left.  The flight is then no
  /// longer listed, so that a caller who comes now gets a call of its own.  Work that cannot be stopped goes
  /// on to its end, so it may as well be joined.
  void abandon(std::unique_lock<std::mutex>& lock, Flight& f) noexcept {
    if (!f.leader_stopped || !f.waiters.empty() || f.landing || !f.work.stop_possible()) return;
    drop(f);
    lock.unlock();  // what hangs on the token is the user's
    f.work.request_stop();
    lock.lock();
  }

 private:
  /// However a waiter leaves, it leaves nothing behind.
  struct departure {
    flight_table& table;
    std::unique_lock<std::mutex>& lock;
    Flight& left;
    waiter& w;

    departure(flight_table& t, std::unique_lock<std::mutex>& l, Flight& f, waiter& who) noexcept
        : table{t}, lock{l}, left{f}, w{who} {}
    departure(const departure&) = delete;
    departure& operator=(const departure&) = delete;
    ~departure() {
      if (!lock.owns_lock()) lock.lock();
      left.waiters.remove(w);
      table.abandon(lock, left);
    }
  };

  index flights_;
};

/// Watches the leader's own stop_token while it makes the call.  The leader cannot leave, so its stop counts
/// only once nobody waits for the result.
template <class Table, class Flight>
class leader_watch {
 public:
  leader_watch(Table& table, std::mutex& mutex, Flight& led, const std::stop_token& stop)
      : table_{table}, mutex_{mutex}, led_{led}, on_stop_{stop, note{*this}} {}
  leader_watch(const leader_watch&) = delete;
  leader_watch& operator=(const leader_watch&) = delete;
  ~leader_watch() = default;

 private:
  struct note {
    leader_watch& self;
    void operator()() const noexcept {
      std::unique_lock lock{self.mutex_};
      self.led_.leader_stopped = true;
      self.table_.abandon(lock, self.led_);
    }
  };

  Table& table_;
  std::mutex& mutex_;
  Flight& led_;
  std::stop_callback<note> on_stop_;  // last: it may run at once
};

}  // namespace weir::inline v0::detail
