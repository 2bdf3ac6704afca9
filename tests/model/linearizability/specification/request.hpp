// SPDX-License-Identifier: BSL-1.0
// What calls and answers look like in every specification: a word and a few numbers.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "../history.hpp"

namespace weir_model {

/// A call: the verb and what it is called with.
template <class Verb>
struct request {
  Verb verb{};
  int argument = 0;  ///< a value, a key, a weight, nanoseconds: the verb says
  int other = 0;     ///< a second one
  friend auto operator<=>(const request&, const request&) = default;
};

/// An answer: a word and the values that came with it.
template <class Word>
struct reply {
  Word word{};
  std::vector<long long> values{};
  friend bool operator==(const reply&, const reply&) = default;
};

/// Threads of a scenario, the one that builds and checks it included.
inline constexpr std::size_t most_threads = 8;

/// Something for each thread.
template <class T>
using per_thread = std::array<T, most_threads>;

template <class T>
[[nodiscard]] T& of(per_thread<T>& all, int thread) {
  return all[static_cast<std::size_t>(thread)];
}

/// "[1 2 3]"
template <class Range>
[[nodiscard]] std::string show_list(const Range& values) {
  std::string text{"["};
  for (const auto& v : values) text += (text.size() > 1 ? " " : "") + std::to_string(v);
  return text + ']';
}

template <class Word>
[[nodiscard]] std::string show_reply(std::string_view word, const reply<Word>& given) {
  std::string text{word};
  for (const long long v : given.values) text += ' ' + std::to_string(v);
  return text;
}

/// Where a call of two steps is between them.
enum class phase : unsigned char {
  idle,     ///< there is none
  settled,  ///< all was done in the first step
  waiting,  ///< in line
  granted,  ///< got what it waited for
  refused,  ///< sent away
  unfit,    ///< sent away, for it asks for more than there can be
};

}  // namespace weir_model
