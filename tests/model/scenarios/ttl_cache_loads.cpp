// SPDX-License-Identifier: BSL-1.0
// Loads: shared, overtaken, failing, given up.
#include <weir/ttl_cache.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using enum weir::lookup_source;

constexpr bounds some{.preemptions = 2, .random_executions = 5'000};

// A std::stop_callback waits by a futex, which compares with the newest value, not by what the standard says of
// std::atomic::wait.
constexpr bounds stopping{.preemptions = 1, .strict_wait = false, .random_executions = 5'000};

using cache = weir::ttl_cache<int, int, standing_clock>;
using hand_cache = weir::ttl_cache<int, int, hand_time::view>;
using timed_cache = weir::ttl_cache<int, int>;

cache& make_cache(world& w) { return w.make<cache>(weir::ttl_cache_options{.max_entries = 4}); }

/// What is loaded.  In plain memory: two loads at a time race, and so does who has the value too early.
struct store {
  int inside = 0;
  int loads = 0;

  int operator()() {
    expect(++inside == 1, "one load a key at a time");
    ++loads;
    --inside;
    return loads;
  }
};

void loaded_once(world& w) {
  auto& c = make_cache(w);
  auto& from = w.make<store>();
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = c.get_or_load(7, std::ref(from));
      expect(result.has_value() && **result == 1 && from.loads == 1, "the end of the load is seen");
    });
  }
  w.after([&] {
    const auto s = c.stats();
    expect(from.loads == 1 && s.loads_ok == 1 && s.in_flight == 0 && c.get(7) == 1);
    expect(s.hits + s.stale + s.negative + s.misses == 2, "two lookups");
  });
}
const scenario loaded_once_{"ttl_cache", "two that miss a key load it once", bounds{.preemptions = 3},
                            loaded_once};

void three_load_once(world& w) {
  auto& c = make_cache(w);
  auto& from = w.make<store>();
  for (int i = 0; i < 3; ++i) {
    w.thread([&] { expect(**c.get_or_load(7, std::ref(from)) == 1); });
  }
  w.after([&] { expect(from.loads == 1 && c.stats().in_flight == 0 && c.stats().entries == 1); });
}
const scenario three_load_once_{"ttl_cache", "three that miss a key load it once", some, three_load_once};

/// One loads what the other changes; what was read before the change must be gone after `forget`.
void never_returns(world& w, void (*forget)(cache&)) {
  auto& c = make_cache(w);
  auto& source = w.make<std::atomic<int>>(1);
  w.thread([&] {
    const auto result = c.get_or_load(7, [&] { return source.load(); });
    expect(**result == 1 || **result == 2);
  });
  w.thread([&, forget] {
    source = 2;
    forget(c);
    const auto seen = c.get(7);
    expect(!seen || seen == 2, "what was loaded before is not seen again");
    const auto result = c.get_or_load(7, [&] { return source.load(); });
    expect(**result == 2, "nor joined");
  });
  w.after([&] { expect(c.get(7) == 2 && c.stats().in_flight == 0); });
}
const scenario erase_{"ttl_cache", "a load that was erased meanwhile does not bring the old value back",
                      bounds{.preemptions = 3},
                      [](world& w) { never_returns(w, [](cache& c) { c.invalidate(7); }); }};
const scenario clear_{"ttl_cache", "a load that was cleared meanwhile does not bring the old value back",
                      bounds{.preemptions = 3},
                      [](world& w) { never_returns(w, [](cache& c) { c.invalidate_all(); }); }};
const scenario invalidate_if_{
    "ttl_cache", "a load that a predicate might mean does not bring the old value back",
    bounds{.preemptions = 3}, [](world& w) {
      never_returns(w, [](cache& c) { c.invalidate_if([](const int&, const int& v) { return v == 1; }); });
    }};

void overwritten(world& w, void (*write)(cache&)) {
  auto& c = make_cache(w);
  w.thread([&] {
    const auto result = c.get_or_load(7, [] { return 1; });
    expect(**result == 1 || **result == 2);
  });
  w.thread([&, write] { write(c); });
  w.after([&] { expect(c.get(7) == 2 && c.stats().in_flight == 0, "what was written stays"); });
}
const scenario assigned_{"ttl_cache", "a value that is assigned during a load stays", {}, [](world& w) {
                           overwritten(w, [](cache& c) { c.insert_or_assign(7, 2); });
                         }};
const scenario computed_{
    "ttl_cache", "a value that is computed during a load stays", bounds{.preemptions = 3},
    [](world& w) { overwritten(w, [](cache& c) { c.compute(7, [](const int*) { return 2; }); }); }};

void inserted(world& w) {
  auto& c = make_cache(w);
  auto& stored = w.make<bool>(false);
  w.thread([&] { expect(c.get_or_load(7, [] { return 1; }).has_value()); });
  w.thread([&] { stored = c.insert(7, 2); });
  w.after([&] { expect(c.get(7) == (stored ? 2 : 1)); });
}
const scenario inserted_{
    "ttl_cache", "a value inserted during a load stays, else the loaded one does", {}, inserted};

void throws(world& w, int callers) {
  auto& c = make_cache(w);
  auto& object = w.make<std::atomic<const void*>>(nullptr);
  auto& objects = w.make<std::atomic<unsigned>>(0U);
  for (int i = 0; i < callers; ++i) {
    w.thread([&] {
      try {
        static_cast<void>(c.get_or_load(7, []() -> int { throw std::runtime_error{"no"}; }));
        expect(false, "it always throws");
      } catch (const std::runtime_error& e) {
        if (object.exchange(&e) != &e) objects.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&, callers] {
    const auto s = c.stats();
    expect(s.entries == 0 && s.in_flight == 0 && s.loads_ok == 0, "nothing is kept");
    expect(s.loads_failed + s.joined == static_cast<unsigned>(callers));
    expect(s.joined + 1 != static_cast<unsigned>(callers) || objects == 1, "who joined got the same object");
    expect(**c.get_or_load(7, [] { return 5; }) == 5, "the key is not wedged");
  });
}
const scenario throws_{"ttl_cache", "a loader that throws does so to who waits, and keeps nothing",
                       bounds{.preemptions = 3}, [](world& w) { throws(w, 2); }};
const scenario throws_to_two_{"ttl_cache", "a loader that throws does so to two who wait, and keeps nothing",
                              some, [](world& w) { throws(w, 3); }};

void recursion(world& w) {
  auto& c = make_cache(w);
  auto& mistakes = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        static_cast<void>(c.get_or_load(7, [&] { return **c.get_or_load(7, [] { return 1; }); }));
        expect(false, "a loader that waits for itself is told");
      } catch (const std::logic_error&) {
        mistakes.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  w.after([&] { expect(mistakes == 2 && c.stats().in_flight == 0); });
}
const scenario recursion_{
    "ttl_cache", "a loader that asks for its own key is an error for all, and no deadlock", some, recursion};

void other_key(world& w) {
  auto& c = make_cache(w);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = c.get_or_load(7, [&] { return **c.get_or_load(8, [] { return 1; }) + 1; });
      expect(**result == 2);
    });
  }
  w.after([&] { expect(c.get(7) == 2 && c.get(8) == 1 && c.stats().loads_ok == 2); });
}
const scenario other_key_{"ttl_cache", "a loader may load another key", some, other_key};

hand_cache& expired(world& w, weir::ttl_cache_options options) {
  options.max_entries = 2;
  options.expire_after_write = weir::duration{10};
  auto& time = w.make<hand_time>();
  auto& c = w.make<hand_cache>(options, time.source());
  c.insert(7, 1);
  time.set(10);
  return c;
}

void stale_while_loading(world& w) {
  auto& c = expired(w, {.stale_for = weir::duration{5}});
  auto& loads = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      const auto result = c.get_or_load(7, [&] {
        loads.fetch_add(1, std::memory_order_relaxed);
        return 2;
      });
      expect(result->source == stale ? **result == 1 : **result == 2);
      expect(result->source != joined, "nobody waits while there is a stale value");
    });
  }
  w.after([&] { expect(loads == 1 && c.get(7) == 2 && c.stats().stale <= 1); });
}
const scenario stale_while_loading_{"ttl_cache", "while one loads the other has the stale value at once",
                                    bounds{.preemptions = 3}, stale_while_loading};

void stale_if_error(world& w) {
  auto& c = expired(w, {.stale_if_error = weir::duration{5}});
  auto& erased = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const bool before = erased.load(std::memory_order_acquire);
    try {
      const auto result = c.get_or_load(7, []() -> int { throw std::runtime_error{"no"}; });
      expect(result->source == stale && **result == 1 && !before,
             "the stale one stands in while it is there");
    } catch (const std::runtime_error&) {
    }
  });
  w.thread([&] {
    c.erase(7);
    erased.store(true, std::memory_order_release);
  });
  w.after([&] {
    expect(c.stats().entries == 0 && c.stats().in_flight == 0);
    bool threw = false;
    try {
      static_cast<void>(c.get_or_load(7, []() -> int { throw std::runtime_error{"no"}; }));
    } catch (const std::runtime_error&) {
      threw = true;
    }
    expect(threw, "what was erased stands in for nothing");
  });
}
const scenario stale_if_error_{
    "ttl_cache", "a stale value that was erased stands in for no failed load", {}, stale_if_error};

void fallback_is_gone(world& w) {
  auto& c = expired(w, {.stale_if_error = weir::duration{5}});
  auto& erased = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    try {
      bool during = false;
      const auto result = c.get_or_load(7, [&]() -> int {
        during = erased.load(std::memory_order_acquire);
        throw std::runtime_error{"no"};
      });
      expect(result->source == stale && !during, "erased before the load has failed");
    } catch (const std::runtime_error&) {
    }
  });
  w.thread([&] {
    c.invalidate_if([](const int&, const int&) { return true; });
    erased.store(true, std::memory_order_release);
  });
  w.after([&] { expect(c.stats().entries == 0 && c.stats().in_flight == 0); });
}
const scenario fallback_is_gone_{
    "ttl_cache", "a load that fails after its stale value was removed has no fallback", {}, fallback_is_gone};

void remembered_failure(world& w) {
  auto& c = w.make<cache>(weir::ttl_cache_options{.max_entries = 4, .error_ttl = weir::duration{10}});
  auto& loads = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      try {
        static_cast<void>(c.get_or_load(7, [&]() -> int {
          loads.fetch_add(1, std::memory_order_relaxed);
          throw std::runtime_error{"no"};
        }));
        expect(false, "it throws, now or again");
      } catch (const std::runtime_error&) {
      }
    });
  }
  w.after([&] { expect(loads == 1 && c.stats().entries == 1 && c.size() == 0); });
}
const scenario remembered_failure_{"ttl_cache", "a failure that is remembered is not asked for again",
                                   bounds{.preemptions = 3}, remembered_failure};

void lease(world& w) {
  auto& time = w.make<hand_time>();
  auto& c = w.make<hand_cache>(weir::ttl_cache_options{.max_entries = 2, .load_lease = weir::duration{10}},
                               time.source());
  auto& loading = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const auto result = c.get_or_load(7, [&] {
      loading = true;
      time.set(10);
      return 1;
    });
    expect(result->source == loaded ? **result == 1 : **result == 2);
  });
  w.thread([&] {
    while (!loading) std::this_thread::yield();
    const auto result = c.get_or_load(7, [] { return 2; });
    expect(result->source == loaded ? **result == 2 : **result == 1);
  });
  w.after([&] {
    const auto s = c.stats();
    // Taken for lost, the first load is not stored, whenever it ends.
    expect(s.loads_ok == 2 ? c.get(7) == 2 : c.get(7) == 1);
    expect(s.in_flight == 0 && s.rejected == (s.loads_ok == 2 ? 1U : 0U));
  });
}
const scenario lease_{"ttl_cache", "a load that outlives its lease is not stored over a later one",
                      bounds{.preemptions = 3}, lease};

void waiter_stopped(world& w) {
  auto& c = make_cache(w);
  auto& stop = w.make<std::stop_source>();
  w.thread([&] { expect(**c.get_or_load(7, [] { return 1; }) == 1); });
  w.thread([&] {
    const auto result = c.get_or_load(7, [] { return 1; }, {}, stop.get_token());
    expect(result ? **result == 1 : result.error().reason == weir::refusal_reason::cancelled);
  });
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    const auto s = c.stats();
    expect(s.in_flight == 0 && s.loads_ok == 1 && s.abandoned <= s.joined && c.get(7) == 1);
  });
}
const scenario waiter_stopped_{"ttl_cache",
                               "a waiter stopped at the instant of landing has a value or its refusal",
                               stopping, waiter_stopped};

void abandoned(world& w) {
  auto& c = make_cache(w);
  auto& stop = w.make<std::stop_source>();
  auto& loading = w.make<std::atomic<bool>>(false);
  w.thread([&] {
    const auto result = c.get_or_load(
        7,
        [&](const std::stop_token& told) {
          loading = true;
          while (!told.stop_requested()) std::this_thread::yield();
          return 1;
        },
        {}, stop.get_token());
    expect(**result == 1);
  });
  w.thread([&] {
    while (!loading) std::this_thread::yield();
    stop.request_stop();
    const auto result = c.get_or_load(7, [] { return 2; });
    expect(**result == 2, "a load that has been told to stop is not joined");
  });
  w.after([&] { expect(c.get(7) == 2 && c.stats().in_flight == 0 && c.stats().rejected == 1); });
}
const scenario abandoned_{"ttl_cache", "a load that nobody wants any more is stopped and not stored",
                          stopping, abandoned};

}  // namespace
