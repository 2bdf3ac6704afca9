// SPDX-License-Identifier: BSL-1.0
#include "adapters/sqlite/connection_pool.hpp"

#include <algorithm>
#include <utility>

#include "application/store.hpp"

namespace progression::sqlite {

connection_pool::connection_pool(std::size_t size, std::chrono::milliseconds patience, open_function open)
    : size_{size}, patience_{patience}, open_{std::move(open)} {
  idle_.reserve(size);  // so that giving back never allocates
}

connection_pool::lease connection_pool::acquire() {
  std::unique_ptr<connection> c = take_place();
  if (!c) {
    try {
      c = open_();
    } catch (...) {
      release_place(nullptr);
      throw;
    }
  }
  return {*this, std::move(c)};
}

std::unique_ptr<connection> connection_pool::take_place() {
  std::unique_lock lock{mutex_};
  if (places_taken_ < size_) {
    ++places_taken_;
    if (idle_.empty()) return nullptr;
    std::unique_ptr<connection> c = std::move(idle_.back());
    idle_.pop_back();
    return c;
  }
  waiter self;
  waiters_.push_back(&self);
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  if (self.turn.wait_until(lock, deadline, [&] { return self.granted; })) return std::move(self.handed);
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &self));
  ++timeouts_;
  throw store_error{store_failure::overloaded, "sqlite: no connection became free in time"};
}

void connection_pool::give_back(std::unique_ptr<connection> c) noexcept {
  if (!c->usable()) c.reset();  // closed here, before its place is given to another
  release_place(std::move(c));
}

void connection_pool::release_place(std::unique_ptr<connection> c) noexcept {
  const std::scoped_lock lock{mutex_};
  if (waiters_.empty()) {
    --places_taken_;
    if (c) idle_.push_back(std::move(c));
    return;
  }
  waiter* const next = waiters_.front();
  waiters_.pop_front();
  next->handed = std::move(c);
  next->granted = true;
  next->turn.notify_one();  // under the lock: the waiter owns the condition variable and may leave at once
}

connection_pool::usage connection_pool::used() const {
  const std::scoped_lock lock{mutex_};
  return {.open = places_taken_ + idle_.size(), .in_use = places_taken_, .timeouts = timeouts_};
}

}  // namespace progression::sqlite
