// SPDX-License-Identifier: BSL-1.0
// Requests, bookings, other options, clocks that step and numbers of any size, against the literal bucket.
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/token_bucket.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "token_bucket/reference.hpp"

namespace weir_test {
namespace {

using weir::duration;
using weir::held_tokens;
using weir::refusal_reason;
using weir::time_point;
using bucket_type = weir::basic_token_bucket<leaping_clock::view, weir::counting_observer>;

constexpr wide end_of_time = std::numeric_limits<std::int64_t>::max();

/// Options, and the bucket that they make; none if they are no options.
struct setting {
  weir::token_bucket_options options{.rate = weir::rate::unlimited()};
  std::optional<literal_bucket> model{};
  wide initial = 0;
  bool unlimited = false;
};

setting draw(input& in) {
  constexpr std::int64_t periods[]{1, 10, 1000, 1'000'000, 1'000'000'000, 60'000'000'000, 86'400'000'000'000};
  setting s;
  std::int64_t tokens = 0;
  std::int64_t per = 1;
  switch (in.below(8)) {
    case 0:
      tokens = in.magnitude();
      per = in.magnitude();
      break;
    case 1:
      if (in.flag()) return s.unlimited = true, s;
      per = 1'000'000'000;
      break;
    default:
      tokens = in.flag() ? in.byte() + 1 : in.magnitude() >> 32;
      per = in.pick(periods);
  }
  s.options = {.rate = {tokens, duration{per}}, .burst = in.flag() ? in.byte() : in.magnitude()};
  s.model = literal_bucket::of(tokens, per, s.options.burst);
  s.initial = s.options.burst;
  if (in.below(4) == 0) {
    s.options.initial = in.flag() ? in.byte() : in.magnitude();
    s.initial = *s.options.initial;
    if (s.initial < 0 || s.initial > s.options.burst) s.model.reset();
  }
  if (s.model) s.model->units = s.initial * s.model->q;
  return s;
}

/// An exact instant: nanoseconds and a share of one in 1/p.
struct instant {
  wide whole, part;
  [[nodiscard]] wide ceil() const { return std::min(end_of_time, whole + (part == 0 ? 0 : 1)); }
  [[nodiscard]] bool after(const instant& other) const {
    return whole != other.whole ? whole > other.whole : part > other.part;
  }
};

class game {
  struct booking {
    bucket_type::reservation reservation;
    instant act;
    wide count;
    wide p, q;
    int generation, epoch;
    int number;
    instant before;
  };

 public:
  explicit game(input& in) : in_{in} { clock_.now = time_point{duration{in.magnitude()}}; }

  void play() {
    const setting first = draw(in_);
    if (!made(first)) return;
    unlimited_ = first.unlimited;
    initial_ = first.initial;
    if (!unlimited_) model_ = *first.model;
    model_.last = start_ = newest_.whole = seen_ = now();
    while (!in_.empty()) {
      step_clock();
      step();
      compare();
    }
    while (!bookings_.empty()) cancel(bookings_.size() - 1);
    compare();
  }

 private:
  [[nodiscard]] wide now() const { return clock_.now.time_since_epoch().count(); }

  bool made(const setting& s) {
    try {
      bucket_.emplace(s.options, clock_.source(), weir::counting_observer{counts_});
      expect(s.model || s.unlimited, "a bucket is refused that is none");
      return true;
    } catch (const std::invalid_argument&) {
      expect(!s.model && !s.unlimited, "a bucket that is one is not refused");
      return false;
    }
  }

  /// About a token's time, a little, anything, and back; back only as far as the bucket is sure to remember
  /// to the nanosecond.
  void step_clock() {
    const unsigned how = in_.byte();
    const wide token = model_.p == 0 ? 1000 : model_.q / model_.p;
    wide by = 0;
    if (how < 64) by = how % 4;
    if (how >= 64 && how < 192) by = token * (how % 32) / 8 + (how % 3);
    if (how >= 192 && how < 224) by = in_.byte();
    if (how >= 224 && how < 232) by = in_.magnitude();
    if (how >= 232) by = -token * (how % 8) / 4 - 1;
    const wide lowest = seen_ - start_ <= (wide{1} << 28) ? start_ : seen_;
    const wide to = std::clamp(now() + by, lowest, end_of_time);
    clock_.now = time_point{duration{static_cast<std::int64_t>(to)}};
    seen_ = std::max(seen_, to);
  }

  void step() {
    switch (in_.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return try_acquire();
      case 4:
      case 5:
      case 6:
        return reserve();
      case 7:
      case 8:
        if (!bookings_.empty()) finish(in_.below(bookings_.size() > 256 ? 256 : bookings_.size()));
        return;
      case 9:
        return acquire();
      case 10:
        return reconfigure();
      default:
        return observe();
    }
  }

  std::uint64_t some() {
    switch (in_.below(4)) {
      case 0:
        return in_.byte();
      case 1:
        return static_cast<std::uint64_t>(in_.magnitude());
      case 2:
        return unlimited_ ? 1 : static_cast<std::uint64_t>(model_.burst);
      default:
        return 1;
    }
  }

  /// From now on, or from where the bucket stands if that is later, until `n` tokens are there.
  [[nodiscard]] std::optional<duration> expected_wait(wide n) const {
    const wide t = std::max(now(), model_.last);
    const wide missing = n * model_.q - model_.at(now());
    if (missing <= 0) return duration{0};
    if (model_.p == 0) return std::nullopt;
    const wide there = std::min(end_of_time, t + ceil_divide(missing, model_.p));
    return duration{static_cast<std::int64_t>(std::min(end_of_time, there - now()))};
  }

  /// The answer to a request that will not wait, taken if it is a grant.
  std::optional<weir::refusal> take(std::uint64_t n) {
    if (n == 0 || unlimited_) return std::nullopt;
    if (static_cast<wide>(n) > model_.burst) return weir::refused_for_ever(refusal_reason::exceeds_capacity);
    const auto wait = expected_wait(static_cast<wide>(n));
    if (wait != duration{0} || model_.at(now()) < static_cast<wide>(n) * model_.q) {
      return weir::refusal{refusal_reason::rate_limited, wait};
    }
    model_.settle(now());
    expect(model_.take(static_cast<wide>(n)), "what is there can be taken");
    return std::nullopt;
  }

  void judge(const weir::outcome<>& got, const std::optional<weir::refusal>& expected) {
    ++(expected ? refused_ : granted_);
    expect(got.has_value() == !expected, "granted as the reference grants");
    if (expected) expect(got.error() == *expected, "refused as the reference refuses");
  }

  void try_acquire() {
    const std::uint64_t n = some();
    const auto expected = take(n);
    judge(bucket_->try_acquire_at(clock_.now, n), expected);
  }

  /// Booked, or why not; the reservation is for the caller to fill in.
  std::optional<weir::refusal> book(std::uint64_t n, duration max_wait, wide until, booking& made) {
    made.generation = generation_;
    made.epoch = epoch_;
    made.count = static_cast<wide>(n);
    made.p = model_.p;
    made.q = model_.q;
    if (n == 0 || unlimited_) {
      made.act = {now(), 0};
      made.count = 0;
      return std::nullopt;
    }
    if (made.count > model_.burst) return weir::refused_for_ever(refusal_reason::exceeds_capacity);
    const wide t = std::max(now(), model_.last);
    const wide missing = made.count * model_.q - model_.at(now());
    if (missing > 0) {
      const auto wait = expected_wait(made.count);
      if (!wait) return weir::refused_for_ever(refusal_reason::rate_limited);
      if (*wait > max_wait || std::min(end_of_time, now() + wait->count()) > until) {
        return weir::refusal{refusal_reason::timed_out, wait};
      }
      if (missing > (wide{1} << 61)) return weir::refusal{refusal_reason::rate_limited, wait};
    }
    model_.settle(now());
    model_.units -= made.count * model_.q;
    made.act = missing <= 0 || model_.p == 0
                   ? instant{t, 0}
                   : instant{std::min(end_of_time, t + missing / model_.p), missing % model_.p};
    made.before = newest_;
    if (made.act.after(newest_)) newest_ = made.act;
    made.number = ++booked_;
    return std::nullopt;
  }

  void reserve() {
    const std::uint64_t n = some();
    const duration max_wait = in_.flag() ? duration::max() : duration{in_.magnitude()};
    booking b{.reservation = spent(),
              .act = {},
              .count = 0,
              .p = 0,
              .q = 0,
              .generation = 0,
              .epoch = 0,
              .number = 0,
              .before = {}};
    const auto expected = book(n, max_wait, end_of_time, b);
    auto got = bucket_->reserve(n, max_wait);
    expect(got.has_value() == !expected, "booked as the reference books");
    if (!got) {
      ++refused_;
      ++unbooked_;
      return expect(got.error() == *expected, "not booked as the reference does not");
    }
    expect(got->act_at().time_since_epoch().count() == b.act.ceil(), "to act at the same instant");
    b.reservation = std::move(*got);
    bookings_.push_back(std::move(b));
  }

  /// A reservation that holds nothing.
  bucket_type::reservation spent() {
    auto nothing = bucket_->reserve(0);
    bucket_type::reservation r = std::move(*nothing);
    ++granted_;
    ++used_;
    std::move(r).use();
    return r;
  }

  void finish(std::size_t which) {
    if (in_.flag()) return cancel(which);
    std::move(bookings_[which].reservation).use();
    ++granted_;
    ++used_;
    bookings_.erase(bookings_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  void cancel(std::size_t which) {
    give_back(bookings_[which]);
    bookings_.erase(bookings_.begin() +
                    static_cast<std::ptrdiff_t>(which));  // the reservation cancels itself
  }

  void give_back(const booking& b) {
    ++cancelled_;
    if (b.count == 0 || b.epoch != epoch_) return;
    const wide t = std::max(now(), model_.last);
    if (t > b.act.ceil()) return;
    wide amount = b.count * b.q;
    const bool current = b.generation == generation_;
    if (b.number == booked_) {
      --booked_;
      if (current) newest_ = b.before;
    } else if (b.p != 0) {
      // Later bookings lean on what lies between this one and the newest.
      const instant newest = current ? newest_ : instant{newest_.ceil(), 0};
      const wide between = (newest.whole - b.act.whole) * b.p + newest.part - b.act.part;
      amount = std::clamp(amount - between, wide{0}, amount);
    }
    if (!current) amount = floor_divide(amount * model_.q, b.q);
    // Full at `t` at the earliest; only a grant makes the bucket remember an instant.
    model_.units = std::min(model_.units + amount, model_.capacity() - (t - model_.last) * model_.p);
  }

  void acquire() {
    const std::uint64_t n = some();
    std::stop_source stop;
    if (in_.below(8) == 7) stop.request_stop();
    const auto until = std::min(end_of_time, now() + (in_.flag() ? in_.byte() : in_.magnitude()));
    std::optional<weir::refusal> expected;
    wide acts_at = now();
    if (stop.stop_requested()) {
      expected = weir::refusal{refusal_reason::cancelled};
    } else if ((expected = take(n)) && expected->retry_after) {
      booking b{.reservation = spent(),
                .act = {},
                .count = 0,
                .p = 0,
                .q = 0,
                .generation = 0,
                .epoch = 0,
                .number = 0,
                .before = {}};
      expected = book(n, duration::max(), until, b);
      ++(expected ? unbooked_ : used_);
      if (!expected) acts_at = b.act.ceil();
      if (acts_at == end_of_time)
        return in_ = input{{}}, void(bookings_.clear()), reset();  // nobody wakes then
    }
    const auto got = bucket_->acquire_until(n,
                                            time_point{duration{static_cast<std::int64_t>(std::max<wide>(
                                                until, std::numeric_limits<std::int64_t>::min()))}},
                                            stop.get_token());
    judge(got, expected);
    expect(now() >= acts_at, "who acquires acts when the tokens are there");
    seen_ = std::max(seen_, now());
  }

  /// The script ends here.
  void reset() {
    bucket_.reset();
    unlimited_ = true;
  }

  void reconfigure() {
    const setting next = draw(in_);
    const auto kept = static_cast<held_tokens>(in_.below(4));
    try {
      bucket_->reconfigure(next.options, kept);
      expect(next.model || next.unlimited, "no options are taken that are none");
    } catch (const std::invalid_argument&) {
      return expect(!next.model && !next.unlimited, "options that are some are taken");
    }
    reconfigured_ = true;
    const wide t = std::max(now(), model_.last);
    model_.settle(t);
    const bool forgotten = kept == held_tokens::reset || unlimited_ || next.unlimited;
    if (next.unlimited) {
      model_ = {0, 1, 0, 0, t};
    } else if (unlimited_) {
      const wide held = kept == held_tokens::reset ? next.initial : next.model->burst;
      model_ = *next.model;
      model_.units = held * model_.q;
    } else {
      model_.reconfigure(*next.model, kept, next.initial);
    }
    model_.last = start_ = seen_ = t;
    unlimited_ = next.unlimited;
    ++generation_;
    epoch_ += forgotten ? 1 : 0;
    newest_ = {forgotten ? t : newest_.ceil(), 0};
    clock_.now = time_point{duration{static_cast<std::int64_t>(t)}};
  }

  void observe() {
    const bool stands =
        model_.at(now()) == initial_ * model_.q && (model_.p == 0 || initial_ == model_.burst);
    expect(bucket_->is_as_new_at(clock_.now) == (!reconfigured_ && (unlimited_ || stands)),
           "as new if it holds, from now on, what it was made with");
    expect(bucket_->is_full_at(clock_.now) == (unlimited_ || model_.at(now()) == model_.capacity()),
           "full if full");
  }

  void compare() {
    if (!bucket_) return;
    if (unlimited_) {
      expect(bucket_->available_approx() == std::numeric_limits<std::int64_t>::max(), "no limit is no limit");
    } else {
      expect(bucket_->available_approx() == model_.tokens(now()), "as many tokens as in the reference");
    }
    const auto s = bucket_->stats();
    expect(s.used == used_ && s.refused == unbooked_ && s.cancelled == cancelled_,
           "the bookings are counted");
    expect(counts_.granted.value() == granted_ && counts_.refused.value() == refused_, "so are the requests");
  }

  input& in_;
  leaping_clock clock_;
  weir::request_counts counts_;
  std::optional<bucket_type> bucket_;
  literal_bucket model_{0, 1, 0, 0, 0};
  bool unlimited_ = false;
  bool reconfigured_ = false;
  wide initial_ = 0;
  wide start_ = 0, seen_ = 0;  // of this configuration; the latest instant
  instant newest_{0, 0};       // the latest that was booked
  int generation_ = 0, epoch_ = 0, booked_ = 0;
  std::uint64_t granted_ = 0, refused_ = 0;                // requests
  std::uint64_t used_ = 0, cancelled_ = 0, unbooked_ = 0;  // bookings
  std::vector<booking> bookings_;
};

/// A clock that jumps at will: whatever it says, no window grants more than it may.
void play_wild_clock(input& in) {
  const std::int64_t p = in.byte() + 1;
  const std::int64_t q = in.flag() ? 1 : std::int64_t{1} << in.below(40);
  const std::int64_t burst = in.byte() + 1;
  leaping_clock clock;
  clock.now = time_point{duration{in.magnitude()}};
  weir::request_counts counts;
  bucket_type bucket{
      {.rate = {p, duration{q}}, .burst = burst}, clock.source(), weir::counting_observer{counts}};
  /// A bucket that time ran back for may stand at any instant between the latest grant and the latest look.
  struct grant {
    wide earliest, latest, n;
  };
  std::vector<grant> grants;
  wide latest = clock.now.time_since_epoch().count();
  wide granted = latest;
  for (int i = 0; i < 64 && !in.empty(); ++i) {
    if (in.flag()) {
      clock.now = time_point{duration{in.magnitude()}};
    } else {
      clock.step(duration{static_cast<std::int64_t>(in.byte()) - 100});
    }
    const wide t = clock.now.time_since_epoch().count();
    latest = std::max(latest, t);
    const auto n = static_cast<std::uint64_t>(in.byte()) + 1;
    const auto got = bucket.try_acquire(n);
    if (got) {
      granted = std::max(granted, t);
      grants.push_back({granted, latest, static_cast<wide>(n)});
    } else if (got.error().retry_after && t != end_of_time) {
      expect(*got.error().retry_after > duration{0}, "who is refused for now waits");
    }
    expect(bucket.available_approx() <= burst, "never more than the burst");
  }
  for (std::size_t a = 0; a < grants.size(); ++a) {
    wide sum = 0;
    for (std::size_t b = a; b < grants.size(); ++b) {
      sum += grants[b].n;
      expect(sum <= burst + (grants[b].latest - grants[a].earliest) * p / q,
             "I1: no window grants more than it may");
    }
  }
}

}  // namespace

void fuzz(input& in) {
  if (in.below(4) == 0) return play_wild_clock(in);
  game{in}.play();
}

}  // namespace weir_test
