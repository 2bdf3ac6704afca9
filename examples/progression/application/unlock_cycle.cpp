// SPDX-License-Identifier: BSL-1.0
#include "application/unlock_cycle.hpp"

#include <limits>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "domain/cycle.hpp"
#include "domain/random.hpp"

namespace progression {

namespace {

std::uint64_t seed_or_system(std::uint64_t seed) {
  if (seed != 0) return seed;
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

}  // namespace

unlock_cycle::unlock_cycle(const tree& t, store& db, store_port& port, event_sink sink,
                           std::function<void(const step&)> on_step, std::function<wall_time()> wall_now,
                           const service_options& o)
    : tree_{t},
      db_{db},
      port_{port},
      sink_{std::move(sink)},
      on_step_{std::move(on_step)},
      wall_now_{std::move(wall_now)},
      rules_{o.rules},
      coalescing_{o.coalesce_checks},
      interval_{o.check_interval},
      clock_{o.now},
      seed_{seed_or_system(o.seed)},
      last_check_{clock_.now().time_since_epoch().count()},
      gate_{{}, clock_} {}

void unlock_cycle::trigger() noexcept { trigger(std::numeric_limits<std::int64_t>::max()); }

void unlock_cycle::trigger(std::int64_t cycle) noexcept {
  triggers_.add();
  if (is_over(cycle)) return;
  raise(wanted_, cycle);
  if (!coalescing_) return check();
  static_cast<void>(gate_.run_coalesced([this] {
    // What was wanted before this run is seen here: a trigger happens-before the run that answers it.
    // [relaxed] That is the gate's doing.
    if (!is_over(wanted_.exchange(0, std::memory_order_relaxed))) check();
  }));
}

bool unlock_cycle::is_over(std::int64_t cycle) const noexcept {
  // [relaxed] Cycles only grow: whatever value is seen, a lesser cycle is over.
  return cycle < latest_cycle_.load(std::memory_order_relaxed);
}

void unlock_cycle::raise(std::atomic<std::int64_t>& maximum, std::int64_t to) noexcept {
  // [relaxed] A maximum, and of no other memory.
  std::int64_t known = maximum.load(std::memory_order_relaxed);
  // [relaxed] As above.
  while (known < to && !maximum.compare_exchange_weak(known, to, std::memory_order_relaxed)) {
  }
}

void unlock_cycle::tick() {
  // [relaxed] Only a hint when to look; the database holds what there is to see.
  const weir::time_point last{weir::duration{last_check_.load(std::memory_order_relaxed)}};
  // [relaxed] As above.
  const bool due = owed_.exchange(false, std::memory_order_relaxed);
  if (due || weir::elapsed(last, clock_.now()) >= interval_) trigger();
}

void unlock_cycle::check() noexcept {
  try {
    settle();
  } catch (...) {
    failed_.add();
    // [relaxed] A later tick repeats the check, whichever sees it.
    owed_.store(true, std::memory_order_relaxed);
  }
}

void unlock_cycle::settle() {
  checks_.add();
  // [relaxed] See tick().
  last_check_.store(clock_.now().time_since_epoch().count(), std::memory_order_relaxed);
  for (;;) {
    // The decision may be asked for again if the transaction is: same seed, same time, same step.
    const std::uint64_t seed = next_seed();
    const wall_time now = wall_now_();
    auto done = port_.call([&] {
      return db_.transition([&](const world& w) {
        raise(latest_cycle_, w.pot.cycle);
        return decide_at(w, seed, now);
      });
    });
    if (!done)
      throw store_error{store_failure::unavailable,
                        "unlock check: " + std::string{to_string(done.error().reason)}};
    if (!*done) return;
    raise(latest_cycle_, (*done)->after.pot.cycle);
    steps_.add();
    if ((*done)->step.unlock) unlocks_.add();
    on_step_((*done)->step);
    announce(**done);
    // Saves asking the database what is plain already: whoever changes this world asks by himself.
    if (!decide_at((*done)->after, seed, now)) return;
  }
}

std::optional<step> unlock_cycle::decide_at(const world& w, std::uint64_t seed, wall_time now) const {
  rng random{seed};
  return next_step(tree_, w, now, random, rules_);
}

std::uint64_t unlock_cycle::next_seed() noexcept {
  // [relaxed] Each check needs a seed of its own and nothing else.
  return rng{seed_.fetch_add(1, std::memory_order_relaxed)}.next();
}

void unlock_cycle::announce(const store::transitioned& t) {
  for (const node_level& g : t.step.granted) {
    tell(node_unlocked{g, name_of_node(g.node), unlock_source::automatic});
  }
  if (t.step.unlock) {
    tell(node_unlocked{t.step.unlock->what, name_of_node(t.step.unlock->what.node), t.step.unlock->source});
    tell(cycle_completed{t.after.pot.cycle - 1, *t.step.unlock});
  }
  if (t.step.next) tell(target_set{*t.step.next, name_of_node(t.step.next->what.node), t.after.pot.cycle});
  if (t.step.started && t.after.open_session) tell(voting_started{*t.after.open_session});
  if (t.step.all_unlocked) tell(all_unlocked{});
}

void unlock_cycle::tell(const event& e) noexcept {
  if (!sink_) return;
  try {
    sink_(e);
  } catch (...) {
    sink_errors_.add();
  }
}

std::string unlock_cycle::name_of_node(const std::string& key) const {
  const node* n = tree_.find(key);
  return n ? n->name : key;
}

}  // namespace progression
