// SPDX-License-Identifier: BSL-1.0
#include "runner.hpp"

int main(int count, char** words) { return weir_model::run_program(count, words); }
