// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <weir/single_flight.hpp>
#include <weir/testing/manual_clock.hpp>

namespace weir_test {

using weir::testing::manual_clock;
using flights = weir::single_flight<int, int, manual_clock::view>;

/// Returns once `count` callers in all have joined a flight.
template <class Flights>
void await_joined(const Flights& f, std::size_t count) {
  while (f.stats().joined < count) std::this_thread::yield();
}

/// Callers of key 1 on threads of their own, and what each of them got.
class callers {
 public:
  struct got {
    std::optional<weir::outcome<weir::flown<int>>> answer;
    std::exception_ptr error;
  };

  callers(flights& f, int n, weir::deadline until = {}, std::stop_token stop = {})
      : got_(static_cast<std::size_t>(n)) {
    for (got& mine : got_) {
      threads_.emplace_back([&f, &mine, until, stop] {
        try {
          mine.answer = f.run(1, [] { return -1; }, until, stop);
        } catch (...) {
          mine.error = std::current_exception();
        }
      });
    }
  }
  const std::vector<got>& join() {
    for (std::thread& t : threads_) t.join();
    threads_.clear();
    return got_;
  }

 private:
  std::vector<got> got_;
  std::vector<std::thread> threads_;
};

}  // namespace weir_test
