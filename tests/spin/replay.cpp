// SPDX-License-Identifier: BSL-1.0

// Makes the calls that traces.pml wrote on the real breaker and compares, after each, the answer and what the
// breaker then is.  Reads standard input, ends with one line of counts:
//
//   traces=N steps=N calls=N kinds=N divergences=N
//
// traces       paths from the beginning to an end
// steps        lines compared; calls counts the repeated beginnings of the paths of a tree too
// kinds        different pairs of call and answer among them
// Exit status  0 no divergence, 1 divergences, 2 nothing to compare or a line that cannot follow.

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "replayed_breaker.hpp"
#include "trace.hpp"

namespace {

using namespace weir_model;

/// Walks a tree of steps in preorder; each path begins with a new breaker.
class replay {
 public:
  void begin(const model_options& options) {
    end_path();
    path_.clear();
    options_ = options;
    diverged_at_ = never;
  }

  /// False if the step cannot follow the ones before.
  bool add(const model_step& step) {
    if (!options_ || step.number == 0 || step.number > path_.size() + 1) return false;
    if (step.number <= path_.size()) {
      end_path();
      path_.resize(step.number - 1);
    }
    path_.push_back(step);
    if (step.number > diverged_at_) return true;  // what follows a divergence says nothing
    diverged_at_ = never;
    ++steps_;
    kinds_.insert({step.what, step.said});
    while (made_ < path_.size() && diverged_at_ == never) make_next();
    return true;
  }

  int report() {
    end_path();
    std::cout << "traces=" << traces_ << " steps=" << steps_ << " calls=" << calls_
              << " kinds=" << kinds_.size() << " divergences=" << divergences_ << '\n';
    if (steps_ == 0) return 2;
    return divergences_ == 0 ? 0 : 1;
  }

 private:
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();
  static constexpr std::uint64_t most_shown = 3;

  void end_path() {
    if (!path_.empty()) ++traces_;
    subject_.reset();
    made_ = 0;
  }

  void make_next() {
    if (!subject_) subject_ = std::make_unique<replayed_breaker>(*options_, threads_);
    const auto difference = subject_->make(path_[made_]);
    ++made_;
    ++calls_;
    if (!difference) return;
    diverged_at_ = made_;
    if (++divergences_ <= most_shown) show(*difference);
  }

  void show(const std::string& difference) const {
    std::cout << "divergence " << divergences_ << ":\n";
    for (std::size_t i = 0; i != made_; ++i) {
      const model_step& s = path_[i];
      std::cout << "  " << s.number << ' ' << to_string(s.what) << " caller " << s.caller << " argument "
                << +s.argument << " -> " << to_string(s.said) << ", " << weir::to_string(s.state)
                << " generation " << s.generation << '\n';
    }
    std::cout << difference;
  }

  callers threads_;
  std::optional<model_options> options_;
  std::vector<model_step> path_;
  std::unique_ptr<replayed_breaker> subject_;
  std::size_t made_ = 0;             // steps of the path that the subject has made
  std::size_t diverged_at_ = never;  // number of the step of this path that diverged
  std::set<std::pair<call, answer>> kinds_;
  std::uint64_t traces_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t calls_ = 0;
  std::uint64_t divergences_ = 0;
};

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  replay traces;
  for (std::string line; std::getline(std::cin, line);) {
    if (const auto options = parse_options(line)) {
      traces.begin(*options);
    } else if (const auto step = parse_step(line); step && !traces.add(*step)) {
      std::cout << "a step out of order: " << line << '\n';
      return 2;
    }
  }
  return traces.report();
}
