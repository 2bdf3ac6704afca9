// SPDX-License-Identifier: BSL-1.0
#include "keyed/failing_new.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  if (failing_new::allowance == 0) throw std::bad_alloc{};
  if (failing_new::allowance > 0) --failing_new::allowance;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const p = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, rounded)
                                                        : std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc{};
  return p;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
