// SPDX-License-Identifier: BSL-1.0
// One breaker, used from two images of a program: no count is lost between threads that each image numbers by
// itself.
#include <cstdio>
#include <thread>

#include <weir/circuit_breaker.hpp>

extern "C" void refused_in_one(weir::circuit_breaker& breaker, long times);
extern "C" void refused_in_another(weir::circuit_breaker& breaker, long times);

int main() {
  constexpr long times = 300'000;
  weir::circuit_breaker breaker;
  breaker.transition_to(weir::breaker_state::forced_open);
  std::thread one{[&] { refused_in_one(breaker, times); }};
  std::thread another{[&] { refused_in_another(breaker, times); }};
  one.join();
  another.join();
  const auto refused = breaker.stats().refused;
  if (refused == 2 * times) return 0;
  std::printf("%ld refused, %llu counted\n", 2 * times, static_cast<unsigned long long>(refused));
  return 1;
}
