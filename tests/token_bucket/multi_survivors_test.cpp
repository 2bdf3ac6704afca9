// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of several bandwidths would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/detail/bandwidth_core.hpp>
#include <weir/multi_token_bucket.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::bandwidth;
using weir::duration;
using weir::held_tokens;
using weir::rate;
using weir::time_point;
using weir::detail::bandwidth_core;
using weir::testing::manual_clock;

namespace {

using bucket_type = weir::basic_multi_token_bucket<manual_clock::view>;

constexpr time_point at(std::int64_t nanoseconds) { return time_point{duration{nanoseconds}}; }

const bandwidth quick{.rate = {1, 10ns}, .burst = 3};

bandwidth all_at_once(std::int64_t refill, duration period, std::int64_t burst, time_point first) {
  return {.rate = {refill, period}, .burst = burst, .refill_at = first};
}

}  // namespace

TEST_CASE("a booking may act at the end of time, and not after it", "[multi_token_bucket]") {
  const time_point end = time_point::max();
  const bandwidth_core even{{{.rate = {1, 10ns}, .burst = 3, .initial = 0}}, end - 20ns};
  CHECK(even.fits_at(end - 20ns, 2)->ceil() == end);
  CHECK_FALSE(even.fits_at(end - 20ns, 3));
  bandwidth_core lumps{{all_at_once(1, 10ns, 3, end - 10ns)}, end - 25ns};
  lumps.take(end - 25ns, 3);
  CHECK(lumps.fits_at(end - 25ns, 1)->ceil() == end - 10ns);
  CHECK_FALSE(lumps.fits_at(end - 25ns, 3));
  lumps.take(end, 2);
  CHECK(lumps.tokens(end) == 0);
  CHECK_FALSE(lumps.fits_at(end, 1));
  // In all of time, longer than a duration, they come once.
  bandwidth_core all{{all_at_once(5, 1ns, 5, time_point::min())}, time_point::min()};
  all.take(time_point::min(), 5);
  all.take(end, 5);
  CHECK(all.tokens(end) == 0);
}

TEST_CASE("what comes all at once is bounded by itself, not by how long it takes", "[multi_token_bucket]") {
  constexpr std::int64_t most = std::int64_t{1} << 61;
  CHECK_NOTHROW(weir::multi_token_bucket{{all_at_once(1, 24h, 1'000'000'000, {})}});
  CHECK_NOTHROW(weir::multi_token_bucket{{all_at_once(most, 24h, most, {})}});
  CHECK_THROWS_AS(weir::multi_token_bucket{{all_at_once(most + 1, 24h, most, {})}}, std::invalid_argument);
  CHECK_THROWS_AS(weir::multi_token_bucket{{all_at_once(1, 24h, most + 1, {})}}, std::invalid_argument);
}

TEST_CASE("what has come all at once is there, though nobody asked in between", "[multi_token_bucket]") {
  bandwidth_core core{{all_at_once(2, 100ns, 5, at(100))}, at(0)};
  core.take(at(0), 5);
  CHECK(core.fits_at(at(0), 3)->ceil() == at(200));
  CHECK(core.fits_at(at(150), 2)->ceil() == at(150));
  CHECK(core.fits_at(at(150), 3)->ceil() == at(200));
  CHECK(core.tokens(at(399)) == 5);
  CHECK(core.tokens(at(299)) == 4);
}

TEST_CASE("a band that did not start full, or was prorated, is as new only if a new one would be as full",
          "[multi_token_bucket]") {
  manual_clock clock;
  const auto as_new = [&](const bandwidth& b, time_point t) {
    return bucket_type{{b}, clock.source()}.is_as_new_at(t);
  };
  CHECK_FALSE(as_new({.rate = {1, 10ns}, .burst = 3, .initial = 1}, clock.now()));
  bandwidth b = all_at_once(5, 100ns, 5, at(1000));
  CHECK(as_new(b, clock.now()));
  b.prorated = true;
  CHECK_FALSE(as_new(b, clock.now()));
  b.initial = 5;
  CHECK(as_new(b, clock.now()));
  b.initial = 2;
  CHECK_FALSE(as_new(b, clock.now()));
  CHECK_FALSE(as_new(b, at(1'000'000)));
  bucket_type used{{all_at_once(5, 100ns, 5, at(0))}, clock.source()};
  CHECK(used.try_acquire());
  CHECK_FALSE(used.is_as_new_at(at(99)));
  CHECK(used.is_as_new_at(at(100)));
}

TEST_CASE("a surplus is lost when the bands change, and every band is carried on", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick, {.rate = {1, 100ns}, .burst = 9}}, clock.source()};
  bucket.force_add(20);
  CHECK(bucket.available_approx() == 23);
  bucket.reconfigure({{.rate = {1, 10ns}, .burst = 30}, {.rate = {1, 100ns}, .burst = 30}});
  CHECK(bucket.available_approx() == 3);
  bucket.add(30);
  CHECK(bucket.try_acquire(28));
  CHECK(bucket.available_approx() == 2);
  clock.advance(1000ns);  // the second has 12 then, the first is full
  bucket.reconfigure({{.rate = {1, 10ns}, .burst = 40}, {.rate = {1, 100ns}, .burst = 40}});
  CHECK(bucket.available_approx() == 12);
}

TEST_CASE("a band that came evenly comes all at once after a change, and the other way round",
          "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick}, clock.source()};
  CHECK(bucket.try_acquire(2));
  bucket.reconfigure({all_at_once(2, 1us, 3, at(1000))});
  clock.set(at(999));
  CHECK(bucket.available_approx() == 1);
  clock.set(at(1000));
  CHECK(bucket.available_approx() == 3);
  CHECK(bucket.try_acquire(3));
  bucket.reconfigure({quick});
  clock.set(at(1010));
  CHECK(bucket.available_approx() == 1);
}

TEST_CASE("while somebody waits a bucket is neither full nor as new, whatever was given to it",
          "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{{.rate = {1, 10ns}, .burst = 3}}, clock.source()};
  CHECK(bucket.try_acquire(3));
  auto booked = bucket.reserve(1);
  bucket.add(3);
  CHECK_FALSE(bucket.is_full_at(clock.now()));
  CHECK_FALSE(bucket.is_as_new_at(clock.now()));
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.is_full_at(booked->act_at()));
  CHECK(bucket.is_as_new_at(booked->act_at()));
  std::move(*booked).use();
}

TEST_CASE("a clock that steps back behind a booking finds it waited for still", "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{{.rate = {1, 100ns}, .burst = 3, .initial = 0}}, clock.source()};
  auto first = bucket.reserve(1);
  auto second = bucket.reserve(2);
  clock.set(at(200));
  second->cancel();
  std::move(*first).use();
  clock.set(at(50));
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.try_acquire().error().retry_after == 150ns);
  clock.set(at(200));
  CHECK(bucket.available_approx() == 1);
}

TEST_CASE("an observer of several bands is told of each grant and each refusal", "[multi_token_bucket]") {
  struct listener {
    std::vector<std::uint64_t>* grants;
    std::vector<weir::refusal>* refusals;
    void on_granted(std::uint64_t n) const noexcept { grants->push_back(n); }
    void on_refused(const weir::refusal& why) const noexcept { refusals->push_back(why); }
  };
  manual_clock clock;
  std::vector<std::uint64_t> grants;
  std::vector<weir::refusal> refusals;
  weir::basic_multi_token_bucket bucket{std::vector<bandwidth>{quick}, clock.source(),
                                        listener{&grants, &refusals}};
  CHECK(bucket.try_acquire());
  CHECK(bucket.acquire());
  std::move(*bucket.reserve()).use();
  CHECK(bucket.available_approx() == 0);
  CHECK(bucket.try_acquire(0));
  CHECK_FALSE(bucket.try_acquire());
  CHECK_FALSE(bucket.reserve(2, 19ns));
  CHECK_FALSE(bucket.acquire_for(2, 19ns));
  CHECK_FALSE(bucket.acquire(4));
  CHECK(grants == std::vector<std::uint64_t>{1, 1, 1, 0});
  CHECK(refusals == std::vector<weir::refusal>{{weir::refusal_reason::rate_limited, 10ns},
                                               {weir::refusal_reason::timed_out, 20ns},
                                               {weir::refusal_reason::timed_out, 20ns},
                                               {weir::refusal_reason::exceeds_capacity, std::nullopt}});
}

TEST_CASE("a wait for several bands may be just as long as it is, and none is needed for what is there",
          "[multi_token_bucket]") {
  manual_clock clock;
  bucket_type bucket{{quick}, clock.source()};
  auto there = bucket.reserve(3, -1ns);
  REQUIRE(there);
  CHECK(there->act_at() == clock.now());
  auto first = bucket.reserve(2, 20ns);
  REQUIRE(first);
  first->cancel();
  clock.set(at(10));
  auto nothing = bucket.reserve(0);
  REQUIRE(nothing);
  CHECK(nothing->act_at() == at(10));
  nothing->cancel();
  CHECK(bucket.available_approx() == 1);
  auto later = bucket.reserve(2);
  *there = std::move(*later);
  CHECK(there->act_at() == at(20));
  std::move(*there).use();
  CHECK(bucket.stats().used == 1);
}

TEST_CASE("whatever changes a bucket of several bands, a clock that steps back finds it as it was then",
          "[multi_token_bucket]") {
  manual_clock clock{at(100)};
  bucket_type bucket{{{.rate = {1, 10ns}, .burst = 9, .initial = 0}}, clock.source()};
  clock.set(at(150));
  SECTION("a grant") { CHECK(bucket.try_acquire(1)); }
  SECTION("a booking") { std::move(*bucket.reserve(1)).use(); }
  SECTION("a gift") {
    bucket.add(1);
    CHECK(bucket.try_acquire_at(at(150), 2));
  }
  SECTION("other bands") {
    bucket.reconfigure({{.rate = {1, 10ns}, .burst = 8}});
    CHECK(bucket.try_acquire_at(at(0), 1));
  }
  clock.set(at(120));
  CHECK(bucket.available_approx() == 4);
  bucket.reconfigure({{.rate = {1, 10ns}, .burst = 7}});
  CHECK(bucket.available_at(at(150)) == 4);
  CHECK(bucket.reserve(5)->act_at() == at(160));
}
