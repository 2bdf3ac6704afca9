// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace progression {

/// The request itself is at fault.  `field()` is the name that the client used; `what()` says what the field
/// must be and never repeats what was sent in it.
class invalid_input : public std::runtime_error {
 public:
  invalid_input(std::string field, const std::string& must_be)
      : std::runtime_error{field + " " + must_be}, field_{std::move(field)} {}
  [[nodiscard]] const std::string& field() const noexcept { return field_; }

 private:
  std::string field_;
};

}  // namespace progression
