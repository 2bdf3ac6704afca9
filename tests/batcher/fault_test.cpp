// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include <weir/batcher.hpp>

#include "batcher/support.hpp"

using namespace batcher_test;
using weir::batch_item;
using weir::batcher;

namespace {

struct moved_once_too_often : std::exception {};

/// Throws on the k-th move from its making on.
struct fragile {
  int value = 0;
  int moves_left = 1000;

  fragile(int v, int moves) : value{v}, moves_left{moves} {}
  fragile(fragile&& other) : value{other.value}, moves_left{other.moves_left - 1} {
    if (other.moves_left == 0) throw moved_once_too_often{};
  }
  fragile& operator=(fragile&&) = delete;
};

}  // namespace

TEST_CASE("a throw of the call reaches those without an answer and nobody else", "[batcher]") {
  held_call held;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) {
                        if (batch.size() == 1) return held.call()(batch);
                        batch[1].set_value(1);
                        throw std::runtime_error{"half way"};
                      }};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (int n = 0; n < 3; ++n) {
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, static_cast<std::size_t>(n + 1));
  }
  held.release.count_down();
  (void)first.get();
  CHECK_THROWS_AS(others[0].get(), std::runtime_error);
  CHECK(*others[1].get() == 1);
  CHECK_THROWS_AS(others[2].get(), std::runtime_error);
}

TEST_CASE("a call may reorder its items, and one that it overwrites is still told that it has no answer",
          "[batcher]") {
  held_call held;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) {
                        if (batch.size() == 1) return held.call()(batch);
                        const auto even = std::remove_if(batch.begin(), batch.end(), [](const int_item& i) {
                          return i.request() % 2 != 0;
                        });
                        for (auto i = batch.begin(); i != even; ++i) i->set_value(i->request());
                      }};
  auto first = in_thread([&] { return b.submit(0); });
  held.entered.wait();
  std::vector<std::future<weir::outcome<int>>> others;
  for (int n = 1; n <= 4; ++n) {
    others.push_back(in_thread([&b, n] { return b.submit(n); }));
    await_waiting(b, static_cast<std::size_t>(n));
  }
  held.release.count_down();
  (void)first.get();
  CHECK_THROWS_AS(others[0].get(), std::logic_error);
  CHECK(*others[1].get() == 2);
  CHECK_THROWS_AS(others[2].get(), std::logic_error);
  CHECK(*others[3].get() == 4);
}

TEST_CASE("after a throw of the call the next caller is served", "[batcher]") {
  bool broken = true;
  batcher<int, int> b{{}, [&](std::span<int_item> batch) {
                        if (broken) throw std::runtime_error{"down"};
                        batch[0].set_value(1);
                      }};
  CHECK_THROWS_AS(b.submit(0), std::runtime_error);
  broken = false;
  CHECK(*b.submit(0) == 1);
}

TEST_CASE("a result that throws at any of its moves reaches its own caller, and the others are served",
          "[batcher]") {
  int thrown = 0;
  for (int moves = 0;; ++moves) {
    std::latch entered{1};
    std::latch release{1};
    batcher<int, fragile> b{{}, [&](std::span<batch_item<int, fragile>> batch) {
                              if (batch[0].request() == 0) {
                                entered.count_down();
                                release.wait();
                              }
                              for (auto& i : batch) {
                                try {
                                  i.set_value(fragile{i.request(), i.request() == 2 ? moves : 1000});
                                } catch (...) {
                                  i.set_exception(std::current_exception());
                                }
                              }
                            }};
    const auto value = [&b](int n) { return (*b.submit(n)).value; };
    auto first = in_thread([&] { return value(0); });
    entered.wait();
    auto leader = in_thread([&] { return value(1); });
    await_waiting(b, 1);
    auto struck = in_thread([&] { return value(2); });
    await_waiting(b, 2);
    release.count_down();
    CHECK(first.get() == 0);
    CHECK(leader.get() == 1);
    try {
      const int got = struck.get();
      CHECK(got == 2);
      break;
    } catch (const moved_once_too_often&) {
      ++thrown;
    }
    CHECK(value(3) == 3);
  }
  CHECK(thrown >= 2);  // in set_value, and on the way home
}

TEST_CASE("a weigher that throws leaves no trace", "[batcher]") {
  batcher<int, int> b{{.max_weight = 5,
                       .weigh = [](const int& n) -> std::uint64_t {
                         if (n < 0) throw std::domain_error{"no weight"};
                         return 1;
                       }},
                      [](std::span<int_item> batch) { batch[0].set_value(1); }};
  CHECK_THROWS_AS(b.submit(-1), std::domain_error);
  CHECK(b.stats().waiting == 0);
  CHECK(*b.submit(1) == 1);
}

namespace {

/// A clock that cannot keep a timer: every bounded wait on it throws.
struct broken_clock {
  [[nodiscard]] weir::time_point now() const noexcept { return {}; }
  void wake_at(weir::time_point, weir::timer_target&) const { throw std::bad_alloc{}; }
  void forget(weir::timer_target&) const noexcept {}
};

}  // namespace

TEST_CASE("a wait that cannot be entered throws to its caller and leaves nothing in the queue", "[batcher]") {
  using namespace std::chrono_literals;
  held_call held;
  batcher<int, int, broken_clock> b{{.linger = 1h}, held.call()};
  auto first = in_thread([&] { return b.submit(1); });
  held.entered.wait();
  auto second = in_thread([&] { return b.submit(2); });
  await_waiting(b, 1);
  CHECK_THROWS_AS(b.submit(3, weir::time_point{2h}), std::bad_alloc);
  CHECK(b.stats().waiting == 1);
  auto third = in_thread([&] { return b.submit(4); });
  await_waiting(b, 2);
  held.release.count_down();
  CHECK(*first.get() == 10);
  CHECK(*second.get() == 20);  // and a linger that cannot be entered is none
  CHECK(*third.get() == 40);
}
