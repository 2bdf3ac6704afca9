// SPDX-License-Identifier: BSL-1.0
#include "engine.hpp"

#include <sys/single_threaded.h>

#include <chrono>
#include <exception>

namespace weir_model {

namespace {

constexpr unsigned first_seed = 1;

}  // namespace

void engine::make() {
  if (the_only_ == nullptr) the_only_ = new engine;  // as long as the program: its heap outlives every static
}

engine::engine() {
  // The standard library leaves out atomics while a program has one thread; ours has fibers.
  __libc_single_threaded = 0;
  for (int t = 0; t < max_threads; ++t) thread(t).context.make(region_.stack(t), stack_size, &fiber_entry);
}

report engine::explore(const bounds& limits, const builder& build) {
  if (active_) {
    inside_ = true;
    fail("explore is called inside a scenario");
  }
  const auto began = std::chrono::steady_clock::now();
  limits_ = limits;
  build_ = &build;
  uses_try_lock_ = false;
  report found;
  explore_all(found);
  if (found.failure.empty() && limits.random_executions > 0) explore_random(found);
  found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return found;
}

void engine::explore_all(report& found) {
  exhaustive_ = limits_.preemptions < 0;
  for (;;) {
    const bool tried = uses_try_lock_;
    found.executions = found.redundant = 0;
    longest_ = 0;
    search_.begin(search::strategy::exhaustive, first_seed);
    do {
      execute();
      ++found.executions;
      found.redundant += coasting_ ? 1 : 0;
      if (uses_try_lock_ != tried) break;  // again, with the points that `try_lock` sees
      if (!failure_.empty()) return trace_failure(found);
      if (found.executions == limits_.executions) return;
    } while (search_.next());
    if (uses_try_lock_ == tried) break;
  }
  found.complete = true;
}

void engine::explore_random(report& found) {
  exhaustive_ = false;
  search_.begin(search::strategy::random, first_seed);
  for (long i = 0; i < limits_.random_executions; ++i) {
    execute();
    ++found.executions;
    if (!failure_.empty()) return trace_failure(found);
  }
}

/// Makes the failing execution again and writes down what happens in it.
void engine::trace_failure(report& found) {
  found.failure = failure_;
  search_.replay(true);
  tracing_ = true;
  trace_.clear();
  execute();
  tracing_ = false;
  search_.replay(false);
  suspect_ = nullptr;
  found.trace = trace_;
}

void engine::prepare() {
  if (!failure_.empty()) {
    // The fibers of an execution that failed stand somewhere in the middle.
    for (int t = 0; t < max_threads; ++t) thread(t).context.make(region_.stack(t), stack_size, &fiber_entry);
  }
  failure_.clear();
  memory_.reset();
  watch_.reset();
  heap_.reset(limits_.reuse_memory);
  locations_.reset();
  mutexes_.reset();
  mutexes_used_ = 0;
  objects_at_.reset();
  objects_ = max_locations;
  owned_.clear();
  checks_.clear();
  moments_.clear();
  thread_count_ = 1;
  asleep_ = 0;
  coasting_ = false;
  steps_ = 0;
  fruitless_ = 0;
  time_ = 1'000'000'000;
  preemptions_left_ = limits_.preemptions;
  early_wakes_left_ = limits_.early_wakes;
  failed_exchanges_left_ = limits_.failed_exchanges;
  failed_allocations_left_ = limits_.failed_allocations;
  search_.rewind();
  if (search_.is_random() && !tracing_) {
    changes_.clear();
    for (int i = 1; i < limits_.random_depth; ++i)
      changes_.push_back(1 + search_.random(std::max(longest_, 1)));
    for (model_thread& t : threads_) t.priority = limits_.random_depth + search_.random(1000);
  }
  model_thread& first = thread(0);
  first.is = model_thread::state::ready;
  first.run = nullptr;
  first.needs = nullptr;
  first.joins = nullptr;
  first.waits_on = nullptr;
  first.context.begin_thread(locals_);
}

void engine::execute() {
  prepare();
  std::vector<char> kept;
  locals_.save(kept);
  if (_setjmp(home_) == 0) {
    active_ = true;
    inside_ = true;
    current_ = turn_ = 0;
    building_ = true;
    thread(0).context.enter(locals_);
  }
  active_ = false;
  inside_ = false;
  locals_.restore(kept);
  longest_ = std::max(longest_, steps_);
}

/// A fiber: does what its thread is to do, again and again, each time in another execution.
void engine::fiber_entry() {
  engine& self = instance();
  for (;;) {
    if (self.current_ == 0) {
      self.run_builder();
    } else {
      self.run_thread();
    }
  }
}

void engine::run_builder() {
  world here;
  inside_ = false;
  try {
    (*build_)(here);
  } catch (...) {
    inside_ = true;
    fail("the scenario threw while it was built");
  }
  inside_ = true;
  building_ = false;
  me().is = model_thread::state::yielded;  // until every thread is done; `pick` sees to it
  switch_to(pick());
  for (int t = 1; t < thread_count_; ++t) memory_.join(0, t);
  finish();
  me().context.leave(home_);
}

void engine::finish() {
  for (const owned& check : checks_) {
    inside_ = false;
    check.call(check.object);
    inside_ = true;
  }
  while (!owned_.empty()) {
    const owned last = owned_.back();
    owned_.pop_back();
    inside_ = false;
    last.call(last.object);
    inside_ = true;
  }
  if (const model_heap::block* const leak = heap_.leak()) {
    fail("memory leak: " + std::to_string(leak->size) + " bytes allocated at " +
         short_name(project_line(leak->allocated_at)));
  }
}

void engine::run_thread() {
  model_thread& self = me();
  inside_ = false;
  try {
    self.run(self.argument);
    while (!self.at_exit.empty()) {
      const auto [destroy, object] = self.at_exit.back();
      self.at_exit.pop_back();
      destroy(object);
    }
  } catch (...) {
    inside_ = true;
    fail("an exception left a thread");
  }
  inside_ = true;
  self.is = model_thread::state::done;
  self.next = {};
  self.needs = nullptr;
  switch_to(pick());
}

void engine::fail(const std::string& why) {
  failure_ = why;
  if (tracing_) {
    trace_ +=
        "  T" + std::to_string(current_) + " !! " + why + "  " + short_name(project_line_of_stack()) + '\n';
  }
  inside_ = true;
  _longjmp(home_, 1);
}

moment engine::present_moment() {
  moments_.push_back({current_, memory_.present(current_), memory_.clock(current_)});
  // What comes next is later than this moment.
  static_cast<void>(memory_.give(current_));
  return static_cast<moment>(moments_.size() - 1);
}

bool engine::happens_before(moment a, moment b) const {
  const stamp& first = moments_[static_cast<std::size_t>(a)];
  const stamp& second = moments_[static_cast<std::size_t>(b)];
  return a != b && second.clock.of[vector_clock::at(first.thread)] >= first.at;
}

}  // namespace weir_model
