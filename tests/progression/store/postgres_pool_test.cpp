// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include <weir/testing/manual_clock.hpp>

#include "adapters/postgres/connection_pool.hpp"

namespace progression::pq {
namespace {

using namespace std::chrono_literals;

/// What a test sees and sets of the connections that a pool has made.
struct server {
  std::atomic<int> made{0};
  std::atomic<int> alive{0};
  std::atomic<int> asked{0};
  std::atomic<bool> down{false};
  std::atomic<bool> silent{false};
};

class fake_connection {
 public:
  explicit fake_connection(server& s) : number{++s.made}, server_{s} { ++server_.alive; }
  fake_connection(const fake_connection&) = delete;
  fake_connection& operator=(const fake_connection&) = delete;
  ~fake_connection() { --server_.alive; }

  [[nodiscard]] bool is_open() const noexcept { return open; }
  [[nodiscard]] bool has_news() const noexcept { return news; }
  [[nodiscard]] bool answers() noexcept {
    ++server_.asked;
    return !server_.silent;
  }

  const int number;
  bool open = true;
  bool news = false;

 private:
  server& server_;
};

using pool = connection_pool<fake_connection, weir::testing::manual_clock::view>;

struct fixture {
  explicit fixture(pool_options options = {}, std::uint64_t seed = 1)
      : tested{options,
               [this] {
                 if (behind.down) throw store_error{store_failure::unavailable, "down"};
                 return std::make_unique<fake_connection>(behind);
               },
               clock.source(), seed} {}

  weir::testing::manual_clock clock;
  server behind;
  pool tested;
};

std::optional<store_failure> failure_of(pool& p) {
  try {
    const auto lent = p.acquire();
    return std::nullopt;
  } catch (const store_error& e) {
    return e.kind();
  }
}

TEST_CASE("a pool connects when it must and lends what was used last", "[postgres][pool]") {
  fixture f;
  {
    const auto a = f.tested.acquire();
    const auto b = f.tested.acquire();
    CHECK(a->number == 1);
    CHECK(b->number == 2);
    CHECK(f.tested.stats().in_use == 2);
  }  // b is given back first, then a
  CHECK(f.tested.acquire()->number == 1);
  CHECK(f.behind.made == 2);
  CHECK(f.tested.stats().in_use == 0);
  CHECK(f.tested.stats().open == 2);
}

TEST_CASE("who finds every connection lent is turned away at the deadline", "[postgres][pool]") {
  fixture f{{.max_connections = 1, .acquire_timeout = 0ns}};
  const auto lent = f.tested.acquire();
  CHECK(failure_of(f.tested) == store_failure::overloaded);
  CHECK(f.tested.stats().acquire_timeouts == 1);
  CHECK(f.tested.stats().waiting == 0);
}

TEST_CASE("who finds the line full is turned away at once", "[postgres][pool]") {
  fixture f{{.max_connections = 1, .max_waiters = 0, .acquire_timeout = 1h}};
  const auto lent = f.tested.acquire();
  CHECK(failure_of(f.tested) == store_failure::overloaded);
  CHECK(f.tested.stats().turned_away == 1);
}

TEST_CASE("a connection that is given back goes to who has waited longest", "[postgres][pool]") {
  fixture f{{.max_connections = 1, .acquire_timeout = 1h}};
  std::vector<int> served;  // by whoever holds the one connection
  {
    std::vector<std::jthread> waiters;
    const auto lent = f.tested.acquire();
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back([&f, &served, i] {
        const auto mine = f.tested.acquire();
        served.push_back(i);
      });
      while (f.tested.stats().waiting != static_cast<std::size_t>(i) + 1) std::this_thread::yield();
    }
  }
  CHECK(served == std::vector{0, 1, 2, 3});
  CHECK(f.behind.made == 1);
}

TEST_CASE("a connection is asked for an answer only after a second of rest or when it has news",
          "[postgres][pool]") {
  fixture f;
  (void)f.tested.acquire();
  f.clock.advance(1s);
  (void)f.tested.acquire();
  CHECK(f.behind.asked == 0);
  f.clock.advance(1s + 1ns);
  (void)f.tested.acquire();
  CHECK(f.behind.asked == 1);
  f.tested.acquire()->news = true;
  (void)f.tested.acquire();
  CHECK(f.behind.asked == 2);
  CHECK(f.behind.made == 1);
}

TEST_CASE("a connection that does not answer is replaced", "[postgres][pool]") {
  fixture f;
  (void)f.tested.acquire();
  f.clock.advance(2s);
  f.behind.silent = true;
  CHECK(f.tested.acquire()->number == 2);
  CHECK(f.behind.alive == 1);
  CHECK(f.tested.stats().open == 1);
  CHECK(f.tested.stats().discarded == 1);
}

TEST_CASE("a connection that is discarded or closed is never lent again", "[postgres][pool]") {
  fixture f;
  f.tested.acquire().discard();
  CHECK(f.behind.alive == 0);
  f.tested.acquire()->open = false;
  CHECK(f.behind.alive == 0);
  CHECK(f.tested.acquire()->number == 3);
  CHECK(f.tested.stats().discarded == 2);
}

TEST_CASE("a connection ends with its lifetime, a tenth or less before", "[postgres][pool]") {
  int early = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    fixture f{{.check_after_idle = 2h, .max_lifetime = 1h}, seed};
    (void)f.tested.acquire();
    f.clock.advance(54min - 1ns);
    CHECK(f.tested.acquire()->number == 1);
    f.clock.advance(3min);
    early += f.tested.acquire()->number == 2 ? 1 : 0;
    f.clock.advance(3min + 1ns);
    CHECK(f.tested.acquire()->number == 2);
  }
  CHECK(early > 0);
  CHECK(early < 20);
}

TEST_CASE("after a failed connect nobody tries again for a random while that doubles up to a cap",
          "[postgres][pool]") {
  const std::vector<weir::duration> most{100ms, 200ms, 400ms, 400ms};
  std::vector<weir::duration> longest(most.size());
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    fixture f{{.backoff_base = 100ms, .backoff_cap = 400ms}, seed};
    f.behind.down = true;
    CHECK(failure_of(f.tested) == store_failure::unavailable);
    for (std::size_t failures = 0; failures < most.size(); ++failures) {
      const auto tried = f.tested.stats().connect_failures;
      weir::duration waited{};
      while (failure_of(f.tested), f.tested.stats().connect_failures == tried) {
        f.clock.advance(1ms);
        waited += 1ms;
      }
      CHECK(waited <= most[failures]);
      longest[failures] = std::max(longest[failures], waited);
    }
    f.clock.advance(401ms);
    f.behind.down = false;
    CHECK(f.tested.acquire()->number == 1);
    CHECK(f.tested.stats().open == 1);
    CHECK(f.tested.stats().in_use == 0);
  }
  for (std::size_t failures = 0; failures < most.size(); ++failures) {
    CHECK(longest[failures] > most[failures] / 2);
  }
}

TEST_CASE("a connection that comes back is lent even while connects fail", "[postgres][pool]") {
  fixture f{{.backoff_base = 1h, .backoff_cap = 1h}};
  auto lent = std::optional{f.tested.acquire()};
  f.behind.down = true;
  CHECK(failure_of(f.tested) == store_failure::unavailable);
  lent.reset();
  CHECK_FALSE(failure_of(f.tested));
}

TEST_CASE("no more connects are under way than allowed", "[postgres][pool]") {
  std::atomic<int> connecting{0};
  std::atomic<int> most{0};
  server behind;
  connection_pool<fake_connection> tested{
      {.max_connections = 8, .max_connecting = 2, .acquire_timeout = 1h}, [&] {
        const int now = ++connecting;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        for (int i = 0; i < 100; ++i) std::this_thread::yield();
        auto made = std::make_unique<fake_connection>(behind);
        --connecting;
        return made;
      }};
  std::latch all_lent{8};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto lent = tested.acquire();
        all_lent.arrive_and_wait();
      });
    }
  }
  CHECK(most <= 2);
  CHECK(behind.made == 8);
}

TEST_CASE("a failed connect leaves its place to the next in line", "[postgres][pool]") {
  fixture f{{.max_connections = 1, .acquire_timeout = 1h, .backoff_base = 1ns, .backoff_cap = 1ns}};
  auto lent = std::optional{f.tested.acquire()};
  std::atomic<int> unavailable{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back(
          [&] { unavailable += failure_of(f.tested) == store_failure::unavailable ? 1 : 0; });
    }
    while (f.tested.stats().waiting != 3) std::this_thread::yield();
    f.behind.down = true;
    lent->discard();
    lent.reset();
  }
  CHECK(unavailable == 3);
  CHECK(f.tested.stats().in_use == 0);
  CHECK(f.tested.stats().open == 0);
}

TEST_CASE("a pool refuses options that make no sense", "[postgres][pool]") {
  CHECK_THROWS_AS((fixture{{.max_connections = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((fixture{{.max_connecting = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((fixture{{.acquire_timeout = -1ns}}), std::invalid_argument);
  CHECK_THROWS_AS((fixture{{.max_lifetime = 0ns}}), std::invalid_argument);
  CHECK_THROWS_AS((fixture{{.backoff_base = 2s, .backoff_cap = 1s}}), std::invalid_argument);
}

TEST_CASE("under load every connection is lent to one at a time and none is lost",
          "[postgres][pool][stress]") {
  server behind;
  std::atomic<int> lent_now{0};
  std::atomic<int> lent_too_many{0};
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  constexpr int rounds = 400;
  connection_pool<fake_connection> tested{{.max_connections = 3,
                                           .max_waiters = 4,
                                           .acquire_timeout = 1ms,
                                           .backoff_base = 1ns,
                                           .backoff_cap = 1ns},
                                          [&] {
                                            if (behind.made % 7 == 6) {
                                              ++behind.made;
                                              throw store_error{store_failure::unavailable, "now and then"};
                                            }
                                            return std::make_unique<fake_connection>(behind);
                                          }};
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        std::minstd_rand random{t + 1};
        for (int i = 0; i < rounds; ++i) {
          try {
            auto lent = tested.acquire();
            if (++lent_now > 3) ++lent_too_many;
            if (random() % 5 == 0) lent.discard();
            if (random() % 5 == 0) lent->open = false;
            std::this_thread::yield();
            --lent_now;
            ++served;
          } catch (const store_error&) {
            ++refused;
          }
        }
      });
    }
  }
  CHECK(lent_too_many == 0);
  CHECK(served + refused == 8 * rounds);
  CHECK(tested.stats().in_use == 0);
  CHECK(tested.stats().waiting == 0);
  CHECK(static_cast<int>(tested.stats().open) == behind.alive);
}

}  // namespace
}  // namespace progression::pq
