// SPDX-License-Identifier: BSL-1.0
#include "adapters/sqlite/rows.hpp"

#include <array>
#include <cstddef>
#include <utility>

#include "application/store.hpp"

namespace progression::sqlite {

namespace {

/// Length of the well-formed sequence at the start of `s` (Unicode 15, table 3-7), 0 if there is none.
std::size_t sequence_length(std::string_view s) noexcept {
  const auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const auto within = [&](std::size_t i, unsigned low, unsigned high) {
    return at(i) >= low && at(i) <= high;
  };
  const auto tail = [&](std::size_t i) { return within(i, 0x80, 0xbf); };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const unsigned low = lead == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : 0xbf;
    return within(1, low, high) && tail(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const unsigned low = lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xf4 ? 0x8f : 0xbf;
    return within(1, low, high) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

void require_text(std::string_view field, std::string_view text) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = sequence_length(rest);
    if (length == 0 || rest.front() == '\0') {
      throw store_error{store_failure::rejected, std::string{field} + " must be UTF-8 without a zero byte"};
    }
    rest.remove_prefix(length);
  }
}

rows& rows::begin() {
  separate();
  json_ += '[';
  return *this;
}

rows& rows::add(std::string_view text) {
  constexpr std::array hex{'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
  separate();
  json_ += '"';
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json_ += '\\';
      json_ += c;
    } else if (code < 0x20) {
      json_ += "\\u00";
      json_ += hex[code >> 4U];
      json_ += hex[code & 0xfU];
    } else {
      json_ += c;
    }
  }
  json_ += '"';
  return *this;
}

rows& rows::add(std::int64_t number) {
  separate();
  json_ += std::to_string(number);
  return *this;
}

std::string rows::take() && {
  json_ += ']';
  return std::move(json_);
}

void rows::separate() {
  if (json_.back() != '[') json_ += ',';
}

}  // namespace progression::sqlite
