// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "../campaign.hpp"
#include "../specification/queue.hpp"

namespace weir_model {
namespace {

using operation = queue_specification::operation;
using answer = queue_specification::answer;
using verb = queue_verb;
using word = queue_word;

struct queue_component {
  static constexpr const char* name = "bounded_queue";
  using specification = queue_specification;
  using setup = queue_setup;

  static setup draw_setup(dice& roll) {
    using enum weir::overflow_policy;
    return {.capacity = 1 + roll(2),
            .overflow = roll.one_of({block, block, block, reject, drop_newest, drop_oldest})};
  }

  static std::vector<operation> draw_thread(dice& roll, const setup&, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what = roll.one_of({verb::try_push, verb::try_push, verb::push, verb::push, verb::push_for,
                                     verb::try_pop, verb::try_pop, verb::try_pop_n, verb::pop, verb::pop,
                                     verb::pop_for, verb::close, verb::take_all, verb::closed});
      all.push_back({what, what == verb::try_pop_n ? 2 : value_of(thread, all.size()), 0});
    }
    return all;
  }

  static operation without_value(operation o) {
    if (o.verb != verb::try_pop_n) o.argument = 0;
    return o;
  }

  /// Somebody closes it in the end, if anybody may wait for ever.
  template <class Plan>
  static void complete(Plan& p) {
    const auto waits = [](const operation& o) { return o.verb == verb::push || o.verb == verb::pop; };
    const auto some_wait = [&](const auto& thread) {
      return std::any_of(thread.begin(), thread.end(), waits);
    };
    if (std::any_of(p.threads.begin(), p.threads.end(), some_wait)) {
      if (p.threads.size() < 3) p.threads.emplace_back();
      p.threads.back().assign(1, {verb::close, 0, 0});
    }
    p.closing = {{verb::try_pop_n, 8, 0}, {verb::closed, 0, 0}};
  }

  static std::string show(const setup& s) {
    static constexpr const char* policies[] = {"block", "reject", "drop_newest", "drop_oldest"};
    return "capacity " + std::to_string(s.capacity) + ", " + policies[static_cast<int>(s.overflow)];
  }
};

/// A value whose move might throw: the queue keeps it under a lock.
struct guarded {
  guarded(int v) : value{v} {}  // NOLINT(google-explicit-constructor)
  guarded(guarded&& other) noexcept(false) : value{other.value} {}
  guarded(const guarded& other) = default;
  guarded& operator=(const guarded&) = default;
  ~guarded() = default;
  operator int() const { return value; }  // NOLINT(google-explicit-constructor)
  int value;
};

template <class Value>
class subject_of {
 public:
  explicit subject_of(const queue_setup& setup)
      : queue_{{.capacity = static_cast<std::size_t>(setup.capacity), .overflow = setup.overflow},
               [this](Value&& dropped) { of(dropped_, current_thread()).push_back(dropped); }} {}

  answer apply(int thread, const operation& o) {
    using std::chrono::nanoseconds;
    switch (o.verb) {
      case verb::try_push:
        return pushed(thread, queue_.try_push(o.argument));
      case verb::push:
        return pushed(thread, queue_.push(o.argument));
      case verb::push_for:
        return pushed(thread, queue_.push_for(o.argument, nanoseconds{10}));
      case verb::try_pop:
        return popped(queue_.try_pop());
      case verb::try_pop_n: {
        std::vector<Value> out;
        const auto some = queue_.try_pop_n(out, static_cast<std::size_t>(o.argument));
        return some ? given(out) : refused(some.error());
      }
      case verb::pop:
        return popped(queue_.pop());
      case verb::pop_for:
        return popped(queue_.pop_for(nanoseconds{10}));
      case verb::close:
        queue_.close();
        return {word::done, {}};
      case verb::take_all:
        return given(queue_.close_and_take());
      case verb::closed:
        return {queue_.closed() ? word::yes : word::no, {}};
    }
    return {};
  }

 protected:
  static answer given(const std::vector<Value>& values) {
    return {word::given, {values.begin(), values.end()}};
  }
  static answer popped(const weir::outcome<Value>& result) {
    return result ? answer{word::given, {*result}} : refused(result.error());
  }
  static answer refused(weir::refusal why) {
    switch (why.reason) {
      case weir::refusal_reason::full:
        return {word::full, {}};
      case weir::refusal_reason::empty:
        return {word::empty, {}};
      case weir::refusal_reason::closed:
        return {word::closed, {}};
      default:
        return {word::timed_out, {}};
    }
  }
  answer pushed(int thread, const weir::outcome<>& result) {
    if (!result) return refused(result.error());
    const std::vector<int> dropped = std::exchange(of(dropped_, thread), {});
    return {word::accepted, {dropped.begin(), dropped.end()}};
  }

  per_thread<std::vector<int>> dropped_{};
  weir::bounded_queue<Value> queue_;
};

using queue_subject = subject_of<int>;

/// Planted: a consumer that meets another says that nothing is there.
class shy_queue : public queue_subject {
 public:
  using queue_subject::queue_subject;
  answer apply(int thread, const operation& o) {
    if (o.verb != verb::try_pop) return queue_subject::apply(thread, o);
    if (busy_.exchange(true)) return {word::empty, {}};
    const answer result = queue_subject::apply(thread, o);
    busy_.store(false);
    return result;
  }

 private:
  std::atomic<bool> busy_{false};
};

/// Scenarios of calls that never wait.
struct queue_of_tries : queue_component {
  static std::vector<operation> draw_thread(dice& roll, const setup&, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what =
          roll.one_of({verb::try_push, verb::try_push, verb::try_pop, verb::try_pop, verb::close});
      all.push_back({what, value_of(thread, all.size()), 0});
    }
    return all;
  }
};

/// Scenarios of one who waits, and tries beside it.
struct queue_of_a_waiter : queue_component {
  static setup draw_setup(dice& roll) {
    return {.capacity = 1,
            .overflow = roll.one_of({weir::overflow_policy::block, weir::overflow_policy::drop_oldest})};
  }
  static std::vector<operation> draw_thread(dice& roll, const setup&, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what =
          thread == 1 ? verb::pop_for : roll.one_of({verb::try_push, verb::try_push, verb::try_pop});
      all.push_back({what, value_of(thread, all.size()), 0});
    }
    return all;
  }
};

/// Planted: whether it is closed is looked at before the lock, so that a value is taken after the drain.
class hasty_queue : public queue_subject {
 public:
  using queue_subject::queue_subject;
  answer apply(int thread, const operation& o) {
    switch (o.verb) {
      case verb::close:
        closed_.store(true);
        return {word::done, {}};
      case verb::closed:
        return {closed_.load() ? word::yes : word::no, {}};
      case verb::try_push:
        return closed_.load() ? answer{word::closed, {}} : queue_subject::apply(thread, o);
      default: {
        const bool closed = closed_.load();
        const answer result = queue_subject::apply(thread, o);
        return closed && result.word == word::empty ? answer{word::closed, {}} : result;
      }
    }
  }

 private:
  std::atomic<bool> closed_{false};
};

}  // namespace

campaigns judge_queue(const campaign_options& options) {
  const auto one_step = [](const queue_setup& s) { return queue_specification{s, true}; };
  const auto protocol = [](const queue_setup& s) { return queue_specification{s, false}; };
  using subject = queue_subject;
  using guarded_subject = subject_of<guarded>;
  using component = queue_component;
  return {
      campaign<component, subject>(options, consistent(options), "histories in real time", one_step),
      campaign<component, subject>(options, weak(options), "histories by happens-before", one_step),
      campaign<component, guarded_subject>(options, consistent(options),
                                           "under a lock, histories in real time", protocol),
      campaign<component, guarded_subject>(options, weak(options),
                                           "under a lock, histories by happens-before", protocol),
      campaign<queue_of_a_waiter, guarded_subject>(options, consistent(options),
                                                   "documented: under a lock a promised value keeps its room",
                                                   one_step, true),
      campaign<component, shy_queue>(options, consistent(options), "planted: empty when two meet", one_step,
                                     true),
      campaign<queue_of_tries, hasty_queue>(options, consistent(options),
                                            "planted: closed is looked at too early", one_step, true),
  };
}

}  // namespace weir_model
