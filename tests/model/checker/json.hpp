// SPDX-License-Identifier: BSL-1.0
// Rows of results, as text.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace weir_model {

class json_object {
 public:
  void add(std::string_view name, std::string_view value) {
    begin(name);
    text_ += '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') text_ += '\\';
      if (c == '\n') {
        text_ += "\\n";
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }
  void add(std::string_view name, const char* value) { add(name, std::string_view{value}); }
  void add(std::string_view name, long value) { raw(name, std::to_string(value)); }
  void add(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }
  void add(std::string_view name, double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.3f", value);
    raw(name, digits);
  }
  void add_null(std::string_view name) { raw(name, "null"); }

  [[nodiscard]] std::string text() const { return "{" + text_ + "}"; }

 private:
  void begin(std::string_view name) {
    if (!text_.empty()) text_ += ", ";
    text_ += '"';
    text_ += name;
    text_ += "\": ";
  }
  void raw(std::string_view name, std::string_view value) {
    begin(name);
    text_ += value;
  }

  std::string text_;
};

}  // namespace weir_model
