// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <functional>
#include <optional>
#include <semaphore>
#include <stop_token>
#include <thread>
#include <utility>

#include <weir/clock.hpp>
#include <weir/testing/manual_clock.hpp>

namespace weir_model {

/// Halts the thread that is about to read the clock until it is let on.
class halt {
 public:
  void reached() noexcept {
    reached_.release();
    go_on_.acquire();
  }
  void await() noexcept { reached_.acquire(); }
  void let_on() noexcept { go_on_.release(); }

  /// What the next look of this thread at the clock runs into.
  static halt*& armed() noexcept {
    thread_local halt* armed = nullptr;
    return armed;
  }

 private:
  std::binary_semaphore reached_{0};
  std::binary_semaphore go_on_{0};
};

/// A manual clock, at which a call can be stopped between two of its steps.
class halting_clock {
 public:
  explicit halting_clock(weir::testing::manual_clock& time) noexcept : time_{time.source()} {}

  [[nodiscard]] weir::time_point now() const noexcept {
    if (halt* const here = std::exchange(halt::armed(), nullptr)) here->reached();
    return time_.now();
  }

 private:
  weir::testing::manual_clock::view time_;
};

static_assert(weir::monotonic_clock<halting_clock>);

/// One call, on a thread of its own that serves one call after the other: `begin` returns once it has come to
/// its first look at the clock, `end` lets it on and gives its answer.  Two threads, but one runs at a time.
template <class Answer>
class halted_call {
 public:
  halted_call() = default;
  halted_call(const halted_call&) = delete;
  halted_call& operator=(const halted_call&) = delete;
  ~halted_call() {
    thread_.request_stop();
    wanted_.release();
  }

  /// Precondition: `f()` looks at the clock.
  template <class F>
  void begin(F&& f) {
    f_ = std::forward<F>(f);
    wanted_.release();
    halt_.await();
    busy_ = true;
  }

  [[nodiscard]] Answer end() {
    halt_.let_on();
    done_.acquire();
    busy_ = false;
    return std::move(*std::exchange(answer_, std::nullopt));
  }

  [[nodiscard]] bool busy() const noexcept { return busy_; }

 private:
  void serve(const std::stop_token& stop) {
    for (;;) {
      wanted_.acquire();
      if (stop.stop_requested()) return;
      halt::armed() = &halt_;
      answer_.emplace(f_());
      done_.release();
    }
  }

  halt halt_;
  std::binary_semaphore wanted_{0};
  std::binary_semaphore done_{0};
  std::function<Answer()> f_;
  std::optional<Answer> answer_;
  bool busy_ = false;  // of the thread that calls begin and end
  std::jthread thread_{[this](const std::stop_token& stop) { serve(stop); }};
};

}  // namespace weir_model
