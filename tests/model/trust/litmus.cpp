// SPDX-License-Identifier: BSL-1.0
#include "litmus.hpp"

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

bool run(const litmus& test) {
  outcome_book book;
  const weir_model::report report =
      weir_model::explore(test.limits, [&](weir_model::world& w) { test.build(w, book); });
  const bool holds = report.failure.empty() && report.complete && book.words() == test.expected;
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

bool run_litmus() {
  std::size_t holding = 0;
  for (const litmus* const test : all_tests()) holding += run(*test) ? 1 : 0;
  std::printf("litmus %zu of %zu\n", holding, all_tests().size());
  return holding == all_tests().size() && holding > 0;
}

}  // namespace weir_test

int main() { return weir_test::run_litmus() ? 0 : 1; }
