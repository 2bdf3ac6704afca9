// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

#include "application/store.hpp"

namespace progression::pq {

/// Builds the text form of a one-dimensional array, to be passed as one parameter and cast there
/// (`$1::text[]`).  Every element is quoted: braces, commas, blanks and the word NULL are then plain text.
class text_array {
 public:
  /// Throws store_error (rejected) for a NUL character, which no text of PostgreSQL can hold.
  void add(std::string_view element) {
    separate();
    text_ += '"';
    for (const char c : element) {
      if (c == '\0') throw store_error{store_failure::rejected, "a text must not hold a NUL character"};
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
    text_ += '"';
  }

  void add(std::integral auto element) {
    separate();
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, element).ptr;
    text_.append(digits, end);
  }

  [[nodiscard]] std::string take() && {
    text_ += '}';
    return std::move(text_);
  }

 private:
  void separate() {
    if (text_.size() > 1) text_ += ',';
  }

  std::string text_ = "{";
};

}  // namespace progression::pq
