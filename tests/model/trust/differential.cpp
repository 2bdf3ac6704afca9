// SPDX-License-Identifier: BSL-1.0
// Random programs under the checker, against the axioms and against the checker's own search without reduction.
//
//   model_random_programs [--long] [PROGRAMS [SEED]]
//
// Every outcome that the checker shows must be one of C++20, and so of RC11 (it is sound); those of the search with
// sleep sets must be those of the plain search (its reduction loses nothing); and it must show every outcome of C++20
// whose modification order and order of seq_cst extend an order of execution (it is complete but for its documented
// limits).
#include "model/scenario.hpp"
#include "programs.hpp"
#include "rc11.hpp"
#include "report.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>

namespace {

using std::memory_order;
using enum std::memory_order;
using weir_test::action;
using weir_test::event;
using weir_test::outcome;
using weir_test::outcomes;
using weir_test::program;

/// Calls `f` with the order as a constant: the compiler hands no other to the instrumentation.
template <memory_order... Orders, class F>
void with_constant(memory_order order, F f) {
  static_cast<void>(((order == Orders && (f.template operator()<Orders>(), true)) || ...));
}

constexpr std::size_t most_events = 24;

struct machine {
  std::atomic<int> words[3] = {};
  int seen[most_events];

  machine() { std::ranges::fill(seen, -1); }

  void perform(const event& e, int& read) {
    std::atomic<int>& word = words[e.location];
    switch (e.what) {
      case action::load:
        with_constant<relaxed, acquire, seq_cst>(e.order, [&]<memory_order O> { read = word.load(O); });
        break;
      case action::store:
        with_constant<relaxed, release, seq_cst>(e.order, [&]<memory_order O> { word.store(e.value, O); });
        break;
      case action::exchange:
        with_constant<relaxed, acquire, release, acq_rel, seq_cst>(
            e.order, [&]<memory_order O> { read = word.exchange(e.value, O); });
        break;
      case action::fetch_add:
        with_constant<relaxed, acquire, release, acq_rel, seq_cst>(
            e.order, [&]<memory_order O> { read = word.fetch_add(e.value, O); });
        break;
      case action::compare_exchange:
        compare_exchange(e, word, read);
        break;
      case action::fence:
        with_constant<acquire, release, acq_rel, seq_cst>(
            e.order, []<memory_order O> { std::atomic_thread_fence(O); });
        break;
    }
  }

  static void compare_exchange(const event& e, std::atomic<int>& word, int& read) {
    read = e.expected;
    with_constant<relaxed, acquire, release, acq_rel, seq_cst>(e.order, [&]<memory_order Success> {
      with_constant<relaxed, acquire, seq_cst>(e.failure, [&]<memory_order Failure> {
        if constexpr (Failure <= Success) word.compare_exchange_strong(read, e.value, Success, Failure);
      });
    });
  }
};

struct search {
  outcomes found;
  weir_model::report report;
};

search explore(const weir_model::bounds& limits, const program& code) {
  search result;
  result.report = weir_model::explore(limits, [&](weir_model::world& w) {
    machine& m = w.make<machine>();
    for (int thread = 1; thread <= code.threads; ++thread) {
      w.thread([&m, &code, thread] {
        for (std::size_t i = 0; i < code.events.size(); ++i) {
          if (code.events[i].thread == thread) m.perform(code.events[i], m.seen[i]);
        }
      });
    }
    w.after([&m, &code, &result] {
      outcome seen(m.seen, m.seen + code.events.size());
      for (int l = 0; l < code.locations; ++l) seen.push_back(m.words[l].load(relaxed));
      weir_model::outside([&] { result.found.insert(outcome(seen)); });
    });
  });
  return result;
}

outcomes minus(const outcomes& a, const outcomes& b) {
  outcomes result;
  std::ranges::set_difference(a, b, std::inserter(result, result.end()));
  return result;
}

class tally {
 public:
  void compare(const program& code) {
    ++programs_;
    const search reduced = explore({}, code);
    executions_ += reduced.report.executions;
    if (!reduced.report.failure.empty() || !reduced.report.complete) {
      ++failures_;
      complain("a program without faults fails: " + reduced.report.failure, code, {});
      return;
    }
    against_axioms(code, reduced.found);
    against_plain_search(code, reduced);
  }

  void print() const {
    std::printf(
        "programs %ld: identical to RC11 %ld, proper subsets %ld, unsound %ld, reduction errors %ld\n",
        programs_, identical_, subsets_, unsound_, reduction_);
    std::printf("outcomes of RC11 %ld: shown %ld, missed %ld (%.2f%%): ", allowed_, allowed_ - missed_,
                missed_, percent(missed_, allowed_));
    std::printf("append-only order of stores %ld, not of C++20 %ld, unexplained %ld\n", append_only_,
                repaired_, unexplained_);
    std::printf("outcomes of C++20 beyond RC11 %ld: load buffering, never shown\n", buffering_);
    std::printf("searched without reduction too %ld: executions %ld, against %ld with sleep sets\n", plain_,
                plain_executions_, reduced_executions_);
  }

  [[nodiscard]] long executions() const { return executions_; }
  [[nodiscard]] std::string note() const {
    return "Random programs against the axioms of C++20: " + std::to_string(programs_) + ", with " +
           std::to_string(allowed_ - missed_) + " of " + std::to_string(allowed_) +
           " outcomes of RC11; outcomes that are wrong: " + std::to_string(unsound_) +
           "; errors of the reduction: " + std::to_string(reduction_) +
           "; outcomes missed for no known reason: " + std::to_string(unexplained_) + ".";
  }

  [[nodiscard]] bool good() const {
    const bool compared = identical_ > 0 && subsets_ > 0 && plain_ > 0;
    return compared && failures_ == 0 && unsound_ == 0 && reduction_ == 0 && unexplained_ == 0;
  }

 private:
  void against_axioms(const program& code, const outcomes& found) {
    const weir_test::outcome_sets allowed = weir_test::enumerate(code);
    const outcomes wrong = minus(found, allowed.cpp20);
    const outcomes missed = minus(allowed.rc11, found);
    const outcomes unexplained = minus(allowed.append_only, found);
    allowed_ += std::ssize(allowed.rc11);
    missed_ += std::ssize(missed);
    repaired_ += std::ssize(minus(missed, allowed.cpp20));
    unexplained_ += std::ssize(unexplained);
    append_only_ += std::ssize(minus(allowed.cpp20, found)) - std::ssize(unexplained);
    buffering_ += std::ssize(minus(allowed.buffering, allowed.rc11));
    if (!wrong.empty()) {
      ++unsound_;
      complain("not of C++20", code, wrong);
    } else if (missed.empty()) {
      ++identical_;
    } else {
      ++subsets_;
    }
    if (!unexplained.empty()) complain("missed, though an order of execution shows it", code, unexplained);
  }

  void against_plain_search(const program& code, const search& reduced) {
    constexpr double most = 30'000;
    if (weir_test::plain_executions(code) > most) return;
    const search plain = explore({.preemptions = 1000}, code);
    if (!plain.report.complete) return;
    ++plain_;
    plain_executions_ += plain.report.executions;
    executions_ += plain.report.executions;
    reduced_executions_ += reduced.report.executions;
    if (plain.found == reduced.found) return;
    ++reduction_;
    complain("lost by the reduction", code, minus(plain.found, reduced.found));
  }

  void complain(const std::string& what, const program& code, const outcomes& which) {
    if (++complaints_ > 5) return;
    std::printf("program %ld: %s\n%s", programs_, what.c_str(), weir_test::to_string(code).c_str());
    for (const outcome& one : which) std::printf("    %s\n", weir_test::to_string(one).c_str());
  }

  static double percent(long part, long whole) {
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  }

  long programs_ = 0;
  long identical_ = 0;
  long subsets_ = 0;
  long unsound_ = 0;
  long reduction_ = 0;
  long failures_ = 0;
  long allowed_ = 0;
  long missed_ = 0;
  long append_only_ = 0;
  long repaired_ = 0;
  long unexplained_ = 0;
  long buffering_ = 0;
  long plain_ = 0;
  long executions_ = 0;
  long plain_executions_ = 0;
  long reduced_executions_ = 0;
  int complaints_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  const weir_test::command_line line = weir_test::parse(count, arguments);
  if (line.weakens) return 0;
  const auto number = [&](std::size_t i, long otherwise) {
    return line.words.size() > i ? std::atol(line.words[i].c_str()) : otherwise;
  };
  const long programs = number(0, line.extended ? 10'000 : 1'000);
  std::mt19937 random{static_cast<unsigned>(number(1, 1))};
  const auto start = std::chrono::steady_clock::now();
  tally all;
  for (long i = 0; i < programs; ++i)
    all.compare(weir_test::random_program(weir_test::profiles[i % 3], random));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  all.print();
  weir_test::write(line, {.name = "random programs: the outcomes of the axioms",
                          .holds = all.good(),
                          .executions = all.executions(),
                          .seconds = seconds,
                          .note = all.note()});
  return all.good() ? 0 : 1;
}
