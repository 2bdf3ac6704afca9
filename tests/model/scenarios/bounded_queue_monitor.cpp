// SPDX-License-Identifier: BSL-1.0
// Values whose move may throw: the monitor.
#include <stdexcept>

#include "queue_ends.hpp"
#include "queue_flows.hpp"

namespace {

using namespace weir_model;

constexpr bounds sampled{.preemptions = 2, .weak = false, .random_executions = 10'000};

// ---- tries

const scenario try_1_1_1{"bounded_queue",
                         "one tries to push and one to pop at capacity 1, under a lock",
                         {},
                         all_try<monitor_state, 1, 1, 1>};
const scenario try_1_1_2{"bounded_queue",
                         "one tries to push and one to pop at capacity 2, under a lock",
                         {},
                         all_try<monitor_state, 1, 1, 2>};
const scenario try_2_1_1{"bounded_queue",
                         "two try to push and one to pop at capacity 1, under a lock",
                         {},
                         all_try<monitor_state, 2, 1, 1>};
const scenario try_2_1_3{"bounded_queue",
                         "two try to push and one to pop at capacity 3, under a lock",
                         {},
                         all_try<monitor_state, 2, 1, 3>};
const scenario try_2_2_2{"bounded_queue", "two try to push and two to pop at capacity 2, under a lock",
                         sampled, all_try<monitor_state, 2, 2, 2>};

// ---- waits

const scenario wait_1_1_1{"bounded_queue",
                          "one pushes and one pops through two laps at capacity 1, under a lock",
                          {},
                          all_wait<monitor_state, 1, 1, 1, 2>};
const scenario wait_1_1_2{"bounded_queue",
                          "one pushes and one pops through two laps at capacity 2, under a lock",
                          {.preemptions = 3, .random_executions = 10'000},
                          all_wait<monitor_state, 1, 1, 2, 4>};
const scenario wait_1_1_3{"bounded_queue",
                          "one pushes and one pops past the end of capacity 3, under a lock",
                          {.preemptions = 3, .random_executions = 10'000},
                          all_wait<monitor_state, 1, 1, 3, 4>};
const scenario wait_spurious{"bounded_queue",
                             "nobody goes on for no reason, under a lock",
                             {.early_wakes = 1},
                             all_wait<monitor_state, 1, 1, 1, 2>};
const scenario wait_2_1_1{"bounded_queue", "two that push into one place lose no wake-up, under a lock",
                          sampled, all_wait<monitor_state, 2, 1, 1, 2>};
const scenario wait_1_2_1{"bounded_queue", "two that pop what one pushes lose no wake-up, under a lock",
                          sampled, all_wait<monitor_state, 1, 2, 1, 2>};
const scenario wait_2_2_1{"bounded_queue",
                          "two that push and two that pop at capacity 1 lose no wake-up, under a lock",
                          sampled, all_wait<monitor_state, 2, 2, 1, 1>};
const scenario wait_2_2_2{"bounded_queue",
                          "two that push and two that pop at capacity 2 lose no wake-up, under a lock",
                          sampled, all_wait<monitor_state, 2, 2, 2, 2>};

const scenario promised{
    "bounded_queue",
    "a value is given to the first who waits for it, not to who comes between, under a lock",
    {},
    no_barging<monitor_state>};

const scenario room_promised{
    "bounded_queue",
    "room is given to the first who waits for it, not to who comes between, under a lock",
    {},
    room_is_promised<monitor_state>};

// ---- more at once

const scenario many_at_once{"bounded_queue",
                            "one that pops several at once lets in who waits for the room, under a lock",
                            {},
                            pops_many<monitor_state>};

// ---- policies

const scenario drops_newest{"bounded_queue",
                            "what is dropped for lack of room is counted, the newest, under a lock",
                            {},
                            overflows<monitor_state, weir::overflow_policy::drop_newest>};
const scenario drops_oldest{"bounded_queue",
                            "what is dropped for lack of room is counted, the oldest, under a lock",
                            {},
                            overflows<monitor_state, weir::overflow_policy::drop_oldest>};

/// A stop callback of the standard library leans on what a futex promises beyond the standard.
constexpr bounds stops{.preemptions = 2, .weak = false, .strict_wait = false, .random_executions = 10'000};

// ---- close

const scenario close_push{"bounded_queue",
                          "a close ends a push that waits, or it was taken, under a lock",
                          {.preemptions = 3, .random_executions = 10'000},
                          close_and_push<monitor_state>};

const scenario close_pop{"bounded_queue",
                         "a close ends a pop that waits, and loses no accepted value, under a lock",
                         {},
                         close_and_pop<monitor_state, 1>};
const scenario close_pops{"bounded_queue",
                          "a close ends two pops that wait, and loses no accepted value, under a lock",
                          {.preemptions = 3, .random_executions = 10'000},
                          close_and_pop<monitor_state, 2>};

const scenario close_empty{"bounded_queue",
                           "a close ends all pops that wait for nothing, under a lock",
                           {},
                           close_alone<monitor_state>};

const scenario close_pushes{"bounded_queue",
                            "a close ends all pushes that wait for room that nobody makes, under a lock",
                            {},
                            close_full<monitor_state>};

const scenario closed_twice{
    "bounded_queue", "two closes at once are one, under a lock", {}, two_closes<monitor_state>};

const scenario taken_back{"bounded_queue",
                          "what a close takes back was given to nobody else, under a lock",
                          {},
                          takes_back<monitor_state>};

const scenario promise_kept{"bounded_queue",
                            "a close that takes back leaves what was promised, under a lock",
                            {},
                            takes_back_from_promised<monitor_state>};

// ---- a look

const scenario looked_at_{"bounded_queue",
                          "a queue may be looked at while it is used and closed, under a lock",
                          {},
                          looked_at<monitor_state>};

// ---- time and stops

const scenario no_notify_swallowed{
    "bounded_queue",
    "a pop that times out takes no wake-up from another, under a lock",
    {.preemptions = 2, .weak = false, .early_wakes = 1, .random_executions = 20'000},
    time_swallows_nothing<timed_monitor_state>};

const scenario late_push{"bounded_queue",
                         "a push that times out was taken or not, and never both, under a lock",
                         {.early_wakes = 1},
                         push_times_out<timed_monitor_state>};

const scenario triple{
    "bounded_queue",
    "time, a stop and a value at once: one of them ends a pop, and nothing is lost, under a lock",
    {.preemptions = 2, .weak = false, .strict_wait = false, .early_wakes = 1, .random_executions = 10'000},
    everything_at_once<timed_monitor_state>};

const scenario stop_push{
    "bounded_queue", "a stop and room at once: one of them ends a push, and nothing is lost, under a lock",
    stops, stopped_push<monitor_state>};

// ---- destruction

const scenario goes{"bounded_queue",
                    "once the last calls have returned, the queue may be destroyed, under a lock",
                    {},
                    goes_after_last_pop<monitor_state>};

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

// ---- moves that throw

const scenario thrown_move{"bounded_queue",
                           "a value whose move throws stays with its caller, and the next one gets the room",
                           sampled, throwing_moves};

}  // namespace
