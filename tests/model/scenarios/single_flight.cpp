// SPDX-License-Identifier: BSL-1.0
#include <weir/single_flight.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using flights = weir::single_flight<int, int, standing_clock>;
using timed_flights = weir::single_flight<int, int>;

constexpr bounds some{.preemptions = 2, .random_executions = 5'000};

// A std::stop_callback waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
constexpr bounds stopping{.preemptions = 1, .strict_wait = false, .random_executions = 5'000};

/// The call that is shared.  In plain memory: two at a time race, and so does who has its result too early.
struct work {
  int inside = 0;
  int made = 0;

  int operator()() {
    expect(++inside == 1, "one at a time");
    ++made;
    --inside;
    return made;
  }
};

void one_at_a_time(world& w) {
  auto& shared = w.make<flights>();
  auto& call = w.make<work>();
  auto& left = w.make<std::array<int, 2>>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&, i] {
      const auto result = shared.run(7, [&, i] {
        call();
        left.at(static_cast<std::size_t>(i)) = 5;
        return i;
      });
      expect(left.at(static_cast<std::size_t>(result->value)) == 5, "the end of the call is seen");
    });
  }
  w.after([&] {
    const auto s = shared.stats();
    expect(s.led + s.joined == 2 && s.led == static_cast<unsigned>(call.made) && s.in_flight == 0);
    expect(s.failed == 0 && s.abandoned == 0);
  });
}
const scenario one_at_a_time_{
    "single_flight", "of two callers of a key one makes the call or each after the other", {}, one_at_a_time};

void three_callers(world& w) {
  auto& shared = w.make<flights>();
  auto& call = w.make<work>();
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      const auto result = shared.run(7, std::ref(call));
      expect(result.has_value() && result->value >= 1);
    });
  }
  w.after([&] {
    const auto s = shared.stats();
    expect(s.led + s.joined == 3 && s.led == static_cast<unsigned>(call.made) && s.in_flight == 0);
  });
}
const scenario three_callers_{"single_flight", "of three callers of a key one at a time makes the call", some,
                              three_callers};

void shared_or_not(world& w) {
  auto& shared = w.make<flights>();
  auto& said = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = shared.run(7, [] { return 1; });
      if (result->shared) said.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] { expect(said == 2 * static_cast<int>(shared.stats().joined), "both know, or neither"); });
}
const scenario shared_or_not_{
    "single_flight", "leader and waiter agree on whether the result is shared", {}, shared_or_not};

void other_keys(world& w) {
  auto& shared = w.make<flights>();
  for (const int key : {7, 8}) {
    w.thread([&, key] {
      const auto result = shared.run(key, [](const int& of) { return of; });
      expect(result->value == key && !result->shared);
    });
  }
  w.after([&] {
    expect(shared.stats().led == 2 && shared.stats().joined == 0 && shared.stats().in_flight == 0);
  });
}
const scenario other_keys_{"single_flight", "callers of different keys do not meet", bounds{.preemptions = 3},
                           other_keys};

void leader_throws(world& w) {
  auto& shared = w.make<flights>();
  auto& thrown = w.make<std::atomic<const void*>>(nullptr);
  auto& objects = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        static_cast<void>(shared.run(7, []() -> int { throw std::runtime_error{"no"}; }));
        expect(false, "it always throws");
      } catch (const std::runtime_error& e) {
        if (thrown.exchange(&e) != &e) objects.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&] {
    const auto s = shared.stats();
    expect(s.led + s.joined == 2 && s.failed == s.led && s.in_flight == 0);
    expect(s.joined == 0 || objects == 1, "who joined got the same object");
    expect(shared.run(7, [] { return 5; })->value == 5, "the key is not wedged");
  });
}
const scenario leader_throws_{"single_flight",
                              "what the call throws reaches the leader and who has joined it",
                              bounds{.preemptions = 3}, leader_throws};

void refused(world& w) {
  auto& shared = w.make<flights>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result =
          shared.run(7, []() -> weir::outcome<int> { return weir::refusal{weir::refusal_reason::full}; });
      expect(!result && result.error().reason == weir::refusal_reason::full);
    });
  }
  w.after([&] { expect(shared.stats().failed == shared.stats().led && shared.stats().in_flight == 0); });
}
const scenario refused_{"single_flight", "a refusal of the call reaches the leader and who has joined it",
                        bounds{.preemptions = 3}, refused};

void recursion(world& w) {
  auto& shared = w.make<flights>();
  auto& mistakes = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        static_cast<void>(shared.run(7, [&] { return shared.run(7, [] { return 1; })->value; }));
        expect(false, "a leader that waits for itself is told");
      } catch (const std::logic_error&) {
        mistakes.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&] { expect(mistakes == 2 && shared.stats().in_flight == 0); });
}
const scenario recursion_{"single_flight",
                          "a call that asks for its own key is an error for all, and no deadlock", some,
                          recursion};

void forgotten(world& w) {
  auto& shared = w.make<flights>();
  auto& source = w.make<std::atomic<int>>(1);
  w.thread([&] {
    const auto result = shared.run(7, [&] { return source.load(); });
    expect(result->value == 1 || result->value == 2);
  });
  w.thread([&] {
    source = 2;
    shared.forget(7);
    const auto result = shared.run(7, [&] { return source.load(); });
    expect(result->value == 2, "a call that began before is not joined");
  });
  w.after([&] { expect(shared.stats().in_flight == 0); });
}
const scenario forgotten_{"single_flight", "who comes after a key is forgotten gets a call begun after that",
                          bounds{.preemptions = 3}, forgotten};

void forgotten_still_lands(world& w) {
  auto& shared = w.make<flights>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&, i] { expect(shared.run(7, [i] { return i; }).has_value(), "nobody is left waiting"); });
  }
  w.thread([&] { shared.forget(7); });
  w.after([&] { expect(shared.stats().led + shared.stats().joined == 2 && shared.stats().in_flight == 0); });
}
const scenario forgotten_still_lands_{"single_flight", "who waits when a key is forgotten keeps the call",
                                      some, forgotten_still_lands};

void waiter_stopped(world& w) {
  auto& shared = w.make<flights>();
  auto& stop = w.make<std::stop_source>();
  w.thread(
      [&] { expect(shared.run(7, [] { return 1; })->value == 1, "a waiter that leaves disturbs nobody"); });
  w.thread([&] {
    const auto result = shared.run(7, [] { return 1; }, {}, stop.get_token());
    expect(result ? result->value == 1 : result.error().reason == weir::refusal_reason::cancelled);
  });
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    const auto s = shared.stats();
    expect(s.in_flight == 0 && s.abandoned <= s.joined && s.failed == 0);
    expect(shared.run(7, [] { return 3; })->value == 3);
  });
}
const scenario waiter_stopped_{"single_flight",
                               "a waiter stopped at the instant of landing has a result or its refusal",
                               stopping, waiter_stopped};

void waiter_times_out(world& w) {
  auto& shared = w.make<timed_flights>();
  auto& began = w.make<weir::time_point>(weir::steady_clock::now());
  auto& gave_up = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = shared.run(
          7,
          [] {
            std::this_thread::sleep_for(weir::duration{10});
            return 1;
          },
          began + weir::duration{10});
      if (result) return;
      expect(result.error().reason == weir::refusal_reason::timed_out);
      expect(weir::steady_clock::now() >= began + weir::duration{10}, "not before its time");
      gave_up.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(gave_up <= 1, "the leader stays to the end");
    expect(shared.stats().in_flight == 0 && shared.stats().led + shared.stats().abandoned <= 2);
  });
}
const scenario waiter_times_out_{"single_flight", "a deadline at the instant of landing wedges nobody", some,
                                 waiter_times_out};

// Who spins on a flag may read the old value for long.
constexpr bounds spinning{.preemptions = 2, .weak = false, .strict_wait = false};

/// Works until it is told to stop.
int until_stopped(const std::stop_token& stop) {
  while (!stop.stop_requested()) std::this_thread::yield();
  return -1;
}

template <int Callers>
void all_stopped(world& w) {
  auto& shared = w.make<flights>();
  auto& stop = w.make<std::stop_source>();
  for (int i = 0; i < Callers; ++i) {
    w.thread([&] {
      const auto result = shared.run(7, until_stopped, {}, stop.get_token());
      expect(result ? result->value == -1 : result.error().reason == weir::refusal_reason::cancelled);
    });
  }
  w.thread([&] { stop.request_stop(); });
  w.after([&] { expect(shared.stats().in_flight == 0); });
}
const scenario leader_stopped{"single_flight", "a leader that nobody else waits for is stopped in its call",
                              stopping, all_stopped<1>};
const scenario both_stopped{"single_flight", "when leader and waiter are stopped the call is, once both are",
                            spinning, all_stopped<2>};

void stays_for_a_waiter(world& w) {
  auto& shared = w.make<flights>();
  auto& stop = w.make<std::stop_source>();
  auto& leads = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const auto result = shared.run(
        7,
        [&](const std::stop_token& told) {
          leads = true;
          while (shared.stats().joined == 0) std::this_thread::yield();
          expect(stop.request_stop() && !told.stop_requested(), "somebody waits, so the work goes on");
          return 5;
        },
        {}, stop.get_token());
    expect(result->value == 5);
  });
  w.thread([&] {
    while (!leads) std::this_thread::yield();
    const auto result = shared.run(7, [] { return 6; });
    expect(result->value == 5 && result->shared);
  });
  w.after([&] { expect(shared.stats().led == 1 && shared.stats().in_flight == 0); });
}
const scenario stays_for_a_waiter_{"single_flight", "a leader that is stopped works on for who waits",
                                   spinning, stays_for_a_waiter};

void newcomer(world& w) {
  auto& shared = w.make<flights>();
  auto& stop = w.make<std::stop_source>();
  auto& leads = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const auto result = shared.run(
        7,
        [&](const std::stop_token& told) {
          leads = true;
          return until_stopped(told);
        },
        {}, stop.get_token());
    expect(result->value == -1);
  });
  w.thread([&] {
    while (!leads) std::this_thread::yield();
    stop.request_stop();
    const auto result = shared.run(7, [] { return 6; });
    expect(result.has_value() && result->value == 6, "work that has been told to stop is not joined");
  });
  w.after([&] { expect(shared.stats().in_flight == 0 && shared.stats().led == 2); });
}
const scenario newcomer_{"single_flight", "who comes after the work was told to stop gets a call of its own",
                         spinning, newcomer};

void figures(world& w) {
  auto& shared = w.make<flights>();
  w.thread([&] { expect(shared.run(7, [] { return 1; })->value == 1); });
  w.thread([&] {
    const auto s = shared.stats();
    expect(s.in_flight <= 1 && s.led <= 1 && s.joined == 0 && s.failed == 0);
  });
  w.after([&] { expect(shared.stats().led == 1 && shared.stats().in_flight == 0); });
}
const scenario figures_{"single_flight", "the figures may be read while a call is made", {}, figures};

}  // namespace
