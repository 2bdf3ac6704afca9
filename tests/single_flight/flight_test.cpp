// SPDX-License-Identifier: BSL-1.0
// The rows of HG-04.
#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <concepts>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

#include "support.hpp"

using namespace std::chrono_literals;
using weir::deadline;
using weir::outcome;
using weir::refusal;
using weir::refusal_reason;
using weir::time_point;
using weir_test::await_joined;
using weir_test::callers;
using weir_test::flights;
using weir_test::manual_clock;

static_assert(!std::is_copy_constructible_v<flights> && !std::is_move_constructible_v<flights>);

namespace {

/// Made from whatever there is, as std::any is.
struct anything {
  template <class T>
    requires(!std::same_as<std::remove_cvref_t<T>, anything>)
  anything(const T& from) {  // NOLINT(google-explicit-constructor)
    if constexpr (std::same_as<T, int>) number = from;
  }
  int number = 0;
};

int never() { throw std::logic_error{"must not be called"}; }

}  // namespace

TEST_CASE("one caller makes one call and shares it with nobody", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  const auto got = f.run(1, [] { return 7; });
  CHECK(got->value == 7);
  CHECK_FALSE(got->shared);
  CHECK(f.stats().led == 1);
}

TEST_CASE("ten callers of a key while it runs share one call", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::optional<callers> others;
  const auto led = f.run(1, [&] {
    others.emplace(f, 9);
    await_joined(f, 9);
    CHECK(f.stats().in_flight == 1);
    return 7;
  });
  CHECK(led->value == 7);
  CHECK(led->shared);
  for (const auto& g : others->join()) {
    REQUIRE(g.answer);
    CHECK((*g.answer)->value == 7);
    CHECK((*g.answer)->shared);
  }
  CHECK(f.stats().led == 1);
  CHECK(f.stats().in_flight == 0);
}

TEST_CASE("two keys are independent, and one may ask for the other", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  const auto got = f.run(1, [&] { return f.run(2, [] { return 2; })->value + 1; });
  CHECK(got->value == 3);
  CHECK(f.stats().led == 2);
}

TEST_CASE("a refusal is the answer of all, and the next caller calls again", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  const refusal busy{refusal_reason::busy, 3s};
  std::optional<callers> others;
  const auto led = f.run(1, [&]() -> outcome<int> {
    others.emplace(f, 3);
    await_joined(f, 3);
    return busy;
  });
  CHECK(led.error() == busy);
  for (const auto& g : others->join()) CHECK(g.answer->error() == busy);
  CHECK(f.run(1, [] { return outcome<int>{8}; })->value == 8);
  CHECK(f.stats().failed == 1);
}

TEST_CASE("an exception reaches all five callers, and the next caller calls again", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::optional<callers> others;
  CHECK_THROWS_AS(f.run(1,
                        [&]() -> int {
                          others.emplace(f, 4);
                          await_joined(f, 4);
                          throw std::runtime_error{"down"};
                        }),
                  std::runtime_error);
  for (const auto& g : others->join()) {
    REQUIRE(g.error);
    CHECK_THROWS_AS(std::rethrow_exception(g.error), std::runtime_error);
  }
  CHECK(f.run(1, [] { return 8; })->value == 8);
}

TEST_CASE("after forget the next caller has a call of its own, those from before keep theirs",
          "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::optional<callers> before;
  std::optional<outcome<weir::flown<int>>> after;
  CHECK_FALSE(f.forget(1));
  const auto led = f.run(1, [&] {
    before.emplace(f, 1);
    await_joined(f, 1);
    CHECK(f.forget(1));
    CHECK_FALSE(f.forget(1));
    std::thread{[&] { after = f.run(1, [] { return 8; }); }}.join();
    return 7;
  });
  CHECK(led->value == 7);
  CHECK((*before->join()[0].answer)->value == 7);
  CHECK((*after)->value == 8);
  CHECK_FALSE((*after)->shared);
}

TEST_CASE("one of three waiters cancels: it alone is refused", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source stop;
  std::optional<callers> one;
  std::optional<callers> two;
  (void)f.run(1, [&] {
    one.emplace(f, 1, deadline{}, stop.get_token());
    two.emplace(f, 2);
    await_joined(f, 3);
    stop.request_stop();
    CHECK(one->join()[0].answer->error().reason == refusal_reason::cancelled);
    return 7;
  });
  for (const auto& g : two->join()) CHECK((*g.answer)->value == 7);
  CHECK(f.stats().led == 1);
  CHECK(f.stats().abandoned == 1);
}

TEST_CASE("a waiter leaves exactly at its deadline", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  (void)f.run(1, [&] {
    callers hasty{f, 1, time_point{5s}};
    await_joined(f, 1);
    clock.await_sleepers(1);
    clock.advance(5s);
    CHECK(hasty.join()[0].answer->error().reason == refusal_reason::timed_out);
    return 7;
  });
}

TEST_CASE("when all who wanted it cancel, the work is stopped and the key is free", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source leader;
  std::stop_source waiters;
  std::optional<callers> others;
  SECTION("the leader first: the work goes on for the others until they go too") {
    (void)f.run(
        1,
        [&](const int&, std::stop_token work) {
          others.emplace(f, 2, deadline{}, waiters.get_token());
          await_joined(f, 2);
          leader.request_stop();
          CHECK_FALSE(work.stop_requested());
          waiters.request_stop();
          others->join();
          CHECK(work.stop_requested());
          CHECK(f.stats().in_flight == 0);
          return 7;
        },
        {}, leader.get_token());
  }
  SECTION("the leader last") {
    (void)f.run(
        1,
        [&](std::stop_token work) {
          others.emplace(f, 2, deadline{}, waiters.get_token());
          await_joined(f, 2);
          waiters.request_stop();
          others->join();
          CHECK_FALSE(work.stop_requested());
          leader.request_stop();
          CHECK(work.stop_requested());
          return 7;
        },
        {}, leader.get_token());
  }
}

TEST_CASE("a leader that cancels stays to the end and gets the value, and so do the others",
          "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source leader;
  std::optional<callers> others;
  const auto led = f.run(
      1,
      [&] {
        others.emplace(f, 2);
        await_joined(f, 2);
        leader.request_stop();
        return 7;
      },
      {}, leader.get_token());
  CHECK(led->value == 7);
  for (const auto& g : others->join()) CHECK((*g.answer)->value == 7);
  CHECK(f.stats().led == 1);
}

TEST_CASE("a call that cannot be stopped keeps its key when its caller is", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::stop_source leader;
  std::optional<callers> other;
  const auto led = f.run(
      1,
      [&] {
        leader.request_stop();
        CHECK(f.stats().in_flight == 1);
        other.emplace(f, 1);
        await_joined(f, 1);
        return 7;
      },
      {}, leader.get_token());
  CHECK(led->shared);
  CHECK((*other->join()[0].answer)->value == 7);
}

TEST_CASE("a value that can hold anything does not swallow the refusal of a call", "[single_flight]") {
  weir::single_flight<int, anything> f;
  using answer = outcome<anything>;
  const auto refused = f.run(1, []() -> answer { return refusal{refusal_reason::busy}; });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == refusal_reason::busy);
  CHECK(f.run(1, [] { return refusal{refusal_reason::full}; }).error().reason == refusal_reason::full);
  CHECK(f.run(1, []() -> answer { return anything{7}; })->value.number == 7);
  CHECK(f.run(1, [] { return 7; })->value.number == 7);
}

TEST_CASE("a call that asks for its own key gets an error, not a deadlock", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  std::string what;
  const auto got = f.run(1, [&] {
    try {
      (void)f.run(1, never);
    } catch (const std::logic_error& e) {
      what = e.what();
    }
    return 7;
  });
  CHECK(what == "single_flight: a call for a key must not ask for the same key again from inside");
  CHECK(got->value == 7);
  CHECK_FALSE(got->shared);
  CHECK(f.stats().joined == 0);
}

TEST_CASE("a result is kept for no time at all", "[single_flight]") {
  manual_clock clock;
  flights f{clock.source()};
  int calls = 0;
  for (int n = 0; n < 3; ++n) CHECK(f.run(1, [&] { return ++calls; })->value == n + 1);
}

TEST_CASE("a caller that comes too late starts nothing", "[single_flight]") {
  manual_clock clock{time_point{5s}};
  flights f{clock.source()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(f.run(1, never, time_point{5s}).error().reason == refusal_reason::timed_out);
  CHECK(f.run(1, never, {}, stop.get_token()).error().reason == refusal_reason::cancelled);
  CHECK(f.stats().led == 0);
}

TEST_CASE("a transparent hash and equality find a flight without making a key", "[single_flight]") {
  struct transparent {
    struct hash {
      using is_transparent = void;
      std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    using equal = std::equal_to<>;
  };
  weir::single_flight<std::string, std::size_t, weir::steady_clock, transparent> f;
  const auto got = f.run(std::string_view{"abc"}, [&](const std::string& key) {
    CHECK(f.forget(std::string_view{"abc"}));
    return key.size();
  });
  CHECK(got->value == 3);
}
