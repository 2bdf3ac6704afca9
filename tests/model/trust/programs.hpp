// SPDX-License-Identifier: BSL-1.0
// Small programs to compare the checker with the axioms: at random, and in the shapes that have names.
#pragma once

#include "rc11.hpp"

#include <random>
#include <string>
#include <vector>

namespace weir_test {

/// What a random program is made of.  Each profile reaches faults that the others hardly ever show.
enum class profile {
  uniform,        ///< every action and every order alike
  seq_cst_heavy,  ///< four of five orders are seq_cst: shapes such as IRIW need several
  fence_heavy,    ///< fences between the accesses
};

inline constexpr profile profiles[] = {profile::uniform, profile::seq_cst_heavy, profile::fence_heavy};

/// Two or three threads of one to three accesses each, fences besides, on one to three locations.
program random_program(profile kind, std::mt19937& random);

/// A thread an inner list, an event a line.
program make_program(int locations, const std::vector<std::vector<event>>& threads);

std::string to_string(const program& code);
std::string to_string(const outcome& seen);

/// About how many executions a search without reduction visits.
double plain_executions(const program& code);

}  // namespace weir_test
