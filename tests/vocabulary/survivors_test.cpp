// SPDX-License-Identifier: BSL-1.0
// What tests/mutation found that no other test of the sleep would have noticed.
#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <thread>

#include <weir/detail/parking.hpp>

using namespace std::chrono_literals;
using weir::deadline;
using weir::time_point;
using weir::detail::parker;

namespace {

/// Stands still, and knows how often it was looked at.
struct watched_clock {
  [[nodiscard]] time_point now() const noexcept {
    looks->fetch_add(1);
    return {};
  }
  std::atomic<int>* looks = nullptr;
};

/// As above, and cries wolf.
struct hasty_clock : watched_clock {
  void wake_at(time_point, weir::timer_target& target) const { target.wake(); }
  void forget(weir::timer_target&) const noexcept {}
};
static_assert(weir::waking_clock<hasty_clock> && !weir::waking_clock<watched_clock>);

/// Returns once nobody looks at the clock any more: never, if the sleeper does not sleep.
void await_rest(const std::atomic<int>& looks) {
  for (int before = 0; before == 0 || before != looks;) {
    before = looks;
    for (int i = 0; i != 1000; ++i) std::this_thread::yield();
  }
}

template <class Clock>
bool sleeps(deadline until) {
  std::atomic<int> looks{0};
  Clock clock;
  clock.looks = &looks;
  parker p;
  bool unparked = false;
  std::thread sleeper{[&] { unparked = p.park_until(clock, until); }};
  await_rest(looks);
  p.unpark();
  sleeper.join();
  return unparked;
}

}  // namespace

TEST_CASE("a sleeper does not look at a clock again and again", "[parking]") {
  CHECK(sleeps<watched_clock>(deadline::never()));
  CHECK(sleeps<watched_clock>(time_point{1h}));
  CHECK(sleeps<hasty_clock>(deadline::never()));
  CHECK(sleeps<hasty_clock>(time_point{1h}));
}

TEST_CASE("one who is in no list is not counted out of it", "[parking]") {
  weir::detail::wait_list list;
  weir::detail::waiter a, b;
  list.push_back(a);
  list.push_back(b);
  list.remove(a);
  list.remove(a);
  CHECK(list.size() == 1);
  list.remove(b);
  list.remove(b);
  CHECK(list.size() == 0);
  CHECK(list.empty());
}
