// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the batcher would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <vector>

#include <weir/batcher.hpp>
#include <weir/testing/manual_clock.hpp>

#include "batcher/support.hpp"
#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using namespace batcher_test;
using weir::batcher;
using weir::refusal;
using weir::refusal_reason;
using weir::testing::manual_clock;

namespace {

using clocked = batcher<int, int, manual_clock::view>;
using batches = std::vector<std::vector<int>>;

/// Each request weighs its number; a batch weighs 8 at most.
weir::batcher_options<int> by_weight(std::size_t max_waiting = 100) {
  return {.max_waiting = max_waiting, .linger = 1h, .max_weight = 8, .weigh = [](const int& n) {
            return static_cast<std::uint64_t>(n);
          }};
}

/// Asks whenever it is moved.
struct inquisitive {
  explicit inquisitive(const std::function<void()>& a) : ask{&a} {}
  inquisitive(inquisitive&& other) noexcept : ask{other.ask} { (*ask)(); }
  inquisitive& operator=(inquisitive&&) = delete;
  ~inquisitive() = default;
  const std::function<void()>* ask;
};

}  // namespace

TEST_CASE("the defaults of the batcher are those that are documented", "[batcher]") {
  const auto made = [](auto o) { return o; };  // not at compile time
  CHECK(made(weir::batcher_options<int>{}).max_batch == 256);
  CHECK(made(weir::batcher_options<int>{}).max_waiting == 4096);
}

TEST_CASE("a weight is the greatest that cannot overflow among all who wait", "[batcher]") {
  const auto nothing = [](std::span<int_item>) {};
  constexpr auto most = std::numeric_limits<std::uint64_t>::max() / 4;
  auto options = by_weight(4);
  options.max_weight = most;
  CHECK_NOTHROW(batcher<int, int>{options, nothing});
  options.max_weight = most + 1;
  CHECK_THROWS_AS((batcher<int, int>{options, nothing}), std::invalid_argument);
}

TEST_CASE("whatever the second answer is, it is one too many", "[batcher]") {
  int refused = 0;
  const auto twice = [&](auto& item, auto&& again) {
    try {
      again(item);
    } catch (const std::logic_error&) {
      ++refused;
    }
  };
  const auto refuse = [](auto& i) { i.set_refusal(refusal{refusal_reason::busy}); };
  const auto fail = [](auto& i) { i.set_exception(std::make_exception_ptr(1)); };
  batcher<int, int> values{{}, [&](std::span<int_item> batch) {
                             batch[0].set_value(7);
                             twice(batch[0], refuse);
                             twice(batch[0], fail);
                           }};
  CHECK(*values.submit(1) == 7);
  using void_item = weir::batch_item<int, void>;
  batcher<int, void> nothings{{}, [&](std::span<void_item> batch) {
                                batch[0].set_refusal(refusal{refusal_reason::busy});
                                twice(batch[0], [](void_item& i) { i.set_value(); });
                              }};
  CHECK(nothings.submit(1).error() == refusal{refusal_reason::busy});
  CHECK(refused == 3);
}

TEST_CASE("a request that was given up before it came is counted as abandoned", "[batcher]") {
  batcher<int, int> b{{}, [](std::span<int_item>) {}};
  std::stop_source stop;
  stop.request_stop();
  CHECK(b.submit(1, {}, stop.get_token()).error() == refusal{refusal_reason::cancelled});
  CHECK(b.stats().abandoned == 1);
}

TEST_CASE("a batch is full by its weight too, and what has left it weighs no more", "[batcher]") {
  manual_clock clock;
  held_call held;
  clocked b{by_weight(), held.call(), clock.source()};
  auto first = in_thread([&] { return b.submit(8); });
  held.entered.wait();
  auto four = in_thread([&] { return b.submit(4); });
  await_waiting(b, 1);
  auto three = in_thread([&] { return b.submit(3); });
  await_waiting(b, 2);
  SECTION("one that comes while it is short of one") {
    held.release.count_down();
    clock.await_sleepers(1);  // they linger
    auto last = in_thread([&] { return b.submit(1); });
    CHECK(*last.get() == 10);
    CHECK(*four.get() == 40);
    CHECK(held.batches == batches{{8}, {4, 3, 1}});
  }
  SECTION("before it is formed") {
    auto last = in_thread([&] { return b.submit(1); });
    await_waiting(b, 3);
    held.release.count_down();
    CHECK(*last.get() == 10);
    CHECK(*four.get() == 40);
    CHECK(held.batches == batches{{8}, {4, 3, 1}});
  }
  CHECK(*three.get() == 30);
  CHECK(*first.get() == 80);
  CHECK(b.stats().waiting == 0);
}

TEST_CASE("a close finds nobody to wake in a batcher that rests", "[batcher]") {
  manual_clock clock;
  held_call held;
  clocked unused{by_weight(), held.call(), clock.source()};
  unused.close();
  CHECK(unused.is_closed());

  clocked used{by_weight(), held.call(), clock.source()};
  auto first = in_thread([&] { return used.submit(8); });
  held.entered.wait();
  auto one = in_thread([&] { return used.submit(1); });
  await_waiting(used, 1);
  auto two = in_thread([&] { return used.submit(2); });
  await_waiting(used, 2);
  held.release.count_down();
  clock.await_sleepers(1);
  clock.advance(1h);
  CHECK(*one.get() == 10);
  CHECK(*two.get() == 20);
  CHECK(*first.get() == 80);
  used.close();
  CHECK(used.submit(1).error() == weir::refused_for_ever(refusal_reason::closed));
}

TEST_CASE("an answer may ask the batcher on its way to the caller", "[batcher]") {
  using item = weir::batch_item<int, inquisitive>;
  std::function<void()> ask = [] {};
  batcher<int, inquisitive> b{{}, [&](std::span<item> batch) { batch[0].set_value(inquisitive{ask}); }};
  std::uint64_t served = 0;
  ask = [&] { served = b.stats().requests; };
  CHECK(b.submit(1));
  CHECK(served == 1);
}

TEST_CASE("a linger that the clock cannot time is over, also for who closes later", "[batcher]") {
  const std::function<void()> nothing = [] {};
  held_call held;
  auto options = by_weight();
  batcher<int, int, weir_test::broken_clock> b{options, held.call(), weir_test::broken_clock{&nothing}};
  auto first = in_thread([&] { return b.submit(8); });
  held.entered.wait();
  auto one = in_thread([&] { return b.submit(1); });
  await_waiting(b, 1);
  auto two = in_thread([&] { return b.submit(2); });
  await_waiting(b, 2);
  held.release.count_down();
  CHECK(*one.get() == 10);
  CHECK(*two.get() == 20);
  CHECK(*first.get() == 80);
  CHECK(held.batches == batches{{8}, {1, 2}});
  b.close();  // finds nobody to wake
  CHECK(b.submit(1).error() == weir::refused_for_ever(refusal_reason::closed));
}
