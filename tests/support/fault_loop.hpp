// SPDX-License-Identifier: BSL-1.0
// Brings failing_new.hpp along: include it in exactly one source file of an executable.
#pragma once

#include <catch2/catch_message.hpp>
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <new>
#include <string_view>
#include <utility>

#include <weir/clock.hpp>
#include <weir/testing/manual_clock.hpp>

#include "support/failing_new.hpp"

namespace weir_test {

/// What a fault point throws; an allocation throws std::bad_alloc.
struct injected_fault : std::exception {};

/// One fault to come: the k-th fault point of its kind that is passed inside `strike` throws.
///
/// A kind is a word: "allocation" for each operator new; "copy", "move", "assign", "hash" and "compare" for
/// those of `faulty`; "timer" for those of `faulty_clock`; any other for a function that calls `point` with it.
class fault {
 public:
  fault(std::string_view kind, long k) noexcept : kind_{kind}, left_{k} {}
  fault(const fault&) = delete;
  fault& operator=(const fault&) = delete;
  ~fault() = default;

  /// Runs `step`, where only what the calling thread passes counts; whether the fault came out of it.
  ///
  /// Called again it goes on counting, on another thread too, but not on two at a time.  An assertion inside
  /// `step` would allocate, so it belongs after it.
  template <class Step>
  bool strike(Step&& step) {
    if (happened_) return came_out(std::forward<Step>(step));
    if (kind_ == allocation) {
      const allocation_budget budget{left_ - 1};
      const bool out = came_out(std::forward<Step>(step));
      happened_ = allocation_budget::was_hit();
      left_ = allocation_budget::remaining() + 1;
      return out;
    }
    const struct disarming {
      ~disarming() { armed() = nullptr; }
    } at_the_end;
    armed() = this;
    return came_out(std::forward<Step>(step));
  }

  /// As `strike`, of a step that swallows no fault: checks that one that happens in it comes out of it.  For the
  /// thread of the test alone.
  template <class Step>
  bool strike_through(Step&& step) {
    const bool past = happened_;
    const bool out = strike(std::forward<Step>(step));
    CHECK(out == (happened_ && !past));
    return out;
  }

  /// Whether a fault comes out of `step`, where none is laid: for who shares the fault of another.
  template <class Step>
  static bool came_out(Step&& step) {
    try {
      std::forward<Step>(step)();
    } catch (const injected_fault&) {
      return true;
    } catch (const std::bad_alloc&) {
      return true;
    }
    return false;
  }

  [[nodiscard]] std::string_view kind() const noexcept { return kind_; }
  [[nodiscard]] bool happened() const noexcept { return happened_; }

  /// Here a fault of this kind may be.
  static void point(std::string_view kind) {
    fault* const f = armed();
    if (f == nullptr || f->happened_ || f->kind_ != kind || --f->left_ != 0) return;
    f->happened_ = true;
    throw injected_fault{};
  }

 private:
  static constexpr std::string_view allocation = "allocation";
  static fault*& armed() noexcept {
    thread_local fault* here = nullptr;
    return here;
  }

  const std::string_view kind_;
  long left_;
  bool happened_ = false;
};

/// A value, or a key, of which every copy, move, assignment, hash and comparison is a fault point, and those
/// alive are counted.  A source is untouched by a move that throws.
class faulty {
 public:
  explicit faulty(int v) noexcept : value{v} { ++alive_; }
  faulty(const faulty& other) : value{other.value} {
    fault::point("copy");
    ++alive_;
  }
  faulty(faulty&& other) : value{other.value} {  // NOLINT(performance-noexcept-move-constructor): the point
    fault::point("move");
    other.value = moved_from;
    ++alive_;
  }
  faulty& operator=(const faulty& other) {
    fault::point("assign");
    value = other.value;
    return *this;
  }
  faulty& operator=(faulty&& other) {  // NOLINT(performance-noexcept-move-constructor): the point
    fault::point("assign");
    value = std::exchange(other.value, moved_from);
    return *this;
  }
  ~faulty() { --alive_; }

  friend bool operator==(const faulty& a, const faulty& b) {
    fault::point("compare");
    return a.value == b.value;
  }

  [[nodiscard]] static int alive() noexcept { return alive_; }

  static constexpr int moved_from = -1;
  int value;

 private:
  static inline std::atomic<int> alive_ = 0;
};

/// A manual clock whose timers are fault points.
class faulty_clock {
 public:
  enum class time { stands, leaps };

  /// If time leaps, each timer moves it to its own instant, so that a single thread can wait.
  explicit faulty_clock(weir::testing::manual_clock& clock, time passes = time::stands) noexcept
      : clock_{&clock}, passes_{passes} {}

  [[nodiscard]] weir::time_point now() const noexcept { return clock_->now(); }
  void wake_at(weir::time_point at, weir::timer_target& target) const {
    fault::point("timer");
    clock_->source().wake_at(at, target);
    if (passes_ == time::leaps) clock_->advance(weir::elapsed(now(), at));
  }
  void forget(weir::timer_target& target) const noexcept { clock_->source().forget(target); }

 private:
  weir::testing::manual_clock* clock_;
  time passes_;
};
static_assert(weir::waking_clock<faulty_clock>);

/// Runs `pass(fault&)` with the fault at the first point of its kind, the second, and so on, until a pass in
/// which it does not happen.  A pass must leave nothing alive that it made.
///
/// \return  How many faults happened.  If WEIR_FAULT_REPORT names a file, a line that says so is appended.
template <class Pass>
int fault_loop(std::string_view component, std::string_view kind, Pass pass) {
  int injected = 0;
  for (bool reached = true; reached; injected += reached ? 1 : 0) {
    INFO(component << ": the fault is " << kind << " number " << injected + 1);
    const int alive = faulty::alive();
    fault next{kind, injected + 1};
    pass(next);
    CHECK(faulty::alive() == alive);
    reached = next.happened();
  }
  if (const char* const report = std::getenv("WEIR_FAULT_REPORT")) {
    std::ofstream{report, std::ios::app} << "fault loop: " << component << ' ' << kind << ' ' << injected
                                         << '\n';
  }
  return injected;
}

}  // namespace weir_test

template <>
struct std::hash<weir_test::faulty> {
  std::size_t operator()(const weir_test::faulty& key) const {
    weir_test::fault::point("hash");
    return static_cast<std::size_t>(key.value % 2);  // so that unequal keys are compared
  }
};
