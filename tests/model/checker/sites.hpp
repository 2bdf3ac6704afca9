// SPDX-License-Identifier: BSL-1.0
// The atomic operations of the program, by where they stand, and the orders that an experiment gives them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "symbols.hpp"

namespace weir_model {

enum class operation_name : unsigned char { load, store, exchange, compare_exchange, fence };

/// Text of each.
const char* name_of(operation_name);
const char* name_of(std::memory_order);

/// One operation in the source, with the orders that are written there.  A template may have many instructions.
struct site {
  source_line where;
  operation_name operation{};
  std::memory_order order{};    ///< of the whole operation, or of its success
  std::memory_order failure{};  ///< of a compare-exchange that fails
  long executed = 0;
  bool counter = false;  ///< a statistic that orders nothing: executed, but no point of scheduling

  std::memory_order effective{};  ///< what is executed: differs in an experiment
  std::memory_order effective_failure{};
  bool dropped = false;  ///< a fence that is left out
};

class site_table {
 public:
  /// The site of the call at return address `pc`.
  site& of(const void* pc, operation_name operation, std::memory_order order,
           std::memory_order failure = std::memory_order::relaxed) {
    const auto at = by_address_.find(key(pc, order, failure));
    if (at != by_address_.end() && at->second->operation == operation) return *at->second;
    return resolve(pc, operation, order, failure);
  }

  [[nodiscard]] std::vector<site*> all() const;

  /// Sites of this name get another order: `task_gate.hpp:123:load:acquire=relaxed`, or with `/failure` after the
  /// order for that of a compare-exchange that fails.
  void weaken(const std::string& what) { weakened_ = what; }

 private:
  site& resolve(const void* pc, operation_name operation, std::memory_order order, std::memory_order failure);

  /// One instruction may have several orders: those that the standard library passes on.
  static std::uintptr_t key(const void* pc, std::memory_order order, std::memory_order failure) {
    return reinterpret_cast<std::uintptr_t>(pc) << 6 | static_cast<std::uintptr_t>(order) << 3 |
           static_cast<std::uintptr_t>(failure);
  }

  std::unordered_map<std::uintptr_t, site*> by_address_;
  std::unordered_map<std::string, site*> by_place_;
  std::vector<site*> in_order_;
  std::string weakened_;
};

/// The orders that are weaker than `order` by one step.
std::vector<std::memory_order> weaker(operation_name operation, std::memory_order order, bool failure);

}  // namespace weir_model
