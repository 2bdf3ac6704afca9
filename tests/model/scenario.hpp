// SPDX-License-Identifier: BSL-1.0
// What a scenario is written with: the one header of the checker that the code under test is compiled beside.
//
// A scenario builds its state, starts threads on it, and says what must hold when they have ended.  It is ordinary
// code: std::atomic, std::mutex, std::condition_variable, std::thread, clocks, new and delete are those of the
// standard library, compiled with -fsanitize=thread and linked to the checker in place of the sanitizer's runtime.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weir_model {

/// How far a scenario is explored.  The default is every execution that the memory model allows.
struct bounds {
  int preemptions = -1;  ///< -1: all interleavings; n: those with at most n preemptions
  bool weak = true;      ///< false: sequentially consistent executions only
  bool strict_wait =
      true;             ///< a futex wait may compare with the same old value that the thread has seen last
  int early_wakes = 0;  ///< condition waits that return early: spuriously, or because their time has come
  int failed_exchanges = 0;    ///< weak compare-exchanges that fail for no reason
  int failed_allocations = 0;  ///< calls of operator new that throw std::bad_alloc
  bool reuse_memory = false;   ///< freed memory is handed out again at once (ABA), and is not watched for use
  long executions = 0;         ///< no more than these before the random ones; 0: all within the bounds
  long random_executions = 0;  ///< further executions under a random scheduler (PCT), beyond the bound above
  int random_depth = 3;        ///< PCT: scheduling points at which priorities change, plus one
  long steps = 20'000;         ///< operations in one execution; more are reported as a livelock
};

/// What an exploration found.
struct report {
  std::string failure;    ///< empty: nothing
  std::string trace;      ///< the failing execution, an operation a line
  long executions = 0;    ///< complete ones and those cut short because others are equal to them
  long redundant = 0;     ///< those cut short
  bool complete = false;  ///< everything within the bounds was explored
  double seconds = 0;
};

/// One execution, as the scenario sees it.
class world {
 public:
  /// An object that lives until the execution ends; destroyed, last first, after the check has run.
  template <class T, class... Arguments>
  T& make(Arguments&&... arguments) {
    T* const object = new T(std::forward<Arguments>(arguments)...);
    own(object, [](void* o) { delete static_cast<T*>(o); });
    return *object;
  }

  /// A thread that starts when the scenario is built.  At most seven.
  template <std::invocable Body>
  void thread(Body body) {
    start(&make<Body>(std::move(body)), [](void* b) { (*static_cast<Body*>(b))(); });
  }

  /// What must hold once every thread has ended and before anything is destroyed.
  template <std::invocable Check>
  void after(Check check) {
    finish(&make<Check>(std::move(check)), [](void* c) { (*static_cast<Check*>(c))(); });
  }

 private:
  static void own(void* object, void (*destroy)(void*));
  static void start(void* body, void (*run)(void*));
  static void finish(void* check, void (*run)(void*));
};

using builder = std::function<void(world&)>;

/// Explores what `build` describes.
report explore(const bounds& limits, const builder& build);

/// What is expected of a scenario.
enum class verdict {
  holds,  ///< nothing is found
  found,  ///< a planted bug is found
};

/// A scenario that the runner knows; defined at namespace scope.
struct scenario {
  scenario(const char* component, const char* name, const bounds& limits, void (*build)(world&),
           verdict expected = verdict::holds);
};

/// Fails the execution unless `holds`.
void expect(bool holds, std::string_view what = "an expectation",
            std::source_location where = std::source_location::current());

/// One of 0 .. n - 1; every one of them is explored.
int choose(int n);

/// A point of an execution, for questions about what happens before what.
using moment = int;

/// The present moment of the calling thread.
moment now();

/// Whether `a` happens before `b`, as the memory model orders them.
bool happens_before(moment a, moment b);

/// The thread that runs: 1, 2, ... in the order they were started; 0 while the scenario is built and checked.
int current_thread();

/// Nanoseconds of the virtual clock that std::chrono reads; moves when every thread waits for it, or by `advance`.
long long virtual_time();
void advance(long long nanoseconds);

/// Suspends and resumes the checker, as `outside` does.
void leave();
void enter();

/// Runs `f` outside the checker: what it does is neither scheduled nor watched, and what it allocates outlives the
/// execution.  For what a scenario collects across executions.
template <std::invocable F>
void outside(F&& f) {
  struct region {
    region() { leave(); }
    ~region() { enter(); }
  } const out;
  std::forward<F>(f)();
}

}  // namespace weir_model
