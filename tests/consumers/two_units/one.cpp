// SPDX-License-Identifier: BSL-1.0
#include <string_view>

#include <weir/weir.hpp>

/// Whatever is defined in a header and not inline is defined twice in this program, and does not link.
std::string_view version_of_one() { return weir::version_string; }
