// SPDX-License-Identifier: BSL-1.0
// Locks, threads, waits and clocks: the functions of the C library by which the standard library reaches them.  A
// symbol of the program comes before that of a shared library, also for calls from inside libstdc++.
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

#include "engine.hpp"

namespace weir_model {

namespace {

template <class F>
F* real(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

engine& the_engine() { return engine::instance(); }
bool watching() { return engine::watching(); }

long long nanoseconds(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }
timespec from_nanoseconds(long long t) { return {t / 1'000'000'000, t % 1'000'000'000}; }

long long deadline_of(const timespec* t) {
  if (t == nullptr) return no_deadline;
  constexpr long long most = no_deadline / 1'000'000'000 - 1;
  return t->tv_sec > most ? no_deadline : nanoseconds(*t);
}

int wait_on(pthread_cond_t* c, pthread_mutex_t* m, const timespec* until) {
  const engine::guard inside;
  return the_engine().wait(c, m, deadline_of(until)) == wake::timed_out ? ETIMEDOUT : 0;
}

[[noreturn]] void refuse(const char* what) {
  the_engine().set_inside(true);
  the_engine().fail(std::string{what} + " cannot be explored");
}

/// FUTEX_WAIT and its kin.
long futex(std::uint32_t* word, int operation, std::uint32_t value, const timespec* timeout) {
  const engine::guard inside;
  engine& e = the_engine();
  constexpr int flags = FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME;
  switch (operation & ~flags) {
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
      return e.futex_wake(word, static_cast<int>(std::min(value, 0x7fffffffU)));
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      long long deadline = deadline_of(timeout);
      if ((operation & ~flags) == FUTEX_WAIT && timeout != nullptr) deadline += e.read_clock();
      wake why = wake::notified;
      errno = EAGAIN;
      if (!e.futex_wait(word, value, deadline, why)) return -1;
      errno = ETIMEDOUT;
      return why == wake::timed_out ? -1 : 0;
    }
    default:
      e.fail("a futex operation that is not explored");
  }
}

struct thread_start {
  void* (*body)(void*);
  void* argument;
};

}  // namespace

}  // namespace weir_model

using namespace weir_model;

extern "C" int pthread_mutex_lock(pthread_mutex_t* m) noexcept {
  static const auto next = real<int(pthread_mutex_t*)>("pthread_mutex_lock");
  if (!watching()) return next(m);
  const engine::guard inside;
  the_engine().lock(m);
  return 0;
}

extern "C" int pthread_mutex_trylock(pthread_mutex_t* m) noexcept {
  static const auto next = real<int(pthread_mutex_t*)>("pthread_mutex_trylock");
  if (!watching()) return next(m);
  const engine::guard inside;
  return the_engine().try_lock(m) ? 0 : EBUSY;
}

extern "C" int pthread_mutex_unlock(pthread_mutex_t* m) noexcept {
  static const auto next = real<int(pthread_mutex_t*)>("pthread_mutex_unlock");
  if (!watching()) return next(m);
  const engine::guard inside;
  the_engine().unlock(m);
  return 0;
}

extern "C" int pthread_mutex_destroy(pthread_mutex_t* m) noexcept {
  if (!watching()) return 0;
  const engine::guard inside;
  the_engine().destroy_mutex(m);
  return 0;
}

extern "C" int pthread_cond_wait(pthread_cond_t* c, pthread_mutex_t* m) {
  static const auto next = real<int(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait");
  return watching() ? wait_on(c, m, nullptr) : next(c, m);
}

extern "C" int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* m, const timespec* until) {
  static const auto next =
      real<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  return watching() ? wait_on(c, m, until) : next(c, m, until);
}

extern "C" int pthread_cond_clockwait(pthread_cond_t* c, pthread_mutex_t* m, clockid_t clock,
                                      const timespec* until) {
  static const auto next =
      real<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
  return watching() ? wait_on(c, m, until) : next(c, m, clock, until);
}

extern "C" int pthread_cond_signal(pthread_cond_t* c) noexcept {
  static const auto next = real<int(pthread_cond_t*)>("pthread_cond_signal");
  if (!watching()) return next(c);
  const engine::guard inside;
  the_engine().notify(c, false);
  return 0;
}

extern "C" int pthread_cond_broadcast(pthread_cond_t* c) noexcept {
  static const auto next = real<int(pthread_cond_t*)>("pthread_cond_broadcast");
  if (!watching()) return next(c);
  const engine::guard inside;
  the_engine().notify(c, true);
  return 0;
}

extern "C" int pthread_cond_destroy(pthread_cond_t* c) noexcept {
  if (!watching()) return 0;
  const engine::guard inside;
  the_engine().destroy_condition(c);
  return 0;
}

extern "C" int pthread_mutex_timedlock(pthread_mutex_t* m, const timespec* until) noexcept {
  static const auto next = real<int(pthread_mutex_t*, const timespec*)>("pthread_mutex_timedlock");
  if (watching()) refuse("a mutex with a time-out");
  return next(m, until);
}

extern "C" int pthread_mutex_clocklock(pthread_mutex_t* m, clockid_t clock, const timespec* until) noexcept {
  static const auto next = real<int(pthread_mutex_t*, clockid_t, const timespec*)>("pthread_mutex_clocklock");
  if (watching()) refuse("a mutex with a time-out");
  return next(m, clock, until);
}

extern "C" int pthread_rwlock_rdlock(pthread_rwlock_t* l) noexcept {
  static const auto next = real<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  if (watching()) refuse("a shared mutex");
  return next(l);
}

extern "C" int pthread_rwlock_wrlock(pthread_rwlock_t* l) noexcept {
  static const auto next = real<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  if (watching()) refuse("a shared mutex");
  return next(l);
}

extern "C" char __executable_start;
extern "C" char etext;

/// Whether a scenario calls from there, and not the runtime library, of which nothing is watched.
static bool is_of_program(const void* caller) {
  const auto* const at = static_cast<const char*>(caller);
  return at >= &__executable_start && at < &etext;
}

extern "C" int pthread_once(pthread_once_t* once, void (*run)()) {
  static const auto next = real<int(pthread_once_t*, void (*)())>("pthread_once");
  if (watching() && is_of_program(__builtin_return_address(0))) refuse("std::call_once");
  return next(once, run);
}

/// A function's static object is made: it would be there from the second execution on.
extern "C" int __cxa_guard_acquire(long long* guard) {
  static const auto next = real<int(long long*)>("__cxa_guard_acquire");
  if (watching() && is_of_program(__builtin_return_address(0))) {
    refuse("a function's static object that is made in an execution (make it before)");
  }
  return next(guard);
}

extern "C" int pthread_create(pthread_t* id, const pthread_attr_t* attributes, void* (*body)(void*),
                              void* argument) noexcept {
  static const auto next =
      real<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  if (!watching()) return next(id, attributes, body, argument);
  const engine::guard inside;
  auto* const start = new thread_start{body, argument};  // from the machine's heap: the checker runs
  const auto run = [](void* s) {
    const thread_start what = *static_cast<thread_start*>(s);
    {
      const engine::guard here;
      delete static_cast<thread_start*>(s);
    }
    what.body(what.argument);
  };
  *id = static_cast<pthread_t>(the_engine().start_thread(run, start)) + 1;
  return 0;
}

extern "C" int pthread_join(pthread_t id, void** result) {
  static const auto next = real<int(pthread_t, void**)>("pthread_join");
  if (!watching()) return next(id, result);
  const engine::guard inside;
  the_engine().join_thread(static_cast<int>(id) - 1);
  if (result != nullptr) *result = nullptr;
  return 0;
}

extern "C" int pthread_detach(pthread_t id) noexcept {
  static const auto next = real<int(pthread_t)>("pthread_detach");
  return watching() ? 0 : next(id);
}

extern "C" pthread_t pthread_self() noexcept {
  static const auto next = real<pthread_t()>("pthread_self");
  return watching() ? static_cast<pthread_t>(the_engine().current()) + 1 : next();
}

extern "C" int sched_yield() noexcept {
  if (!watching()) return 0;
  const engine::guard inside;
  the_engine().yield();
  return 0;
}

extern "C" int clock_gettime(clockid_t clock, timespec* t) noexcept {
  static const auto next = real<int(clockid_t, timespec*)>("clock_gettime");
  if (!watching()) return next(clock, t);
  const engine::guard inside;
  *t = from_nanoseconds(the_engine().read_clock());
  return 0;
}

extern "C" int nanosleep(const timespec* wanted, timespec* left) {
  static const auto next = real<int(const timespec*, timespec*)>("nanosleep");
  if (!watching()) return next(wanted, left);
  const engine::guard inside;
  the_engine().sleep_until(the_engine().read_clock() + nanoseconds(*wanted));
  return 0;
}

extern "C" int clock_nanosleep(clockid_t clock, int flags, const timespec* wanted, timespec* left) {
  static const auto next = real<int(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
  if (!watching()) return next(clock, flags, wanted, left);
  const engine::guard inside;
  const long long from = (flags & TIMER_ABSTIME) != 0 ? 0 : the_engine().read_clock();
  the_engine().sleep_until(from + nanoseconds(*wanted));
  return 0;
}

extern "C" long __real_syscall(long number, ...);

extern "C" long __wrap_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& x : a) x = va_arg(list, long);
  va_end(list);
  if (number != SYS_futex || !watching()) return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  return futex(reinterpret_cast<std::uint32_t*>(a[0]), static_cast<int>(a[1]),
               static_cast<std::uint32_t>(a[2]), reinterpret_cast<const timespec*>(a[3]));
}

extern "C" int __cxa_thread_atexit(void (*destroy)(void*), void* object, void* library) noexcept {
  static const auto next = real<int(void (*)(void*), void*, void*)>("__cxa_thread_atexit");
  if (!watching()) return next(destroy, object, library);
  const engine::guard inside;
  the_engine().at_thread_exit(destroy, object);
  return 0;
}

/// An exception lives in memory of the runtime library, which may have held another thread's before.
extern "C" void* __cxa_allocate_exception(std::size_t bytes) noexcept {
  static const auto next = real<void*(std::size_t)>("__cxa_allocate_exception");
  void* const exception = next(bytes);
  if (watching()) {
    const engine::guard inside;
    the_engine().renew(exception, bytes);
  }
  return exception;
}

extern "C" void __assert_fail(const char* what, const char* file, unsigned line,
                              const char* function) noexcept {
  static const auto next = real<void(const char*, const char*, unsigned, const char*)>("__assert_fail");
  if (engine::active()) {
    the_engine().set_inside(true);
    the_engine().fail(std::string{"assertion failed: "} + what);
  }
  next(what, file, line, function);
  std::abort();
}
