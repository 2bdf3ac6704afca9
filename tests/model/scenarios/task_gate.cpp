// SPDX-License-Identifier: BSL-1.0
// Entering and leaving: tries, waits, close, idleness, capacity, destruction.
#include <weir/task_gate.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;
using weir::refusal_reason;
using gate = weir::basic_task_gate<still_clock>;
using timed_gate = weir::task_gate;

constexpr auto relaxed = std::memory_order_relaxed;

/// A gate, who is inside, and a pass that was taken before anything began.
template <class Gate>
struct state {
  explicit state(std::uint32_t capacity) : gate{{.capacity = capacity}} {}
  Gate gate;
  room inside;
  std::optional<typename Gate::pass> held;
};

/// Nobody is inside and nobody waits.
template <class Gate>
void expect_at_rest(const Gate& g) {
  const weir::task_gate_stats s = g.stats();
  expect(s.waiting == 0, "nobody waits at the end");
  expect(s.running == 0, "nobody is inside at the end");
}

// ---- tries

void three_try(world& w) {
  auto& s = w.make<state<gate>>(1U);
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      if (const auto pass = s.gate.try_enter()) s.inside.visit();
    });
  }
  w.after([&] {
    expect(s.inside.visits() >= 1, "somebody was let in");
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new());
  });
}

const scenario try_excludes{"task_gate", "of three that try, one at a time is inside", {}, three_try};

void three_try_two_places(world& w) {
  auto& s = w.make<state<gate>>(2U);
  auto& inside = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      if (const auto pass = s.gate.try_enter()) {
        expect(inside.fetch_add(1, relaxed) < 2, "two at most");
        inside.fetch_sub(1, relaxed);
      }
    });
  }
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario try_counts{"task_gate",
                          "of three that try two places, two at most are inside",
                          {.preemptions = 2, .random_executions = 20'000},
                          three_try_two_places};

/// Each needs one exchange more if the other comes between.
template <bool Enter>
void no_false_refusal(world& w) {
  auto& s = w.make<state<gate>>(2U);
  auto& first = w.make<std::optional<gate::pass>>();
  auto& second = w.make<std::optional<gate::pass>>();
  if (!Enter) first = s.gate.try_enter(), second = s.gate.try_enter();
  for (auto* const mine : {&first, &second}) {
    w.thread([&s, mine] {
      if (Enter) {
        *mine = s.gate.try_enter();
      } else {
        mine->reset();
      }
    });
  }
  w.after([&] {
    expect((first && second) == Enter, "there was room");
    expect(s.gate.stats().running == (Enter ? 2 : 0));
  });
}

const scenario both_let_in{
    "task_gate", "two that try two places are both let in", {}, no_false_refusal<true>};
const scenario both_left{
    "task_gate", "two that leave at once both give their place back", {}, no_false_refusal<false>};

void looked_at(world& w) {
  auto& s = w.make<state<gate>>(1U);
  w.thread([&] { s.gate.set_capacity(2); });
  w.thread([&] {
    const auto pass = s.gate.try_enter();
    expect(pass.has_value());
  });
  w.thread([&] {
    const weir::task_gate_stats seen = s.gate.stats();
    expect(seen.capacity == 1 || seen.capacity == 2);
    expect(seen.running <= 1 && seen.waiting == 0);
    expect(!s.gate.is_as_new() || seen.capacity == 1, "a gate that was changed is not as new");
  });
  w.after([&] { expect(s.gate.stats().capacity == 2 && !s.gate.is_as_new()); });
}

const scenario looked_at_{"task_gate", "a gate may be looked at while it is used and changed", {}, looked_at};

void pass_moves(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  s.inside.enter();
  w.thread([&] {
    gate::pass mine = std::move(*s.held);
    s.inside.leave();
    std::move(mine).release();
  });
  w.thread([&] {
    if (const auto pass = s.gate.try_enter()) s.inside.visit();
  });
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario moved_pass{
    "task_gate", "a pass moved to another thread returns its unit once", {}, pass_moves};

// ---- waits

template <int Threads>
void all_enter(world& w) {
  auto& s = w.make<state<gate>>(1U);
  for (int i = 0; i < Threads; ++i) {
    w.thread([&] {
      const auto pass = s.gate.enter();
      expect(pass.has_value());
      s.inside.visit();
    });
  }
  w.after([&] {
    expect(s.inside.visits() == Threads, "everybody was let in");
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new());
  });
}

const scenario two_enter{"task_gate", "two that wait for one place are both let in", {}, all_enter<2>};
const scenario three_enter{"task_gate",
                           "three that wait for one place are all let in",
                           {.preemptions = 2, .random_executions = 20'000},
                           all_enter<3>};
const scenario spurious_wakes{
    "task_gate", "a waiter that wakes for no reason is not let in", {.early_wakes = 1}, all_enter<2>};

void enter_twice(world& w) {
  auto& s = w.make<state<gate>>(1U);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      for (int round = 0; round < 2; ++round) {
        const auto pass = s.gate.enter();
        s.inside.visit();
      }
    });
  }
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario two_rounds{"task_gate",
                          "two that take turns twice lose no wake-up",
                          {.preemptions = 3, .random_executions = 20'000},
                          enter_twice};

/// One unit of two is held; who wants two waits; who wants one comes after.
void first_in_line(world& w) {
  auto& s = w.make<state<gate>>(2U);
  s.held = s.gate.try_enter();
  auto& heavy = w.make<std::uint64_t>(0U);
  auto& light = w.make<std::uint64_t>(0U);
  w.thread([&] {
    auto pass = s.gate.enter({}, 2);
    heavy = pass->number();
  });
  w.thread([&] {
    if (s.gate.stats().waiting == 1) {
      expect(!s.gate.try_enter(), "nobody overtakes by trying");
      s.held.reset();
      light = s.gate.enter()->number();
    } else {
      s.held.reset();
    }
  });
  w.after([&] {
    expect(heavy != 0);
    expect(light == 0 || light > heavy, "nobody overtakes by waiting");
    expect_at_rest(s.gate);
  });
}

const scenario nobody_overtakes{
    "task_gate", "nobody overtakes the first in line, however few units it wants", {}, first_in_line};

void line_of_two(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  auto& numbers = w.make<std::array<std::uint64_t, 2>>();
  auto& behind = w.make<bool>(false);
  w.thread([&] { numbers[0] = s.gate.enter()->number(); });
  w.thread([&] {
    behind = s.gate.stats().waiting == 1;
    numbers[1] = s.gate.enter()->number();
  });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect(!behind || numbers[0] < numbers[1], "first come, first served");
    expect_at_rest(s.gate);
  });
}

const scenario first_come{"task_gate",
                          "of two that wait, the first to come is the first to be let in",
                          {.preemptions = 2, .random_executions = 20'000},
                          line_of_two};

void both_fit(world& w) {
  auto& s = w.make<state<gate>>(2U);
  s.held = s.gate.try_enter(2);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] { expect(s.gate.enter().has_value()); });
  }
  w.thread([&] { s.held.reset(); });
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario one_leave_admits_two{"task_gate",
                                    "one that leaves with two units lets in two that wait",
                                    {.preemptions = 2, .random_executions = 20'000},
                                    both_fit};

// ---- giving up

/// A stop callback of the standard library leans on what a futex promises beyond the standard.
constexpr bounds stops{.preemptions = 2, .strict_wait = false, .random_executions = 20'000};

void stop_or_grant(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  auto& stop = w.make<std::stop_source>();
  w.thread([&] {
    const auto pass = s.gate.enter(stop.get_token());
    expect(pass || refused_with(pass, refusal_reason::cancelled));
  });
  w.thread([&] { stop.request_stop(); });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new());
  });
}

const scenario stop_races_grant{
    "task_gate", "a stop and a place at once: one of the two, and nothing is lost", stops, stop_or_grant};

void stopped_for_good(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  auto& stop = w.make<std::stop_source>();
  w.thread([&] {
    const auto pass = s.gate.enter(stop.get_token());
    expect(refused_with(pass, refusal_reason::cancelled));
  });
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    expect(s.gate.stats().waiting == 0);
    expect(s.gate.stats().refused == 1);
    s.held.reset();
    expect(s.gate.is_as_new());
  });
}

const scenario stop_ends_wait{"task_gate", "a stop ends the wait for a place that stays taken", stops,
                              stopped_for_good};

/// Who wants two waits for an hour in front of who wants one, and there is one.
void times_out_in_front(world& w) {
  auto& s = w.make<state<timed_gate>>(2U);
  s.held = s.gate.try_enter();
  w.thread([&] {
    const auto pass = s.gate.enter_for(1h, {}, 2);
    expect(refused_with(pass, refusal_reason::timed_out));
    expect(virtual_time() >= 3'600'000'000'000, "not before its time");
  });
  w.thread([&] { expect(s.gate.enter().has_value()); });
  w.after([&] {
    expect(s.gate.stats().waiting == 0);
    s.held.reset();
    expect(s.gate.is_as_new());
  });
}

const scenario gives_way{
    "task_gate", "one that gives up in front lets in those who fit behind it", {}, times_out_in_front};

void time_out_or_grant(world& w) {
  auto& s = w.make<state<timed_gate>>(1U);
  s.held = s.gate.try_enter();
  w.thread([&] {
    const auto pass = s.gate.enter_for(1h);
    expect(pass || refused_with(pass, refusal_reason::timed_out));
  });
  w.thread([&] {
    s.held.reset();
    expect(s.gate.enter().has_value());
  });
  w.after([&] {
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new());
  });
}

const scenario time_races_grant{"task_gate",
                                "a time-out and a place at once: one of the two, and nothing is lost",
                                {.early_wakes = 1},
                                time_out_or_grant};

// ---- close and idleness

void close_or_grant(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  w.thread([&] {
    const auto pass = s.gate.enter();
    expect(pass || refused_with(pass, refusal_reason::closed));
  });
  w.thread([&] {
    s.gate.close();
    expect(!s.gate.try_enter(), "nobody enters a closed gate");
  });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect(s.gate.closed());
    expect_at_rest(s.gate);
  });
}

const scenario close_races_grant{"task_gate",
                                 "a close and a place at once: one of the two, and nothing is lost",
                                 {.preemptions = 3, .random_executions = 20'000},
                                 close_or_grant};

void close_wakes_all(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  for (int i = 0; i < 2; ++i) {
    w.thread([&] { expect(refused_with(s.gate.enter(), refusal_reason::closed)); });
  }
  w.thread([&] { s.gate.close(); });
  w.after([&] {
    expect(s.gate.stats().waiting == 0);
    expect(s.gate.stats().running == 1, "those inside stay");
    s.held.reset();
    expect_at_rest(s.gate);
  });
}

const scenario close_refuses_all{"task_gate",
                                 "a close refuses all who wait",
                                 {.preemptions = 2, .random_executions = 20'000},
                                 close_wakes_all};

/// The last to leave and the one who waits for that.
void idle_after_leaves(world& w) {
  auto& s = w.make<state<gate>>(2U);
  s.held = s.gate.try_enter();
  auto& written = w.make<int>(0);
  auto& other = w.make<int>(0);
  w.thread([&] {
    written = 1;
    s.held.reset();
  });
  w.thread([&] {
    if (const auto pass = s.gate.try_enter()) {
      other = 1;
    }
    s.gate.close();
  });
  w.thread([&] {
    expect(s.gate.wait_idle().has_value());
    expect(written == 1, "what was done inside is seen");
  });
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario idle_sees{"task_gate",
                         "who waits for idleness sees what was done inside",
                         {.preemptions = 2, .random_executions = 20'000},
                         idle_after_leaves};

/// Somebody watches while one leaves; the next enters without a lock.
void watched_leave(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  s.inside.enter();
  w.thread([&] {
    s.inside.leave();
    s.held.reset();
  });
  w.thread([&] { expect(s.gate.wait_idle().has_value()); });
  w.thread([&] {
    if (const auto pass = s.gate.try_enter()) s.inside.visit();
  });
  w.after([&] {
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new(), "nobody is watched any more");
  });
}

const scenario watched_leave_publishes{"task_gate",
                                       "a leave that is watched is seen by the next who enters",
                                       {.preemptions = 3, .random_executions = 20'000},
                                       watched_leave};

void idle_or_time(world& w) {
  auto& s = w.make<state<timed_gate>>(1U);
  s.held = s.gate.try_enter();
  w.thread([&] {
    const auto idle = s.gate.wait_idle_for(1h);
    expect(idle || refused_with(idle, refusal_reason::timed_out));
  });
  w.thread([&] { expect(s.gate.wait_idle().has_value()); });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect_at_rest(s.gate);
    expect(s.gate.is_as_new(), "nobody is watched any more");
  });
}

const scenario one_watcher_gives_up{"task_gate",
                                    "one that gives up waiting for idleness takes nothing from the other",
                                    {.preemptions = 2, .early_wakes = 1, .random_executions = 20'000},
                                    idle_or_time};

void ends(world& w) {
  auto& owner = w.make<std::unique_ptr<gate>>(std::make_unique<gate>());
  auto& held = w.make<std::optional<gate::pass>>(owner->try_enter());
  w.thread([pass = std::move(held)]() mutable { pass.reset(); });
  w.thread([&] {
    owner->close();
    expect(owner->wait_idle().has_value());
    owner.reset();
  });
}

const scenario destroyed{"task_gate", "closed and idle, the gate may be destroyed", {}, ends};

// ---- capacity

void grows(world& w) {
  auto& s = w.make<state<gate>>(1U);
  s.held = s.gate.try_enter();
  w.thread([&] { expect(s.gate.enter().has_value()); });
  w.thread([&] { s.gate.set_capacity(2); });
  w.after([&] {
    expect(s.gate.stats().running == 1);
    expect(s.gate.stats().waiting == 0);
    s.held.reset();
    expect(s.gate.stats().running == 0);
  });
}

const scenario growth_admits{"task_gate", "a capacity that grows lets in who waits", {}, grows};

void shrinks(world& w) {
  auto& s = w.make<state<gate>>(2U);
  s.held = s.gate.try_enter();
  w.thread([&] {
    const auto pass = s.gate.enter({}, 2);
    expect(pass || refused_with(pass, refusal_reason::exceeds_capacity));
  });
  w.thread([&] { s.gate.set_capacity(1); });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect(s.gate.stats().capacity == 1);
    expect_at_rest(s.gate);
    expect(s.gate.try_enter().has_value(), "one unit is left");
  });
}

const scenario shrink_refuses{"task_gate",
                              "a capacity that shrinks refuses who wants more",
                              {.preemptions = 3, .random_executions = 20'000},
                              shrinks};

void shrinks_below_those_inside(world& w) {
  auto& s = w.make<state<gate>>(2U);
  s.held = s.gate.try_enter(2);
  s.inside.enter();
  w.thread([&] { s.gate.set_capacity(1); });
  w.thread([&] {
    const auto pass = s.gate.enter();
    if (s.gate.stats().capacity == 1) s.inside.visit();
  });
  w.thread([&] {
    s.inside.leave();
    s.held.reset();
  });
  w.after([&] { expect_at_rest(s.gate); });
}

const scenario debt_is_paid{"task_gate",
                            "nobody enters before enough have left a gate that was lowered",
                            {.preemptions = 3, .random_executions = 20'000},
                            shrinks_below_those_inside};

}  // namespace
