// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <latch>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/clock.hpp>

#include "application/service.hpp"
#include "memory_store.hpp"

namespace progression::testing {

/// A clock that stands until a test moves it.  For tests in which nobody waits.
inline std::atomic<weir::duration::rep> standing_time{0};
inline weir::time_point standing_now() noexcept {
  return weir::time_point{
      weir::duration{standing_time.load(std::memory_order_acquire)}};  // [A] acquire, with [B]
}
inline void advance(weir::duration by) {
  standing_time.fetch_add(by.count(), std::memory_order_release);  // [B] release, pairs with [A]
}

inline std::atomic<std::int64_t> wall_micros{1'700'000'000'000'000};
inline wall_time wall_now() {
  return wall_time{std::chrono::microseconds{wall_micros.load()}};  // seq_cst: a test's convenience
}

inline node plain(std::string key, std::vector<std::string> prerequisites = {}, int max_level = 1) {
  node n;
  n.key = std::move(key);
  n.name = "The " + n.key;
  n.max_level = max_level;
  n.prerequisites = std::move(prerequisites);
  return n;
}

/// root is granted; a..d cost 50 points each; "faster" adds half to everything; "last" needs all.
inline tree small_tree() {
  node root = plain("root");
  root.auto_unlock = true;
  node last = plain("last");
  last.dynamic = {total_unlocked{6}};
  node faster = plain("faster", {"root"});
  faster.rate_per_level_milli = 500;
  return tree{{root, plain("a", {"root"}), plain("b", {"root"}), plain("c", {"root"}, 2),
               plain("d", {"root"}), faster, last}};
}

/// One that never ends within a test: 100 levels of one node, 50 points each.
inline tree long_tree() {
  return tree{{plain("x", {}, 100), plain("y", {}, 100), plain("z", {}, 100), plain("w", {}, 100)}};
}

inline message chat(std::string event_id, std::string user = "u") {
  return {.event_id = std::move(event_id), .platform = "test", .platform_id = std::move(user)};
}

/// Options without limits that a test did not ask for.
inline service_options unlimited() {
  service_options o;
  o.limit_users = false;
  o.limit_total = false;
  o.seed = 1;
  o.wall_now = &wall_now;
  return o;
}

/// The same on the standing clock.
inline service_options standing() {
  service_options o = unlimited();
  o.now = &standing_now;
  o.linger = weir::duration::zero();
  return o;
}

/// Keeps every event that it is told.
class event_log {
 public:
  event_sink sink() {
    return [this](const event& e) {
      const std::lock_guard lock{mutex_};
      events_.push_back(e);
    };
  }
  template <class E>
  [[nodiscard]] std::vector<E> all() const {
    const std::lock_guard lock{mutex_};
    std::vector<E> found;
    for (const event& e : events_) {
      if (const auto* one = std::get_if<E>(&e)) found.push_back(*one);
    }
    return found;
  }
  [[nodiscard]] std::size_t paid_unlocks() const {
    std::size_t n = 0;
    for (const node_unlocked& e : all<node_unlocked>()) n += e.source == unlock_source::vote ? 1U : 0U;
    return n;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    const std::lock_guard lock{mutex_};
    std::vector<std::string> found;
    for (const event& e : events_) found.emplace_back(name_of(e));
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<event> events_;  // guarded by mutex_
};

/// Runs `f(i)` on n threads that start together.
template <class F>
void together(int n, F f) {
  std::latch start{n};
  std::vector<std::jthread> threads;
  for (int i = 0; i < n; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      f(i);
    });
  }
}

/// Until the condition holds; whoever waits for ever is stopped by the time-out of the test.
template <class F>
void await(F condition) {
  while (!condition()) std::this_thread::yield();
}

}  // namespace progression::testing
