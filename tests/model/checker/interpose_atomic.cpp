// SPDX-License-Identifier: BSL-1.0
// Atomic operations of code that is compiled with -fsanitize=thread: the compiler calls these.
#include <cstdint>

#include "operations.hpp"

namespace weir_model {

namespace {

memory_order order_of(int order) {
  constexpr int flags = 0x7fff;  // beyond them: hints about lock elision
  return static_cast<memory_order>(order & flags);
}

/// What the compiler calls "volatile T*": the memory holds the newest value, for those who look from outside.
template <class T>
class cell {
 public:
  explicit cell(const volatile void* p)
      : at_{const_cast<T*>(static_cast<const volatile T*>(p))},
        watched_{engine::watching() && !engine::instance().is_thread_local(p)} {}

  T load(int order, const void* pc) const {
    if (!watched_) return *at_;
    const engine::guard inside;
    engine& e = engine::instance();
    site& at = e.sites().of(pc, operation_name::load, order_of(order));
    ++at.executed;
    return static_cast<T>(e.load(at_, sizeof(T), *at_, at.effective, at));
  }

  void store(T value, int order, const void* pc) const {
    if (watched_) {
      const engine::guard inside;
      engine& e = engine::instance();
      site& at = e.sites().of(pc, operation_name::store, order_of(order));
      ++at.executed;
      e.store(at_, sizeof(T), *at_, value, at.effective, at);
    }
    *at_ = value;
  }

  template <class F>
  T exchange(F change, int order, const void* pc) const {
    T old = *at_;
    if (watched_) {
      const engine::guard inside;
      engine& e = engine::instance();
      site& at = e.sites().of(pc, operation_name::exchange, order_of(order));
      ++at.executed;
      old = static_cast<T>(e.exchange(at_, sizeof(T), *at_, at.effective, at, [&](std::uint64_t v) {
        return static_cast<std::uint64_t>(change(static_cast<T>(v)));
      }));
    }
    *at_ = change(old);
    return old;
  }

  bool compare_exchange(T& expected, T desired, bool weak, int order, int failure, const void* pc) const {
    bool done = *at_ == expected;
    if (watched_) {
      const engine::guard inside;
      engine& e = engine::instance();
      site& at = e.sites().of(pc, operation_name::compare_exchange, order_of(order), order_of(failure));
      ++at.executed;
      std::uint64_t found = expected;
      done = e.compare_exchange(at_, sizeof(T), *at_, found, desired, weak, at);
      if (!done) expected = static_cast<T>(found);
    } else if (!done) {
      expected = *at_;
    }
    if (done) *at_ = desired;
    return done;
  }

 private:
  T* at_;
  bool watched_;
};

void fence(int order, const void* pc) {
  if (!engine::watching()) return;
  const engine::guard inside;
  engine& e = engine::instance();
  site& at = e.sites().of(pc, operation_name::fence, order_of(order));
  ++at.executed;
  e.fence(at.effective, at);
}

[[noreturn]] void refuse_wide() {
  engine::instance().set_inside(true);
  engine::instance().fail("atomics wider than 8 bytes cannot be explored");
}

}  // namespace

}  // namespace weir_model

using weir_model::cell;

#define CALLER __builtin_return_address(0)

// The names are the compiler's, once for each width.
#define INTERPOSE(BITS, T)                                                                                   \
  extern "C" T __tsan_atomic##BITS##_load(const volatile T* p, int o) { return cell<T>{p}.load(o, CALLER); } \
  extern "C" void __tsan_atomic##BITS##_store(volatile T* p, T v, int o) { cell<T>{p}.store(v, o, CALLER); } \
  extern "C" T __tsan_atomic##BITS##_exchange(volatile T* p, T v, int o) {                                   \
    return cell<T>{p}.exchange([v](T) { return v; }, o, CALLER);                                             \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_add(volatile T* p, T v, int o) {                                  \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(x + v); }, o, CALLER);                       \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_sub(volatile T* p, T v, int o) {                                  \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(x - v); }, o, CALLER);                       \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_and(volatile T* p, T v, int o) {                                  \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(x & v); }, o, CALLER);                       \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_or(volatile T* p, T v, int o) {                                   \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(x | v); }, o, CALLER);                       \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_xor(volatile T* p, T v, int o) {                                  \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(x ^ v); }, o, CALLER);                       \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_fetch_nand(volatile T* p, T v, int o) {                                 \
    return cell<T>{p}.exchange([v](T x) { return static_cast<T>(~(x & v)); }, o, CALLER);                    \
  }                                                                                                          \
  extern "C" int __tsan_atomic##BITS##_compare_exchange_strong(volatile T* p, T* e, T d, int o, int f) {     \
    return cell<T>{p}.compare_exchange(*e, d, false, o, f, CALLER) ? 1 : 0;                                  \
  }                                                                                                          \
  extern "C" int __tsan_atomic##BITS##_compare_exchange_weak(volatile T* p, T* e, T d, int o, int f) {       \
    return cell<T>{p}.compare_exchange(*e, d, true, o, f, CALLER) ? 1 : 0;                                   \
  }                                                                                                          \
  extern "C" T __tsan_atomic##BITS##_compare_exchange_val(volatile T* p, T e, T d, int o, int f) {           \
    cell<T>{p}.compare_exchange(e, d, false, o, f, CALLER); /* on success e is what was there */             \
    return e;                                                                                                \
  }

INTERPOSE(8, std::uint8_t)
INTERPOSE(16, std::uint16_t)
INTERPOSE(32, std::uint32_t)
INTERPOSE(64, std::uint64_t)

#undef INTERPOSE

extern "C" void __tsan_atomic_thread_fence(int order) { weir_model::fence(order, CALLER); }
extern "C" void __tsan_atomic_signal_fence(int) {}

using wide = unsigned __int128;
extern "C" wide __tsan_atomic128_load(const volatile wide*, int) { weir_model::refuse_wide(); }
extern "C" void __tsan_atomic128_store(volatile wide*, wide, int) { weir_model::refuse_wide(); }
extern "C" wide __tsan_atomic128_exchange(volatile wide*, wide, int) { weir_model::refuse_wide(); }
extern "C" wide __tsan_atomic128_compare_exchange_val(volatile wide*, wide, wide, int, int) {
  weir_model::refuse_wide();
}
extern "C" int __tsan_atomic128_compare_exchange_strong(volatile wide*, wide*, wide, int, int) {
  weir_model::refuse_wide();
}
extern "C" int __tsan_atomic128_compare_exchange_weak(volatile wide*, wide*, wide, int, int) {
  weir_model::refuse_wide();
}
