// SPDX-License-Identifier: BSL-1.0
// What the operations of the program do to the memory, to locks, to time.
#include "operations.hpp"

namespace weir_model {

namespace {

using kind = operation::kind;

/// The virtual clock is an object too: to read it and to move it do not commute.
constexpr int clock_object = 1 << 20;

}  // namespace

// ---- plain memory ----

/// Nobody may touch what another thread had on its stack and has left.
void engine::check_frame(const volatile void* p) {
  const int owner = region_.stack_of(p);
  if (owner < 0 || owner == current_) return;
  const model_thread& other = thread(owner);
  const char* const at = const_cast<const char*>(static_cast<const volatile char*>(p));
  if (other.is != model_thread::state::done && at >= other.context.stack_pointer()) return;
  suspect_ = p;
  fail("use of a stack frame that T" + std::to_string(owner) + " has left");
}

void engine::touch(const volatile void* p, std::size_t bytes, access how) {
  check_frame(p);
  const bool good = watch_.touch(p, bytes, how, current_, memory_.clock(current_));
  if (tracing_ && suspect_ != nullptr && region_.granule_of(p) == region_.granule_of(suspect_)) {
    trace(how == access::write ? "write" : how == access::read ? "read" : "atomic", -1, 0, "", false);
  }
  if (!good) {
    suspect_ = p;
    fail(watch_.wrong());
  }
}

void engine::plain(const volatile void* p, std::size_t bytes, access how) {
  touch(p, bytes, how);
  if (how == access::write && watch_.met_object()) forget(p, bytes);
}

/// What stood there is no more.
void engine::forget(const volatile void* p, std::size_t bytes) {
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(p);
  for (std::uintptr_t a = begin; a < begin + bytes; ++a) {
    const void* const at = reinterpret_cast<const void*>(a);
    if (!watch_.marked(at, 1)) {
      a |= granule - 1;  // on to the next
      continue;
    }
    locations_.erase(at);
    if (mutex_state** const m = mutexes_.find(at)) {
      if ((*m)->owner >= 0) fail("a locked mutex is destroyed");
      mutexes_.erase(at);
    }
    for (int t = 1; t < thread_count_; ++t) {
      if (thread(t).is == model_thread::state::blocked && thread(t).waits_on == at) {
        fail("something is destroyed that T" + std::to_string(t) + " waits on");
      }
    }
    objects_at_.erase(at);
  }
  watch_.unmark(p, bytes);
}

// ---- atomics ----

int engine::location(const volatile void* p, std::size_t bytes, std::uint64_t initial, access how) {
  touch(p, bytes, how);
  if (const int* const known = locations_.find(p)) {
    if (widths_[static_cast<std::size_t>(*known)] != bytes) fail("an atomic is used in two sizes");
    return *known;
  }
  const int l = memory_.locate(current_, initial);
  if (l < 0) fail("more than " + std::to_string(max_locations) + " atomics in one execution");
  locations_.insert(p, l);
  widths_[static_cast<std::size_t>(l)] = bytes;
  watch_.mark(p, bytes);
  return l;
}

int engine::visible_store(int l, memory_order order) {
  const int newest = memory_.newest(l);
  const int oldest = limits_.weak && !building_ ? memory_.oldest_visible(current_, l, order) : newest;
  return newest - choose(newest - oldest + 1);
}

/// One look of a thread that goes on though it spins.
void engine::look_in_vain() {
  if (--me().tireless > 0) return;
  coasting_ = true;  // it spins on and on, which somebody's store ends: explored where it is held back
  memory_.insist(current_);
}

/// Whether a thread that goes on though it spins sees here what it saw before; no point of scheduling then.
bool engine::sees_the_same(int l, memory_order order) {
  if (me().tireless == 0) return false;
  const look_table::look* const before = me().looks.find(l);
  if (before == nullptr || before->store < memory_.oldest_visible(current_, l, order)) return false;
  look_in_vain();
  return true;
}

void engine::note_look(int l, int store, std::uint64_t value) {
  model_thread& self = me();
  self.saw_stale = store != memory_.newest(l);
  if (self.looks.note(l, store, value, self.saw_stale) >= looks_of_a_spin) yield();
}

std::uint64_t engine::load(const volatile void* p, std::size_t bytes, std::uint64_t initial,
                           memory_order order, const site& at) {
  const int l = location(p, bytes, initial);
  if (at.counter) return memory_.read(current_, l, memory_.newest(l), order);
  if (sees_the_same(l, order)) return memory_.read(current_, l, me().looks.find(l)->store, order);
  arrive({order == memory_order::seq_cst ? kind::ordered_read : kind::read, l});
  check_frame(p);
  const int store = visible_store(l, order);
  const bool stale = store != memory_.newest(l);
  const std::uint64_t value = memory_.read(current_, l, store, order);
  trace("load", l, value, name_of(order), stale);
  note_look(l, store, value);
  return value;
}

void engine::store(const volatile void* p, std::size_t bytes, std::uint64_t initial, std::uint64_t value,
                   memory_order order, const site& at) {
  const int l = location(p, bytes, initial, access::atomic_store);
  const operation write{kind::write, l};
  if (at.counter) {
    perform(write);
  } else {
    arrive(write);
    check_frame(p);
  }
  if (!memory_.write(current_, l, value, order)) fail("too many stores to one atomic");
  trace("store", l, value, name_of(order), false);
}

bool engine::compare_exchange(const volatile void* p, std::size_t bytes, std::uint64_t initial,
                              std::uint64_t& expected, std::uint64_t desired, bool may_fail, const site& at) {
  const int l = location(p, bytes, initial, access::atomic_store);
  const operation write{kind::write, l};
  arrive(write);
  check_frame(p);
  const int newest = memory_.newest(l);
  const bool equal = memory_.value(l, newest) == expected;
  // It succeeds, or fails, on the newest store; it may fail on an older one that differs, or for no reason.
  std::array<int, history + 1> outcomes{};
  int n = 0;
  outcomes[static_cast<std::size_t>(n++)] = newest;
  const int oldest =
      limits_.weak && !building_ ? memory_.oldest_visible(current_, l, at.effective_failure) : newest;
  for (int s = newest - 1; s >= oldest && n < history; --s) {
    if (memory_.value(l, s) != expected) outcomes[static_cast<std::size_t>(n++)] = s;
  }
  constexpr int no_reason = -1;
  if (equal && may_fail && failed_exchanges_left_ > 0) outcomes[static_cast<std::size_t>(n++)] = no_reason;
  int outcome = outcomes[static_cast<std::size_t>(choose(n))];
  if (outcome == newest && equal) {
    if (!memory_.exchange(current_, l, desired, at.effective)) fail("too many stores to one atomic");
    trace("exchanged", l, desired, name_of(at.effective), false);
    return true;
  }
  if (outcome == no_reason) {
    --failed_exchanges_left_;
    outcome = newest;
  }
  expected = memory_.read(current_, l, outcome, at.effective_failure);
  trace("not exch.", l, expected, name_of(at.effective_failure), outcome != newest);
  return false;
}

void engine::fence(memory_order order, const site& at) {
  if (at.dropped) return;
  if (order == memory_order::seq_cst) arrive({kind::everything});
  memory_.fence(current_, order);
  trace("fence", -1, 0, name_of(order), false);
}

// ---- locks ----

mutex_state& engine::mutex_at(const volatile void* p) {
  touch(p, sizeof(long), access::atomic);
  if (mutex_state** const known = mutexes_.find(p)) return **known;
  if (mutexes_used_ == mutex_pool_.size()) mutex_pool_.push_back(std::make_unique<mutex_state>());
  mutex_state* const fresh = mutex_pool_[mutexes_used_++].get();
  *fresh = mutex_state{};
  fresh->object = ++objects_;
  mutexes_.insert(p, fresh);
  watch_.mark(p, sizeof(long));
  return *fresh;
}

int engine::object_at(const volatile void* p) {
  touch(p, sizeof(long), access::atomic);
  if (const int* const known = objects_at_.find(p)) return *known;
  watch_.mark(p, sizeof(long));
  return objects_at_.insert(p, ++objects_);
}

void engine::own_mutex(mutex_state& m) {
  m.owner = current_;
  memory_.take(current_, m.given);
}

void engine::give_mutex(mutex_state& m) {
  m.given = memory_.give(current_);
  m.owner = -1;
}

void engine::lock(void* mutex) {
  mutex_state& m = mutex_at(mutex);
  if (m.owner == current_) {
    fail("self-deadlock: the thread owns this mutex already (if it is recursive, it cannot be explored)");
  }
  arrive({kind::write, m.object}, &m);
  check_frame(mutex);
  own_mutex(m);
  trace("lock", m.object, 0, "", false);
}

bool engine::try_lock(void* mutex) {
  mutex_state& m = mutex_at(mutex);
  uses_try_lock_ = true;
  arrive({kind::write, m.object});
  check_frame(mutex);
  const bool free = m.owner < 0;
  if (free) own_mutex(m);
  trace(free ? "try_lock" : "is locked", m.object, 0, "", false);
  return free;
}

void engine::unlock(void* mutex) {
  mutex_state& m = mutex_at(mutex);
  if (m.owner != current_) fail("a mutex is unlocked by a thread that does not own it");
  const operation write{kind::write, m.object};
  // Nobody can tell when a mutex is given back, unless somebody tries it.
  if (uses_try_lock_) {
    arrive(write);
    check_frame(mutex);
  } else {
    perform(write);
  }
  give_mutex(m);
  trace("unlock", m.object, 0, "", false);
}

wake engine::wait(void* condition, void* mutex, long long deadline) {
  const int c = object_at(condition);
  mutex_state& m = mutex_at(mutex);
  const operation both{kind::write, c, m.object};
  arrive(both);
  if (m.owner != current_) fail("a thread waits with a mutex that it does not own");
  trace("wait", c, 0, "", false);
  give_mutex(m);
  block(condition, deadline, both, &m);
  own_mutex(m);
  const wake why = me().woken;
  trace(why == wake::notified   ? "notified"
        : why == wake::spurious ? "woke early"
                                : "timed out",
        c, 0, "", false);
  return why;
}

void engine::notify(void* condition, bool all) {
  const int c = object_at(condition);
  arrive({kind::write, c});
  check_frame(condition);
  const int woken = wake_waiters(condition, all ? max_threads : 1);
  trace(all ? "notify_all" : "notify_one", c, static_cast<std::uint64_t>(woken), "", false);
}

void engine::destroy_mutex(void* mutex) {
  touch(mutex, sizeof(long), access::write);
  forget(mutex, sizeof(long));
}

void engine::destroy_condition(void* condition) {
  touch(condition, sizeof(long), access::write);
  forget(condition, sizeof(long));
}

bool engine::futex_wait(const volatile std::uint32_t* p, std::uint32_t value, long long deadline, wake& why) {
  const int l = location(p, sizeof *p, *p);
  const look_table::look* const before = me().looks.find(l);
  const bool may_be_stale = limits_.strict_wait && before != nullptr && before->stale;
  arrive({kind::write, l});
  check_frame(p);
  const int compared = may_be_stale ? visible_store(l, memory_order::relaxed) : memory_.newest(l);
  if (static_cast<std::uint32_t>(memory_.value(l, compared)) != value) {
    memory_.refresh(current_, l);
    return false;
  }
  trace("futex wait", l, value, "", compared != memory_.newest(l));
  block(p, deadline, {kind::read, l}, nullptr);
  memory_.refresh(current_, l);
  why = me().woken;
  return true;
}

int engine::futex_wake(const volatile std::uint32_t* p, int count) {
  // By the address alone: the word may be gone, if who waited for it saw its value without this call.
  const int* const known = locations_.find(p);
  const operation wakes = known != nullptr ? operation{kind::write, *known} : operation{kind::everything};
  arrive(wakes);
  const int woken = wake_waiters(p, count);
  trace("futex wake", wakes.object, static_cast<std::uint64_t>(woken), "", false);
  return woken;
}

// ---- time and threads ----

void engine::sleep_until(long long deadline) {
  if (building_ || thread_count_ == 1) {
    time_ = std::max(time_, deadline);
    return;
  }
  block(&time_, deadline, {kind::write, clock_object}, nullptr);
}

long long engine::read_clock() {
  arrive({kind::read, clock_object});
  return time_;
}

void engine::advance_clock(long long nanoseconds) {
  arrive({kind::write, clock_object});
  time_ += nanoseconds;
  trace("advance", clock_object, static_cast<std::uint64_t>(nanoseconds), "ns", false);
}

int engine::start_thread(void (*run)(void*), void* argument) {
  if (thread_count_ == max_threads) fail("more than " + std::to_string(max_threads - 1) + " threads");
  const int t = thread_count_++;
  model_thread& fresh = thread(t);
  memory_.start(t, current_);
  fresh.is = model_thread::state::fresh;
  fresh.next = {};
  fresh.needs = nullptr;
  fresh.waits_on = nullptr;
  fresh.joins = nullptr;
  fresh.run = run;
  fresh.argument = argument;
  fresh.at_exit.clear();
  fresh.looks.clear();
  fresh.saw_stale = false;
  fresh.tireless = 0;
  fresh.goes_on = goes_on_alone;
  fresh.error = 0;
  fresh.context.begin_thread(locals_);
  return t;
}

void engine::join_thread(int t) {
  model_thread& self = me();
  self.next = {};
  self.joins = &thread(t);
  switch_to(pick());
  self.joins = nullptr;
  memory_.join(current_, t);
}

void engine::at_thread_exit(void (*destroy)(void*), void* object) {
  me().at_exit.push_back({destroy, object});
}

// ---- memory ----

void* engine::allocate(std::size_t bytes, std::size_t alignment, const void* pc) {
  if (failed_allocations_left_ > 0 && !building_ && current_ != 0 && choose(2) == 1) {
    --failed_allocations_left_;
    trace("bad_alloc", -1, bytes, "", false);
    return nullptr;
  }
  char* const block = heap_.allocate(bytes, alignment, pc);
  if (block == nullptr) fail("the heap of the execution is full");
  watch_.allocate(block, heap_.find(block)->size);
  return block;
}

void engine::release(void* p) {
  model_heap::block* const block = heap_.find(p);
  if (block == nullptr) fail("delete of what was not allocated");
  if (!block->alive) fail("double free");
  if (!limits_.reuse_memory) {
    if (!watch_.release(p, block->size, current_, memory_.clock(current_))) {
      suspect_ = p;
      fail("while memory is freed: " + watch_.wrong());
    }
  }
  if (watch_.marked(p, block->size)) forget(p, block->size);
  block->alive = false;
}

void engine::trace(const char* what, int object, std::uint64_t value, const char* order, bool stale) {
  if (!tracing_ || building_) return;
  char line[256];
  char name[24] = "";
  if (object >= 0)
    std::snprintf(name, sizeof name, "%s%d", object < max_locations ? "a" : "m", object % 10000);
  std::snprintf(line, sizeof line, "  T%d %-10s %-5s %-20lld %-8s %-6s %s\n", current_, what, name,
                static_cast<long long>(value), order, stale ? "stale" : "",
                short_name(project_line_of_stack()).c_str());
  trace_ += line;
}

}  // namespace weir_model
