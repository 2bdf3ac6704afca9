// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "adapters/sqlite/connection.hpp"

namespace progression::sqlite {

/// A fixed number of connections, opened when first needed and handed over first come, first served.  A pool
/// of one is the lock of the writer.
class connection_pool final {
 public:
  using open_function = std::function<std::unique_ptr<connection>()>;

  class [[nodiscard]] lease final {
   public:
    lease(lease&& other) noexcept = default;
    lease& operator=(lease&&) = delete;
    ~lease() {
      if (connection_) pool_->give_back(std::move(connection_));
    }
    connection& operator*() const noexcept { return *connection_; }
    connection* operator->() const noexcept { return connection_.get(); }

   private:
    friend class connection_pool;
    lease(connection_pool& pool, std::unique_ptr<connection> c) noexcept
        : pool_{&pool}, connection_{std::move(c)} {}
    connection_pool* pool_;
    std::unique_ptr<connection> connection_;
  };

  connection_pool(std::size_t size, std::chrono::milliseconds patience, open_function open);

  /// Waits its turn for as long as the patience lasts, then throws store_error (overloaded).
  lease acquire();

  struct usage {
    std::uint64_t open = 0;
    std::uint64_t in_use = 0;
    std::uint64_t timeouts = 0;
  };
  [[nodiscard]] usage used() const;

 private:
  struct waiter {
    std::condition_variable turn;
    std::unique_ptr<sqlite::connection> handed;  // may stay empty: then the waiter opens one
    bool granted = false;
  };

  std::unique_ptr<connection> take_place();
  void give_back(std::unique_ptr<connection> c) noexcept;
  void release_place(std::unique_ptr<connection> c) noexcept;

  const std::size_t size_;
  const std::chrono::milliseconds patience_;
  const open_function open_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<connection>> idle_;  // guarded by mutex_
  std::deque<waiter*> waiters_;                    // guarded by mutex_; first come, first served
  std::size_t places_taken_ = 0;                   // guarded by mutex_; a handed-over place stays taken
  std::uint64_t timeouts_ = 0;                     // guarded by mutex_
};

}  // namespace progression::sqlite
