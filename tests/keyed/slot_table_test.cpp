// SPDX-License-Identifier: BSL-1.0
// The table below keyed_token_bucket, against a list.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <random>

#include <weir/detail/slot_table.hpp>

namespace {

/// Counts those that live, whether or not they have been moved from.
struct counted {
  counted(int n, int& count) : number{n}, alive{&count} { ++*alive; }
  counted(counted&& other) noexcept : number{other.number}, alive{other.alive} { ++*alive; }
  counted& operator=(counted&&) = delete;
  ~counted() { --*alive; }
  int number;
  int* alive;
};

using table_type = weir::detail::slot_table<counted, std::int64_t>;

struct entry {
  int number;
  table_type::slot place;
  std::int64_t state;
};

constexpr int numbers = 300;
constexpr std::size_t most = 128;  // two chunks

/// Three keys have the same hash; the chain is one of seven.
constexpr std::uint64_t hash_of(int number) {
  const auto n = static_cast<std::uint64_t>(number % (numbers / 3));
  return n % 7 + (n << 16U);
}

}  // namespace

TEST_CASE("a hash is mixed by the finalizer of splitmix64", "[keyed]") {
  // The first numbers of splitmix64 from zero: what it makes of the multiples of its step.
  constexpr std::uint64_t numbers_from_zero[]{0xe220a8397b1dcdafU, 0x6e789e6aa1b965f4U, 0x06c45d188009454fU,
                                              0xf88bb8a8724c81ecU, 0x1b39896a51a8749bU};
  std::uint64_t x = 0;
  for (const std::uint64_t expected : numbers_from_zero) {
    x += 0x9e3779b97f4a7c15U;
    CHECK(weir::detail::mixed_hash(x) == expected);
  }
}

TEST_CASE("keys are found and kept in the order of their use, as in a list", "[keyed]") {
  constexpr std::uint32_t seed = 1848;
  INFO("seed " << seed);
  std::mt19937 random{seed};
  int alive = 0;
  {
    table_type table;
    std::list<entry> reference;  // oldest first
    const auto same = [](const counted& known, int wanted) {
      // Under a lock, and perhaps slow: not asked about what cannot be equal.
      CHECK(hash_of(known.number) == hash_of(wanted));
      return known.number == wanted;
    };
    for (int i = 0; i < 20'000; ++i) {
      const int number = static_cast<int>(random() % numbers);
      const auto known = std::ranges::find(reference, number, &entry::number);
      const table_type::slot found = table.find(hash_of(number), number, same);
      REQUIRE(found == (known != reference.end() ? known->place : table_type::none));
      if (known == reference.end()) {
        if (reference.size() == most) continue;
        const table_type::slot place = table.insert(counted{number, alive}, hash_of(number), i);
        REQUIRE(place < most);  // what has been given back is used again
        reference.push_back({number, place, i});
      } else if (random() % 3 == 0) {
        REQUIRE(table.extract(found).number == number);
        reference.erase(known);
      } else {
        REQUIRE(table.state(found) == known->state);
        table.touch(found);
        reference.splice(reference.end(), reference, known);
      }
      REQUIRE(table.size() == reference.size());
      REQUIRE(alive == static_cast<int>(reference.size()));
      table_type::slot next = table.oldest();
      for (const entry& e : reference) {
        REQUIRE(next == e.place);
        REQUIRE(table.key(next).number == e.number);
        next = table.newer(next);
      }
      REQUIRE(next == table_type::none);
    }
    CHECK(reference.size() > most / 2);
  }
  CHECK(alive == 0);
}
