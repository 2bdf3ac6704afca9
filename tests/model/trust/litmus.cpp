// SPDX-License-Identifier: BSL-1.0
#include "litmus.hpp"

#include "report.hpp"

#include <cstdio>
#include <sstream>

namespace weir_test {
namespace {

std::vector<const litmus*>& all_tests() {
  static std::vector<const litmus*> tests;
  return tests;
}

std::set<std::string> split(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::set<std::string> result;
  for (std::string word; words >> word;) result.insert(word);
  return result;
}

std::string join(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

bool run(const litmus& test, bool quiet, summary& all) {
  outcome_book book;
  const weir_model::report report =
      weir_model::explore(test.limits, [&](weir_model::world& w) { test.build(w, book); });
  const bool holds = report.failure.empty() && report.complete && book.words() == test.expected;
  // clang does not tell a weak compare-exchange from a strong one: its executions are others.
  if (test.limits.failed_exchanges == 0) all.executions += report.executions;
  all.seconds += report.seconds;
  if (quiet && holds) return true;
  const char* const limits = test.beyond == 0 ? "" : ", with a documented limit";
  std::printf("%-6s %-64s %zu outcomes, %ld executions%s\n", holds ? "holds" : "FAILS", test.name.c_str(),
              book.words().size(), report.executions, limits);
  if (holds) return true;
  if (!report.failure.empty()) std::printf("  %s\n%s\n", report.failure.c_str(), report.trace.c_str());
  if (!report.complete) std::printf("  not everything was explored\n");
  std::printf("  shown  %s\n  wanted %s\n", join(book.words()).c_str(), join(test.expected).c_str());
  return false;
}

}  // namespace

void outcome_book::add(std::initializer_list<int> seen) {
  weir_model::outside([&] {
    std::string word;
    for (const int value : seen) word += std::to_string(value);
    words_.insert(word);
  });
}

litmus::litmus(std::string_view title, std::string_view allowed,
               void (*builder)(weir_model::world&, outcome_book&), const weir_model::bounds& bounds,
               std::string_view unreachable)
    : name{title}, expected{split(allowed)}, build{builder}, limits{bounds} {
  for (const std::string& word : split(unreachable)) beyond += expected.erase(word);
  all_tests().push_back(this);
}

std::string every_word(int length, std::string_view but) {
  std::string text;
  for (unsigned bits = 0; bits < 1U << length; ++bits) {
    std::string word;
    for (int i = length - 1; i >= 0; --i) word += (bits >> i & 1U) != 0 ? '1' : '0';
    if (word != but) text += word + " ";
  }
  return text;
}

int run_litmus(int count, char** arguments) {
  const command_line line = parse(count, arguments);
  if (line.weakens) return 0;
  std::size_t holding = 0;
  std::size_t limited = 0;
  summary all;
  all.name = "litmus tests: exactly the outcomes of C++20";
  for (const litmus* const test : all_tests()) {
    holding += run(*test, line.quiet, all) ? 1 : 0;
    limited += test->beyond != 0 ? 1 : 0;
  }
  all.holds = holding == all_tests().size() && holding > 0;
  all.note = "Litmus tests: " + std::to_string(holding) + " of " + std::to_string(all_tests().size()) +
             " show exactly the outcomes of C++20, " + std::to_string(limited) +
             " of them but for a documented limit.";
  std::printf("%s\n", all.note.c_str());
  write(line, all);
  return all.holds ? 0 : 1;
}

}  // namespace weir_test

int main(int count, char** arguments) { return weir_test::run_litmus(count, arguments); }
