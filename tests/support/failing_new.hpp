// SPDX-License-Identifier: BSL-1.0
// Replaces the global operator new: include it in exactly one source file of an executable.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace weir_test {

/// While one is alive, the allocations of its thread succeed `count` times; the next one fails, and those after
/// it succeed again.
class allocation_budget {
 public:
  explicit allocation_budget(long count) noexcept {
    left() = count;
    failed() = false;
  }
  allocation_budget(const allocation_budget&) = delete;
  allocation_budget& operator=(const allocation_budget&) = delete;
  ~allocation_budget() { left() = unlimited; }

  /// Whether an allocation was refused: false means that the walk has come to its end.
  [[nodiscard]] static bool was_hit() noexcept { return failed(); }

  /// How many more would succeed on this thread while one is alive that was not hit.
  [[nodiscard]] static long remaining() noexcept { return left(); }

  [[nodiscard]] static bool spend() noexcept {
    if (left() == unlimited || left()-- > 0) return true;
    left() = unlimited;
    failed() = true;
    return false;
  }

 private:
  static constexpr long unlimited = -1;
  static long& left() noexcept {
    thread_local long n = unlimited;
    return n;
  }
  static bool& failed() noexcept {
    thread_local bool hit = false;
    return hit;
  }
};

}  // namespace weir_test

// Not inlined: the compiler would see malloc meet delete, and free meet new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (weir_test::allocation_budget::spend()) {
    if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  }
  throw std::bad_alloc{};
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  if (weir_test::allocation_budget::spend()) {
    const auto unit = static_cast<std::size_t>(alignment);
    if (void* p = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return p;
  }
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
