// SPDX-License-Identifier: BSL-1.0
// What is known by address in one execution; forgotten at a stroke before the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir_model {

template <class Value>
class address_table {
 public:
  void reset() {
    ++execution_;
    used_ = 0;
  }

  /// The value at `p`; null if there is none.
  [[nodiscard]] Value* find(const volatile void* p) {
    for (std::size_t i = hash(p);; i = (i + 1) % slots_.size()) {
      slot& s = slots_[i];
      if (s.execution != execution_) return nullptr;
      if (s.key == p) return s.erased ? nullptr : &s.value;
    }
  }

  /// The value at `p`, which is made anew if there is none.
  Value& insert(const volatile void* p, Value value) {
    if (++used_ * 2 > slots_.size()) grow();
    for (std::size_t i = hash(p);; i = (i + 1) % slots_.size()) {
      slot& s = slots_[i];
      if (s.execution == execution_ && s.key != p) continue;
      s = slot{p, execution_, false, std::move(value)};
      return s.value;
    }
  }

  void erase(const volatile void* p) {
    for (std::size_t i = hash(p);; i = (i + 1) % slots_.size()) {
      slot& s = slots_[i];
      if (s.execution != execution_) return;
      if (s.key == p) s.erased = true;
      if (s.key == p) return;
    }
  }

 private:
  struct slot {
    const volatile void* key = nullptr;
    std::uint32_t execution = 0;
    bool erased = false;
    Value value{};
  };

  [[nodiscard]] std::size_t hash(const volatile void* p) const {
    const std::uintptr_t n = reinterpret_cast<std::uintptr_t>(p);
    return static_cast<std::size_t>((n ^ (n >> 9U)) * 0x9E3779B97F4A7C15U >> 20U) % slots_.size();
  }

  void grow() {
    std::vector<slot> old(slots_.size() * 2);
    old.swap(slots_);
    used_ = 0;
    for (slot& s : old) {
      if (s.execution == execution_ && !s.erased) insert(s.key, std::move(s.value));
    }
  }

  std::vector<slot> slots_ = std::vector<slot>(256);
  std::uint32_t execution_ = 1;
  std::size_t used_ = 0;
};

}  // namespace weir_model
