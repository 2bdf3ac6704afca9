// SPDX-License-Identifier: BSL-1.0
// What the ring alone does: several values at a time, two queues beside each other, the oldest driven out.
#include <array>
#include <cstddef>
#include <vector>

#include "model/scenario.hpp"
#include "queue_state.hpp"

namespace {

using namespace weir_model;
using weir::refusal_reason;
using queue_type = queue_state::queue_type;

struct two_queues {
  queue_type one{weir::bounded_queue_options{.capacity = 1}};
  queue_type other{weir::bounded_queue_options{.capacity = 1}};
  std::array<bool, 2> refused{};
};

/// Each puts into his own and looks into the other's.
void puts_and_looks(world& w) {
  auto& s = w.make<two_queues>();
  w.thread([&s] {
    expect(s.one.try_push(message{1}).has_value());
    s.refused[0] = !s.other.try_pop().has_value();
  });
  w.thread([&s] {
    expect(s.other.try_push(message{1}).has_value());
    s.refused[1] = !s.one.try_pop().has_value();
  });
  w.after([&s] { expect(!s.refused[0] || !s.refused[1], "one of the two was first"); });
}

const scenario two_empty{"bounded_queue",
                         "of two that fill one queue each and look into the other's one finds it filled",
                         {},
                         puts_and_looks};

/// Each takes from his own and puts into the other's.
void takes_and_puts(world& w) {
  auto& s = w.make<two_queues>();
  expect(s.one.try_push(message{1}).has_value() && s.other.try_push(message{1}).has_value());
  w.thread([&s] {
    expect(s.one.try_pop().has_value());
    s.refused[0] = !s.other.try_push(message{2}).has_value();
  });
  w.thread([&s] {
    expect(s.other.try_pop().has_value());
    s.refused[1] = !s.one.try_push(message{2}).has_value();
  });
  w.after([&s] { expect(!s.refused[0] || !s.refused[1], "one of the two was first"); });
}

const scenario two_full{"bounded_queue",
                        "of two that empty one queue each and fill the other's one finds room",
                        {},
                        takes_and_puts};

/// What was closed before is seen to be closed by who has seen it in another order.
void closes_and_looks(world& w) {
  auto& s = w.make<two_queues>();
  w.thread([&s] {
    s.one.close();
    s.refused[0] = !s.other.closed();
  });
  w.thread([&s] {
    s.other.close();
    s.refused[1] = !s.one.closed();
  });
  w.after([&s] { expect(!s.refused[0] || !s.refused[1], "one of the two was first"); });
}

const scenario two_closed{"bounded_queue",
                          "of two that close one queue each and look at the other's one finds it closed",
                          {},
                          closes_and_looks};

/// Where one takes from a full queue while somebody waits for the room, it is full before and after.
void never_empty(world& w) {
  auto& s = w.make<queue_state>(1U);
  auto& stayed_full = w.make<bool>(false);
  s.note(0, 0, s.queue.try_push(queue_state::value_of(0, 0)));
  w.thread([&s] { s.note(1, 0, s.queue.push(queue_state::value_of(1, 0))); });
  w.thread([&] {
    stayed_full = s.queue.stats().waiting_producers == 1;
    s.note(0, s.queue.try_pop());
  });
  w.thread([&s] { s.note(1, s.queue.try_pop()); });
  w.after([&] {
    if (stayed_full) expect(s.popped() == 2, "nobody finds it empty");
    s.expect_conserved();
  });
}

const scenario full_all_the_time{
    "bounded_queue", "a full queue where somebody waits for room is never found empty", {}, never_empty};

struct two_crowds {
  queue_type one{weir::bounded_queue_options{.capacity = 2}};
  queue_type other{weir::bounded_queue_options{.capacity = 2}};
  std::array<bool, 2> refused{};

  /// Takes two where somebody waits, so that one place is left free, and puts into the other's.
  void take_and_put(queue_type& mine, queue_type& others, bool& no) {
    if (mine.stats().waiting_producers == 1) {
      std::vector<message> out;
      expect(mine.try_pop_n(out, 2).has_value() && out.size() == 2);
      no = !others.try_push(message{1}).has_value();
    } else {
      for (int i = 0; i < 2; ++i) expect(mine.pop().has_value());
    }
  }
};

void crowds(world& w) {
  auto& s = w.make<two_crowds>();
  for (queue_type* const queue : {&s.one, &s.other}) {
    for (int i = 0; i < 2; ++i) expect(queue->try_push(message{i}).has_value());
    w.thread([queue] { expect(queue->push(message{3}).has_value()); });
  }
  w.thread([&s] { s.take_and_put(s.one, s.other, s.refused[0]); });
  w.thread([&s] { s.take_and_put(s.other, s.one, s.refused[1]); });
  w.after([&s] { expect(!s.refused[0] || !s.refused[1], "one of the two was first"); });
}

const scenario two_crowded{"bounded_queue",
                           "of two that take from a crowded queue each and fill the other's one finds room",
                           {.preemptions = 1, .random_executions = 10'000},
                           crowds};

void several_at_once(world& w) {
  auto& s = w.make<queue_state>(2U);
  w.thread([&s] {
    std::vector<message> values;
    for (int i = 0; i < 3; ++i) values.push_back(queue_state::value_of(0, i));
    const auto pushed = s.queue.try_push_range(values);
    for (int i = 0; i < static_cast<int>(pushed.pushed); ++i)
      s.accepted[0][static_cast<std::size_t>(i)] = true;
    expect(pushed.pushed >= 2 && pushed.ended.has_value() == (pushed.pushed == 3));
  });
  w.thread([&s] {
    std::vector<message> out;
    static_cast<void>(s.queue.try_pop_n(out, 2));
    for (auto& m : out) s.note(0, weir::outcome<message>{std::move(m)});
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario several{
    "bounded_queue", "what is put and taken several at a time keeps its order", {}, several_at_once};

void ranges_meet(world& w) {
  auto& s = w.make<queue_state>(3U);
  for (std::size_t p = 0; p < 2; ++p) {
    w.thread([&s, p] {
      std::vector<message> values;
      for (int i = 0; i < 2; ++i) values.push_back(queue_state::value_of(p, i));
      const auto pushed = s.queue.try_push_range(values);
      for (std::size_t i = 0; i < pushed.pushed; ++i) s.accepted[p][i] = true;
    });
  }
  w.thread([&s] {
    std::vector<message> out;
    static_cast<void>(s.queue.try_pop_n(out, 3));
    for (auto& m : out) s.note(0, weir::outcome<message>{std::move(m)});
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario ranges{"bounded_queue",
                      "two that put several at a time and one that takes several lose nothing",
                      {.preemptions = 2, .random_executions = 10'000},
                      ranges_meet};

void waits_for_several(world& w) {
  auto& s = w.make<queue_state>(1U);
  w.thread([&s] {
    std::vector<message> values;
    for (int i = 0; i < 2; ++i) values.push_back(queue_state::value_of(0, i));
    expect(s.queue.push_range(values).pushed == 2);
    for (std::size_t i = 0; i < 2; ++i) s.accepted[0][i] = true;
  });
  w.thread([&s] {
    std::vector<message> out;
    while (out.size() < 2) expect(s.queue.pop_up_to(out, 2, weir::duration::zero()).has_value());
    for (auto& m : out) s.note(0, weir::outcome<message>{std::move(m)});
  });
  w.after([&s] { s.expect_conserved(); });
}

const scenario waited_several{"bounded_queue",
                              "who waits to put and who waits to take several lose no wake-up",
                              {.preemptions = 3, .random_executions = 10'000},
                              waits_for_several};

// ---- the oldest is driven out

/// One drives out, one takes, one closes: a value that was accepted is taken, dropped or left.
template <std::size_t Capacity>
void drives_out(world& w) {
  auto& s = w.make<queue_state>(Capacity, weir::overflow_policy::drop_oldest);
  for (std::size_t i = 0; i < Capacity; ++i) {
    expect(s.queue.try_push(queue_state::value_of(0, static_cast<int>(i))).has_value());
  }
  w.thread([&s] { static_cast<void>(s.queue.try_push(queue_state::value_of(1, 0))); });
  w.thread([&s] {
    const auto got = s.queue.try_pop();
    expect(!got || got->value <= queue_state::value_of(1, 0).value);
    expect(s.queue.size_approx() <= Capacity, "never more than the capacity");
  });
  w.thread([&s] {
    s.queue.close();
    const auto now = s.queue.stats();
    const auto got = s.queue.try_pop();
    expect(got.has_value() || now.left <= 1, "nothing comes after a close");
    expect(s.queue.stats().pushed == now.pushed, "what is closed takes nothing more");
  });
  w.after([&s] {
    const auto now = s.queue.stats();
    expect(now.pushed == now.popped + now.dropped + now.left, "the counts agree");
    expect(static_cast<int>(now.left) == message::alive, "each value lives once");
  });
}

const scenario driven_out{"bounded_queue",
                          "who drives out the oldest, who takes it and who closes agree on what is left",
                          {.preemptions = 3, .random_executions = 10'000},
                          drives_out<1>};
const scenario driven_out_of_two{
    "bounded_queue",
    "who drives out the oldest of two, who takes it and who closes agree on what is left",
    {.preemptions = 3, .random_executions = 10'000},
    drives_out<2>};

/// Two drive out at once: the order of the others stays.
void both_drive_out(world& w) {
  auto& s = w.make<queue_state>(2U, weir::overflow_policy::drop_oldest);
  expect(s.queue.try_push(queue_state::value_of(0, 0)).has_value());
  expect(s.queue.try_push(queue_state::value_of(0, 1)).has_value());
  for (std::size_t p = 0; p < 2; ++p) {
    w.thread([&s, p] { expect(s.queue.try_push(queue_state::value_of(p, 2)).has_value()); });
  }
  w.after([&s] {
    const auto now = s.queue.stats();
    expect(now.pushed == 4 && now.dropped == 2 && now.left == 2 && now.popped == 0);
    const auto first = s.queue.try_pop();
    const auto second = s.queue.try_pop();
    expect(first->value % queue_state::most == 2 && second->value % queue_state::most == 2,
           "the newest stay");
  });
}

const scenario both_out{
    "bounded_queue", "two that drive out the oldest drive out one each", {}, both_drive_out};

/// A consumer waits at a queue that drops its oldest: it is handed what comes, and nothing is dropped.
void waits_where_oldest_go(world& w) {
  auto& s = w.make<queue_state>(1U, weir::overflow_policy::drop_oldest);
  w.thread([&s] {
    const auto got = s.queue.pop();
    expect(got.has_value());
  });
  w.thread([&s] {
    for (int i = 0; i < 2; ++i) expect(s.queue.try_push(queue_state::value_of(0, i)).has_value());
  });
  w.after([&s] {
    const auto now = s.queue.stats();
    expect(now.pushed == 2 && now.popped == 1 && now.dropped + now.left == 1);
    expect(static_cast<int>(now.left) == message::alive);
  });
}

const scenario waited_out{"bounded_queue",
                          "who waits where the oldest are driven out is given the first or what is left",
                          {},
                          waits_where_oldest_go};

}  // namespace
