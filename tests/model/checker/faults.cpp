// SPDX-License-Identifier: BSL-1.0
#include "faults.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <exception>

#include "engine.hpp"

namespace weir_model {

namespace {

void on_signal(int number) {
  if (!engine::active()) {
    ::signal(number, SIG_DFL);
    ::raise(number);
    return;
  }
  engine& e = engine::instance();
  e.set_inside(true);
  e.fail(number == SIGABRT   ? "std::abort was called"
         : number == SIGALRM ? "the exploration does not end"
                             : "signal " + std::to_string(number) + ": memory is accessed that is not there");
}

[[noreturn]] void on_terminate() {
  if (engine::active()) {
    engine::instance().set_inside(true);
    engine::instance().fail("std::terminate was called");
  }
  std::abort();
}

}  // namespace

void catch_faults() {
  // The stack of the fiber may be what is broken.
  static std::array<char, 64 * 1024> stack;
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action{};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) {
    ::sigaction(number, &action, nullptr);
  }
  std::set_terminate(&on_terminate);
}

void limit_seconds(unsigned seconds) { ::alarm(seconds); }

}  // namespace weir_model
