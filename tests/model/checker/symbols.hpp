// SPDX-License-Identifier: BSL-1.0
// Where in the source an instruction of this program comes from.
#pragma once

#include <string>
#include <vector>

namespace weir_model {

struct source_line {
  std::string function;
  std::string file;
  int line = 0;
};

/// The lines of the call at the return address `pc`, innermost inlined function first.  Asked once an address.
const std::vector<source_line>& lines_of(const void* pc);

/// The innermost of them that is not in a header of the system; empty if there is none.
source_line project_line(const void* pc);

/// The first project line on the stack of the caller.
source_line project_line_of_stack();

/// `task_gate.hpp:123`; "?" for an empty line.
std::string short_name(const source_line& where);

}  // namespace weir_model
