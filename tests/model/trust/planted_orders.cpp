// SPDX-License-Identifier: BSL-1.0
// Planted bugs that a processor or a compiler may show: each must be found, its correct form must hold.
#include "model/scenario.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

namespace {

using enum std::memory_order;
using std::memory_order;
using weir_model::expect;
using weir_model::scenario;
using weir_model::verdict;
using weir_model::world;

// ---- publication

template <memory_order Store, memory_order Load>
void publication(world& w) {
  struct letter {
    int text = 0;
    std::atomic<bool> sent{false};
  };
  auto& l = w.make<letter>();
  w.thread([&l] {
    l.text = 42;
    l.sent.store(true, Store);
  });
  w.thread([&l] {
    if (l.sent.load(Load)) expect(l.text == 42, "the letter is read as it was written");
  });
}

const scenario relaxed_store{
    "planted", "publication by a relaxed store", {}, publication<relaxed, acquire>, verdict::found};
const scenario relaxed_load{
    "planted", "publication to a relaxed load", {}, publication<release, relaxed>, verdict::found};
const scenario published{"planted", "publication by release and acquire", {}, publication<release, acquire>};

// ---- a sleeper that is woken only if it has been seen

/// A consumer counts itself in, looks again and sleeps; a producer delivers, and rings if somebody is counted in.
template <bool Fences>
void doorbell(world& w) {
  struct house {
    std::atomic<int> parcels{0};
    std::atomic<int> sleepers{0};
    std::atomic<int> rings{0};

    void deliver() {
      parcels.fetch_add(1, release);
      if (Fences) std::atomic_thread_fence(seq_cst);
      if (sleepers.load(relaxed) == 0) return;
      rings.fetch_add(1, seq_cst);
      rings.notify_all();
    }
    void receive() {
      for (bool received = false; !received;) {
        const int heard = rings.load(seq_cst);
        sleepers.fetch_add(1, relaxed);
        if (Fences) std::atomic_thread_fence(seq_cst);
        received = parcels.load(acquire) != 0;
        if (!received) rings.wait(heard, seq_cst);
        sleepers.fetch_sub(1, relaxed);
      }
    }
  };
  auto& h = w.make<house>();
  w.thread([&h] { h.deliver(); });
  w.thread([&h] { h.receive(); });
}

const scenario doorbell_unfenced{
    "planted", "eventcount without its fences", {}, doorbell<false>, verdict::found};
const scenario doorbell_unfenced_strong{
    "planted", "eventcount without its fences, where memory is strong", {.weak = false}, doorbell<false>};
const scenario doorbell_fenced{"planted", "eventcount with its fences", {}, doorbell<true>};

/// The same bug in two lines: each side writes its own flag and reads the other's.
template <memory_order Order>
void lost_wake(world& w) {
  struct pair {
    std::atomic<bool> work{false};
    std::atomic<bool> asleep{false};
    bool left_alone = false;
    bool told = false;
  };
  auto& p = w.make<pair>();
  w.thread([&p] {
    p.work.store(true, Order);
    p.told = p.asleep.load(Order == seq_cst ? seq_cst : acquire);
  });
  w.thread([&p] {
    p.asleep.store(true, Order);
    p.left_alone = !p.work.load(Order == seq_cst ? seq_cst : acquire);
  });
  w.after([&p] { expect(p.told || !p.left_alone, "a sleeper with work is told"); });
}

const scenario lost_wake_release{
    "planted", "store buffering: a sleeper that nobody tells", {}, lost_wake<release>, verdict::found};
const scenario lost_wake_seq_cst{"planted", "store buffering: seq_cst tells it", {}, lost_wake<seq_cst>};

template <memory_order Write, memory_order Wait>
void atomic_wait(world& w) {
  auto& flag = w.make<std::atomic<int>>(0);
  w.thread([&flag] {
    flag.fetch_add(1, Write);
    flag.notify_one();
  });
  w.thread([&flag] { flag.wait(0, Wait); });
}

const scenario wait_letter{
    "planted", "atomic wait by acquire, to the letter", {}, atomic_wait<release, acquire>, verdict::found};
const scenario wait_kernel{"planted",
                           "atomic wait by acquire, as the kernel does it",
                           {.strict_wait = false},
                           atomic_wait<release, acquire>};
const scenario wait_seq_cst{
    "planted", "atomic wait by seq_cst, to the letter", {}, atomic_wait<seq_cst, seq_cst>};

// ---- mutual exclusion by flags

template <memory_order Store, memory_order Load>
void peterson(world& w) {
  struct room {
    std::atomic<bool> wants[2] = {};
    std::atomic<int> turn{0};
    int inside = 0;
  };
  auto& r = w.make<room>();
  for (int me = 0; me < 2; ++me) {
    w.thread([&r, me] {
      const int other = 1 - me;
      r.wants[me].store(true, Store);
      r.turn.store(other, Store);
      while (r.wants[other].load(Load) && r.turn.load(Load) == other) std::this_thread::yield();
      ++r.inside;
      r.wants[me].store(false, release);
    });
  }
}

const scenario peterson_ordered{
    "planted", "Peterson's lock by release and acquire", {}, peterson<release, acquire>, verdict::found};
const scenario peterson_seq_cst{"planted", "Peterson's lock by seq_cst", {}, peterson<seq_cst, seq_cst>};

template <memory_order Store, memory_order Load>
void dekker_try(world& w) {
  struct room {
    std::atomic<bool> wants[2] = {};
    int inside = 0;
  };
  auto& r = w.make<room>();
  for (int me = 0; me < 2; ++me) {
    w.thread([&r, me] {
      r.wants[me].store(true, Store);
      if (!r.wants[1 - me].load(Load)) ++r.inside;
    });
  }
}

const scenario dekker_ordered{
    "planted", "Dekker's entry by release and acquire", {}, dekker_try<release, acquire>, verdict::found};
const scenario dekker_seq_cst{"planted", "Dekker's entry by seq_cst", {}, dekker_try<seq_cst, seq_cst>};

template <memory_order Unlock>
void spin_lock(world& w) {
  struct guarded {
    std::atomic<bool> taken{false};
    int n = 0;
  };
  auto& g = w.make<guarded>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&g] {
      while (g.taken.exchange(true, acquire)) std::this_thread::yield();
      ++g.n;
      g.taken.store(false, Unlock);
    });
  }
  w.after([&g] { expect(g.n == 2, "both have been inside"); });
}

const scenario spin_relaxed{
    "planted", "spin lock with a relaxed unlock", {}, spin_lock<relaxed>, verdict::found};
const scenario spin_release{"planted", "spin lock with a releasing unlock", {}, spin_lock<release>};

// ---- lazy initialisation

template <memory_order Store, memory_order Load>
void double_checked(world& w) {
  struct lazy {
    std::mutex mutex;
    std::atomic<const int*> value{nullptr};
    std::unique_ptr<int> owned;

    int get() {
      const int* found = value.load(Load);
      if (found == nullptr) {
        const std::lock_guard lock{mutex};
        found = value.load(relaxed);
        if (found == nullptr) {
          owned = std::make_unique<int>(7);
          found = owned.get();
          value.store(found, Store);
        }
      }
      return *found;
    }
  };
  auto& l = w.make<lazy>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&l] { expect(l.get() == 7, "what is got has been made"); });
  }
}

const scenario lazy_relaxed{
    "planted", "double-checked locking, relaxed", {}, double_checked<relaxed, relaxed>, verdict::found};
const scenario lazy_ordered{
    "planted", "double-checked locking, release and acquire", {}, double_checked<release, acquire>};

// ---- a sequence lock

/// Two words that are read together; their sequence is odd while they change.
template <bool Fences>
void sequence_lock(world& w) {
  struct pair {
    std::atomic<int> sequence{0};
    std::atomic<int> a{0};
    std::atomic<int> b{0};
  };
  auto& p = w.make<pair>();
  w.thread([&p] {
    p.sequence.store(1, relaxed);
    if (Fences) std::atomic_thread_fence(release);
    p.a.store(1, relaxed);
    p.b.store(1, relaxed);
    p.sequence.store(2, release);
  });
  w.thread([&p] {
    const int before = p.sequence.load(acquire);
    const int a = p.a.load(relaxed);
    const int b = p.b.load(relaxed);
    if (Fences) std::atomic_thread_fence(acquire);
    const int after = p.sequence.load(relaxed);
    if (before == after && before % 2 == 0) expect(a == b, "the two words belong together");
  });
}

const scenario sequence_unfenced{
    "planted", "sequence lock without its fences", {}, sequence_lock<false>, verdict::found};
const scenario sequence_fenced{"planted", "sequence lock with its fences", {}, sequence_lock<true>};

// ---- a race behind a mutex

template <bool Same>
void unrelated_mutex(world& w) {
  struct state {
    std::mutex first;
    std::mutex second;
    int n = 0;
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    ++s.n;
    const std::lock_guard lock{s.first};
  });
  w.thread([&s] {
    {
      const std::lock_guard lock{s.first};
    }
    const std::lock_guard lock{s.second};
    if (!Same) ++s.n;
  });
}

// In half of the executions the mutex happens to order the two accesses; a detector that sees one of those is silent.
const scenario masked_race{
    "planted", "a data race that an unrelated mutex may hide", {}, unrelated_mutex<false>, verdict::found};
const scenario no_race{"planted", "the same without the second access", {}, unrelated_mutex<true>};

template <bool Atomic>
void plain_beside_atomic(world& w) {
  auto& n = w.make<int>(0);
  w.thread([&n] { std::atomic_ref{n}.store(1, relaxed); });
  w.thread([&n] {
    const int seen = Atomic ? std::atomic_ref{n}.load(relaxed) : *static_cast<const volatile int*>(&n);
    expect(seen == 0 || seen == 1);
  });
}

const scenario plain_read{
    "planted", "a plain read beside an atomic store", {}, plain_beside_atomic<false>, verdict::found};
const scenario atomic_read{"planted", "an atomic load beside an atomic store", {}, plain_beside_atomic<true>};

// ---- reference counts

template <memory_order Drop>
void reference_count(world& w) {
  struct counted {
    std::atomic<int> owners{2};
    int value = 1;
  };
  struct state {
    counted* object = new counted;
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] {
      expect(s.object->value == 1, "it lives as long as it is owned");
      if (s.object->owners.fetch_sub(1, Drop) == 1) delete s.object;
    });
  }
}

const scenario count_relaxed{"planted",
                             "reference count that is dropped by relaxed operations",
                             {},
                             reference_count<relaxed>,
                             verdict::found};
const scenario count_release{"planted",
                             "reference count without the acquire of the last owner",
                             {},
                             reference_count<release>,
                             verdict::found};
const scenario count_ordered{"planted", "reference count with both", {}, reference_count<acq_rel>};

void shared_pointers(world& w) {
  struct state {
    std::shared_ptr<int> owner = std::make_shared<int>(5);
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([copy = s.owner]() mutable {
      expect(*copy == 5, "it lives as long as it is owned");
      copy.reset();
    });
  }
  w.thread([&s] { s.owner.reset(); });
}

const scenario shared_pointer{"planted", "the reference count of std::shared_ptr", {}, shared_pointers};

}  // namespace
