// SPDX-License-Identifier: BSL-1.0
// Which of the possible executions comes next.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace weir_model {

/// The choices of one execution, in order; how they are made is the strategy.
class search {
 public:
  enum class strategy { exhaustive, random };

  void begin(strategy how, unsigned seed) {
    how_ = how;
    path_.clear();
    generator_.seed(seed);
  }

  /// Before each execution.
  void rewind() {
    depth_ = 0;
    if (how_ == strategy::random && !replaying_) path_.clear();
  }

  /// After each: false if there is no other left.
  [[nodiscard]] bool next() {
    if (how_ == strategy::random) return true;
    while (!path_.empty() && path_.back().chosen + 1 >= path_.back().of) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().chosen;
    return true;
  }

  /// The execution that has just been made is made again.
  void replay(bool again) { replaying_ = again; }

  /// One of 0 .. n - 1.  At random, the first is as likely as all others together.
  [[nodiscard]] int choose(int n) {
    if (n <= 1) return 0;
    if (replaying_ || how_ == strategy::exhaustive) {
      if (depth_ == path_.size()) path_.push_back({0, n});
      return path_[depth_++].chosen;
    }
    return record(random(2) == 0 ? 0 : random(n), n);
  }

  /// One of 0 .. n - 1; at random, as `pick` says.
  template <class Pick>
  [[nodiscard]] int choose(int n, Pick pick) {
    if (how_ == strategy::exhaustive || replaying_) return choose(n);
    return n <= 1 ? 0 : record(pick(), n);
  }

  [[nodiscard]] bool is_random() const { return how_ == strategy::random; }
  [[nodiscard]] int random(int n) { return static_cast<int>(generator_() % static_cast<unsigned>(n)); }

 private:
  struct choice {
    int chosen;
    int of;
  };

  int record(int chosen, int of) {
    path_.push_back({chosen, of});
    ++depth_;
    return chosen;
  }

  strategy how_ = strategy::exhaustive;
  std::vector<choice> path_;
  std::size_t depth_ = 0;
  bool replaying_ = false;
  std::mt19937 generator_;
};

}  // namespace weir_model
