// SPDX-License-Identifier: BSL-1.0
#include <weir/weir.hpp>

#include <cstdio>

int main() {
  weir::token_bucket bucket{{.rate = weir::rate::per_second(1), .burst = 1}};
  const bool first = bucket.try_acquire().has_value();
  const bool second = bucket.try_acquire().has_value();
  std::printf("weir %s: %d %d\n", weir::version_string, first, second);
  return first && !second ? 0 : 1;
}
