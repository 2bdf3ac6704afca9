// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <stop_token>
#include <thread>

namespace progression::pq {

/// Hangs up on a server that has been silent for too long.  libpqxx waits for an answer without bound, and
/// the limits of a statement are kept by the server: they are of no use against one that hangs, that is cut
/// off, or whose table somebody has locked before the statement could set them.
class watchdog {
  using clock = std::chrono::steady_clock;
  struct watched {
    int socket;
    clock::time_point until;
    bool cut = false;
  };

 public:
  /// What is watched for longer than `patience` is cut off, at the latest after twice that time.
  explicit watchdog(std::chrono::milliseconds patience)
      : patience_{patience}, thread_{[this](const std::stop_token& stop) { run(stop); }} {}

  /// Watches a socket, which must stay open meanwhile.
  class [[nodiscard]] guard {
   public:
    guard(watchdog& owner, int socket) : owner_{owner} {
      const std::lock_guard lock{owner_.mutex_};
      place_ = owner_.all_.insert(owner_.all_.end(), {socket, clock::now() + owner_.patience_});
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    ~guard() {
      const std::lock_guard lock{owner_.mutex_};
      owner_.all_.erase(place_);
    }

   private:
    watchdog& owner_;
    std::list<watched>::iterator place_;
  };

 private:
  /// Looks on its own account: whoever comes to be watched wakes nobody.
  void run(const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    while (!stop.stop_requested()) {
      const auto now = clock::now();
      auto wake = now + patience_;
      for (watched& w : all_) {
        if (w.cut) continue;
        if (w.until > now) {
          wake = std::min(wake, w.until);
        } else {
          ::shutdown(w.socket, SHUT_RDWR);  // whoever waits for an answer reads the end of the stream
          w.cut = true;
        }
      }
      wake_.wait_until(lock, stop, wake, [] { return false; });
    }
  }

  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::list<watched> all_;  // guarded by mutex_
  std::jthread thread_;     // last, so that it ends first
};

}  // namespace progression::pq
