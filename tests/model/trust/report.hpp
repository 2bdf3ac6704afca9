// SPDX-License-Identifier: BSL-1.0
// The command line and the row of a program that is not made of scenarios; as tests/model/run expects them.
#pragma once

#include "model/checker/faults.hpp"
#include "model/checker/json.hpp"

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace weir_test {

struct command_line {
  bool quiet = false;
  bool extended = false;  ///< --long
  bool weakens = false;   ///< --orders: there is no order of the library here
  std::string json;
  std::vector<std::string> words;
};

inline command_line parse(int count, char** arguments) {
  weir_model::catch_faults();
  command_line line;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = arguments[i];
    const bool more = i + 1 < count;
    if (word == "--quiet") {
      line.quiet = true;
    } else if (word == "--long") {
      line.extended = true;
    } else if (word == "--json" && more) {
      line.json = arguments[++i];
    } else if (word == "--orders" && more) {
      line.weakens = true;
      ++i;
    } else {
      line.words.emplace_back(word);
    }
  }
  return line;
}

/// What the table of all scenarios shows of the program.
struct summary {
  std::string name;
  bool holds = false;
  long executions = 0;
  double seconds = 0;
  std::string note;
};

inline void write(const command_line& line, const summary& all) {
  if (line.json.empty()) return;
  weir_model::json_object row;
  row.add("component", "checker");
  row.add("scenario", all.name);
  row.add("verdict", all.holds ? "holds" : "fails");
  row.add("executions", all.executions);
  row.add_null("bound");
  row.add("complete", true);
  row.add("seconds", all.seconds);
  std::string text = row.text();
  text.insert(text.size() - 1, ", \"notes\": [\"" + all.note + "\"]");
  std::ofstream{line.json} << "[\n" << text << "\n]\n";
}

}  // namespace weir_test
