// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include <weir/multi_token_bucket.hpp>

#include "token_bucket/reference.hpp"

namespace weir_test {

/// A bucket of several bandwidths written down in the most literal way: what happened, in order, played again
/// from the start for each question.  Time is in shares of a nanosecond that every band divides.
class literal_bandwidths {
 public:
  literal_bandwidths(const std::vector<weir::bandwidth>& bands, wide now_ns) {
    for (const auto& b : bands) {
      const std::int64_t common = std::gcd(b.rate.tokens(), b.rate.per().count());
      bands_.push_back({.p = b.rate.tokens() / common,
                        .q = b.rate.per().count() / common,
                        .burst = b.burst,
                        .initial = b.initial.value_or(b.burst),
                        .first = b.refill_at ? b.refill_at->time_since_epoch().count() : 0,
                        .lump = b.refill_at ? b.rate.tokens() : 0,
                        .period = b.rate.per().count()});
      if (!b.refill_at) fine_ = std::lcm(fine_, b.rate.tokens() / common);
    }
    start_ = now_ns * fine_;
  }

  enum class kind { taken, added, forced };
  struct event {
    int id;
    wide at;
    wide n;
    kind what = kind::taken;
    wide given = 0;  ///< if not taken: when
  };

  [[nodiscard]] wide fine(wide ns) const { return ns * fine_; }
  [[nodiscard]] wide ceil_ns(wide at) const { return ceil_divide(at, fine_); }

  /// The earliest instant from `now_ns` on, and not before what was booked, at which every band has `n`.
  [[nodiscard]] wide fits_at(wide now_ns, wide n) const {
    const wide from = std::max(fine(now_ns), front());
    wide latest = from;
    for (const band& b : bands_) latest = std::max(latest, fits_at(b, from, n));
    return latest;
  }

  [[nodiscard]] bool waited_for(wide now_ns) const { return front() > fine(now_ns); }

  [[nodiscard]] wide tokens(wide now_ns) const {
    if (waited_for(now_ns)) return 0;
    std::optional<wide> least;
    for (const band& b : bands_) {
      const wide held = floor_divide(units(b, fine(now_ns)), scale(b));
      least = least ? std::min(*least, held) : held;
    }
    return *least;
  }

  void happens(const event& e) { events_.push_back(e); }

  /// As of whoever has booked.
  void give(wide now_ns, wide n, kind what) {
    const wide given = fine(now_ns);
    happens({-1, std::max(given, front()), n, what, given});
  }

  /// Unless its time has come.
  void undo(int id, wide now_ns) {
    const auto found = std::ranges::find(events_, id, &event::id);
    if (now_ns > ceil_ns(found->at)) return;
    events_.erase(found);
    wide latest = start_;
    for (event& e : events_) {
      if (e.what != kind::taken) e.at = std::max(e.given, latest);
      latest = e.at;
    }
  }

  [[nodiscard]] const std::vector<event>& events() const { return events_; }

 private:
  struct band {
    wide p, q, burst, initial, first, lump, period;
  };

  [[nodiscard]] wide front() const { return events_.empty() ? start_ : events_.back().at; }

  /// Units of a token.
  [[nodiscard]] wide scale(const band& b) const { return b.lump != 0 ? 1 : b.q * fine_; }

  /// `at` in ticks of the band, rounded up: there it counts.
  [[nodiscard]] wide counted(const band& b, wide at) const {
    const wide tick = b.lump != 0 ? fine_ : fine_ / b.p;
    return b.lump != 0 ? floor_divide(at, tick) * tick : ceil_divide(at, tick) * tick;
  }

  [[nodiscard]] wide refilled(const band& b, wide held, wide since, wide until) const {
    const wide full = b.burst * scale(b);
    if (held >= full) return held;
    if (b.lump == 0) return std::min(full, held + (until - since) * b.p);
    const auto lumps = [&](wide at) {
      return std::max(wide{0}, floor_divide(floor_divide(at, fine_) - b.first, b.period) + 1);
    };
    return std::min(full, held + (lumps(until) - lumps(since)) * b.lump);
  }

  [[nodiscard]] wide units(const band& b, wide until) const {
    wide held = b.initial * scale(b);
    wide since = start_;
    for (const event& e : events_) {
      const wide at = counted(b, e.at);
      held = refilled(b, held, since, at);
      since = at;
      const wide n = e.n * scale(b);
      if (e.what == kind::taken) held -= n;
      if (e.what == kind::forced) held += n;
      if (e.what == kind::added) held = std::max(held, std::min(b.burst * scale(b), held + n));
    }
    return refilled(b, held, since, std::max(since, counted(b, until)));
  }

  [[nodiscard]] wide fits_at(const band& b, wide from, wide n) const {
    const wide missing = n * scale(b) - units(b, from);
    if (missing <= 0) return from;
    if (b.lump == 0) return counted(b, from) + ceil_divide(missing, b.p * (fine_ / b.p)) * (fine_ / b.p);
    const wide after = floor_divide(floor_divide(from, fine_) - b.first, b.period) + 1;
    return (b.first + (std::max(wide{0}, after) + ceil_divide(missing, b.lump) - 1) * b.period) * fine_;
  }

  std::vector<band> bands_;
  std::int64_t fine_ = 1;  // shares of a nanosecond
  wide start_;
  std::vector<event> events_;
};

}  // namespace weir_test
