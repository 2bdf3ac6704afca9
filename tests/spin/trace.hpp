// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <weir/circuit_breaker.hpp>

namespace weir_model {

/// What traces.pml calls, by its numbers.
enum class call : std::uint8_t {
  tick,
  try_acquire,
  look,   ///< try_acquire up to its look at the clock
  admit,  ///< the rest of it
  finish,
  drop,
  lose,
  state_at,
  transition_to,
  reconfigure,
};

/// What the breaker said to it.
enum class answer : std::uint8_t { nothing, granted, refused, recorded, late, illegal };

/// A line `options ...`
struct model_options {
  std::uint32_t threshold = 0;
  std::uint32_t probes = 0;
  std::uint32_t successes = 0;  ///< 0: not given
  std::int64_t open_for = 0;    ///< ticks
  std::int64_t lease = 0;       ///< ticks
};

/// A line `step ...`: a call, and what the breaker is afterwards.
struct model_step {
  std::size_t number = 0;  ///< from 1
  call what = call::tick;
  std::size_t caller = 0;
  std::uint8_t argument = 0;  ///< a call_verdict or a breaker_state
  answer said = answer::nothing;
  std::int64_t retry_after = 0;  ///< ticks
  weir::breaker_state state{};
  std::uint64_t generation = 0;
  std::uint64_t failures = 0;
  std::uint64_t probe_calls = 0;
  std::uint64_t bad_probes = 0;
};

/// Reads numbers off the front of a line.
class number_reader {
 public:
  explicit number_reader(std::string_view text) noexcept : text_{text} {}

  template <class T>
  number_reader& operator>>(T& value) {
    while (!text_.empty() && text_.front() == ' ') text_.remove_prefix(1);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    good_ = good_ && error == std::errc{};
    value = static_cast<T>(number);
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return *this;
  }

  [[nodiscard]] bool good() const noexcept { return good_; }

 private:
  std::string_view text_;
  bool good_ = true;
};

[[nodiscard]] inline std::optional<model_options> parse_options(std::string_view line) {
  constexpr std::string_view mark = "options ";
  if (!line.starts_with(mark)) return std::nullopt;
  model_options o;
  number_reader in{line.substr(mark.size())};
  in >> o.threshold >> o.probes >> o.successes >> o.open_for >> o.lease;
  return in.good() ? std::optional{o} : std::nullopt;
}

[[nodiscard]] inline std::optional<model_step> parse_step(std::string_view line) {
  constexpr std::string_view mark = "step ";
  if (!line.starts_with(mark)) return std::nullopt;
  model_step s;
  number_reader in{line.substr(mark.size())};
  in >> s.number >> s.what >> s.caller >> s.argument >> s.said >> s.retry_after >> s.state >> s.generation;
  in >> s.failures >> s.probe_calls >> s.bad_probes;
  return in.good() ? std::optional{s} : std::nullopt;
}

[[nodiscard]] constexpr std::string_view to_string(call what) noexcept {
  constexpr std::string_view names[]{"tick", "try_acquire", "look",     "admit",         "finish",
                                     "drop", "lose",        "state_at", "transition_to", "reconfigure"};
  return names[static_cast<std::size_t>(what)];
}

[[nodiscard]] constexpr std::string_view to_string(answer said) noexcept {
  constexpr std::string_view names[]{"nothing", "granted", "refused", "recorded", "late", "illegal"};
  return names[static_cast<std::size_t>(said)];
}

}  // namespace weir_model
