// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <latch>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "bounded_queue/reference.hpp"

using namespace std::chrono_literals;
using weir::bounded_queue;
using weir::overflow_policy;
using weir::refusal_reason;

TEST_CASE("a random script does what the naive reference does", "[bounded_queue]") {
  const auto seed = GENERATE(range(1U, 41U));
  CAPTURE(seed);
  std::mt19937 random{seed};
  const auto upto = [&](int n) { return std::uniform_int_distribution{0, n}(random); };
  for (const auto policy : {overflow_policy::block, overflow_policy::reject, overflow_policy::drop_newest,
                            overflow_policy::drop_oldest}) {
    weir_test::naive_queue expected{.capacity = static_cast<std::size_t>(1 + upto(6)), .overflow = policy};
    std::vector<int> dropped;
    bounded_queue<int> queue{{.capacity = expected.capacity, .overflow = policy},
                             [&](int&& v) { dropped.push_back(v); }};
    for (int step = 0; step != 400; ++step) {
      const int what = upto(99);
      if (what < 50) {
        const auto refused = queue.try_push(step);
        const auto reason = expected.push(step).refused;
        REQUIRE(refused.has_value() == !reason.has_value());
        if (reason) REQUIRE(refused.error().reason == *reason);
      } else if (what < 85) {
        auto got = queue.try_pop();
        REQUIRE(got.has_value() == !expected.values.empty());
        if (got) {
          REQUIRE(*got == expected.values.front());
          expected.values.pop_front();
        } else {
          REQUIRE(got.error().reason == (expected.closed ? refusal_reason::closed : refusal_reason::empty));
        }
      } else if (what < 98) {
        std::vector<int> out;
        const auto n = static_cast<std::size_t>(1 + upto(4));
        const auto got = queue.try_pop_n(out, n);
        REQUIRE(got.value_or(0) == std::min(n, expected.values.size()));
        for (int v : out) {
          REQUIRE(v == expected.values.front());
          expected.values.pop_front();
        }
      } else if (step > 300) {
        queue.close();
        expected.closed = true;
      }
      REQUIRE(queue.size_approx() == expected.values.size());
      const auto s = queue.stats();
      REQUIRE(s.pushed == s.popped + s.dropped + s.left);
      REQUIRE(dropped == expected.dropped);
    }
  }
}

TEST_CASE("every verb at once, with a close and cancellations in the middle, conserves every value",
          "[bounded_queue][stress]") {
  struct shape {
    int producers, consumers;
    std::size_t capacity;
    overflow_policy overflow;
  };
  const auto s =
      GENERATE(shape{1, 1, 1, overflow_policy::block}, shape{2, 2, 2, overflow_policy::block},
               shape{4, 4, 3, overflow_policy::block}, shape{4, 1, 64, overflow_policy::block},
               shape{1, 4, 1, overflow_policy::block}, shape{2, 2, 3, overflow_policy::drop_oldest},
               shape{4, 2, 2, overflow_policy::drop_newest}, shape{4, 2, 2, overflow_policy::reject});
  CAPTURE(s.producers, s.consumers, s.capacity, static_cast<int>(s.overflow));
  constexpr std::uint64_t each = 6000;

  std::atomic<std::uint64_t> sum_in{0}, count_in{0}, sum_out{0}, count_out{0}, sum_dropped{0};
  std::atomic<int> out_of_order{0}, producing{s.producers};
  bounded_queue<std::uint64_t> queue{{.capacity = s.capacity, .overflow = s.overflow},
                                     [&](std::uint64_t&& v) { sum_dropped += v; }};
  std::latch start{s.producers + s.consumers};
  std::stop_source stop;
  {
    std::vector<std::jthread> threads;
    for (int p = 0; p != s.producers; ++p) {
      threads.emplace_back([&, p] {
        start.arrive_and_wait();
        for (std::uint64_t i = 1; i <= each; ++i) {
          const std::uint64_t value = (static_cast<std::uint64_t>(p) << 32) | i;
          bool taken = false;
          switch (i % 4) {
            case 0:
              taken = queue.try_push(value).has_value();
              break;
            case 1:
              taken = queue.push_for(value, 50us).has_value();
              break;
            case 2: {
              std::stop_source mine;
              mine.request_stop();
              taken = queue.push(value, i % 8 == 2 ? mine.get_token() : stop.get_token()).has_value();
              break;
            }
            default:
              taken = queue.push(value).has_value();
          }
          if (taken) {
            sum_in += value;
            ++count_in;
          }
        }
        --producing;
      });
    }
    for (int c = 0; c != s.consumers; ++c) {
      threads.emplace_back([&, c] {
        start.arrive_and_wait();
        std::vector<std::uint64_t> last(static_cast<std::size_t>(s.producers), 0);
        std::vector<std::uint64_t> batch;
        const auto note = [&](std::uint64_t v) {
          sum_out += v;
          ++count_out;
          auto& before = last[static_cast<std::size_t>(v >> 32)];
          if ((v & 0xffffffffU) <= before) ++out_of_order;  // of one producer, as seen by one consumer
          before = v & 0xffffffffU;
        };
        for (std::uint64_t i = 0;; ++i) {
          batch.clear();
          refusal_reason why{};
          switch ((i + static_cast<std::uint64_t>(c)) % 4) {
            case 0:
              if (auto v = queue.try_pop())
                batch.push_back(*v);
              else
                why = v.error().reason;
              break;
            case 1:
              if (auto v = queue.pop_for(50us))
                batch.push_back(*v);
              else
                why = v.error().reason;
              break;
            case 2:
              if (auto n = queue.pop_up_to(batch, 3, 20us); !n) why = n.error().reason;
              break;
            default:
              if (auto v = queue.pop())
                batch.push_back(*v);
              else
                why = v.error().reason;
          }
          for (const auto v : batch) note(v);
          if (batch.empty() && why == refusal_reason::closed) return;
        }
      });
    }
    // Half-way, cancel; a little later, close.
    const auto until_pushed = [&](std::uint64_t n) {
      while (producing != 0 && queue.stats().pushed < n) std::this_thread::yield();
    };
    until_pushed(each / 2);
    stop.request_stop();
    until_pushed(each - each / 4);
    queue.close();
  }
  const auto end = queue.stats();
  CHECK(end.left == 0);
  CHECK(end.waiting_producers == 0);
  CHECK(end.waiting_consumers == 0);
  CHECK(end.pushed == count_in);
  CHECK(end.popped == count_out);
  CHECK(end.pushed == end.popped + end.dropped);
  CHECK(sum_in == sum_out + sum_dropped);
  CHECK(out_of_order == 0);
}

TEST_CASE("of a push and a cancellation at the same instant exactly one wins", "[bounded_queue][stress]") {
  bounded_queue<int> queue{{.capacity = 1}};
  for (int round = 0; round != 500; ++round) {
    std::stop_source stop;
    std::optional<int> got;
    std::thread consumer{[&] {
      if (auto v = queue.pop(stop.get_token())) got = *v;
    }};
    std::thread canceller{[&] { stop.request_stop(); }};
    REQUIRE(queue.try_push(round));
    consumer.join();
    canceller.join();
    const auto left = queue.try_pop();
    REQUIRE(got.has_value() != left.has_value());
    REQUIRE(got.value_or(round) == round);
  }
  CHECK(queue.stats().left == 0);
}
