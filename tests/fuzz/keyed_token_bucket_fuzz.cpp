// SPDX-License-Identifier: BSL-1.0
// Keys, options, overflow and erasure in bounded memory, against one literal bucket a key that is never forgotten
// while it makes a difference.
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>

#include <weir/keyed_token_bucket.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "token_bucket/reference.hpp"

namespace weir_test {
namespace {

using weir::duration;
using weir::held_tokens;
using weir::keyed_overflow;
using weir::refusal_reason;
using weir::time_point;
using buckets_type = weir::keyed_token_bucket<int, leaping_clock::view>;

constexpr wide end_of_time = std::numeric_limits<std::int64_t>::max();

/// Options, and the bucket of a new key; none if they are no options.
struct setting {
  weir::token_bucket_options options{.rate = weir::rate::unlimited()};
  std::optional<literal_bucket> fresh{};
  wide initial = 0;
  bool unlimited = false;
};

setting draw(input& in) {
  constexpr std::int64_t periods[]{1, 10, 1000, 1'000'000'000, 86'400'000'000'000};
  setting s;
  if (in.below(16) == 15) return s.unlimited = true, s;
  const bool wild = in.below(8) == 7;
  const std::int64_t tokens = wild ? in.magnitude() : in.below(8);
  const std::int64_t per = wild ? in.magnitude() : in.pick(periods);
  s.options = {.rate = {tokens, duration{per}}, .burst = wild ? in.magnitude() : in.within(0, 12)};
  s.fresh = literal_bucket::of(tokens, per, s.options.burst);
  s.initial = s.options.burst;
  if (in.below(4) == 3) {
    s.options.initial = in.within(-1, 12);
    s.initial = *s.options.initial;
    if (s.initial < 0 || s.initial > s.options.burst) s.fresh.reset();
  }
  if (s.fresh) s.fresh->units = s.initial * s.fresh->q;
  return s;
}

class game {
  struct known {
    literal_bucket bucket;
    std::uint64_t used;  // in order of use
  };

 public:
  explicit game(input& in) : in_{in} { clock_.now = time_point{duration{in.magnitude()}}; }

  void play() {
    now_ = draw(in_);
    // Few enough that all of them are searched for one as new.
    max_ = in_.within<std::size_t>(1, 16);
    when_full_ = static_cast<keyed_overflow>(in_.below(3));
    try {
      buckets_.emplace(weir::keyed_options{.max_keys = max_, .shards = 1, .when_full = when_full_},
                       now_.options, clock_.source());
      expect(now_.fresh || now_.unlimited, "options are refused that are none");
    } catch (const std::invalid_argument&) {
      return expect(!now_.fresh && !now_.unlimited, "options that are some are taken");
    }
    while (!in_.empty()) {
      step_clock();
      switch (in_.below(16)) {
        case 13:
          erase();
          break;
        case 14:
          reconfigure();
          break;
        case 15:
          forget();
          break;
        default:
          try_acquire();
      }
      compare();
    }
  }

 private:
  [[nodiscard]] wide now() const { return clock_.now.time_since_epoch().count(); }

  void step_clock() {
    const unsigned how = in_.byte();
    const wide token = now_.fresh && now_.fresh->p != 0 ? now_.fresh->q / now_.fresh->p : 1000;
    wide by = 0;
    if (how >= 64 && how < 240) by = token * (how % 32) / 8 + how % 3;
    if (how >= 240) by = std::max<std::int64_t>(0, in_.magnitude());
    clock_.now = time_point{duration{static_cast<std::int64_t>(std::min(end_of_time, now() + by))}};
  }

  [[nodiscard]] bool is_as_new(const literal_bucket& b) const {
    return (b.p == 0 || now_.initial == b.burst) && b.at(now()) == now_.initial * b.q;
  }

  /// What is as new makes no difference any more.
  void forget_as_new() {
    std::erase_if(keys_, [this](const auto& entry) { return is_as_new(entry.second.bucket); });
  }

  [[nodiscard]] literal_bucket fresh() const {
    literal_bucket b = *now_.fresh;
    b.last = now();
    return b;
  }

  std::optional<weir::refusal> take(literal_bucket& b, wide n) {
    b.settle(now());
    if (b.take(n)) return ++granted_, std::nullopt;
    ++limited_;
    if (b.p == 0) return weir::refused_for_ever(refusal_reason::rate_limited);
    const wide wait = std::min(b.wait(n), end_of_time - std::max<wide>(0, now()));
    const wide whole = std::min(end_of_time, std::min(end_of_time, now() + b.wait(n)) - now());
    return weir::refusal{refusal_reason::rate_limited,
                         duration{static_cast<std::int64_t>(std::max(wait, whole))}};
  }

  std::optional<weir::refusal> expected(int key, std::uint64_t n) {
    if (n == 0) return std::nullopt;
    if (now_.unlimited) return ++granted_, std::nullopt;
    if (static_cast<wide>(n) > now_.fresh->burst)
      return weir::refused_for_ever(refusal_reason::exceeds_capacity);
    forget_as_new();
    auto found = keys_.find(key);
    if (found == keys_.end()) {
      if (keys_.size() == max_) {
        if (when_full_ == keyed_overflow::fail_closed) return ++refused_, weir::refusal{refusal_reason::full};
        if (when_full_ == keyed_overflow::fail_open) {
          ++untracked_;
          literal_bucket once = fresh();
          return take(once, static_cast<wide>(n));
        }
        auto oldest = keys_.begin();
        for (auto it = keys_.begin(); it != keys_.end(); ++it) {
          if (it->second.used < oldest->second.used) oldest = it;
        }
        keys_.erase(oldest);
        ++forced_;
      }
      found = keys_.emplace(key, known{fresh(), 0}).first;
    }
    found->second.used = ++uses_;
    return take(found->second.bucket, static_cast<wide>(n));
  }

  void try_acquire() {
    const int key = in_.below(24);
    const std::uint64_t n =
        in_.below(8) == 7 ? static_cast<std::uint64_t>(in_.magnitude()) : in_.within(0U, 4U);
    const auto wanted = expected(key, n);
    const auto got = buckets_->try_acquire_at(clock_.now, key, n);
    expect(got.has_value() == !wanted, "granted as the reference grants");
    if (wanted) expect(got.error() == *wanted, "refused as the reference refuses");
  }

  void erase() {
    const int key = in_.below(24);
    const bool there = keys_.contains(key) && !is_as_new(keys_.at(key).bucket);
    keys_.erase(key);
    const bool erased = buckets_->erase(key);
    expect(erased || !there, "a key that is used is known");
  }

  void forget() {
    forget_as_new();
    buckets_->evict_as_new();
    if (!now_.unlimited)
      expect(buckets_->size_approx() == keys_.size(), "what is as new is forgotten, no more");
  }

  void reconfigure() {
    setting next = draw(in_);
    const auto kept = static_cast<held_tokens>(in_.below(4));
    try {
      buckets_->reconfigure(next.options, kept);
      expect(next.fresh || next.unlimited, "no options are taken that are none");
    } catch (const std::invalid_argument&) {
      return expect(!next.fresh && !next.unlimited, "options that are some are taken");
    }
    if (now_.unlimited || next.unlimited) {
      // Without a limit there is nothing to remember.
      if (!next.unlimited) expect(keys_.empty(), "nothing is known without a limit");
      keys_.clear();
    } else {
      forget_as_new();
      for (auto& [key, k] : keys_) {
        k.bucket.settle(now());
        k.bucket.reconfigure(*next.fresh, kept, next.initial);
      }
    }
    now_ = next;
  }

  void compare() {
    for (const int key : {0, 5}) {
      std::int64_t tokens = std::numeric_limits<std::int64_t>::max();
      if (!now_.unlimited) {
        const auto found = keys_.find(key);
        tokens = static_cast<std::int64_t>(found == keys_.end() ? now_.initial
                                                                : found->second.bucket.tokens(now()));
      }
      expect(buckets_->available_at(clock_.now, key) == tokens, "as many tokens as in the reference");
    }
    const auto s = buckets_->stats();
    expect(s.granted == granted_ && s.rate_limited == limited_, "requests are counted");
    expect(s.keys.evicted_forced == forced_ && s.keys.refused == refused_ && s.keys.untracked == untracked_,
           "what has no room is counted");
    expect(s.keys.keys <= max_, "never more keys than may be");
    expect(s.keys.created == s.keys.keys + s.keys.evicted_as_new + s.keys.evicted_forced + s.keys.erased,
           "no key is lost");
  }

  input& in_;
  leaping_clock clock_;
  setting now_;
  std::size_t max_ = 1;
  keyed_overflow when_full_{};
  std::optional<buckets_type> buckets_;
  std::map<int, known> keys_;
  std::uint64_t uses_ = 0, granted_ = 0, limited_ = 0, forced_ = 0, refused_ = 0, untracked_ = 0;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
