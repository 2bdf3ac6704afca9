// SPDX-License-Identifier: BSL-1.0
// Successes that take no lock: each counts once, in its generation, before whatever decides.
#include <weir/circuit_breaker.hpp>

#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using enum weir::breaker_state;
using still_breaker = weir::basic_circuit_breaker<standing_clock>;
using hand_breaker = weir::basic_circuit_breaker<hand_time::view>;

/// Threads 1 and 2 have a line of their own that is in use, so that their next success takes no lock.
template <class Breaker>
void use_lines(Breaker& breaker, int lines = 2) {
  for (int i = 1; i <= lines; ++i) {
    slot_here = i;
    std::move(*breaker.try_acquire()).success();
  }
  slot_here = -1;
}

template <class Breaker>
auto& permit_of(world& w, Breaker& breaker) {
  return w.make<typename Breaker::permit>(*breaker.try_acquire());
}

void none_is_lost(world& w) {
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::count_window{10}});
  use_lines(breaker);
  for (int i = 0; i < 2; ++i) {
    auto& first = permit_of(w, breaker);
    auto& second = permit_of(w, breaker);
    w.thread([&] {
      std::move(first).success();
      std::move(second).success();
    });
  }
  w.thread([&] {
    const auto seen = breaker.stats();
    expect(seen.successes >= 2 && seen.successes <= 6 && seen.window_calls == seen.successes,
           "of one instant");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes == 6 && seen.window_calls == 6 && seen.late == 0, "each once");
  });
}
const scenario none_is_lost_{
    "circuit_breaker", "successes of two lines and a look at the counts: each counts once", {}, none_is_lost};

void one_line(world& w) {
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::count_window{10}});
  use_lines(breaker, 1);
  for (int i = 0; i < 2; ++i) {
    auto& permit = permit_of(w, breaker);
    w.thread([&] {
      slot_here = 1;
      std::move(permit).success();
    });
  }
  auto& failing = permit_of(w, breaker);
  w.thread([&] { std::move(failing).failure(); });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes == 3 && seen.failures == 1 && seen.window_calls == 4 && seen.window_failed == 1);
  });
}
const scenario one_line_{
    "circuit_breaker", "two threads on one line and a failure: each result counts once", {}, one_line};

void failure_behind(world& w) {
  auto& breaker =
      w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::consecutive_failures{2}});
  use_lines(breaker);
  auto& f1 = permit_of(w, breaker);
  auto& s = permit_of(w, breaker);
  auto& f2 = permit_of(w, breaker);
  auto& done = w.make<std::atomic<bool>>(false);
  std::move(f1).failure();
  w.thread([&] {
    std::move(s).success();
    done.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool must_count = done.load(std::memory_order_acquire);
    std::move(f2).failure();
    expect(!must_count || breaker.state_approx() == closed, "a success before has parted the failures");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes + seen.late == 3);
    expect(seen.state == (seen.late == 1 ? open : closed) || (seen.late == 0 && seen.state == closed));
    expect(seen.state == closed || seen.opened == 1);
  });
}
const scenario failure_behind_{
    "circuit_breaker", "a failure finds every success that has returned before it", {}, failure_behind};

void exactly(world& w) {
  // A window of two that opens when one of two has failed: whatever comes last decides.
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{
      .window = weir::count_window{2}, .failure_rate = {50}, .minimum_calls = 2});
  slot_here = 1;
  std::move(*breaker.try_acquire()).success();
  slot_here = -1;
  auto& good = permit_of(w, breaker);
  auto& bad = permit_of(w, breaker);
  w.thread([&] { std::move(good).success(); });
  w.thread([&] { std::move(bad).failure(); });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.state == open && seen.opened == 1, "S S F and S F both open it at the failure");
    expect(seen.successes + seen.late == 2 && seen.failures == 1);
  });
}
const scenario exactly_{
    "circuit_breaker", "a failure among successes opens it at the result that reaches the rate", {}, exactly};

void below_minimum(world& w) {
  // Three calls are asked for: the success that makes them three must decide, if a failure came before.
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{
      .window = weir::count_window{5}, .failure_rate = {30}, .minimum_calls = 3});
  slot_here = 1;
  std::move(*breaker.try_acquire()).success();
  slot_here = -1;
  auto& good = permit_of(w, breaker);
  auto& bad = permit_of(w, breaker);
  w.thread([&] { std::move(good).success(); });
  w.thread([&] { std::move(bad).failure(); });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.state == open && seen.opened == 1, "one of three, whoever comes last");
    expect(seen.successes == 2 && seen.failures == 1 && seen.late == 0);
  });
}
const scenario below_minimum_{
    "circuit_breaker", "a success that makes the calls enough for a verdict gives it", {}, below_minimum};

void moved(world& w) {
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::count_window{10}});
  use_lines(breaker);
  auto& before = permit_of(w, breaker);
  auto& reset = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const bool too_late = reset.load(std::memory_order_acquire);
    std::move(before).success();
    expect(!too_late || breaker.stats().late == 1, "it belongs to the generation before");
  });
  w.thread([&] {
    breaker.reset();
    reset.store(true, std::memory_order_release);
    std::move(*breaker.try_acquire()).success();
    expect(breaker.stats().window_calls == 1, "nothing of the generation before is in the window");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes + seen.late == 4 && seen.late <= 1);
    expect(seen.window_calls == 1);
  });
}
const scenario moved_{
    "circuit_breaker", "a success counts in the generation that admitted it or is late", {}, moved};

void opened(world& w) {
  auto& breaker =
      w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::consecutive_failures{1}});
  use_lines(breaker);
  auto& good = permit_of(w, breaker);
  auto& bad = permit_of(w, breaker);
  w.thread([&] { std::move(bad).failure(); });
  w.thread([&] {
    const bool too_late = !breaker.try_acquire();
    std::move(good).success();
    const auto seen = breaker.stats();
    expect(!too_late || seen.late == 1, "who has been refused reports late");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    // The permit that was asked for in between was dropped: ignored, or late.
    expect(seen.state == open && seen.successes + seen.late + seen.ignored + seen.refused == 4);
    expect(seen.window_calls == 0);
  });
}
const scenario opened_{"circuit_breaker", "once a refusal was seen no success of before counts", {}, opened};

void bucket_ends(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = w.make<hand_breaker>(
      weir::circuit_breaker_options{.window = weir::time_window{weir::duration{10}, 1}, .minimum_calls = 1},
      time.source());
  use_lines(breaker);
  auto& first = permit_of(w, breaker);
  auto& second = permit_of(w, breaker);
  w.thread([&] {
    time.set(10);
    std::move(first).success();  // in the new bucket
  });
  w.thread([&] {
    const bool later = time.source().now() == at(10);
    std::move(second).success();
    const auto seen = breaker.stats();
    expect(!later || seen.window_calls >= 1, "a success of the new bucket is not lost with the old one");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes == 4 && seen.late == 0);
    expect(seen.window_calls == 1 || seen.window_calls == 2, "the bucket of before has left");
  });
}
const scenario bucket_ends_{
    "circuit_breaker", "a bucket ends while successes arrive: each counts in one bucket", {}, bucket_ends};

void next_bucket(world& w) {
  auto& time = w.make<hand_time>(10);
  auto& breaker = w.make<hand_breaker>(
      weir::circuit_breaker_options{.window = weir::time_window{weir::duration{10}, 1}, .minimum_calls = 1},
      time.source());
  time.set(0);
  use_lines(breaker);
  time.set(10);
  for (int i = 0; i < 2; ++i) {
    auto& permit = permit_of(w, breaker);
    w.thread([&] { std::move(permit).success(); });
  }
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes == 4 && seen.window_calls == 2, "both of the new bucket, none of the old");
  });
}
const scenario next_bucket_{
    "circuit_breaker", "two successes that begin a bucket are both in it", {}, next_bucket};

void other_width(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = w.make<hand_breaker>(
      weir::circuit_breaker_options{.window = weir::time_window{weir::duration{1000}, 1}, .minimum_calls = 1},
      time.source());
  use_lines(breaker);
  w.thread([&] {
    breaker.reconfigure({.window = weir::time_window{weir::duration{10}, 1}, .minimum_calls = 1});
    time.set(500);
  });
  w.thread([&] {
    const bool later = time.source().now() == at(500);
    std::move(*breaker.try_acquire()).success();
    expect(!later || breaker.stats().window_calls == 1, "it is in the bucket of its instant");
  });
  w.after([&] { expect(breaker.stats().successes == 3); });
}
const scenario other_width_{"circuit_breaker", "who comes under other options counts in their buckets",
                            bounds{.preemptions = 3}, other_width};

void slow_or_not(world& w) {
  auto& time = w.make<hand_time>();
  const auto options = [](long long limit) {
    return weir::circuit_breaker_options{.window = weir::count_window{10},
                                         .slow = weir::slow_calls{weir::duration{limit}, {100}},
                                         .minimum_calls = 10};
  };
  auto& breaker = w.make<hand_breaker>(options(5), time.source());
  use_lines(breaker);
  auto& permit = permit_of(w, breaker);
  time.set(7);
  auto& changed = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    breaker.reconfigure(options(10));
    changed.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool fast = changed.load(std::memory_order_acquire);
    std::move(permit).success();
    const auto seen = breaker.stats();
    expect(!fast || seen.slow == 0, "judged by the options of the moment");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.successes == 3 && seen.slow <= 1 && seen.window_slow == seen.slow && seen.window_calls == 3);
  });
}
const scenario slow_or_not_{
    "circuit_breaker", "a success is slow by the options under which it counts", {}, slow_or_not};

void as_new(world& w) {
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{.window = weir::count_window{10}});
  use_lines(breaker);
  breaker.reset();
  auto& permit = permit_of(w, breaker);
  auto& done = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    std::move(permit).success();
    done.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool must_not = done.load(std::memory_order_acquire);
    expect(!breaker.is_as_new_at(at(0)) || !must_not, "a success that was counted is in the window");
  });
  w.after([&] { expect(!breaker.is_as_new_at(at(0))); });
}
const scenario as_new_{
    "circuit_breaker", "a breaker with a success on a line is never taken for new", {}, as_new};

void refusals(world& w) {
  auto& breaker = w.make<still_breaker>(weir::circuit_breaker_options{});
  breaker.force_open();
  for (int i = 0; i < 3; ++i) {
    w.thread([&, i] {
      if (i > 0) slot_here = weir::detail::shared_slot;
      expect(!breaker.try_acquire());
      expect(breaker.stats().refused >= 1, "one's own is counted");
    });
  }
  w.after([&] { expect(breaker.stats().refused == 3, "each once"); });
}
const scenario refusals_{
    "circuit_breaker", "refusals are counted once each, on lines that are shared or not", {}, refusals};

}  // namespace
