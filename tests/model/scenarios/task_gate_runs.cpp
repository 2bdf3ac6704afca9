// SPDX-License-Identifier: BSL-1.0
// Running a task: skipped if somebody is inside, or left to the one who is.
#include <weir/task_gate.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace weir_model;
using weir::refusal_reason;
using weir::run_result;
using gate = weir::basic_task_gate<still_clock>;

// ---- run_if_idle

void two_runs(world& w) {
  struct state {
    gate g;
    room inside;
    std::array<run_result, 2> results{};
  };
  auto& s = w.make<state>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&s, i] { s.results[i] = s.g.run_if_idle([&] { s.inside.visit(); }); });
  }
  w.after([&] {
    int ran = 0;
    for (const run_result r : s.results) {
      expect(r == run_result::ran || r == run_result::skipped);
      ran += r == run_result::ran ? 1 : 0;
    }
    expect(ran >= 1, "one at least runs");
    expect(s.inside.visits() == ran, "who says so has run");
    const weir::task_gate_stats stats = s.g.stats();
    expect(stats.ran == static_cast<std::uint64_t>(ran) && stats.ran + stats.skipped == 2);
    expect(s.g.is_as_new());
  });
}

const scenario one_skips{
    "task_gate", "of two runs at once one is made, and the other is made or skipped", {}, two_runs};

/// Time stands still but for what the tasks take.
void two_durations(world& w) {
  auto& g = w.make<weir::task_gate>(weir::task_gate_options{.capacity = 2});
  for (const long long takes : {3, 10}) {
    w.thread([&g, takes] { expect(g.run_if_idle([&] { advance(takes); }) == run_result::ran); });
  }
  w.after([&] {
    const weir::task_gate_stats stats = g.stats();
    expect(stats.ran == 2);
    expect(stats.longest >= weir::duration{10} && stats.longest <= weir::duration{13},
           "the longer of the two");
  });
}

const scenario longest_run{
    "task_gate", "of two runs that end at once the longer one is remembered", {}, two_durations};

void throws_inside(world& w) {
  struct state {
    gate g;
    room inside;
    std::optional<run_result> result;
  };
  auto& s = w.make<state>();
  w.thread([&] {
    try {
      s.result = s.g.run_if_idle([&] {
        s.inside.visit();
        throw std::runtime_error{"the task"};
      });
    } catch (const std::runtime_error&) {
    }
  });
  w.thread([&] {
    const auto pass = s.g.enter();
    s.inside.visit();
  });
  w.after([&] {
    expect(s.result ? s.result == run_result::skipped : s.inside.visits() == 2, "skipped, or run and thrown");
    expect(s.g.is_as_new(), "a task that throws leaves");
  });
}

const scenario thrown_run_leaves{
    "task_gate", "a task that throws leaves, and lets in who waits", {}, throws_inside};

// ---- run_coalesced

/// A gate whose task notes when it starts, and calls that note when they were made.
struct triggers {
  gate g;
  room inside;
  std::array<moment, 8> runs{};
  int count = 0;
  struct call {
    moment before = 0;
    std::optional<run_result> result;
    bool threw = false;
  };
  std::array<call, 3> calls{};

  void run() {
    inside.enter();
    runs[static_cast<std::size_t>(count++)] = now();
    inside.leave();
  }

  /// For a thread of its own.
  template <class Task>
  void trigger(std::size_t i, Task task) {
    calls[i].before = now();
    try {
      calls[i].result = g.run_coalesced(task);
    } catch (const std::runtime_error&) {
      calls[i].threw = true;
    }
  }
  void trigger(std::size_t i) {
    trigger(i, [this] { run(); });
  }

  /// Each call that was not refused has a run that starts after it.
  void expect_answered() const {
    unsigned long long coalesced = 0;
    for (const call& c : calls) {
      if (!c.result && !c.threw) continue;
      if (c.result == run_result::closed) continue;
      if (c.result == run_result::coalesced) ++coalesced;
      bool answered = false;
      for (int r = 0; r < count; ++r)
        answered = answered || happens_before(c.before, runs[static_cast<std::size_t>(r)]);
      expect(answered, "no trigger is lost");
    }
    const weir::task_gate_stats stats = g.stats();
    expect(stats.ran == static_cast<std::uint64_t>(count), "every run is counted");
    expect(stats.coalesced == coalesced, "every trigger left to another is counted");
    expect(stats.running == 0 && stats.waiting == 0);
  }
};

template <std::size_t Calls>
void all_trigger(world& w) {
  auto& t = w.make<triggers>();
  for (std::size_t i = 0; i < Calls; ++i) {
    w.thread([&t, i] { t.trigger(i); });
  }
  w.after([&] {
    t.expect_answered();
    expect(t.count <= static_cast<int>(Calls), "no run that nobody asked for");
    expect(t.g.is_as_new());
  });
}

const scenario two_triggers{
    "task_gate", "of two triggers none is lost, and their runs do not overlap", {}, all_trigger<2>};
const scenario three_triggers{"task_gate",
                              "of three triggers none is lost, and their runs do not overlap",
                              {.preemptions = 2, .weak = false, .random_executions = 20'000},
                              all_trigger<3>};

void trigger_from_inside(world& w) {
  auto& t = w.make<triggers>();
  w.thread([&] {
    t.trigger(0, [&, again = true]() mutable {
      t.run();
      if (std::exchange(again, false)) {
        t.calls[1].before = now();
        t.calls[1].result = t.g.run_coalesced([] { expect(false, "the owner runs it"); });
        expect(t.calls[1].result == run_result::coalesced);
      }
    });
  });
  w.thread([&] { t.trigger(2); });
  w.after([&] {
    t.expect_answered();
    expect(t.calls[0].result == run_result::coalesced || t.count >= 2);
  });
}

const scenario own_trigger{"task_gate",
                           "a task that triggers its own gate is run once more",
                           {.preemptions = 3, .random_executions = 20'000},
                           trigger_from_inside};

void throwing_trigger(world& w) {
  auto& t = w.make<triggers>();
  w.thread([&] {
    t.trigger(0, [&] {
      t.run();
      throw std::runtime_error{"the task"};
    });
    expect(t.calls[0].threw || t.calls[0].result == run_result::coalesced);
  });
  w.thread([&] { t.trigger(1); });
  w.after([&] {
    t.expect_answered();
    expect(t.g.is_as_new());
  });
}

const scenario thrown_trigger{"task_gate", "a run that throws loses no trigger", {}, throwing_trigger};

void closed_meanwhile(world& w) {
  auto& t = w.make<triggers>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&t, i] { t.trigger(i); });
  }
  w.thread([&] {
    t.g.close();
    t.trigger(2, [] { expect(false, "nothing runs that was triggered after a close"); });
  });
  w.after([&] {
    t.expect_answered();
    expect(t.calls[0].result && t.calls[1].result);
    expect(t.calls[2].result == run_result::closed);
    expect(t.calls[0].result == run_result::closed || t.count >= 1);
  });
}

const scenario promise_outlives_close{"task_gate",
                                      "a trigger that was left to the owner is answered after a close too",
                                      {.preemptions = 2, .random_executions = 20'000},
                                      closed_meanwhile};

/// The owner waits for its unit, which a pass holds, while the gate is closed.
void owner_waits(world& w) {
  auto& t = w.make<triggers>();
  auto& held = w.make<std::optional<gate::pass>>(t.g.try_enter());
  t.inside.enter();
  auto& other = w.make<bool>(false);
  w.thread([&] { t.trigger(0); });
  w.thread([&] {
    t.inside.leave();
    held.reset();
  });
  w.thread([&] {
    t.g.close();
    other = refused_with(t.g.enter(), refusal_reason::closed);
  });
  w.after([&] {
    expect(other);
    t.expect_answered();
    expect(t.calls[0].result == (t.count == 1 ? run_result::ran : run_result::closed));
  });
}

const scenario close_spares_the_owner{"task_gate",
                                      "a close does not refuse the owner of a coalesced run",
                                      {.preemptions = 3, .random_executions = 20'000},
                                      owner_waits};

/// Idleness is watched while owners retire and others trigger.
template <std::size_t Calls>
void watched_triggers(world& w) {
  auto& t = w.make<triggers>();
  auto& begun = w.make<std::atomic<bool>>(false);
  for (std::size_t i = 0; i < Calls; ++i) {
    w.thread([&t, &begun, i] {
      t.trigger(i, [&] {
        begun.store(true, std::memory_order_relaxed);
        t.run();
      });
    });
  }
  w.thread([&] {
    if (!begun.load(std::memory_order_relaxed)) return;
    const moment before = now();
    t.g.close();
    expect(t.g.wait_idle().has_value());
    // No task runs any more: its traces are at rest.
    expect(t.inside.visits() == t.count && t.count >= 1);
    static_cast<void>(before);
  });
  w.after([&] { t.expect_answered(); });
}

const scenario watched_owner{
    "task_gate", "closed and idle, no coalesced run is going on or owed", {}, watched_triggers<1>};
const scenario watched_owners{"task_gate",
                              "closed and idle, no coalesced run of two triggers is going on or owed",
                              {.preemptions = 2, .weak = false, .random_executions = 20'000},
                              watched_triggers<2>};

/// Idle without a close: between runs an instant is enough.
void idle_between(world& w) {
  auto& t = w.make<triggers>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&t, i] { t.trigger(i); });
  }
  w.thread([&] { expect(t.g.wait_idle().has_value()); });
  w.after([&] {
    t.expect_answered();
    expect(t.g.is_as_new());
  });
}

const scenario idle_between_runs{"task_gate",
                                 "who waits for idleness is told, and no trigger is lost by it",
                                 {.preemptions = 2, .weak = false, .random_executions = 20'000},
                                 idle_between};

/// Who comes and goes meanwhile asks for no run.
void watched_in_passing(world& w) {
  auto& t = w.make<triggers>();
  w.thread([&] { t.trigger(0); });
  w.thread([&] { expect(t.g.wait_idle().has_value()); });
  w.thread([&] { static_cast<void>(t.g.try_enter()); });
  w.after([&] {
    t.expect_answered();
    expect(t.count == 1, "no run that nobody asked for");
    expect(t.g.is_as_new());
  });
}

const scenario watched_once{"task_gate",
                            "a run that is watched is made once, whoever passes by as it ends",
                            {.preemptions = 2, .weak = false, .random_executions = 10'000},
                            watched_in_passing};

/// The end of the last run is the end of the gate.
void ends_after_run(world& w) {
  auto& owner = w.make<std::unique_ptr<gate>>(std::make_unique<gate>());
  gate* const g = owner.get();
  auto& begun = w.make<std::atomic<bool>>(false);
  w.thread([g, &begun] {
    static_cast<void>(g->run_coalesced([&] { begun.store(true, std::memory_order_relaxed); }));
  });
  w.thread([&owner, &begun] {
    if (!begun.load(std::memory_order_relaxed)) return;
    owner->close();
    expect(owner->wait_idle().has_value());
    owner.reset();
  });
}

const scenario destroyed_after_run{
    "task_gate", "closed and idle after a coalesced run, the gate may be destroyed", {}, ends_after_run};

}  // namespace
