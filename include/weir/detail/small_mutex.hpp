// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <thread>
#endif

namespace weir::inline v0::detail {

/// A mutex of four bytes, for a lock that shares a cache line with what it guards.
///
/// Thread safety  `lock` and `unlock` from any thread, in turn.  Neither fair nor recursive.
/// Blocking       A waiter sleeps, and whoever finds it free makes no system call.  Where the system has no
///                futex a waiter yields.
/// Source         U. Drepper, "Futexes Are Tricky", the second mutex.
class small_mutex {
 public:
  small_mutex() noexcept = default;
  small_mutex(const small_mutex&) = delete;
  small_mutex& operator=(const small_mutex&) = delete;
  ~small_mutex() = default;

  void lock() noexcept {
    std::uint32_t found = open;
    // [A] acquire, pairs with [B]: what was written under the lock is seen by the next who holds it.  [relaxed]
    // Failed, it is only asked again.
    if (state_.compare_exchange_strong(found, held, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    // Whoever has slept cannot know whether others still do, so he leaves the mark of a sleeper.  [A] as above.
    while (state_.exchange(slept_on, std::memory_order_acquire) != open) sleep();
  }

  void unlock() noexcept {
    // [B] release, pairs with [A].
    if (state_.exchange(open, std::memory_order_release) == slept_on) wake_one();
  }

 private:
  static constexpr std::uint32_t open = 0;
  static constexpr std::uint32_t held = 1;
  static constexpr std::uint32_t slept_on = 2;

#if defined(__linux__)
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t), "a futex is a word of 32 bits");

  /// Returns when it is woken, at once if the mark of a sleeper is gone, and sometimes for no reason.
  void sleep() noexcept { ::syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, slept_on, nullptr); }
  void wake_one() noexcept { ::syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1); }
#else
  static void sleep() noexcept { std::this_thread::yield(); }
  static void wake_one() noexcept {}
#endif

  std::atomic<std::uint32_t> state_{open};
};

}  // namespace weir::inline v0::detail
