// SPDX-License-Identifier: BSL-1.0
#include <string_view>

#include <weir/weir.hpp>

/// Whatever is defined in a header and not inline is defined twice in this program, and does not link.
std::string_view version_of_two() { return weir::version_string; }

std::string_view version_of_one();
int main() { return version_of_one() == version_of_two() ? 0 : 1; }
