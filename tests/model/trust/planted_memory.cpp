// SPDX-License-Identifier: BSL-1.0
// Planted bugs of lifetime: memory that is used after its end, freed twice, never freed, or given out again.
#include "model/scenario.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>

namespace {

using enum std::memory_order;
using weir_model::expect;
using weir_model::scenario;
using weir_model::verdict;
using weir_model::world;

// ---- a waiter on the stack of a thread that may leave

/// The waker sets the waiter's flag, then notifies it: outside the lock, the waiter may be gone by then.
template <bool UnderLock>
void waiter_on_the_stack(world& w) {
  struct waiter {
    std::condition_variable woken;
    bool called = false;
  };
  struct queue {
    std::mutex mutex;
    waiter* first = nullptr;
    bool called = false;

    void wait() {
      waiter self;
      std::unique_lock lock{mutex};
      if (called) return;
      first = &self;
      self.woken.wait(lock, [&self] { return self.called; });
    }
    void wake() {
      std::unique_lock lock{mutex};
      called = true;
      waiter* const next = first;
      if (next == nullptr) return;
      next->called = true;
      if (!UnderLock) lock.unlock();
      next->woken.notify_one();
    }
  };
  auto& q = w.make<queue>();
  w.thread([&q] { q.wait(); });
  w.thread([&q] { q.wake(); });
}

const scenario waiter_gone{"planted",
                           "a waiter on the stack is notified when it may be gone",
                           {.early_wakes = 1},
                           waiter_on_the_stack<false>,
                           verdict::found};
const scenario waiter_held{"planted",
                           "a waiter on the stack is notified under the lock",
                           {.early_wakes = 1},
                           waiter_on_the_stack<true>};

template <bool Joined>
void pointer_to_a_frame(world& w) {
  struct state {
    std::atomic<const int*> shown{nullptr};
    std::atomic<bool> read{false};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    const int local = 3;
    s.shown.store(&local, release);
    while (Joined && !s.read.load(acquire)) {
    }
  });
  w.thread([&s] {
    if (const int* const p = s.shown.load(acquire)) {
      expect(*static_cast<const volatile int*>(p) == 3, "the frame is there");
    }
    s.read.store(true, release);
  });
}

const scenario frame_gone{
    "planted", "a pointer into a frame that has ended", {}, pointer_to_a_frame<false>, verdict::found};
const scenario frame_kept{"planted", "a pointer into a frame that waits", {}, pointer_to_a_frame<true>};

// ---- nodes that are freed while they are read

template <bool Protected>
void freed_while_read(world& w) {
  struct state {
    std::atomic<int*> current{new int{1}};
    std::atomic<int> readers{0};

    state() = default;
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    ~state() { delete current.load(relaxed); }
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    if (Protected) s.readers.fetch_add(1, seq_cst);
    const int value = *s.current.load(seq_cst);
    if (Protected) s.readers.fetch_sub(1, seq_cst);
    expect(value == 1 || value == 2, "the value is old or new");
  });
  w.thread([&s] {
    const int* const old = s.current.exchange(new int{2}, seq_cst);
    while (Protected && s.readers.load(seq_cst) != 0) {
    }
    delete old;
  });
}

const scenario node_freed{
    "planted", "a node is freed while it is read", {}, freed_while_read<false>, verdict::found};
const scenario node_kept{"planted", "a node is freed when its readers have left", {}, freed_while_read<true>};

/// No race, for all is in order: the object has simply ended.
template <bool Told>
void used_afterwards(world& w) {
  struct state {
    int* object = new int{1};
    std::atomic<bool> freed{false};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    delete s.object;
    s.freed.store(true, release);
  });
  w.thread([&s] {
    const bool freed = s.freed.load(acquire);
    if (freed && !Told) expect(*static_cast<const volatile int*>(s.object) == 1, "it is still there");
  });
}

const scenario used_after{"planted",
                          "an object is used after it has been freed, in order",
                          {},
                          used_afterwards<false>,
                          verdict::found};
const scenario not_used{
    "planted", "an object is not used after it has been freed", {}, used_afterwards<true>};

/// A stack of nodes from the heap, of which `pop` frees what it has taken.
template <bool Counted>
void stack_with_reuse(world& w) {
  struct node {
    int value;
    node* next;
  };
  struct stack {
    std::atomic<node*> head{nullptr};
    std::atomic<int> popping{0};
    std::atomic<int> out[4] = {};

    stack() = default;
    stack(const stack&) = delete;
    stack& operator=(const stack&) = delete;
    ~stack() {
      while (pop() != 0) {
      }
    }
    void push(int value) {
      node* const fresh = new node{value, head.load(relaxed)};
      while (!head.compare_exchange_strong(fresh->next, fresh, acq_rel, relaxed)) {
      }
    }
    int pop() {
      popping.fetch_add(1, seq_cst);
      node* top = head.load(seq_cst);
      while (top != nullptr &&
             !head.compare_exchange_strong(top, std::atomic_ref{top->next}.load(relaxed), seq_cst)) {
      }
      const int value = top == nullptr ? 0 : top->value;
      // While another pops it may hold this node: it is then kept rather than freed and made again.
      const bool alone = popping.fetch_sub(1, seq_cst) == 1;
      if (!Counted || alone) {
        delete top;
      } else if (top != nullptr) {
        weir_model::outside([&] { kept.push(top); });
      }
      return value;
    }

    struct shelf {
      node* nodes[4] = {};
      int count = 0;
      void push(node* n) { nodes[count++] = n; }
    } kept;
  };
  auto& s = w.make<stack>();
  s.push(1);
  s.push(2);
  w.thread([&s] { s.out[s.pop()].fetch_add(1, relaxed); });
  w.thread([&s] {
    s.out[s.pop()].fetch_add(1, relaxed);
    s.out[s.pop()].fetch_add(1, relaxed);
    s.push(3);
  });
  w.after([&s] {
    for (int n = s.pop(); n != 0; n = s.pop()) s.out[n].fetch_add(1, relaxed);
    for (int n = 1; n <= 3; ++n) expect(s.out[n].load(relaxed) == 1, "each value comes out once");
    for (int i = 0; i < s.kept.count; ++i) delete s.kept.nodes[i];
  });
}

const scenario stack_reused{"planted",
                            "Treiber's stack whose nodes are reused (ABA)",
                            {.preemptions = 2, .reuse_memory = true},
                            stack_with_reuse<false>,
                            verdict::found};
const scenario stack_kept{"planted",
                          "Treiber's stack whose nodes outlive those who pop",
                          {.preemptions = 2, .reuse_memory = true},
                          stack_with_reuse<true>};

// ---- ownership

template <bool Claimed>
void freed_twice(world& w) {
  struct state {
    std::atomic<int*> object{new int{1}};
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] {
      if (Claimed) {
        delete s.object.exchange(nullptr, acq_rel);
      } else if (int* const mine = s.object.load(acquire)) {
        s.object.store(nullptr, release);
        delete mine;
      }
    });
  }
}

const scenario twice{"planted", "two threads free one object", {}, freed_twice<false>, verdict::found};
const scenario once{"planted", "the one that takes an object frees it", {}, freed_twice<true>};

template <bool Returned>
void leak(world& w) {
  struct state {
    std::atomic<int*> slot{nullptr};

    state() = default;
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    ~state() { delete slot.load(relaxed); }
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] {
      int* const mine = new int{1};
      int* none = nullptr;
      const bool placed = s.slot.compare_exchange_strong(none, mine, acq_rel, relaxed);
      if (!placed && Returned) delete mine;
    });
  }
}

const scenario leaked{"planted", "the loser of a race leaks what it made", {}, leak<false>, verdict::found};
const scenario returned{"planted", "the loser of a race frees what it made", {}, leak<true>};

template <bool Owned>
void failing_allocation(world& w) {
  struct tree {
    std::atomic<int>* left = nullptr;
    std::atomic<int>* right = nullptr;
  };
  w.thread([] {
    try {
      // Allocated where a compiler may not leave it out, as it may what is new and deleted in one place.
      if (Owned) {
        const auto left = std::make_unique<std::atomic<int>>(1);
        const auto right = std::make_unique<std::atomic<int>>(2);
        expect(*left + *right == 3, "both are there");
      } else {
        const tree t{new std::atomic<int>{1}, new std::atomic<int>{2}};
        expect(*t.left + *t.right == 3, "both are there");
        delete t.left;
        delete t.right;
      }
    } catch (const std::bad_alloc&) {
    }
  });
}

const scenario second_fails{"planted",
                            "the second allocation fails and the first leaks",
                            {.failed_allocations = 1},
                            failing_allocation<false>,
                            verdict::found};
const scenario none_fails{"planted", "the same where no allocation fails", {}, failing_allocation<false>};
const scenario both_owned{
    "planted", "any allocation fails and none leaks", {.failed_allocations = 1}, failing_allocation<true>};

// ---- per-thread state

thread_local int own_count = 0;

void counts_of_its_own(world& w) {
  for (int i = 0; i < 2; ++i) {
    w.thread([] {
      for (int n = 1; n <= 2; ++n) expect(++own_count == n, "nobody else counts here");
    });
  }
}

void counts_as_if_shared(world& w) {
  auto& sum = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&sum] { sum.store(++own_count, relaxed); });
  }
  w.after([&sum] { expect(sum.load(relaxed) == 2, "both have counted"); });
}

const scenario own{"planted", "a thread_local counter is the thread's own", {}, counts_of_its_own};
const scenario shared{"planted",
                      "a thread_local counter that is taken for a shared one",
                      {},
                      counts_as_if_shared,
                      verdict::found};

}  // namespace
