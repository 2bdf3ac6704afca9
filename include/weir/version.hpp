// SPDX-License-Identifier: BSL-1.0
#pragma once

/// The one place of the version number: the build, the package recipes and the tests read it from here.
namespace weir::inline v0 {

inline constexpr int version_major = 0;
inline constexpr int version_minor = 1;
inline constexpr int version_patch = 0;
inline constexpr const char* version_string = "0.1.0";

}  // namespace weir::inline v0
