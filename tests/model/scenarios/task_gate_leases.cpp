// SPDX-License-Identifier: BSL-1.0
// Stays that end by themselves: the end of a lease against leaving, entering, waiting and the end of the gate.
#include <weir/task_gate.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "hand_time.hpp"
#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;
using weir::refusal_reason;
using gate = weir::basic_task_gate<hand_time::view>;
using timed_gate = weir::task_gate;

constexpr long long hour = 3'600'000'000'000;

/// One place, a lease of ten nanoseconds that was taken at zero, and time that threads move.
struct state {
  explicit state(std::uint32_t capacity = 1)
      : gate{{.capacity = capacity, .lease = 10ns}, time.source()}, held{gate.try_enter()} {}
  hand_time time;
  ::gate gate;
  std::optional<::gate::pass> held;
};

void leaves_or_expires(world& w) {
  auto& s = w.make<state>();
  auto& next = w.make<std::optional<gate::pass>>();
  const std::uint64_t old = s.held->number();
  w.thread([&] { s.held.reset(); });
  w.thread([&, old] {
    s.time.set(10);
    next = s.gate.try_enter();
    // The one who leaves may be on its way to the gate.
    if (next) expect(next->number() > old, "the new number is greater");
  });
  w.after([&] {
    const weir::task_gate_stats seen = s.gate.stats();
    expect(seen.running == (next ? 1U : 0U), "the late release is of no effect");
    expect(seen.expired <= 1, "ended by one of the two");
    next.reset();
    expect(s.gate.is_as_new());
  });
}

const scenario leave_races_end{
    "task_gate", "a lease that ends as its pass is released frees its place once", {}, leaves_or_expires};

void two_come(world& w) {
  auto& s = w.make<state>();
  auto& passes = w.make<std::array<std::optional<gate::pass>, 2>>();
  s.time.set(10);
  for (auto& mine : passes) {
    w.thread([&] { mine = s.gate.try_enter(); });
  }
  w.after([&] {
    expect(passes[0].has_value() != passes[1].has_value(), "one place, one of the two");
    expect(s.gate.stats().expired == 1 && s.gate.stats().running == 1);
    expect(!*s.held, "the old pass says that it holds nothing");
    s.held.reset();
    expect(s.gate.stats().running == 1, "the old release is of no effect");
  });
}

const scenario end_admits_one{
    "task_gate", "of two that come when a lease has ended one is let in", {}, two_come};

void asks_meanwhile(world& w) {
  auto& s = w.make<state>();
  w.thread([&] {
    const bool before = static_cast<bool>(*s.held);
    s.held.reset();
    static_cast<void>(before);
  });
  w.thread([&] {
    s.time.set(10);
    if (const auto pass = s.gate.try_enter()) expect(static_cast<bool>(*pass));
  });
  w.after([&] { expect(s.gate.is_as_new()); });
}

const scenario asks_whether_it_holds{
    "task_gate", "a pass may be asked whether it holds while its lease ends", {}, asks_meanwhile};

/// The old pass is all that is left of the gate.
void outlives_the_gate(world& w) {
  auto& s = w.make<hand_time>();
  auto& owner = w.make<std::unique_ptr<gate>>(
      std::make_unique<gate>(weir::task_gate_options{.lease = 10ns}, s.source()));
  auto& held = w.make<std::optional<gate::pass>>(owner->try_enter());
  w.thread([&] {
    static_cast<void>(static_cast<bool>(*held));
    held.reset();
  });
  w.thread([&] {
    s.set(10);
    owner->close();
    expect(owner->wait_idle().has_value());
    owner.reset();
  });
}

const scenario gone_gate{
    "task_gate", "a pass whose lease has ended may outlive the gate", {}, outlives_the_gate};

/// As above, if nobody has looked at the gate since.
void outlives_unseen(world& w) {
  auto& s = w.make<hand_time>();
  auto& owner = w.make<std::unique_ptr<gate>>(
      std::make_unique<gate>(weir::task_gate_options{.lease = 10ns}, s.source()));
  auto& held = w.make<std::optional<gate::pass>>(owner->try_enter());
  w.thread([&] {
    s.set(10);
    owner.reset();
    held.reset();
  });
}

const scenario gone_unseen{
    "task_gate", "a gate that is destroyed ends the leases whose time is up", {}, outlives_unseen};

// ---- waiting: time passes when everybody waits

struct timed {
  explicit timed(std::uint32_t capacity = 1)
      : gate{{.capacity = capacity, .lease = 1h}}, held{gate.try_enter(capacity)} {}
  [[nodiscard]] long long passed() const { return virtual_time() - start; }

  const long long start = virtual_time();
  timed_gate gate;
  std::optional<timed_gate::pass> held;
};

void waits_for_the_end(world& w) {
  auto& s = w.make<timed>();
  w.thread([&] {
    auto pass = s.gate.enter();
    expect(pass.has_value() && s.passed() == hour, "at the end of the lease");
    expect(pass->number() > s.held->number());
    expect(!*s.held);
  });
  w.after([&] {
    expect(s.gate.stats().expired == 1);
    s.held.reset();
    expect(s.gate.is_as_new());
  });
}

const scenario end_wakes{"task_gate",
                         "one that waits is let in at the end of a lease that nobody gives up",
                         {},
                         waits_for_the_end};

void leaves_as_it_ends(world& w) {
  auto& s = w.make<timed>();
  w.thread([&] { expect(s.gate.enter().has_value()); });
  w.thread([&] {
    std::this_thread::sleep_for(1h);
    s.held.reset();
  });
  w.after([&] { expect(s.gate.is_as_new()); });
}

const scenario end_and_leave_wake{"task_gate",
                                  "one that waits is let in once, by the end of a lease or by a leave",
                                  {.early_wakes = 1},
                                  leaves_as_it_ends};

/// Both stay: the second in line gets in at the end of the first one's lease.
void line_of_two(world& w) {
  auto& s = w.make<timed>();
  auto& passes = w.make<std::array<std::optional<weir::outcome<timed_gate::pass>>, 2>>();
  auto& at = w.make<std::array<long long, 2>>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&, i] {
      passes[i].emplace(s.gate.enter());
      at[i] = s.passed();
    });
  }
  w.after([&] {
    expect(at[0] + at[1] == 3 * hour, "one after an hour, one after two");
    expect(s.gate.stats().expired == 2 && s.gate.stats().running == 1);
  });
}

const scenario line_of_leases{"task_gate",
                              "two in line are let in by the end of one lease after the other",
                              {.preemptions = 3, .random_executions = 10'000},
                              line_of_two};

/// The first in line is the one that looks at the clock.
void first_gives_up(world& w) {
  auto& s = w.make<timed>();
  w.thread([&] {
    const auto pass = s.gate.enter_for(30min);
    expect(refused_with(pass, refusal_reason::timed_out) || s.passed() >= hour);
  });
  w.thread([&] {
    const auto pass = s.gate.enter();
    expect(pass.has_value() && s.passed() == hour);
  });
  w.after([&] { expect(s.gate.stats().waiting == 0); });
}

const scenario next_looks{"task_gate",
                          "one behind another that gave up is let in at the end of a lease",
                          {.preemptions = 3, .random_executions = 10'000},
                          first_gives_up};

void gives_up_as_it_ends(world& w) {
  auto& s = w.make<timed>();
  w.thread([&] {
    const auto pass = s.gate.enter_for(1h);
    expect(pass || refused_with(pass, refusal_reason::timed_out));
    expect(pass || s.passed() >= hour, "not before its time");
  });
  w.thread([&] {
    std::this_thread::sleep_for(1h);
    s.held.reset();
    expect(s.gate.enter().has_value(), "no place is lost");
  });
  w.after([&] { expect(s.gate.is_as_new()); });
}

const scenario time_out_at_the_end{
    "task_gate", "a time-out at the end of a lease loses no place", {.early_wakes = 1}, gives_up_as_it_ends};

void idle_at_the_end(world& w) {
  auto& s = w.make<timed>(2U);
  w.thread([&] {
    expect(s.gate.wait_idle().has_value());
    expect(s.passed() == hour, "idle at the end of the lease");
  });
  w.thread([&] { expect(refused_with(s.gate.wait_idle_for(30min), refusal_reason::timed_out)); });
  w.after([&] {
    s.held.reset();
    expect(s.gate.is_as_new());
  });
}

const scenario end_is_idle{"task_gate",
                           "who waits for idleness is told at the end of the last lease",
                           {.preemptions = 3, .random_executions = 10'000},
                           idle_at_the_end};

// ---- runs

void overlong_run(world& w) {
  auto& g = w.make<timed_gate>(weir::task_gate_options{.lease = 1h});
  const long long start = virtual_time();
  w.thread(
      [&] { expect(g.run_if_idle([] { std::this_thread::sleep_for(2h); }) != weir::run_result::closed); });
  w.thread([&, start] {
    expect(g.enter().has_value());
    expect(virtual_time() <= start + hour, "not kept out by a run that has outlived its lease");
  });
  w.after([&] { expect(g.is_as_new(), "it leaves once"); });
}

const scenario run_expires{
    "task_gate", "a run that outlives its lease keeps nobody out and leaves once", {}, overlong_run};

void overlong_coalesced(world& w) {
  auto& g = w.make<timed_gate>(weir::task_gate_options{.lease = 1h});
  auto& inside = w.make<room>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = g.run_coalesced([&] {
        inside.enter();
        std::this_thread::sleep_for(2h);
        inside.leave();
      });
      if (result == weir::run_result::ran) expect(inside.visits() >= 1);
    });
  }
  w.thread([&] { expect(g.enter().has_value()); });
  w.after([&] {
    const auto seen = g.stats();
    expect(inside.visits() >= 1 && seen.ran + seen.expired == static_cast<std::uint64_t>(inside.visits()),
           "each run ends in its time or with its lease");
    expect(g.is_as_new());
  });
}

const scenario runs_alone{"task_gate",
                          "coalesced runs do not overlap, although their leases end",
                          {.preemptions = 1, .weak = false, .random_executions = 20'000},
                          overlong_coalesced};

// ---- capacity

void lowered_meanwhile(world& w) {
  auto& s = w.make<state>(2U);
  w.thread([&] { s.gate.set_capacity(1); });
  w.thread([&] {
    s.time.set(10);
    static_cast<void>(s.gate.try_enter());
  });
  w.thread([&] { s.held.reset(); });
  w.after([&] {
    expect(s.gate.stats().running == 0 && s.gate.stats().capacity == 1);
    expect(s.gate.try_enter().has_value() && !s.gate.try_enter(2).has_value(), "one unit is left");
  });
}

const scenario lowered{"task_gate",
                       "a capacity that is lowered while a lease ends loses no unit and mints none",
                       {.preemptions = 3, .random_executions = 10'000},
                       lowered_meanwhile};

}  // namespace
