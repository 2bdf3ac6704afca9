// SPDX-License-Identifier: BSL-1.0
// Many callers, one call: answers, leaders, linger, and what ends a wait.
#include <weir/batcher.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "model/scenario.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weir_model;
using weir::deadline;
using weir::refusal_reason;

constexpr bounds sampled{.preemptions = 2, .weak = false, .random_executions = 10'000};

/// A stop callback of the standard library leans on what a futex promises beyond the standard.
constexpr bounds stops{.preemptions = 2, .weak = false, .strict_wait = false, .random_executions = 10'000};

/// A batcher that answers n by 10 n; n < 8.
template <class Clock>
struct state {
  using batcher = weir::batcher<int, int, Clock>;

  explicit state(weir::batcher_options<int> options = {}, Clock clock = {})
      : b{options, [this](std::span<typename batcher::item> batch) { call(batch); }, clock} {}

  void call(std::span<typename batcher::item> batch) {
    inside.enter();
    expect(!batch.empty());
    largest = std::max(largest, batch.size());
    for (auto& item : batch) {
      ++served[static_cast<std::size_t>(item.request())];
      item.set_value(item.request() * 10);
    }
    inside.leave();
  }

  /// Serves one request; whether there was an answer.
  bool submit(int n, deadline until = {}, std::stop_token stop = {}) {
    const auto answer = b.submit(n, until, std::move(stop));
    if (answer) {
      expect(*answer == n * 10, "its own answer");
      return true;
    }
    why[static_cast<std::size_t>(n)] = answer.error().reason;
    return false;
  }

  void expect_at_rest() const {
    const weir::batcher_stats s = b.stats();
    std::uint64_t requests = 0;
    for (const int n : served) {
      expect(n <= 1, "once at most");
      requests += static_cast<std::uint64_t>(n);
    }
    expect(s.waiting == 0, "nobody waits at the end");
    expect(s.requests == requests && s.batches == static_cast<std::uint64_t>(inside.visits()),
           "the counts agree");
    expect(s.largest_batch == largest);
  }

  room inside;
  std::size_t largest = 0;
  std::array<int, 8> served{};
  std::array<refusal_reason, 8> why{};
  batcher b;
};

using plain = state<still_clock>;
using timed = state<weir::steady_clock>;

// ---- answers

template <int Callers>
void all_submit(world& w) {
  auto& s = w.make<plain>();
  for (int n = 0; n < Callers; ++n) {
    w.thread([&s, n] {
      expect(s.submit(n));
      reuse_stack();
    });
  }
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < Callers; ++n) expect(s.served[n] == 1, "each is served once");
  });
}

const scenario two_submit{"batcher", "of two callers each gets its own answer", {}, all_submit<2>};
const scenario three_submit{"batcher",
                            "of three callers each gets its own answer",
                            {.preemptions = 2, .random_executions = 10'000},
                            all_submit<3>};
const scenario spurious{
    "batcher", "no caller goes home before its answer", {.early_wakes = 1}, all_submit<2>};

void batches_of_one(world& w) {
  auto& s = w.make<plain>(weir::batcher_options<int>{.max_batch = 1});
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, n] { expect(s.submit(n)); });
  }
  w.after([&] {
    s.expect_at_rest();
    expect(s.b.stats().batches == 3 && s.largest == 1);
  });
}

const scenario handed_over{"batcher", "leadership goes from each batch to the next in line", sampled,
                           batches_of_one};

void twice_each(world& w) {
  auto& s = w.make<plain>();
  for (int n = 0; n < 2; ++n) {
    w.thread([&s, n] {
      expect(s.submit(n));
      expect(s.submit(n + 2));
    });
  }
  w.after([&] { s.expect_at_rest(); });
}

const scenario two_rounds{"batcher",
                          "two callers that come again lose no wake-up",
                          {.preemptions = 3, .random_executions = 10'000},
                          twice_each};

void throw_in_the_open(world& w) {
  struct guarded {
    room inside;
    weir::batcher<int, int, still_clock> b{{}, [this](std::span<weir::batch_item<int, int>> batch) {
                                             inside.visit();
                                             for (auto& item : batch) {
                                               if (item.request() == 0) throw std::runtime_error{"the call"};
                                               item.set_value(item.request() * 10);
                                             }
                                           }};
  };
  auto& s = w.make<guarded>();
  auto& thrown = w.make<std::array<bool, 3>>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, &thrown, n] {
      try {
        const auto answer = s.b.submit(n);
        expect(answer && *answer == n * 10);
      } catch (const std::runtime_error&) {
        thrown[static_cast<std::size_t>(n)] = true;
      }
    });
  }
  w.after([&] {
    expect(thrown[0], "it gets what its call threw");
    expect(s.b.stats().waiting == 0 && s.b.stats().requests == 3);
  });
}

const scenario thrown_call{
    "batcher", "what the call throws reaches all that it left without an answer, and the next leads", sampled,
    throw_in_the_open};

void looked_at(world& w) {
  auto& s = w.make<plain>();
  w.thread([&s] {
    expect(s.submit(0));
    s.b.close();
  });
  w.thread([&s] {
    const bool closed = s.b.is_closed();
    const weir::batcher_stats seen = s.b.stats();
    expect(seen.requests == seen.batches && seen.requests + seen.waiting <= 1, "all of one instant");
    expect(!closed || seen.requests == 1, "it was closed after the answer");
  });
  w.after([&s] {
    expect(s.b.is_closed());
    s.expect_at_rest();
  });
}

const scenario looked_at_{"batcher", "a batcher may be looked at while it is used and closed", {}, looked_at};

// ---- refusals

void closes(world& w) {
  auto& s = w.make<plain>();
  auto& answered = w.make<std::array<bool, 2>>();
  for (int n = 0; n < 2; ++n) {
    w.thread([&s, &answered, n] { answered[static_cast<std::size_t>(n)] = s.submit(n); });
  }
  w.thread([&s] {
    s.b.close();
    expect(refused_with(s.b.submit(2), refusal_reason::closed));
  });
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < 2; ++n) {
      expect((s.served[n] == 1) == answered[n], "served and answered, or refused");
    }
    for (std::size_t n = 0; n < 2; ++n) expect(answered[n] || s.why[n] == refusal_reason::closed);
  });
}

const scenario closed{"batcher",
                      "a close refuses who comes later and serves who came before",
                      {.preemptions = 3, .weak = false, .random_executions = 10'000},
                      closes};

void too_many(world& w) {
  auto& s = w.make<plain>(weir::batcher_options<int>{.max_batch = 1, .max_waiting = 1});
  auto& answered = w.make<std::array<bool, 3>>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, &answered, n] {
      const auto answer = s.b.submit(n);
      expect(answer || refused_with(answer, refusal_reason::full));
      answered[static_cast<std::size_t>(n)] = answer.has_value();
    });
  }
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < 3; ++n) {
      expect((s.served[n] == 1) == answered[n], "served and answered, or refused");
    }
  });
}

const scenario full{"batcher", "a request that is refused for lack of room is part of no call", sampled,
                    too_many};

/// Who times out is part of no call; once part of one, it waits for its answer.
void times_out(world& w) {
  auto& s = w.make<timed>();
  auto& answered = w.make<std::array<bool, 3>>();
  w.thread([&] { answered[0] = s.submit(0); });
  w.thread([&] { answered[1] = s.submit(1, deadline::after(weir::steady_clock::now(), 1h)); });
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < 2; ++n) {
      expect((s.served[n] == 1) == answered[n], "part of a call and answered, or of none");
    }
    expect(answered[0] && (answered[1] || s.why[1] == refusal_reason::timed_out));
  });
}

const scenario late{"batcher", "a caller that times out is part of no call", {.early_wakes = 1}, times_out};

template <std::size_t Most>
void one_of_three_times_out(world& w) {
  auto& s = w.make<timed>(weir::batcher_options<int>{.max_batch = Most});
  auto& answered = w.make<std::array<bool, 3>>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, &answered, n] {
      const deadline until = n == 1 ? deadline::after(weir::steady_clock::now(), 1h) : deadline::never();
      answered[static_cast<std::size_t>(n)] = s.submit(n, until);
    });
  }
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < 3; ++n) {
      expect((s.served[n] == 1) == answered[n], "part of a call and answered, or of none");
    }
    expect(answered[0] && answered[2], "nobody else is left behind");
  });
}

const scenario late_leader{"batcher",
                           "one that times out as its turn comes hands its turn on",
                           {.preemptions = 2, .weak = false, .early_wakes = 1, .random_executions = 20'000},
                           one_of_three_times_out<1>};
const scenario late_member{"batcher",
                           "one that times out while its batch runs waits for its answer",
                           {.preemptions = 2, .weak = false, .early_wakes = 1, .random_executions = 20'000},
                           one_of_three_times_out<2>};

void stops_waiting(world& w) {
  auto& s = w.make<plain>();
  auto& stop = w.make<std::stop_source>();
  auto& answered = w.make<std::array<bool, 2>>();
  w.thread([&] { answered[0] = s.submit(0); });
  w.thread([&] { answered[1] = s.submit(1, {}, stop.get_token()); });
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    s.expect_at_rest();
    for (std::size_t n = 0; n < 2; ++n) {
      expect((s.served[n] == 1) == answered[n], "part of a call and answered, or of none");
    }
    expect(answered[0] && (answered[1] || s.why[1] == refusal_reason::cancelled));
  });
}

const scenario stopped{"batcher", "a caller that is stopped is part of no call, or has its answer", stops,
                       stops_waiting};

/// A stop that the leader sees before the waiter does.
void follower_stops(world& w) {
  auto& s = w.make<plain>();
  auto& stop = w.make<std::stop_source>();
  auto& answered = w.make<std::array<bool, 3>>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, &stop, &answered, n] {
      const auto token = n == 2 ? stop.get_token() : std::stop_token{};
      answered[static_cast<std::size_t>(n)] = s.submit(n, {}, token);
    });
  }
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    s.expect_at_rest();
    expect(answered[0] && answered[1]);
    expect((s.served[2] == 1) == answered[2], "part of a call and answered, or of none");
  });
}

const scenario stopped_follower{"batcher", "a caller that the leader finds stopped is told so", stops,
                                follower_stops};

// ---- linger

/// The first leader is alone; who leads two later waits an hour for a third.  Time passes only when all wait.
struct lingering : timed {
  explicit lingering(std::size_t most = 3) : timed{{.max_batch = most, .linger = 1h}} {}
  long long start = virtual_time();

  void expect_no_linger() const { expect(virtual_time() == start, "nobody waits for what will not come"); }
};

void linger_ends_by_time(world& w) {
  auto& s = w.make<lingering>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, n] { expect(s.submit(n)); });
  }
  w.after([&] {
    s.expect_at_rest();
    if (s.largest == 1) s.expect_no_linger();
  });
}

const scenario linger_time{"batcher", "a batch that does not fill is made when its time has come", sampled,
                           linger_ends_by_time};
const scenario linger_early{"batcher",
                            "a linger that ends early loses nobody",
                            {.preemptions = 1, .weak = false, .early_wakes = 1, .random_executions = 10'000},
                            linger_ends_by_time};

void linger_ends_full(world& w) {
  auto& s = w.make<lingering>();
  for (int n = 0; n < 4; ++n) {
    w.thread([&s, n] { expect(s.submit(n)); });
  }
  w.after([&] {
    s.expect_at_rest();
    if (s.largest == 3) s.expect_no_linger();
  });
}

const scenario linger_full{"batcher",
                           "a batch that is full lingers no more",
                           {.preemptions = 1, .weak = false, .random_executions = 20'000},
                           linger_ends_full};

void linger_ends_by_close(world& w) {
  auto& s = w.make<lingering>();
  for (int n = 0; n < 3; ++n) {
    w.thread(
        [&s, n] { expect(s.submit(n) || s.why[static_cast<std::size_t>(n)] == refusal_reason::closed); });
  }
  w.thread([&s] { s.b.close(); });
  w.after([&] {
    s.expect_at_rest();
    s.expect_no_linger();
  });
}

const scenario linger_closed{"batcher", "a close ends a linger", sampled, linger_ends_by_close};

/// The last has less than the hour, whether it comes before the linger begins or joins it.
template <int Callers>
void linger_ends_for_deadline(world& w) {
  auto& s = w.make<lingering>(4U);
  for (int n = 0; n < Callers; ++n) {
    w.thread([&s, n] {
      const deadline until =
          n == Callers - 1 ? deadline::after(weir::steady_clock::now(), 30min) : deadline::never();
      expect(s.submit(n, until), "its deadline has not come");
    });
  }
  w.after([&] { s.expect_at_rest(); });
}

const scenario linger_deadline{"batcher", "nobody lingers until somebody's deadline has passed", sampled,
                               linger_ends_for_deadline<3>};
const scenario linger_joined{"batcher",
                             "one that joins a linger is served before its deadline",
                             {.preemptions = 1, .weak = false, .random_executions = 20'000},
                             linger_ends_for_deadline<4>};

/// Two of three may be stopped: the leader, or who kept it company.
void linger_ends_alone(world& w) {
  auto& s = w.make<lingering>();
  auto& stop = w.make<std::stop_source>();
  auto& answered = w.make<std::array<bool, 3>>();
  for (int n = 0; n < 3; ++n) {
    w.thread([&s, &stop, &answered, n] {
      const auto token = n == 2 ? stop.get_token() : std::stop_token{};
      const auto answer = s.b.submit(n, {}, token);
      expect(answer || refused_with(answer, refusal_reason::cancelled));
      answered[static_cast<std::size_t>(n)] = answer.has_value();
    });
  }
  w.thread([&] { stop.request_stop(); });
  w.after([&] {
    s.expect_at_rest();
    expect(answered[0] && answered[1]);
    expect((s.served[2] == 1) == answered[2], "part of a call and answered, or of none");
    if (!answered[2]) s.expect_no_linger();
  });
}

const scenario linger_alone{"batcher", "a leader that is left alone, or is stopped, lingers no more", stops,
                            linger_ends_alone};

/// Two are served by one batch, full by its weight; the next leader lingers in company while one of the two is stopped,
/// who has its answer and not yet been woken.
void stop_of_one_who_is_served(world& w) {
  struct weighed {
    using item = weir::batch_item<int, int>;
    weir::batcher<int, int> b{
        {.linger = 1h,
         .max_weight = 8,
         .weigh = [](const int& n) { return n == 1 || n == 2 ? std::uint64_t{4} : std::uint64_t{1}; }},
        [this](std::span<item> batch) {
          if (batch[0].request() == 0) std::this_thread::sleep_for(10ns);  // the others come
          if (batch.size() == 2 && batch[1].request() == 2) serving.store(true);
          for (auto& i : batch) i.set_value(i.request() * 10);
        }};
    std::atomic<bool> serving{false};
  };
  auto& s = w.make<weighed>();
  auto& stop = w.make<std::stop_source>();
  for (int n = 0; n < 5; ++n) {
    w.thread([&s, &stop, n] {
      std::this_thread::sleep_for(std::chrono::nanoseconds{n});
      const auto answer = s.b.submit(n, {}, n == 2 ? stop.get_token() : std::stop_token{});
      expect(answer && *answer == n * 10, "whose batch runs is not stopped");
      reuse_stack();
      if (n != 0) return;
      while (!s.serving.load()) std::this_thread::yield();
      stop.request_stop();
    });
  }
  w.after([&] {
    expect(s.b.stats().batches == 3 && s.b.stats().requests == 5);
    expect(s.b.stats().abandoned == 0);
  });
}

const scenario served_and_stopped{"batcher",
                                  "a stop during the linger of another does not touch who is served already",
                                  {.preemptions = 1, .weak = false, .strict_wait = false},
                                  stop_of_one_who_is_served};

}  // namespace
