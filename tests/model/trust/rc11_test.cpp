// SPDX-License-Identifier: BSL-1.0
// The enumerator itself, against outcome sets that the literature agrees on.  Runs without the checker.
#include "programs.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <random>
#include <set>
#include <string>

using weir_test::action;
using weir_test::enumerate;
using weir_test::event;
using weir_test::make_program;
using weir_test::outcomes;
using weir_test::program;

namespace {

using enum std::memory_order;

constexpr int x = 0;
constexpr int y = 1;

event load(int location, std::memory_order order) {
  return {.what = action::load, .location = location, .order = order};
}
event store(int location, int value, std::memory_order order) {
  return {.what = action::store, .location = location, .value = value, .order = order};
}
event exchange(int location, int value, std::memory_order order) {
  return {.what = action::exchange, .location = location, .value = value, .order = order};
}
event fetch_add(int location, int value, std::memory_order order) {
  return {.what = action::fetch_add, .location = location, .value = value, .order = order};
}
event compare_exchange(int location, int expected, int value, std::memory_order order,
                       std::memory_order failure) {
  return {.what = action::compare_exchange,
          .location = location,
          .value = value,
          .expected = expected,
          .order = order,
          .failure = failure};
}
event fence(std::memory_order order) { return {.what = action::fence, .order = order}; }

/// Each word once, in order.
std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// What the loads saw, each outcome a word: "00 01 11".
std::string reads(const program& code, const outcomes& all) {
  std::set<std::string> words;
  for (const weir_test::outcome& one : all) {
    std::string word;
    for (std::size_t i = 0; i < code.events.size(); ++i) {
      if (one[i] >= 0) word += std::to_string(one[i]);
    }
    words.insert(word);
  }
  return joined(words);
}

/// The last values of the locations, each outcome a word.
std::string finals(const program& code, const outcomes& all) {
  std::set<std::string> words;
  for (const weir_test::outcome& one : all) {
    std::string word;
    for (std::size_t i = code.events.size(); i < one.size(); ++i) word += std::to_string(one[i]);
    words.insert(word);
  }
  return joined(words);
}

/// What C++20 lets the loads see; RC11 agrees wherever this is called.
std::string allowed(const program& code) {
  const weir_test::outcome_sets sets = enumerate(code);
  CHECK(sets.rc11 == sets.cpp20);
  return reads(code, sets.cpp20);
}

program store_buffering(std::memory_order write, std::memory_order read) {
  return make_program(2, {{store(x, 1, write), load(y, read)}, {store(y, 1, write), load(x, read)}});
}

program message_passing(std::memory_order write, std::memory_order read) {
  return make_program(2, {{store(x, 1, relaxed), store(y, 1, write)}, {load(y, read), load(x, relaxed)}});
}

}  // namespace

TEST_CASE("both sides of store buffering may miss the other, unless all is seq_cst", "[rc11]") {
  CHECK(allowed(store_buffering(relaxed, relaxed)) == "00 01 10 11");
  CHECK(allowed(store_buffering(release, acquire)) == "00 01 10 11");
  CHECK(allowed(store_buffering(seq_cst, acquire)) == "00 01 10 11");
  CHECK(allowed(store_buffering(seq_cst, seq_cst)) == "01 10 11");
  const program fenced = make_program(2, {{store(x, 1, relaxed), fence(seq_cst), load(y, relaxed)},
                                          {store(y, 1, relaxed), fence(seq_cst), load(x, relaxed)}});
  CHECK(allowed(fenced) == "01 10 11");
  const program half = make_program(2, {{store(x, 1, relaxed), fence(seq_cst), load(y, relaxed)},
                                        {store(y, 1, seq_cst), load(x, acquire)}});
  CHECK(allowed(half) == "00 01 10 11");
  const program mixed = make_program(2, {{store(x, 1, relaxed), fence(seq_cst), load(y, relaxed)},
                                         {store(y, 1, seq_cst), load(x, seq_cst)}});
  CHECK(allowed(mixed) == "01 10 11");
}

TEST_CASE("a message is published by release and acquire together", "[rc11]") {
  CHECK(allowed(message_passing(relaxed, relaxed)) == "00 01 10 11");
  CHECK(allowed(message_passing(release, relaxed)) == "00 01 10 11");
  CHECK(allowed(message_passing(relaxed, acquire)) == "00 01 10 11");
  CHECK(allowed(message_passing(release, acquire)) == "00 01 11");
  const program fences = make_program(2, {{store(x, 1, relaxed), fence(release), store(y, 1, relaxed)},
                                          {load(y, relaxed), fence(acquire), load(x, relaxed)}});
  CHECK(allowed(fences) == "00 01 11");
}

TEST_CASE("independent readers agree on the order of seq_cst stores alone", "[rc11]") {
  const auto iriw = [](std::memory_order write, std::memory_order read) {
    return make_program(2, {{store(x, 1, write)},
                            {store(y, 1, write)},
                            {load(x, read), load(y, read)},
                            {load(y, read), load(x, read)}});
  };
  CHECK(allowed(iriw(release, acquire)).find("1010") != std::string::npos);
  CHECK(allowed(iriw(seq_cst, seq_cst)).find("1010") == std::string::npos);
}

TEST_CASE("one location is coherent", "[rc11]") {
  CHECK(allowed(make_program(1, {{store(x, 1, relaxed), store(x, 2, relaxed)},
                                 {load(x, relaxed), load(x, relaxed)}})) == "00 01 02 11 12 22");
  CHECK(allowed(make_program(1, {{store(x, 1, relaxed), load(x, relaxed)}, {store(x, 2, relaxed)}})) ==
        "1 2");
  CHECK(allowed(make_program(1, {{load(x, relaxed), store(x, 1, relaxed)}, {store(x, 2, relaxed)}})) ==
        "0 2");
}

TEST_CASE("read-modify-writes lose nothing", "[rc11]") {
  const program adds =
      make_program(1, {{fetch_add(x, 1, relaxed)}, {fetch_add(x, 1, relaxed)}, {fetch_add(x, 1, relaxed)}});
  CHECK(finals(adds, enumerate(adds).cpp20) == "3");
  const program claims = make_program(
      1, {{compare_exchange(x, 0, 1, relaxed, relaxed)}, {compare_exchange(x, 0, 2, relaxed, relaxed)}});
  CHECK(allowed(claims) == "01 20");
}

TEST_CASE("a release sequence goes on through read-modify-writes, not through plain stores", "[rc11]") {
  const program modified = make_program(2, {{store(x, 1, relaxed), store(y, 1, release)},
                                            {compare_exchange(y, 1, 2, relaxed, relaxed)},
                                            {load(y, acquire), load(x, relaxed)}});
  CHECK(allowed(modified).find("120") == std::string::npos);
  CHECK(allowed(modified).find("121") != std::string::npos);
  const program stored = make_program(2, {{store(x, 1, relaxed), store(y, 1, release), store(y, 2, relaxed)},
                                          {load(y, acquire), load(x, relaxed)}});
  CHECK(allowed(stored) == "00 01 11 20 21");
}

TEST_CASE("a failed compare-exchange is a load of its second order, and may be stale", "[rc11]") {
  const auto failing = [](std::memory_order failure) {
    return make_program(2, {{store(x, 1, relaxed), store(y, 1, release)},
                            {compare_exchange(y, 7, 8, relaxed, failure), load(x, relaxed)}});
  };
  CHECK(allowed(failing(relaxed)) == "00 01 10 11");
  CHECK(allowed(failing(acquire)) == "00 01 11");
}

TEST_CASE("causality is transitive through release and acquire", "[rc11]") {
  const auto wrc = [](std::memory_order read, std::memory_order write) {
    return make_program(
        2,
        {{store(x, 1, relaxed)}, {load(x, read), store(y, 1, write)}, {load(y, acquire), load(x, relaxed)}});
  };
  CHECK(allowed(wrc(acquire, release)) == "000 001 010 011 100 101 111");
  // By coherence: a load that happens before another holds it to what it saw itself.
  CHECK(allowed(wrc(relaxed, release)) == "000 001 010 011 100 101 111");
  CHECK(allowed(wrc(acquire, relaxed)) == "000 001 010 011 100 101 110 111");
}

TEST_CASE("load buffering is beyond RC11, two crossed stores are beyond an append-only order", "[rc11]") {
  const program buffering =
      make_program(2, {{load(x, relaxed), store(y, 1, relaxed)}, {load(y, relaxed), store(x, 1, relaxed)}});
  const weir_test::outcome_sets loads = enumerate(buffering);
  CHECK(reads(buffering, loads.buffering) == "00 01 10 11");
  CHECK(reads(buffering, loads.cpp20) == "00 01 10");

  const program crossed = make_program(
      2, {{store(x, 1, relaxed), store(y, 2, relaxed)}, {store(y, 1, relaxed), store(x, 2, relaxed)}});
  const weir_test::outcome_sets stores = enumerate(crossed);
  CHECK(finals(crossed, stores.cpp20) == "11 12 21 22");
  CHECK(finals(crossed, stores.append_only) == "12 21 22");
}

TEST_CASE("exchanges that are seq_cst do not order relaxed loads around them", "[rc11]") {
  // C++20 gives a fence more than an operation: the store to x and the load of y may still cross.
  const program exchanges =
      make_program(4, {{store(x, 1, relaxed), exchange(2, 1, seq_cst), load(y, relaxed)},
                       {store(y, 1, relaxed), exchange(3, 1, seq_cst), load(x, relaxed)}});
  CHECK(allowed(exchanges) == "0000 0001 0100 0101");
}

TEST_CASE("coherence by way of a relaxed store orders seq_cst loads in C++20, not in RC11", "[rc11]") {
  const program code = make_program(2, {{store(x, 1, relaxed)},
                                        {load(x, seq_cst), load(y, seq_cst)},
                                        {store(y, 1, seq_cst), load(x, seq_cst)}});
  const weir_test::outcome_sets sets = enumerate(code);
  CHECK(reads(code, sets.rc11) == "000 001 010 011 100 101 110 111");
  CHECK(reads(code, sets.cpp20) == "000 001 010 011 101 110 111");
}

TEST_CASE("the sets of a random program contain each other, and none is empty", "[rc11]") {
  std::mt19937 random{1};
  std::size_t buffered = 0;
  std::size_t reordered = 0;
  std::size_t repaired = 0;
  for (std::size_t i = 0; i < 3000; ++i) {
    const program code = weir_test::random_program(weir_test::profiles[i % 3], random);
    const weir_test::outcome_sets sets = enumerate(code);
    INFO(to_string(code));
    REQUIRE_FALSE(sets.append_only.empty());
    REQUIRE(std::ranges::includes(sets.cpp20, sets.append_only));
    REQUIRE(std::ranges::includes(sets.rc11, sets.cpp20));
    REQUIRE(std::ranges::includes(sets.buffering, sets.cpp20));
    buffered += sets.buffering.size() - sets.cpp20.size();
    reordered += sets.cpp20.size() - sets.append_only.size();
    repaired += sets.rc11.size() - sets.cpp20.size();
  }
  CHECK(buffered > 0);
  CHECK(reordered > 0);
  CHECK(repaired > 0);
}
