// SPDX-License-Identifier: BSL-1.0
// Other options while others ask.
#include <weir/token_bucket.hpp>

#include <atomic>
#include <optional>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using hand_bucket = weir::basic_token_bucket<hand_time::view>;

// The lock waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
constexpr bounds everything{.strict_wait = false};

// Whole requests against whole reconfigurations; what a stale read may give is explored by those who read only.
constexpr bounds in_order{.preemptions = 2, .weak = false, .strict_wait = false};

// Two configurations of which no mixture gives the answers of either.
const weir::token_bucket_options before{weir::rate{3, weir::duration{7}}, 5, 2};
const weir::token_bucket_options afterwards{weir::rate{5, weir::duration{2}}, 13, 4};

void seen_whole(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(before, time.source());
  time.set(103);
  w.thread([&] { bucket.reconfigure(afterwards, weir::held_tokens::reset); });
  w.thread([&] {
    const std::int64_t seen = bucket.available_at(at(106));
    expect(seen == 4 || seen == 11, "2 + floor(6 * 3 / 7) or 4 + floor(3 * 5 / 2)");
  });
  w.after([&] {
    expect(bucket.available_at(at(106)) == 11);
    expect(bucket.reserve(11, weir::duration::max()).has_value(), "whoever met the change has left the lock");
  });
}
const scenario seen_whole_{"token_bucket", "who reads sees one configuration, never parts of two", everything,
                           seen_whole};

void answered_whole(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(before, time.source());
  time.set(103);
  w.thread([&] { bucket.reconfigure(afterwards, weir::held_tokens::reset); });
  w.thread([&] {
    const auto result = bucket.try_acquire_at(at(103), 5);
    expect(!result && result.error().reason == weir::refusal_reason::rate_limited);
    const auto wait = result.error().retry_after->count();
    expect(wait == 4 || wait == 1, "ceil((35 - 14 - 9) / 3) or ceil(2 / 5)");
  });
  w.after([&] { expect(bucket.available_at(at(103)) == 4); });
}
const scenario answered_whole_{"token_bucket",
                               "a refusal names the wait of one configuration, never of parts of two",
                               everything, answered_whole};

void taken_whole(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 2}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] { bucket.reconfigure({weir::rate::zero(), 5}, weir::held_tokens::keep); });
  w.thread([&] {
    for (int k = 0; k < 2; ++k) {
      if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    expect(granted == 2, "both tokens were there all the time");
    expect(bucket.available_at(at(100)) == 0, "each was taken under one configuration, once");
  });
}
const scenario taken_whole_{"token_bucket", "a grant during a reconfiguration counts in it, once", in_order,
                            taken_whole};

void never_doubled(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 2}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    bucket.reconfigure({weir::rate::zero(), 4}, weir::held_tokens::keep);
    bucket.reconfigure({weir::rate::zero(), 1}, weir::held_tokens::keep);
  });
  w.thread([&] {
    while (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    expect(granted == 1 || granted == 2, "what was there at first, less what the smaller burst has cut off");
    expect(bucket.available_at(at(100)) == 0);
  });
}
const scenario never_doubled_{"token_bucket", "to and fro between bursts mints nothing", in_order,
                              never_doubled};

/// The word that says that the second change is under way is none that was ever in use.
void passed_twice(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 2}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    bucket.reconfigure({weir::rate::zero(), 3}, weir::held_tokens::keep);
    bucket.reconfigure({weir::rate::zero(), 4}, weir::held_tokens::keep);
  });
  w.thread([&] {
    if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    expect(granted == 1, "the tokens were there all the time");
    expect(bucket.available_at(at(100)) == 1, "what was granted is gone");
  });
}
const scenario passed_twice_{"token_bucket", "a grant that two reconfigurations overtake counts once",
                             in_order, passed_twice};

/// Finds `left` tokens and no part of another one: that is not there `early`, just before it would come.
void expect_whole(hand_bucket& bucket, std::int64_t left, long long early) {
  expect(!bucket.try_acquire_at(at(100), static_cast<std::uint64_t>(left) + 1));
  expect(bucket.try_acquire_at(at(100), static_cast<std::uint64_t>(left)).has_value());
  expect(!bucket.try_acquire_at(at(early)), "no part of a token was left over");
}

/// One takes a token that costs one tick here and three there.  The booking raises the word for a while, so that a
/// word of the old configuration might stand for something in the new one.
void other_words(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket =
      w.make<hand_bucket>(weir::token_bucket_options{weir::rate{1, weir::duration{1}}, 10}, time.source());
  auto& mine = w.make<bool>(false);
  w.thread([&] { mine = bucket.try_acquire().has_value(); });
  w.thread([&] {
    auto booked = bucket.reserve(8);
    booked->cancel();
    bucket.reconfigure({weir::rate{1, weir::duration{3}}, 10}, weir::held_tokens::reset);
    expect(bucket.try_acquire(2).has_value());
  });
  w.after([&] {
    expect(mine);
    const auto left = bucket.available_at(at(100));
    expect(left == 8 || left == 7, "taken before the reset, or as a whole token after it");
    expect_whole(bucket, left, 102);
  });
}
const scenario other_words_{"token_bucket", "a grant computed under an older configuration comes to nothing",
                            in_order, other_words};

/// The same from a word that is as far from the origin as the other configuration comes to soon.
void later_words(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket =
      w.make<hand_bucket>(weir::token_bucket_options{weir::rate{1, weir::duration{1}}, 10, 8}, time.source());
  auto& mine = w.make<bool>(false);
  w.thread([&] { mine = bucket.try_acquire().has_value(); });
  w.thread([&] {
    bucket.reconfigure({weir::rate{1, weir::duration{2}}, 10}, weir::held_tokens::reset);
    expect(bucket.try_acquire().has_value());
  });
  w.after([&] {
    expect(mine);
    const auto left = bucket.available_at(at(100));
    expect(left == 9 || left == 8, "taken before the reset, or as a whole token after it");
    expect_whole(bucket, left, 101);
  });
}
const scenario later_words_{"token_bucket", "no word stands for something in two configurations", in_order,
                            later_words};

void forgotten(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 4, 4}, time.source());
  auto& booked = w.make<std::optional<hand_bucket::reservation>>(*bucket.reserve(3));
  w.thread([&] { booked->cancel(); });
  w.thread([&] { bucket.reconfigure({weir::rate::zero(), 4, 1}, weir::held_tokens::reset); });
  w.after(
      [&] { expect(bucket.available_at(at(100)) == 1, "the debt was forgotten, so nothing comes back"); });
}
const scenario forgotten_{"token_bucket", "a booking from before a reset gives nothing back after it",
                          everything, forgotten};

void converted(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket =
      w.make<hand_bucket>(weir::token_bucket_options{weir::rate{1, weir::duration{10}}, 4}, time.source());
  auto& booked = w.make<std::optional<hand_bucket::reservation>>(*bucket.reserve(3));
  w.thread([&] { booked->cancel(); });
  w.thread([&] { bucket.reconfigure({weir::rate{1, weir::duration{7}}, 4}, weir::held_tokens::keep); });
  w.after([&] {
    expect(bucket.available_at(at(100)) == 4, "the tokens come back as tokens, whatever they cost now");
    expect(bucket.is_full_at(at(100)));
    expect(!bucket.is_as_new_at(at(100)), "other options are not as new");
  });
}
const scenario converted_{"token_bucket",
                          "a booking from before other options gives its tokens back as tokens", everything,
                          converted};

void as_new(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 4}, time.source());
  auto& changed = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    bucket.reconfigure({weir::rate::zero(), 6}, weir::held_tokens::reset);
    changed.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool before_the_look = changed.load(std::memory_order_acquire);
    const bool seen = bucket.available_at(at(100)) == 6;
    expect(!bucket.is_as_new_at(at(100)) || (!before_the_look && !seen), "who has seen the new options");
  });
  w.after([&] { expect(!bucket.is_as_new_at(at(100))); });
}
const scenario as_new_{"token_bucket", "a bucket with other options is never taken for new",
                       bounds{.preemptions = 1, .strict_wait = false}, as_new};

void unlimited(world& w) {
  auto& time = w.make<hand_time>(100);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 2, 0}, time.source());
  auto& open = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    bucket.reconfigure({weir::rate::unlimited()});
    open.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool must = open.load(std::memory_order_acquire);
    const bool got = bucket.try_acquire(9).has_value();
    expect(got || !must, "no limit is known");
  });
  w.after([&] { expect(bucket.try_acquire(9).has_value()); });
}
const scenario unlimited_{"token_bucket", "once the limit is lifted everybody gets everything", everything,
                          unlimited};

}  // namespace
