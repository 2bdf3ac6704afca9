// SPDX-License-Identifier: BSL-1.0
// What the headers promise about themselves and a program can read.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct header {
  std::string name;  // below include/weir, as in "detail/parking.hpp"
  std::vector<std::string> lines;
};

std::vector<header> headers() {
  const fs::path root = fs::path{WEIR_SOURCE_DIR} / "include" / "weir";
  std::vector<header> all;
  for (const auto& entry : fs::recursive_directory_iterator{root}) {
    if (entry.path().extension() != ".hpp") continue;
    header h{.name = fs::relative(entry.path(), root).generic_string(), .lines = {}};
    std::ifstream in{entry.path()};
    for (std::string line; std::getline(in, line);) h.lines.push_back(line);
    all.push_back(std::move(h));
  }
  std::ranges::sort(all, {}, &header::name);
  REQUIRE(all.size() > 10);  // an empty list would pass everything
  return all;
}

/// The layer of a header; an include may only point to a lower one, and within the vocabulary to its own.
int layer(std::string_view name) {
  static const std::map<std::string, int, std::less<>> layers{{"clock.hpp", 0},
                                                              {"deadline.hpp", 0},
                                                              {"refusal.hpp", 0},
                                                              {"outcome.hpp", 0},
                                                              {"stats.hpp", 0},
                                                              {"observer.hpp", 0},
                                                              {"version.hpp", 0},
                                                              {"ttl_cache_types.hpp", 1},
                                                              {"ttl_cache.hpp", 2},
                                                              {"task_gate.hpp", 2},
                                                              {"bounded_queue.hpp", 2},
                                                              {"token_bucket.hpp", 2},
                                                              {"circuit_breaker.hpp", 2},
                                                              {"single_flight.hpp", 2},
                                                              {"retry.hpp", 2},
                                                              {"adaptive_limit.hpp", 2},
                                                              {"keyed.hpp", 3},
                                                              {"keyed_token_bucket.hpp", 4},
                                                              {"batcher.hpp", 3},
                                                              {"event_bus.hpp", 3},
                                                              {"resource_pool.hpp", 3},
                                                              {"pipeline.hpp", 5},
                                                              {"weir.hpp", 6}};
  if (name == "backoff.hpp" || name == "retry_budget.hpp") return 1;  // the pure cores of retry
  if (name.starts_with("detail/") || name.starts_with("testing/")) return 1;
  if (name.starts_with("policy/")) return 4;
  const auto found = layers.find(name);
  return found == layers.end() ? -1 : found->second;
}

bool is_comment(std::string_view line) {
  const auto first = line.find_first_not_of(' ');
  return first != std::string_view::npos && line.substr(first).starts_with("//");
}

}  // namespace

TEST_CASE("every header has a layer and includes only what lies below it", "[house]") {
  const std::regex include{R"re(^\s*#\s*include\s*[<"]weir/([a-z_/]+\.hpp)[>"])re"};
  for (const header& h : headers()) {
    INFO(h.name);
    const int mine = layer(h.name);
    CHECK(mine >= 0);
    for (const std::string& line : h.lines) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      const std::string other = match[1];
      INFO("includes " << other);
      const int theirs = layer(other);
      const bool same_family = mine == theirs && (mine == 0 || mine == 1);
      CHECK((theirs < mine || same_family));
    }
  }
}

TEST_CASE("no header is longer than 600 lines or wider than 120 columns", "[house]") {
  for (const header& h : headers()) {
    INFO(h.name);
    CHECK(h.lines.size() <= 600);
    CHECK(std::ranges::all_of(h.lines, [](const std::string& line) { return line.size() <= 120; }));
  }
}

TEST_CASE("every header carries its licence, guards itself and defines no macro", "[house]") {
  const std::regex define{R"(^\s*#\s*define\b)"};
  for (const header& h : headers()) {
    INFO(h.name);
    REQUIRE(h.lines.size() > 2);
    CHECK(h.lines[0] == "// SPDX-License-Identifier: BSL-1.0");
    CHECK(std::ranges::find(h.lines, "#pragma once") != h.lines.end());
    CHECK(std::ranges::none_of(h.lines,
                               [&](const std::string& line) { return std::regex_search(line, define); }));
  }
}

TEST_CASE("every memory order stands beside its argument", "[house]") {
  const std::regex order{R"(memory_order_(relaxed|acquire|release|acq_rel|seq_cst))"};
  const std::regex tag{R"(//.*\[[A-Za-z0-9, ]+\])"};
  std::size_t orders = 0;
  for (const header& h : headers()) {
    for (std::size_t n = 0; n < h.lines.size(); ++n) {
      if (is_comment(h.lines[n]) || !std::regex_search(h.lines[n], order)) continue;
      ++orders;
      // On the line itself, or in the comment that precedes the statement it is part of.
      bool argued = false;
      for (std::size_t back = 0; back <= std::min<std::size_t>(n, 8) && !argued; ++back) {
        argued = std::regex_search(h.lines[n - back], tag);
      }
      INFO(h.name << ":" << n + 1 << ": " << h.lines[n]);
      CHECK(argued);
    }
  }
  CHECK(orders > 0);
}

TEST_CASE("no header reads the time but through its clock, or waits on an atomic", "[house]") {
  const std::regex forbidden{
      R"(system_clock|steady_clock::now|sleep_for|sleep_until|thread_local|counting_semaphore)"
      R"(|binary_semaphore|\.wait\([a-z_]+, *std::memory_order)"};
  for (const header& h : headers()) {
    if (h.name == "clock.hpp") continue;  // where the clocks are made
    for (std::size_t n = 0; n < h.lines.size(); ++n) {
      if (is_comment(h.lines[n])) continue;
      INFO(h.name << ":" << n + 1 << ": " << h.lines[n]);
      CHECK_FALSE(std::regex_search(h.lines[n], forbidden));
    }
  }
}

TEST_CASE("the build knows every header", "[house]") {
  std::ifstream in{fs::path{WEIR_SOURCE_DIR} / "CMakeLists.txt"};
  const std::string build{std::istreambuf_iterator<char>{in}, {}};
  for (const header& h : headers()) {
    INFO(h.name);
    CHECK(build.find("  include/weir/" + h.name) != std::string::npos);
  }
}

TEST_CASE("the example of the README is the one that is built", "[house]") {
  const auto text_of = [](const fs::path& path) {
    std::ifstream in{fs::path{WEIR_SOURCE_DIR} / path};
    return std::string{std::istreambuf_iterator<char>{in}, {}};
  };
  const std::string readme = text_of("README.md");
  const std::string opening = "```cpp\n";
  const auto from = readme.find(opening);
  REQUIRE(from != std::string::npos);
  const auto begin = from + opening.size();
  const std::string shown = readme.substr(begin, readme.find("```", begin) - begin);
  const std::string built = text_of("examples/quick_start.cpp");
  CHECK(shown == built.substr(built.find('\n') + 1));  // the licence line is not shown
}
