// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/testing/manual_clock.hpp>
#include <weir/ttl_cache.hpp>

namespace weir_test {

using weir::testing::manual_clock;

/// What a listener was told, in order.
template <class Key, class Value>
struct removal_log {
  struct event {
    Key key;
    Value value;
    weir::removal_cause cause;
    friend bool operator==(const event&, const event&) = default;
  };
  std::mutex mutex;
  std::vector<event> events;  // guarded by mutex until the threads are joined
};

template <class Key, class Value>
struct logging {
  removal_log<Key, Value>* log = nullptr;
  void on_removed(const Key& key, const Value& value, weir::removal_cause cause) noexcept {
    if (log == nullptr) return;
    const std::lock_guard lock{log->mutex};
    log->events.push_back({key, value, cause});
  }
};

template <class Key, class Value>
struct logging_traits : weir::ttl_cache_traits<Key> {
  using listener = logging<Key, Value>;
};

/// A cache on a manual clock that logs what leaves it.
template <class Key, class Value>
using logged_cache = weir::ttl_cache<Key, Value, manual_clock::view, logging_traits<Key, Value>>;

/// Returns once `count` callers in all have joined a load.
template <class Cache>
void await_joined(const Cache& cache, std::size_t count) {
  while (cache.stats().joined < count) std::this_thread::yield();
}

}  // namespace weir_test
