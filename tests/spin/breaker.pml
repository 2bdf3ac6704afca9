/* SPDX-License-Identifier: BSL-1.0 */

/* The circuit breaker's word {generation, state} and what stands behind its lock, as in circuit_breaker.hpp
 * and detail/circuit_breaker_core.hpp; a transition has the name of the function it stands for.  callers.pml
 * lets callers race over it, traces.pml calls it from one thread to be compared with the code.
 *
 * Abstractions
 *   The lock     What runs under it is one atomic step.
 *   Successes    Those that can decide nothing take no lock; each is one step too, the exchange that counts it.
 *   Time         Instants are what is left until then, in ticks that saturate at zero.
 *   The window   consecutive_failures{THRESHOLD}, counted where it is judged: in closed.  Slow calls, growing
 *                waits and jitter are left out.
 *   Generation   A number that nobody holds any more may be used again: only equality counts, and 58 bits do
 *                not come round.  So runs are endless and the states few.  BITS=n counts modulo 2^n instead,
 *                COUNTING=1 without end.  Other options begin none; the code gives them a number all the same.
 *
 * Variants that are wrong on purpose: NO_GENERATION, RACY_EXPIRY, NO_LEASE, DROP_SILENT, BITS.
 */

#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef PROBES
#define PROBES 1     /* options.probes */
#endif
#ifndef SUCCESSES
#define SUCCESSES 0  /* options.probe_successes; 0: not given, the failure rate of 50 % decides */
#endif
#ifndef THRESHOLD
#define THRESHOLD 2  /* consecutive_failures.count */
#endif
#ifndef OPEN_FOR
#define OPEN_FOR 1   /* options.open_for, in ticks */
#endif
#ifndef LEASE
#define LEASE 1      /* options.half_open_max_wait, in ticks */
#endif

/* breaker_state */
#define closed 0
#define open 1
#define half_open 2
#define forced_open 3
#define disabled 4
#define metrics_only 5

/* call_verdict */
#define success 0
#define failure 1
#define ignore 2

#ifdef COUNTING
#define count short
#else
#define count byte
#endif

/* The word. */
byte state = closed;
count generation = 1;

/* Guarded by the lock. */
byte failures;    /* in a row, in closed */
byte probes_out;  /* in half_open: admitted, not reported */
byte probe_calls; /* in half_open: reported */
byte bad_probes;  /* of them, failed */
byte reopen_in;   /* until reopen_at */
byte give_up_in;  /* until give_up_at */

/* What each caller has read of the word: at its look, or its permit's. */
bool holds[CALLERS];
byte word_state[CALLERS];
count word_generation[CALLERS];

/* Known to nobody in the code: what really happened, whatever the word says. */
bool behind[CALLERS];  /* the breaker has moved since the caller's word was read */
bool probe[CALLERS];   /* the caller's permit was granted by half_open */
byte admitted;         /* probes of this half_open that were not ignored, lost ones too */
bool too_many;         /* more than PROBES of them */
bool closed_by_other;  /* half_open was closed by what is not a probe of its own */
bool late_counted;     /* a result of an older generation was recorded */
bool moved_early;      /* half_open began before the wait of open was over */

/* Of the inlines, zero between two steps. */
byte fresh;
bool granted; /* answer of admit */

#define word_is_mine(c) (state == word_state[c] && generation == word_generation[c])
#define uses(c, g) (holds[c] && word_generation[c] == g)
#if CALLERS == 1
#define somebody_uses(g) uses(0, g)
#elif CALLERS == 2
#define somebody_uses(g) (uses(0, g) || uses(1, g))
#else
#define somebody_uses(g) (uses(0, g) || uses(1, g) || uses(2, g))
#endif

inline read_word(c) {
  holds[c] = true;
  word_state[c] = state;
  word_generation[c] = generation;
  behind[c] = false
}

inline forget_word(c) {
  holds[c] = false;
  word_state[c] = 0;
  word_generation[c] = 0;
  behind[c] = false;
  probe[c] = false
}

inline begin_generation() {
#if defined(BITS)
  generation = (generation + 1) % (1 << BITS);
#elif defined(COUNTING)
  generation++;
#else
  fresh = 1;
  do
  :: fresh == generation || somebody_uses(fresh) -> fresh++
  :: else -> break
  od;
  generation = fresh;
  fresh = 0;
#endif
  probes_out = 0;
  probe_calls = 0;
  bad_probes = 0;
  give_up_in = 0;
  admitted = 0;
  behind[0] = holds[0];
#if CALLERS > 1
  behind[1] = holds[1];
#endif
#if CALLERS > 2
  behind[2] = holds[2];
#endif
}

inline enter(to) {
  if
  :: to == open -> reopen_in = OPEN_FOR
  :: else
  fi;
  failures = 0;
  state = to;
  begin_generation()
}

inline expect_progress() { give_up_in = LEASE }

inline advance() {
  if
  :: state == open && reopen_in == 0 -> enter(half_open)
#ifndef NO_LEASE
  :: state == half_open && probes_out > 0 && give_up_in == 0 -> enter(open)
#endif
  :: else
  fi
}

/* Leaves `granted`, and the word in the caller's hands if so. */
inline admit(c) {
#ifdef RACY_EXPIRY
  if
  :: word_state[c] == open -> moved_early = moved_early || state != open || reopen_in > 0; enter(half_open)
  :: else -> advance()
  fi;
#else
  advance();
#endif
  granted = false;
  if
  :: state == open || state == forced_open
  :: state == half_open ->
     if
     :: probe_calls + probes_out >= PROBES
     :: else ->
        if
        :: probes_out == 0 -> expect_progress()
        :: else
        fi;
        probes_out++;
        admitted++;
        too_many = too_many || admitted > PROBES;
        granted = true
     fi
  :: else -> granted = true
  fi;
  if
  :: granted -> read_word(c); probe[c] = (state == half_open)
  :: else -> forget_word(c)
  fi
}

inline judge_probes(c, verdict) {
  bad_probes = bad_probes + (verdict == failure -> 1 : 0);
  if
  :: SUCCESSES > 0 && probe_calls - bad_probes >= SUCCESSES ||
     SUCCESSES == 0 && probe_calls >= PROBES && bad_probes * 100 < probe_calls * 50 ->
     closed_by_other = closed_by_other || behind[c] || !probe[c];
     enter(closed)
  :: SUCCESSES > 0 && bad_probes > PROBES - SUCCESSES ||
     SUCCESSES == 0 && probe_calls >= PROBES && bad_probes * 100 >= probe_calls * 50 -> enter(open)
  :: else
  fi
}

inline record(c, verdict) {
  late_counted = late_counted || behind[c];
  if
  :: state == half_open ->
     probes_out = (probes_out > 0 -> probes_out - 1 : 0);
     expect_progress();
     if
     :: verdict == ignore -> admitted = (admitted > 0 && !behind[c] -> admitted - 1 : admitted)
     :: else -> probe_calls++; judge_probes(c, verdict)
     fi
  :: state == closed && verdict == failure ->
     failures++;
     if
     :: failures >= THRESHOLD -> enter(open)
     :: else
     fi
  :: state == closed && verdict == success -> failures = 0
  :: else
  fi
}

#define legal_move(to) (state == closed -> to != half_open : \
                       (state == metrics_only -> to != half_open && to != open : true))

inline reconfigure() {
  if
  :: state == half_open -> begin_generation()
  :: else
  fi
}

inline tick() {
  reopen_in = (reopen_in > 0 -> reopen_in - 1 : 0);
  give_up_in = (give_up_in > 0 -> give_up_in - 1 : 0)
}
