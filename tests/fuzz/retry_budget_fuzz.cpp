// SPDX-License-Identifier: BSL-1.0
// A budget in both its forms against a sum over everything that ever happened to it, in millionths.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <vector>

#include <weir/retry_budget.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "retry/reference.hpp"

namespace weir_test {
namespace {

using weir::duration;
using budget_type = weir::basic_retry_budget<leaping_clock::view>;

/// Exact in millionths, so that nothing is rounded.
double share(input& in) { return in.below(4) == 0 ? in.byte() : in.byte() / 8.0; }

template <class Form>
void play(input& in, leaping_clock& clock, const Form& form, std::optional<naive_budget> model) {
  std::optional<budget_type> budget;
  try {
    budget.emplace(form, clock.source());
    expect(model.has_value(), "a budget is refused that is none");
  } catch (const std::invalid_argument&) {
    return expect(!model, "a budget that is one is not refused");
  }
  std::uint64_t withdrawn = 0, refused = 0;
  while (!in.empty()) {
    const int step = in.below(8);
    if (step == 7) {
      clock.step(duration{in.magnitude()});
    } else if (step > 3) {
      clock.step(duration{(in.byte() - 32) *
                          std::max<std::int64_t>(1, std::min(model->length, std::int64_t{1} << 50) / 40)});
    }
    const std::int64_t now = clock.now.time_since_epoch().count();
    switch (in.below(6)) {
      case 0:
      case 1:
        budget->deposit();
        model->deposit(now);
        break;
      case 2:
        budget->refund();
        model->add(now, naive_budget::unit);
        break;
      case 3: {
        const duration ago{in.byte() *
                           std::max<std::int64_t>(1, std::min(model->length, std::int64_t{1} << 50) / 16)};
        const weir::time_point taken = weir::saturating_add(clock.now, -ago);
        budget->refund(taken);
        model->refund(now, taken.time_since_epoch().count());
        break;
      }
      default: {
        const bool expected = model->withdraw(now);
        ++(expected ? withdrawn : refused);
        expect(budget->try_withdraw() == expected, "a retry is granted if there is one");
      }
    }
    expect(budget->available_approx() == model->available(now), "as many are there as in the reference");
    expect(budget->stats().withdrawn == withdrawn && budget->stats().refused == refused,
           "the counts are right");
  }
}

/// Options of any size are taken or refused, and what is taken can be used.
void play_any(leaping_clock& clock, const weir::window_budget& form) {
  const auto model = naive_budget::window(form.window.count(), form.ratio, form.min_per_second);
  const auto floor = static_cast<long double>(form.window.count()) * form.min_per_second / 1000;
  if (std::fabs(floor - 1e18L) < 1e6L) return;  // doubles cannot tell
  try {
    budget_type budget{form, clock.source()};
    expect(model.has_value(), "a budget is refused that is none");
    budget.deposit();
    static_cast<void>(budget.try_withdraw());
    clock.now = weir::time_point::max();
    static_cast<void>(budget.try_withdraw());
    expect(budget.available_approx() <= 2'000'000'000'000U, "what is there is bounded");
  } catch (const std::invalid_argument&) {
    expect(!model, "a budget that is one is not refused");
  }
}

}  // namespace

void fuzz(input& in) {
  leaping_clock clock;
  clock.now = weir::time_point{duration{in.magnitude() >> 1}};
  if (in.flag()) {
    const weir::token_budget form{
        .capacity = in.flag() ? in.byte() : static_cast<std::uint32_t>(in.magnitude()),
        .per_success = share(in)};
    return play(in, clock, form, naive_budget::tokens(form.capacity, form.per_success));
  }
  if (in.below(16) == 15) {
    const double ratio = in.flag() ? share(in) : std::bit_cast<double>(in.magnitude());
    const weir::window_budget form{.window = duration{in.magnitude()},
                                   .ratio = ratio,
                                   .min_per_second = static_cast<std::uint32_t>(in.magnitude())};
    return play_any(clock, form);
  }
  // Whole microseconds, so that the floor is whole too.
  const weir::window_budget form{
      .window = duration{1000 * (in.flag() ? in.byte() : in.magnitude() % (std::int64_t{1} << 40))},
      .ratio = share(in),
      .min_per_second = in.byte()};
  play(in, clock, form, naive_budget::window(form.window.count(), form.ratio, form.min_per_second));
}

}  // namespace weir_test
