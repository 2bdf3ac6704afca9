// SPDX-License-Identifier: BSL-1.0
// The specifications by themselves: what each of them allows and what it does not.
#include <optional>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "history.hpp"
#include "specification/batch.hpp"
#include "specification/breaker.hpp"
#include "specification/bucket.hpp"
#include "specification/cache.hpp"
#include "specification/flight.hpp"
#include "specification/gate.hpp"
#include "specification/keyed.hpp"
#include "specification/leases.hpp"
#include "specification/queue.hpp"

namespace {

using namespace weir_model;

/// A history written down call by call: `begin` and `end` in the order of time.
template <class S>
class script {
 public:
  using operation = typename S::operation;
  using answer = typename S::answer;

  /// Begins a call on a thread that has ended the one before.
  script& begin(int thread, operation what) {
    calls_.push_back({thread, what, std::nullopt, time_++, -1});
    return *this;
  }
  script& end(int thread, answer given) {
    for (auto& c : calls_) {
      if (c.thread != thread || c.answer) continue;
      c.answer = std::move(given);
      c.returned = time_++;
      return *this;
    }
    FAIL("thread " << thread << " has begun no call");
    return *this;
  }
  /// A whole call.
  script& call(int thread, operation what, answer given) {
    return begin(thread, what).end(thread, std::move(given));
  }

  [[nodiscard]] bool allowed_by(const S& wanted) const {
    return linearize(wanted, calls_, in_real_time(calls_)).found;
  }

 private:
  std::vector<recorded<operation, answer>> calls_;
  int time_ = 0;
};

}  // namespace

TEST_CASE("A queue gives its values first in first out and is empty only when it is", "[linearizability]") {
  using v = queue_verb;
  using w = queue_word;
  const queue_specification wanted{{.capacity = 2}, false};
  const auto drained = [](long long first, queue_word last) {
    script<queue_specification> s;
    s.call(1, {v::try_push, 7}, {w::accepted, {}}).call(2, {v::push, 8}, {w::accepted, {}});
    s.call(1, {v::try_pop}, {w::given, {first}}).call(2, {v::pop}, {w::given, {15 - first}});
    return s.call(1, {v::try_pop}, {last, {}});
  };
  CHECK(drained(7, w::empty).allowed_by(wanted));
  CHECK_FALSE(drained(8, w::empty).allowed_by(wanted));
  CHECK_FALSE(drained(7, w::closed).allowed_by(wanted));

  script<queue_specification> forgotten;
  forgotten.call(1, {v::try_push, 7}, {w::accepted, {}}).call(2, {v::try_pop}, {w::empty, {}});
  CHECK_FALSE(forgotten.allowed_by(wanted));
}

TEST_CASE("A queue is full at its capacity, and takes nothing once it is closed", "[linearizability]") {
  using v = queue_verb;
  using w = queue_word;
  const queue_specification wanted{{.capacity = 1}, false};
  const auto second = [](queue_word answer) {
    script<queue_specification> s;
    return s.call(1, {v::try_push, 7}, {w::accepted, {}}).call(2, {v::try_push, 8}, {answer, {}});
  };
  CHECK(second(w::full).allowed_by(wanted));
  CHECK_FALSE(second(w::accepted).allowed_by(wanted));
  const auto after_close = [](queue_word answer) {
    script<queue_specification> s;
    return s.call(1, {v::close}, {w::done, {}}).call(2, {v::try_push, 8}, {answer, {}});
  };
  CHECK(after_close(w::closed).allowed_by(wanted));
  CHECK_FALSE(after_close(w::accepted).allowed_by(wanted));
}

TEST_CASE("A value that a waiting consumer was promised keeps its room until it is taken",
          "[linearizability]") {
  using v = queue_verb;
  using w = queue_word;
  script<queue_specification> s;
  s.begin(1, {v::pop}).call(2, {v::try_push, 7}, {w::accepted, {}});
  s.call(2, {v::try_pop}, {w::empty, {}}).call(2, {v::try_push, 8}, {w::full, {}});
  s.end(1, {w::given, {7}});
  CHECK(s.allowed_by({{.capacity = 1}, false}));
  CHECK_FALSE(s.allowed_by({{.capacity = 1}, true}));  // a list alone is not full and empty at once
}

TEST_CASE("A policy says which value a full queue drops", "[linearizability]") {
  using v = queue_verb;
  using w = queue_word;
  const auto dropping = [](long long value) {
    script<queue_specification> s;
    return s.call(1, {v::try_push, 7}, {w::accepted, {}}).call(2, {v::try_push, 8}, {w::accepted, {value}});
  };
  CHECK(dropping(7).allowed_by({{.capacity = 1, .overflow = weir::overflow_policy::drop_oldest}, false}));
  CHECK(dropping(8).allowed_by({{.capacity = 1, .overflow = weir::overflow_policy::drop_newest}, false}));
  CHECK_FALSE(
      dropping(8).allowed_by({{.capacity = 1, .overflow = weir::overflow_policy::drop_oldest}, false}));
}

TEST_CASE("A lease keeps others out until its time, and the release after it has no effect",
          "[linearizability]") {
  using v = lease_verb;
  using w = lease_word;
  const lease_specification wanted{{.capacity = 1, .lease = 10}};
  const auto after = [](int time, script<lease_specification>::answer second) {
    script<lease_specification> s;
    s.call(1, {v::try_enter, 1}, {w::entered, {1}}).call(3, {v::advance, time}, {w::done, {}});
    return s.call(2, {v::try_enter, 1}, std::move(second));
  };
  CHECK(after(9, {w::busy, {}}).allowed_by(wanted));
  CHECK_FALSE(after(9, {w::entered, {2}}).allowed_by(wanted));
  CHECK(after(10, {w::entered, {2}}).allowed_by(wanted));
  CHECK_FALSE(after(10, {w::entered, {1}}).allowed_by(wanted));
  CHECK_FALSE(after(10, {w::busy, {}}).allowed_by(wanted));
  const auto released = [&](long long running, lease_word holds) {
    script<lease_specification> s = after(10, {w::entered, {2}});
    s.call(1, {v::holds}, {holds, {}}).call(1, {v::leave}, {w::left, {}});
    return s.call(1, {v::running}, {w::running, {running}});
  };
  CHECK(released(1, w::no).allowed_by(wanted));
  CHECK_FALSE(released(0, w::no).allowed_by(wanted));
  CHECK_FALSE(released(1, w::yes).allowed_by(wanted));
}

TEST_CASE("A gate admits its capacity and is busy only with somebody inside", "[linearizability]") {
  using v = gate_verb;
  using w = gate_word;
  const gate_specification wanted{{.capacity = 1}};
  const auto two = [](gate_word second) {
    script<gate_specification> s;
    return s.call(1, {v::try_enter, 1}, {w::entered, {}}).call(2, {v::try_enter, 1}, {second, {}});
  };
  CHECK(two(w::busy).allowed_by(wanted));
  CHECK_FALSE(two(w::entered).allowed_by(wanted));
  script<gate_specification> busy_with_nobody;
  CHECK_FALSE(busy_with_nobody.call(1, {v::try_enter, 1}, {w::busy, {}}).allowed_by(wanted));
}

TEST_CASE("A run is skipped only while another run or pass overlaps it", "[linearizability]") {
  using v = gate_verb;
  using w = gate_word;
  const gate_specification wanted{{.capacity = 1}};
  script<gate_specification> overlapping;
  overlapping.begin(1, {v::run_if_idle}).call(2, {v::run_if_idle}, {w::skipped, {}}).end(1, {w::ran, {}});
  CHECK(overlapping.allowed_by(wanted));
  script<gate_specification> apart;
  apart.call(1, {v::run_if_idle}, {w::ran, {}}).call(2, {v::run_if_idle}, {w::skipped, {}});
  CHECK_FALSE(apart.allowed_by(wanted));
  script<gate_specification> both;
  both.begin(1, {v::run_if_idle}).call(2, {v::run_if_idle}, {w::skipped, {}}).end(1, {w::skipped, {}});
  CHECK_FALSE(both.allowed_by(wanted));
}

TEST_CASE("Nobody overtakes the first in line at a gate", "[linearizability]") {
  using v = gate_verb;
  using w = gate_word;
  const gate_specification wanted{{.capacity = 2}};
  const auto third = [](gate_word answer) {
    script<gate_specification> s;
    s.call(1, {v::try_enter, 1}, {w::entered, {}}).begin(2, {v::enter, 2});
    s.call(3, {v::run_if_idle}, {w::skipped, {}});  // though one unit is free: so 2 is in line
    return s.call(3, {v::try_enter, 1}, {answer, {}})
        .call(1, {v::leave}, {w::left, {}})
        .end(2, {w::entered, {}});
  };
  CHECK(third(w::busy).allowed_by(wanted));
  CHECK_FALSE(third(w::entered).allowed_by(wanted));
}

TEST_CASE("A bucket grants what it holds, and says exactly when to come again", "[linearizability]") {
  using v = bucket_verb;
  using w = bucket_word;
  for (const bool in_one_step : {true, false}) {
    const bucket_specification wanted{{.burst = 2, .interval = 10, .initial = 2}, in_one_step};
    const auto again = [](long long retry_after) {
      script<bucket_specification> s;
      s.call(1, {v::try_acquire, 2}, {w::granted, {}}).call(1, {v::advance, 5}, {w::done, {}});
      return s.call(2, {v::try_acquire, 1}, {w::refused, {retry_after}});
    };
    CHECK(again(5).allowed_by(wanted));
    CHECK_FALSE(again(4).allowed_by(wanted));
    script<bucket_specification> doubled;
    doubled.call(1, {v::try_acquire, 2}, {w::granted, {}}).call(2, {v::try_acquire, 1}, {w::granted, {}});
    CHECK_FALSE(doubled.allowed_by(wanted));
  }
}

TEST_CASE("A bucket may decide as of the instant that the call has read", "[linearizability]") {
  using v = bucket_verb;
  using w = bucket_word;
  script<bucket_specification> s;
  s.begin(1, {v::try_acquire, 2}).call(2, {v::advance, 10}, {w::done, {}});
  s.call(2, {v::available}, {w::tokens, {2}}).end(1, {w::granted, {}});
  s.call(2, {v::available}, {w::tokens, {1}});  // taken at 0, one is back at 10
  const bucket_setup setup{.burst = 2, .interval = 10, .initial = 2};
  CHECK(s.allowed_by({setup, false}));
  CHECK_FALSE(s.allowed_by({setup, true}));
}

TEST_CASE("A refusal of a bucket tells of what the call looked at, a grant takes what is there",
          "[linearizability]") {
  using v = bucket_verb;
  using w = bucket_word;
  const bucket_setup setup{.burst = 3, .interval = 10, .initial = 1};
  const auto overtaken = [](int tokens, const reply<bucket_word>& given) {
    script<bucket_specification> s;
    s.begin(1, {v::try_acquire, tokens}).call(2, {v::try_acquire, 1}, {w::granted, {}});
    s.call(2, {v::advance, 10}, {w::done, {}}).call(2, {v::try_acquire, 1}, {w::granted, {}});
    return s.end(1, given);
  };
  // Full at 20 when it looked, which is 10 too much at 10; never so at one instant.
  CHECK(overtaken(3, {w::refused, {20}}).allowed_by({setup, true}));
  CHECK(overtaken(3, {w::refused, {20}}).allowed_by({setup, false}));
  CHECK_FALSE(overtaken(3, {w::refused, {10}}).allowed_by({setup, true}));
  CHECK_FALSE(overtaken(1, {w::granted, {}}).allowed_by({setup, false}));
}

TEST_CASE("A breaker opens at its threshold, and a late result changes nothing", "[linearizability]") {
  using v = breaker_verb;
  using w = breaker_word;
  const breaker_specification wanted{{.in_a_row = 1, .open_for = 10, .probes = 1}, false};
  const auto late = [](breaker_word state) {
    script<breaker_specification> s;
    s.call(1, {v::admit}, {w::admitted, {}}).call(2, {v::admit}, {w::admitted, {}});
    s.call(1, {v::failure}, {w::done, {}}).call(3, {v::admit}, {w::refused, {10}});
    s.call(3, {v::advance, 10}, {w::done, {}}).call(3, {v::admit}, {w::admitted, {}});
    s.call(2, {v::failure}, {w::done, {}}).call(3, {v::state}, {state, {}});
    return s.call(3, {v::stats}, {w::counted, {1, 1, 1, 0, 1, 0}});
  };
  CHECK(late(w::half_open).allowed_by(wanted));
  CHECK_FALSE(late(w::open).allowed_by(wanted));
  script<breaker_specification> two_probes;
  two_probes.call(1, {v::admit}, {w::admitted, {}}).call(1, {v::failure}, {w::done, {}});
  two_probes.call(1, {v::advance, 10}, {w::done, {}}).call(1, {v::admit}, {w::admitted, {}});
  CHECK(two_probes.allowed_by(wanted));
  CHECK_FALSE(two_probes.call(2, {v::admit}, {w::admitted, {}}).allowed_by(wanted));
}

TEST_CASE("Who comes during a flight shares it, who comes after it does not", "[linearizability]") {
  using v = flight_verb;
  using w = flight_word;
  const flight_specification wanted{{}};
  script<flight_specification> during;
  during.call(1, {v::run, 0, 11}, {w::leads, {}}).begin(1, {v::land, 0, 11}).begin(2, {v::run, 0, 21});
  during.end(1, {w::shared, {11}}).end(2, {w::shared, {11}});
  CHECK(during.allowed_by(wanted));
  script<flight_specification> after;
  after.call(1, {v::run, 0, 11}, {w::leads, {}}).call(1, {v::land, 0, 11}, {w::alone, {11}});
  CHECK(after.allowed_by(wanted));
  CHECK_FALSE(after.call(2, {v::run, 0, 21}, {w::shared, {11}}).allowed_by(wanted));
}

TEST_CASE("Nobody joins a flight that was forgotten", "[linearizability]") {
  using v = flight_verb;
  using w = flight_word;
  script<flight_specification> s;
  s.call(1, {v::run, 0, 11}, {w::leads, {}}).begin(1, {v::land, 0, 11});
  s.call(3, {v::forget, 0}, {w::forgotten, {}}).begin(2, {v::run, 0, 21});
  s.end(1, {w::shared, {11}}).end(2, {w::shared, {11}});
  CHECK_FALSE(s.allowed_by(flight_specification{{}}));
}

TEST_CASE("A load that was erased meanwhile answers its caller and is not there afterwards",
          "[linearizability]") {
  using v = cache_verb;
  using w = cache_word;
  const cache_specification wanted{{}};
  const auto erased = [](cache_word found) {
    script<cache_specification> s;
    s.call(1, {v::load, 0, 11}, {w::leads, {}}).begin(1, {v::land, 0, 11}).begin(3, {v::load, 0, 31});
    s.call(2, {v::erase, 0}, {w::no, {}}).end(1, {w::loaded, {11}}).end(3, {w::joined, {11}});
    return s.call(2, {v::get, 0}, found == w::none ? reply<w>{w::none, {}} : reply<w>{w::value, {11}});
  };
  CHECK(erased(w::none).allowed_by(wanted));
  CHECK_FALSE(erased(w::value).allowed_by(wanted));
}

TEST_CASE("A cache forgets at the instant of expiry, and the least recently used for room",
          "[linearizability]") {
  using v = cache_verb;
  using w = cache_word;
  script<cache_specification> s;
  s.call(1, {v::put, 0, 11}, {w::yes, {}}).call(1, {v::advance, 9}, {w::done, {}});
  s.call(2, {v::get, 0}, {w::value, {11}}).call(1, {v::advance, 1}, {w::done, {}});
  script<cache_specification> too_late = s;
  CHECK(s.call(2, {v::get, 0}, {w::none, {}}).allowed_by(cache_specification{{.max_entries = 8, .ttl = 10}}));
  CHECK_FALSE(too_late.call(2, {v::get, 0}, {w::value, {11}})
                  .allowed_by(cache_specification{{.max_entries = 8, .ttl = 10}}));
  const auto third = [](int victim) {
    script<cache_specification> used;
    used.call(1, {v::put, 0, 11}, {w::yes, {}}).call(1, {v::put, 1, 12}, {w::yes, {}});
    used.call(2, {v::get, 0}, {w::value, {11}}).call(1, {v::put, 2, 13}, {w::yes, {}});
    return used.call(2, {v::get, victim}, {w::none, {}});
  };
  CHECK(third(1).allowed_by(cache_specification{{.max_entries = 2}}));
  CHECK_FALSE(third(0).allowed_by(cache_specification{{.max_entries = 2}}));
}

TEST_CASE("What keyed forgets is not missed, and what it finds is one thing a key", "[linearizability]") {
  using v = keyed_verb;
  using w = keyed_word;
  const auto second = [](long long count) {
    script<keyed_specification> s;
    s.call(1, {v::add, 0}, {w::counted, {0}}).call(2, {v::evict}, {w::done, {}});
    return s.call(1, {v::add, 0}, {w::counted, {count}});
  };
  CHECK(second(1).allowed_by(keyed_specification{{}}));
  CHECK_FALSE(second(0).allowed_by(keyed_specification{{}}));
  const auto again = [](long long thing) {
    script<keyed_specification> s;
    return s.call(1, {v::pin, 0}, {w::found, {1}}).call(2, {v::pin, 0}, {w::found, {thing}});
  };
  CHECK(again(1).allowed_by(keyed_specification{{.of_counters = false}}));
  CHECK_FALSE(again(2).allowed_by(keyed_specification{{.of_counters = false}}));
}

TEST_CASE("There is no room in keyed only where others fill it", "[linearizability]") {
  using v = keyed_verb;
  using w = keyed_word;
  const keyed_specification wanted{{.of_counters = true, .max_keys = 1}};
  script<keyed_specification> filled;
  filled.call(1, {v::add, 0}, {w::counted, {0}}).call(2, {v::add, 1}, {w::full, {}});
  CHECK(filled.allowed_by(wanted));
  script<keyed_specification> emptied;
  emptied.call(1, {v::add, 0}, {w::counted, {0}}).call(1, {v::remove, 0}, {w::counted, {1}});
  CHECK(emptied.allowed_by(wanted));
  CHECK_FALSE(emptied.call(2, {v::add, 1}, {w::full, {}}).allowed_by(wanted));
}

TEST_CASE("Each request of a batcher is served once, in order, by its own answer", "[linearizability]") {
  using v = batch_verb;
  using w = batch_word;
  const batch_specification wanted{{}};
  const auto pair = [](long long a, int number) {
    script<batch_specification> s;
    s.begin(1, {v::submit, 11}).begin(2, {v::submit, 21});
    return s.end(1, {w::served, {a, number}}).end(2, {w::served, {21, 1 - number}});
  };
  CHECK(pair(11, 0).allowed_by(wanted));
  CHECK(pair(11, 1).allowed_by(wanted));
  CHECK_FALSE(pair(21, 0).allowed_by(wanted));
  script<batch_specification> full_for_nobody;
  CHECK_FALSE(full_for_nobody.call(1, {v::submit, 11}, {w::full, {}})
                  .allowed_by(batch_specification{{.max_waiting = 1}}));
}
