// SPDX-License-Identifier: BSL-1.0
// Half-open: who probes, and what becomes of probes.
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
using breaker_type = weir::basic_circuit_breaker<hand_time::view>;
using kept_permit = std::optional<breaker_type::permit>;

weir::circuit_breaker_options options(std::uint32_t probes) {
  return {.window = weir::consecutive_failures{1}, .open_for = weir::duration{100}, .probes = probes};
}

/// A breaker whose wait is over at 100.
breaker_type& opened(world& w, hand_time& time, const weir::circuit_breaker_options& o) {
  auto& breaker = w.make<breaker_type>(o, time.source());
  breaker.transition_to(open);
  return breaker;
}

void at_most(world& w, std::uint32_t probes) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(probes));
  time.set(100);
  auto& kept = w.make<std::array<kept_permit, 3>>();
  for (std::size_t i = 0; i < 3; ++i) {
    w.thread([&, i] {
      auto result = breaker.try_acquire();
      if (result) kept[i].emplace(*std::move(result));
    });
  }
  w.after([&, probes] {
    const auto passed =
        static_cast<std::uint32_t>(kept[0].has_value() + kept[1].has_value() + kept[2].has_value());
    expect(passed == probes, "as many as may");
    expect(breaker.stats().refused == 3 - probes && breaker.state_approx() == half_open);
    for (auto& permit : kept) {
      if (permit) std::move(*permit).success();
    }
    expect(breaker.state_approx() == closed, "and they decide");
  });
}
const scenario one_probe_{
    "circuit_breaker", "when the wait is over one of three may probe", {}, [](world& w) { at_most(w, 1); }};
const scenario two_probes_{
    "circuit_breaker", "when the wait is over two of three may probe", {}, [](world& w) { at_most(w, 2); }};

void not_before(world& w) {
  auto& time = w.make<hand_time>(99);
  auto& breaker = w.make<breaker_type>(options(1), time.source());
  breaker.transition_to(open);  // until 199
  auto& moved = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    moved.store(true, std::memory_order_relaxed);
    time.set(199);
  });
  w.thread([&] {
    const auto result = breaker.try_acquire();
    if (result)
      expect(moved.load(std::memory_order_relaxed) || time.source().now() == at(199), "not before its time");
    expect(result || result.error().retry_after == weir::duration{100} ||
           result.error().retry_after == weir::duration{0});
  });
  w.thread([&] { expect(breaker.state_at(at(198)) != half_open || time.source().now() == at(199)); });
  w.after([&] { expect(breaker.state() == half_open); });
}
const scenario not_before_{
    "circuit_breaker", "nobody passes while it is open before its time", {}, not_before};

void time_comes_once(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  w.thread([&] { expect(breaker.state() != open, "half-open, or closed by the probe already"); });
  w.thread([&] {
    auto result = breaker.try_acquire();
    expect(result.has_value(), "the only one who asks");
    std::move(*result).success();
  });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == closed && stats.successes == 1 && stats.late == 0 && stats.opened == 1);
  });
}
const scenario time_comes_once_{
    "circuit_breaker", "a look at the state takes no probe and ends none", {}, time_comes_once};

void dropped(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  auto& kept = w.make<kept_permit>();
  w.thread([&] { static_cast<void>(breaker.try_acquire()); });  // dropped at once: ignored
  w.thread([&] {
    auto result = breaker.try_acquire();
    if (result) kept.emplace(*std::move(result));
  });
  w.after([&] {
    expect(breaker.state() == half_open);
    auto another = breaker.try_acquire();
    expect(another.has_value() != kept.has_value(), "the place of the dropped one is free again, once");
    std::move(kept ? *kept : *another).success();
    expect(breaker.state() == closed);
  });
}
const scenario dropped_{
    "circuit_breaker", "a probe that is dropped leaves its place to another", {}, dropped};

void lost(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  auto& probe = w.make<breaker_type::permit>(*breaker.try_acquire());
  time.set(200);  // as long as the wait before: taken for lost
  auto& passed = w.make<bool>(false);
  w.thread([&] { std::move(probe).success(); });
  w.thread([&] { passed = breaker.try_acquire().has_value(); });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.successes + stats.late == 1);
    // In time, or given up: then it waits once more, and is not wedged.
    expect(stats.successes == 1 ? stats.state == closed && passed : stats.state == open && !passed);
    time.set(300);
    expect(breaker.try_acquire().has_value());
  });
}
const scenario lost_{
    "circuit_breaker", "a probe that is given up while it reports counts or is late, never both", {}, lost};

void never_reports(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  auto& kept = w.make<std::array<kept_permit, 2>>();
  kept[0].emplace(*breaker.try_acquire());  // for ever
  w.thread([&] {
    time.set(200);
    static_cast<void>(breaker.state());
    time.set(300);
  });
  w.thread([&] {
    for (int k = 0; k < 2 && !kept[1]; ++k) {
      auto result = breaker.try_acquire();
      if (result) kept[1].emplace(*std::move(result));
    }
  });
  w.after([&] {
    if (!kept[1]) kept[1].emplace(*breaker.try_acquire());
    expect(kept[1].has_value(), "another probe passes in its time");
    std::move(*kept[1]).success();
    expect(breaker.state() == closed);
    std::move(*kept[0]).failure();
    expect(breaker.state() == closed && breaker.stats().late == 1, "the lost one comes too late");
  });
}
const scenario never_reports_{"circuit_breaker", "a probe that never reports does not wedge it half-open",
                              bounds{.preemptions = 3}, never_reports};

void mixed_probes(world& w) {
  auto& time = w.make<hand_time>();
  auto o = options(3);
  o.probe_successes = 2;
  auto& breaker = opened(w, time, o);
  time.set(100);
  for (int i = 0; i < 3; ++i) {
    auto& permit = w.make<breaker_type::permit>(*breaker.try_acquire());
    w.thread([&, i] {
      std::move(permit).report(i == 0 ? weir::call_verdict::failure : weir::call_verdict::success);
    });
  }
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == closed && stats.successes == 2, "two of three have succeeded");
    expect(stats.failures + stats.late == 1);
  });
}
const scenario mixed_probes_{
    "circuit_breaker", "two successes of three probes close it, whoever reports first", {}, mixed_probes};

void failed_probe(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(2));
  time.set(100);
  auto& failing = w.make<breaker_type::permit>(*breaker.try_acquire());
  auto& good = w.make<breaker_type::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(failing).failure(); });
  w.thread([&] { std::move(good).success(); });
  w.thread([&] {
    const auto result = breaker.try_acquire();
    expect(!result, "both probes are out, or have opened it again");
  });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == open && stats.opened == 2 && stats.late == 0, "half of them have failed");
  });
}
const scenario failed_probe_{
    "circuit_breaker", "a failed probe opens it again when all have reported", {}, failed_probe};

void reconfigured(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  auto& probe = w.make<breaker_type::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(probe).success(); });
  w.thread([&] { breaker.reconfigure(options(2)); });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.successes + stats.late == 1);
    expect(stats.state == (stats.successes == 1 ? closed : half_open), "in the old options or not at all");
    if (stats.state == half_open) {
      auto first = breaker.try_acquire();
      auto second = breaker.try_acquire();
      expect(first && second && !breaker.try_acquire(), "probes by the new options");
    }
  });
}
const scenario reconfigured_{
    "circuit_breaker", "a probe under older options counts before them or is late", {}, reconfigured};

void forced(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = opened(w, time, options(1));
  time.set(100);
  auto& kept = w.make<kept_permit>();
  w.thread([&] {
    auto result = breaker.try_acquire();
    if (result) kept.emplace(*std::move(result));
  });
  w.thread([&] { breaker.transition_to(open); });
  w.after([&] {
    const auto state = breaker.state();
    expect(state == open || (state == half_open && kept),
           "opened anew at 100, unless a later look has moved it on");
    if (kept) std::move(*kept).failure();
    expect(breaker.stats().late + breaker.stats().failures == (kept ? 1U : 0U));
    expect(breaker.state() == open);
  });
}
const scenario forced_{
    "circuit_breaker", "opened by hand while one begins to probe it waits once more", {}, forced};

}  // namespace
