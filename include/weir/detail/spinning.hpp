// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <thread>

namespace weir::inline v0::detail {

/// Tells the processor that this thread spins: some 10 to 50 ns, in which it leaves the core to its sibling.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// How often a thread looks again before it sleeps.  A sleep and a wake cost two system calls and a change of
/// threads: about as much as these looks, so that spinning at most doubles the cost of a wait.  None where
/// there is one core: whoever could ring would have to wait for the end of the spin.  Zero, too, before the
/// static objects of the program have been made.
inline const int spins_before_sleep = std::thread::hardware_concurrency() > 1 ? 100 : 0;

}  // namespace weir::inline v0::detail
