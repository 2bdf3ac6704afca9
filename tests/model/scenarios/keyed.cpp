// SPDX-License-Identifier: BSL-1.0
#include <weir/keyed.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;

/// What the keys have: a number that is as new while it is zero.  In plain memory: one who reads or destroys it
/// without having synchronized with the last user is seen.
struct tally {
  int used = 0;
  std::atomic<int>* alive = nullptr;

  explicit tally(std::atomic<int>* count) noexcept : alive{count} {
    alive->fetch_add(1, std::memory_order_relaxed);
  }
  tally(const tally&) = delete;
  tally& operator=(const tally&) = delete;
  ~tally() {
    expect(used >= 0, "destroyed once");
    used = -1;
    alive->fetch_sub(1, std::memory_order_relaxed);
  }
};
struct fading_tally : tally {
  using tally::tally;
  [[nodiscard]] bool is_as_new() const noexcept { return used == 0; }
};

/// Every key in one bucket, the third: what is there is swept by the third call that pins.
struct same_bucket {
  std::size_t operator()(int) const noexcept { return 15; }
};

template <class Tally>
struct map_of : weir::keyed<int, Tally, standing_clock, same_bucket> {
  using base = weir::keyed<int, Tally, standing_clock, same_bucket>;
  map_of(std::atomic<int>& alive, const weir::keyed_options& options)
      : base{options, [count = &alive](int) { return Tally{count}; }} {}
};
using map = map_of<tally>;
using fading_map = map_of<fading_tally>;

template <class Map>
void expect_balanced(const Map& m, const std::atomic<int>& alive, int untracked = 0) {
  const auto s = m.stats();
  expect(s.created == s.keys + s.evicted_as_new + s.evicted_forced + s.erased, "each key has one fate");
  expect(static_cast<int>(s.keys) + untracked == alive, "what is not known and not in use is gone");
}

std::atomic<int>& count(world& w) { return w.make<std::atomic<int>>(0); }

void created_once(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 2});
  auto& used = w.make<std::atomic<tally*>>(nullptr);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto pin = m.pin(7);
      expect(pin.has_value());
      tally* const other = used.exchange(&**pin);
      expect(other == nullptr || other == &**pin, "one component");
    });
  }
  w.after([&] {
    const auto s = m.stats();
    expect(s.keys == 1 && s.created == 1 && s.refused == 0);
    expect_balanced(m, alive);
  });
}
const scenario created_once_{
    "keyed", "two that use a new key at once get the same component", {}, created_once};

void factory_throws(world& w) {
  struct failing : weir::keyed<int, tally, standing_clock> {
    failing(std::atomic<int>& alive, std::atomic<int>& calls)
        : keyed{{.max_keys = 2}, [&alive, &calls](int) {
                  if (calls.fetch_add(1, std::memory_order_relaxed) == 0)
                    throw std::runtime_error{"the first"};
                  return tally{&alive};
                }} {}
  };
  auto& alive = count(w);
  auto& m = w.make<failing>(alive, count(w));
  auto& failed = count(w);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        expect(m.pin(7).has_value());
      } catch (const std::runtime_error&) {
        failed.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&] {
    expect(failed == 1 && m.stats().created == 1, "the other's call stands");
    expect_balanced(m, alive);
  });
}
const scenario factory_throws_{
    "keyed", "a factory that throws fails its own caller alone", {}, factory_throws};

void erased_in_use(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 2});
  w.thread([&] {
    const auto pin = m.pin(7);
    ++(*pin)->used;
    expect(alive >= 1 && (*pin)->used == 1, "kept for as long as it is used");
  });
  w.thread([&] { static_cast<void>(m.erase(7)); });
  w.after([&] { expect_balanced(m, alive); });
}
const scenario erased_in_use_{
    "keyed", "a component erased while in use goes with its last user, once", {}, erased_in_use};

void found_and_erased(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 2});
  static_cast<void>(m.pin(7));
  auto& erased = count(w);
  w.thread([&] {
    if (const auto found = m.find(7)) {
      ++(*found)->used;
      expect((*found)->used == 1);
    }
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      if (m.erase(7)) erased.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(erased == 1 && m.stats().erased == 1 && m.stats().keys == 0, "erased by one of them");
    expect(!m.find(7));
    expect_balanced(m, alive);
  });
}
const scenario found_and_erased_{
    "keyed", "what is found stays whole while two others erase it", {}, found_and_erased};

void swept(world& w) {
  auto& alive = count(w);
  auto& m = w.make<fading_map>(alive, weir::keyed_options{.max_keys = 3});
  static_cast<void>(m.pin(7));
  w.thread([&] {
    const auto pin = m.pin(7);
    expect((*pin)->used == 0, "never used before");
    (*pin)->used = 1;
  });
  w.thread([&] { static_cast<void>(m.evict_as_new()); });
  w.after([&] {
    const auto found = m.find(7);
    expect(found && (*found)->used == 1, "what has been used is not forgotten");
    expect(m.stats().evicted_forced == 0);
    expect_balanced(m, alive);
  });
}
const scenario swept_{"keyed", "to forget the as-new never forgets what is being used", {}, swept};

void swept_by_use(world& w) {
  auto& alive = count(w);
  auto& m = w.make<fading_map>(alive, weir::keyed_options{.max_keys = 1});
  w.thread([&] {
    if (const auto pin = m.pin(7)) ++(*pin)->used;
  });
  w.thread([&] {
    if (const auto pin = m.pin(8)) ++(*pin)->used;
  });
  w.after([&] {
    const auto s = m.stats();
    expect(s.keys <= 1 && s.created + s.refused == 2, "room for one");
    expect(s.evicted_as_new == 0, "both are used at once, so neither is ever as new and idle");
    expect(s.evicted_forced == s.created - 1, "the forced are counted");
    expect_balanced(m, alive);
  });
}
const scenario swept_by_use_{
    "keyed", "a key forgotten with what it had used up is counted as forced", {}, swept_by_use};

void in_use_is_kept(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 1});
  w.thread([&] {
    auto pin = m.pin(7);
    if (!pin) return;
    ++(*pin)->used;
    const auto again = m.find(7);
    expect(again && &**again == &**pin, "one component a key while it is in use");
  });
  w.thread([&] {
    auto pin = m.pin(8);
    if (pin) expect(++(*pin)->used == 1);
  });
  w.after([&] {
    const auto s = m.stats();
    expect(s.keys == 1 && s.created + s.refused == 2);
    expect_balanced(m, alive);
  });
}
const scenario in_use_is_kept_{"keyed", "a key in use is never forgotten for another", {}, in_use_is_kept};

void swept_in_use(world& w) {
  auto& alive = count(w);
  auto& m = w.make<fading_map>(alive, weir::keyed_options{.max_keys = 3});
  static_cast<void>(m.pin(7));
  w.thread([&] {
    const auto pin = m.pin(7);
    const auto again = m.find(7);
    expect(again && &**again == &**pin, "known while it is used, although as new");
  });
  w.thread([&] { static_cast<void>(m.pin(8)); });
  w.after([&] {
    expect(m.stats().evicted_forced == 0);
    expect_balanced(m, alive);
  });
}
const scenario swept_in_use_{
    "keyed", "a key in use is not forgotten, although its component is as new", {}, swept_in_use};

void closed_when_full(world& w) {
  auto& alive = count(w);
  auto& m =
      w.make<map>(alive, weir::keyed_options{.max_keys = 1, .when_full = weir::keyed_overflow::fail_closed});
  auto& refused = count(w);
  for (const int key : {7, 8}) {
    w.thread([&, key] {
      const auto pin = m.pin(key);
      if (pin) return;
      expect(pin.error().reason == weir::refusal_reason::full);
      refused.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    const auto s = m.stats();
    expect(refused == 1 && s.refused == 1 && s.keys == 1 && s.created == 1);
    expect_balanced(m, alive);
  });
}
const scenario closed_when_full_{
    "keyed", "of two new keys where there is room for one the other is refused", {}, closed_when_full};

void open_when_full(world& w) {
  auto& alive = count(w);
  auto& m =
      w.make<map>(alive, weir::keyed_options{.max_keys = 1, .when_full = weir::keyed_overflow::fail_open});
  for (const int key : {7, 8}) {
    w.thread([&, key] {
      const auto pin = m.pin(key);
      expect(pin.has_value());
      ++(*pin)->used;
    });
  }
  w.after([&] {
    const auto s = m.stats();
    expect(s.keys == 1 && s.created == 1 && s.untracked == 1);
    expect_balanced(m, alive);
  });
}
const scenario open_when_full_{
    "keyed", "of two new keys where there is room for one the other is not tracked", {}, open_when_full};

void outlives_the_map(world& w) {
  auto& alive = count(w);
  auto& m = w.make<std::unique_ptr<map>>(std::make_unique<map>(alive, weir::keyed_options{.max_keys = 2}));
  auto& pin = w.make<std::optional<map::pinned>>(*m->pin(7));
  w.thread([&] {
    ++(*pin)->used;
    expect((*pin)->used == 1 && pin->key() == 7);
    pin.reset();
  });
  w.thread([&] { m.reset(); });
  w.after([&] { expect(alive == 0, "gone with the later of both"); });
}
const scenario outlives_the_map_{
    "keyed", "what is pinned outlives the map that is destroyed meanwhile", {}, outlives_the_map};

void two_pins(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 2});
  auto& users = count(w);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto pin = m.pin(7);
      users.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.thread([&] { static_cast<void>(m.erase(7)); });
  w.after([&] {
    expect(users == 2);
    expect(m.stats().created <= 2 && m.stats().erased <= 1);
    expect_balanced(m, alive);
  });
}
const scenario two_pins_{"keyed", "two users and one who erases leave nothing behind", {}, two_pins};

void second_chain(world& w) {
  auto& alive = count(w);
  auto& m = w.make<fading_map>(alive, weir::keyed_options{.max_keys = 3});
  static_cast<void>(m.pin(5));
  w.thread([&] { static_cast<void>(m.pin(6)); });
  w.thread([&] { static_cast<void>(m.pin(7)); });
  w.thread([&] { static_cast<void>(m.erase(5)); });
  w.after([&] {
    const auto s = m.stats();
    expect(s.created == 3 && s.keys <= 2 && s.evicted_forced == 0);
    expect(s.erased + s.evicted_as_new >= 1 && !m.find(5), "erased by hand or swept before");
    expect_balanced(m, alive);
  });
}
const scenario second_chain_{
    "keyed", "keys of one bucket come and go at once and each is counted once", {}, second_chain};

void counts_read(world& w) {
  auto& alive = count(w);
  auto& m = w.make<map>(alive, weir::keyed_options{.max_keys = 2});
  w.thread([&] {
    static_cast<void>(m.pin(7));
    static_cast<void>(m.erase(7));
  });
  w.thread([&] {
    const auto s = m.stats();
    expect(s.created == s.keys + s.erased, "of one instant");
    expect(m.size_approx() <= 1);
  });
  w.after([&] { expect(m.stats().created == 1 && m.stats().erased == 1); });
}
const scenario counts_read_{
    "keyed", "the counts of a shard are of one instant, while its keys come and go", {}, counts_read};

}  // namespace
