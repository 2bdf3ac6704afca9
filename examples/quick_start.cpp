// SPDX-License-Identifier: BSL-1.0
#include <iostream>

#include <weir/circuit_breaker.hpp>
#include <weir/token_bucket.hpp>

int main() {
  weir::token_bucket limiter{{.rate = weir::rate::per_second(10), .burst = 2}};
  weir::circuit_breaker breaker;

  for (int n = 1; n <= 3; ++n) {
    const auto answer = limiter.try_acquire().and_then([&] { return breaker.call([&] { return n * n; }); });
    if (answer) {
      std::cout << "call " << n << ": " << *answer << '\n';
    } else {
      std::cout << "call " << n << ": refused, " << to_string(answer.error().reason) << '\n';
    }
  }
}
