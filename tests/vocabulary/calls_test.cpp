// SPDX-License-Identifier: BSL-1.0
// How often the system is called: by its own door, which this program has replaced.
#include <catch2/catch_test_macros.hpp>

#include <sys/syscall.h>

#include <atomic>
#include <cstdarg>
#include <thread>

#include <weir/detail/parking.hpp>
#include <weir/task_gate.hpp>

using namespace std::chrono_literals;
using weir::deadline;
using weir::detail::parker;

namespace {

std::atomic<int> futex_calls{0};
std::atomic<int> yields{0};

}  // namespace

extern "C" long __real_syscall(long number, ...);
extern "C" int __real_sched_yield();

extern "C" long __wrap_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& x : a) x = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex) ++futex_calls;
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

extern "C" int __wrap_sched_yield() {
  ++yields;
  return __real_sched_yield();
}

// asio#1744; rigtorp/MPMCQueue PR 28
TEST_CASE("to unpark one that has not slept, and to park with a token there, calls the system never",
          "[parking]") {
  parker p;
  futex_calls = 0;
  for (int i = 0; i != 100; ++i) {
    p.unpark();
    CHECK(p.park_until(weir::steady_clock{}, deadline::never()));
  }
  CHECK(futex_calls == 0);
}

TEST_CASE("to sleep calls the system once, and to wake the sleeper once", "[parking]") {
  parker p;
  futex_calls = 0;
  CHECK_FALSE(p.park_until(weir::steady_clock{}, weir::steady_clock::now() + 1ms));
  CHECK(futex_calls >= 1);  // more if the system wakes it for no reason
  futex_calls = 0;
  bool unparked = false;
  std::thread sleeper{[&] { unparked = p.park_until(weir::steady_clock{}, deadline::never()); }};
  while (futex_calls == 0) std::this_thread::yield();
  const int slept = futex_calls;
  p.unpark();
  sleeper.join();
  CHECK(unparked);
  CHECK(slept >= 1);
  CHECK(futex_calls >= slept + 1);
}

// libstdc++: a busy try_acquire calls sched_yield four times
TEST_CASE("a busy gate, and one that is free, calls the system never", "[task_gate]") {
  weir::task_gate gate;
  futex_calls = 0;
  yields = 0;
  for (int i = 0; i != 100; ++i) {
    auto held = gate.try_enter();
    CHECK(held);
    CHECK_FALSE(gate.try_enter());
    CHECK(gate.run_if_idle([] {}) == weir::run_result::skipped);
    held.reset();
    CHECK(gate.enter());
    CHECK(gate.run_coalesced([] {}) == weir::run_result::ran);
  }
  CHECK(futex_calls == 0);
  CHECK(yields == 0);
}
