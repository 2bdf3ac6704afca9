// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <weir/retry.hpp>

namespace weir_test {

/// A budget of retries in millionths, naively: the window form keeps all that ever happened to it.
struct naive_budget {
  static constexpr std::int64_t unit = 1'000'000;

  std::int64_t earned = 0;    // by a success
  std::int64_t capacity = 0;  // the floor in the window form
  std::int64_t length = 0;    // of a slot, in nanoseconds; zero in the token form
  std::int64_t have = 0;      // token form

  struct event {
    std::int64_t slot;
    std::int64_t amount;
  };
  std::vector<event> events{};  // window form
  std::int64_t latest = std::numeric_limits<std::int64_t>::min();

  static std::optional<naive_budget> tokens(std::uint32_t capacity, double per_success) {
    if (!(per_success >= 0 && per_success <= 1000)) return std::nullopt;
    const std::int64_t full = std::int64_t{capacity} * unit;
    return naive_budget{.earned = std::llround(per_success * unit), .capacity = full, .have = full};
  }
  static std::optional<naive_budget> window(std::int64_t window, double ratio, std::uint32_t min_per_second) {
    const auto floor = static_cast<long double>(window) * min_per_second / 1000;
    if (!(ratio >= 0 && ratio <= 1000) || window < 10 || floor > 1e18L) return std::nullopt;
    return naive_budget{
        .earned = std::llround(ratio * unit), .capacity = std::llround(floor), .length = window / 10};
  }

  [[nodiscard]] std::int64_t slot_of(std::int64_t at) const {
    return at / length - (at % length < 0 ? 1 : 0);
  }
  [[nodiscard]] std::int64_t current(std::int64_t now) const { return std::max(latest, slot_of(now)); }

  void add(std::int64_t now, std::int64_t amount) {
    if (length == 0) {
      have = std::min(capacity, have + amount);
    } else {
      latest = current(now);
      events.push_back({latest, amount});
    }
  }
  void deposit(std::int64_t now) { add(now, earned); }

  [[nodiscard]] std::int64_t sum(std::int64_t now) const {
    if (length == 0) return have;
    std::int64_t all = capacity;
    for (const event& e : events) {
      if (e.slot > current(now) - 10) all += e.amount;
    }
    return all;
  }
  bool withdraw(std::int64_t now) {
    if (length != 0) latest = current(now);
    if (sum(now) < unit) return false;
    add(now, -unit);
    return true;
  }
  /// Gives one back that was taken at `taken_at`: it counts for as long as that.
  void refund(std::int64_t now, std::int64_t taken_at) {
    if (length == 0) return add(now, unit);
    latest = current(now);
    events.push_back({std::min(latest, slot_of(taken_at)), unit});
  }
  [[nodiscard]] std::uint64_t available(std::int64_t now) const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, sum(now)) / unit);
  }
};

}  // namespace weir_test
