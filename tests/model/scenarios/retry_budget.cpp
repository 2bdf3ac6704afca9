// SPDX-License-Identifier: BSL-1.0
#include <weir/retry_budget.hpp>

#include <atomic>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;
using token_form = weir::basic_retry_budget<standing_clock>;
using window_form = weir::basic_retry_budget<hand_time::view>;

void last_retry(world& w) {
  auto& budget = w.make<token_form>(weir::token_budget{.capacity = 1, .per_success = 0});
  auto& taken = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 3; ++i) {
    w.thread([&] {
      if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(taken == 1);
    expect(budget.available_approx() == 0);
    expect(budget.stats().withdrawn == 1 && budget.stats().refused == 2);
  });
}
const scenario last_retry_{"retry_budget", "of three that want the last retry one gets it", {}, last_retry};

void one_each(world& w) {
  auto& budget = w.make<token_form>(weir::token_budget{.capacity = 2, .per_success = 0});
  for (int i = 0; i < 2; ++i) {
    w.thread([&] { expect(budget.try_withdraw(), "there is one for each"); });
  }
  w.after([&] { expect(budget.available_approx() == 0); });
}
const scenario one_each_{"retry_budget",
                         "two that want one retry each get it, if there are two",
                         {.failed_exchanges = 1},
                         one_each};

void earned(world& w) {
  auto& budget = w.make<token_form>(weir::token_budget{.capacity = 3, .per_success = 0.5});
  auto& taken = w.make<std::atomic<int>>(0);
  for (int i = 0; i < 2; ++i) expect(budget.try_withdraw());
  w.thread([&] {
    budget.deposit();
    budget.deposit();
  });
  w.thread([&] {
    for (int k = 0; k < 3; ++k) {
      if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    expect(taken >= 1, "one is there in any case");
    expect(static_cast<int>(budget.available_approx()) + taken == 2, "one there, one earned");
  });
}
const scenario earned_{"retry_budget", "what successes earn and retries take adds up", {}, earned};

void filled(world& w) {
  auto& budget = w.make<token_form>(weir::token_budget{.capacity = 2, .per_success = 2});
  auto& taken = w.make<std::atomic<int>>(0);
  expect(budget.try_withdraw());
  for (int i = 0; i < 2; ++i) w.thread([&] { budget.deposit(); });
  w.thread([&] {
    for (int k = 0; k < 3; ++k) {
      if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    }
  });
  w.after([&] {
    const int left = static_cast<int>(budget.available_approx());
    expect(left <= 2, "never more than the capacity");
    expect(taken + left >= 2 && taken <= 3, "what came while it was full has run over");
  });
}
const scenario filled_{"retry_budget", "it is never filled above its capacity", {}, filled};

void given_back(world& w) {
  auto& budget = w.make<token_form>(weir::token_budget{.capacity = 1, .per_success = 0});
  auto& made = w.make<std::atomic<int>>(0);
  w.thread([&] {
    if (budget.try_withdraw()) budget.refund();
  });
  w.thread([&] {
    if (budget.try_withdraw()) made.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] { expect(static_cast<int>(budget.available_approx()) + made == 1); });
}
const scenario given_back_{"retry_budget", "a retry given back can be taken again, once", {}, given_back};

// One retry in the floor of the window of 100 ns; each slot has 10.
const weir::window_budget hundred{.window = weir::duration{100}, .ratio = 1, .min_per_second = 10'000'000};

void window_last(world& w) {
  auto& time = w.make<hand_time>();
  auto& budget = w.make<window_form>(hundred, time.source());
  auto& taken = w.make<std::atomic<int>>(0);
  w.thread([&] { budget.deposit(); });
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(taken >= 1 && static_cast<int>(budget.available_approx()) + taken == 2,
           "the floor and one earned");
  });
}
const scenario window_last_{
    "retry_budget", "in a window, the floor and what was earned are taken once", {}, window_last};

void window_read(world& w) {
  auto& time = w.make<hand_time>();
  auto& budget = w.make<window_form>(hundred, time.source());
  w.thread([&] { expect(budget.try_withdraw()); });
  w.thread([&] { expect(budget.available_approx() <= 1); });
  w.after([&] { expect(budget.available_approx() == 0); });
}
const scenario window_read_{
    "retry_budget", "what is left in a window may be read while it is taken", {}, window_read};

void window_expiry(world& w) {
  auto& time = w.make<hand_time>();
  auto& budget = w.make<window_form>(hundred, time.source());
  auto& taken = w.make<std::atomic<int>>(0);
  w.thread([&] {
    time.set(100);
    time.set(0);
  });
  for (int i = 0; i < 2; ++i) {
    w.thread([&] {
      if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    });
  }
  w.after([&] {
    expect(taken == 1 || taken == 2, "the floor once in each of the two windows");
    time.set(100);
    // The one of the earlier window counts no more; none is counted in both.
    const int left = static_cast<int>(budget.available_approx());
    expect(taken == 2 ? left == 0 : left == 0 || left == 1);
  });
}
const scenario window_expiry_{
    "retry_budget", "a clock that moves to and fro gives each window its floor once", {}, window_expiry};

void window_refund(world& w) {
  auto& time = w.make<hand_time>();
  auto& budget = w.make<window_form>(hundred, time.source());
  auto& taken = w.make<std::atomic<int>>(0);
  expect(budget.try_withdraw());
  time.set(90);
  w.thread([&] { budget.refund(at(0)); });
  w.thread([&] {
    time.set(100);
    if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
    if (budget.try_withdraw()) taken.fetch_add(1, std::memory_order_relaxed);
  });
  w.after([&] {
    expect(taken == 1, "what was taken before expires with what makes up for it");
    expect(budget.available_approx() == 0);
  });
}
const scenario window_refund_{
    "retry_budget", "a retry given back expires with the one it makes up for", {}, window_refund};

}  // namespace
