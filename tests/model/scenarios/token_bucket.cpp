// SPDX-License-Identifier: BSL-1.0
// The word: what is granted, refused and carried across time.
#include <weir/token_bucket.hpp>

#include <atomic>
#include <cstdint>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using still_bucket = weir::basic_token_bucket<standing_clock>;
using counted_bucket = weir::basic_token_bucket<standing_clock, weir::counting_observer>;
using hand_bucket = weir::basic_token_bucket<hand_time::view>;

// The lock waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
constexpr bounds everything{.strict_wait = false};

// To move the origin on is to change the configuration; what a stale read of that may give is explored where it is
// reconfigured.
constexpr bounds in_order{.preemptions = 2, .weak = false, .strict_wait = false};

constexpr weir::rate one_in_ten{1, weir::duration{10}};

bool refused_for(const weir::outcome<void>& result, weir::refusal_reason reason) {
  return !result && result.error().reason == reason;
}

void last_token(world& w) {
  auto& counts = w.make<weir::request_counts>();
  auto& bucket = w.make<counted_bucket>(weir::token_bucket_options{weir::rate::zero(), 3, 1},
                                        standing_clock{}, weir::counting_observer{counts});
  auto& granted = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      const auto result = bucket.try_acquire();
      expect(result || refused_for(result, weir::refusal_reason::rate_limited));
      if (result) granted.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(granted == 1, "one grant");
    expect(bucket.available_at(at(0)) == 0, "nothing left");
    expect(counts.granted.value() == 1 && counts.refused.value() == 2, "counted");
  });
}
const scenario last_token_{"token_bucket", "of three that want the last token one gets it", everything,
                           last_token};

void one_each(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{weir::rate::zero(), 3});
  for (int i = 0; i < 3; ++i) {
    w.thread([&] { expect(bucket.try_acquire().has_value(), "however often another one comes first"); });
  }
  w.after([&] { expect(bucket.available_at(at(0)) == 0); });
}
const scenario one_each_{"token_bucket", "three that want what is there for three get one each", everything,
                         one_each};

void all_or_none(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{weir::rate::zero(), 5, 4});
  auto& taken = w.make<std::atomic<int>>(0);
  for (const unsigned n : {3U, 2U}) {
    w.thread([&, n] {
      if (bucket.try_acquire(n)) taken.fetch_add(static_cast<int>(n), std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(taken == 3 || taken == 2, "one of them");
    expect(bucket.available_at(at(0)) == 4 - taken, "what was refused took nothing");
  });
}
const scenario all_or_none_{"token_bucket", "requests of several tokens get all of them or none", everything,
                            all_or_none};

void too_many(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 2});
  w.thread([&] {
    expect(refused_for(bucket.try_acquire(3), weir::refusal_reason::exceeds_capacity));
    expect(refused_for(bucket.acquire(3), weir::refusal_reason::exceeds_capacity));
    const auto booked = bucket.reserve(3);
    expect(!booked && booked.error().reason == weir::refusal_reason::exceeds_capacity);
  });
  w.thread([&] { expect(bucket.try_acquire(2).has_value(), "the others' tokens are untouched"); });
  w.after([&] { expect(bucket.available_at(at(0)) == 0); });
}
const scenario too_many_{"token_bucket", "a request above the burst is refused at once and disturbs nobody",
                         everything, too_many};

/// Every token that the clock has brought is granted or still there: none is minted, none is burnt.  The burst is
/// never reached, so nothing runs over.
void expect_conserved(const hand_bucket& bucket, int granted, long long now) {
  expect(bucket.available_at(at(now)) + granted == now / 10, "tokens are conserved");
}

void moving_clock(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 3, 0}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  time.set(10);
  w.thread([&] {
    time.set(20);
    if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.thread([&] {
    for (int k = 0; k < 2; ++k) {
      if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    expect(granted >= 1);
    expect_conserved(bucket, granted, 20);
  });
}
const scenario moving_clock_{"token_bucket", "two that ask while the clock moves get what it has brought",
                             everything, moving_clock};

void stale_now(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 4, 0}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    if (bucket.try_acquire_at(at(30))) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.thread([&] {
    for (const int now : {10, 20}) {
      if (bucket.try_acquire_at(at(now))) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    expect(granted >= 2, "at most the earliest finds its token taken");
    expect_conserved(bucket, granted, 30);
  });
}
const scenario stale_now_{"token_bucket", "an instant read before that of another mints and burns nothing",
                          everything, stale_now};

void stale_now_refused(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 4, 0}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    if (bucket.try_acquire_at(at(20), 2)) granted.fetch_add(2, std::memory_order_relaxed);
  });
  w.thread([&] {
    const auto result = bucket.try_acquire_at(at(0), 3);
    expect(refused_for(result, weir::refusal_reason::rate_limited));
    expect(result.error().retry_after >= weir::duration{30}, "not before the tokens can be there");
    if (bucket.try_acquire_at(at(10))) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    expect(granted >= 1);
    expect_conserved(bucket, granted, 20);
  });
}
const scenario stale_now_refused_{"token_bucket", "a refusal at an older instant changes nothing", everything,
                                  stale_now_refused};

void window(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 1}, time.source());
  auto& at_ten = w.make<std::atomic<int>>(0);
  auto& at_twenty = w.make<std::atomic<int>>(0);
  const auto ask = [&](int now) {
    if (bucket.try_acquire_at(at(now)))
      (now == 10 ? at_ten : at_twenty).fetch_add(1, std::memory_order_relaxed);
  };
  w.thread([ask] {
    ask(10);
    ask(20);
  });
  w.thread([ask] { ask(20); });
  w.after([&] {
    expect(at_ten <= 1 && at_twenty <= 1 && at_ten + at_twenty <= 1 + 1,
           "the burst, and what ten ns have brought");
    const auto left = bucket.available_at(at(20));
    expect(at_ten + at_twenty + left == 1 || at_ten + at_twenty + left == 2, "what is missing has run over");
  });
}
const scenario window_{"token_bucket", "no window grants more than the burst and what its time has brought",
                       everything, window};

void step_back(world& w) {
  auto& time = w.make<hand_time>(10);
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 3, 1}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    time.set(30);
    if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
    time.set(0);
  });
  w.thread([&] {
    for (int k = 0; k < 2; ++k) {
      if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    // One token at 10, and one more for each ten nanoseconds.
    expect(granted >= 1);
    expect(granted + bucket.available_at(at(30)) == 3, "as if the clock had stood");
  });
}
const scenario step_back_{"token_bucket",
                          "a clock that steps back between look and grant mints and burns nothing",
                          everything, step_back};

void mark_and_word(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 3, 0});
  w.thread([&] { expect(bucket.try_acquire_at(at(20)).has_value(), "two were there"); });
  w.thread([&] {
    const auto seen = bucket.available_at(at(0));
    expect(seen != 2, "the instant of a grant is known only with the grant");
    expect(seen == 0 || seen == 1 || seen == -1, "before it, after it, or after it at the older instant");
  });
  w.after([&] { expect(bucket.available_at(at(0)) == 1); });
}
const scenario mark_and_word_{"token_bucket", "who knows the instant of a grant does not miss the grant",
                              everything, mark_and_word};

void far_future(world& w) {
  constexpr long long far = (1LL << 62) - 1;
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{weir::rate::zero(), 3, 1}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  for (const long long now : {far, 0LL}) {
    w.thread([&, now] {
      if (bucket.try_acquire_at(at(now))) granted.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(granted == 1, "what was there, whoever came first");
    expect(bucket.available_at(at(far + 1)) == 0);
  });
}
const scenario far_future_{"token_bucket", "to move the origin on while others ask mints and burns nothing",
                           in_order, far_future};

void far_future_refilled(world& w) {
  constexpr long long far = 1LL << 61;
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 2, 0}, time.source());
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    for (int k = 0; k < 2; ++k) {
      if (bucket.try_acquire_at(at(far))) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.thread([&] {
    if (bucket.try_acquire_at(at(far + 10))) granted.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    const auto left = bucket.available_at(at(far + 10));
    expect(granted >= 1 && granted <= 3, "the burst, and one more after ten nanoseconds");
    expect(granted + left == 2 || granted + left == 3);
  });
}
const scenario far_future_refilled_{"token_bucket", "after an age the bucket is full, to be emptied once",
                                    in_order, far_future_refilled};

}  // namespace
