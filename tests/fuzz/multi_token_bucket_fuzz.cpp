// SPDX-License-Identifier: BSL-1.0
// Requests, bookings and gifts over several bandwidths, against what happened played again from the start.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/multi_token_bucket.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "token_bucket/bandwidths_reference.hpp"

namespace weir_test {
namespace {

using weir::bandwidth;
using weir::duration;
using weir::refusal_reason;
using weir::time_point;
using bucket_type = weir::basic_multi_token_bucket<leaping_clock::view>;

/// Small enough for an exact reference: up to three, none at rate zero.
std::vector<bandwidth> draw(input& in) {
  constexpr std::int64_t periods[]{1, 3, 10, 64, 1000, 3600};
  std::vector<bandwidth> bands;
  for (int n = in.within(1, 3); n > 0; --n) {
    bandwidth b{.rate = {in.within<std::int64_t>(1, 6), duration{in.pick(periods)}},
                .burst = in.within<std::int64_t>(1, 9)};
    if (in.below(4) == 3) b.initial = std::min<std::int64_t>(b.burst, in.below(10));
    if (in.below(4) == 3) b.refill_at = time_point{duration{in.below(200) - 50}};
    bands.push_back(b);
  }
  return bands;
}

class game {
  struct booking {
    bucket_type::reservation reservation;
    int id;
  };

 public:
  explicit game(input& in)
      : in_{in},
        bands_{draw(in)},
        burst_{std::ranges::min(bands_, {}, &bandwidth::burst).burst},
        bucket_{bands_, clock_.source()},
        model_{bands_, 0} {}

  void play() {
    // Each question plays all that has happened again.
    for (int step = 0; step != 48 && !in_.empty(); ++step) {
      clock_.step(duration{in_.flag() ? in_.below(24) : 0});
      switch (in_.below(12)) {
        case 0:
        case 1:
        case 2:
        case 3:
          try_acquire();
          break;
        case 4:
        case 5:
        case 6:
          reserve();
          break;
        case 7:
        case 8:
          finish();
          break;
        case 9:
          acquire();
          break;
        case 10:
          give();
          break;
        default:
          observe();
      }
      compare();
    }
    while (!bookings_.empty()) finish();
    compare();
  }

 private:
  [[nodiscard]] wide now() const { return clock_.now.time_since_epoch().count(); }

  std::uint64_t some() { return in_.below(8) == 7 ? in_.below(12U) : in_.within(1U, 4U); }

  [[nodiscard]] bool too_much(std::uint64_t n) const { return static_cast<wide>(n) > burst_; }

  /// How long until `n` tokens are there, and when exactly.
  [[nodiscard]] std::pair<wide, duration> wait_for(std::uint64_t n) const {
    const wide at = model_.fits_at(now(), static_cast<wide>(n));
    return {at, duration{static_cast<std::int64_t>(model_.ceil_ns(at) - now())}};
  }

  void try_acquire() {
    const std::uint64_t n = some();
    const auto got = bucket_.try_acquire_at(clock_.now, n);
    if (n == 0) return expect(got.has_value(), "nothing is always there");
    if (too_much(n)) {
      return expect(!got && got.error() == weir::refused_for_ever(refusal_reason::exceeds_capacity),
                    "more than the least burst is never there");
    }
    const auto [at, wait] = wait_for(n);
    expect(got.has_value() == (wait == duration{0}), "granted as the reference grants");
    if (got) return model_.happens({-1, model_.fine(now()), static_cast<wide>(n)});
    expect(got.error() == weir::refusal{refusal_reason::rate_limited, wait},
           "refused as the reference refuses");
  }

  void reserve() {
    const std::uint64_t n = some();
    const duration most = in_.flag() ? duration::max() : duration{in_.byte()};
    auto got = bucket_.reserve(n, most);
    if (n == 0) {
      expect(got && got->act_at() == clock_.now, "nothing is booked at once");
      ++used_;
      return std::move(*got).use();
    }
    if (!got) ++refused_;
    if (too_much(n)) {
      return expect(!got && got.error() == weir::refused_for_ever(refusal_reason::exceeds_capacity),
                    "more than the least burst is never booked");
    }
    const auto [at, wait] = wait_for(n);
    expect(got.has_value() == (wait <= most), "booked as the reference books");
    if (!got) {
      return expect(got.error() == weir::refusal{refusal_reason::timed_out, wait},
                    "not booked for its reason");
    }
    expect(got->act_at() == clock_.now + wait, "to act at the same instant");
    model_.happens({++id_, at, static_cast<wide>(n)});
    bookings_.push_back({std::move(*got), id_});
  }

  void finish() {
    if (bookings_.empty()) return;
    const auto which = bookings_.begin() +
                       static_cast<std::ptrdiff_t>(in_.below(std::min<std::size_t>(256, bookings_.size())));
    if (in_.flag()) {
      ++used_;
      std::move(which->reservation).use();
    } else {
      ++cancelled_;
      model_.undo(which->id, now());
    }
    bookings_.erase(which);  // one that was not used cancels itself
  }

  void acquire() {
    const std::uint64_t n = some();
    std::stop_source stop;
    if (in_.below(8) == 7) stop.request_stop();
    const duration most{in_.below(4) == 3 ? 1'000'000 : in_.byte()};
    if (n == 0 || too_much(n) || stop.stop_requested()) {
      const auto got = bucket_.acquire_for(n, most, stop.get_token());
      return expect(got.has_value() == (n == 0 && !stop.stop_requested()), "answered before any wait");
    }
    const auto [at, wait] = wait_for(n);
    const time_point due = clock_.now + wait;
    const auto got = bucket_.acquire_for(n, most, stop.get_token());
    expect(got.has_value() == (wait <= most), "acquired if it is there in time");
    if (wait > duration{0}) ++(got ? used_ : refused_);
    if (got) {
      expect(clock_.now == due, "when the tokens are there");
      return model_.happens({-1, at, static_cast<wide>(n)});
    }
    expect(got.error() == weir::refusal{refusal_reason::timed_out, wait}, "not acquired for its reason");
  }

  void give() {
    const bool beyond = in_.flag();
    const std::uint64_t n = in_.below(6U);
    beyond ? bucket_.force_add(n) : bucket_.add(n);
    model_.give(now(), static_cast<wide>(n),
                beyond ? literal_bandwidths::kind::forced : literal_bandwidths::kind::added);
  }

  void observe() {
    const bool idle = !model_.waited_for(now());
    if (bucket_.is_full_at(clock_.now)) expect(idle && model_.tokens(now()) == burst_, "full if full");
    if (!bookings_.empty() && !idle) expect(!bucket_.is_as_new_at(clock_.now), "as new if nothing is booked");
  }

  void compare() {
    expect(bucket_.available_at(clock_.now) == model_.tokens(now()), "as many tokens as in the reference");
    const auto s = bucket_.stats();
    expect(s.used == used_ && s.cancelled == cancelled_ && s.refused == refused_, "the bookings are counted");
  }

  input& in_;
  leaping_clock clock_;
  const std::vector<bandwidth> bands_;
  const std::int64_t burst_;
  bucket_type bucket_;
  literal_bandwidths model_;
  std::vector<booking> bookings_;
  int id_ = 0;
  std::uint64_t used_ = 0, cancelled_ = 0, refused_ = 0;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
