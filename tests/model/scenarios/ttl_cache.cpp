// SPDX-License-Identifier: BSL-1.0
// Values that are stored: read, replaced, expired, evicted.
#include <weir/ttl_cache.hpp>

#include <array>
#include <atomic>
#include <optional>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;

constexpr bounds some{.preemptions = 2, .random_executions = 5'000};

/// How often each value has been told to leave.  In plain memory below a lock of nobody: an atomic each.
struct departures {
  std::array<std::atomic<int>, 8> of{};
};
struct witness {
  departures* told;
  void on_removed(const int&, const int& value, weir::removal_cause) const noexcept {
    told->of.at(static_cast<std::size_t>(value)).fetch_add(1, std::memory_order_relaxed);
  }
};
struct watched : weir::ttl_cache_traits<int> {
  using listener = witness;
};

using cache = weir::ttl_cache<int, int, standing_clock>;
using hand_cache = weir::ttl_cache<int, int, hand_time::view>;
using watched_cache = weir::ttl_cache<int, int, standing_clock, watched>;

void inserted_once(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 2});
  auto& stored = w.make<std::atomic<int>>(0);
  for (int i = 1; i <= 2; ++i) {
    w.thread([&, i] {
      if (c.insert(7, i)) stored.fetch_add(i, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(stored == 1 || stored == 2, "one of them");
    expect(c.get(7) == stored.load() && c.size() == 1);
  });
}
const scenario inserted_once_{"ttl_cache", "of two that insert a key one does", {}, inserted_once};

void computed(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 2});
  for (int i = 0; i < 2; ++i) {
    w.thread([&] { expect(c.compute(7, [](const int* had) { return had ? *had + 1 : 1; })); });
  }
  w.after([&] { expect(c.get(7) == 2, "none of the two is lost"); });
}
const scenario computed_{"ttl_cache", "what two compute from each other's value adds up", {}, computed};

void computed_and_erased(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 2});
  c.insert(7, 5);
  auto& erased = w.make<bool>(false);
  w.thread([&] { expect(c.compute(7, [](const int* had) { return had ? *had + 1 : 1; })); });
  w.thread([&] { erased = c.erase(7); });
  w.after([&] {
    const auto left = c.get(7);
    expect(erased && (!left || left == 1), "computed from what was erased, it is erased; else begun anew");
  });
}
const scenario computed_and_erased_{
    "ttl_cache", "nothing is computed from a value that was erased meanwhile", {}, computed_and_erased};

void room_for_one(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 1});
  c.insert(5, 5);
  for (const int key : {6, 7}) w.thread([&, key] { c.insert(key, key); });
  w.thread([&] {
    const bool found =
        c.visit(5, [](const int& value) { expect(value == 5, "alive while it is looked at"); });
    expect(found || c.stats().evicted >= 1);
    expect(c.stats().entries <= 1);
  });
  w.after([&] {
    const auto s = c.stats();
    expect(s.entries == 1 && s.evicted == 2, "each that came drove one out");
    expect(!c.contains(5) && (c.contains(6) || c.contains(7)));
  });
}
const scenario room_for_one_{
    "ttl_cache", "a value that is evicted while it is read stays whole for its reader", some, room_for_one};

void told_once(world& w) {
  auto& told = w.make<departures>();
  auto& c =
      w.make<watched_cache>(weir::ttl_cache_options{.max_entries = 1}, standing_clock{}, witness{&told});
  w.thread([&] { c.insert_or_assign(7, 1); });
  w.thread([&] { c.insert_or_assign(7, 2); });
  w.thread([&] { c.erase(7); });
  w.after([&] {
    const auto left = c.get(7);
    for (int value = 1; value <= 2; ++value) {
      expect(told.of.at(static_cast<std::size_t>(value)) == (left == value ? 0 : 1),
             "once each, or still there");
    }
    const auto s = c.stats();
    expect(s.replaced + s.explicit_ == (left ? 1U : 2U));
  });
}
const scenario told_once_{"ttl_cache", "each value that leaves is told of once", bounds{.preemptions = 3},
                          told_once};

void cleared(world& w) {
  auto& told = w.make<departures>();
  auto& c =
      w.make<watched_cache>(weir::ttl_cache_options{.max_entries = 4}, standing_clock{}, witness{&told});
  c.insert(1, 1);
  auto& by_predicate = w.make<std::size_t>(0U);
  w.thread([&] { c.invalidate_all(); });
  w.thread([&] { by_predicate = c.invalidate_if([](const int&, const int&) { return true; }); });
  w.thread([&] { c.insert(2, 2); });
  w.after([&] {
    expect(told.of[1] == 1 && !c.contains(1), "removed by one of them");
    expect(told.of[2] == (c.contains(2) ? 0 : 1));
    expect(by_predicate <= 2 && c.size() == (c.contains(2) ? 1U : 0U));
  });
}
const scenario cleared_{"ttl_cache", "two that clear remove each value once", bounds{.preemptions = 3},
                        cleared};

void boundary(world& w) {
  auto& time = w.make<hand_time>();
  auto& c = w.make<hand_cache>(
      weir::ttl_cache_options{.max_entries = 2, .expire_after_write = weir::duration{10}}, time.source());
  c.insert(7, 1);
  auto& there = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    time.set(10);
    there.store(true, std::memory_order_release);
  });
  w.thread([&] {
    const bool expired = there.load(std::memory_order_acquire);
    expect(!c.get(7) || !expired, "gone at the instant itself");
  });
  w.thread([&] { expect(c.size() <= 1); });
  w.after([&] { expect(!c.get(7) && c.size() == 0); });
}
const scenario boundary_{
    "ttl_cache", "at the instant at which it expires a value is gone for all", {}, boundary};

void stays_expired(world& w) {
  auto& time = w.make<hand_time>();
  auto& c = w.make<hand_cache>(
      weir::ttl_cache_options{.max_entries = 2, .expire_after_write = weir::duration{10}}, time.source());
  c.insert(7, 1);
  w.thread([&] {
    time.set(10);
    time.set(5);
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const bool was_gone = !c.get(7);
      expect(!was_gone || !c.get(7), "gone for good");
    });
  }
  w.after([&] { expect(c.stats().hits + c.stats().misses >= 2); });
}
const scenario stays_expired_{
    "ttl_cache", "what has expired stays so if the clock steps back", {}, stays_expired};

void prolonged(world& w) {
  auto& time = w.make<hand_time>();
  auto& c = w.make<hand_cache>(
      weir::ttl_cache_options{.max_entries = 2, .expire_after_write = weir::duration{10}}, time.source());
  c.insert(7, 1);
  auto& granted = w.make<bool>(false);
  w.thread([&] { granted = c.set_ttl(7, weir::duration{20}); });
  w.thread([&] {
    time.set(10);
    c.maintain();
  });
  w.after([&] {
    const auto left = c.get(7);
    expect(left ? granted : !granted, "prolonged while it lived, or not at all");
    expect(c.stats().expired == (left ? 0U : 1U));
  });
}
const scenario prolonged_{"ttl_cache", "a value is prolonged in time or gone", {}, prolonged};

void smaller(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 3});
  c.insert(1, 1);
  c.insert(2, 2);
  w.thread([&] { c.reconfigure({.max_entries = 1}); });
  w.thread([&] { c.insert(3, 3); });
  w.after([&] {
    const auto s = c.stats();
    expect(s.entries == 1 && s.evicted == 2, "never more than the options say");
  });
}
const scenario smaller_{
    "ttl_cache", "with fewer entries allowed the surplus goes, whoever comes first", {}, smaller};

/// What a second thread may do at any time, whatever the first one does.
constexpr std::array<void (*)(cache&), 11> members{
    [](cache& c) { expect(c.size() <= 2); },
    [](cache& c) { expect(c.stats().entries <= 2); },
    [](cache& c) { c.for_each([](const int& key, const int& value) { expect(key == value); }); },
    [](cache& c) { expect(c.contains(7)); },
    [](cache& c) { expect(c.set_ttl(7, weir::duration{5})); },
    [](cache& c) { expect(c.maintain() == 0); },
    [](cache& c) { expect(c.erase(7)); },
    [](cache& c) { expect(c.compute(7, [](const int* had) { return *had; })); },
    [](cache& c) { c.reconfigure({.max_entries = 1}); },
    [](cache& c) { c.invalidate_all(); },
    [](cache& c) { expect(c.invalidate_if([](const int&, const int&) { return true; }) >= 1); },
};

void any_member(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 2});
  c.insert(7, 7);
  w.thread([&] { expect(c.insert_or_assign(8, 8)); });
  w.thread([&] { members.at(static_cast<std::size_t>(choose(static_cast<int>(members.size()))))(c); });
  w.after([&] {
    std::size_t listed = 0;
    c.for_each([&](const int&, const int&) { ++listed; });
    expect(listed <= 2 && listed == c.size() && listed == c.stats().entries, "by key, by use and by time");
  });
}
const scenario any_member_{
    "ttl_cache", "any member may be called while another thread writes", {}, any_member};

}  // namespace
