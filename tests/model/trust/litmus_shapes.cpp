// SPDX-License-Identifier: BSL-1.0
// The shapes of the literature, on std::atomic<int>, under every order and fence that decides their outcome.
#include "litmus.hpp"

#include <atomic>

namespace {

using enum std::memory_order;
using std::atomic_thread_fence;
using std::memory_order;
using weir_model::world;
using weir_test::every_word;
using weir_test::litmus;
using weir_test::outcome_book;

struct state {
  std::atomic<int> x{0};
  std::atomic<int> y{0};
  std::atomic<int> z{0};
  int seen[6] = {};
};

/// A fence, or none: relaxed.
template <memory_order Order>
void fence() {
  if constexpr (Order != relaxed) atomic_thread_fence(Order);
}

// ---- store buffering: may both threads miss the store of the other?

template <memory_order Store, memory_order Load, memory_order First = relaxed, memory_order Second = First>
void store_buffering(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, Store);
    fence<First>();
    s.seen[0] = s.y.load(Load);
  });
  w.thread([&s] {
    s.y.store(1, Store);
    fence<Second>();
    s.seen[1] = s.x.load(Load);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus sb_relaxed{"SB, relaxed", "00 01 10 11", store_buffering<relaxed, relaxed>};
const litmus sb_release{"SB, release and acquire", "00 01 10 11", store_buffering<release, acquire>};
const litmus sb_seq_cst{"SB, seq_cst", "01 10 11", store_buffering<seq_cst, seq_cst>};
const litmus sb_strong_stores{"SB, seq_cst stores, acquire loads", "00 01 10 11",
                              store_buffering<seq_cst, acquire>};
const litmus sb_strong_loads{"SB, release stores, seq_cst loads", "00 01 10 11",
                             store_buffering<release, seq_cst>};
const litmus sb_fences{"SB, relaxed, seq_cst fences", "01 10 11", store_buffering<relaxed, relaxed, seq_cst>};
const litmus sb_weak_fences{"SB, relaxed, acq_rel fences", "00 01 10 11",
                            store_buffering<relaxed, relaxed, acq_rel>};
const litmus sb_one_fence{"SB, relaxed, one seq_cst fence", "00 01 10 11",
                          store_buffering<relaxed, relaxed, seq_cst, relaxed>};
const litmus sb_two_kinds{"SB, relaxed, a seq_cst fence and an acq_rel fence", "00 01 10 11",
                          store_buffering<relaxed, relaxed, seq_cst, acq_rel>};
const litmus sb_strong_one_fence{"SB, seq_cst, a fence besides", "01 10 11",
                                 store_buffering<seq_cst, seq_cst, seq_cst, relaxed>};

void store_buffering_fence_and_operations(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    atomic_thread_fence(seq_cst);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.store(1, seq_cst);
    s.seen[1] = s.x.load(seq_cst);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus sb_mixed{"SB, a seq_cst fence on one side, operations on the other", "01 10 11",
                      store_buffering_fence_and_operations};

template <memory_order Order>
void store_buffering_exchange(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.exchange(1, Order);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.exchange(1, Order);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus sb_exchange{"SB, acq_rel exchanges, relaxed loads", "00 01 10 11",
                         store_buffering_exchange<acq_rel>};
const litmus sb_strong_exchange{"SB, seq_cst exchanges are no fences", "00 01 10 11",
                                store_buffering_exchange<seq_cst>};

void store_buffering_updates(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.z.fetch_add(1, acq_rel);
    s.seen[0] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.store(1, relaxed);
    s.z.fetch_add(1, acq_rel);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus sb_updates{"SB, an acq_rel update of one location in between", "01 10 11",
                        store_buffering_updates};

// ---- ordered reads: two of one object order each other, whatever else is quiet between them

/// Both readers come when all has been written, so that only the order of their own reads tells what they see; the
/// updates that follow come in either order, whichever of the reads was first.
void ordered_reads(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, relaxed);
  });
  for (const int i : {0, 1}) {
    w.thread([&s, i] {
      if (s.y.load(relaxed) == 0) return;
      s.seen[i] = 1 + s.x.load(seq_cst);
      s.seen[i + 2] = 1 + s.z.fetch_add(1, relaxed);
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3]}); });
}

const litmus ordered_reads_commute_not{"R+R, seq_cst reads after relaxed stores",
                                       "0000 0101 0201 1010 2010 1112 1121 1212 1221 2112 2121 2212 2221",
                                       ordered_reads};

// ---- message passing: is what was written before the flag seen after it?

template <memory_order Store, memory_order Load, memory_order Writer = relaxed, memory_order Reader = relaxed>
void message_passing(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    fence<Writer>();
    s.y.store(1, Store);
  });
  w.thread([&s] {
    s.seen[0] = s.y.load(Load);
    fence<Reader>();
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

constexpr const char* published = "00 01 11";
constexpr const char* unpublished = "00 01 10 11";

const litmus mp_relaxed{"MP, relaxed", unpublished, message_passing<relaxed, relaxed>};
const litmus mp_release{"MP, release store, relaxed load", unpublished, message_passing<release, relaxed>};
const litmus mp_acquire{"MP, relaxed store, acquire load", unpublished, message_passing<relaxed, acquire>};
const litmus mp_both{"MP, release and acquire", published, message_passing<release, acquire>};
const litmus mp_seq_cst{"MP, seq_cst", published, message_passing<seq_cst, seq_cst>};
const litmus mp_strong_store{"MP, seq_cst store, relaxed load", unpublished,
                             message_passing<seq_cst, relaxed>};
const litmus mp_strong_load{"MP, relaxed store, seq_cst load", unpublished,
                            message_passing<relaxed, seq_cst>};
const litmus mp_mixed{"MP, seq_cst store, acquire load", published, message_passing<seq_cst, acquire>};
const litmus mp_fences{"MP, release fence, acquire fence", published,
                       message_passing<relaxed, relaxed, release, acquire>};
const litmus mp_strong_fences{"MP, seq_cst fences", published,
                              message_passing<relaxed, relaxed, seq_cst, seq_cst>};
const litmus mp_fence_load{"MP, release fence, acquire load", published,
                           message_passing<relaxed, acquire, release>};
const litmus mp_store_fence{"MP, release store, acquire fence", published,
                            message_passing<release, relaxed, relaxed, acquire>};
const litmus mp_writer_fence{"MP, release fence alone", unpublished,
                             message_passing<relaxed, relaxed, release>};
const litmus mp_reader_fence{"MP, acquire fence alone", unpublished,
                             message_passing<relaxed, relaxed, relaxed, acquire>};
const litmus mp_swapped{"MP, the fences of the wrong kind", unpublished,
                        message_passing<relaxed, relaxed, acquire, release>};

void late_fences(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, relaxed);
    atomic_thread_fence(release);
  });
  w.thread([&s] {
    atomic_thread_fence(acquire);
    s.seen[0] = s.y.load(relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mp_late{"MP, the fences on the wrong side of the flag", unpublished, late_fences};

// ---- orders that are chosen as the program runs: one instruction has several

[[gnu::noinline]] void put(std::atomic<int>& a, memory_order order) { a.store(1, order); }
[[gnu::noinline]] int look(const std::atomic<int>& a, memory_order order) { return a.load(order); }

void message_passing_chosen(world& w, outcome_book& book) {
  struct chosen : state {
    memory_order weak = relaxed;
    memory_order store = release;
    memory_order load = acquire;
  };
  auto& s = w.make<chosen>();
  w.thread([&s] {
    put(s.x, s.weak);
    put(s.y, s.store);
  });
  w.thread([&s] {
    static_cast<void>(look(s.z, s.weak));
    s.seen[0] = look(s.y, s.load);
    s.seen[1] = look(s.x, s.weak);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus mp_chosen{"MP, orders chosen at run time", "00 01 11", message_passing_chosen};

// ---- cycles through loads or stores alone: the limits of the checker

template <memory_order Load, memory_order Store>
void load_buffering(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.seen[0] = s.x.load(Load);
    s.y.store(1, Store);
  });
  w.thread([&s] {
    s.seen[1] = s.y.load(Load);
    s.x.store(1, Store);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus lb_relaxed{"LB, relaxed", "00 01 10 11", load_buffering<relaxed, relaxed>, {}, "11"};
const litmus lb_ordered{"LB, release and acquire", "00 01 10", load_buffering<acquire, release>};
const litmus lb_seq_cst{"LB, seq_cst", "00 01 10", load_buffering<seq_cst, seq_cst>};

template <memory_order Store>
void two_crossed_writes(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, Store);
    s.y.store(2, Store);
  });
  w.thread([&s] {
    s.y.store(1, Store);
    s.x.store(2, Store);
  });
  w.after([&] { book.add({s.x.load(relaxed), s.y.load(relaxed)}); });
}

const litmus two_writes_relaxed{"2+2W, relaxed", "11 12 21 22", two_crossed_writes<relaxed>, {}, "11"};
const litmus two_writes_release{"2+2W, release", "11 12 21 22", two_crossed_writes<release>, {}, "11"};
const litmus two_writes_seq_cst{"2+2W, seq_cst", "12 21 22", two_crossed_writes<seq_cst>};

// ---- S and R: a store against a load, a store against a store

template <memory_order Store, memory_order Load>
void shape_s(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(2, relaxed);
    s.y.store(1, Store);
  });
  w.thread([&s] {
    s.seen[0] = s.y.load(Load);
    s.x.store(1, relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.x.load(relaxed)}); });
}

const litmus s_ordered{"S, release and acquire", "01 02 11", shape_s<release, acquire>};
const litmus s_relaxed{"S, relaxed", "01 02 11 12", shape_s<relaxed, relaxed>, {}, "12"};

template <memory_order Store, memory_order Load, memory_order Fence = relaxed>
void shape_r(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, Store);
    fence<Fence>();
    s.y.store(1, Store);
  });
  w.thread([&s] {
    s.y.store(2, Store);
    fence<Fence>();
    s.seen[0] = s.x.load(Load);
  });
  w.after([&] { book.add({s.y.load(relaxed), s.seen[0]}); });
}

const litmus r_ordered{"R, release and acquire", "10 11 20 21", shape_r<release, acquire>};
const litmus r_seq_cst{"R, seq_cst", "10 11 21", shape_r<seq_cst, seq_cst>};
const litmus r_fences{"R, relaxed, seq_cst fences", "10 11 21", shape_r<relaxed, relaxed, seq_cst>};

// ---- three and four threads: do all see one order?

template <memory_order Store, memory_order Load, memory_order Fence = relaxed>
void independent_readers(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.x.store(1, Store); });
  w.thread([&s] { s.y.store(1, Store); });
  w.thread([&s] {
    s.seen[0] = s.x.load(Load);
    fence<Fence>();
    s.seen[1] = s.y.load(Load);
  });
  w.thread([&s] {
    s.seen[2] = s.y.load(Load);
    fence<Fence>();
    s.seen[3] = s.x.load(Load);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3]}); });
}

const litmus iriw_relaxed{"IRIW, relaxed", every_word(4), independent_readers<relaxed, relaxed>};
const litmus iriw_ordered{"IRIW, release and acquire", every_word(4), independent_readers<release, acquire>};
const litmus iriw_stores{"IRIW, seq_cst stores, acquire loads", every_word(4),
                         independent_readers<seq_cst, acquire>};
const litmus iriw_seq_cst{"IRIW, seq_cst", every_word(4, "1010"), independent_readers<seq_cst, seq_cst>};
const litmus iriw_fences{"IRIW, relaxed, seq_cst fences between the loads", every_word(4, "1010"),
                         independent_readers<relaxed, relaxed, seq_cst>};
const litmus iriw_weak_fences{"IRIW, relaxed, acq_rel fences between the loads", every_word(4),
                              independent_readers<relaxed, relaxed, acq_rel>};

template <memory_order Load, memory_order Store>
void write_to_read_causality(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.x.store(1, relaxed); });
  w.thread([&s] {
    s.seen[0] = s.x.load(Load);
    s.y.store(1, Store);
  });
  w.thread([&s] {
    s.seen[1] = s.y.load(acquire);
    s.seen[2] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

const litmus wrc_ordered{"WRC, acquire and release", every_word(3, "110"),
                         write_to_read_causality<acquire, release>};
const litmus wrc_coherent{"WRC, relaxed and release: by coherence", every_word(3, "110"),
                          write_to_read_causality<relaxed, release>};
const litmus wrc_relaxed{"WRC, acquire and relaxed", every_word(3),
                         write_to_read_causality<acquire, relaxed>};

template <memory_order Second>
void transitive_publication(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, release);
  });
  w.thread([&s] {
    s.seen[0] = s.y.load(acquire);
    s.z.store(1, Second);
  });
  w.thread([&s] {
    s.seen[1] = s.z.load(acquire);
    s.seen[2] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

const litmus isa2_ordered{"ISA2, release and acquire", every_word(3, "110"), transitive_publication<release>};
const litmus isa2_relaxed{"ISA2, the second store relaxed", every_word(3), transitive_publication<relaxed>};

/// The example by which RC11 repairs C++11: a relaxed load between two parts of a seq_cst cycle.
void shape_z6(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, seq_cst);
    s.y.store(1, release);
  });
  w.thread([&s] {
    s.seen[0] = s.y.fetch_add(1, seq_cst);
    s.seen[1] = s.y.load(relaxed);
  });
  w.thread([&s] {
    s.y.store(3, seq_cst);
    s.seen[2] = s.x.load(seq_cst);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

const litmus z6{"Z6.U", "010 011 030 031 120 121 130 131 310 311 340 341", shape_z6, {}, "130"};

}  // namespace
