// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <stdexcept>

/// Move-only; its k-th move from now throws, and leaves the source as it was.  Counts those alive.
class fragile {
 public:
  explicit fragile(int v) noexcept : value{v} { ++alive; }
  fragile(fragile&& other) : value{other.value} {
    if (fuse > 0 && --fuse == 0) throw std::runtime_error{"move"};
    other.value = moved_from;
    ++alive;
  }
  fragile(const fragile&) = delete;
  fragile& operator=(const fragile&) = delete;
  fragile& operator=(fragile&&) = delete;
  ~fragile() { --alive; }

  static constexpr int moved_from = -1;
  static inline std::atomic<int> fuse = 0;  // 0: no move throws
  static inline std::atomic<int> alive = 0;
  int value;
};
