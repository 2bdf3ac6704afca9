// SPDX-License-Identifier: BSL-1.0
// Delays from options of any size, against sums in 128 bits and products in extended precision.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include <weir/backoff.hpp>

#include "fuzz/input.hpp"

namespace weir_test {
namespace {

using weir::backoff_growth;
using weir::backoff_jitter;
using weir::backoff_options;
using weir::duration;

__extension__ using wide = __int128;
using extended = long double;

/// Any double: small, large, none.
double number(input& in) {
  switch (in.below(4)) {
    case 0:
      return 1 + in.below(64) / 16.0;
    case 1:
      return std::bit_cast<double>(in.magnitude());
    default:
      return in.byte() / 255.0 * (in.flag() ? 1 : 4);
  }
}

bool valid(const backoff_options& o) {
  return o.base.count() >= 0 && o.cap >= o.base && o.factor >= 1 &&
         o.factor <= std::numeric_limits<double>::max() && o.proportion >= 0 && o.proportion <= 1;
}

/// The growth of the n-th delay, written down; not more than the cap.  One who multiplies by little often
/// stops at `patience` steps, with what he has by then, and is right from below.
extended grown(const backoff_options& o, std::uint32_t n, std::uint32_t patience) {
  const auto base = static_cast<extended>(o.base.count());
  const auto cap = static_cast<extended>(o.cap.count());
  if (o.growth == backoff_growth::constant) return base;
  if (o.growth == backoff_growth::linear) {
    return static_cast<extended>(std::min<wide>(o.cap.count(), wide{o.base.count()} * (wide{n} + 1)));
  }
  extended d = base;
  for (std::uint32_t i = 0; i < std::min(n, patience) && d < cap; ++i) d *= o.factor;
  return std::min(cap, d);
}

/// Whether doubles may tell `a` from `b`.
bool near(extended a, extended b) { return std::fabs(a - b) <= 1 + std::fabs(b) * 1e-11L; }
bool below(extended a, extended b) { return a <= b || near(a, b); }

void check_delay(const backoff_options& o, std::uint32_t n, duration previous, double r) {
  constexpr std::uint32_t patience = 5000;
  const duration d = weir::plain_delay(o, n);
  const auto exact = grown(o, n, patience);
  const auto got = static_cast<extended>(d.count());
  expect(d >= duration{0} && d <= o.cap, "no delay is negative or above the cap");
  expect(below(exact, got), "a delay is not less than its growth");
  if (o.growth != backoff_growth::exponential) expect(got == exact, "whole numbers are exact");
  if (n <= patience || exact == static_cast<extended>(o.cap.count())) {
    expect(near(got, exact), "a delay is its growth");
  }
  if (n != std::numeric_limits<std::uint32_t>::max()) {
    expect(below(got, static_cast<extended>(weir::plain_delay(o, n + 1).count())), "delays do not shrink");
  }

  const duration spread = weir::backoff_delay(o, n, previous, r);
  const auto s = static_cast<extended>(spread.count());
  expect(spread >= duration{0} && spread <= o.cap, "no jitter leads below zero or above the cap");
  switch (o.jitter) {
    case backoff_jitter::none:
      return expect(spread == d, "without jitter a delay is itself");
    case backoff_jitter::full:
      expect(spread == duration{0} || spread < d, "full jitter is short of the delay");
      return expect(near(s, std::floor(got * r)), "full jitter is the share of the delay");
    case backoff_jitter::equal:
      return expect(spread >= d - d / 2 && spread <= d, "equal jitter takes at most half");
    case backoff_jitter::proportional: {
      const auto low = got * (1 - static_cast<extended>(o.proportion));
      const auto high =
          std::min(static_cast<extended>(o.cap.count()), got * (1 + static_cast<extended>(o.proportion)));
      return expect(below(low, s) && below(s, high), "proportional jitter stays within its share");
    }
    case backoff_jitter::decorrelated: {
      const auto base = static_cast<extended>(o.base.count());
      const auto high = std::max(base, 3 * static_cast<extended>(previous.count()));
      return expect(spread >= o.base && below(s, high),
                    "decorrelated jitter is between the base and three times before");
    }
  }
}

}  // namespace

void fuzz(input& in) {
  backoff_options o{.growth = static_cast<backoff_growth>(in.below(3)),
                    .base = duration{in.magnitude()},
                    .factor = number(in),
                    .cap = duration{in.magnitude()},
                    .jitter = static_cast<backoff_jitter>(in.below(5)),
                    .proportion = number(in)};
  if (in.flag()) o.cap = weir::duration::max();
  try {
    weir::validate(o);
    expect(valid(o), "options that are none are refused");
  } catch (const std::invalid_argument&) {
    return expect(!valid(o), "options that are some are taken");
  }
  duration previous = o.base;
  for (std::uint32_t n = 0; n < 32 && !in.empty(); ++n) {
    const auto step = in.flag() ? n : static_cast<std::uint32_t>(in.magnitude());
    const double r = in.flag() ? in.byte() / 256.0 : 1 - std::ldexp(1.0, -in.within(1, 53));
    check_delay(o, step, previous, r);
    previous = weir::backoff_delay(o, step, previous, r);
  }
}

}  // namespace weir_test
