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
