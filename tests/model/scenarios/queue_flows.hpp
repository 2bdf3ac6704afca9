// SPDX-License-Identifier: BSL-1.0
// Pushing and popping: order, conservation, waiting, the policies; of any kind of queue.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "model/scenario.hpp"
#include "queue_state.hpp"

namespace weir_model {

using weir::refusal_reason;

// ---- tries

template <class State, std::size_t Producers, std::size_t Consumers, std::size_t Capacity>
void all_try(world& w) {
  auto& s = w.make<State>(Capacity);
  for (std::size_t p = 0; p < Producers; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < 2; ++i) s.note(p, i, s.queue.try_push(State::value_of(p, i)));
    });
  }
  for (std::size_t c = 0; c < Consumers; ++c) {
    w.thread([&s, c] {
      for (int i = 0; i < 2; ++i) s.note(c, s.queue.try_pop());
    });
  }
  w.after([&s] { s.expect_conserved(); });
}

// ---- waits

template <class State, std::size_t Producers, std::size_t Consumers, std::size_t Capacity, int Each>
void all_wait(world& w) {
  auto& s = w.make<State>(Capacity);
  for (std::size_t p = 0; p < Producers; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < Each; ++i) {
        const auto pushed = s.queue.push(State::value_of(p, i));
        expect(pushed.has_value());
        s.note(p, i, pushed);
      }
    });
  }
  for (std::size_t c = 0; c < Consumers; ++c) {
    w.thread([&s, c] {
      for (std::size_t i = 0; i < Producers * Each / Consumers; ++i) {
        auto value = s.queue.pop();
        expect(value.has_value());
        s.note(c, value);
      }
    });
  }
  w.after([&s] {
    s.expect_conserved();
    expect(s.queue.stats().popped == Producers * Each, "everything has arrived");
  });
}

/// A value that was left waiting is not given to who comes later.
template <class State>
void no_barging(world& w) {
  auto& s = w.make<State>(1U);
  w.thread([&s] { s.note(0, s.queue.pop()); });
  w.thread([&s] {
    const bool waits = s.queue.stats().waiting_consumers == 1;
    s.note(0, 0, s.queue.push(State::value_of(0, 0)));
    const auto mine = s.queue.try_pop();
    if (waits) expect(refused_with(mine, refusal_reason::empty), "it was promised to the first");
    if (mine) s.note(0, 1, s.queue.push(State::value_of(0, 1)));
    s.note(1, mine);
  });
  w.after([&s] { s.expect_conserved(); });
}

template <class State>
void room_is_promised(world& w) {
  auto& s = w.make<State>(1U);
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  w.thread([&s] { s.note(1, 0, s.queue.push(State::value_of(1, 0))); });
  w.thread([&s] {
    const bool waits = s.queue.stats().waiting_producers == 1;
    s.note(0, s.queue.pop());
    const auto mine = s.queue.try_push(State::value_of(0, 1));
    if (waits) expect(refused_with(mine, refusal_reason::full), "the room was taken by the first");
    s.note(0, 1, mine);
    s.note(0, s.queue.pop());
  });
  w.after([&s] { s.expect_conserved(); });
}

// ---- more at once

template <class State>
void pops_many(world& w) {
  auto& s = w.make<State>(2U);
  w.thread([&s] {
    for (int i = 0; i < 3; ++i) s.note(0, i, s.queue.push(State::value_of(0, i)));
  });
  w.thread([&s] {
    std::vector<typename State::message> out;
    while (out.size() < 3) expect(s.queue.pop_up_to(out, 3 - out.size(), weir::duration::zero()).has_value());
    for (auto& m : out) s.note(0, weir::outcome<typename State::message>{std::move(m)});
  });
  w.after([&s] { s.expect_conserved(); });
}

// ---- policies

template <class State, weir::overflow_policy Policy>
void overflows(world& w) {
  auto& s = w.make<State>(1U, Policy);
  for (std::size_t p = 0; p < 2; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < 2; ++i) expect(s.queue.push(State::value_of(p, i)).has_value());
    });
  }
  w.thread([&s] { s.note(0, s.queue.try_pop()); });
  w.after([&s] {
    const auto stats = s.queue.stats();
    expect(stats.pushed == 4 && stats.left <= 1);
    expect(stats.pushed == stats.popped + stats.dropped + stats.left, "nothing is lost");
    expect(State::message::alive == static_cast<int>(stats.left), "what was dropped is gone");
  });
}

}  // namespace weir_model
