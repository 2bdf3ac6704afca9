// SPDX-License-Identifier: BSL-1.0
// Sleeping and being woken: the token of a parker, the protocol of the list of waiters.
#include <weir/detail/parking.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;
using weir::deadline;
using weir::detail::basic_parker;
using weir::detail::basic_wait_list;
using weir::detail::basic_waiter;
using weir::detail::condition_bell;
using weir::detail::futex_bell;
using weir::detail::wake_reason;
using real_clock = weir::steady_clock;

/// The same with a futex and with a condition variable.
struct both {
  both(const char* name, const bounds& limits, void (*with_futex)(world&), void (*with_condition)(world&))
      : futex{"parking", name, limits, with_futex},
        condition{"parking_condition", name, limits, with_condition} {}
  scenario futex, condition;
};

/// Looks twice before it sleeps, as where there are cores for it.
struct spinning_bell : futex_bell {
  [[nodiscard]] static int spins() noexcept { return 2; }
};

// ---- one parker

template <class Bell>
void unparks_once(world& w) {
  auto& p = w.make<basic_parker<Bell>>();
  auto& message = w.make<int>(0);
  w.thread([&] {
    message = 1;
    p.unpark();
  });
  w.thread([&] {
    expect(p.park_until(still_clock{}, deadline::never()));
    expect(message == 1, "what came before the unpark is seen");
  });
}

const both token_waits{"an unpark wakes, whether it comes before or after",
                       {},
                       unparks_once<futex_bell>,
                       unparks_once<condition_bell>};
const both token_only{"a wait without an unpark goes on, whatever wakes it",
                      {.early_wakes = 2},
                      unparks_once<futex_bell>,
                      unparks_once<condition_bell>};

template <class Bell>
void unparks_twice(world& w) {
  auto& p = w.make<basic_parker<Bell>>();
  auto& parked = w.make<std::atomic<bool>>(false);
  auto& message = w.make<int>(0);
  w.thread([&] {
    p.unpark();
    while (!parked.load()) std::this_thread::yield();
    message = 1;
    p.unpark();
  });
  w.thread([&] {
    expect(p.park_until(still_clock{}, deadline::never()));
    parked.store(true);
    expect(p.park_until(still_clock{}, deadline::never()));
    expect(message == 1, "the second wait has a token of its own");
  });
}

const both token_is_taken{
    "each token wakes once", {}, unparks_twice<futex_bell>, unparks_twice<condition_bell>};

/// The waiter stands on the stack; the other gets at it by an address.
template <class Bell>
void leaves_its_stack(world& w) {
  auto& where = w.make<std::atomic<basic_parker<Bell>*>>(nullptr);
  w.thread([&] {
    [&] {
      basic_parker<Bell> p;
      where.store(&p);
      expect(p.park_until(still_clock{}, deadline::never()));
    }();
    reuse_stack();
  });
  w.thread([&] {
    basic_parker<Bell>* p = nullptr;
    while ((p = where.load()) == nullptr) std::this_thread::yield();
    p->unpark();
  });
}

const both left_stack{"a waiter may leave its stack as soon as it was unparked",
                      {},
                      leaves_its_stack<futex_bell>,
                      leaves_its_stack<condition_bell>};

/// Another sleeps where the first one did when the first one's wake comes.
template <class Bell>
void address_is_used_again(world& w) {
  auto& place = w.make<std::optional<basic_parker<Bell>>>();
  auto& first = w.make<std::atomic<basic_parker<Bell>*>>(nullptr);
  auto& second = w.make<std::atomic<basic_parker<Bell>*>>(nullptr);
  auto& message = w.make<int>(0);
  w.thread([&] {
    first.store(&place.emplace());
    expect(place->park_until(still_clock{}, deadline::never()));
    second.store(&place.emplace());
    expect(place->park_until(still_clock{}, deadline::never()));
    expect(message == 1, "not woken by what was meant for another");
  });
  const auto unpark = [](const std::atomic<basic_parker<Bell>*>& where) {
    basic_parker<Bell>* p = nullptr;
    while ((p = where.load()) == nullptr) std::this_thread::yield();
    p->unpark();
  };
  w.thread([&, unpark] { unpark(first); });
  w.thread([&, unpark] {
    while (second.load() == nullptr) std::this_thread::yield();
    message = 1;
    unpark(second);
  });
}

const both used_again{"a wake that comes too late is not taken for another's",
                      {.preemptions = 3, .random_executions = 20'000},
                      address_is_used_again<futex_bell>,
                      address_is_used_again<condition_bell>};

template <class Bell>
void time_or_token(world& w) {
  auto& p = w.make<basic_parker<Bell>>();
  auto& woken = w.make<bool>(false);
  w.thread([&] { woken = p.park_until(real_clock{}, deadline::after(real_clock::now(), 1h)); });
  w.thread([&] { p.unpark(); });
  w.after([&] {
    expect(woken || virtual_time() >= 3'600'000'000'000, "false only when its time has come");
    if (!woken) expect(p.park_until(still_clock{}, deadline::never()), "the token stays");
  });
}

const both time_races_token{"time or the token ends a wait, and the token is not lost",
                            {.early_wakes = 1},
                            time_or_token<futex_bell>,
                            time_or_token<condition_bell>};

template <class Bell>
void only_time(world& w) {
  auto& p = w.make<basic_parker<Bell>>();
  w.thread([&] {
    const long long start = virtual_time();
    expect(!p.park_until(real_clock{}, deadline::after(real_clock::now(), 150min)));
    expect(virtual_time() == start + 150 * 60'000'000'000, "at its time, not an hour's nap before");
  });
}

const both exactly_then{
    "a wait that nobody ends ends at its deadline", {}, only_time<futex_bell>, only_time<condition_bell>};

const scenario spins_then_waits{
    "parking", "an unpark wakes one that looks again before it sleeps", {}, unparks_once<spinning_bell>};
const scenario spins_and_leaves{"parking",
                                "a waiter that looks again may leave its stack as soon as it was unparked",
                                {},
                                leaves_its_stack<spinning_bell>};
const scenario spins_to_its_time{
    "parking", "time ends the wait of one that looks again", {}, only_time<spinning_bell>};

// ---- the list

/// A component in small: units are given to who waits, in order.
template <class Bell>
struct counter {
  struct entrant : basic_waiter<Bell> {
    bool granted = false;  // guarded by the mutex of the counter
  };
  std::mutex mutex;
  basic_wait_list<Bell> waiters;
  int units = 0;
  int order = 0;

  template <class Clock>
  int take(const Clock& clock, deadline until, const std::stop_token& stop, wake_reason& why) {
    std::unique_lock lock{mutex};
    if (units > 0) {
      --units;
      return ++order;
    }
    entrant self;
    waiters.push_back(self);
    lock.unlock();
    why = weir::detail::sleep(self, clock, until, stop);
    lock.lock();
    if (self.granted) return ++order;
    waiters.remove(self);
    return 0;
  }

  void give() {
    const std::lock_guard lock{mutex};
    if (waiters.empty()) {
      ++units;
      return;
    }
    auto& first = static_cast<entrant&>(*waiters.front());
    waiters.remove(first);
    first.granted = true;
    first.park.unpark();
  }
};

template <class Bell>
void two_in_line(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& taken = w.make<std::array<int, 2>>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&c, &taken, i] {
      wake_reason why{};
      taken[i] = c.take(still_clock{}, deadline::never(), {}, why);
    });
  }
  w.thread([&c] {
    c.give();
    c.give();
  });
  w.after([&] {
    expect(taken[0] + taken[1] == 3, "one unit each");
    expect(c.units == 0 && c.waiters.empty() && c.waiters.size() == 0);
  });
}

const both line_of_two{"two that wait in line are both woken",
                       {.preemptions = 3, .random_executions = 20'000},
                       two_in_line<futex_bell>,
                       two_in_line<condition_bell>};

template <class Bell>
void time_or_grant(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& taken = w.make<std::array<int, 2>>();
  w.thread([&] {
    wake_reason why{};
    taken[0] = c.take(real_clock{}, deadline::after(real_clock::now(), 1h), {}, why);
    if (taken[0] == 0) expect(why == wake_reason::deadline_reached);
  });
  w.thread([&] { c.give(); });
  w.after([&] {
    expect(c.waiters.empty());
    expect(taken[0] + c.units == 1, "the unit is with the waiter or with the component");
  });
}

const both time_races_grant{"a grant at the deadline is seen or was never made",
                            {.early_wakes = 1},
                            time_or_grant<futex_bell>,
                            time_or_grant<condition_bell>};

/// A stop callback of the standard library leans on what a futex promises beyond the standard.
constexpr bounds stops{.preemptions = 2, .strict_wait = false, .random_executions = 10'000};

template <class Bell>
void stop_or_grant(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& stop = w.make<std::stop_source>();
  auto& taken = w.make<int>(0);
  w.thread([&] {
    wake_reason why{};
    taken = c.take(still_clock{}, deadline::never(), stop.get_token(), why);
    if (taken == 0) expect(why == wake_reason::stop_requested);
  });
  w.thread([&] { stop.request_stop(); });
  w.thread([&] { c.give(); });
  w.after([&] {
    expect(c.waiters.empty());
    expect(taken + c.units == 1, "the unit is with the waiter or with the component");
  });
}

const both stop_races_grant{"a grant at a stop is seen or was never made", stops, stop_or_grant<futex_bell>,
                            stop_or_grant<condition_bell>};

template <class Bell>
void only_stop(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& stop = w.make<std::stop_source>();
  w.thread([&] {
    wake_reason why{};
    expect(c.take(still_clock{}, deadline::never(), stop.get_token(), why) == 0);
    expect(why == wake_reason::stop_requested);
  });
  w.thread([&] { stop.request_stop(); });
  w.after([&] { expect(c.waiters.empty()); });
}

const both stop_wakes{"a stop ends a wait that nobody else ends", stops, only_stop<futex_bell>,
                      only_stop<condition_bell>};

/// The last in line gives up, and comes again.
template <class Bell>
void last_gives_up(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& taken = w.make<std::array<int, 2>>();
  w.thread([&] {
    wake_reason why{};
    taken[0] = c.take(still_clock{}, deadline::never(), {}, why);
  });
  w.thread([&] {
    wake_reason why{};
    expect(c.take(real_clock{}, deadline::after(real_clock::now(), 1h), {}, why) == 0);
    taken[1] = c.take(still_clock{}, deadline::never(), {}, why);
  });
  w.thread([&] {
    std::this_thread::sleep_for(2h);
    c.give();
    c.give();
  });
  w.after([&] {
    expect(taken[0] + taken[1] == 3, "one unit each");
    expect(c.units == 0 && c.waiters.empty() && c.waiters.size() == 0);
  });
}

const both relinked{"one that gave up and comes again stands behind the others",
                    {},
                    last_gives_up<futex_bell>,
                    last_gives_up<condition_bell>};

template <class Bell>
void middle_gives_up(world& w) {
  auto& c = w.make<counter<Bell>>();
  auto& taken = w.make<std::array<int, 3>>();
  for (std::size_t i = 0; i < 3; ++i) {
    w.thread([&c, &taken, i] {
      wake_reason why{};
      taken[i] = i == 1 ? c.take(real_clock{}, deadline::after(real_clock::now(), 1h), {}, why)
                        : c.take(still_clock{}, deadline::never(), {}, why);
    });
  }
  w.thread([&] {
    std::this_thread::sleep_for(2h);
    c.give();
    c.give();
  });
  w.after([&] {
    expect(taken[0] != 0 && taken[1] == 0 && taken[2] != 0);
    expect(c.units == 0 && c.waiters.empty() && c.waiters.size() == 0);
  });
}

const both unlinked{"one of three in line that gives up leaves the others in line",
                    {.preemptions = 1, .weak = false, .random_executions = 10'000},
                    middle_gives_up<futex_bell>,
                    middle_gives_up<condition_bell>};

}  // namespace
