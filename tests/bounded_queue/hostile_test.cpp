// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <any>
#include <functional>
#include <memory>
#include <new>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using weir::bounded_queue;
using weir::deadline;
using weir::overflow_policy;
using weir::refusal_reason;

namespace {

using weir_test::broken_clock;
using broken_queue = bounded_queue<int, broken_clock>;

/// Its address cannot be had the plain way.
struct shy {
  int value;
  void operator&() const = delete;
};

/// Asks its queue for its size as it dies.
struct asking {
  using queue_of = bounded_queue<std::unique_ptr<asking>>;
  queue_of* queue;
  std::size_t* answers;
  ~asking() {
    static_cast<void>(queue->stats());
    ++*answers;
  }
};

}  // namespace

TEST_CASE("regression: a copied value arrives as it was, also where braces would wrap it in a list",
          "[bounded_queue]") {
  using list = std::vector<std::any>;
  bounded_queue<list> queue{{.capacity = 4}};
  const list three(3);
  CHECK(queue.try_push(three));
  CHECK(queue.push(three));
  CHECK(queue.push_for(three, 0ns));
  CHECK(queue.push_until(three, deadline::never()));
  for (const list& arrived : queue.close_and_take()) CHECK(arrived.size() == 3);
}

TEST_CASE("a value whose address is overloaded goes through every verb", "[bounded_queue]") {
  bounded_queue<shy> queue{{.capacity = 2, .overflow = overflow_policy::drop_oldest}};
  for (int i = 1; i <= 3; ++i) CHECK(queue.push(shy{i}));
  CHECK(queue.pop()->value == 2);
  CHECK(queue.close_and_take().front().value == 3);
}

TEST_CASE("a dropped value is taken from its producer, whether or not somebody handles it",
          "[bounded_queue]") {
  using owned = std::unique_ptr<int>;
  for (const bounded_queue<owned>::drop_handler& handler :
       {bounded_queue<owned>::drop_handler{}, bounded_queue<owned>::drop_handler{[](owned&&) {}}}) {
    bounded_queue<owned> queue{{.capacity = 1, .overflow = overflow_policy::drop_newest}, handler};
    CHECK(queue.push(std::make_unique<int>(1)));
    auto two = std::make_unique<int>(2);
    CHECK(queue.push(std::move(two)));
    CHECK(two == nullptr);
    std::vector<owned> more(2);
    for (owned& one : more) one = std::make_unique<int>(3);
    CHECK(queue.try_push_range(more).pushed == 2);
    for (const owned& one : more) CHECK(one == nullptr);
    CHECK(queue.stats().dropped == 3);
  }
}

TEST_CASE("a dropped value may use the queue as it dies", "[bounded_queue]") {
  std::size_t answers = 0;
  for (const auto policy : {overflow_policy::drop_oldest, overflow_policy::drop_newest}) {
    asking::queue_of queue{{.capacity = 1, .overflow = policy}};
    const auto push = [&] { return queue.push(std::unique_ptr<asking>{new asking{&queue, &answers}}); };
    const std::size_t before = answers;
    CHECK(push());
    CHECK(push());
    CHECK(answers == before + 1);
    static_cast<void>(queue.close_and_take());
    CHECK(answers == before + 2);
  }
}

TEST_CASE("a wait that cannot be entered throws to its caller and leaves nothing behind", "[bounded_queue]") {
  const std::function<void()> nothing = [] {};
  broken_queue queue{{.capacity = 1}, broken_clock{&nothing}};
  const auto quiet = [&] {
    const auto s = queue.stats();
    return s.waiting_producers == 0 && s.waiting_consumers == 0 && s.pushed == s.popped + s.left;
  };
  CHECK_THROWS_AS(queue.pop_for(1s), std::bad_alloc);
  CHECK(quiet());
  std::vector<int> out;
  CHECK_THROWS_AS(queue.pop_up_to_until(out, 2, 1s, weir::time_point{1s}), std::bad_alloc);
  CHECK(quiet());
  CHECK(queue.push(1));
  CHECK_THROWS_AS(queue.push_for(2, 1s), std::bad_alloc);
  CHECK(quiet());
  // What was taken before the linger failed is in `out`.
  CHECK_THROWS_AS(queue.pop_up_to(out, 2, 1s), std::bad_alloc);
  CHECK(out == std::vector{1});
  CHECK(quiet());
  CHECK(queue.stats().rejected == 0);
  CHECK(queue.push(3));
  CHECK(*queue.pop() == 3);
}

TEST_CASE("a grant or a close that comes before a wait fails is obeyed", "[bounded_queue]") {
  std::function<void()> meanwhile;
  broken_queue queue{{.capacity = 1}, broken_clock{&meanwhile}};
  meanwhile = [&] { static_cast<void>(queue.push(7)); };
  CHECK(*queue.pop_for(1s) == 7);
  CHECK(queue.push(8));
  meanwhile = [&] { CHECK(*queue.pop() == 8); };
  CHECK(queue.push_for(9, 1s));
  meanwhile = [&] { queue.close(); };
  CHECK(queue.push_for(10, 1s).error() == weir::refused_for_ever(refusal_reason::closed));
  CHECK(*queue.pop() == 9);
  CHECK(queue.stats().left == 0);
}
