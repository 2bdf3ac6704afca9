// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <weir/clock.hpp>

namespace weir_test {

/// One of them befalls the pipeline each virtual minute.
enum class fault_kind : std::uint8_t {
  sink_fails,       ///< the breaker opens, and closes again once the sink is back
  probe_is_lost,    ///< the same, and a permit is not reported on before the next fault
  loader_throws,    ///< with an empty cache
  clock_jumps,      ///< forward, by up to ten minutes
  consumer_stalls,  ///< until the queue is full
  burst,            ///< the messages of the next seconds come at once
  reconfiguration,  ///< of limiter and breaker, and back
  invalidation,     ///< of the whole cache
};
inline constexpr std::size_t fault_kinds = 8;

[[nodiscard]] constexpr std::string_view to_string(fault_kind kind) noexcept {
  constexpr std::array<std::string_view, fault_kinds> names{
      "sink_fails",      "probe_is_lost", "loader_throws",   "clock_jumps",
      "consumer_stalls", "burst",         "reconfiguration", "invalidation"};
  return names[static_cast<std::size_t>(kind)];
}

struct fault {
  fault_kind kind;
  weir::duration begins;  ///< since the start of the run
  weir::duration lasts;
  std::uint64_t size;  ///< of what has one: 0 to 99
};

/// splitmix64 (Steele, Lea, Flood; OOPSLA 2014)
[[nodiscard]] constexpr std::uint64_t mixed(std::uint64_t z) noexcept {
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// The fault of a minute: begins in its first 5 s and is over before the next.  The first eight are one of
/// each kind.
[[nodiscard]] constexpr fault fault_of(std::uint64_t seed, std::uint64_t minute) noexcept {
  using namespace std::chrono;
  const std::uint64_t draw = mixed(seed ^ mixed(minute));
  const auto kind = static_cast<fault_kind>((minute < fault_kinds ? minute : draw) % fault_kinds);
  const milliseconds lasts = kind == fault_kind::consumer_stalls
                                 ? milliseconds{26'000 + (draw >> 40) % 9'000}
                                 : milliseconds{4'000 + (draw >> 40) % 12'000};
  return {kind, minutes{minute} + milliseconds{(draw >> 8) % 5'000}, lasts, (draw >> 24) % 100};
}

}  // namespace weir_test
