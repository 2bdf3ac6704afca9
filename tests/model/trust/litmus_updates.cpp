// SPDX-License-Identifier: BSL-1.0
// One location: coherence, read-modify-writes, compare-exchanges, release sequences; and every kind of atomic object.
#include "litmus.hpp"

#include <atomic>
#include <cstdint>

namespace {

using enum std::memory_order;
using std::atomic_thread_fence;
using std::memory_order;
using weir_model::world;
using weir_test::litmus;
using weir_test::outcome_book;

struct state {
  std::atomic<int> x{0};
  std::atomic<int> y{0};
  int seen[6] = {};
};

// ---- coherence

void read_read(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.x.store(2, relaxed);
  });
  w.thread([&s] {
    s.seen[0] = s.x.load(relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.x.load(relaxed)}); });
}

const litmus corr{"CoRR: a thread never goes back", "002 012 022 112 122 222", read_read};

void read_read_of_two_writers(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.x.store(1, relaxed); });
  w.thread([&s] { s.x.store(2, relaxed); });
  w.thread([&s] {
    s.seen[0] = s.x.load(relaxed);
    s.seen[1] = s.x.load(relaxed);
  });
  w.thread([&s] {
    s.seen[2] = s.x.load(relaxed);
    s.seen[3] = s.x.load(relaxed);
  });
  w.after([&] {
    const bool both_changed =
        s.seen[0] != 0 && s.seen[2] != 0 && s.seen[0] != s.seen[1] && s.seen[2] != s.seen[3];
    if (both_changed) book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3]});
  });
}

const litmus coherent_readers{"CoRR of two writers: all readers agree on their order", "1212 2121",
                              read_read_of_two_writers};

void write_read(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.seen[0] = s.x.load(relaxed);
  });
  w.thread([&s] { s.x.store(2, relaxed); });
  w.after([&] { book.add({s.seen[0], s.x.load(relaxed)}); });
}

const litmus cowr{"CoWR: a thread sees its own store or a later one", "11 12 22", write_read};

void read_write(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.seen[0] = s.x.load(relaxed);
    s.x.store(1, relaxed);
  });
  w.thread([&s] { s.x.store(2, relaxed); });
  w.after([&] { book.add({s.seen[0], s.x.load(relaxed)}); });
}

const litmus corw{"CoRW: a store comes after what its thread has seen", "01 02 21", read_write};

void write_write(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.x.store(2, relaxed);
  });
  w.after([&] { book.add({s.x.load(relaxed)}); });
}

const litmus coww{"CoWW: stores of a thread keep their order", "2", write_write};

// ---- read-modify-writes

void three_increments(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  for (int i = 0; i < 3; ++i) {
    w.thread([&s, i] { s.seen[i] = s.x.fetch_add(1, relaxed); });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.x.load(relaxed)}); });
}

const litmus rmw_atomic{"increments lose nothing", "0123 0213 1023 1203 2013 2103", three_increments};

void two_exchanges(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.seen[0] = s.x.exchange(1, relaxed); });
  w.thread([&s] { s.seen[1] = s.x.exchange(2, relaxed); });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.x.load(relaxed)}); });
}

const litmus rmw_exchange{"an exchange takes what stands last", "012 201", two_exchanges};

void update_after_stale_load(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] { s.x.store(1, relaxed); });
  w.thread([&s] {
    s.seen[0] = s.x.load(relaxed);
    s.seen[1] = s.x.fetch_add(0, relaxed);
  });
  w.thread([&s] {
    s.x.fetch_add(0, relaxed);
    s.seen[2] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

const litmus rmw_newest{"a load may be stale where an update is not", "000 001 010 011 110 111",
                        update_after_stale_load};

void arithmetic(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(6, relaxed);
    s.seen[0] = s.x.fetch_and(3, relaxed);  // 2
    s.seen[1] = s.x.fetch_or(5, relaxed);   // 7
    s.seen[2] = s.x.fetch_xor(2, relaxed);  // 5
    s.seen[3] = s.x.fetch_sub(4, relaxed);  // 1
    s.seen[4] = s.x.exchange(9, relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3], s.seen[4], s.x.load()}); });
}

const litmus rmw_arithmetic{"and, or, xor, sub, exchange", "627519", arithmetic};

// ---- compare-exchanges

template <memory_order Success, memory_order Failure, int Expected>
void compare_exchange(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, release);
  });
  w.thread([&s] {
    int expected = Expected;
    s.seen[0] = s.y.compare_exchange_strong(expected, 5, Success, Failure) ? 1 : 0;
    s.seen[1] = expected;
    s.seen[2] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

// Success, what was there, and the message.
const litmus cas_acquires{"CAS: acquire on success", "000 001 111", compare_exchange<acquire, relaxed, 1>};
const litmus cas_relaxed{"CAS: relaxed on success", "000 001 110 111", compare_exchange<relaxed, relaxed, 1>};
const litmus cas_release{"CAS: release on success acquires nothing", "000 001 110 111",
                         compare_exchange<release, relaxed, 1>};
const litmus cas_fails_relaxed{"CAS: acquire on success, relaxed on failure", "000 001 010 011",
                               compare_exchange<acquire, relaxed, 7>};
const litmus cas_fails_acquire{"CAS: relaxed message, acquire on failure", "000 001 011",
                               compare_exchange<acquire, acquire, 7>};
const litmus cas_fails_seq_cst{"CAS: seq_cst on failure acquires", "000 001 011",
                               compare_exchange<seq_cst, seq_cst, 7>};

void stale_failure(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, seq_cst);
  });
  w.thread([&s] {
    s.seen[0] = s.y.load(seq_cst);
    int expected = 1;
    s.seen[1] = s.x.compare_exchange_strong(expected, 2, relaxed, relaxed) ? 1 : 0;
    s.seen[2] = expected;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2]}); });
}

// Without the message a compare-exchange may fail on the old value though the new one stands.
const litmus cas_stale{"CAS: a failure may be stale, a success is not", "000 011 111", stale_failure};

void stale_failure_shows(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.seen[0] = s.y.exchange(1, relaxed);
  });
  w.thread([&s] {
    s.seen[1] = s.y.exchange(1, relaxed);
    int expected = 1;
    s.seen[2] = s.x.compare_exchange_strong(expected, 2, relaxed, relaxed) ? 1 : 0;
  });
  w.after([&] {
    if (s.seen[1] == 1) book.add({s.seen[2]});
  });
}

const litmus cas_stale_shows{"CAS: fails on an old value that a relaxed update does not forbid", "0 1",
                             stale_failure_shows};

void two_claims(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] {
      int expected = 0;
      s.seen[i] = s.x.compare_exchange_strong(expected, i + 1, relaxed, relaxed) ? 1 : 0;
      s.seen[i + 2] = expected;
    });
  }
  w.after([&] { book.add({s.seen[0], s.seen[1], s.seen[2], s.seen[3], s.x.load(relaxed)}); });
}

const litmus cas_claims{"CAS: of two claims one succeeds and the other sees it", "10011 01202", two_claims};

void weak_claim(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    int expected = 0;
    s.seen[0] = s.x.compare_exchange_weak(expected, 1, relaxed, relaxed) ? 1 : 0;
    s.seen[1] = expected;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.x.load(relaxed)}); });
}

void strong_claim(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    int expected = 0;
    s.seen[0] = s.x.compare_exchange_strong(expected, 1, relaxed, relaxed) ? 1 : 0;
  });
  w.after([&] { book.add({s.seen[0]}); });
}

const litmus cas_weak{"CAS: weak, without failures for no reason", "101", weak_claim};
#ifdef __clang__  // its instrumentation does not tell a weak compare-exchange from a strong one
constexpr const char* with_one_failure = "101";
#else
constexpr const char* with_one_failure = "000 101";
#endif
const litmus cas_spurious{
    "CAS: weak, with one failure for no reason", with_one_failure, weak_claim, {.failed_exchanges = 1}};
const litmus cas_strong{"CAS: strong never fails for no reason", "1", strong_claim, {.failed_exchanges = 1}};

// ---- release sequences

/// The third thread reads 2 from the flag: what may it read from the message?
template <class Continue>
void release_sequence(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.y.store(1, release);
    if constexpr (Continue::own) Continue::run(s.y);
  });
  if constexpr (!Continue::own) w.thread([&s] { Continue::run(s.y); });
  w.thread([&s] {
    s.seen[0] = s.y.load(acquire);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] {
    if (s.seen[0] == 2) book.add({s.seen[1]});
  });
}

struct by_add {
  static constexpr bool own = false;
  static void run(std::atomic<int>& flag) { flag.fetch_add(1, relaxed); }
};
struct by_own_add {
  static constexpr bool own = true;
  static void run(std::atomic<int>& flag) { flag.fetch_add(1, relaxed); }
};
struct by_compare_exchange {
  static constexpr bool own = false;
  static void run(std::atomic<int>& flag) {
    int expected = 1;
    flag.compare_exchange_strong(expected, 2, relaxed, relaxed);
  }
};
struct by_own_store {
  static constexpr bool own = true;
  static void run(std::atomic<int>& flag) { flag.store(2, relaxed); }
};
struct by_other_store {
  static constexpr bool own = false;
  static void run(std::atomic<int>& flag) {
    if (flag.load(relaxed) == 1) flag.store(2, relaxed);
  }
};

const litmus rs_add{"release sequence: an update of another thread goes on", "1", release_sequence<by_add>};
const litmus rs_own_add{"release sequence: an update of the same thread goes on", "1",
                        release_sequence<by_own_add>};
const litmus rs_cas{"release sequence: a compare-exchange goes on", "1",
                    release_sequence<by_compare_exchange>};
const litmus rs_own_store{"release sequence: C++20 ends it at a store of the same thread", "0 1",
                          release_sequence<by_own_store>};
const litmus rs_other_store{"release sequence: a store of another thread ends it", "0 1",
                            release_sequence<by_other_store>};

void two_releases_one_chain(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.seen[0] = 1;
    s.y.fetch_add(1, release);
  });
  w.thread([&s] {
    s.seen[1] = 1;
    s.y.fetch_add(1, release);
  });
  w.thread([&s] {
    if (s.y.load(acquire) == 2) s.seen[2] = s.seen[0] + s.seen[1];
  });
  w.after([&] { book.add({s.seen[2]}); });
}

// Plain memory: were the first release not heard through the second, this would be a data race.
const litmus rs_chain{"release sequence: two releases are heard by one acquire", "0 2",
                      two_releases_one_chain};

void fenced_chain(world& w, outcome_book& book) {
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    atomic_thread_fence(release);
    s.y.store(1, relaxed);
  });
  w.thread([&s] { s.y.fetch_add(1, relaxed); });
  w.thread([&s] {
    s.seen[0] = s.y.load(relaxed);
    atomic_thread_fence(acquire);
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] {
    if (s.seen[0] == 2) book.add({s.seen[1]});
  });
}

const litmus rs_fences{"release sequence: headed by a fence, heard by a fence", "1", fenced_chain};

}  // namespace
