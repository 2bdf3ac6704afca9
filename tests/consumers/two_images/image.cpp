// SPDX-License-Identifier: BSL-1.0
// Built twice, each time into an image of its own that shares no variable with the other.
#include <weir/circuit_breaker.hpp>

extern "C" [[gnu::visibility("default")]] void WEIR_TEST_IMAGE(weir::circuit_breaker& breaker, long times) {
  for (long i = 0; i < times; ++i) static_cast<void>(breaker.try_acquire());
}
