// SPDX-License-Identifier: BSL-1.0
// Values whose move cannot throw: the ring.  Pushing and popping.
#include "queue_flows.hpp"

namespace {

using namespace weir_model;

constexpr bounds sampled{.preemptions = 2, .random_executions = 10'000};
constexpr bounds sampled_in_order{.preemptions = 2, .weak = false, .random_executions = 10'000};

// ---- tries

const scenario try_1_1_1{
    "bounded_queue", "one tries to push and one to pop at capacity 1", {}, all_try<queue_state, 1, 1, 1>};
const scenario try_1_1_2{
    "bounded_queue", "one tries to push and one to pop at capacity 2", {}, all_try<queue_state, 1, 1, 2>};
const scenario try_2_1_1{"bounded_queue", "two try to push and one to pop at capacity 1", sampled,
                         all_try<queue_state, 2, 1, 1>};
const scenario try_2_1_3{"bounded_queue", "two try to push and one to pop at capacity 3", sampled,
                         all_try<queue_state, 2, 1, 3>};
const scenario try_2_2_2{"bounded_queue", "two try to push and two to pop at capacity 2", sampled_in_order,
                         all_try<queue_state, 2, 2, 2>};

// ---- waits

const scenario wait_1_1_1{"bounded_queue",
                          "one pushes and one pops through two laps at capacity 1",
                          {},
                          all_wait<queue_state, 1, 1, 1, 2>};
const scenario wait_1_1_2{"bounded_queue", "one pushes and one pops through two laps at capacity 2", sampled,
                          all_wait<queue_state, 1, 1, 2, 4>};
const scenario wait_1_1_3{"bounded_queue",
                          "one pushes and one pops past the end of capacity 3",
                          {.preemptions = 3, .random_executions = 10'000},
                          all_wait<queue_state, 1, 1, 3, 4>};
const scenario wait_spurious{"bounded_queue",
                             "nobody goes on for no reason",
                             {.preemptions = 2, .early_wakes = 1, .random_executions = 10'000},
                             all_wait<queue_state, 1, 1, 1, 2>};
const scenario wait_2_1_1{"bounded_queue", "two that push into one place lose no wake-up", sampled_in_order,
                          all_wait<queue_state, 2, 1, 1, 2>};
const scenario wait_1_2_1{"bounded_queue", "two that pop what one pushes lose no wake-up", sampled,
                          all_wait<queue_state, 1, 2, 1, 2>};
const scenario wait_2_2_1{"bounded_queue", "two that push and two that pop at capacity 1 lose no wake-up",
                          sampled_in_order, all_wait<queue_state, 2, 2, 1, 1>};
const scenario wait_2_2_2{"bounded_queue",
                          "two that push and two that pop at capacity 2 lose no wake-up",
                          {.preemptions = 1, .weak = false, .random_executions = 20'000},
                          all_wait<queue_state, 2, 2, 2, 2>};

const scenario promised{"bounded_queue",
                        "a value is given to the first who waits for it, not to who comes between",
                        {},
                        no_barging<queue_state>};

const scenario room_promised{"bounded_queue",
                             "room is given to the first who waits for it, not to who comes between",
                             {},
                             room_is_promised<queue_state>};

// ---- more at once

const scenario many_at_once{"bounded_queue", "one that pops several at once lets in who waits for the room",
                            sampled, pops_many<queue_state>};

// ---- policies

const scenario drops_newest{"bounded_queue",
                            "what is dropped for lack of room is counted, the newest",
                            {},
                            overflows<queue_state, weir::overflow_policy::drop_newest>};
const scenario drops_oldest{"bounded_queue",
                            "what is dropped for lack of room is counted, the oldest",
                            {.preemptions = 1, .weak = false, .random_executions = 10'000},
                            overflows<queue_state, weir::overflow_policy::drop_oldest>};

}  // namespace
