// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <future>
#include <latch>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <weir/batcher.hpp>

namespace batcher_test {

using int_item = weir::batch_item<int, int>;

/// A call that keeps its first batch until the test lets it go, and remembers every batch.
/// Answers each request n with 10 n.
struct held_call {
  std::latch entered{1};
  std::latch release{1};
  std::mutex mutex;
  std::vector<std::vector<int>> batches;  // guarded by mutex
  std::vector<std::thread::id> threads;   // guarded by mutex

  auto call() {
    return [this](std::span<int_item> batch) {
      bool first = false;
      {
        const std::lock_guard lock{mutex};
        first = batches.empty();
        std::vector<int> requests;
        for (int_item& i : batch) requests.push_back(i.request());
        batches.push_back(std::move(requests));
        threads.push_back(std::this_thread::get_id());
      }
      if (first) {
        entered.count_down();
        release.wait();
      }
      for (int_item& i : batch) i.set_value(i.request() * 10);
    };
  }
};

template <class F>
[[nodiscard]] auto in_thread(F f) {
  return std::async(std::launch::async, std::move(f));
}

template <class Batcher>
void await_waiting(const Batcher& b, std::size_t count) {
  while (b.stats().waiting != count) std::this_thread::yield();
}

/// A clock that a test can move without anybody noticing: sleepers wake only when told to.
class silent_clock {
 public:
  class view {
   public:
    explicit view(silent_clock& clock) noexcept : clock_{&clock} {}
    [[nodiscard]] weir::time_point now() const noexcept {
      return weir::time_point{weir::duration{clock_->now_.load()}};
    }
    void wake_at(weir::time_point, weir::timer_target&) const noexcept {}
    void forget(weir::timer_target&) const noexcept {}

   private:
    silent_clock* clock_;
  };

  [[nodiscard]] view source() noexcept { return view{*this}; }
  void set(weir::duration at) noexcept { now_.store(at.count()); }

 private:
  std::atomic<weir::duration::rep> now_{0};
};
static_assert(weir::waking_clock<silent_clock::view>);

}  // namespace batcher_test
