// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <memory>
#include <new>
#include <stop_token>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "support/failing_new.hpp"

using namespace std::chrono_literals;
using weir::bounded_queue;
using weir::overflow_policy;
using weir_test::allocation_budget;

TEST_CASE("nothing is allocated after construction, waits included", "[bounded_queue]") {
  for (const auto policy : {overflow_policy::block, overflow_policy::drop_oldest}) {
    bounded_queue<int> queue{{.capacity = 2, .overflow = policy}, [](int&&) {}};
    std::stop_source stop;
    std::vector<int> out;
    out.reserve(8);
    std::size_t refused = 0;
    {
      const allocation_budget none{0};  // the first one would throw
      for (int i = 0; i != 8; ++i) refused += queue.try_push(i) ? 0U : 1U;
      refused += queue.push_for(9, 1us, stop.get_token()) ? 0U : 1U;
      refused += queue.try_pop_n(out, 2) ? 0U : 1U;
      refused += queue.pop_for(1us, stop.get_token()) ? 0U : 1U;
      queue.close();
      refused += queue.pop() ? 0U : 1U;
    }
    CHECK_FALSE(allocation_budget::was_hit());
    CHECK(refused == (policy == overflow_policy::block ? 9 : 2));  // not vacuous
  }
}

TEST_CASE("whichever allocation fails, nothing is lost", "[bounded_queue]") {
  int failures = 0;
  for (int k = 0;; ++k) {
    CAPTURE(k);
    bool failed = false;
    std::unique_ptr<bounded_queue<int>> queue;
    std::vector<int> out;
    const auto guarded = [&](auto&& step) {
      if (failed) return step();
      try {
        const allocation_budget budget{k};
        step();
      } catch (const std::bad_alloc&) {
        failed = true;
        ++failures;
      }
    };
    const auto make = [&] { queue = std::make_unique<bounded_queue<int>>(weir::bounded_queue_options{3}); };
    guarded(make);
    if (!queue) make();
    for (int i : {1, 2, 3}) REQUIRE(queue->try_push(i));
    std::size_t got = 0;
    guarded([&] { got = queue->try_pop_n(out, 2).value_or(0); });
    REQUIRE(out.size() == got);
    REQUIRE(queue->size_approx() == 3 - got);
    std::vector<int> left;
    guarded([&] { left = queue->close_and_take(); });
    REQUIRE((queue->closed() ? left.size() == 3 - got : queue->size_approx() == 3 - got));
    const auto s = queue->stats();
    REQUIRE(s.pushed == s.popped + s.left);
    if (!failed) break;
  }
  CHECK(failures >= 2);
}
