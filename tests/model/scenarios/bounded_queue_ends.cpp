// SPDX-License-Identifier: BSL-1.0
// Values whose move cannot throw: the ring.  What ends a wait, and what ends a queue.
#include "queue_ends.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;

/// A stop callback of the standard library leans on what a futex promises beyond the standard.
constexpr bounds stops{.preemptions = 2, .weak = false, .strict_wait = false, .random_executions = 10'000};

// ---- close

const scenario close_push{"bounded_queue",
                          "a close ends a push that waits, or it was taken",
                          {.preemptions = 3, .random_executions = 10'000},
                          close_and_push<queue_state>};

const scenario close_pop{"bounded_queue",
                         "a close ends a pop that waits, and loses no accepted value",
                         {},
                         close_and_pop<queue_state, 1>};
const scenario close_pops{"bounded_queue",
                          "a close ends two pops that wait, and loses no accepted value",
                          {.preemptions = 3, .random_executions = 10'000},
                          close_and_pop<queue_state, 2>};

const scenario close_empty{
    "bounded_queue", "a close ends all pops that wait for nothing", {}, close_alone<queue_state>};

const scenario close_pushes{"bounded_queue",
                            "a close ends all pushes that wait for room that nobody makes",
                            {},
                            close_full<queue_state>};

const scenario closed_twice{"bounded_queue", "two closes at once are one", {}, two_closes<queue_state>};

const scenario taken_back{
    "bounded_queue", "what a close takes back was given to nobody else", {}, takes_back<queue_state>};

const scenario promise_kept{"bounded_queue",
                            "a close that takes back leaves what was promised",
                            {},
                            takes_back_from_promised<queue_state>};

// ---- a look

const scenario looked_at_{
    "bounded_queue", "a queue may be looked at while it is used and closed", {}, looked_at<queue_state>};

// ---- time and stops

const scenario no_notify_swallowed{
    "bounded_queue",
    "a pop that times out takes no wake-up from another",
    {.preemptions = 2, .weak = false, .early_wakes = 1, .random_executions = 20'000},
    time_swallows_nothing<timed_queue_state>};

const scenario late_push{"bounded_queue",
                         "a push that times out was taken or not, and never both",
                         {.early_wakes = 1},
                         push_times_out<timed_queue_state>};

const scenario triple{
    "bounded_queue",
    "time, a stop and a value at once: one of them ends a pop, and nothing is lost",
    {.preemptions = 2, .weak = false, .strict_wait = false, .early_wakes = 1, .random_executions = 10'000},
    everything_at_once<timed_queue_state>};

const scenario stop_push{"bounded_queue",
                         "a stop and room at once: one of them ends a push, and nothing is lost", stops,
                         stopped_push<queue_state>};

// ---- destruction

const scenario goes{"bounded_queue",
                    "once the last calls have returned, the queue may be destroyed",
                    {},
                    goes_after_last_pop<queue_state>};

}  // namespace
