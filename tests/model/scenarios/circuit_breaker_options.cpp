// SPDX-License-Identifier: BSL-1.0
// The ramp after closing, and calls that are slow while they are still out.
#include <weir/circuit_breaker.hpp>

#include <array>
#include <optional>
#include <utility>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using enum weir::breaker_state;
using breaker_type = weir::basic_circuit_breaker<hand_time::view>;
using kept_permit = std::optional<breaker_type::permit>;

void ramp(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = w.make<breaker_type>(
      weir::circuit_breaker_options{
          .window = weir::count_window{9}, .open_for = weir::duration{1}, .ramp = weir::duration{100}},
      time.source());
  breaker.transition_to(open);
  time.set(1);
  std::move(*breaker.try_acquire()).success();  // closed: one of ten passes, the first of them
  auto& passed = w.make<std::array<bool, 3>>();
  for (std::size_t i = 0; i < 3; ++i) {
    w.thread([&, i] {
      auto permit = breaker.try_acquire();
      passed[i] = permit.has_value();
      if (permit) return std::move(*permit).success();
      expect(permit.error().retry_after == weir::duration{100}, "told when all will pass");
    });
  }
  w.after([&] {
    expect(passed[0] + passed[1] + passed[2] == 1, "one of the first ten");
    const auto seen = breaker.stats();
    expect(seen.refused == 2 && seen.successes == 2 && seen.state == closed);
    time.set(101);
    expect(breaker.try_acquire().has_value() && breaker.try_acquire().has_value(), "the ramp is over");
  });
}
const scenario ramp_{"circuit_breaker", "on a ramp the same share passes, whoever comes first", {}, ramp};

weir::circuit_breaker_options watching(std::uint32_t calls) {
  return {.window = weir::count_window{4},
          .slow = weir::slow_calls{.longer_than = weir::duration{5}, .rate = {100}, .watched = calls},
          .minimum_calls = 2};
}

void out_for_long(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = w.make<breaker_type>(watching(2), time.source());
  auto& kept = w.make<std::array<kept_permit, 2>>();
  for (auto& permit : kept) permit.emplace(*breaker.try_acquire());
  time.set(6);
  for (auto& permit : kept) {
    w.thread([&] { std::move(*permit).failure(); });
  }
  w.thread([&] {
    const auto result = breaker.try_acquire();
    expect(!result, "two calls of two are slow by now");
  });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.state == open && seen.opened == 1, "opened once");
    expect(seen.failures + seen.late == 2, "and each has reported once");
  });
}
const scenario out_for_long_{
    "circuit_breaker", "calls that are out for too long open it, and count once", {}, out_for_long};

void found_and_ended(world& w) {
  auto& time = w.make<hand_time>();
  auto& breaker = w.make<breaker_type>(watching(1), time.source());
  auto& permit = w.make<breaker_type::permit>(*breaker.try_acquire());
  time.set(6);
  w.thread([&] { std::move(permit).failure(); });
  w.thread([&] { expect(breaker.state() == closed, "one call is too few"); });
  w.after([&] {
    const auto seen = breaker.stats();
    expect(seen.window_calls == 1 && seen.window_failed == 1 && seen.window_slow == 1, "one call, both");
    expect(seen.failures == 1 && seen.slow == 1);
    expect(breaker.try_acquire().has_value(), "its place is free again");
  });
}
const scenario found_and_ended_{
    "circuit_breaker", "a call that is found slow while it fails is one call", {}, found_and_ended};

}  // namespace
