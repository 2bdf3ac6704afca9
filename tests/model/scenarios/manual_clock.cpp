// SPDX-License-Identifier: BSL-1.0
// A clock that is moved by hand, and who sleeps by it.
#include <weir/detail/parking.hpp>
#include <weir/testing/manual_clock.hpp>

#include <atomic>
#include <chrono>
#include <thread>

#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;
using weir::deadline;
using weir::time_point;
using weir::detail::parker;
using weir::testing::manual_clock;

constexpr time_point at_10{10ns};

void moves(world& w) {
  auto& clock = w.make<manual_clock>();
  auto& written = w.make<int>(0);
  w.thread([&] {
    written = 1;
    clock.advance(10ns);
  });
  w.thread([&] {
    if (clock.now() == at_10) expect(written == 1);
  });
  w.after([&] { expect(clock.now() == at_10); });
}

const scenario new_time{
    "manual_clock", "who sees the new time sees what was done before the clock was moved", {}, moves};

void two_move(world& w) {
  auto& clock = w.make<manual_clock>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const time_point before = clock.now();
      clock.advance(10ns);
      expect(clock.now() >= before + 10ns, "a clock does not run backwards");
    });
  }
  w.after([&] { expect(clock.now() == at_10 + 10ns, "no step is lost"); });
}

const scenario both_steps{"manual_clock", "two that move the clock move it twice", {}, two_move};

void rendezvous(world& w) {
  auto& clock = w.make<manual_clock>();
  w.thread([&] {
    parker p;
    expect(!p.park_until(clock.source(), at_10));
    expect(clock.now() == at_10, "not before its time");
  });
  w.thread([&] {
    clock.await_sleepers(1);
    expect(clock.sleepers() == 1);
    clock.advance(9ns);
    expect(clock.sleepers() == 1, "not due yet");
    clock.advance(1ns);
    expect(clock.sleepers() == 0);
  });
  w.after([&] { expect(clock.sleepers() == 0); });
}

const scenario awaited{
    "manual_clock", "who awaits a sleeper is told, and the clock wakes it at its time", {}, rendezvous};
const scenario awaited_spuriously{
    "manual_clock", "neither side of a rendezvous goes on for no reason", {.early_wakes = 1}, rendezvous};

void two_sleep(world& w) {
  auto& clock = w.make<manual_clock>();
  for (int i = 1; i <= 2; ++i) {
    w.thread([&clock, i] {
      parker p;
      const time_point mine{10ns * i};
      expect(!p.park_until(clock.source(), mine));
      expect(clock.now() >= mine, "not before its time");
    });
  }
  w.thread([&] {
    clock.await_sleepers(2);
    clock.advance(10ns);
    clock.advance(10ns);
  });
  w.after([&] { expect(clock.sleepers() == 0); });
}

const scenario two_awaited{"manual_clock",
                           "who awaits two sleepers is told of both, and each wakes at its time",
                           {.preemptions = 2, .weak = false, .random_executions = 20'000},
                           two_sleep};

void unawaited(world& w) {
  auto& clock = w.make<manual_clock>();
  w.thread([&] {
    parker p;
    expect(!p.park_until(clock.source(), at_10));
  });
  w.thread([&] { clock.advance(10ns); });
  w.after([&] { expect(clock.sleepers() == 0); });
}

const scenario due_at_once{"manual_clock",
                           "a sleep is not missed, whether the clock moves before or after it begins",
                           {},
                           unawaited};

void time_or_token(world& w) {
  auto& clock = w.make<manual_clock>();
  auto& where = w.make<std::atomic<parker*>>(nullptr);
  auto& woken = w.make<bool>(false);
  w.thread([&] {
    parker p;
    where.store(&p);
    woken = p.park_until(clock.source(), at_10);
    // Nobody touches the parker now but who has taken its address.
    if (!woken) expect(p.park_until(still_clock{}, deadline::never()));
  });
  w.thread([&] {
    parker* p = nullptr;
    while ((p = where.load()) == nullptr) std::this_thread::yield();
    p->unpark();
  });
  w.thread([&] { clock.advance(10ns); });
  w.after([&] { expect(woken || clock.now() == at_10); });
}

const scenario forgotten{"manual_clock",
                         "a sleeper that was unparked may leave its stack while the clock moves",
                         {.preemptions = 2, .random_executions = 20'000},
                         time_or_token};

void token_then_time(world& w) {
  auto& clock = w.make<manual_clock>();
  auto& p = w.make<parker>();
  w.thread([&] { expect(p.park_until(clock.source(), at_10), "the token was there before"); });
  w.thread([&] {
    p.unpark();
    clock.advance(10ns);
  });
  w.after([&] { expect(clock.sleepers() == 0); });
}

const scenario token_first{
    "manual_clock", "a sleeper that was unparked before its time is told so", {}, token_then_time};

/// A target that only counts.
struct counted final : weir::timer_target {
  void wake() noexcept override { ++wakes; }
  int wakes = 0;  // guarded by the clock
};

void registers(world& w) {
  auto& clock = w.make<manual_clock>();
  auto& target = w.make<counted>();
  w.thread([&] {
    clock.source().wake_at(at_10, target);
    if (clock.now() >= at_10) clock.source().forget(target);
  });
  w.thread([&] { clock.advance(10ns); });
  w.after([&] { expect(target.wakes >= 1, "its time has come"); });
}

const scenario woken_at_once{
    "manual_clock", "a target is woken, whether its time comes before or after it is set", {}, registers};

/// Time that steps back must not leave a sleeper behind that believes in the old time.
void steps_back(world& w) {
  auto& clock = w.make<manual_clock>();
  w.thread([&] {
    parker p;
    expect(!p.park_until(clock.source(), at_10));
  });
  w.thread([&] {
    clock.set(at_10);
    clock.set(time_point{});
    clock.set(at_10);
  });
  w.after([&] { expect(clock.sleepers() == 0); });
}

const scenario falls_due_again{
    "manual_clock", "a sleeper whose time stepped back falls due again", {}, steps_back};

}  // namespace
