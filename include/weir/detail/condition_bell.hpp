// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

#include <weir/clock.hpp>
#include <weir/detail/spinning.hpp>

namespace weir::inline v0::detail {

/// Where one thread sleeps until somebody rings; for systems without a futex.
///
/// Model          As futex_bell.
/// Lifetime       `ring` touches nothing of the bell once its bits can be seen: both happen under the lock.
/// Thread safety  `ring` from any thread; the others from one thread at a time.
class condition_bell {
 public:
  condition_bell() = default;
  condition_bell(const condition_bell&) = delete;
  condition_bell& operator=(const condition_bell&) = delete;
  ~condition_bell() = default;

  void ring(std::uint32_t why) noexcept {
    const std::lock_guard lock{mutex_};
    rung_ |= why;
    signal_.notify_one();  // under the lock: the sleeper may destroy this bell once it is free
  }

  /// Takes the bits of all rings so far.
  [[nodiscard]] std::uint32_t heard() noexcept {
    const std::lock_guard lock{mutex_};
    return std::exchange(rung_, 0);
  }

  [[nodiscard]] bool silent() noexcept {
    const std::lock_guard lock{mutex_};
    return rung_ == 0;
  }

  /// Returns after a ring, at once if there was one.
  void sleep() noexcept {
    std::unique_lock lock{mutex_};
    signal_.wait(lock, [this] { return rung_ != 0; });
  }

  /// As `sleep`, but not past `at` on the clock of the system, nor longer than an hour.
  void sleep(time_point at) noexcept {
    const steady_clock system;
    std::unique_lock lock{mutex_};
    signal_.wait_until(lock, std::min(at, system.now() + longest_nap), [this] { return rung_ != 0; });
  }

  /// None: to look takes the lock that who rings must have.
  [[nodiscard]] static int spins() noexcept { return 0; }

 private:
  /// Some libraries measure the wait on another clock; an hour cannot overflow that.
  static constexpr duration longest_nap = std::chrono::hours{1};

  std::mutex mutex_;  // a leaf: nothing else is locked while it is held
  std::condition_variable signal_;
  std::uint32_t rung_ = 0;  // guarded by mutex_
};

}  // namespace weir::inline v0::detail
