// SPDX-License-Identifier: BSL-1.0
// Bounded queues of std::uint64_t that others made, and the one that everybody writes.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#if defined(WEIR_PEER_TBB)
#include <tbb/concurrent_queue.h>
#endif
#if defined(WEIR_PEER_BOOST)
#include <boost/lockfree/queue.hpp>
#endif
#if defined(WEIR_PEER_MOODYCAMEL)
#include <blockingconcurrentqueue.h>
#include <lightweightsemaphore.h>
#endif

namespace weir_bench {

/// What one writes without a library.
class mutex_queue {
 public:
  explicit mutex_queue(std::size_t n) : capacity_{n} {}

  bool try_push(std::uint64_t v) {
    {
      const std::lock_guard lock{mutex_};
      if (values_.size() == capacity_) return false;
      values_.push_back(v);
    }
    not_empty_.notify_one();
    return true;
  }
  bool try_pop(std::uint64_t& v) {
    {
      const std::lock_guard lock{mutex_};
      if (values_.empty()) return false;
      v = values_.front();
      values_.pop_front();
    }
    not_full_.notify_one();
    return true;
  }
  void push(std::uint64_t v) {
    {
      std::unique_lock lock{mutex_};
      not_full_.wait(lock, [this] { return values_.size() < capacity_; });
      values_.push_back(v);
    }
    not_empty_.notify_one();
  }
  std::uint64_t pop() {
    std::unique_lock lock{mutex_};
    not_empty_.wait(lock, [this] { return !values_.empty(); });
    const auto v = values_.front();
    values_.pop_front();
    lock.unlock();
    not_full_.notify_one();
    return v;
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable not_empty_, not_full_;
  std::deque<std::uint64_t> values_;  // guarded by mutex_
};

#if defined(WEIR_PEER_TBB)
/// oneTBB: exactly bounded, blocking.
class tbb_queue {
 public:
  explicit tbb_queue(std::size_t n) { queue_.set_capacity(static_cast<std::ptrdiff_t>(n)); }

  bool try_push(std::uint64_t v) { return queue_.try_push(v); }
  bool try_pop(std::uint64_t& v) { return queue_.try_pop(v); }
  void push(std::uint64_t v) { queue_.push(v); }
  std::uint64_t pop() {
    std::uint64_t v = 0;
    queue_.pop(v);
    return v;
  }

 private:
  tbb::concurrent_bounded_queue<std::uint64_t> queue_;
};
#endif

#if defined(WEIR_PEER_BOOST)
/// Boost.Lockfree, of a capacity that is fixed when it is compiled: it never waits.
template <std::size_t Capacity>
class boost_queue {
 public:
  explicit boost_queue(std::size_t) {}

  bool try_push(std::uint64_t v) { return queue_.push(v); }
  bool try_pop(std::uint64_t& v) { return queue_.pop(v); }

 private:
  boost::lockfree::queue<std::uint64_t, boost::lockfree::capacity<Capacity>> queue_;
};
#endif

#if defined(WEIR_PEER_MOODYCAMEL)
/// moodycamel's queue, bounded from outside by its own semaphore; first in first out for each producer alone.
class moodycamel_queue {
 public:
  explicit moodycamel_queue(std::size_t n) : queue_{n}, room_{static_cast<std::ptrdiff_t>(n)} {}

  bool try_push(std::uint64_t v) {
    if (!room_.tryWait()) return false;
    return queue_.enqueue(v);
  }
  bool try_pop(std::uint64_t& v) {
    if (!queue_.try_dequeue(v)) return false;
    room_.signal();
    return true;
  }
  void push(std::uint64_t v) {
    while (!room_.wait()) {
    }
    queue_.enqueue(v);
  }
  std::uint64_t pop() {
    std::uint64_t v = 0;
    queue_.wait_dequeue(v);
    room_.signal();
    return v;
  }

 private:
  moodycamel::BlockingConcurrentQueue<std::uint64_t> queue_;
  moodycamel::LightweightSemaphore room_;
};
#endif

}  // namespace weir_bench
