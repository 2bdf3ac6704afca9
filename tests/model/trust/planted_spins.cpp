// SPDX-License-Identifier: BSL-1.0
// Planted: bugs behind loops, yields and waits that give up, or go to sleep, before anybody else has done anything.
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>

#include "model/scenario.hpp"

namespace {

using namespace weir_model;
using enum std::memory_order;

struct two {
  std::atomic<int> a{0};
  std::atomic<int> b{0};
  int plain = 0;
};

void scan(world& w) {
  auto& slots = w.make<std::array<std::atomic<int>, 6>>();
  auto& last = w.make<std::atomic<int>>(0);
  w.thread([&] {
    int sum = 0;
    for (const auto& slot : slots) sum += slot.load(acquire);
    expect(sum != 0 || last.load(acquire) != 0, "somebody else came first");
  });
  w.thread([&] { last.store(1, release); });
}
const scenario scan_{
    "planted", "what follows a walk over six atomics may come first", {}, scan, verdict::found};

void yields(world& w) {
  auto& t = w.make<two>();
  w.thread([&t] {
    std::this_thread::yield();
    expect(t.a.load(acquire) == 1, "to yield is to wait");
  });
  w.thread([&t] { t.a.store(1, release); });
}
const scenario yields_{"planted", "to yield waits for nobody", {}, yields, verdict::found};

void yields_and_writes(world& w) {
  auto& t = w.make<two>();
  w.thread([&t] {
    std::this_thread::yield();
    t.plain = 1;
  });
  w.thread([&t] { t.plain = 2; });
}
const scenario yields_and_writes_{"planted", "a race behind a yield", {}, yields_and_writes, verdict::found};

void gives_up(world& w) {
  auto& t = w.make<two>();
  w.thread([&t] {
    for (int i = 0; i < 20 && t.a.load(acquire) == 0; ++i) {
    }
    expect(t.a.load(acquire) == 1, "twenty looks are enough");
  });
  w.thread([&t] { t.a.store(1, release); });
}
const scenario gives_up_{"planted", "a bounded spin may end in vain", {}, gives_up, verdict::found};

void tries_thrice(world& w) {
  auto& m = w.make<std::mutex>();
  w.thread([&m] { const std::lock_guard held{m}; });
  w.thread([&m] {
    for (int i = 0; i < 3; ++i) {
      if (m.try_lock()) return m.unlock();
      std::this_thread::yield();
    }
    expect(false, "the third try succeeds");
  });
}
const scenario tries_thrice_{
    "planted", "three tries of a lock may be in vain", {}, tries_thrice, verdict::found};

template <bool Signals>
void spins_then_sleeps(world& w) {
  struct room {
    std::atomic<bool> open{false};
    std::mutex mutex;
    std::condition_variable changed;
  };
  auto& r = w.make<room>();
  w.thread([&r] {
    for (int i = 0; i < 10; ++i) {
      if (r.open.load(acquire)) return;
      std::this_thread::yield();
    }
    std::unique_lock lock{r.mutex};
    r.changed.wait(lock, [&r] { return r.open.load(acquire); });
  });
  w.thread([&r] {
    if (!Signals) return r.open.store(true, release);
    const std::lock_guard lock{r.mutex};
    r.open.store(true, release);
    r.changed.notify_one();
  });
}
const scenario forgotten_sleeper{
    "planted", "who spins and then sleeps is not told", {}, spins_then_sleeps<false>, verdict::found};
const scenario told_sleeper{"planted", "who spins and then sleeps is told", {}, spins_then_sleeps<true>};

enum class notice { none, before_the_store, elsewhere, one_of_two, right };

template <notice Kind>
void notified(world& w) {
  auto& t = w.make<two>();
  constexpr int waiters = Kind == notice::one_of_two ? 2 : 1;
  for (int i = 0; i < waiters; ++i) {
    w.thread([&t] { t.a.wait(0, seq_cst); });
  }
  w.thread([&t] {
    if (Kind == notice::before_the_store) t.a.notify_all();
    t.a.store(1, seq_cst);
    if (Kind == notice::elsewhere) t.b.notify_all();
    if (Kind == notice::one_of_two) t.a.notify_one();
    if (Kind == notice::right) t.a.notify_all();
  });
}
const scenario not_notified{
    "planted", "atomic wait: nobody notifies", {}, notified<notice::none>, verdict::found};
const scenario too_early{"planted",
                         "atomic wait: notified before the store",
                         {},
                         notified<notice::before_the_store>,
                         verdict::found};
const scenario wrong_object{
    "planted", "atomic wait: another object is notified", {}, notified<notice::elsewhere>, verdict::found};
const scenario one_of_two_{
    "planted", "atomic wait: one of two is notified", {}, notified<notice::one_of_two>, verdict::found};
const scenario right_notice{"planted", "atomic wait: notified after the store", {}, notified<notice::right>};

void either_of_two(world& w) {
  auto& t = w.make<two>();
  w.thread([&t] {
    while (t.a.load(acquire) == 0 && t.b.load(acquire) == 0) {
    }
  });
  w.thread([&t] { t.b.store(1, release); });
}
const scenario either_of_two_{"planted", "a spin that looks at two atomics ends", {}, either_of_two};

#if defined(_GLIBCXX_RELEASE) && _GLIBCXX_RELEASE == 12
/// A waiter reads the counter, then sees in vain that it cannot have a place; when the counter has come back to what
/// it read, it sleeps on that.
void semaphore(world& w) {
  auto& free = w.make<std::binary_semaphore>(1);
  for (int i = 0; i < 2; ++i) {
    w.thread([&free] {
      free.acquire();
      free.release();
    });
  }
}
const scenario semaphore_{"planted",
                          "libstdc++ 12: a semaphore sleeps though it is free",
                          {.strict_wait = false},
                          semaphore,
                          verdict::found};
#endif

void compared(world& w) {
  auto& text = w.make<std::string>(40U, 'a');
  w.thread([&text] { text[39] = 'b'; });
  w.thread([&text] { expect(text == std::string(40, 'a') || text[0] == 'a'); });
}
const scenario compared_{"planted", "a race with a comparison of strings", {}, compared, verdict::found};

}  // namespace
