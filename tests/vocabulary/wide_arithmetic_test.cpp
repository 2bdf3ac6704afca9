// SPDX-License-Identifier: BSL-1.0
// One table and one set of random numbers for both forms.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstdint>
#include <limits>
#include <random>

#include <weir/detail/wide_arithmetic.hpp>

using weir::detail::folded_product;
using weir::detail::machine_wide;
using weir::detail::multiply_divide;
using weir::detail::portable_wide;
using weir::detail::wide_number;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t half = std::uint64_t{1} << 32U;

struct product_row {
  std::uint64_t a, b;
  wide_number product;
};
constexpr std::array products{
    product_row{0, 0, {0, 0}},
    product_row{0, all, {0, 0}},
    product_row{1, all, {0, all}},
    product_row{half, half, {1, 0}},
    product_row{half - 1, half + 1, {0, all}},
    product_row{half + 1, half + 1, {1, 2 * half + 1}},
    product_row{all, all, {all - 1, 1}},
    product_row{all, 2, {1, all - 1}},
    product_row{all, half, {half - 1, all - half + 1}},
    product_row{0x123456789abcdef0, 0xfedcba9876543210, {0x121fa00ad77d7422, 0x236d88fe5618cf00}},
};

struct quotient_row {
  wide_number n;
  std::uint64_t d, quotient;
};
constexpr std::array quotients{
    quotient_row{{0, 0}, 1, 0},
    quotient_row{{0, all}, 1, all},
    quotient_row{{0, all}, all, 1},
    quotient_row{{0, all - 1}, all, 0},
    quotient_row{{1, 0}, 2, std::uint64_t{1} << 63U},
    quotient_row{{1, 0}, 3, all / 3},
    quotient_row{{all - 1, 1}, all, all},
    quotient_row{{all - 1, all}, all, all},
    quotient_row{{all - 1, 0}, all, all - 1},
    quotient_row{{half, 7}, half + 1, 0xffffffff00000001},
    quotient_row{{std::uint64_t{1} << 63U, 0}, (std::uint64_t{1} << 63U) + 1, all - 1},
};

struct scaled_row {
  std::int64_t a, b, c, result;
};
constexpr std::array scaled{
    scaled_row{7, 3, 2, 10},
    scaled_row{-7, 3, 2, -11},
    scaled_row{-6, 1, 2, -3},
    scaled_row{6, 0, 5, 0},
    scaled_row{-6, 0, 5, 0},
    scaled_row{0, most, 1, 0},
    scaled_row{1, 1, most, 0},
    scaled_row{-1, 1, most, -1},
    scaled_row{most, 1, 1, most},
    scaled_row{most, most, most, most},
    scaled_row{most, most, most - 1, most},
    scaled_row{most - 1, most, most, most - 1},
    scaled_row{most, 3, 2, most},
    scaled_row{most, most, 1, most},
    scaled_row{least, 1, 1, least},
    scaled_row{least + 1, 1, 1, least + 1},
    scaled_row{least, most, most, least},
    scaled_row{least + 1, most, most, least + 1},
    scaled_row{least + 1, most - 1, most - 2, least},
    scaled_row{least, 3, 2, least},
    scaled_row{least, most, 1, least},
    scaled_row{-most, 2, 2, -most},
    // The quotient is 2^64 - 1 and a fraction.
    scaled_row{-6548177331224692246, 8179640967106843225, 2903587719564151835, least},
    scaled_row{-most, 4, 5, -7378697629483820646},
};

template <class Wide>
constexpr bool every_row() {
  for (const auto& row : products) {
    if (Wide::multiply(row.a, row.b) != row.product || Wide::multiply(row.b, row.a) != row.product)
      return false;
    if (folded_product<Wide>(row.a, row.b) != (row.product.high ^ row.product.low)) return false;
  }
  for (const auto& row : quotients) {
    if (Wide::divide(row.n, row.d) != row.quotient) return false;
  }
  for (const auto& row : scaled) {
    if (multiply_divide<Wide>(row.a, row.b, row.c) != row.result) return false;
  }
  return true;
}

static_assert(every_row<portable_wide>());
static_assert(every_row<machine_wide>());

}  // namespace

TEMPLATE_TEST_CASE("products and quotients of 128 bits are those of the table", "[wide_arithmetic]",
                   portable_wide, machine_wide) {
  for (const auto& row : products) {
    CAPTURE(row.a, row.b);
    CHECK(TestType::multiply(row.a, row.b) == row.product);
    CHECK(TestType::multiply(row.b, row.a) == row.product);
  }
  for (const auto& row : quotients) {
    CAPTURE(row.n.high, row.n.low, row.d);
    CHECK(TestType::divide(row.n, row.d) == row.quotient);
  }
}

TEMPLATE_TEST_CASE("a product is divided downwards and stops at the ends of its type", "[wide_arithmetic]",
                   portable_wide, machine_wide) {
  for (const auto& row : scaled) {
    CAPTURE(row.a, row.b, row.c);
    CHECK(multiply_divide<TestType>(row.a, row.b, row.c) == row.result);
  }
}

TEMPLATE_TEST_CASE("of random numbers the product divided gives back what was multiplied",
                   "[wide_arithmetic]", portable_wide, machine_wide) {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto any = [&] { return random() >> (random() % 64); };
  int wrong = 0;
  int differ = 0;
  for (int i = 0; i != 20'000; ++i) {
    const std::uint64_t a = any();
    const std::uint64_t b = any() | 1U;
    const std::uint64_t more = any() % b;
    // (a b + more) / b is a, and the rest is more.
    wide_number n = TestType::multiply(a, b);
    n.low += more;
    n.high += n.low < more ? 1U : 0U;
    wrong += TestType::divide(n, b) == a && n.low - a * b == more ? 0 : 1;
    // Both forms, where the answer is not known beforehand.
    const auto x = static_cast<std::int64_t>(random() >> (random() % 63)) * (random() % 2 == 0 ? 1 : -1);
    const auto y = static_cast<std::int64_t>(any() >> 1U);
    const auto z = static_cast<std::int64_t>((any() >> 1U) | 1U);
    differ += multiply_divide<TestType>(x, y, z) == multiply_divide<portable_wide>(x, y, z) ? 0 : 1;
    differ += folded_product<TestType>(a, b) == folded_product<portable_wide>(a, b) ? 0 : 1;
    differ += TestType::divide(n, b) == portable_wide::divide(n, b) ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(differ == 0);
}
