// SPDX-License-Identifier: BSL-1.0
// Waiting for tokens, and booking them ahead.
#include <weir/token_bucket.hpp>

#include <atomic>
#include <chrono>
#include <new>
#include <optional>
#include <stop_token>
#include <utility>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using still_bucket = weir::basic_token_bucket<standing_clock>;
using hand_bucket = weir::basic_token_bucket<hand_time::view>;

// The lock waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
constexpr bounds everything{.strict_wait = false};

constexpr bounds waits{.preemptions = 2, .strict_wait = false, .random_executions = 5'000};

constexpr weir::rate one_in_ten{1, weir::duration{10}};

void waiting(world& w) {
  auto& bucket = w.make<weir::token_bucket>(weir::token_bucket_options{one_in_ten, 1, 0});
  auto& began = w.make<long long>(virtual_time());
  auto& last = w.make<std::atomic<long long>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      expect(bucket.acquire().has_value());
      expect(virtual_time() - began >= 10, "not before its token is there");
      if (last.exchange(virtual_time() - began) != 0) {
        expect(virtual_time() - began == 20, "the second token comes ten nanoseconds after the first");
      }
    });
  }
  w.after([&] {
    expect(virtual_time() - began == 20, "as soon as the tokens are there");
    expect(bucket.stats().used <= 2 && bucket.stats().refused == 0);
  });
}
const scenario waiting_{
    "token_bucket", "two that wait get a token each, when it is there, one after the other", waits, waiting};

void no_overtaking(world& w) {
  auto& bucket = w.make<weir::token_bucket>(weir::token_bucket_options{one_in_ten, 1, 0});
  auto& began = w.make<long long>(virtual_time());
  w.thread([&] {
    expect(bucket.acquire().has_value());
    expect(virtual_time() - began <= 10 + 10, "at most one has come before");
  });
  w.thread([&] {
    const bool early = bucket.try_acquire().has_value();
    expect(!early || virtual_time() - began >= 10, "nothing is granted before it is there");
  });
  w.after([&] { expect(bucket.stats().used <= 1 && bucket.stats().refused == 0); });
}
const scenario no_overtaking_{
    "token_bucket", "nobody who asks later delays one who waits by more than his turn", waits, no_overtaking};

void stopped(world& w) {
  auto& bucket = w.make<weir::token_bucket>(weir::token_bucket_options{one_in_ten, 1, 0});
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
    const auto soon = began + weir::duration{10};
    expect(bucket.available_at(soon) == (got ? 0 : 1), "what was not used is given back");
    const auto stats = bucket.stats();
    expect(stats.used == (got ? 1U : 0U) && stats.cancelled <= 1 && stats.refused == 0);
  });
}
const scenario stopped_{"token_bucket", "one who waits and is stopped has his token or has given it back",
                        waits, stopped};

void impatient(world& w) {
  auto& bucket = w.make<weir::token_bucket>(weir::token_bucket_options{one_in_ten, 1, 0});
  auto& began = w.make<weir::time_point>(weir::steady_clock::now());
  auto& granted = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = bucket.acquire_until(1, weir::deadline{began + weir::duration{15}});
      if (result) {
        granted.fetch_add(1, std::memory_order_relaxed);
      } else {
        expect(result.error().reason == weir::refusal_reason::timed_out);
        expect(*result.error().retry_after == began + weir::duration{20} - weir::steady_clock::now() ||
                   weir::steady_clock::now() > began,
               "when the token after the other's is there");
      }
    });
  }
  w.after([&] {
    expect(granted == 1, "only one token is there in time");
    expect(bucket.available_at(began + weir::duration{20}) == 1,
           "who cannot be served in time books nothing");
  });
}
const scenario impatient_{"token_bucket", "of two whose time is enough for one token one is refused at once",
                          waits, impatient};

void bookings(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 2, 1});
  auto& acts = w.make<std::atomic<long long>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      auto booked = bucket.reserve();
      expect(booked.has_value());
      acts.fetch_add(booked->act_at().time_since_epoch().count(), std::memory_order_relaxed);
      std::move(*booked).use();
    });
  }
  w.thread([&] {
    if (bucket.try_acquire()) acts.fetch_add(100, std::memory_order_relaxed);
  });
  w.after([&] {
    const std::int64_t used = acts >= 100 ? 3 : 2;
    expect(used == 2 ? acts == 10 : acts == 100 + 10 + 20, "each has an instant of its own");
    expect(bucket.available_at(at(0)) == 1 - used);
  });
}
const scenario bookings_{"token_bucket", "bookings have an instant each, and who asks for now passes none",
                         everything, bookings};

void first_bookings(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 2});
  for (int i = 0; i < 2; ++i) w.thread([&] { std::move(*bucket.reserve()).use(); });
  w.after([&] {
    expect(bucket.available_at(at(0)) == 0);
    expect(bucket.stats().used == 2, "counted in one place");
    expect(bucket.is_as_new_at(at(20)));
  });
}
const scenario first_bookings_{"token_bucket",
                               "two first bookings share what the first of them has allocated", everything,
                               first_bookings};

void out_of_memory(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 2});
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
const scenario out_of_memory_{"token_bucket",
                              "a first booking without memory takes nothing and disturbs nobody",
                              bounds{.strict_wait = false, .failed_allocations = 1}, out_of_memory};

void cancelled(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 2, 1});
  auto& act = w.make<long long>(0);
  w.thread([&] {
    auto booked = bucket.reserve();
    booked->cancel();
    expect(!*booked, "nothing is left to cancel");
  });
  w.thread([&] {
    auto booked = bucket.reserve();
    act = booked->act_at().time_since_epoch().count();
    std::move(*booked).use();
  });
  w.after([&] {
    expect(act == 0 || act == 10, "behind the other or not");
    // The other's token is lost only if this one was timed on it.
    const std::int64_t left = bucket.available_at(at(0));
    expect(act == 0 ? left == 0 : left == 0 || left == -1);
    // I1: the window from 0 to the instant of the booking.
    int granted = 1;
    while (bucket.try_acquire_at(at(act))) ++granted;
    expect(granted <= 1 + act / 10, "no more than was there and has come");
    expect(bucket.stats().cancelled == 1);
  });
}
const scenario cancelled_{"token_bucket",
                          "a booking cancelled while another is made gives back no more than it may",
                          everything, cancelled};

void cancelled_last(world& w) {
  auto& bucket = w.make<still_bucket>(weir::token_bucket_options{one_in_ten, 4, 2});
  w.thread([&] {
    auto booked = bucket.reserve(4);
    expect(booked->act_at() >= at(20));
  });  // dropped unused: cancelled
  auto& granted = w.make<bool>(false);
  w.thread([&] { granted = bucket.try_acquire().has_value(); });
  w.after([&] {
    expect(bucket.available_at(at(0)) == (granted ? 1 : 2), "all of it comes back, and nothing more");
  });
}
const scenario cancelled_last_{"token_bucket", "a booking that nobody leans on gives back all that it took",
                               everything, cancelled_last};

void cancelled_late(world& w) {
  auto& time = w.make<hand_time>();
  auto& bucket = w.make<hand_bucket>(weir::token_bucket_options{one_in_ten, 2, 0}, time.source());
  auto& booked = w.make<std::optional<hand_bucket::reservation>>(*bucket.reserve());
  auto& granted = w.make<int>(0);
  w.thread([&] { booked->cancel(); });
  w.thread([&] {
    time.set(20);
    granted += bucket.try_acquire() ? 1 : 0;
    granted += bucket.try_acquire() ? 1 : 0;
  });
  w.after([&] {
    expect(granted >= 1 && granted <= 2);
    const auto left = bucket.available_at(at(20));
    expect(granted + left == 1 || granted + left == 2, "given back before its time has come, or used up");
  });
}
const scenario cancelled_late_{"token_bucket",
                               "a booking cancelled after its time gives nothing back, and never two",
                               everything, cancelled_late};

}  // namespace
