// SPDX-License-Identifier: BSL-1.0
// What is known about plain memory: who wrote it last, who has read it since, and whether it is alive.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "region.hpp"

namespace weir_model {

enum class access : std::uint8_t {
  read,
  write,
  atomic,        ///< by an atomic operation: may meet other such, but no plain write
  atomic_store,  ///< nor a plain read
};

/// Finds accesses that are ordered by nothing, and accesses to memory that is dead.
///
/// Exact to the byte: a granule has one record as long as all accesses to it cover the same bytes, and one for
/// each byte from then on.
class watch {
 public:
  explicit watch(const region& memory) : region_{memory}, granules_(region::granules) {}

  void reset() {
    ++execution_;
    divided_ = 0;
    elsewhere_.clear();
  }

  /// The access of `thread`, whose clock is `clock`; false if something is wrong with it, which `wrong` tells.
  [[nodiscard]] bool touch(const volatile void* p, std::size_t bytes, access how, int thread,
                           const vector_clock& clock);
  [[nodiscard]] std::string wrong() const;
  /// Whether the last access met an atomic, a mutex or a condition variable: writing there ends its life.
  [[nodiscard]] bool met_object() const { return met_object_; }

  /// The memory begins to live, unknown to everybody.
  void allocate(const volatile void* p, std::size_t bytes);

  /// It dies: as a write, and nobody may touch it any more.  As `touch`.
  [[nodiscard]] bool release(const volatile void* p, std::size_t bytes, int thread,
                             const vector_clock& clock);

  /// Whether such an object stands here.
  [[nodiscard]] bool marked(const volatile void* p, std::size_t bytes);
  void mark(const volatile void* p, std::size_t bytes);
  void unmark(const volatile void* p, std::size_t bytes);

 private:
  struct record {
    timestamp written = 0;
    std::uint8_t writer = 0;
    bool atomic_stores = false;
    std::array<timestamp, max_threads> used{};    // by readers, and by atomic operations
    std::array<timestamp, max_threads> stored{};  // by atomic operations
  };
  enum class life : std::uint8_t { unknown, alive, dead };
  struct entry {
    std::uint32_t execution = 0;
    std::uint8_t mask = 0;    // the bytes that `all` is about; 0: none yet
    std::uint32_t bytes = 0;  // 1 + where the records of the single bytes stand; 0: `all` is the record
    bool holds_object = false;
    life state = life::unknown;
    record all;
  };

  enum class fault : std::uint8_t { none, dead, never_allocated, unordered_write, unordered_use };

  [[nodiscard]] entry& at(const volatile void* p);
  [[nodiscard]] bool touch_granule(entry& e, std::uint8_t mask, access how, int thread,
                                   const vector_clock& clock);
  void divide(entry& e);
  [[nodiscard]] bool check(record& r, access how, int thread, const vector_clock& clock);
  [[nodiscard]] bool is(fault what, access how = access::read, int other = 0) {
    fault_ = what;
    fault_access_ = how;
    fault_with_ = other;
    return false;
  }

  fault fault_ = fault::none;  // what `touch` has found last
  access fault_access_ = access::read;
  int fault_with_ = 0;
  bool met_object_ = false;

  const region& region_;
  std::uint32_t execution_ = 1;
  std::vector<entry> granules_;
  std::vector<std::array<record, granule>> bytes_;
  std::uint32_t divided_ = 0;                            // how many of them are in use
  std::unordered_map<std::uintptr_t, entry> elsewhere_;  // memory outside the region, by address / granule
};

}  // namespace weir_model
