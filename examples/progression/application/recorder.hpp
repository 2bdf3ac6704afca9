// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include <weir/batcher.hpp>
#include <weir/deadline.hpp>
#include <weir/outcome.hpp>

#include "application/service.hpp"
#include "application/service_clock.hpp"
#include "application/store.hpp"
#include "application/store_port.hpp"

namespace progression {

/// A store_error as a value: each caller of a batch gets its own, none shares an exception with the others.
struct store_fault {
  store_failure kind;
  std::string what;
};

/// What became of one engagement.
using record_answer = std::variant<record_status, weir::refusal, store_fault>;

/// The cycle in which a pot was seen full; empty if it was not.
using full_cycle = std::optional<std::int64_t>;

/// Writes the engagements of many callers with one commit.
class recorder {
 public:
  recorder(store& db, store_port& port, std::function<wall_time()> wall_now, const service_options& o);

  /// Moves from `entries`, fills `answers` (of the same length) and says in which cycle the pot was full when
  /// they were committed, if it was; or a refusal, and nothing was written.
  weir::outcome<full_cycle> record(std::span<engagement> entries, std::span<record_answer> answers,
                                   weir::deadline until, std::stop_token stop);

  [[nodiscard]] weir::batcher_stats stats() const { return batcher_.stats(); }
  [[nodiscard]] std::uint64_t written() const noexcept { return written_.value(); }

 private:
  /// Lives with the caller, who waits until it is answered.
  struct work {
    std::span<engagement> entries;
    std::span<record_answer> answers;
  };
  using batcher = weir::batcher<work, full_cycle, service_clock>;

  static weir::batcher_options<work> options_of(const service_options& o);
  void write_all(std::span<batcher::item> batch);
  full_cycle write(std::span<const engagement> entries, std::span<record_answer> answers);

  store& db_;
  store_port& port_;
  const std::function<wall_time()> wall_now_;
  const bool batching_;
  weir::event_counter written_;
  batcher batcher_;
};

}  // namespace progression
