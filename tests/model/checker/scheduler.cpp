// SPDX-License-Identifier: BSL-1.0
// Whose turn it is.
#include <cerrno>

#include "engine.hpp"

namespace weir_model {

void engine::switch_to(int next) {
  if (next == current_) return;
  model_thread& from = me();
  from.error = errno;
  current_ = next;
  thread(next).context.enter(from.context, locals_);
  errno = from.error;
}

/// The running thread is about to do `next`; whoever is chosen goes on from here.
void engine::arrive(const operation& next, const mutex_state* needs) {
  model_thread& self = me();
  if (memory_.exhausted(current_)) fail("one thread does too much in one execution");
  self.next = next;
  self.needs = needs;
  if (building_ || thread_count_ == 1) {
    if (needs != nullptr && needs->owner >= 0) fail("self-deadlock while nobody else runs");
  } else {
    switch_to(pick());
  }
  self.needs = nullptr;
  perform(next);
}

/// The running thread waits; it goes on with `next` when it has been woken.
void engine::block(const volatile void* on, long long deadline, const operation& next,
                   const mutex_state* needs) {
  model_thread& self = me();
  self.is = model_thread::state::blocked;
  self.waits_on = on;
  self.deadline = deadline;
  self.woken = wake::notified;
  self.next = next;
  self.needs = needs;
  if (current_ == 0) {
    if (deadline == no_deadline) fail("deadlock: the check waits, and every thread has ended");
    time_ = std::max(time_, deadline);
    self.woken = wake::timed_out;
    self.is = model_thread::state::ready;
    return perform(next);
  }
  if (tracing_) self.blocked_at = short_name(project_line_of_stack());
  switch_to(pick());
  self.waits_on = nullptr;
  self.needs = nullptr;
  perform(next);
}

/// `done` is being done: whoever slept because its own operation led nowhere new wakes if they do not commute.
void engine::perform(const operation& done) {
  if (done.what == operation::kind::write) fruitless_ = 0;
  if (done.what != operation::kind::read && done.what != operation::kind::ordered_read) {
    me().looks.clear();
    me().saw_stale = false;
    me().tireless = 0;
  }
  for (int t = 1; t < thread_count_; ++t) {
    model_thread& other = thread(t);
    if (((asleep_ >> t) & 1U) != 0 && (t == current_ || other.next.depends_on(done))) asleep_ &= ~(1U << t);
    if (t != current_ && other.is == model_thread::state::yielded && done.what == operation::kind::write) {
      other.is = model_thread::state::ready;
    }
  }
}

/// Who goes on.  A thread whose next step nobody sees goes on at once: no choice.
int engine::pick() {
  if (++steps_ > limits_.steps) fail(stuck("livelock, or too long an execution"));
  for (;;) {
    if (const int t = unseen(); t != 0) return t;
    std::array<int, 2 * max_threads> options{};
    int count = 0;
    const auto add = [&](int t) { options[static_cast<std::size_t>(count++)] = t; };
    const bool may_go_on = turn_ != 0 && thread(turn_).enabled();
    if (may_go_on) add(turn_);
    for (int t = 1; t < thread_count_; ++t) {
      if (t != turn_ && thread(t).enabled()) add(t);
    }
    if (count == 0) {
      if (let_go_on()) continue;
      return turn_ = 0;
    }
    const int turns = count;
    for (int t = 1; t < thread_count_ && early_wakes_left_ > 0; ++t) {
      if (thread(t).is == model_thread::state::blocked) add(t);
    }
    const int chosen = decide(options, count, turns, may_go_on);
    if (thread(chosen).is == model_thread::state::blocked) {
      wake_early(thread(chosen));
      if (!thread(chosen).enabled()) continue;  // it is awake, but its mutex is not free
    }
    if (may_go_on && chosen != turn_) --preemptions_left_;
    return turn_ = chosen;
  }
}

int engine::unseen() {
  for (int t = 1; t < thread_count_; ++t) {
    model_thread& other = thread(t);
    if (other.is == model_thread::state::fresh) other.is = model_thread::state::ready;
    if (other.enabled() && other.next.what == operation::kind::none) return t;
  }
  return 0;
}

/// Nobody can go on as things are: time passes, or those who spin look once more.  False if all are done.
bool engine::let_go_on() {
  bool all_done = true;
  bool spinning = false;
  long long earliest = no_deadline;
  for (int t = 1; t < thread_count_; ++t) {
    model_thread& other = thread(t);
    all_done = all_done && other.is == model_thread::state::done;
    if (other.is == model_thread::state::yielded) {
      other.is = model_thread::state::ready;
      spinning = true;
    }
    if (other.is == model_thread::state::blocked) earliest = std::min(earliest, other.deadline);
  }
  if (all_done) return false;
  if (spinning && (++fruitless_ <= 3 * thread_count_ + 3 || earliest == no_deadline)) {
    if (fruitless_ > 3 * thread_count_ + 3) fail(stuck("livelock: everybody spins and nobody writes"));
    return true;
  }
  if (earliest == no_deadline) fail(stuck("deadlock: everybody waits"));
  fruitless_ = 0;
  time_ = std::max(time_, earliest);
  for (int t = 1; t < thread_count_; ++t) {
    model_thread& other = thread(t);
    if (other.is != model_thread::state::blocked || other.deadline > time_) continue;
    other.is = model_thread::state::ready;
    other.woken = wake::timed_out;
  }
  asleep_ = 0;
  return true;
}

/// A wait ends before it must: its time has come, or for no reason at all.
void engine::wake_early(model_thread& t) {
  --early_wakes_left_;
  t.is = model_thread::state::ready;
  t.woken = wake::spurious;
  if (t.deadline != no_deadline && choose(2) == 0) {
    t.woken = wake::timed_out;
    time_ = std::max(time_, t.deadline);
  }
  asleep_ = 0;
}

/// One of the first `turns` options gets the turn, or one of the others is woken.
int engine::decide(std::array<int, 2 * max_threads>& options, int count, int turns, bool may_go_on) {
  const auto option = [&](int i) { return options[static_cast<std::size_t>(i)]; };
  if (coasting_) return option(0);
  if (exhaustive_) return decide_asleep(options, count, turns);
  if (search_.is_random()) {
    return option(search_.choose(count, [&] {
      for (std::size_t k = 0; k < changes_.size(); ++k) {
        if (changes_[k] == steps_) me().priority = -static_cast<int>(k);
      }
      if (turns < count && search_.random(8) == 0) return turns + search_.random(count - turns);
      int best = 0;
      for (int i = 1; i < turns; ++i) {
        if (thread(option(i)).priority > thread(option(best)).priority) best = i;
      }
      return best;
    }));
  }
  if (may_go_on && preemptions_left_ <= 0) return option(0);
  return option(search_.choose(count));
}

/// As `decide`, leaving out who sleeps.
int engine::decide_asleep(std::array<int, 2 * max_threads>& options, int count, int turns) {
  std::array<int, 2 * max_threads> awake{};
  int n = 0;
  for (int i = 0; i < count; ++i) {
    const int t = options[static_cast<std::size_t>(i)];
    if (i >= turns || ((asleep_ >> t) & 1U) == 0) awake[static_cast<std::size_t>(n++)] = t;
  }
  if (n == 0) {
    coasting_ = true;  // whatever comes has been seen in another order
    return options[0];
  }
  const int chosen = search_.choose(n);
  for (int i = 0; i < chosen; ++i) {
    const int t = awake[static_cast<std::size_t>(i)];
    if (thread(t).is == model_thread::state::ready) asleep_ |= 1U << t;
  }
  return awake[static_cast<std::size_t>(chosen)];
}

int engine::wake_waiters(const volatile void* on, int count) {
  int woken = 0;
  while (woken < count) {
    std::array<int, max_threads> waiting{};
    int n = 0;
    for (int t = 1; t < thread_count_; ++t) {
      if (thread(t).is == model_thread::state::blocked && thread(t).waits_on == on) {
        waiting[static_cast<std::size_t>(n++)] = t;
      }
    }
    if (n == 0) break;
    // If all of them are woken, the order is that of the scheduler.
    const int chosen = count - woken >= n ? 0 : choose(n);
    thread(waiting[static_cast<std::size_t>(chosen)]).is = model_thread::state::ready;
    ++woken;
  }
  return woken;
}

std::string engine::stuck(const char* how) const {
  std::string text = how;
  for (int t = 1; t < thread_count_; ++t) {
    const model_thread& other = thread(t);
    text += t == 1 ? ": T" : ", T";
    text += std::to_string(t);
    switch (other.is) {
      case model_thread::state::done:
        text += " has ended";
        break;
      case model_thread::state::yielded:
        text += " spins";
        break;
      case model_thread::state::blocked:
        text += " waits";
        if (!other.blocked_at.empty()) text += " at " + other.blocked_at;
        break;
      default:
        text += other.joins != nullptr   ? " joins another"
                : other.needs != nullptr ? " wants a mutex of T" + std::to_string(other.needs->owner)
                                         : " runs";
    }
  }
  return text;
}

/// The running thread spins: it is held back until somebody has written something, or it goes on and sees nothing
/// new, for as long as it may.
void engine::yield() {
  if (building_ || thread_count_ == 1) return;
  model_thread& self = me();
  if (self.tireless > 0) return look_in_vain();
  const bool may_go_on = self.goes_on > 0 && current_ != 0 && (limits_.strict_wait || !self.saw_stale);
  if (may_go_on && choose(2) == 1) {
    --self.goes_on;
    self.tireless = looks_in_vain;
    return;
  }
  self.looks.clear();
  memory_.insist(current_);
  self.is = model_thread::state::yielded;
  self.next = {};
  self.needs = nullptr;
  switch_to(pick());
}

}  // namespace weir_model
