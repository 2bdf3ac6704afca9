// SPDX-License-Identifier: BSL-1.0
// Planted bugs of locks, condition variables and time.
#include "model/scenario.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace {

using enum std::memory_order;
using namespace std::chrono_literals;
using weir_model::expect;
using weir_model::scenario;
using weir_model::verdict;
using weir_model::world;

struct mailbox {
  std::mutex mutex;
  std::condition_variable filled;
  std::atomic<int> letters{0};
  int taken[2] = {};
};

// ---- the lock and the notification

enum class delivery { without_lock, notify_after_unlock, notify_under_lock };

template <delivery How>
void notification(world& w) {
  auto& m = w.make<mailbox>();
  w.thread([&m] {
    if constexpr (How == delivery::without_lock) {
      m.letters.fetch_add(1, seq_cst);
      m.filled.notify_one();
    } else {
      std::unique_lock lock{m.mutex};
      m.letters.fetch_add(1, relaxed);
      if (How == delivery::notify_after_unlock) lock.unlock();
      m.filled.notify_one();
    }
  });
  w.thread([&m] {
    std::unique_lock lock{m.mutex};
    m.filled.wait(lock, [&m] { return m.letters.load(relaxed) != 0; });
  });
}

const scenario without_lock{"planted",
                            "a condition that changes without the lock",
                            {},
                            notification<delivery::without_lock>,
                            verdict::found};
const scenario after_unlock{
    "planted", "a notification after the unlock", {}, notification<delivery::notify_after_unlock>};
const scenario under_lock{
    "planted", "a notification under the lock", {}, notification<delivery::notify_under_lock>};

/// Two producers, two consumers; `always`: every letter is notified, else only the one that ends emptiness.
template <bool Always>
void edge_triggered(world& w) {
  auto& m = w.make<mailbox>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&m] {
      const std::lock_guard lock{m.mutex};
      if (m.letters.fetch_add(1, relaxed) == 0 || Always) m.filled.notify_one();
    });
    w.thread([&m] {
      std::unique_lock lock{m.mutex};
      m.filled.wait(lock, [&m] { return m.letters.load(relaxed) != 0; });
      m.letters.fetch_sub(1, relaxed);
    });
  }
}

const scenario edge{
    "planted", "notified only when emptiness ends, two consumers", {}, edge_triggered<false>, verdict::found};
const scenario level{"planted", "notified for every letter, two consumers", {}, edge_triggered<true>};

/// One condition variable for two conditions: the one notification may wake the wrong waiter.
template <bool All>
void shared_condition(world& w) {
  auto& m = w.make<mailbox>();
  for (int wanted = 1; wanted <= 2; ++wanted) {
    w.thread([&m, wanted] {
      std::unique_lock lock{m.mutex};
      m.filled.wait(lock, [&m, wanted] { return m.letters.load(relaxed) >= wanted; });
    });
  }
  w.thread([&m] {
    for (int i = 0; i < 2; ++i) {
      const std::lock_guard lock{m.mutex};
      m.letters.fetch_add(1, relaxed);
      if (All) {
        m.filled.notify_all();
      } else {
        m.filled.notify_one();
      }
    }
  });
}

const scenario wrong_waiter{"planted",
                            "notify_one where two conditions share a variable",
                            {},
                            shared_condition<false>,
                            verdict::found};
const scenario all_waiters{
    "planted", "notify_all where two conditions share a variable", {}, shared_condition<true>};

template <bool Loop>
void early_wake(world& w) {
  auto& m = w.make<mailbox>();
  w.thread([&m] {
    const std::lock_guard lock{m.mutex};
    m.letters.store(1, relaxed);
    m.filled.notify_one();
  });
  w.thread([&m] {
    std::unique_lock lock{m.mutex};
    if (Loop) {
      while (m.letters.load(relaxed) == 0) m.filled.wait(lock);
    } else if (m.letters.load(relaxed) == 0) {
      m.filled.wait(lock);
    }
    expect(m.letters.load(relaxed) == 1, "there is a letter after the wait");
  });
}

const scenario unlooped{
    "planted", "a wait that does not look again", {.early_wakes = 1}, early_wake<false>, verdict::found};
const scenario unlooped_lucky{
    "planted", "a wait that does not look again, where none ends early", {}, early_wake<false>};
const scenario looped{"planted", "a wait that looks again", {.early_wakes = 1}, early_wake<true>};

/// Two waiters, one with a time: the notification that reaches it after its time must go on to the other.
template <bool Forward>
void timed_and_untimed(world& w) {
  auto& m = w.make<mailbox>();
  w.thread([&m] {
    std::unique_lock lock{m.mutex};
    m.filled.wait_for(lock, 5ms);
    // It gives up whatever has happened; somebody else may have to hear of the letter.
    if (Forward && m.letters.load(relaxed) != 0) m.filled.notify_one();
  });
  w.thread([&m] {
    std::unique_lock lock{m.mutex};
    m.filled.wait(lock, [&m] { return m.letters.load(relaxed) != 0; });
  });
  w.thread([&m] {
    const std::lock_guard lock{m.mutex};
    m.letters.store(1, relaxed);
    m.filled.notify_one();
  });
}

const scenario kept{"planted",
                    "a timed waiter that leaves with the only notification",
                    {},
                    timed_and_untimed<false>,
                    verdict::found};
const scenario forwarded{
    "planted", "a timed waiter that hands the notification on", {}, timed_and_untimed<true>};

// ---- deadlock, livelock

template <bool Ordered>
void two_locks(world& w) {
  struct pair {
    std::mutex a;
    std::mutex b;
    int n = 0;
  };
  auto& p = w.make<pair>();
  w.thread([&p] {
    const std::lock_guard first{p.a};
    const std::lock_guard second{p.b};
    ++p.n;
  });
  w.thread([&p] {
    const std::lock_guard first{Ordered ? p.a : p.b};
    const std::lock_guard second{Ordered ? p.b : p.a};
    ++p.n;
  });
}

const scenario crossed{"planted", "two mutexes in opposite orders", {}, two_locks<false>, verdict::found};
const scenario in_order{"planted", "two mutexes in one order", {}, two_locks<true>};

template <bool Unlocked>
void callback_under_lock(world& w) {
  struct registry {
    std::mutex mutex;
    int n = 0;

    int size() {
      const std::lock_guard lock{mutex};
      return n;
    }
    void add(const std::function<void()>& callback) {
      std::unique_lock lock{mutex};
      ++n;
      if (Unlocked) lock.unlock();
      callback();
    }
  };
  auto& r = w.make<registry>();
  w.thread([&r] { r.add([&r] { expect(r.size() == 1, "it was added"); }); });
}

const scenario locks_itself{"planted",
                            "a callback under the lock that it takes itself",
                            {},
                            callback_under_lock<false>,
                            verdict::found};
const scenario locks_later{"planted", "a callback after the unlock", {}, callback_under_lock<true>};

template <bool Signalled>
void spin_for_nobody(world& w) {
  auto& flag = w.make<std::atomic<bool>>(false);
  w.thread([&flag] {
    while (!flag.load(acquire)) std::this_thread::yield();
  });
  w.thread([&flag] {
    if (Signalled) flag.store(true, release);
  });
}

const scenario spins{"planted", "a spin for what nobody writes", {}, spin_for_nobody<false>, verdict::found};
const scenario ends{"planted", "a spin that ends", {}, spin_for_nobody<true>};

// ---- locks that are not given back, or given up too early

template <bool Guarded>
void exception_with_lock(world& w) {
  struct account {
    std::mutex mutex;
    int n = 0;

    void withdraw() {
      if (Guarded) {
        const std::lock_guard lock{mutex};
        refuse();
      }
      mutex.lock();
      refuse();
      mutex.unlock();
    }
    static void refuse() { throw std::runtime_error{"no money"}; }
  };
  auto& a = w.make<account>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&a] {
      try {
        a.withdraw();
      } catch (const std::runtime_error&) {
      }
      const std::lock_guard lock{a.mutex};
      ++a.n;
    });
  }
}

const scenario left_locked{
    "planted", "an exception that leaves a lock held", {}, exception_with_lock<false>, verdict::found};
const scenario unwound{"planted", "an exception that a guard unwinds", {}, exception_with_lock<true>};

template <bool Waits>
void destroyed_while_locked(world& w) {
  struct session {
    std::mutex mutex;
    int n = 0;
  };
  struct owner {
    std::unique_ptr<session> current = std::make_unique<session>();
    std::atomic<bool> inside{false};
    std::atomic<bool> done{false};
  };
  auto& o = w.make<owner>();
  w.thread([&o] {
    session& mine = *o.current;
    {
      const std::lock_guard lock{mine.mutex};
      ++mine.n;
      o.inside.store(true, release);
    }
    o.done.store(true, release);
  });
  w.thread([&o] {
    if ((Waits ? o.done : o.inside).load(acquire)) o.current.reset();
  });
}

const scenario destroyed_locked{"planted",
                                "a mutex that is destroyed while it is locked",
                                {},
                                destroyed_while_locked<false>,
                                verdict::found};
const scenario destroyed_free{
    "planted", "a mutex that is destroyed when it is free", {}, destroyed_while_locked<true>};

}  // namespace
