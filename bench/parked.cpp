// SPDX-License-Identifier: BSL-1.0
// A second thread, asleep as long as the program runs: what is alone may leave out its locked instructions.
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace {

const std::jthread parked{[](const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  never.wait(lock, stop, [] { return false; });
}};

}  // namespace
