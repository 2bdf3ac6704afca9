// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <weir/detail/thread_slot.hpp>
#include <weir/stats.hpp>

namespace weir::inline v0::detail {

/// Counts of what commutes, each thread on a line of its own: successes, as long as they are welcome, and
/// refusals.
///
/// Model       A stripe is a word {serial, count}.  Who counts a success exchanges {its serial, n} for
///             {its serial, n + 1}: at that instant the stripe was armed for that serial.  The owner, under
///             its lock, arms, drains and closes; a closed stripe is full, of nothing.
/// Invariants  I1  A success is counted under the serial that it comes with, or not at all.
///             I2  After close() returns no success is counted until arm().
///             I3  What close() and drain() return has been counted before, each success once; all that
///                 happen before the call are among it.
/// Ordering    Publishes nothing.  The words alone carry the argument: each is exchanged, so that a count
///             stands before a close of its stripe or after it, and whoever loses sees so.
/// Thread safety  armed, count, refuse, refusals from any thread; the others under the owner's lock.
class success_stripes {
 public:
  /// Whether a success of `serial` may be counted here and now.
  [[nodiscard]] bool armed(std::uint64_t serial) const noexcept {
    // [relaxed] The exchange of count() says whether it is still so.
    return room_for(serial, mine().word.load(std::memory_order_relaxed));
  }

  /// Counts a success of `serial`; false if its stripe is closed, armed for others or full.
  ///
  /// Complexity  One exchange, of a line that no other of the first `size` threads writes to.
  [[nodiscard]] bool count(std::uint64_t serial) noexcept {
    std::atomic<std::uint64_t>& word = mine().word;
    std::uint64_t seen = word.load(std::memory_order_relaxed);  // [relaxed] as in armed
    while (room_for(serial, seen)) {
      // [relaxed] It orders nothing: what matters is where it stands among the exchanges of this word.
      if (word.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// From now on the stripe of this thread is armed with the others.  Precondition: closed.
  void join() noexcept { joined_ |= 1u << index(thread_slot()); }

  /// Admits successes of `serial`.  Precondition: closed.
  void arm(std::uint64_t serial) noexcept {
    if (serial > last_serial) return;
    // [relaxed] Nobody else writes to a closed stripe; who comes with this serial has read its word.
    for_joined([&](stripe& s) { s.word.store(serial << count_bits, std::memory_order_relaxed); });
    armed_ = serial;
  }

  /// The successes since the stripes were armed or drained; the stripes stay armed.
  [[nodiscard]] std::uint64_t drain() noexcept {
    if (armed_ == 0) return 0;
    std::uint64_t sum = 0;
    for_joined([&](stripe& s) {
      // [relaxed] As in count; a success that happens before is seen, and that is what is asked.
      if ((s.word.load(std::memory_order_relaxed) & most) == 0) return;
      sum += s.word.exchange(armed_ << count_bits, std::memory_order_relaxed) & most;
    });
    return sum;
  }

  /// The same, but nothing is counted any more.
  [[nodiscard]] std::uint64_t close() noexcept {
    if (armed_ == 0) return 0;
    std::uint64_t sum = 0;
    // [relaxed] As in count.
    for_joined([&](stripe& s) { sum += s.word.exchange(closed, std::memory_order_relaxed) & most; });
    armed_ = 0;
    return sum;
  }

  /// Counts a refusal: a load and a store, for the first `size` threads of an image.
  void refuse() noexcept {
    const int slot = thread_slot();
    stripe& s = stripes_[index(slot)];
    if (slot < static_cast<int>(size) && s.is_of(thread_slot_image())) {
      s.refused.add_alone();  // the stripe of this thread alone, and of those that had its slot before
    } else {
      s.refused_others.add();
    }
  }

  [[nodiscard]] std::uint64_t refusals() const noexcept {
    std::uint64_t sum = 0;
    for (const stripe& s : stripes_) sum += s.refused.value() + s.refused_others.value();
    return sum;
  }

 private:
  static constexpr std::size_t size = 8;
  static constexpr int count_bits = 16;
  static constexpr std::uint64_t most = (std::uint64_t{1} << count_bits) - 1;
  static constexpr std::uint64_t closed = most;
  static constexpr std::uint64_t last_serial = ~std::uint64_t{0} >> count_bits;

  struct alignas(64) stripe {
    std::atomic<std::uint64_t> word{closed};
    event_counter refused;
    event_counter refused_others;  // of threads whose slots are not their own stripe's, or not unique
    std::atomic<const void*> image{
        nullptr};  // of the program, by whose slots `refused` is counted: the first

    [[nodiscard]] bool is_of(const void* mine) noexcept {
      // [relaxed] Written once; it says who may count, and orders nothing.
      const void* seen = image.load(std::memory_order_relaxed);
      if (seen == nullptr && image.compare_exchange_strong(seen, mine, std::memory_order_relaxed))
        return true;
      return seen == mine;
    }
  };

  static bool room_for(std::uint64_t serial, std::uint64_t word) noexcept {
    return word >> count_bits == serial && (word & most) != most;
  }
  static std::size_t index(int slot) noexcept { return static_cast<std::size_t>(slot) % size; }
  [[nodiscard]] stripe& mine() noexcept { return stripes_[index(thread_slot())]; }
  [[nodiscard]] const stripe& mine() const noexcept { return stripes_[index(thread_slot())]; }

  template <class F>
  void for_joined(F&& f) noexcept {
    for (std::size_t i = 0; i < size; ++i) {
      if ((joined_ >> i & 1u) != 0) f(stripes_[i]);
    }
  }

  std::array<stripe, size> stripes_{};
  std::uint64_t armed_ = 0;   // the serial; 0: closed
  std::uint32_t joined_ = 0;  // the stripes that somebody uses
};

}  // namespace weir::inline v0::detail
