// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace progression::sqlite {

/// Throws store_error (rejected) naming `field` unless `text` is valid UTF-8 without a zero byte.
void require_text(std::string_view field, std::string_view text);

/// Rows for json_each: an array of arrays, so that a batch of any size is one statement with one parameter.
class rows final {
 public:
  rows& begin();
  rows& add(std::string_view text);
  rows& add(std::int64_t number);
  void end() { json_ += ']'; }

  [[nodiscard]] std::string take() &&;

 private:
  void separate();
  std::string json_ = "[";
};

}  // namespace progression::sqlite
