// SPDX-License-Identifier: BSL-1.0
// What scenarios share.
#pragma once

#include <utility>

#include <weir/clock.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>

#include "model/scenario.hpp"

namespace weir_model {

/// For what waits without a deadline: time is of no concern, and to read it is no step of the execution.
struct still_clock {
  [[nodiscard]] static weir::time_point now() noexcept { return {}; }
};

/// Whether `answer` is a refusal for this reason.
template <class T>
bool refused_with(const weir::outcome<T>& answer, weir::refusal_reason reason) {
  return !answer && answer.error().reason == reason;
}

/// Writes over what has stood on the stack of the calling thread: who still looks at it races with that.
[[gnu::noinline]] inline void reuse_stack() {
  volatile unsigned long words[256];
  for (auto& word : words) word = 0;
}

/// A place that only one thread at a time may enter.  Plain memory: two at once are a data race, and so are two one
/// after the other that nothing orders.
class room {
 public:
  void enter() {
    expect(!taken_, "one at a time");
    taken_ = true;
    ++visits_;
  }
  void leave() { taken_ = false; }
  void visit() {
    enter();
    leave();
  }
  [[nodiscard]] int visits() const { return visits_; }

 private:
  bool taken_ = false;
  int visits_ = 0;
};

}  // namespace weir_model
