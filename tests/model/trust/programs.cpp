// SPDX-License-Identifier: BSL-1.0
#include "programs.hpp"

#include <algorithm>
#include <cstddef>
#include <span>

namespace weir_test {
namespace {

using std::memory_order;

constexpr memory_order load_orders[] = {memory_order::relaxed, memory_order::acquire, memory_order::seq_cst};
constexpr memory_order store_orders[] = {memory_order::relaxed, memory_order::release, memory_order::seq_cst};
constexpr memory_order modify_orders[] = {memory_order::relaxed, memory_order::acquire, memory_order::release,
                                          memory_order::acq_rel, memory_order::seq_cst};
constexpr memory_order fence_orders[] = {memory_order::acquire, memory_order::release, memory_order::acq_rel,
                                         memory_order::seq_cst};

// The standard's distributions differ between libraries; the same seed is to give the same programs everywhere.
int below(int n, std::mt19937& random) { return static_cast<int>(random() % static_cast<unsigned>(n)); }

memory_order one_of(std::span<const memory_order> orders, std::mt19937& random) {
  return orders[static_cast<std::size_t>(below(static_cast<int>(orders.size()), random))];
}

std::span<const memory_order> orders_of(action what) {
  switch (what) {
    case action::load:
      return load_orders;
    case action::store:
      return store_orders;
    case action::fence:
      return fence_orders;
    default:
      return modify_orders;
  }
}

action random_action(std::mt19937& random) {
  const int n = below(20, random);
  if (n < 7) return action::load;
  if (n < 13) return action::store;
  if (n < 15) return action::exchange;
  if (n < 16) return action::fetch_add;
  if (n < 18) return action::compare_exchange;
  return action::fence;
}

event random_event(int thread, int locations, int& last_value, std::mt19937& random) {
  event e{.thread = thread, .what = random_action(random)};
  if (e.what == action::fence) return e;
  e.location = below(locations, random);
  if (e.what == action::load) return e;
  if (e.what == action::compare_exchange) e.expected = below(last_value + 1, random);
  e.value = e.what == action::fetch_add ? 100 : ++last_value;
  return e;
}

/// Not stronger than that of success: g++ 12 knows no other, though C++17 allows it.
memory_order failure_order(memory_order success, std::mt19937& random) {
  memory_order order = one_of(load_orders, random);
  while (order > success) order = one_of(load_orders, random);
  return order;
}

const char* name_of(memory_order order) {
  switch (order) {
    case memory_order::relaxed:
      return "relaxed";
    case memory_order::acquire:
      return "acquire";
    case memory_order::release:
      return "release";
    case memory_order::acq_rel:
      return "acq_rel";
    case memory_order::seq_cst:
      return "seq_cst";
    default:
      return "consume";
  }
}

std::string to_string(const event& e) {
  const std::string value = std::to_string(e.value);
  const std::string location(1, "xyz"[e.location]);
  const std::string order = name_of(e.order);
  switch (e.what) {
    case action::load:
      return location + ".load(" + order + ")";
    case action::store:
      return location + ".store(" + value + ", " + order + ")";
    case action::exchange:
      return location + ".exchange(" + value + ", " + order + ")";
    case action::fetch_add:
      return location + ".fetch_add(" + value + ", " + order + ")";
    case action::compare_exchange:
      return location + ".compare_exchange_strong(" + std::to_string(e.expected) + ", " + value + ", " +
             order + ", " + name_of(e.failure) + ")";
    case action::fence:
      return "fence(" + order + ")";
  }
  return {};
}

}  // namespace

program random_program(profile kind, std::mt19937& random) {
  program code;
  code.threads = 2 + below(2, random);
  const int draw = below(12, random);
  code.locations = draw == 0 ? 3 : draw < 3 ? 1 : 2;
  int last_value = 0;
  for (int thread = 1; thread <= code.threads; ++thread) {
    const int shortest = kind == profile::uniform ? 1 : 2;
    const int accesses = shortest + below(4 - shortest, random);
    for (int i = 0; i < accesses; ++i) {
      event e = random_event(thread, code.locations, last_value, random);
      e.order = one_of(orders_of(e.what), random);
      if (kind == profile::seq_cst_heavy && below(5, random) != 0) e.order = memory_order::seq_cst;
      if (e.what == action::compare_exchange) e.failure = failure_order(e.order, random);
      code.events.push_back(e);

      const bool between = i + 1 < accesses && e.what != action::fence;
      if (kind == profile::fence_heavy && between && below(3, random) != 0) {
        const memory_order order = below(3, random) != 0 ? memory_order::seq_cst : memory_order::acq_rel;
        code.events.push_back({.thread = thread, .what = action::fence, .order = order});
      }
    }
  }
  return code;
}

program make_program(int locations, const std::vector<std::vector<event>>& threads) {
  program code;
  code.locations = locations;
  for (const std::vector<event>& events : threads) {
    ++code.threads;
    for (event e : events) {
      e.thread = code.threads;
      code.events.push_back(e);
    }
  }
  return code;
}

std::string to_string(const program& code) {
  std::string text;
  for (int thread = 1; thread <= code.threads; ++thread) {
    text += "  thread " + std::to_string(thread) + ":";
    for (const event& e : code.events) {
      if (e.thread == thread) text += " " + to_string(e) + ";";
    }
    text += "\n";
  }
  return text;
}

std::string to_string(const outcome& seen) {
  std::string text;
  for (const int value : seen) text += (text.empty() ? "" : " ") + (value < 0 ? "." : std::to_string(value));
  return text;
}

double plain_executions(const program& code) {
  double count = 1;
  int placed = 0;
  for (int thread = 1; thread <= code.threads; ++thread) {
    int own = 0;
    for (const event& e : code.events) {
      if (e.thread == thread) count *= static_cast<double>(++placed) / ++own;
    }
  }
  // A load sees, at a guess, half of the stores.
  for (const event& load : code.events) {
    if (load.what != action::load) continue;
    const auto stores = std::ranges::count_if(code.events, [&](const event& e) {
      return e.location == load.location && e.what != action::load && e.what != action::fence &&
             e.thread != load.thread;
    });
    count *= 1 + static_cast<double>(stores) / 2;
  }
  return count;
}

}  // namespace weir_test
