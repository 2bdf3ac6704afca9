// SPDX-License-Identifier: BSL-1.0
// Calls inside calls: for other keys, for their own, after it was forgotten; that throw, refuse and are
// stopped.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <vector>

#include <weir/single_flight.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using weir::refusal_reason;

struct down {
  int number;
};

/// A value whose copy may throw.
struct brittle {
  explicit brittle(int n) noexcept : number{n} {}
  brittle(const brittle& other) : number{other.number} {
    if (fuse > 0 && --fuse == 0) throw down{-1};
  }
  brittle(brittle&& other) noexcept = default;
  brittle& operator=(const brittle&) = delete;
  brittle& operator=(brittle&&) = delete;
  ~brittle() = default;
  static inline int fuse = 0;
  int number;
};

struct traits {
  struct hash {
    std::size_t operator()(int k) const noexcept { return static_cast<std::size_t>(k % 2); }
  };
  struct equal {
    bool operator()(int a, int b) const noexcept { return a == b; }
  };
};

class game {
 public:
  explicit game(input& in) : in_{in}, flights_{clock_.source()} {}

  void play() {
    while (!in_.empty()) step();
    expect(flights_.stats().in_flight == 0, "nothing is kept after the calls");
  }

 private:
  static constexpr int deepest = 6;

  void step() {
    const int key = in_.below(5);
    if (in_.below(5) == 4) {
      const bool there = std::erase_if(flying_, [&](const flight& f) { return f.key == key; }) != 0;
      expect(flights_.forget(key) == there, "there is a flight to forget if one flies");
    } else {
      run(key);
    }
    compare();
  }

  void compare() {
    const auto s = flights_.stats();
    expect(s.in_flight == flying_.size(), "I1: as many flights can be joined");
    expect(s.led == led_ && s.failed == failed_, "the counts of calls are right");
    expect(s.joined == 0 && s.abandoned == 0, "nobody waits for himself");
  }

  void nested() {
    if (++depth_ <= deepest) {
      for (int n = in_.below(4); n > 0; --n) step();
    }
    --depth_;
  }

  void run(int key) {
    std::stop_source stop;
    const bool stopped = in_.below(8) == 7;
    const bool late = in_.below(8) == 7;
    if (stopped) stop.request_stop();
    const weir::deadline until = late ? weir::deadline{clock_.now} : weir::deadline::never();
    const bool recursion = std::ranges::find(flying_, key, &flight::key) != flying_.end();
    const bool flies = !recursion && !stopped && !late;
    const int id = next_++;
    const int kind = in_.below(6);
    const bool takes_stop = in_.flag();
    const bool stops = in_.below(4) == 3;
    const int fuse = kind > 3 && in_.below(4) == 3 ? 1 : 0;
    bool ran = false;
    if (flies) flying_.push_back({key, id});
    const auto work = [&](const std::stop_token* token) -> weir::outcome<brittle> {
      ran = true;
      nested();
      if (stops) {
        stop.request_stop();
        // Nobody else wants the result, so work that can be stopped is, and the next caller starts anew.
        if (token != nullptr) land(id);
        expect(token == nullptr || token->stop_requested(), "a stop reaches the call if nobody waits");
        nested();
      }
      land(id);
      ++led_;
      failed_ += kind < 3 ? 1U : 0U;
      brittle::fuse = fuse;
      if (kind < 2) throw down{id};
      if (kind == 2) return weir::refusal{refusal_reason::busy};
      return weir::outcome<brittle>{std::in_place, id};
    };
    try {
      const auto got =
          takes_stop ? flights_.run(
                           key, [&](const std::stop_token& t) { return work(&t); }, until, stop.get_token())
                     : flights_.run(key, [&] { return work(nullptr); }, until, stop.get_token());
      expect(ran == flies, "a call is made by whoever may start one");
      if (got) {
        expect(ran && kind > 2 && got->value.number == id && !got->shared,
               "a caller gets what the call gave");
      } else if (ran) {
        expect(kind == 2 && got.error().reason == refusal_reason::busy, "a refusal comes out as it is");
      } else {
        expect(!recursion &&
                   got.error().reason == (stopped ? refusal_reason::cancelled : refusal_reason::timed_out),
               "who may not start is told why");
      }
    } catch (const down& what) {
      expect(ran && (what.number == id ? kind < 2 : fuse == 1), "what the call or the copy throws comes out");
    } catch (const std::logic_error&) {
      expect(recursion && !ran, "no call asks for its own key");
    }
    brittle::fuse = 0;
  }

  struct flight {
    int key;
    int id;
  };

  void land(int id) {
    std::erase_if(flying_, [&](const flight& f) { return f.id == id; });
  }

  input& in_;
  leaping_clock clock_;
  weir::single_flight<int, brittle, leaping_clock::view, traits> flights_;
  std::vector<flight> flying_;  // that can be joined
  std::uint64_t led_ = 0, failed_ = 0;
  int next_ = 0;
  int depth_ = 0;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
