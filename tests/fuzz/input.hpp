// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <span>

#include <weir/clock.hpp>

namespace weir_test {

/// The bytes that a fuzzer made, read as the choices of a script.  Once they are used up every choice is the
/// first one, so a script ends by asking `empty`.
class input {
 public:
  explicit input(std::span<const std::uint8_t> bytes) noexcept : bytes_{bytes} {}

  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }

  std::uint8_t byte() noexcept {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }

  bool flag() noexcept { return (byte() & 1U) != 0; }

  /// 0 .. n - 1 for n up to 256; one byte, so that a small change of the input is a small change of the
  /// script.
  template <class Integer = int>
  Integer below(Integer n) noexcept {
    return n <= 1 ? Integer{0} : static_cast<Integer>(byte() % static_cast<unsigned>(n));
  }

  /// low .. high, at most 256 numbers.
  template <class Integer>
  Integer within(Integer low, Integer high) noexcept {
    return low + below(static_cast<Integer>(high - low + 1));
  }

  /// Any number: the first byte says how many bits it has, so small and huge ones are as likely.
  std::int64_t magnitude() noexcept {
    const unsigned shape = byte();
    const unsigned bits = shape % 64;
    std::uint64_t n = 0;
    for (unsigned read = 0; read < bits; read += 8) n = n << 8U | byte();
    if (bits != 0) n = (n & ((std::uint64_t{1} << bits) - 1)) | std::uint64_t{1} << (bits - 1);
    const auto positive = static_cast<std::int64_t>(n);
    return shape < 192 ? positive : shape < 224 ? -positive : -positive - 1;
  }

  template <class T, std::size_t N>
  T pick(const T (&choices)[N]) noexcept {
    return choices[below(static_cast<int>(N))];
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

/// What a fuzz target asserts: the fuzzer keeps the input that breaks it.
inline void expect(bool holds, const char* what,
                   const std::source_location& where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%u: not so: %s\n", where.file_name(), static_cast<unsigned>(where.line()), what);
  std::abort();
}

/// One input, played against the component and its reference.  Each target defines it.
void fuzz(input& in);

}  // namespace weir_test
