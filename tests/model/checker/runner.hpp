// SPDX-License-Identifier: BSL-1.0
// Runs the scenarios of a program, as its command line says.
#pragma once

#include <string>
#include <vector>

#include "../scenario.hpp"

namespace weir_model {

struct registered_scenario {
  std::string component;
  std::string name;
  bounds limits;
  void (*build)(world&);
  verdict expected;
};

std::vector<registered_scenario>& registered();

report run(const registered_scenario& s, const bounds& limits);
bool as_expected(const registered_scenario& s, const report& found);

/// The main function of a program that has none of its own.
int run_program(int count, char** words);

}  // namespace weir_model
