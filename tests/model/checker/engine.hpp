// SPDX-License-Identifier: BSL-1.0
// Explores a scenario: runs it again and again, each time in another of the ways in which it can go.
//
// Every operation that threads can see of each other is announced (`arrive`) before it is done; there another thread
// may be given the turn.  Orders that lead to the same outcome are explored once (sleep sets), unless the number of
// preemptions is bounded.
#pragma once

#include <array>
#include <csetjmp>
#include <memory>
#include <string>
#include <vector>

#include "../scenario.hpp"
#include "address_table.hpp"
#include "heap.hpp"
#include "memory.hpp"
#include "region.hpp"
#include "search.hpp"
#include "sites.hpp"
#include "thread.hpp"
#include "watch.hpp"

namespace weir_model {

class engine {
 public:
  /// The only one; made before the first exploration.
  static engine& instance() { return *the_only_; }
  static void make();

  report explore(const bounds& limits, const builder& build);

  // ---- What the program does.  Called by the interposition only while `watching()`. ----

  std::uint64_t load(const volatile void* p, std::size_t bytes, std::uint64_t initial, memory_order order,
                     const site& at);
  void store(const volatile void* p, std::size_t bytes, std::uint64_t initial, std::uint64_t value,
             memory_order order, const site& at);
  /// Replaces the newest value by `change(value)`; returns what was there.
  template <class F>
  std::uint64_t exchange(const volatile void* p, std::size_t bytes, std::uint64_t initial, memory_order order,
                         const site& at, F change);
  bool compare_exchange(const volatile void* p, std::size_t bytes, std::uint64_t initial,
                        std::uint64_t& expected, std::uint64_t desired, bool may_fail, const site& at);
  void fence(memory_order order, const site& at);

  void plain(const volatile void* p, std::size_t bytes, access how);
  /// Memory that comes from elsewhere begins another life.
  void renew(const volatile void* p, std::size_t bytes) { watch_.allocate(p, bytes); }

  void lock(void* mutex);
  bool try_lock(void* mutex);
  void unlock(void* mutex);
  /// Waits on a condition variable until `deadline` of the virtual clock.
  wake wait(void* condition, void* mutex, long long deadline);
  void notify(void* condition, bool all);
  void destroy_mutex(void* mutex);
  void destroy_condition(void* condition);

  /// Waits while the 32-bit word is `value`; false at once if it is not.
  bool futex_wait(const volatile std::uint32_t* p, std::uint32_t value, long long deadline, wake& why);
  int futex_wake(const volatile std::uint32_t* p, int count);

  void yield();
  void sleep_until(long long deadline);
  [[nodiscard]] long long read_clock();
  void advance_clock(long long nanoseconds);

  [[nodiscard]] int start_thread(void (*run)(void*), void* argument);
  void join_thread(int thread);
  void at_thread_exit(void (*destroy)(void*), void* object);
  [[nodiscard]] int current() const { return current_; }
  [[nodiscard]] bool is_thread_local(const volatile void* p) const { return locals_.contains(p); }

  void* allocate(std::size_t bytes, std::size_t alignment, const void* pc);
  void release(void* p);
  [[nodiscard]] static bool in_heap(const void* p) {
    return the_only_ != nullptr && the_only_->region_.in_heap(p);
  }
  /// For a choice of the scenario, or of the environment.
  int choose(int n) { return coasting_ ? 0 : search_.choose(n); }

  // ---- What the scenario says. ----

  void own(void* object, void (*destroy)(void*)) { owned_.push_back({object, destroy}); }
  void check_with(void* check, void (*run)(void*)) { checks_.push_back({check, run}); }
  [[nodiscard]] moment present_moment();
  [[nodiscard]] bool happens_before(moment a, moment b) const;

  /// The execution fails here.
  [[noreturn]] void fail(const std::string& why);

  // ---- Who runs: the program or the checker. ----

  /// Whether what the program does is to be scheduled and watched.
  [[nodiscard]] static bool watching() {
    return the_only_ != nullptr && the_only_->active_ && !the_only_->inside_;
  }
  /// While it lives, the checker runs.
  class guard {
   public:
    guard() : engine_{instance()} { engine_.inside_ = true; }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    ~guard() { engine_.inside_ = false; }

   private:
    engine& engine_;
  };
  void set_inside(bool inside) { inside_ = inside; }
  [[nodiscard]] static bool active() { return the_only_ != nullptr && the_only_->active_; }

  site_table& sites() { return sites_; }

 private:
  engine();

  // engine.cpp: explorations and executions
  void explore_all(report& found);
  void explore_random(report& found);
  void execute();
  void prepare();
  void trace_failure(report& found);
  static void fiber_entry();
  void run_builder();
  void run_thread();
  void finish();

  // scheduler.cpp: whose turn it is
  void arrive(const operation& next, const mutex_state* needs = nullptr);
  void block(const volatile void* on, long long deadline, const operation& next, const mutex_state* needs);
  void perform(const operation& done);
  [[nodiscard]] int pick();
  [[nodiscard]] int unseen();
  [[nodiscard]] int decide(std::array<int, 2 * max_threads>& options, int count, int turns, bool may_go_on);
  [[nodiscard]] int decide_asleep(std::array<int, 2 * max_threads>& options, int count, int turns);
  [[nodiscard]] bool let_go_on();
  void wake_early(model_thread& t);
  void switch_to(int thread);
  int wake_waiters(const volatile void* on, int count);
  [[nodiscard]] std::string stuck(const char* how) const;

  // operations.cpp: what operations do
  [[nodiscard]] int location(const volatile void* p, std::size_t bytes, std::uint64_t initial,
                             access how = access::atomic);
  [[nodiscard]] int visible_store(int l, memory_order order);
  void check_frame(const volatile void* p);
  void touch(const volatile void* p, std::size_t bytes, access how);
  void forget(const volatile void* p, std::size_t bytes);
  [[nodiscard]] mutex_state& mutex_at(const volatile void* p);
  [[nodiscard]] int object_at(const volatile void* p);
  void own_mutex(mutex_state& m);
  void give_mutex(mutex_state& m);
  void note_look(int l, int store, std::uint64_t value);
  void look_in_vain();
  [[nodiscard]] bool sees_the_same(int l, memory_order order);

  void trace(const char* what, int object, std::uint64_t value, const char* order, bool stale);
  [[nodiscard]] model_thread& me() { return threads_[static_cast<std::size_t>(current_)]; }
  [[nodiscard]] model_thread& thread(int t) { return threads_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] const model_thread& thread(int t) const { return threads_[static_cast<std::size_t>(t)]; }

  static inline engine* the_only_ = nullptr;
  bool active_ = false;
  bool inside_ = false;

  // of an exploration
  bounds limits_;
  const builder* build_ = nullptr;
  search search_;
  report found_;
  bool exhaustive_ = true;  // sleep sets; false: a bound on preemptions, or at random
  bool uses_try_lock_ = false;
  int longest_ = 0;  // operations in the longest execution so far

  // of an execution
  region region_;
  thread_locals locals_;
  watch watch_{region_};
  model_heap heap_{region_};
  memory memory_;
  std::array<model_thread, max_threads> threads_;
  int thread_count_ = 1;
  int current_ = 0;        // whose code runs
  int turn_ = 0;           // who was given the turn last
  unsigned asleep_ = 0;    // threads whose next operation leads nowhere new
  bool coasting_ = false;  // the rest of the execution equals one that was explored
  bool building_ = false;
  int steps_ = 0;
  int preemptions_left_ = 0;
  int early_wakes_left_ = 0;
  int failed_exchanges_left_ = 0;
  int failed_allocations_left_ = 0;
  int fruitless_ = 0;  // rounds in which everybody spun
  long long time_ = 0;
  int objects_ = 0;
  std::vector<int> changes_;  // PCT: steps at which the running thread falls back
  address_table<int> locations_;
  std::array<std::size_t, max_locations> widths_{};
  address_table<mutex_state*> mutexes_;
  std::vector<std::unique_ptr<mutex_state>> mutex_pool_;
  std::size_t mutexes_used_ = 0;
  address_table<int> objects_at_;
  struct owned {
    void* object;
    void (*call)(void*);
  };
  std::vector<owned> owned_;
  std::vector<owned> checks_;
  struct stamp {
    int thread;
    timestamp at;
    vector_clock clock;
  };
  std::vector<stamp> moments_;

  bool tracing_ = false;
  const volatile void* suspect_ = nullptr;  // memory of the failure that is traced
  std::string trace_;
  std::string failure_;
  jmp_buf home_{};
  site_table sites_;
};

}  // namespace weir_model
