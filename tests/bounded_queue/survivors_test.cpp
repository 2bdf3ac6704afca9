// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the queue would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using weir::bounded_queue;
using weir::overflow_policy;
using weir::refusal;
using weir::refusal_reason;
using weir::refused_for_ever;

namespace {

/// Knows where it lives; what dies elsewhere was never born.
struct resident {
  explicit resident(int n) : number{n} { homes.insert(this); }
  resident(resident&& other) noexcept : number{other.number} { homes.insert(this); }
  resident& operator=(resident&&) = delete;
  ~resident() { strangers += homes.erase(this) == 0 ? 1 : 0; }

  int number;
  inline static std::set<const void*> homes;
  inline static int strangers = 0;
};

/// Asks its queue, of whatever refusal it is told: not possible under the queue's lock.
struct inquisitive {
  const std::function<void()>* ask;
  void on_refused(const refusal&) noexcept { (*ask)(); }
};

/// Something happens whenever the time is read.
struct eventful_clock {
  [[nodiscard]] weir::time_point now() const noexcept {
    (*event)();
    return {};
  }
  const std::function<void()>* event;
};

/// Throws at the move that brings the count to zero.
struct brittle {
  explicit brittle(int n, int* moves = nullptr) : number{n}, left{moves} {}
  brittle(brittle&& other) : number{other.number}, left{other.left} {  // NOLINT: that is the point
    if (left != nullptr && --*left == 0) throw std::runtime_error{"move"};
  }
  brittle& operator=(brittle&&) = delete;
  ~brittle() = default;

  int number;
  int* left;
};

template <class Queue>
struct pops_as_it_dies {
  Queue& queue;
  ~pops_as_it_dies() { static_cast<void>(queue.try_pop()); }
};

/// Its move may throw, so that it is kept where its own allocator gives the memory.
struct rare {
  rare() = default;
  rare(rare&& other) noexcept(false) : number{other.number} {}
  ~rare() = default;
  int number = 0;
};

}  // namespace

/// Memory for some, and a record of it.
template <>
struct std::allocator<rare> {
  using value_type = rare;
  allocator() = default;
  template <class U>
  explicit allocator(const std::allocator<U>&) noexcept {}
  rare* allocate(std::size_t n) {
    if (n > 100) throw std::bad_alloc{};
    given += n;
    return static_cast<rare*>(::operator new(n * sizeof(rare)));
  }
  void deallocate(rare* p, std::size_t n) noexcept {
    given -= n;
    ::operator delete(p);
  }
  bool operator==(const allocator&) const = default;

  inline static std::size_t given = 0;
};

TEST_CASE("a queue takes room for its capacity, one more to drop the oldest, and gives it back",
          "[bounded_queue]") {
  using memory = std::allocator<rare>;
  for (const auto policy : {overflow_policy::block, overflow_policy::reject, overflow_policy::drop_newest}) {
    const bounded_queue<rare> queue{{.capacity = 3, .overflow = policy}};
    CHECK(memory::given == 3);
  }
  CHECK(memory::given == 0);
  {
    const bounded_queue<rare> queue{{.capacity = 3, .overflow = overflow_policy::drop_oldest}};
    CHECK(memory::given == 4);
  }
  CHECK(memory::given == 0);
  const std::size_t most = std::allocator_traits<memory>::max_size({}) - 1;  // the spare one counts
  CHECK_THROWS_AS(bounded_queue<rare>{{.capacity = most}}, std::bad_alloc);
  CHECK_THROWS_AS(bounded_queue<rare>{{.capacity = most + 1}}, std::invalid_argument);
  CHECK_THROWS_AS(bounded_queue<rare>{{}}, std::invalid_argument);
  CHECK_THROWS_AS(bounded_queue<int>{{.capacity = std::numeric_limits<std::size_t>::max() / 64}},
                  std::invalid_argument);
}

TEST_CASE("each value dies where it lived", "[bounded_queue]") {
  {
    bounded_queue<resident> queue{{.capacity = 4}};
    for (int i = 0; i != 2; ++i) {
      CHECK(queue.try_push(resident{i}));
      CHECK(queue.try_pop());
    }
    for (int i = 0; i != 3; ++i) CHECK(queue.try_push(resident{i}));
    CHECK(queue.close_and_take().size() == 3);
    CHECK(resident::homes.empty());
  }
  CHECK(resident::strangers == 0);
}

TEST_CASE("an observer may ask the queue, whichever refusal it is told of", "[bounded_queue]") {
  std::function<void()> ask;
  bounded_queue<int, weir::steady_clock, inquisitive> queue{{.capacity = 1}, {}, {&ask}};
  int told = 0;
  ask = [&] { told += queue.stats().capacity == 1 ? 1 : 0; };
  std::vector<int> out;
  CHECK_FALSE(queue.try_pop());
  CHECK_FALSE(queue.try_pop_n(out, 1));
  CHECK_FALSE(queue.pop_for(0ns));
  CHECK_FALSE(queue.pop_up_to_until(out, 1, 0ns, weir::steady_clock::now()));
  CHECK(queue.try_push(1));
  CHECK_FALSE(queue.try_push(2));
  CHECK_FALSE(queue.push_for(2, 0ns));
  queue.close();
  CHECK_FALSE(queue.push(2));
  CHECK(told == 7);
  CHECK(queue.try_pop());
  CHECK(queue.pop().error() == refused_for_ever(refusal_reason::closed));
  CHECK(told == 8);
  CHECK(queue.stats().rejected == 3);
}

TEST_CASE("nothing asked for is nothing got, also from an empty queue", "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 1}};
  std::vector<int> out;
  CHECK(queue.try_pop_n(out, 0).value() == 0);
  queue.close();
  CHECK(queue.try_pop_n(out, 0).value() == 0);
}

TEST_CASE("a linger fetches what is missing and no more, and none at all if it is not to last",
          "[bounded_queue]") {
  std::function<void()> event;
  bounded_queue<int, eventful_clock> queue{{.capacity = 8}, eventful_clock{&event}};
  event = [&] {
    for (int i = 0; i != 4; ++i) CHECK(queue.try_push(i));
  };
  for (int i = 0; i != 2; ++i) CHECK(queue.try_push(i));
  std::vector<int> out;
  SECTION("to last") {
    CHECK(queue.pop_up_to(out, 3, 1h).value() == 3);
    CHECK(queue.size_approx() == 3);
  }
  SECTION("not to last") {
    CHECK(queue.pop_up_to(out, 3, 0ns).value() == 2);
    CHECK(queue.size_approx() == 0);
  }
}

TEST_CASE("a pop takes its value also while an exception passes", "[bounded_queue]") {
  const auto pop_in_passing = [](auto& queue) {
    using queue_type = std::remove_reference_t<decltype(queue)>;
    try {
      const pops_as_it_dies<queue_type> guard{queue};
      throw std::runtime_error{"passing"};
    } catch (const std::runtime_error&) {
    }
  };
  bounded_queue<int> safe{{.capacity = 2}};
  CHECK(safe.try_push(1));
  pop_in_passing(safe);
  CHECK(safe.size_approx() == 0);
  bounded_queue<brittle> unsafe{{.capacity = 2}};
  CHECK(unsafe.try_push(brittle{1}));
  pop_in_passing(unsafe);
  CHECK(unsafe.size_approx() == 0);
}

TEST_CASE("a dropped value that cannot be moved comes out as an error to who handles dropped values, only",
          "[bounded_queue]") {
  int left = 0;
  const auto overflow = [&](bounded_queue<brittle>& queue) {
    CHECK(queue.try_push(brittle{1, &left}));
    left = 2;  // one move in, one out
    return queue.try_push(brittle{2, &left});
  };
  const weir::bounded_queue_options one{.capacity = 1, .overflow = overflow_policy::drop_oldest};
  int handled = 0;
  bounded_queue<brittle> telling{one, [&](brittle&&) { ++handled; }};
  CHECK_THROWS_AS(overflow(telling), std::runtime_error);
  CHECK(handled == 0);
  CHECK(telling.stats().dropped == 1);
  CHECK(telling.try_pop()->number == 2);
  left = 0;
  bounded_queue<brittle> silent{one};
  CHECK(overflow(silent));
  CHECK(silent.try_pop()->number == 2);
}

TEST_CASE("what a timer throws comes out of the wait, unless a close came first", "[bounded_queue]") {
  std::function<void()> meanwhile = [] {};
  bounded_queue<int, weir_test::broken_clock> queue{{.capacity = 1}, weir_test::broken_clock{&meanwhile}};
  CHECK_THROWS_AS(queue.pop_for(1s), std::bad_alloc);
  CHECK(queue.try_push(1));
  CHECK_THROWS_AS(queue.push_for(2, 1s), std::bad_alloc);
  CHECK(queue.stats().rejected == 0);
  CHECK(queue.stats().waiting_producers == 0);
  CHECK(queue.try_pop());
  meanwhile = [&] { queue.close(); };
  CHECK(queue.pop_for(1s).error() == refused_for_ever(refusal_reason::closed));
}

TEST_CASE("a batch grows the vector it goes to by half at least, and not if it has the room",
          "[bounded_queue]") {
  bounded_queue<int> queue{{.capacity = 4}};
  std::vector<int> out(100);
  out.shrink_to_fit();
  REQUIRE(out.capacity() == 100);
  CHECK(queue.try_push(1));
  CHECK(queue.try_pop_n(out, 1).value() == 1);
  CHECK(out.capacity() >= 150);
  std::vector<int> roomy;
  roomy.reserve(4);
  const int* const place = roomy.data();
  for (int i = 0; i != 4; ++i) CHECK(queue.try_push(int{i}));
  CHECK(queue.try_pop_n(roomy, 4).value() == 4);
  CHECK(roomy.data() == place);
}
