// SPDX-License-Identifier: BSL-1.0
// Whatever throws, wherever it throws: no value is lost, none is twice there, nobody is left asleep.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <future>
#include <memory>
#include <stop_token>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "bounded_queue/support.hpp"
#include "support/fault_loop.hpp"

using namespace std::chrono_literals;
using namespace bounded_queue_test;
using weir::bounded_queue;
using weir::overflow_policy;
using weir::testing::manual_clock;
using weir_test::allocation_budget;
using weir_test::fault;
using weir_test::fault_loop;
using weir_test::faulty;
using weir_test::faulty_clock;

namespace {

struct angry_observer {
  void on_refused(const weir::refusal&);
};
static_assert(!weir::refusal_observer<angry_observer>, "an observer that may throw is refused");

constexpr int pushed_one_by_one = 4;

/// Every verb that takes or gives a value, in a script that keeps account of where each value is.
struct script {
  script(fault& f, overflow_policy policy, bool handled)
      : next{f},
        heard{handled || policy != overflow_policy::drop_oldest},
        queue{{.capacity = 2, .overflow = policy},
              handled ? bounded_queue<faulty>::drop_handler{[this](faulty&& v) { gone.push_back(v.value); }}
                      : bounded_queue<faulty>::drop_handler{}} {
    gone.reserve(16);
    out.reserve(1);
  }

  /// A value that is dropped, and that nobody wants to have, may throw unheard.
  template <class Step>
  void strike(Step step) {
    heard ? next.strike_through(step) : next.strike(step);
  }

  void push(int n) {
    faulty value{n};
    const auto before = queue.stats();
    const bool by_copy = n % 2 != 0;
    const faulty& copied = value;
    strike([&] { by_copy ? (void)queue.try_push(copied) : (void)queue.push_for(std::move(value), 0ns); });
    const auto after = queue.stats();
    CHECK(conserved(queue));
    if (after.pushed != before.pushed) taken.push_back(n);
    if (by_copy || after.pushed == before.pushed) CHECK(value.value == n);
  }

  void push_range(int first) {
    std::vector<faulty> values;
    values.reserve(3);
    for (int n = first; n != first + 3; ++n) values.emplace_back(n);
    const auto before = queue.stats().pushed;
    strike([&] { (void)queue.try_push_range(values); });
    const auto count = static_cast<int>(queue.stats().pushed - before);
    for (int n = 0; n != 3; ++n) {
      if (n < count) taken.push_back(first + n);
      if (n >= count) CHECK(values[static_cast<std::size_t>(n)].value == first + n);
    }
  }

  void pop() {
    int value = faulty::moved_from;
    const bool thrown = next.strike_through([&] {
      if (const auto popped = queue.try_pop()) value = popped->value;
    });
    if (!thrown && value != faulty::moved_from) got.push_back(value);
    CHECK(conserved(queue));
  }

  void pop_many(bool linger) {
    next.strike_through([&] { linger ? (void)queue.pop_up_to(out, 2, 0ns) : (void)queue.try_pop_n(out, 1); });
    CHECK(queue.stats().popped == got.size() + out.size());
  }

  void close_and_take() {
    std::vector<faulty> rest;
    const auto before = queue.stats();
    const bool thrown = next.strike_through([&] { rest = queue.close_and_take(); });
    if (thrown) CHECK((!queue.closed() && queue.stats().left == before.left));
    if (thrown) rest = queue.close_and_take();
    CHECK(rest.size() == before.left);
    for (const faulty& v : rest) out.push_back(v);
  }

  void settle_accounts() {
    for (const faulty& v : out) got.push_back(v.value);
    const auto end = queue.stats();
    CHECK(end.left == 0);
    CHECK(end.popped == got.size());
    CHECK(end.pushed == taken.size());
    CHECK(std::ranges::is_sorted(got));
    got.insert(got.end(), gone.begin(), gone.end());
    std::ranges::sort(got);
    CHECK(std::ranges::adjacent_find(got) == got.end());  // none twice
    CHECK(std::ranges::includes(taken, got));
  }

  fault& next;
  const bool heard;
  std::vector<int> gone;
  bounded_queue<faulty> queue;
  std::vector<int> taken;
  std::vector<int> got;
  std::vector<faulty> out;
};

}  // namespace

TEST_CASE("nothing is allocated after construction, waits included", "[bounded_queue][fault]") {
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

TEST_CASE("whichever allocation fails, nothing is lost", "[bounded_queue][fault]") {
  const int faults = fault_loop("bounded_queue", "allocation", [](fault& next) {
    std::unique_ptr<bounded_queue<int>> queue;
    const auto make = [&] { queue = std::make_unique<bounded_queue<int>>(weir::bounded_queue_options{3}); };
    if (next.strike_through(make)) make();
    for (const int i : {1, 2, 3}) CHECK(queue->try_push(i));
    std::vector<int> out;
    next.strike_through([&] { (void)queue->try_pop_n(out, 1); });
    next.strike_through([&] { (void)queue->pop_up_to(out, 2, 0ns); });
    CHECK(queue->size_approx() == 3 - out.size());
    std::vector<int> left;
    const bool thrown = next.strike_through([&] { left = queue->close_and_take(); });
    CHECK(queue->closed() == !thrown);
    CHECK(queue->size_approx() == (thrown ? 3 - out.size() : 0));
    CHECK(conserved(*queue));
  });
  CHECK(faults >= 4);
}

TEST_CASE("whichever copy or move throws, nothing is lost and nothing is twice there",
          "[bounded_queue][fault]") {
  for (const char* const kind : {"copy", "move"}) {
    for (const auto policy :
         {overflow_policy::block, overflow_policy::drop_newest, overflow_policy::drop_oldest}) {
      for (const bool handled : {false, true}) {
        const int faults = fault_loop("bounded_queue", kind, [&](fault& next) {
          script s{next, policy, handled};
          for (int n = 0; n != pushed_one_by_one; ++n) s.push(n);
          s.pop();
          s.push_range(pushed_one_by_one);
          s.pop_many(false);
          s.push(10);
          s.push(11);
          s.pop_many(true);
          s.push(12);
          s.push(13);
          s.close_and_take();
          s.settle_accounts();
          if (!next.happened() && policy != overflow_policy::block) CHECK(s.taken.size() == 11);
        });
        CHECK(faults >= 4);
      }
    }
  }
}

TEST_CASE("values that cannot be copied are as many as before a move of them all that throws",
          "[bounded_queue][fault]") {
  struct unique : faulty {
    using faulty::faulty;
    unique(unique&&) = default;
    unique& operator=(unique&&) = default;
    ~unique() = default;
  };
  const int faults = fault_loop("bounded_queue", "move", [](fault& next) {
    bounded_queue<unique> queue{{.capacity = 3}};
    for (const int n : {1, 2, 3}) CHECK(queue.push(unique{n}));
    std::vector<unique> all;
    const bool thrown = next.strike_through([&] { all = queue.close_and_take(); });
    CHECK(queue.closed() == !thrown);
    CHECK(all.size() == (thrown ? 0 : 3));
    CHECK(queue.size_approx() == 3 - all.size());
    CHECK(conserved(queue));
    if (thrown) CHECK(queue.close_and_take().back().value == 3);
  });
  CHECK(faults == 3);
}

TEST_CASE("no value is ever assigned, hashed or compared", "[bounded_queue][fault]") {
  for (const char* const kind : {"assign", "hash", "compare"}) {
    const int faults = fault_loop("bounded_queue", kind, [&](fault& next) {
      script s{next, overflow_policy::drop_oldest, true};
      for (int n = 0; n != pushed_one_by_one; ++n) s.push(n);
      s.pop();
      s.pop_many(true);
      s.close_and_take();
      s.settle_accounts();
    });
    CHECK(faults == 0);
  }
}

TEST_CASE("a throwing move of a waiting producer's value reaches that producer, and the next one gets in",
          "[bounded_queue][fault]") {
  const int faults = fault_loop("bounded_queue", "move", [](fault& next) {
    bounded_queue<faulty> queue{{.capacity = 1}};
    REQUIRE(queue.try_push(faulty{1}));
    std::vector<std::future<bool>> producers;  // whether the fault came out of it with its value whole
    for (const int n : {2, 3}) {
      producers.push_back(std::async(std::launch::async, [&queue, n] {
        faulty value{n};
        return fault::came_out([&] { (void)queue.push(std::move(value)); }) && value.value == n;
      }));
      await_waiting(queue, static_cast<std::size_t>(n - 1), 0);
    }
    const bool mine = next.strike([&] { (void)queue.try_pop(); });
    CHECK(queue.stats().waiting_producers == (mine ? 2 : next.happened() ? 0 : 1));
    const bool struck = next.happened() && !mine;
    std::vector<int> got;
    for (int n = mine ? 0 : 1; n != (struck ? 2 : 3); ++n) got.push_back(queue.pop()->value);
    CHECK(producers[0].get() == struck);
    CHECK_FALSE(producers[1].get());
    CHECK(got.back() == 3);
    CHECK(queue.stats().left == 0);
    CHECK(conserved(queue));
  });
  CHECK(faults == 2);
}

TEST_CASE("a throwing move of a push leaves a waiting consumer waiting, and the next push serves it",
          "[bounded_queue][fault]") {
  const int faults = fault_loop("bounded_queue", "move", [](fault& next) {
    bounded_queue<faulty> queue{{.capacity = 1}};
    auto consumer = std::async(std::launch::async, [&] { return queue.pop()->value; });
    await_waiting(queue, 0, 1);
    const bool thrown = next.strike_through([&] { (void)queue.push(faulty{1}); });
    if (thrown) CHECK(queue.stats().waiting_consumers == 1);
    if (thrown) CHECK(queue.push(faulty{2}));
    CHECK(consumer.get() == (thrown ? 2 : 1));
  });
  CHECK(faults == 1);
}

TEST_CASE("a value that a consumer could not take goes to the consumer behind it", "[bounded_queue][fault]") {
  const int faults = fault_loop("bounded_queue", "move", [](fault& next) {
    bounded_queue<faulty> queue{{.capacity = 1}};
    auto first = std::async(std::launch::async, [&] { return next.strike([&] { (void)queue.pop(); }); });
    await_waiting(queue, 0, 1);
    auto second = std::async(std::launch::async, [&] { return queue.pop()->value; });
    await_waiting(queue, 0, 2);
    CHECK(queue.push(faulty{1}));
    const bool thrown = first.get();
    if (!thrown) CHECK(queue.push(faulty{2}));
    CHECK(second.get() == (thrown ? 1 : 2));
    CHECK(queue.stats().left == 0);
    CHECK(conserved(queue));
  });
  CHECK(faults == 1);
}

TEST_CASE("what a drop handler throws comes out of a push that has been made", "[bounded_queue][fault]") {
  for (const auto policy : {overflow_policy::drop_newest, overflow_policy::drop_oldest}) {
    const int faults = fault_loop("bounded_queue", "drop_handler", [policy](fault& next) {
      bounded_queue<faulty> queue{{.capacity = 1, .overflow = policy},
                                  [](faulty&&) { fault::point("drop_handler"); }};
      std::uint64_t pushed = 0;
      for (int n = 0; n != 4; ++n) {
        next.strike_through([&] { (void)queue.push(faulty{n}); });
        CHECK(queue.stats().pushed == ++pushed);
      }
      std::vector<faulty> values(2, faulty{4});
      const bool thrown = next.strike_through([&] { (void)queue.push_range(values); });
      pushed += thrown && values[1].value == 4 ? 1U : 2U;
      CHECK(queue.stats().pushed == pushed);
      CHECK(conserved(queue));
      CHECK(queue.try_pop());
    });
    CHECK(faults == 5);
  }
}

TEST_CASE("whichever timer fails, the wait throws and has changed nothing", "[bounded_queue][fault]") {
  manual_clock clock;
  const int faults = fault_loop("bounded_queue", "timer", [&](fault& next) {
    bounded_queue<faulty, faulty_clock> queue{{.capacity = 1},
                                              faulty_clock{clock, faulty_clock::time::leaps}};
    std::vector<faulty> out;
    const auto quiet = [&] {
      const auto s = queue.stats();
      return s.waiting_producers == 0 && s.waiting_consumers == 0 && conserved(queue);
    };
    next.strike_through([&] { (void)queue.pop_for(1s); });
    CHECK(quiet());
    next.strike_through([&] { (void)queue.pop_up_to_until(out, 1, 1s, clock.now() + 1s); });
    CHECK(quiet());
    CHECK(queue.push(faulty{1}));
    const auto push_in_vain = [&](auto&& push) {
      const auto rejected = queue.stats().rejected;
      const bool thrown = next.strike_through(push);
      CHECK(queue.stats().rejected == rejected + (thrown ? 0 : 1));
      CHECK(quiet());
    };
    faulty two{2};
    push_in_vain([&] { (void)queue.push_for(std::move(two), 1s); });
    CHECK(two.value == 2);
    std::vector<faulty> more(2, faulty{3});
    push_in_vain([&] { (void)queue.push_range_for(more, 1s); });
    CHECK(more[0].value == 3);
    // What was taken before the linger failed is in `out`.
    next.strike_through([&] { (void)queue.pop_up_to(out, 2, 1s); });
    CHECK(out.size() == 1);
    CHECK(quiet());
    CHECK(queue.push(std::move(two)));
    CHECK(queue.pop()->value == 2);
  });
  CHECK(faults == 5);
}

TEST_CASE("a wait whose timer fails does not hold up who waits already", "[bounded_queue][fault]") {
  manual_clock clock;
  const int faults = fault_loop("bounded_queue", "timer", [&](fault& next) {
    bounded_queue<faulty, faulty_clock> queue{{.capacity = 1},
                                              faulty_clock{clock, faulty_clock::time::leaps}};
    auto consumer = std::async(std::launch::async, [&] { return queue.pop()->value; });
    await_waiting(queue, 0, 1);
    next.strike_through([&] { (void)queue.pop_for(1s); });
    CHECK(queue.stats().waiting_consumers == 1);
    CHECK(queue.push(faulty{1}));
    CHECK(consumer.get() == 1);
    CHECK(queue.push(faulty{2}));
    auto producer = std::async(std::launch::async, [&] { return queue.push(faulty{3}).has_value(); });
    await_waiting(queue, 1, 0);
    next.strike_through([&] { (void)queue.push_for(faulty{4}, 1s); });
    CHECK(queue.stats().waiting_producers == 1);
    CHECK(queue.pop()->value == 2);
    CHECK(producer.get());
    CHECK(queue.pop()->value == 3);
    CHECK(conserved(queue));
  });
  CHECK(faults == 2);
}
