// SPDX-License-Identifier: BSL-1.0
// Every kind of atomic object: widths, pointers, references to plain objects, flags, structures, floating point.
#include "litmus.hpp"

#include <atomic>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace {

using enum std::memory_order;
using weir_model::world;
using weir_test::litmus;
using weir_test::outcome_book;

/// Message passing through a flag of the type, relaxed or not: the object is atomic, and its orders are its own.
template <class T, std::memory_order Store, std::memory_order Load>
void message(world& w, outcome_book& book) {
  struct state {
    std::atomic<int> x{0};
    std::atomic<T> flag{T{0}};
    int seen[2] = {};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    s.x.store(1, relaxed);
    s.flag.store(T{1}, Store);
  });
  w.thread([&s] {
    s.seen[0] = s.flag.load(Load) == T{1} ? 1 : 0;
    s.seen[1] = s.x.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

enum class colour : unsigned char {};

const litmus byte_ordered{"8 bits, release and acquire", "00 01 11", message<std::uint8_t, release, acquire>};
const litmus byte_relaxed{"8 bits, relaxed", "00 01 10 11", message<std::uint8_t, relaxed, relaxed>};
const litmus short_ordered{"16 bits, release and acquire", "00 01 11",
                           message<std::int16_t, release, acquire>};
const litmus short_relaxed{"16 bits, relaxed", "00 01 10 11", message<std::int16_t, relaxed, relaxed>};
const litmus word_ordered{"32 bits, release and acquire", "00 01 11",
                          message<std::uint32_t, release, acquire>};
const litmus long_ordered{"64 bits, release and acquire", "00 01 11",
                          message<std::int64_t, release, acquire>};
const litmus long_relaxed{"64 bits, relaxed", "00 01 10 11", message<std::int64_t, relaxed, relaxed>};
const litmus bool_ordered{"bool, release and acquire", "00 01 11", message<bool, release, acquire>};
const litmus bool_relaxed{"bool, relaxed", "00 01 10 11", message<bool, relaxed, relaxed>};
const litmus enum_ordered{"an enumeration, release and acquire", "00 01 11",
                          message<colour, release, acquire>};
const litmus double_ordered{"double, release and acquire", "00 01 11", message<double, release, acquire>};

/// Arithmetic wraps at the width of the object, and both increments count.
template <class T>
void wrap(world& w, outcome_book& book) {
  using numbers = std::numeric_limits<T>;
  struct state {
    std::atomic<T> n{numbers::max()};
    T before[2] = {};
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s, i] { s.before[i] = s.n.fetch_add(1, relaxed); });
  }
  w.after([&] {
    const bool first_wrapped = s.before[0] == numbers::max() && s.before[1] == numbers::min();
    const bool second_wrapped = s.before[1] == numbers::max() && s.before[0] == numbers::min();
    const T last = s.n.load(relaxed);
    const bool right = last == static_cast<T>(numbers::min() + 1);
    book.add({first_wrapped ? 1 : 0, second_wrapped ? 1 : 0, right ? 1 : 0});
  });
}

const litmus byte_wraps{"8 bits wrap", "011 101", wrap<std::uint8_t>};
const litmus signed_byte_wraps{"8 signed bits wrap", "011 101", wrap<std::int8_t>};
const litmus short_wraps{"16 bits wrap", "011 101", wrap<std::uint16_t>};
const litmus word_wraps{"32 signed bits wrap", "011 101", wrap<std::int32_t>};
const litmus long_wraps{"64 signed bits wrap", "011 101", wrap<std::int64_t>};

void neighbours(world& w, outcome_book& book) {
  struct state {
    std::atomic<std::uint8_t> a{0};
    std::atomic<std::uint8_t> b{0};
    int seen[2] = {};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    s.a.store(1, relaxed);
    s.seen[0] = s.b.load(relaxed);
  });
  w.thread([&s] {
    s.b.store(1, relaxed);
    s.seen[1] = s.a.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.a.load(relaxed), s.b.load(relaxed)}); });
}

const litmus adjacent{"two bytes side by side are two locations", "0011 0111 1011 1111", neighbours};

template <std::memory_order Store, std::memory_order Load>
void pointer(world& w, outcome_book& book) {
  struct state {
    std::atomic<int> target{0};
    std::atomic<std::atomic<int>*> published{nullptr};
    int seen[2] = {};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    s.target.store(1, relaxed);
    s.published.store(&s.target, Store);
  });
  w.thread([&s] {
    if (const std::atomic<int>* const p = s.published.load(Load)) {
      s.seen[0] = 1;
      s.seen[1] = p->load(relaxed);
    }
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus pointer_ordered{"a pointer, release and acquire", "00 11", pointer<release, acquire>};
const litmus pointer_relaxed{"a pointer, relaxed", "00 10 11", pointer<relaxed, relaxed>};

void pointer_arithmetic(world& w, outcome_book& book) {
  struct state {
    int cells[4] = {};
    std::atomic<int*> next{cells};
  };
  auto& s = w.make<state>();
  for (int i = 1; i <= 2; ++i) {
    w.thread([&s, i] { *s.next.fetch_add(1, relaxed) = i; });
  }
  w.after([&] { book.add({s.cells[0], s.cells[1], static_cast<int>(s.next.load(relaxed) - s.cells)}); });
}

const litmus pointer_claims{"a pointer counts in elements", "122 212", pointer_arithmetic};

template <std::memory_order Store, std::memory_order Load>
void reference(world& w, outcome_book& book) {
  struct state {
    int x = 0;
    int y = 0;
    int seen[2] = {};
  };
  auto& s = w.make<state>();
  w.thread([&s] {
    std::atomic_ref{s.x}.store(1, relaxed);
    std::atomic_ref{s.y}.store(1, Store);
  });
  w.thread([&s] {
    s.seen[0] = std::atomic_ref{s.y}.load(Load);
    s.seen[1] = std::atomic_ref{s.x}.load(relaxed);
  });
  w.after([&] { book.add({s.seen[0], s.seen[1], s.x, s.y}); });
}

const litmus reference_ordered{"atomic_ref, release and acquire", "0011 0111 1111",
                               reference<release, acquire>};
const litmus reference_relaxed{"atomic_ref, relaxed", "0011 0111 1011 1111", reference<relaxed, relaxed>};

void plain_then_atomic(world& w, outcome_book& book) {
  struct state {
    int n = 5;
  };
  auto& s = w.make<state>();
  s.n = 6;
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] { std::atomic_ref{s.n}.fetch_add(1, relaxed); });
  }
  w.after([&] {
    s.n += 1;
    book.add({s.n});
  });
}

const litmus reference_mixed{"a plain object before and after its atomic_refs", "9", plain_then_atomic};

void flag_lock(world& w, outcome_book& book) {
  struct state {
    std::atomic_flag busy;
    int n = 0;
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] {
      if (s.busy.test_and_set(acquire)) return;
      ++s.n;
      s.busy.clear(release);
    });
  }
  w.after([&] { book.add({s.n, s.busy.test() ? 1 : 0}); });
}

const litmus flag{"atomic_flag excludes", "10 20", flag_lock};

void structure(world& w, outcome_book& book) {
  struct pair {
    std::int32_t a = 0;
    std::int32_t b = 0;
  };
  struct state {
    std::atomic<pair> both{pair{}};
    int seen[2] = {};
  };
  static_assert(sizeof(pair) == 8);
  auto& s = w.make<state>();
  w.thread([&s] { s.both.store(pair{1, 1}, relaxed); });
  w.thread([&s] {
    const pair p = s.both.load(relaxed);
    s.seen[0] = p.a;
    s.seen[1] = p.b;
  });
  w.after([&] { book.add({s.seen[0], s.seen[1]}); });
}

const litmus no_tearing{"a structure of 8 bytes is not torn", "00 11", structure};

void floating(world& w, outcome_book& book) {
  struct state {
    std::atomic<double> sum{0.5};
  };
  auto& s = w.make<state>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&s] { s.sum.fetch_add(1.25, relaxed); });
  }
  w.after([&] { book.add({static_cast<int>(s.sum.load(relaxed) * 10)}); });
}

const litmus floating_sum{"floating point adds by compare-exchange", "30", floating};

}  // namespace
