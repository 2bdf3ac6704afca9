// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <utility>

#include <weir/detail/slot_registry.hpp>

namespace weir::inline v0::detail {

/// Number of the threads that share one because there are more of them than numbers, or because they end.
inline constexpr int shared_slot = slot_registry::size;

/// A small number of the calling thread that no other living thread has, unless it is `shared_slot`.
///
/// Where several images of a program have their own copy of this header's variables, each counts for itself:
/// a slot is unique in its `thread_slot_image`.
/// Complexity  One load, after the first call of a thread.
inline int thread_slot() noexcept;

/// Tells the images of a program apart that number their threads by themselves.
inline const void* thread_slot_image() noexcept;

class thread_slots {
  friend int thread_slot() noexcept;
  friend const void* thread_slot_image() noexcept;

  static constexpr int none = -1;

  /// Gives it back when its thread ends; whoever asks still later shares.
  struct lease {
    ~lease() { slots.give_back(std::exchange(mine, shared_slot)); }
  };

  static int take() noexcept {
    [[maybe_unused]] static const thread_local lease until_the_end;
    return mine = slots.take();
  }

  static constinit slot_registry slots;
  static constinit thread_local int mine;
};

inline constinit slot_registry thread_slots::slots{};
inline constinit thread_local int thread_slots::mine = thread_slots::none;

inline const void* thread_slot_image() noexcept { return &thread_slots::slots; }

inline int thread_slot() noexcept {
  const int slot = thread_slots::mine;
  return slot >= 0 ? slot : thread_slots::take();
}

}  // namespace weir::inline v0::detail
