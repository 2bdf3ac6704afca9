// SPDX-License-Identifier: BSL-1.0
#include <catch2/catch_test_macros.hpp>

#include <functional>
#include <optional>
#include <utility>

#include <weir/task_gate.hpp>

#include "support/broken_clock.hpp"

using namespace std::chrono_literals;
using weir::refusal_reason;

namespace {

using weir_test::broken_clock;
using broken_gate = weir::basic_task_gate<broken_clock>;

}  // namespace

TEST_CASE("a grant or a close that comes before a wait fails is obeyed", "[task_gate]") {
  std::function<void()> meanwhile;
  broken_gate gate{{}, broken_clock{&meanwhile}};
  auto held = gate.try_enter();
  meanwhile = [&] { held.reset(); };
  auto entered = gate.enter_for(1s);
  REQUIRE(entered);
  meanwhile = [&] { std::move(*entered).release(); };
  CHECK(gate.wait_idle_for(1s));
  held = gate.try_enter();
  meanwhile = [&] { gate.close(); };
  CHECK(gate.enter_for(1s).error() == weir::refused_for_ever(refusal_reason::closed));
  held.reset();
  CHECK(gate.wait_idle());
}
