/* SPDX-License-Identifier: BSL-1.0 */

/* Callers that race over the breaker without end: each load of the word, each look at the clock and each
 * passage through the lock is a step of its own.  HAND=1 adds somebody who moves the breaker by hand. */

#include "breaker.pml"

active [CALLERS] proctype caller() {
  byte verdict;
asks:
  atomic { /* try_acquire: the load [A]; the states that pass at once issue the permit of that word */
    read_word(_pid);
    if
    :: state == closed || state == disabled || state == metrics_only -> goto calls
    :: state == forced_open -> forget_word(_pid); goto asks
    :: state == half_open -> goto locks
    :: state == open
    fi
  }
  atomic { /* the look at the clock */
    if
    :: reopen_in > 0 -> forget_word(_pid); goto asks
    :: else
    fi
  }
locks:
  atomic {
    admit(_pid);
    if
    :: granted -> granted = false
    :: else -> goto asks
    fi
  }
calls:
  atomic { /* the call ends; finish before the lock */
    if
#ifndef NO_LOSS
    :: forget_word(_pid); goto asks /* lost: nobody will ever report */
#endif
#ifdef DROP_SILENT
    :: forget_word(_pid); goto asks
#endif
#ifndef NO_GENERATION
    :: !word_is_mine(_pid) -> forget_word(_pid); goto asks
    :: word_is_mine(_pid) && word_state[_pid] == disabled -> forget_word(_pid); goto asks
    :: word_is_mine(_pid) && word_state[_pid] != disabled
#else
    :: true
#endif
    fi;
    if
    :: verdict = success
    :: verdict = failure
#ifndef DROP_SILENT
    :: verdict = ignore /* also what a permit reports that is dropped */
#endif
    fi
  }
  atomic { /* finish, under it */
    if
#ifndef NO_GENERATION
    :: !word_is_mine(_pid)
#endif
    :: else -> record(_pid, verdict)
    fi;
    forget_word(_pid);
    verdict = 0;
    goto asks
  }
}

active proctype clock() {
  do
  :: atomic { reopen_in > 0 || give_up_in > 0 -> tick() }
  od
}

/* state(), from anywhere.  An instant that was read before the lock is an earlier one: it moves less. */
active proctype state_at() {
  do
  :: atomic { (state == open && reopen_in == 0) || (state == half_open && give_up_in == 0) -> advance() }
  od
}

#ifdef HAND
active proctype hand() {
  byte to;
  do
  :: atomic {
       select(to : 0 .. 5);
       if
       :: legal_move(to) -> enter(to)
       :: else
       fi;
       to = 0
     }
  :: atomic { reconfigure() }
  od
}
#endif

#define full (state == half_open && probe_calls + probes_out >= PROBES)

ltl at_most_k_probes { [] !too_many }
ltl only_its_own_probe_closes { [] !closed_by_other }
ltl late_results_change_nothing { [] !late_counted }
ltl open_lasts_its_wait { [] !moved_early }
ltl opens_at_the_threshold { [] (state != closed || failures < THRESHOLD) }
ltl safe {
  [] (!too_many && !closed_by_other && !late_counted && !moved_early &&
      (state != closed || failures < THRESHOLD))
}
ltl half_open_moves_on { [] (full -> <> !full) }
ltl open_ends { [] (state == open -> <> (state != open)) }
