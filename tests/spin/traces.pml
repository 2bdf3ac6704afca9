/* SPDX-License-Identifier: BSL-1.0 */

/* One thread that calls the breaker DEPTH times, in every order (explored, EVERY=1) or in one (simulated),
 * and writes each call with the answer and what the breaker then is, for replay.cpp to compare with the code:
 *
 *   options THRESHOLD PROBES SUCCESSES OPEN_FOR LEASE
 *   step NUMBER CALL CALLER ARGUMENT ANSWER RETRY_AFTER STATE GENERATION FAILURES PROBE_CALLS BAD_PROBES
 *
 * An exploration writes a tree in preorder: a step follows the latest one whose number is less by one.
 * try_acquire is split where the clock is read in open: `look` is the load of the word, `admit` all the rest.
 * HAND=1 adds the moves by hand. */

#define COUNTING 1
#include "breaker.pml"

#ifndef DEPTH
#define DEPTH 6
#endif

/* CALL */
#define call_tick 0
#define call_try_acquire 1
#define call_look 2
#define call_admit 3
#define call_finish 4
#define call_drop 5
#define call_lose 6
#define call_state_at 7
#define call_transition_to 8
#define call_reconfigure 9

/* ANSWER */
#define said_nothing 0
#define said_granted 1
#define said_refused 2
#define said_recorded 3
#define said_late 4
#define said_illegal 5

bool looking[CALLERS];
short depth;
#ifdef EVERY
int path[4]; /* the calls so far, so that no two histories are one state; three to a number */
#endif

byte call;
byte argument;
byte answer;
byte retry_after;

/* What follows the load of the word. */
inline acquire(c) {
  granted = false;
  if
  :: word_state[c] == closed || word_state[c] == disabled || word_state[c] == metrics_only -> granted = true
  :: word_state[c] == forced_open -> forget_word(c)
  :: word_state[c] == open && reopen_in > 0 -> retry_after = reopen_in; forget_word(c)
  :: else ->
     admit(c);
     retry_after = (!granted && state == open -> reopen_in : 0)
  fi;
  answer = (granted -> said_granted : said_refused);
  granted = false
}

inline end_permit(c, verdict) {
  argument = verdict;
  if
#ifndef NO_GENERATION
  :: !word_is_mine(c) -> answer = said_late
#endif
  :: word_is_mine(c) && word_state[c] == disabled
  :: else -> answer = said_recorded; record(c, verdict)
  fi;
  forget_word(c)
}

inline call_of(c) {
  if
  :: !holds[c] -> call = call_try_acquire; read_word(c); acquire(c)
  :: !holds[c] && state == open -> call = call_look; read_word(c); looking[c] = true
  :: looking[c] -> call = call_admit; looking[c] = false; acquire(c)
  :: holds[c] && !looking[c] -> call = call_finish; end_permit(c, success)
  :: holds[c] && !looking[c] -> call = call_finish; end_permit(c, failure)
  :: holds[c] && !looking[c] -> call = call_finish; end_permit(c, ignore)
  :: holds[c] && !looking[c] -> call = call_drop; end_permit(c, ignore)
  :: holds[c] && !looking[c] -> call = call_lose; forget_word(c)
  fi
}

active proctype thread() {
  byte who;
  byte to;
  printf("options %d %d %d %d %d\n", THRESHOLD, PROBES, SUCCESSES, OPEN_FOR, LEASE);
  do
  :: atomic {
       depth < DEPTH ->
       if
       :: call = call_tick; tick()
       :: call = call_state_at; advance()
       :: call_of(0)
#if CALLERS > 1
       :: holds[0] || holds[1] -> who = 1; call_of(1) /* who has no permit comes in order */
#endif
#if CALLERS > 2
       :: holds[2] || (holds[0] && holds[1]) -> who = 2; call_of(2)
#endif
#ifdef HAND
       :: call = call_reconfigure; reconfigure()
       :: call = call_transition_to;
          select(to : 0 .. 5);
          argument = to;
          if
          :: legal_move(to) -> enter(to)
          :: else -> answer = said_illegal
          fi
#endif
       fi;
#ifdef EVERY
       path[depth / 3] = path[depth / 3] * 512 + (who * 10 + call) * 8 + argument;
#endif
       depth++;
       printf("step %d %d %d %d %d %d %d %d %d %d %d\n", depth, call, who, argument, answer, retry_after,
              state, generation, failures, probe_calls, bad_probes);
       call = 0;
       who = 0;
       argument = 0;
       answer = said_nothing;
       retry_after = 0;
       to = 0
     }
  :: depth == DEPTH -> break
  od
}
