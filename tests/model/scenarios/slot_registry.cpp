// SPDX-License-Identifier: BSL-1.0
// Numbers for threads: one each, handed on with all that was done under them.
#include <weir/detail/slot_registry.hpp>

#include <array>

#include "model/scenario.hpp"
#include "model/scenarios/support.hpp"

namespace {

using namespace weir_model;
using weir::detail::slot_registry;

/// A room for each number.
using rooms = std::array<room, 4>;

void each_its_own(world& w) {
  auto& slots = w.make<slot_registry>();
  auto& here = w.make<rooms>();
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      const int mine = slots.take();
      expect(mine >= 0 && mine < 3, "as low as may be");
      room& r = here[static_cast<std::size_t>(mine)];
      r.enter();
      r.leave();
    });
  }
  w.after([&] {
    for (int i = 0; i < 3; ++i) expect(here[static_cast<std::size_t>(i)].visits() == 1, "one each");
  });
}
const scenario each_its_own_{"slot_registry", "no number is held by two", {}, each_its_own};

void handed_on(world& w) {
  auto& slots = w.make<slot_registry>();
  auto& here = w.make<rooms>();
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      const int mine = slots.take();
      here[static_cast<std::size_t>(mine)].visit();
      slots.give_back(mine);
    });
  }
  w.after([&] {
    int visits = 0;
    for (const room& r : here) visits += r.visits();
    expect(visits == 3 && here[0].visits() >= 1);
    expect(slots.take() == 0, "all are free again");
  });
}
const scenario handed_on_{
    "slot_registry", "a number that was given back comes with all that was done under it", {}, handed_on};

void none_left(world& w) {
  auto& slots = w.make<slot_registry>();
  for (int i = 0; i + 1 < slot_registry::size; ++i) static_cast<void>(slots.take());
  auto& lucky = w.make<std::array<bool, 2>>();
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&, i] {
      const int mine = slots.take();
      lucky[i] = mine == slot_registry::size - 1;
      expect(lucky[i] || mine == slot_registry::size, "the last one, or none");
      if (!lucky[i]) slots.give_back(mine);
    });
  }
  w.after([&] {
    expect(lucky[0] != lucky[1], "one of them has the last one");
    expect(slots.take() == slot_registry::size, "which has not come back");
  });
}
const scenario none_left_{"slot_registry", "of two who want the last number one gets it", {}, none_left};

}  // namespace
