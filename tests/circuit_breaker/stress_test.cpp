// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <latch>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using namespace std::chrono_literals;
using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::testing::manual_clock;

namespace {

using breaker_type = basic_circuit_breaker<manual_clock::view>;
constexpr std::size_t threads = 4;

template <class Work>
std::array<std::uint64_t, threads> all_at_once(Work work) {
  std::array<std::uint64_t, threads> results{};
  std::latch start{threads};
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      start.arrive_and_wait();
      results[i] = work(i);
    });
  }
  for (std::thread& w : workers) w.join();
  return results;
}

std::uint64_t sum(const std::array<std::uint64_t, threads>& results) {
  std::uint64_t total = 0;
  for (const std::uint64_t r : results) total += r;
  return total;
}

/// Told by one thread at a time, so a plain vector does.
struct recorder {
  std::vector<std::pair<breaker_state, breaker_state>>* moves;
  static void on_refused(const weir::refusal&) noexcept {}
  void on_transition(breaker_state from, breaker_state to) const noexcept { moves->emplace_back(from, to); }
};

}  // namespace

TEST_CASE("threads that fail together open it once, at exactly the threshold", "[circuit_breaker][stress]") {
  for (int round = 0; round < 50; ++round) {
    manual_clock clock;
    breaker_type breaker{{.window = weir::count_window{100}, .failure_rate = {100}, .minimum_calls = 100},
                         clock.source()};
    const std::uint64_t admitted = sum(all_at_once([&](std::size_t) {
      std::uint64_t mine = 0;
      while (auto p = breaker.try_acquire()) {
        ++mine;
        std::move(*p).failure();
      }
      return mine;
    }));
    const auto s = breaker.stats();
    CHECK(s.failures == 100);
    CHECK(s.opened == 1);
    CHECK(s.refused == threads);
    CHECK(s.late == admitted - 100);
  }
}

TEST_CASE("threads that come together get no more than the probes there are", "[circuit_breaker][stress]") {
  for (int round = 0; round < 50; ++round) {
    manual_clock clock;
    breaker_type breaker{{.window = weir::consecutive_failures{1}, .open_for = 1s, .probes = 3},
                         clock.source()};
    std::move(*breaker.try_acquire()).failure();
    clock.advance(1s);
    std::array<std::vector<breaker_type::permit>, threads> held;
    const std::uint64_t admitted = sum(all_at_once([&](std::size_t i) {
      for (int k = 0; k < 20; ++k) {
        if (auto p = breaker.try_acquire()) held[i].push_back(std::move(*p));
      }
      return held[i].size();
    }));
    CHECK(admitted == 3);
    CHECK(breaker.state_approx() == breaker_state::half_open);
  }
}

TEST_CASE("every call admitted is accounted for, and every move follows from the one before",
          "[circuit_breaker][stress]") {
  manual_clock clock;
  std::vector<std::pair<breaker_state, breaker_state>> moves;
  basic_circuit_breaker breaker{{.window = weir::time_window{100ms},
                                 .failure_rate = {40},
                                 .minimum_calls = 5,
                                 .open_for = 1ms,
                                 .probes = 2,
                                 .half_open_max_wait = 5ms},
                                clock.source(),
                                recorder{&moves}};
  const std::uint64_t admitted = sum(all_at_once([&](std::size_t i) {
    std::minstd_rand random{static_cast<unsigned>(i) + 1};
    std::uint64_t mine = 0;
    for (int k = 0; k < 5'000; ++k) {
      clock.advance(weir::duration{20us});
      auto p = breaker.try_acquire();
      if (p) {
        ++mine;
        const auto dice = random() % 10;
        if (dice < 4) {
          std::move(*p).failure();
        } else if (dice < 9) {
          std::move(*p).success();
        }
      }
      if (k % 500 == 499) {
        switch (random() % 4) {
          case 0:
            breaker.force_open();
            break;
          case 1:
            breaker.metrics_only();
            break;
          case 2:
            breaker.reconfigure({.window = weir::count_window{10}, .open_for = 1ms, .probes = 1});
            break;
          default:
            break;
        }
        breaker.reset();
      }
    }
    return mine;
  }));
  const auto s = breaker.stats();
  CHECK(admitted == s.successes + s.failures + s.ignored + s.late);
  CHECK(s.refused == threads * 5'000 - admitted);
  CHECK(s.events_lost == 0);
  CHECK(moves.size() > 10);
  bool in_order = true;
  breaker_state now = breaker_state::closed;
  for (const auto& [from, to] : moves) {
    in_order = in_order && from == now && from != to;
    now = to;
  }
  CHECK(in_order);
  CHECK(now == breaker.state_approx());
}

TEST_CASE("options change while eight threads call: none is torn, every call is accounted for",
          "[circuit_breaker][stress]") {
  constexpr std::size_t callers = 8;
  constexpr std::uint64_t calls = 4'000;
  manual_clock clock;
  breaker_type breaker{{}, clock.source()};
  // Each of them can be told from the others by what it never does.
  const std::array<weir::circuit_breaker_options, 5> settings{{
      {.window = weir::count_window{50}, .failure_rate = {60}, .open_for = 1us},
      {.window = weir::time_window{1ms, 4},
       .failure_rate = {60},
       .minimum_calls = 5,
       .open_for = 1us,
       .probes = 2},
      {.window = weir::consecutive_failures{4}, .open_for = 1us, .ramp = 5us},
      {.window = weir::count_window{7},
       .slow = weir::slow_calls{1us, {90}},
       .minimum_calls = 3,
       .open_for = 1us},
      {.window = weir::time_window{1ms, 2},
       .slow = weir::slow_calls{.longer_than = 2us, .as_failures = true, .watched = 3},
       .open_for = 1us},
  }};
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> admitted{0};
  std::atomic<std::uint64_t> refused{0};
  {
    std::jthread changing{[&] {
      for (std::size_t i = 0; !over.load(); ++i) {
        breaker.reconfigure(settings[i % settings.size()]);
        if (i % 7 == 0) breaker.metrics_only();
        if (i % 7 == 3) breaker.reset();
        static_cast<void>(breaker.stats());
        std::this_thread::yield();
      }
    }};
    std::vector<std::jthread> workers;
    for (std::size_t t = 0; t < callers; ++t) {
      workers.emplace_back([&, t] {
        std::minstd_rand random{static_cast<unsigned>(t) + 1};
        std::uint64_t mine = 0;
        for (std::uint64_t i = 0; i < calls; ++i) {
          if (auto p = breaker.try_acquire()) {
            ++mine;
            if (i % 16 == 0) clock.advance(1us);
            const auto dice = random() % 10;
            std::move(*p).report(dice < 2   ? call_verdict::failure
                                 : dice < 9 ? call_verdict::success
                                            : call_verdict::ignore);
          } else {
            clock.advance(100ns);
          }
        }
        admitted += mine;
        refused += calls - mine;
      });
    }
    for (std::jthread& w : workers) w.join();
    over = true;
  }
  breaker.reconfigure(settings[0]);
  breaker.reset();
  const auto s = breaker.stats();
  CHECK(s.successes + s.failures + s.ignored + s.late == admitted);
  CHECK(s.refused == refused);
  // Wholly by the last options, a window of 50 calls from here.
  for (int i = 0; i < 49; ++i) {
    std::move(*breaker.try_acquire()).report(i < 30 ? call_verdict::success : call_verdict::failure);
  }
  CHECK(breaker.stats().window_calls == 49);
  CHECK(breaker.stats().window_failed == 19);
}

TEST_CASE("successes of many threads are all in the counts, whoever looks meanwhile",
          "[circuit_breaker][stress]") {
  constexpr std::size_t callers = 12;  // more than there are lines
  constexpr std::uint64_t calls = 5'000;
  manual_clock clock;
  breaker_type breaker{{.window = weir::count_window{1'000'000}, .failure_rate = {100}}, clock.source()};
  bool grows = true;
  {
    std::vector<std::jthread> workers;
    for (std::size_t t = 0; t < callers; ++t) {
      workers.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < calls; ++i) {
          auto p = breaker.try_acquire();
          std::move(*p).report(t == 0 && i % 100 == 0 ? call_verdict::failure : call_verdict::success);
        }
      });
    }
    std::uint64_t last = 0;
    while (last < callers * calls && grows) {
      const auto s = breaker.stats();
      grows = s.window_calls >= last && s.window_calls == s.successes + s.failures;
      last = s.window_calls;
    }
  }
  CHECK(grows);
  CHECK(breaker.stats().failures == calls / 100);
  CHECK(breaker.stats().successes == callers * calls - calls / 100);
}

TEST_CASE("refusals are all in the counts, of threads that come and go and of more than there are lines",
          "[circuit_breaker][stress]") {
  manual_clock clock;
  breaker_type breaker{{}, clock.source()};
  breaker.force_open();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::jthread> workers;
    for (int t = 0; t < 12; ++t) {
      workers.emplace_back([&] {
        for (int i = 0; i < 100; ++i) static_cast<void>(breaker.try_acquire());
      });
    }
  }
  CHECK(breaker.stats().refused == 20u * 12 * 100);
}
