// SPDX-License-Identifier: BSL-1.0
// Closed and open: who is judged, who is refused, who is told.
#include <weir/circuit_breaker.hpp>

#include <atomic>
#include <functional>
#include <optional>
#include <utility>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using enum weir::breaker_state;
using still_breaker = weir::basic_circuit_breaker<standing_clock>;
using hand_breaker = weir::basic_circuit_breaker<hand_time::view>;

weir::circuit_breaker_options failures(std::uint32_t count, long long open_for = 100) {
  return {.window = weir::consecutive_failures{count}, .open_for = weir::duration{open_for}};
}

void exactly_at(world& w, const weir::circuit_breaker_options& options) {
  auto& breaker = w.make<still_breaker>(options);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      auto permit = breaker.try_acquire();
      expect(permit.has_value(), "closed until the second has failed");
      std::move(*permit).failure();
    });
  }
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == open && stats.opened == 1, "opened, once");
    expect(stats.failures == 2 && stats.late == 0, "both count");
    expect(!breaker.try_acquire());
  });
}
const scenario failure_run_{
    "circuit_breaker", "two failures at once reach the threshold of two exactly", {}, [](world& w) {
      exactly_at(w, failures(2));
    }};
const scenario count_window_{
    "circuit_breaker", "two failures at once fill a window of two exactly", {}, [](world& w) {
      exactly_at(w, {.window = weir::count_window{2}, .failure_rate = {100}});
    }};
const scenario time_window_{
    "circuit_breaker", "two failures at once are enough for a window of time exactly", {}, [](world& w) {
      exactly_at(
          w,
          {.window = weir::time_window{weir::duration{100}, 2}, .failure_rate = {100}, .minimum_calls = 2});
    }};

void one_too_many(world& w) {
  auto& breaker = w.make<still_breaker>(failures(2));
  for (int i = 0; i < 3; ++i) {
    auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
    w.thread([&] { std::move(permit).failure(); });
  }
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == open && stats.opened == 1);
    expect(stats.failures == 2 && stats.late == 1, "the third belongs to the generation before");
  });
}
const scenario one_too_many_{
    "circuit_breaker", "a third failure on the way when the second opens comes late", {}, one_too_many};

void success_between(world& w) {
  auto& breaker = w.make<still_breaker>(failures(2));
  for (int i = 0; i < 3; ++i) {
    auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
    w.thread([&, i] {
      if (i == 0) {
        std::move(permit).success();
      } else {
        std::move(permit).failure();
      }
    });
  }
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.successes + stats.failures + stats.late == 3);
    // The success either parts the failures or comes before or after both.
    expect(stats.opened == 1 ? stats.state == open : stats.state == closed && stats.successes == 1);
    expect(stats.late == 0 || stats.opened == 1);
  });
}
const scenario success_between_{
    "circuit_breaker", "a success between two failures parts them", {}, success_between};

void open_refuses(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
  auto& failed = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    std::move(permit).failure();
    failed.store(true, std::memory_order_release);
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const bool must_refuse = failed.load(std::memory_order_acquire);
      const auto result = breaker.try_acquire();
      expect(!result || !must_refuse, "who comes after the failure is refused");
      if (!result) {
        expect(result.error().reason == weir::refusal_reason::circuit_open);
        expect(result.error().retry_after == weir::duration{100}, "and told when to come again");
      }
    });
  }
  w.after([&] { expect(breaker.state() == open); });
}
const scenario open_refuses_{
    "circuit_breaker", "nobody passes once it has opened, and each is told until when", {}, open_refuses};

void until_of_this_opening(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  breaker.transition_to(open);  // until 100
  w.thread([&] {
    breaker.reset();
    breaker.reconfigure(failures(1, 10));
    breaker.transition_to(open);  // until 10
  });
  w.thread([&] {
    if (breaker.state_approx() != closed) return;
    const auto result = breaker.try_acquire();
    expect(result || result.error().retry_after == weir::duration{10}, "the first opening is over");
  });
  w.after([&] { expect(breaker.state() == open); });
}
const scenario until_of_this_opening_{
    "circuit_breaker", "who has seen it close is told of the new opening's end", {}, until_of_this_opening};

void state_of_this_opening(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  breaker.transition_to(open);
  w.thread([&] {
    breaker.reset();
    breaker.reconfigure(failures(1, 10));
    breaker.transition_to(open);
  });
  w.thread([&] {
    if (breaker.state_approx() != closed) return;
    expect(breaker.state_at(at(50)) != open, "the second opening ends at 10");
  });
  w.after([&] { expect(breaker.state_at(at(50)) == half_open); });
}
const scenario state_of_this_opening_{
    "circuit_breaker", "who has seen it close sees the new opening end", {}, state_of_this_opening};

void late_results(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(permit).failure(); });
  w.thread([&] {
    breaker.force_open();
    breaker.reset();
  });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == closed, "a failure of the generation before opens nothing");
    expect(stats.failures + stats.late == 1 && stats.window_calls == 0);
    expect(breaker.try_acquire().has_value());
  });
}
const scenario late_results_{
    "circuit_breaker", "a result of an older generation changes nothing", {}, late_results};

void late_success(world& w) {
  auto& breaker = w.make<still_breaker>(failures(2));
  auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(permit).success(); });
  w.thread([&] {
    breaker.reset();
    auto second = breaker.try_acquire();
    auto third = breaker.try_acquire();
    std::move(*second).failure();
    std::move(*third).failure();
  });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(stats.state == open, "the success before the reset does not part the failures after it");
    expect(stats.successes + stats.late == 1 && stats.failures == 2);
  });
}
const scenario late_success_{
    "circuit_breaker", "a late success does not part the failures of a new generation", {}, late_success};

void forced(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  auto& done = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    breaker.force_open();
    done.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool must_refuse = done.load(std::memory_order_acquire);
    auto result = breaker.try_acquire();
    expect(!result || !must_refuse);
    if (result) std::move(*result).failure();
  });
  w.after([&] {
    expect(breaker.state() == forced_open, "a result does not undo what a hand has done");
    expect(!breaker.try_acquire());
  });
}
const scenario forced_{
    "circuit_breaker", "once it is forced open nobody passes and no result moves it", {}, forced};

void disabled_ignores(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  w.thread([&] { breaker.disable(); });
  w.thread([&] {
    auto result = breaker.try_acquire();
    expect(result.has_value());
    std::move(*result).failure();
  });
  w.after([&] {
    expect(breaker.state() == disabled && breaker.try_acquire().has_value());
    const auto before = breaker.stats();
    expect(before.failures + before.late <= 1 && before.window_calls == 0);
    std::move(*breaker.try_acquire()).failure();
    expect(breaker.stats().failures == before.failures && breaker.state() == disabled);
  });
}
const scenario disabled_ignores_{
    "circuit_breaker", "once it is disabled everybody passes and nothing is judged", {}, disabled_ignores};

/// Asks the breaker back, which would deadlock under its lock, and keeps what it was told in plain memory, which two
/// reports at a time would race on.
struct listener {
  struct moves {
    weir::breaker_state last = closed;
    int count = 0;
    const std::function<void()>* ask = nullptr;
  };
  moves* seen;

  void on_transition(weir::breaker_state from, weir::breaker_state to) const noexcept {
    expect(from == seen->last && from != to, "in order, none left out");
    seen->last = to;
    ++seen->count;
    (*seen->ask)();
  }
  void on_refused(const weir::refusal&) const noexcept {}
};

void told(world& w) {
  using breaker_type = weir::basic_circuit_breaker<standing_clock, listener>;
  auto& seen = w.make<listener::moves>();
  auto& breaker = w.make<breaker_type>(failures(1), standing_clock{}, listener{&seen});
  auto& ask = w.make<std::function<void()>>([&] { static_cast<void>(breaker.stats()); });
  seen.ask = &ask;
  auto& permit = w.make<breaker_type::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(permit).failure(); });
  w.thread([&] {
    breaker.force_open();
    breaker.reset();
  });
  w.after([&] {
    const auto stats = breaker.stats();
    expect(seen.last == stats.state && stats.state == closed, "told to the end");
    expect(seen.count == (stats.opened == 1 ? 3 : 2) && stats.events_lost == 0, "once each");
  });
}
const scenario told_{"circuit_breaker", "each move is reported once, in order, one at a time, under no lock",
                     bounds{.preemptions = 3}, told};

void looked_at(world& w) {
  auto& breaker = w.make<still_breaker>(failures(1));
  auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
  w.thread([&] { std::move(permit).failure(); });
  w.thread([&] {
    const auto seen = breaker.stats();
    expect(seen.failures == seen.opened && seen.opened <= 1, "all of one instant");
    expect((seen.state == open) == (seen.opened == 1));
    expect(seen.window_calls == 0, "in the window, or in none any more");
  });
  w.after([&] { expect(breaker.stats().state == open); });
}
const scenario looked_at_{"circuit_breaker", "a breaker may be looked at while it moves", {}, looked_at};

void fading(world& w) {
  auto& breaker = w.make<still_breaker>(failures(2));
  auto& permit = w.make<still_breaker::permit>(*breaker.try_acquire());
  auto& failed = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    std::move(permit).failure();
    failed.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool must_not = failed.load(std::memory_order_acquire);
    expect(!breaker.is_as_new_at(at(0)) || !must_not);
  });
  w.after([&] { expect(!breaker.is_as_new_at(at(0))); });
}
const scenario fading_{
    "circuit_breaker", "a breaker with a failure in its window is never taken for new", {}, fading};

}  // namespace
