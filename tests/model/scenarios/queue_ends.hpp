// SPDX-License-Identifier: BSL-1.0
// What ends a wait, and what ends a queue: close, time, a stop, destruction; of any kind of queue.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "model/scenario.hpp"
#include "queue_state.hpp"

namespace weir_model {

using weir::refusal_reason;

using namespace std::chrono_literals;

// ---- close

template <class State>
void close_and_push(world& w) {
  auto& s = w.make<State>(1U);
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  w.thread([&s] {
    typename State::message mine = State::value_of(1, 0);
    const auto pushed = s.queue.push(std::move(mine));
    expect(pushed || refused_with(pushed, refusal_reason::closed));
    expect(pushed.has_value() == (mine.value == -1), "what was not taken stays with the caller");
    s.note(1, 0, pushed);
  });
  w.thread([&s] {
    s.queue.close();
    expect(refused_with(s.queue.try_push(State::value_of(0, 1)), refusal_reason::closed));
  });
  w.thread([&s] { s.note(0, s.queue.pop()); });
  w.after([&s] {
    s.expect_conserved();
    expect(refused_with(s.queue.try_pop(), refusal_reason::closed), "drained");
  });
}

template <class State, std::size_t Consumers>
void close_and_pop(world& w) {
  auto& s = w.make<State>(2U);
  for (std::size_t c = 0; c < Consumers; ++c) {
    w.thread([&s, c] {
      auto value = s.queue.pop();
      expect(value || refused_with(value, refusal_reason::closed));
      s.note(c, value);
    });
  }
  w.thread([&s] {
    s.note(0, 0, s.queue.push(State::value_of(0, 0)));
    s.queue.close();
    s.queue.close();
  });
  w.after([&s] {
    expect(s.queue.closed());
    expect(s.popped() == 1, "what was accepted is given, close or not");
    s.expect_conserved();
  });
}

template <class State>
void close_alone(world& w) {
  auto& s = w.make<State>(1U);
  for (std::size_t c = 0; c < 2; ++c) {
    w.thread([&s] { expect(refused_with(s.queue.pop(), refusal_reason::closed)); });
  }
  w.thread([&s] { s.queue.close(); });
  w.after([&s] { s.expect_conserved(); });
}

template <class State>
void close_full(world& w) {
  auto& s = w.make<State>(1U);
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  for (std::size_t p = 0; p < 2; ++p) {
    w.thread([&s, p] { expect(refused_with(s.queue.push(State::value_of(p, 1)), refusal_reason::closed)); });
  }
  w.thread([&s] { s.queue.close(); });
  w.after([&s] { s.expect_conserved(); });
}

template <class State>
void two_closes(world& w) {
  auto& s = w.make<State>(1U);
  for (int i = 0; i < 2; ++i) w.thread([&s] { s.queue.close(); });
  w.thread([&s] {
    s.note(0, 0, s.queue.push(State::value_of(0, 0)));
    s.note(0, s.queue.pop());
  });
  w.after([&s] { s.expect_conserved(); });
}

template <class State>
void takes_back(world& w) {
  auto& s = w.make<State>(2U);
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  auto& back = w.make<std::vector<typename State::message>>();
  w.thread([&] { s.note(1, 0, s.queue.push(State::value_of(1, 0))); });
  w.thread([&] { s.note(0, s.queue.pop()); });
  w.thread([&] { back = s.queue.close_and_take(); });
  w.after([&] {
    expect(s.queue.stats().left == 0);
    expect(s.queue.stats().popped == s.popped() + back.size(), "what is given back is counted");
    expect(State::message::alive == static_cast<int>(back.size()));
    expect(s.queue.stats().pushed == s.queue.stats().popped, "nothing is lost");
  });
}

/// A consumer that has been promised a value gets it, although all is taken back meanwhile.
template <class State>
void takes_back_from_promised(world& w) {
  auto& s = w.make<State>(1U);
  auto& back = w.make<std::vector<typename State::message>>();
  w.thread([&] {
    auto value = s.queue.pop();
    expect(value || refused_with(value, refusal_reason::closed));
    s.note(0, value);
  });
  w.thread([&] {
    s.note(0, 0, s.queue.push(State::value_of(0, 0)));
    back = s.queue.close_and_take();
  });
  w.after([&] {
    expect(s.popped() + back.size() == 1, "with one of the two");
    expect(s.queue.stats().left == 0 && s.queue.stats().waiting_consumers == 0);
  });
}

// ---- a look

template <class State>
void looked_at(world& w) {
  auto& s = w.make<State>(1U);
  w.thread([&s] {
    s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
    s.queue.close();
  });
  w.thread([&s] {
    expect(s.queue.size_approx() <= 1);
    const bool closed = s.queue.closed();
    const weir::bounded_queue_stats seen = s.queue.stats();
    expect(seen.pushed == seen.left && seen.left <= 1, "all of one instant");
    expect(!closed || seen.pushed == 1, "it was closed after the push");
  });
  w.after([&s] {
    expect(s.queue.closed() && s.queue.size_approx() == 1);
    s.expect_conserved();
  });
}

// ---- time and stops

/// One waits an hour, one for ever; there is one value.
template <class State>
void time_swallows_nothing(world& w) {
  auto& s = w.make<State>(1U);
  w.thread([&s] {
    auto value = s.queue.pop_for(1h);
    expect(value || refused_with(value, refusal_reason::timed_out));
    s.note(0, value);
    if (value) s.note(1, 0, s.queue.push(State::value_of(1, 0)));
  });
  w.thread([&s] { s.note(1, s.queue.pop()); });
  w.thread([&s] { s.note(0, 0, s.queue.push(State::value_of(0, 0))); });
  w.after([&s] {
    expect(s.queue.stats().left == 0);
    s.expect_conserved();
  });
}

template <class State>
void push_times_out(world& w) {
  auto& s = w.make<State>(1U);
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  w.thread([&s] {
    typename State::message mine = State::value_of(1, 0);
    const auto pushed = s.queue.push_for(std::move(mine), 1h);
    expect(pushed || refused_with(pushed, refusal_reason::timed_out));
    expect(pushed.has_value() == (mine.value == -1), "what was not taken stays with the caller");
    s.note(1, 0, pushed);
  });
  w.thread([&s] {
    s.note(0, s.queue.pop());
    s.note(0, 1, s.queue.try_push(State::value_of(0, 1)));
    s.note(0, s.queue.try_pop());
  });
  w.after([&s] { s.expect_conserved(); });
}

/// All three at once.
template <class State>
void everything_at_once(world& w) {
  auto& s = w.make<State>(1U);
  auto& stop = w.make<std::stop_source>();
  w.thread([&] {
    auto value = s.queue.pop_for(1h, stop.get_token());
    expect(value || refused_with(value, refusal_reason::timed_out) ||
           refused_with(value, refusal_reason::cancelled));
    s.note(0, value);
  });
  w.thread([&] { stop.request_stop(); });
  w.thread([&] { s.note(0, 0, s.queue.push(State::value_of(0, 0))); });
  w.after([&] { s.expect_conserved(); });
}

template <class State>
void stopped_push(world& w) {
  auto& s = w.make<State>(1U);
  auto& stop = w.make<std::stop_source>();
  s.note(0, 0, s.queue.try_push(State::value_of(0, 0)));
  w.thread([&] {
    const auto pushed = s.queue.push(State::value_of(1, 0), stop.get_token());
    expect(pushed || refused_with(pushed, refusal_reason::cancelled));
    s.note(1, 0, pushed);
  });
  w.thread([&] { stop.request_stop(); });
  w.thread([&] { s.note(0, s.queue.pop()); });
  w.after([&] { s.expect_conserved(); });
}

// ---- destruction

/// The last pop has returned, so the queue may go; the push that filled it must be done with it.
template <class State>
void goes_after_last_pop(world& w) {
  auto& owner = w.make<std::unique_ptr<typename State::queue_type>>(
      std::make_unique<typename State::queue_type>(weir::bounded_queue_options{.capacity = 1}));
  typename State::queue_type* const queue = owner.get();
  auto& done = w.make<std::atomic<bool>>(false);
  w.thread([queue, &done] {
    expect(queue->push(State::value_of(0, 0)).has_value());
    done.store(true, std::memory_order_release);
  });
  w.thread([&owner, &done] {
    expect(owner->pop().has_value());
    if (done.load(std::memory_order_acquire)) owner.reset();
  });
}

}  // namespace weir_model
