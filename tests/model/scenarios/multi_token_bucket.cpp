// SPDX-License-Identifier: BSL-1.0
// Several bandwidths in one.
#include <weir/multi_token_bucket.hpp>

#include <atomic>
#include <new>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using still_bucket = weir::basic_multi_token_bucket<standing_clock>;
using hand_bucket = weir::basic_multi_token_bucket<hand_time::view>;
using bands = std::vector<weir::bandwidth>;

constexpr weir::bandwidth quick{.rate = {1, weir::duration{10}}, .burst = 2};
constexpr weir::bandwidth slow{.rate = {1, weir::duration{100}}, .burst = 3};

void all_or_none(world& w) {
  auto& bucket = w.make<still_bucket>(bands{{.rate = weir::rate::zero(), .burst = 4},
                                            {.rate = weir::rate::zero(), .burst = 5, .initial = 3}});
  auto& taken = w.make<std::atomic<int>>(0);
  for (const unsigned n : {3U, 2U}) {
    w.thread([&, n] {
      if (bucket.try_acquire(n)) taken.fetch_add(static_cast<int>(n), std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(taken == 3 || taken == 2, "one of them");
    expect(bucket.available_at(at(0)) == 3 - taken, "what one band refused was taken from none");
  });
}
const scenario all_or_none_{
    "multi_token_bucket", "requests get their tokens of every band or of none", {}, all_or_none};

void booked_and_passed(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(bands{quick, slow}, time.source());
  auto& early = w.make<std::atomic<int>>(0);
  w.thread([&] {
    auto first = bucket.reserve(2);
    auto second = bucket.reserve(2);
    expect(first && second);
    if (second->act_at() > at(0)) time.set(9);
    std::move(*first).use();
    std::move(*second).use();
  });
  w.thread([&] {
    if (bucket.try_acquire_at(at(0))) early.fetch_add(1, std::memory_order_relaxed);
    if (bucket.try_acquire_at(at(9))) early.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    expect(early <= 2, "no more than the burst of the quick one");
    expect(!bucket.try_acquire_at(at(99)) || early == 0, "who has booked is not passed");
    expect(bucket.stats().used == 2);
  });
}
const scenario booked_and_passed_{
    "multi_token_bucket", "nobody passes who has booked, in whatever band he waits", {}, booked_and_passed};

void cancelled(world& w) {
  auto& bucket = w.make<still_bucket>(bands{quick, slow});
  auto& act = w.make<weir::time_point>();
  w.thread([&] { bucket.reserve(2)->cancel(); });
  w.thread([&] {
    auto booked = bucket.reserve(2);
    act = booked->act_at();
    std::move(*booked).use();
  });
  w.thread([&] { static_cast<void>(bucket.reserve(2)); });
  w.after([&] {
    expect(bucket.stats().cancelled == 2 && bucket.stats().used == 1);
    expect(act == at(0) || act == at(100) || act == at(200) || act == at(300),
           "behind those who came before");
    // It keeps its time, and the two tokens of the slow band that it took then are all that is missing.
    expect(!bucket.is_full_at(act + weir::duration{199}) && bucket.is_full_at(act + weir::duration{200}));
  });
}
const scenario cancelled_{
    "multi_token_bucket", "bookings cancelled in any order leave what never booked would", {}, cancelled};

void out_of_memory(world& w) {
  auto& bucket = w.make<still_bucket>(bands{quick, slow});
  auto& failed = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        std::move(*bucket.reserve()).use();
      } catch (const std::bad_alloc&) {
        failed.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&] {
    expect(failed <= 1, "one allocation fails");
    expect(bucket.available_at(at(0)) == failed, "who could not book has taken nothing");
  });
}
const scenario out_of_memory_{"multi_token_bucket", "a booking without memory takes nothing of any band",
                              bounds{.failed_allocations = 1}, out_of_memory};

void stopped(world& w) {
  auto& bucket =
      w.make<weir::multi_token_bucket>(bands{{.rate = {1, weir::duration{10}}, .burst = 1, .initial = 0},
                                             {.rate = {1, weir::duration{7}}, .burst = 2}});
  auto& began = w.make<weir::time_point>(weir::steady_clock::now());
  auto& stop = w.make<std::stop_source>();
  auto& got = w.make<bool>(false);
  w.thread([&] {
    const auto result = bucket.acquire(1, stop.get_token());
    expect(result || result.error().reason == weir::refusal_reason::cancelled);
    got = result.has_value();
  });
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    expect(bucket.available_at(began + weir::duration{10}) == (got ? 0 : 1),
           "what was not used is given back");
    expect(bucket.stats().used == (got ? 1U : 0U));
  });
}
// A std::stop_callback waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
const scenario stopped_{"multi_token_bucket",
                        "one who waits for several bands and is stopped has it all or nothing",
                        bounds{.preemptions = 2, .strict_wait = false, .random_executions = 5'000}, stopped};

void other_bands(world& w) {
  auto& bucket = w.make<still_bucket>(bands{{.rate = weir::rate::zero(), .burst = 4, .initial = 2}});
  auto& granted = w.make<std::atomic<int>>(0);
  w.thread([&] {
    bucket.reconfigure({{.rate = weir::rate::zero(), .burst = 9}, quick});
    bucket.reconfigure({{.rate = weir::rate::zero(), .burst = 4}});
  });
  w.thread([&] {
    for (int k = 0; k < 3; ++k) {
      if (bucket.try_acquire()) granted.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    expect(granted == 2, "both tokens were there all the time");
    expect(bucket.available_at(at(0)) == 0, "each was taken once");
  });
}
const scenario other_bands_{
    "multi_token_bucket", "a grant while the bands change counts in them, once", {}, other_bands};

}  // namespace
