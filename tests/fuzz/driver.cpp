// SPDX-License-Identifier: BSL-1.0
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/input.hpp"

/// What libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);  // NOLINT(*-naming)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {  // NOLINT(*-naming)
  weir_test::input in{std::span{data, size}};
  weir_test::fuzz(in);
  return 0;
}
