// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>
#include <string_view>

#include "application/service.hpp"

/// What may come in.  Each throws invalid_input naming the field.
namespace progression::input {

void check(const message& m);
void check(const vote_request& v);
void check(const contribution& c, std::int64_t most);
void check_user(std::string_view platform, std::string_view platform_id);

/// "platform:platform_id"; unambiguous, since a platform has no colon.
[[nodiscard]] std::string user_id(std::string_view platform, std::string_view platform_id);

}  // namespace progression::input
