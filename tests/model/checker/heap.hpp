// SPDX-License-Identifier: BSL-1.0
// The heap of an execution: the same calls give the same addresses every time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <unordered_map>
#include <vector>

#include "region.hpp"

namespace weir_model {

class model_heap {
 public:
  struct block {
    char* begin;
    std::size_t size;
    const void* allocated_at;
    bool alive;
  };

  explicit model_heap(const region& memory) : region_{memory} {}

  void reset(bool reuse) {
    used_ = 0;
    blocks_.clear();
    index_.clear();
    reuse_ = reuse;
  }

  /// Null if the heap is full.
  [[nodiscard]] char* allocate(std::size_t bytes, std::size_t alignment, const void* pc) {
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + granule - 1) / granule * granule;
    if (reuse_) {
      // Last freed, first reused: how an address comes back soonest.
      for (std::size_t i = blocks_.size(); i-- > 0;) {
        block& b = blocks_[i];
        if (b.alive || b.size != size || reinterpret_cast<std::uintptr_t>(b.begin) % alignment != 0) continue;
        b.alive = true;
        b.allocated_at = pc;
        return b.begin;
      }
    }
    const std::size_t align = std::max<std::size_t>(alignment, 16);
    const std::size_t begin = (used_ + align - 1) / align * align;
    if (begin + size + gap > heap_size) return nullptr;
    used_ = begin + size + gap;
    blocks_.push_back({region_.heap() + begin, size, pc, true});
    index_[blocks_.back().begin] = blocks_.size() - 1;
    return blocks_.back().begin;
  }

  /// The block that begins at `p`; null if none ever did.
  [[nodiscard]] block* find(const void* p) {
    const auto at = index_.find(static_cast<const char*>(p));
    return at == index_.end() ? nullptr : &blocks_[at->second];
  }

  [[nodiscard]] const block* leak() const {
    const auto at = std::find_if(blocks_.begin(), blocks_.end(), [](const block& b) { return b.alive; });
    return at == blocks_.end() ? nullptr : &*at;
  }

 private:
  static constexpr std::size_t gap = 16;  // between blocks: an access there is nobody's

  const region& region_;
  std::size_t used_ = 0;
  bool reuse_ = false;
  std::vector<block> blocks_;
  std::unordered_map<const char*, std::size_t> index_;
};

}  // namespace weir_model
