// SPDX-License-Identifier: BSL-1.0
#pragma once

#if defined(__linux__)

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include <weir/clock.hpp>
#include <weir/detail/spinning.hpp>

namespace weir::inline v0::detail {

/// Where one thread sleeps until somebody rings; one word, on the futex of Linux.
///
/// Model          A set of bits.  `ring` adds some, `heard` takes them all: a ring that comes before the sleep
///                is not lost.  `asleep` stands beside them from the step that sees silence until the sleeper
///                is up again; who rings makes a system call only if it stood there.
/// Lost wake-up   None: silence is seen and `asleep` is set in one step, so that a ring comes before it, and
///                the sleeper stays up, or after it, and wakes.  A ring between that step and the system call
///                changes the word, and the kernel, which compares and goes to sleep in one step, then does not
///                sleep.
/// Lifetime       `ring` touches no memory of the bell after its bits can be seen.  The wake that may follow
///                goes by the address as a number: the kernel looks for sleepers there and reads nothing.  If
///                somebody else sleeps at that address by then, it wakes for no reason, which every sleep
///                allows.
/// Thread safety  `ring` from any thread; the others from one thread at a time.
/// Source         futex(2); Drepper, Futexes Are Tricky, 2011.
class futex_bell {
 public:
  futex_bell() = default;
  futex_bell(const futex_bell&) = delete;
  futex_bell& operator=(const futex_bell&) = delete;
  ~futex_bell() = default;

  /// `why` must leave the highest bit free.
  void ring(std::uint32_t why) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(&word_);
    // [A] release, pairs with [B]: what came before the ring is seen by who hears it.
    if ((word_.fetch_or(why, std::memory_order_release) & asleep) != 0) call(address, FUTEX_WAKE, 1, nullptr);
  }

  /// Takes the bits of all rings so far.
  [[nodiscard]] std::uint32_t heard() noexcept {
    // [B] acquire, pairs with [A].
    return word_.exchange(0, std::memory_order_acquire) & ~asleep;
  }

  [[nodiscard]] bool silent() const noexcept {
    // [relaxed] Only a hint; `heard` orders.
    return word_.load(std::memory_order_relaxed) == 0;
  }

  /// Returns after a ring, at once if there was one, or for no reason.
  void sleep() noexcept { sleep_unless_rung(nullptr); }

  /// As `sleep`, but not past `at` on the clock of the system.
  void sleep(time_point at) noexcept {
    const auto since_boot = at.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
    timespec until{};
    until.tv_sec = static_cast<decltype(until.tv_sec)>(seconds.count());
    until.tv_nsec = static_cast<decltype(until.tv_nsec)>((since_boot - seconds).count());
    sleep_unless_rung(&until);
  }

  [[nodiscard]] static int spins() noexcept { return spins_before_sleep; }

 private:
  static constexpr std::uint32_t asleep = 0x80000000;

  void sleep_unless_rung(const timespec* until) noexcept {
    std::uint32_t silence = 0;
    // [relaxed] One word holds the state, and its modification order is the whole story; `heard` orders.
    if (!word_.compare_exchange_strong(silence, asleep, std::memory_order_relaxed)) return;
    // Absolute, on CLOCK_MONOTONIC.  Whatever it returns, the caller looks at the bell and at the time.
    call(reinterpret_cast<std::uintptr_t>(&word_), FUTEX_WAIT_BITSET, asleep, until);
  }

  static void call(std::uintptr_t address, int operation, std::uint32_t value,
                   const timespec* until) noexcept {
    static_cast<void>(::syscall(SYS_futex, address, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr,
                                FUTEX_BITSET_MATCH_ANY));
  }

  std::atomic<std::uint32_t> word_{0};
  static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free,
                "the kernel looks at the word itself");
};

}  // namespace weir::inline v0::detail

#endif
