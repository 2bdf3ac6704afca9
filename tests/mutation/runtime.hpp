// SPDX-License-Identifier: BSL-1.0
// The switch of the mutants, included by every mutated header.
//
// One mutant is on in a process, chosen by the environment: WEIR_MUTANT=17.  With WEIR_MUTANT_COVERAGE=FILE the
// process writes at its end a byte for each mutant, '1' if it was reached.
//
// The state is plain memory, read and written by functions that no sanitizer instruments, so that a checker which
// works through that instrumentation sees neither: a mutant costs it no step and races with nothing.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include <weir_mutation/count.hpp>  // written with the copy

namespace weir_mutation {

struct state {
  state() noexcept {
    if (const char* const id = std::getenv("WEIR_MUTANT")) chosen = std::atoi(id);
    file = std::getenv("WEIR_MUTANT_COVERAGE");
  }
  ~state() {
    if (file == nullptr) return;
    std::FILE* const out = std::fopen(file, "wb");
    if (out == nullptr) return;
    std::fwrite(reached, 1, sizeof reached, out);
    std::fclose(out);
  }

  int chosen = 0;  // no mutant has this number
  const char* file = nullptr;
  char reached[count] = {};
};

inline state the;

[[gnu::no_sanitize_thread]] [[clang::disable_sanitizer_instrumentation]] inline bool is_on(int id) noexcept {
  the.reached[id] = '1';
  return the.chosen == id;
}

/// Whether mutant `id` is on.  In a constant expression none is.
[[gnu::no_sanitize_thread]] [[clang::disable_sanitizer_instrumentation]] constexpr bool on(int id) noexcept {
  return !std::is_constant_evaluated() && is_on(id);
}

/// A scoped lock that may be left out.
template <class Mutex>
class optional_lock {
 public:
  optional_lock(Mutex& mutex, bool skipped) : mutex_{skipped ? nullptr : &mutex} {
    if (mutex_ != nullptr) mutex_->lock();
  }
  optional_lock(const optional_lock&) = delete;
  optional_lock& operator=(const optional_lock&) = delete;
  ~optional_lock() {
    if (mutex_ != nullptr) mutex_->unlock();
  }

 private:
  Mutex* mutex_;
};

/// What std::exchange gives, without the exchange.
template <class T>
constexpr std::decay_t<T> copy_of(const T& value) {
  return value;
}

}  // namespace weir_mutation
