// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <weir/keyed_token_bucket.hpp>

namespace {

constexpr std::size_t header = 16;  // what an allocator adds, and the size that is remembered here
std::size_t allocated = 0;

}  // namespace

// Not inlined: the compiler would see malloc meet delete, and free meet new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  auto* const p = static_cast<std::size_t*>(std::malloc(size + header));
  if (p == nullptr) throw std::bad_alloc{};
  *p = size + header;
  allocated += *p;
  return reinterpret_cast<char*>(p) + header;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  auto* const begin = reinterpret_cast<std::size_t*>(static_cast<char*>(p) - header);
  allocated -= *begin;
  std::free(begin);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }

TEST_CASE("a token bucket costs at most 48 bytes a key beyond the key", "[keyed]") {
  for (const std::uint64_t keys : {5'000U, 65'536U, 70'000U, 300'000U}) {
    const std::size_t before = allocated;
    weir::keyed_token_bucket<std::uint64_t> map{{.max_keys = keys, .shards = 1},
                                                {.rate = weir::rate::zero(), .burst = 1}};
    for (std::uint64_t key = 0; key < keys; ++key) REQUIRE(map.try_acquire(key));
    REQUIRE(map.size_approx() == keys);
    const std::size_t each = (allocated - before) / keys;
    CAPTURE(keys, each);
    CHECK(each <= 48 + sizeof(std::uint64_t));
    CHECK(each >= 24);
  }
}
