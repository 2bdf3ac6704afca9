// SPDX-License-Identifier: BSL-1.0
// What blocks, and what the outcomes of blocking are: mutexes, condition variables, futexes, latches, threads, time;
// and what the bounds of an exploration leave out.
#include "litmus.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <thread>

namespace {

using enum std::memory_order;
using namespace std::chrono_literals;
using weir_model::world;
using weir_test::litmus;
using weir_test::outcome_book;

struct state {
  std::atomic<int> x{0};
  std::atomic<int> y{0};
  std::mutex mutex;
  std::condition_variable changed;
  int n = 0;
  int seen[4] = {};
};

// ---- mutexes

void guarded_increments(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      const std::lock_guard lock{s.mutex};
      s.seen[i] = s.n++;
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.n}); });
}

const litmus mutex_excludes{"mutex: guarded increments lose nothing", "012 102", guarded_increments};

void guarded_store_buffering(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.x.store(1, relaxed);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.y.store(1, relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mutex_orders{"mutex: critical sections are one after the other", "01 10",
                          guarded_store_buffering};

void empty_sections(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    {
      const std::lock_guard lock{s.mutex};
    }
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.store(1, relaxed);
    {
      const std::lock_guard lock{s.mutex};
    }
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mutex_hands_over{"mutex: an unlock publishes to the next lock", "01 10 11", empty_sections};

void one_sided_mutex(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.x.store(1, relaxed);
    s.y.store(1, relaxed);
  });
  w.thread([&s] {
    s.seen[0] = s.y.load(acquire);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mutex_one_sided{"mutex: held by one side alone it orders nothing", "00 01 10 11",
                             one_sided_mutex};

void two_mutexes(world& w, outcome_book& book) {
  struct more : state {
    std::mutex other;
  };
  auto& s = w.make<more>();
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.x.store(1, relaxed);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    const std::lock_guard lock{s.other};
    s.y.store(1, relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mutex_unrelated{"mutex: two of them order nothing between each other", "00 01 10 11",
                             two_mutexes};

void trying(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      const std::unique_lock lock{s.mutex, std::try_to_lock};
      s.seen[i] = lock.owns_lock() ? 1 : 0;
      if (lock) ++s.n;
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.n}); });
}

const litmus mutex_try{"mutex: try_lock fails while the other holds it", "011 101 112", trying};

// ---- condition variables

void condition(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.n = 7;
    s.changed.notify_one();
  });
  w.thread([&s] {
    std::unique_lock lock{s.mutex};
    s.seen[1] = s.n == 0 ? 1 : 0;
    s.changed.wait(lock, [&] { return s.n != 0; });
    s.seen[0] = s.n;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus cv_waits{"condition variable: waits for what it is told", "70 71", condition};
const litmus cv_spurious{"condition variable: early wakes change nothing with a predicate",
                         "70 71",
                         condition,
                         {.early_wakes = 2}};

void one_of_two_waiters(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    for (int i = 0; i < 2; ++i) {
      const std::lock_guard lock{s.mutex};
      ++s.n;
      s.changed.notify_one();
    }
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      std::unique_lock lock{s.mutex};
      s.changed.wait(lock, [&] { return s.n != 0; });
      s.seen[i] = --s.n;
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.n}); });
}

const litmus cv_either{"condition variable: either waiter may be woken", "000 010 100", one_of_two_waiters};

void timed_wait(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    const std::lock_guard lock{s.mutex};
    s.n = 1;
    s.changed.notify_one();
  });
  w.thread([&s] {
    std::unique_lock lock{s.mutex};
    s.seen[0] = s.changed.wait_for(lock, 1h, [&] { return s.n != 0; }) ? 1 : 0;
    s.seen[1] = s.n;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus cv_timed{"condition variable: time stands still while a thread can run", "11", timed_wait};
const litmus cv_timed_out{
    "condition variable: a wait whose time comes early", "00 11", timed_wait, {.early_wakes = 1}};

void nobody_notifies(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock lock{s.mutex};
    s.seen[0] = s.changed.wait_for(lock, 1h, [] { return false; }) ? 1 : 0;
    s.seen[1] = std::chrono::steady_clock::now() - start == 1h ? 1 : 0;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus cv_exact{"condition variable: an hour that nobody ends lasts an hour", "01", nobody_notifies};

// ---- futexes, by way of std::atomic::wait and what stands on it

template <std::memory_order Store, std::memory_order Wait>
void futex(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, Store);
    s.y.notify_one();
  });
  w.thread([&s] {
    s.y.wait(0, Wait);
    s.seen[0] = s.y.load(relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

// The kernel compares with what stands there; to the letter of the standard, the wait may go by any visible value, and
// then only seq_cst keeps it from sleeping through its notification (see planted_orders.cpp).
constexpr weir_model::bounds kernel{.strict_wait = false};

const litmus futex_seq_cst{"atomic wait: seq_cst", "11", futex<seq_cst, seq_cst>};
const litmus futex_ordered{"atomic wait: release and acquire, as the kernel does it", "11",
                           futex<release, acquire>, kernel};
const litmus futex_relaxed{"atomic wait: relaxed publishes nothing", "10 11", futex<relaxed, relaxed>,
                           kernel};

void futex_all(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.y.store(1, seq_cst);
    s.y.notify_all();
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      s.y.wait(0, seq_cst);
      s.seen[i] = 1;
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus futex_wakes_all{"atomic wait: notify_all wakes both waiters", "11", futex_all};

void latch(world& w, outcome_book& book) {
  struct meeting {
    std::latch both{2};
    int n[2] = {};
    int seen[2] = {};
  };
  auto& s = w.make<meeting>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      s.n[i] = 1;
      s.both.arrive_and_wait();
      s.seen[i] = s.n[1 - i];
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus latch_meets{"latch: both see what the other did before", "11", latch, kernel};

// ---- threads and time

void started_and_joined(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.seen[0] = 1;
    std::thread child{[&s] { s.seen[1] = s.seen[0] + 1; }};
    child.join();
    s.seen[2] = s.seen[1] + 1;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

const litmus threads_publish{"thread: its start and its end publish", "123", started_and_joined};

void sleeping(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    std::this_thread::sleep_for(2h);
    s.x.store(2, relaxed);
  });
  w.thread([&s] {
    std::this_thread::sleep_for(1h);
    s.seen[0] = s.x.load(relaxed);
    s.x.store(1, relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.x.load(relaxed)}); });
}

const litmus sleeps{"time: the shorter sleep ends first", "02", sleeping};

// ---- the checker's own words, and its bounds

void choices(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.seen[0] = weir_model::choose(3); });
  w.thread([&s] { s.seen[1] = weir_model::choose(2); });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus choice{"choose: every combination", "00 01 10 11 20 21", choices};

template <std::memory_order Store, std::memory_order Load>
void moments(world& w, outcome_book& book) {
  struct timeline {
    std::atomic<int> flag{0};
    weir_model::moment before = 0;
    weir_model::moment after = 0;
    int seen = 0;
  };
  auto& s = w.make<timeline>();
  w.thread([&s] {
    s.before = weir_model::now();
    s.flag.store(1, Store);
  });
  w.thread([&s] {
    s.seen = s.flag.load(Load);
    s.after = weir_model::now();
  });
  w.after([&] {
    const bool forwards = weir_model::happens_before(s.before, s.after);
    const bool backwards = weir_model::happens_before(s.after, s.before);
    book.add({s.seen, forwards ? 1 : 0, backwards ? 1 : 0});
  });
}

const litmus happens_before{"happens_before: by release and acquire, when the store is seen", "000 110",
                            moments<release, acquire>};
const litmus happens_not{"happens_before: not by relaxed operations", "000 100", moments<relaxed, relaxed>};

void store_buffering(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.store(1, relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus strong_memory{
    "bounds: without weak memory relaxed is seq_cst", "01 10 11", store_buffering, {.weak = false}};
const litmus no_preemption{"bounds: no preemption, no weak memory: one thread after the other",
                           "01 10",
                           store_buffering,
                           {.preemptions = 0, .weak = false}};
const litmus one_preemption{
    "bounds: one preemption", "01 10 11", store_buffering, {.preemptions = 1, .weak = false}};
const litmus weak_without_preemption{
    "bounds: no preemption, weak memory", "00 01 10", store_buffering, {.preemptions = 0}};

void tickets(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      s.seen[2 * i] = s.x.fetch_add(1, relaxed);
      s.seen[2 * i + 1] = s.x.fetch_add(1, relaxed);
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3]}); });
}

const litmus tickets_of_one{
    "bounds: one preemption is one, not two", "0123 0312 1203 2301", tickets, {.preemptions = 1}};
const litmus tickets_of_two{"bounds: two preemptions reach what one does not",
                            "0123 0213 0312 1203 1302 2301",
                            tickets,
                            {.preemptions = 2}};

}  // namespace
