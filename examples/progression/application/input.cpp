// SPDX-License-Identifier: BSL-1.0
#include "application/input.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace progression::input {

namespace {

constexpr std::size_t longest_name = 100;
constexpr std::size_t longest_text = 10'000;
constexpr std::int64_t largest_value = 1'000'000;

[[noreturn]] void refuse(std::string_view field, const std::string& must) {
  throw invalid_input{std::string{field}, "must " + must};
}

/// Length of the UTF-8 sequence at the front, 0 if there is none (RFC 3629, section 4).
std::size_t sequence(std::string_view s) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < s.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool second = follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool second = follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
    return second && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void check_utf8(std::string_view field, std::string_view value) {
  for (std::string_view rest = value; !rest.empty();) {
    const std::size_t n = sequence(rest);
    if (n == 0) refuse(field, "be UTF-8");
    rest.remove_prefix(n);
  }
}

void check_name(std::string_view field, std::string_view value, std::size_t shortest = 1) {
  if (value.size() < shortest || value.size() > longest_name) {
    refuse(field, "have " + std::to_string(shortest) + " to " + std::to_string(longest_name) + " bytes");
  }
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::ranges::any_of(value, control)) refuse(field, "not contain control characters");
  check_utf8(field, value);
}

void check_range(std::string_view field, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse(field, "be " + std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

void check_user(std::string_view platform, std::string_view platform_id) {
  check_name("platform", platform);
  if (platform.find(':') != std::string_view::npos) refuse("platform", "not contain a colon");
  check_name("platform_id", platform_id);
}

void check(const message& m) {
  check_name("event_id", m.event_id);
  check_user(m.platform, m.platform_id);
  check_name("username", m.username, 0);
  check_name("metric", m.metric);
  check_range("value", m.value, 1, largest_value);
  if (m.text.size() > longest_text) {
    refuse("message", "have at most " + std::to_string(longest_text) + " bytes");
  }
}

void check(const vote_request& v) {
  check_user(v.platform, v.platform_id);
  check_name("username", v.username, 0);
}

void check(const contribution& c, std::int64_t most) {
  check_name("event_id", c.event_id);
  check_range("amount", c.amount, 1, most);
}

std::string user_id(std::string_view platform, std::string_view platform_id) {
  std::string id;
  id.reserve(platform.size() + 1 + platform_id.size());
  id += platform;
  id += ':';
  id += platform_id;
  return id;
}

}  // namespace progression::input
