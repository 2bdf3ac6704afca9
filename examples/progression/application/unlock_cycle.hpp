// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/stats.hpp>
#include <weir/task_gate.hpp>

#include "application/event.hpp"
#include "application/service.hpp"
#include "application/service_clock.hpp"
#include "application/store.hpp"
#include "application/store_port.hpp"

namespace progression {

/// Takes the cycle forward until it is at rest.  At most one check runs in this process at a time; among
/// processes the database decides.
class unlock_cycle {
 public:
  /// `on_step` is called after each commit of this process, before its events are told.
  unlock_cycle(const tree& t, store& db, store_port& port, event_sink sink,
               std::function<void(const step&)> on_step, std::function<wall_time()> wall_now,
               const service_options& o);

  /// Returns when a check that started after this call has ended, or somebody else owes it.  What the
  /// database fails at is left for `tick`.
  void trigger() noexcept;

  /// The same, because the pot was seen full in `cycle`: nothing to do if that cycle is known to be over before
  /// the check would start.  All who shared a commit see the same full pot, and one check deals with it.
  void trigger(std::int64_t cycle) noexcept;

  /// Repeats a check that failed, and checks now and then without a reason.
  void tick();

  /// One check, here and now.  Throws store_error.
  void settle();

  [[nodiscard]] std::uint64_t triggers() const noexcept { return triggers_.value(); }
  [[nodiscard]] std::uint64_t checks() const noexcept { return checks_.value(); }
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_.value(); }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_.value(); }
  [[nodiscard]] std::uint64_t unlocks() const noexcept { return unlocks_.value(); }
  [[nodiscard]] std::uint64_t sink_errors() const noexcept { return sink_errors_.value(); }

 private:
  [[nodiscard]] std::optional<step> decide_at(const world& w, std::uint64_t seed, wall_time now) const;
  [[nodiscard]] std::uint64_t next_seed() noexcept;
  [[nodiscard]] bool is_over(std::int64_t cycle) const noexcept;
  static void raise(std::atomic<std::int64_t>& maximum, std::int64_t to) noexcept;
  void check() noexcept;
  void announce(const store::transitioned& t);
  void tell(const event& e) noexcept;
  [[nodiscard]] std::string name_of_node(const std::string& key) const;

  const tree& tree_;
  store& db_;
  store_port& port_;
  const event_sink sink_;
  const std::function<void(const step&)> on_step_;
  const std::function<wall_time()> wall_now_;
  const cycle_rules rules_;
  const bool coalescing_;
  const weir::duration interval_;
  const service_clock clock_;

  std::atomic<std::uint64_t> seed_;
  std::atomic<std::int64_t> latest_cycle_{0};  // that was read from the store
  std::atomic<std::int64_t> wanted_{0};        // the latest cycle that was seen full and not yet checked
  std::atomic<bool> owed_{false};              // a check failed and is to be repeated
  std::atomic<weir::duration::rep> last_check_;
  weir::event_counter triggers_;
  weir::event_counter checks_;
  weir::event_counter failed_;
  weir::event_counter steps_;
  weir::event_counter unlocks_;
  weir::event_counter sink_errors_;
  weir::basic_task_gate<service_clock> gate_;
};

}  // namespace progression
