// SPDX-License-Identifier: BSL-1.0
// Pushing and popping: order, conservation, waiting, the policies.
#include <weir/bounded_queue.hpp>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

#include "model/scenario.hpp"
#include "queue_state.hpp"

namespace {

using namespace weir_model;
using weir::refusal_reason;

constexpr bounds sampled{.preemptions = 2, .weak = false, .random_executions = 10'000};

// ---- tries

template <std::size_t Producers, std::size_t Consumers, std::size_t Capacity>
void all_try(world& w) {
  auto& s = w.make<queue_state>(Capacity);
  for (std::size_t p = 0; p < Producers; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < 2; ++i) s.note(p, i, s.queue.try_push(queue_state::value_of(p, i)));
    });
  }
  for (std::size_t c = 0; c < Consumers; ++c) {
    w.thread([&s, c] {
      for (int i = 0; i < 2; ++i) s.note(c, s.queue.try_pop());
    });
  }
  w.after([&s] { s.expect_conserved(); });
}

const scenario try_1_1_1{
    "bounded_queue", "one tries to push and one to pop at capacity 1", {}, all_try<1, 1, 1>};
const scenario try_1_1_2{
    "bounded_queue", "one tries to push and one to pop at capacity 2", {}, all_try<1, 1, 2>};
const scenario try_2_1_1{
    "bounded_queue", "two try to push and one to pop at capacity 1", {}, all_try<2, 1, 1>};
const scenario try_2_1_3{
    "bounded_queue", "two try to push and one to pop at capacity 3", {}, all_try<2, 1, 3>};
const scenario try_2_2_2{"bounded_queue", "two try to push and two to pop at capacity 2", sampled,
                         all_try<2, 2, 2>};

// ---- waits

template <std::size_t Producers, std::size_t Consumers, std::size_t Capacity, int Each>
void all_wait(world& w) {
  auto& s = w.make<queue_state>(Capacity);
  for (std::size_t p = 0; p < Producers; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < Each; ++i) {
        const auto pushed = s.queue.push(queue_state::value_of(p, i));
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

const scenario wait_1_1_1{
    "bounded_queue", "one pushes and one pops through two laps at capacity 1", {}, all_wait<1, 1, 1, 2>};
const scenario wait_1_1_2{"bounded_queue",
                          "one pushes and one pops through two laps at capacity 2",
                          {.preemptions = 3, .random_executions = 10'000},
                          all_wait<1, 1, 2, 4>};
const scenario wait_1_1_3{"bounded_queue",
                          "one pushes and one pops past the end of capacity 3",
                          {.preemptions = 3, .random_executions = 10'000},
                          all_wait<1, 1, 3, 4>};
const scenario wait_spurious{
    "bounded_queue", "nobody goes on for no reason", {.early_wakes = 1}, all_wait<1, 1, 1, 2>};
const scenario wait_2_1_1{"bounded_queue", "two that push into one place lose no wake-up", sampled,
                          all_wait<2, 1, 1, 2>};
const scenario wait_1_2_1{"bounded_queue", "two that pop what one pushes lose no wake-up", sampled,
                          all_wait<1, 2, 1, 2>};
const scenario wait_2_2_1{"bounded_queue", "two that push and two that pop at capacity 1 lose no wake-up",
                          sampled, all_wait<2, 2, 1, 1>};
const scenario wait_2_2_2{"bounded_queue", "two that push and two that pop at capacity 2 lose no wake-up",
                          sampled, all_wait<2, 2, 2, 2>};

/// A value that was left waiting is not given to who comes later.
void no_barging(world& w) {
  auto& s = w.make<queue_state>(1U);
  w.thread([&s] { s.note(0, s.queue.pop()); });
  w.thread([&s] {
    const bool waits = s.queue.stats().waiting_consumers == 1;
    s.note(0, 0, s.queue.push(queue_state::value_of(0, 0)));
    const auto mine = s.queue.try_pop();
    if (waits) expect(refused_with(mine, refusal_reason::empty), "it was promised to the first");
    if (mine) s.note(0, 1, s.queue.push(queue_state::value_of(0, 1)));
    s.note(1, mine);
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario promised{"bounded_queue",
                        "a value is given to the first who waits for it, not to who comes between",
                        {},
                        no_barging};

void room_is_promised(world& w) {
  auto& s = w.make<queue_state>(1U);
  s.note(0, 0, s.queue.try_push(queue_state::value_of(0, 0)));
  w.thread([&s] { s.note(1, 0, s.queue.push(queue_state::value_of(1, 0))); });
  w.thread([&s] {
    const bool waits = s.queue.stats().waiting_producers == 1;
    s.note(0, s.queue.pop());
    const auto mine = s.queue.try_push(queue_state::value_of(0, 1));
    if (waits) expect(refused_with(mine, refusal_reason::full), "the room was taken by the first");
    s.note(0, 1, mine);
    s.note(0, s.queue.pop());
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario room_promised{"bounded_queue",
                             "room is given to the first who waits for it, not to who comes between",
                             {},
                             room_is_promised};

// ---- more at once

void pops_many(world& w) {
  auto& s = w.make<queue_state>(2U);
  w.thread([&s] {
    for (int i = 0; i < 3; ++i) s.note(0, i, s.queue.push(queue_state::value_of(0, i)));
  });
  w.thread([&s] {
    std::vector<message> out;
    while (out.size() < 3) expect(s.queue.pop_up_to(out, 3 - out.size(), weir::duration::zero()).has_value());
    for (auto& m : out) s.note(0, weir::outcome<message>{std::move(m)});
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario many_at_once{
    "bounded_queue", "one that pops several at once lets in who waits for the room", {}, pops_many};

// ---- policies

template <weir::overflow_policy Policy>
void overflows(world& w) {
  auto& s = w.make<queue_state>(1U, Policy);
  for (std::size_t p = 0; p < 2; ++p) {
    w.thread([&s, p] {
      for (int i = 0; i < 2; ++i) expect(s.queue.push(queue_state::value_of(p, i)).has_value());
    });
  }
  w.thread([&s] { s.note(0, s.queue.try_pop()); });
  w.after([&s] {
    const auto stats = s.queue.stats();
    expect(stats.pushed == 4 && stats.left <= 1);
    expect(stats.pushed == stats.popped + stats.dropped + stats.left, "nothing is lost");
    expect(message::alive == static_cast<int>(stats.left), "what was dropped is gone");
  });
}

const scenario drops_newest{"bounded_queue",
                            "what is dropped for lack of room is counted, the newest",
                            {},
                            overflows<weir::overflow_policy::drop_newest>};
const scenario drops_oldest{"bounded_queue",
                            "what is dropped for lack of room is counted, the oldest",
                            {},
                            overflows<weir::overflow_policy::drop_oldest>};

// ---- moves that throw

/// The move of a waiting producer's value throws on the thread that makes room.
void throwing_moves(world& w) {
  auto& s = w.make<weir::bounded_queue<fragile, still_clock>>(weir::bounded_queue_options{.capacity = 1});
  auto& failed = w.make<std::array<bool, 2>>();
  expect(s.try_push(fragile{}).has_value());
  w.thread([&] {
    fragile value{true};
    try {
      expect(s.push(std::move(value)).has_value());
    } catch (const std::runtime_error&) {
      failed[0] = true;
    }
    expect(failed[0] && !value.taken, "what was not taken stays with the caller");
  });
  w.thread([&] {
    fragile value;
    expect(s.push(std::move(value)).has_value());
    expect(value.taken);
  });
  w.thread([&] {
    for (int i = 0; i < 2; ++i) expect(s.pop().has_value());
  });
  w.after([&] {
    const auto stats = s.stats();
    expect(stats.pushed == 2 && stats.popped == 2 && stats.left == 0);
    expect(stats.waiting_producers == 0 && stats.waiting_consumers == 0);
  });
}

const scenario thrown_move{"bounded_queue",
                           "a value whose move throws stays with its caller, and the next one gets the room",
                           sampled, throwing_moves};

}  // namespace
