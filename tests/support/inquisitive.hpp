// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <functional>

namespace weir_test {

/// A key or a value that asks whenever it is copied: not possible under the lock of what is asked.
struct inquisitive {
  explicit inquisitive(int n, const std::function<void()>* a = nullptr) : number{n}, ask{a} {}
  inquisitive(const inquisitive& other) : number{other.number}, ask{other.ask} {
    if (ask != nullptr) (*ask)();
  }
  inquisitive& operator=(const inquisitive&) = delete;
  ~inquisitive() = default;
  bool operator==(const inquisitive& other) const { return number == other.number; }

  struct hash {
    std::size_t operator()(const inquisitive& i) const { return static_cast<std::size_t>(i.number); }
  };

  int number;
  const std::function<void()>* ask;
};

}  // namespace weir_test
