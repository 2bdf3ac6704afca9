// SPDX-License-Identifier: BSL-1.0
// Successes that are counted without the lock, and refusals.
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/detail/success_stripes.hpp>
#include <weir/detail/thread_slot.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::breaker_state;
using weir::detail::success_stripes;
using weir::testing::manual_clock;

namespace {

using breaker_type = weir::basic_circuit_breaker<manual_clock::view>;

void pass(breaker_type& breaker, int times = 1) {
  for (int i = 0; i < times; ++i) std::move(*breaker.try_acquire()).success();
}
void fail(breaker_type& breaker, int times = 1) {
  for (int i = 0; i < times; ++i) std::move(*breaker.try_acquire()).failure();
}

}  // namespace

TEST_CASE("a line counts for one serial, and no more once it is closed", "[circuit_breaker]") {
  success_stripes lines;
  CHECK_FALSE(lines.count(1));  // nobody has armed it
  lines.join();
  lines.arm(1);
  CHECK(lines.armed(1));
  CHECK(lines.count(1));
  CHECK_FALSE(lines.count(2));
  CHECK_FALSE(lines.count(0));
  CHECK(lines.drain() == 1);
  CHECK(lines.drain() == 0);
  CHECK(lines.count(1));
  CHECK(lines.close() == 1);
  CHECK_FALSE(lines.armed(1));
  CHECK_FALSE(lines.count(1));
  CHECK(lines.close() == 0);
  lines.arm(2);
  CHECK_FALSE(lines.count(1));
  CHECK(lines.count(2));
  CHECK(lines.drain() == 1);
}

TEST_CASE("a line that nobody has joined stays closed", "[circuit_breaker]") {
  success_stripes lines;
  lines.arm(1);
  CHECK_FALSE(lines.count(1));
  CHECK(lines.close() == 0);
}

TEST_CASE("a serial that does not fit into a line arms none", "[circuit_breaker]") {
  success_stripes lines;
  lines.join();
  constexpr std::uint64_t last = (std::uint64_t{1} << 48) - 1;
  lines.arm(last);
  CHECK(lines.count(last));
  CHECK(lines.close() == 1);
  lines.arm(last + 1);
  CHECK_FALSE(lines.count(last + 1));
  CHECK_FALSE(lines.count(0));
}

TEST_CASE("the lines of all threads are armed, drained and closed", "[circuit_breaker]") {
  constexpr int threads = 12;  // more than there are lines
  success_stripes lines;
  std::barrier step{threads + 1};
  std::mutex one;  // join is for who holds the owner's lock
  std::array<bool, threads> before{}, counted{}, after{};
  std::array<std::uint64_t, 3> sums{};
  {
    std::vector<std::jthread> workers;
    for (std::size_t i = 0; i < threads; ++i) {
      workers.emplace_back([&, i] {
        {
          const std::lock_guard lock{one};
          lines.join();
        }
        step.arrive_and_wait();  // all live: each has a number of its own
        before[i] = lines.count(7);
        step.arrive_and_wait();
        step.arrive_and_wait();  // armed
        counted[i] = lines.count(7);
        step.arrive_and_wait();
        step.arrive_and_wait();  // drained
        counted[i] = counted[i] && lines.count(7);
        step.arrive_and_wait();
        step.arrive_and_wait();  // closed
        after[i] = lines.count(7);
      });
    }
    step.arrive_and_wait();
    step.arrive_and_wait();
    lines.arm(7);
    step.arrive_and_wait();
    step.arrive_and_wait();
    sums[0] = lines.drain();
    sums[1] = lines.drain();
    step.arrive_and_wait();
    step.arrive_and_wait();
    sums[2] = lines.close();
    step.arrive_and_wait();
  }
  for (std::size_t i = 0; i < threads; ++i) {
    CHECK_FALSE(before[i]);
    CHECK(counted[i]);
    CHECK_FALSE(after[i]);
  }
  CHECK(sums == std::array<std::uint64_t, 3>{threads, 0, threads});
}

TEST_CASE("a line that is full counts no more until it is drained", "[circuit_breaker]") {
  success_stripes lines;
  lines.join();
  lines.arm(1);
  std::uint64_t counted = 0;
  while (lines.count(1)) ++counted;
  CHECK(counted == 65'535);
  CHECK_FALSE(lines.armed(1));
  CHECK(lines.drain() == counted);
  CHECK(lines.count(1));
}

TEST_CASE("more successes than a line holds are all in the counts", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{100'000}}, clock.source()};
  pass(breaker, 150'000);
  CHECK(breaker.stats().successes == 150'000);
  CHECK(breaker.stats().window_calls == 100'000);
}

TEST_CASE("successes push failures out of the window", "[circuit_breaker][window]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{10}, .failure_rate = {60}}, clock.source()};
  pass(breaker, 5);
  fail(breaker, 5);
  CHECK(breaker.stats().window_failed == 5);
  pass(breaker, 7);
  CHECK(breaker.stats().window_failed == 3);
  fail(breaker, 2);
  CHECK(breaker.stats().window_failed == 3);
  pass(breaker, 1000);
  CHECK(breaker.stats().window_failed == 0);
  CHECK(breaker.stats().window_calls == 10);
  fail(breaker, 5);
  CHECK(breaker.state() == breaker_state::closed);
  fail(breaker);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("the first success under stricter options opens it, if the window is over them",
          "[circuit_breaker]") {
  manual_clock clock;
  const auto options = [](std::uint32_t percent) {
    return weir::circuit_breaker_options{.window = weir::count_window{10}, .failure_rate = {percent}};
  };
  breaker_type breaker{options(60), clock.source()};
  pass(breaker, 5);
  fail(breaker, 5);
  breaker.reconfigure(options(40));
  CHECK(breaker.state() == breaker_state::closed);
  pass(breaker);
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("a permit of before other options still counts, by the new ones", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::consecutive_failures{3}}, clock.source()};
  pass(breaker);
  auto good = breaker.try_acquire();
  auto bad = breaker.try_acquire();
  breaker.reconfigure({.window = weir::consecutive_failures{1}});
  std::move(*good).success();
  CHECK(breaker.stats().successes == 2);
  CHECK(breaker.stats().late == 0);
  std::move(*bad).failure();
  CHECK(breaker.state() == breaker_state::open);
}

TEST_CASE("as new is exact while successes are on their lines", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::time_window{10s}}, clock.source()};
  pass(breaker, 3);
  clock.advance(1s);
  pass(breaker, 3);
  CHECK_FALSE(breaker.is_as_new_at(clock.now()));
  CHECK_FALSE(breaker.is_as_new_at(clock.now() + 9s));
  CHECK(breaker.is_as_new_at(clock.now() + 10s));
  breaker.reset();
  CHECK(breaker.is_as_new_at(clock.now()));
  pass(breaker);
  CHECK_FALSE(breaker.is_as_new_at(clock.now()));
}

TEST_CASE("a look at the counts changes nothing", "[circuit_breaker]") {
  manual_clock clock;
  breaker_type breaker{{.window = weir::time_window{10s}, .minimum_calls = 2, .open_for = 1s},
                       clock.source()};
  pass(breaker);
  clock.advance(9s);
  CHECK(breaker.stats().window_calls == 1);
  clock.set(weir::time_point{});
  CHECK(breaker.stats().window_calls == 1);
  fail(breaker);  // at 0, where the success stands
  CHECK(breaker.state() == breaker_state::open);
  CHECK(breaker.try_acquire().error().retry_after == 1s);
}

TEST_CASE("threads that live at the same time have different numbers", "[thread_slot]") {
  constexpr std::size_t threads = 70;  // more than there are numbers
  std::array<int, threads> slots{};
  std::latch all{threads};
  {
    std::vector<std::jthread> workers;
    for (int& slot : slots) {
      workers.emplace_back([&] {
        slot = weir::detail::thread_slot();
        all.arrive_and_wait();
        if (slot != weir::detail::thread_slot()) slot = -1;
      });
    }
  }
  std::array<int, weir::detail::shared_slot + 1> holders{};
  for (const int slot : slots) {
    REQUIRE(slot >= 0);
    ++holders[static_cast<std::size_t>(slot)];
  }
  for (std::size_t i = 0; i < weir::detail::shared_slot; ++i) CHECK(holders[i] <= 1);
  CHECK(holders.back() >= 6);
}

TEST_CASE("the numbers of threads that have ended are given to others", "[thread_slot]") {
  std::array<int, 200> slots{};
  for (int& slot : slots) std::jthread{[&] { slot = weir::detail::thread_slot(); }}.join();
  for (const int slot : slots) CHECK(slot == slots[0]);
  CHECK(slots[0] < weir::detail::shared_slot);
}

TEST_CASE("a thread that is ending is counted with those that share a number",
          "[circuit_breaker][thread_slot]") {
  manual_clock clock;
  breaker_type breaker{{}, clock.source()};
  breaker.force_open();
  struct asks_at_the_end {
    breaker_type* breaker;
    int* slot;
    ~asks_at_the_end() {
      *slot = weir::detail::thread_slot();
      static_cast<void>(breaker->try_acquire());
    }
  };
  int slot = -1;
  std::jthread{[&] {
    thread_local const asks_at_the_end last{&breaker, &slot};  // made before the number is taken
    static_cast<void>(last.breaker->try_acquire());
  }}.join();
  CHECK(slot == weir::detail::shared_slot);
  CHECK(breaker.stats().refused == 2);
}
