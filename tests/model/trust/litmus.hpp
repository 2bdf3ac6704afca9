// SPDX-License-Identifier: BSL-1.0
// Litmus tests: what a few operations may see, as a set of outcomes that must be met exactly.
#pragma once

#include "model/scenario.hpp"

#include <cstddef>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace weir_test {

/// Collects the outcomes of all executions of one test.
class outcome_book {
 public:
  /// One outcome: its numbers, as a word.  To be called when the threads have ended.
  void add(std::initializer_list<int> seen);

  [[nodiscard]] const std::set<std::string>& words() const { return words_; }

 private:
  std::set<std::string> words_;
};

/// A test, defined at namespace scope; `run_litmus` runs all of them.
struct litmus {
  /// \param allowed  By C++20, words with blanks between them.
  /// \param beyond   Those of them that the checker never shows: its documented limits.
  litmus(std::string_view name, std::string_view allowed, void (*build)(weir_model::world&, outcome_book&),
         const weir_model::bounds& limits = {}, std::string_view beyond = {});

  std::string name;
  std::set<std::string> expected;
  std::size_t beyond = 0;
  void (*build)(weir_model::world&, outcome_book&);
  weir_model::bounds limits;
};

/// Every word of `length` binary digits, but one.
std::string every_word(int length, std::string_view but = {});

/// Prints a line a test; 0 if all hold.
int run_litmus(int count, char** arguments);

}  // namespace weir_test
