// SPDX-License-Identifier: BSL-1.0
// The memory that an execution lives in: the stacks of its threads and a heap that is the same every time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory.hpp"

namespace weir_model {

inline constexpr std::size_t stack_size = 128 * 1024;
inline constexpr std::size_t heap_size = 2 * 1024 * 1024;
inline constexpr std::size_t granule = 8;  ///< bytes; what is watched has a record for each

/// One mapping: `max_threads` stacks, each above a page that must not be touched, then the heap.
class region {
 public:
  region();
  region(const region&) = delete;
  region& operator=(const region&) = delete;
  ~region();

  [[nodiscard]] bool contains(const volatile void* p) const { return offset(p) < size; }
  [[nodiscard]] bool in_heap(const volatile void* p) const { return contains(p) && offset(p) >= heap_begin; }
  /// The thread on whose stack `p` stands; -1 if on none.
  [[nodiscard]] int stack_of(const volatile void* p) const {
    return offset(p) < heap_begin ? static_cast<int>(offset(p) / (guard + stack_size)) : -1;
  }
  [[nodiscard]] std::size_t granule_of(const volatile void* p) const { return offset(p) / granule; }

  /// The lowest address of a thread's stack.
  [[nodiscard]] char* stack(int thread) const {
    return base_ + static_cast<std::size_t>(thread) * (guard + stack_size) + guard;
  }
  [[nodiscard]] char* heap() const { return base_ + heap_begin; }

  static constexpr std::size_t guard = 4096;
  static constexpr std::size_t heap_begin = max_threads * (guard + stack_size);
  static constexpr std::size_t size = heap_begin + heap_size;
  static constexpr std::size_t granules = size / granule;

 private:
  [[nodiscard]] std::size_t offset(const volatile void* p) const {
    return reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(base_);
  }
  char* base_;
};

}  // namespace weir_model
