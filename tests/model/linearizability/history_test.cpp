// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "history.hpp"

namespace {

using weir_model::call_order;
using weir_model::event;
using weir_model::in_order_of;
using weir_model::in_real_time;
using weir_model::linearizer;
using weir_model::recorded;

enum class verb { write, read, bump, lock, unlock, await };

struct request {
  verb what = verb::read;
  int value = 0;
};

using call = recorded<request, int>;
using calls = std::vector<call>;
using request_event = event<request, int>;

std::string show_request(const request& r) {
  static constexpr const char* names[] = {"write", "read", "bump", "lock", "unlock", "await"};
  return std::string{names[static_cast<int>(r.what)]} + ' ' + std::to_string(r.value);
}

/// One variable: write answers 0, read answers the value, bump the value before it adds its own.
struct variable {
  using state = int;
  using operation = request;
  using answer = int;
  static state initial() { return 0; }
  static bool step(state& at, const request_event& e) {
    const int before = at;
    if (e.operation.what == verb::write) at = e.operation.value;
    if (e.operation.what == verb::bump) at += e.operation.value;
    return e.allows(e.operation.what == verb::write ? 0 : before);
  }
  static std::string show(int s) { return std::to_string(s); }
  static std::string show(const request& r) { return show_request(r); }
};

/// The same, but a write may be lost: two states to move on to.
struct leaky_variable : variable {
  template <class Emit>
  static void successors(const state& at, const request_event& e, Emit emit) {
    state next = at;
    if (!step(next, e)) return;
    emit(next);
    if (e.operation.what == verb::write) emit(at);
  }
};

/// A flag that `await` waits for in two steps: from its first on, a read answers 2.
struct awaited_flag {
  struct state {
    bool set = false;
    int waiting = 0;
    friend auto operator<=>(const state&, const state&) = default;
  };
  using operation = request;
  using answer = int;
  static state initial() { return {}; }
  static int steps(const request& r) { return r.what == verb::await ? 2 : 1; }
  static bool step(state& at, const request_event& e) {
    switch (e.operation.what) {
      case verb::write:
        at.set = true;
        return e.allows(0);
      case verb::await:
        at.waiting += e.step == 0 ? 1 : -1;
        return e.step == 0 || (at.set && e.allows(1));
      default:
        return e.allows(at.waiting > 0 ? 2 : (at.set ? 1 : 0));
    }
  }
  static std::string show(const state& s) { return std::to_string(s.waiting); }
  static std::string show(int a) { return std::to_string(a); }
  static std::string show(const request& r) { return show_request(r); }
};

static_assert(weir_model::specification<variable>);
static_assert(weir_model::specification<leaky_variable>);
static_assert(weir_model::specification<awaited_flag>);

template <class S>
bool linearizable(const calls& history, const S& wanted = {}) {
  return weir_model::linearize(wanted, history, in_real_time(history)).found;
}

/// The definition, word for word: some order is allowed of all steps of the calls that have ended and of the
/// first few steps, or none, of each of the others.
template <class S>
class by_all_orders {
 public:
  by_all_orders(const calls& history, const call_order& before) : history_{history}, before_{before} {}

  bool operator()() { return some_order_from(0, {}); }

 private:
  static int steps(const request& r) {
    if constexpr (requires { S::steps(r); }) return S::steps(r);
    return 1;
  }

  bool some_order_from(std::size_t i, const std::vector<std::size_t>& in) {
    if (i == history_.size()) return some_order(in);
    const int all = steps(history_[i].operation);
    for (int taken = history_[i].answer ? all : 0; taken <= all; ++taken) {
      std::vector<std::size_t> more = in;
      more.insert(more.end(), static_cast<std::size_t>(taken), i);
      if (some_order_from(i + 1, more)) return true;
    }
    return false;
  }

  /// A call stands in `in` once for each of its steps, so that every permutation keeps those in order.
  bool some_order(std::vector<std::size_t> in) {
    do {
      if (in_order(in) && runs(in, 0, S::initial())) return true;
    } while (std::next_permutation(in.begin(), in.end()));
    return false;
  }

  bool in_order(const std::vector<std::size_t>& in) const {
    for (std::size_t a = 0; a < in.size(); ++a) {
      for (std::size_t b = a + 1; b < in.size(); ++b) {
        if (in[a] != in[b] && (before_[in[a]] >> in[b] & 1) != 0) return false;
      }
    }
    return true;
  }

  bool runs(const std::vector<std::size_t>& in, std::size_t next, const typename S::state& at) const {
    if (next == in.size()) return true;
    const call& c = history_[in[next]];
    const auto step =
        static_cast<int>(std::count(in.begin(), in.begin() + static_cast<long>(next), in[next]));
    const request_event e{c.operation, c.answer ? &*c.answer : nullptr, c.thread, static_cast<int>(in[next]),
                          step};
    if constexpr (requires { S::successors(at, e, [](const typename S::state&) {}); }) {
      bool found = false;
      S::successors(at, e, [&](const auto& after) { found = found || runs(in, next + 1, after); });
      return found;
    } else {
      typename S::state after = at;
      return S::step(after, e) && runs(in, next + 1, after);
    }
  }

  const calls& history_;
  const call_order& before_;
};

class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_{seed} {}
  int operator()(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }

 private:
  std::mt19937_64 engine_;
};

/// Two or three threads whose calls overlap at random; now and then one that has not ended.
calls random_history(dice& roll, const std::vector<verb>& verbs) {
  calls all;
  const int threads = 2 + roll(2);
  std::vector<int> running(static_cast<std::size_t>(threads), -1);
  std::vector<bool> stuck(static_cast<std::size_t>(threads));
  int time = 0;
  for (int begun = 0; begun < 5;) {
    const auto t = static_cast<std::size_t>(roll(threads));
    if (stuck[t]) {
      if (std::count(stuck.begin(), stuck.end(), true) == threads) break;
    } else if (running[t] < 0) {
      const verb what = verbs[static_cast<std::size_t>(roll(static_cast<int>(verbs.size())))];
      running[t] = static_cast<int>(all.size());
      all.push_back({static_cast<int>(t), {what, 1 + roll(2)}, std::nullopt, time++, -1});
      ++begun;
    } else if (roll(8) == 0) {
      stuck[t] = true;
    } else {
      call& ended = all[static_cast<std::size_t>(running[t])];
      ended.answer = roll(3);
      ended.returned = time++;
      running[t] = -1;
    }
  }
  return all;
}

/// Compares the search with the definition; how many histories were linearizable.
template <class S>
int agreements(int rounds, const std::vector<verb>& verbs, std::uint64_t seed) {
  dice roll{seed};
  int yes = 0;
  for (int i = 0; i < rounds; ++i) {
    calls history = random_history(roll, verbs);
    call_order before = in_real_time(history);
    if (i % 2 == 1) {  // weaken it: what happens-before is less than real time, and still transitive
      const auto part = before;
      before = in_order_of(history, [&](std::size_t a, std::size_t b) {
        return (part[b] >> a & 1) != 0 && (history[a].thread + history[b].thread) % 2 == 0;
      });
    }
    const S wanted;
    const auto found = weir_model::linearize(wanted, history, before);
    const bool defined = by_all_orders<S>{history, before}();
    INFO("history " << i << " of seed " << seed);
    REQUIRE(found.found == defined);
    yes += defined ? 1 : 0;
  }
  return yes;
}

}  // namespace

TEST_CASE("A read may answer the old or the new value while a write runs", "[linearizability]") {
  const auto history = [](int read) {
    return calls{{0, {verb::write, 5}, 0, 0, 3}, {1, {verb::read, 0}, read, 1, 2}};
  };
  CHECK(linearizable<variable>(history(0)));
  CHECK(linearizable<variable>(history(5)));
  CHECK_FALSE(linearizable<variable>(history(4)));
}

TEST_CASE("A read that follows a write in real time answers what it wrote", "[linearizability]") {
  const auto history = [](int read) {
    return calls{{0, {verb::write, 5}, 0, 0, 1}, {1, {verb::read, 0}, read, 2, 3}};
  };
  CHECK(linearizable<variable>(history(5)));
  CHECK_FALSE(linearizable<variable>(history(0)));
}

TEST_CASE("Two reads one after the other do not go back in time", "[linearizability]") {
  const calls history{
      {0, {verb::write, 5}, 0, 0, 5}, {1, {verb::read, 0}, 5, 1, 2}, {1, {verb::read, 0}, 0, 3, 4}};
  CHECK_FALSE(linearizable<variable>(history));
}

TEST_CASE("A stale read is allowed where it does not happen after the write", "[linearizability]") {
  const calls history{{0, {verb::write, 5}, 0, 0, 1}, {1, {verb::read, 0}, 0, 2, 3}};
  const auto nothing = [](std::size_t, std::size_t) { return false; };
  CHECK(weir_model::linearize(variable{}, history, in_order_of(history, nothing)).found);
  const auto write_first = [](std::size_t a, std::size_t b) { return a == 0 && b == 1; };
  CHECK_FALSE(weir_model::linearize(variable{}, history, in_order_of(history, write_first)).found);
}

TEST_CASE("A call that has not ended may have taken effect or not, and once only", "[linearizability]") {
  const call pending{0, {verb::bump, 1}, std::nullopt, 0, -1};
  CHECK(linearizable<variable>({pending, {1, {verb::read, 0}, 0, 1, 2}}));
  CHECK(linearizable<variable>({pending, {1, {verb::read, 0}, 1, 1, 2}}));
  CHECK(linearizable<variable>({pending, {1, {verb::read, 0}, 0, 1, 2}, {1, {verb::read, 0}, 1, 3, 4}}));
  CHECK_FALSE(linearizable<variable>({pending, {1, {verb::read, 0}, 2, 1, 2}}));
  CHECK_FALSE(
      linearizable<variable>({pending, {1, {verb::read, 0}, 1, 1, 2}, {1, {verb::read, 0}, 0, 3, 4}}));
}

TEST_CASE("A call that begins after one that never ended does not wait for it", "[linearizability]") {
  const calls history{{0, {verb::write, 5}, std::nullopt, 0, -1}, {1, {verb::read, 0}, 0, 7, 8}};
  CHECK(in_real_time(history)[1] == 0);
  CHECK(linearizable<variable>(history));
}

TEST_CASE("Increments that both answer the same value are one too few", "[linearizability]") {
  CHECK(linearizable<variable>({{0, {verb::bump, 1}, 0, 0, 2}, {1, {verb::bump, 1}, 1, 1, 3}}));
  CHECK_FALSE(linearizable<variable>({{0, {verb::bump, 1}, 0, 0, 2}, {1, {verb::bump, 1}, 0, 1, 3}}));
}

TEST_CASE("A weak specification may move on to several states", "[linearizability]") {
  const calls lost{{0, {verb::write, 5}, 0, 0, 1}, {1, {verb::read, 0}, 0, 2, 3}};
  CHECK(linearizable<leaky_variable>(lost));
  const calls lost_and_found{
      {0, {verb::write, 5}, 0, 0, 1}, {1, {verb::read, 0}, 0, 2, 3}, {1, {verb::read, 0}, 5, 4, 5}};
  CHECK_FALSE(linearizable<leaky_variable>(lost_and_found));
}

TEST_CASE("A call of two steps is seen to wait between them, and within its own time only",
          "[linearizability]") {
  const call set{1, {verb::write, 1}, 0, 4, 5};
  const calls seen{{0, {verb::await, 0}, 1, 0, 6}, {1, {verb::read, 0}, 2, 1, 2}, set};
  CHECK(linearizable<awaited_flag>(seen));
  const calls seen_before{{0, {verb::await, 0}, 1, 3, 6}, {1, {verb::read, 0}, 2, 1, 2}, set};
  CHECK_FALSE(linearizable<awaited_flag>(seen_before));
  const calls ended_unset{{0, {verb::await, 0}, 1, 0, 3}, set};
  CHECK_FALSE(linearizable<awaited_flag>(ended_unset));
}

TEST_CASE("What cannot be linearized is explained by how far it went", "[linearizability]") {
  const calls history{{0, {verb::write, 5}, 0, 0, 1}, {1, {verb::read, 0}, 4, 2, 3}};
  const call_order before = in_real_time(history);
  const variable wanted;
  linearizer<variable> search{wanted, history, before};
  const auto found = search.search();
  REQUIRE_FALSE(found.found);
  CHECK(found.order == std::vector<int>{0});
  CHECK(search.explain() ==
        "  then  thread 0  write 5 -> 0\n"
        "  state 5\n"
        "  not   thread 1  read 0 -> 4\n");
}

TEST_CASE("An order that was found is one that the specification allows", "[linearizability]") {
  const calls history{
      {0, {verb::write, 5}, 0, 0, 5}, {1, {verb::read, 0}, 0, 1, 2}, {1, {verb::read, 0}, 5, 3, 4}};
  const auto found = weir_model::linearize(variable{}, history, in_real_time(history));
  REQUIRE(found.found);
  CHECK(found.order == std::vector<int>{1, 0, 2});
}

TEST_CASE("What was tried once is not tried again", "[linearizability]") {
  // Twelve writes of one value at once and a read of another: 12! orders, 2^12 sets of writes.
  calls history;
  for (int i = 0; i < 12; ++i) history.push_back({i, {verb::write, 1}, 0, 0, 100});
  history.push_back({12, {verb::read, 0}, 2, 0, 100});
  const auto found = weir_model::linearize(variable{}, history, in_real_time(history));
  CHECK_FALSE(found.found);
  CHECK(found.visited == 4096);
}

TEST_CASE("The search agrees with the definition on thousands of random histories", "[linearizability]") {
  const auto both = [](int yes, int rounds) { return yes > rounds / 50 && yes < rounds - rounds / 50; };
  CHECK(both(agreements<variable>(4000, {verb::write, verb::read, verb::bump}, 1), 4000));
  CHECK(both(agreements<leaky_variable>(2000, {verb::write, verb::read}, 2), 2000));
  CHECK(both(agreements<awaited_flag>(1000, {verb::write, verb::read, verb::await}, 3), 1000));
}
