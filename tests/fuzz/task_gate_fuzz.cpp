// SPDX-License-Identifier: BSL-1.0
// Trees of tasks that run, trigger, wait and throw inside one another, against a number of units and a line
// of callers.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/task_gate.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using std::chrono::milliseconds;
using weir::duration;
using weir::refusal_reason;
using weir::run_result;
using gate_type = weir::basic_task_gate<leaping_clock::view>;

/// What a task throws: which of them.
struct thrown {
  int number;
};

/// The gate, naively: units, those who hold some until when, a line, and for coalescing an owner and a debt.
struct naive_gate {
  struct stay {
    std::int64_t weight;
    weir::time_point ends;
    bool over = false;
  };
  struct caller {
    std::uint32_t weight;
    const std::stop_source* stop;
    std::optional<refusal_reason> refused{};
    std::optional<std::size_t> in{};  // its stay
  };

  std::int64_t capacity;
  std::optional<duration> lease{};
  std::optional<std::uint32_t> max_waiting{};
  std::int64_t made_with = capacity;
  std::int64_t used = 0;
  bool closed = false, owned = false, owed = false;
  std::deque<caller*> line{};
  std::vector<bool*> watchers{};  // who wait for it to be idle
  std::vector<stay> stays{};      // all there ever were
  weir::time_point now{};
  std::uint64_t expired = 0, ran = 0, skipped = 0, coalesced = 0, refused = 0;

  [[nodiscard]] bool fits(std::int64_t weight) const { return line.empty() && used + weight <= capacity; }
  std::size_t enter(std::int64_t weight) {
    used += weight;
    stays.push_back({weight, lease ? now + *lease : weir::time_point::max()});
    return stays.size() - 1;
  }
  void leave(std::size_t which) {
    if (std::exchange(stays[which].over, true)) return;
    used -= stays[which].weight;
    settle();
  }
  /// The time is now `t`.
  void collect(weir::time_point t) {
    now = t;
    if (!lease) return;
    bool ended = false;
    for (stay& s : stays) {
      if (s.over || now < s.ends) continue;
      s.over = ended = true;
      used -= s.weight;
      ++expired;
    }
    if (ended) settle();
  }
  void settle() {
    for (; !line.empty(); line.pop_front()) {
      if (line.front()->stop->stop_requested()) {
        line.front()->refused = refusal_reason::cancelled;
        continue;
      }
      if (used + line.front()->weight > capacity) break;
      line.front()->in = enter(line.front()->weight);
    }
    if (!idle()) return;
    for (bool* watcher : std::exchange(watchers, {})) *watcher = true;
  }
  template <class Which>
  void refuse(refusal_reason why, Which which) {
    for (caller* c : line) {
      if (which(*c)) c->refused = why;
    }
    std::erase_if(line, [](caller* c) { return c->refused.has_value(); });
    settle();
  }
  [[nodiscard]] bool idle() const { return used == 0 && !owned; }
};

class game {
 public:
  explicit game(input& in)
      : in_{in},
        model_{.capacity = in.within<std::int64_t>(1, 5), .lease = lease(in), .max_waiting = most(in)},
        gate_{{.capacity = static_cast<std::uint32_t>(model_.capacity),
               .lease = model_.lease,
               .max_waiting = model_.max_waiting},
              clock_.source()} {
    clock_.meanwhile = [this] { nested(); };
    clock_.leapt = [this] { model_.collect(clock_.now); };
  }

  void play() {
    while (!in_.empty()) step();
    while (!passes_.empty()) release(0);
    compare();
    expect(model_.idle() && gate_.wait_idle_for(duration{0}).has_value(),
           "when all have left the gate is idle");
  }

 private:
  static constexpr int deepest = 5;

  static std::optional<duration> lease(input& in) {
    const int kind = in.below(4);
    if (kind < 2) return std::nullopt;
    return kind == 2 ? duration{1 + in.below(12)} : duration{milliseconds{1 + in.below(6)}};
  }
  static std::optional<std::uint32_t> most(input& in) {
    if (in.below(4) != 3) return std::nullopt;
    return static_cast<std::uint32_t>(in.below(3));
  }

  void nested() {
    if (++depth_ <= deepest) {
      for (int n = in_.below(5); n > 0; --n) step();
    }
    --depth_;
  }

  void step() {
    clock_.now += duration{in_.below(4)};
    model_.collect(clock_.now);
    switch (in_.below(14)) {
      case 0:
      case 1:
        try_enter();
        break;
      case 2:
      case 3:
        if (!passes_.empty()) release(in_.below(std::min<std::size_t>(256, passes_.size())));
        break;
      case 4:
      case 5:
        run_if_idle();
        break;
      case 6:
      case 7:
      case 8:
        run_coalesced();
        break;
      case 9:
      case 10:
        enter();
        break;
      case 11:
        wait_idle();
        break;
      case 12:
        if (in_.below(3) == 0) set_capacity(in_.within<std::int64_t>(1, 6));
        break;
      default:
        rare();
    }
    compare();
  }

  void rare() {
    switch (in_.below(8)) {
      case 0:
        gate_.close();
        model_.closed = true;
        return model_.refuse(refusal_reason::closed, [](const auto&) { return true; });
      case 1:
        return misuse();
      default:
        static_cast<void>(gate_.stats());  // what has ended before the stop
        if (!stops_.empty()) stops_[in_.below(std::min<std::size_t>(256, stops_.size()))]->request_stop();
    }
  }

  void misuse() {
    int refused = 0;
    for (const auto wrong : {0U, 0x80000000U}) {
      try {
        gate_.set_capacity(wrong);
      } catch (const std::invalid_argument&) {
        ++refused;
      }
    }
    try {
      static_cast<void>(gate_.try_enter(0));
    } catch (const std::invalid_argument&) {
      ++refused;
    }
    expect(refused == 3, "what makes no sense is refused");
  }

  void compare() {
    const auto s = gate_.stats();
    expect(s.running == static_cast<std::uint32_t>(model_.used) && s.capacity == model_.capacity,
           "I1: as many inside");
    expect(s.waiting == model_.line.size(), "as many wait");
    expect(s.ran == model_.ran && s.expired == model_.expired, "the counts of runs and ends are right");
    expect(s.skipped == model_.skipped && s.coalesced == model_.coalesced,
           "so are those of what did not run");
    expect(s.refused == model_.refused, "and of refusals");
    expect(gate_.closed() == model_.closed, "closed if closed");
    const bool as_new =
        model_.capacity == model_.made_with && model_.idle() && model_.line.empty() && !model_.closed;
    expect(gate_.is_as_new() == as_new, "as new if nothing is going on");
  }

  void keep(gate_type::pass&& pass, std::size_t stay) {
    // Stays of a gate with leases are numbered as they begin; of one without, as they are asked.
    const std::uint64_t number = model_.lease ? stay + 1 : ++last_number_;
    expect(pass.number() == number, "who enters, or asks, later has the greater number");
    expect(static_cast<bool>(pass) == !model_.stays[stay].over, "a pass knows whether it holds its units");
    passes_.emplace_back(std::move(pass), stay);
  }

  void try_enter() {
    const auto weight = in_.within<std::uint32_t>(1, 6);
    const bool expected = !model_.closed && model_.fits(weight);
    auto pass = gate_.try_enter(weight);
    expect(pass.has_value() == expected, "a try enters if there is room and nobody waits");
    if (pass) keep(std::move(*pass), model_.enter(weight));
  }

  void release(std::size_t which) {
    auto [pass, stay] = std::move(passes_[which]);
    expect(static_cast<bool>(pass) == !model_.stays[stay].over, "a pass knows whether it holds its units");
    passes_.erase(passes_.begin() + static_cast<std::ptrdiff_t>(which));
    if (in_.flag()) {
      std::move(pass).release();
      expect(!pass, "a released pass holds nothing");
    } else {
      const gate_type::pass gone = std::move(pass);
    }
    model_.leave(stay);
  }

  void enter() {
    std::stop_source stop;
    naive_gate::caller self{.weight = in_.within<std::uint32_t>(1, 6), .stop = &stop};
    if (in_.below(6) == 5) stop.request_stop();
    const duration wait = milliseconds{in_.below(8) - 1};
    const bool waits = !model_.closed && self.weight <= model_.capacity && !model_.fits(self.weight);
    if (self.weight > model_.capacity) {
      self.refused = refusal_reason::exceeds_capacity;
    } else if (model_.closed) {
      self.refused = refusal_reason::closed;
    } else if (!waits) {
      self.in = model_.enter(self.weight);
    } else if (model_.max_waiting && model_.line.size() >= *model_.max_waiting) {
      self.refused = refusal_reason::full;
    } else {
      model_.line.push_back(&self);
    }
    stops_.push_back(&stop);
    auto got = in_.flag() ? gate_.enter_for(wait, stop.get_token(), self.weight)
                          : gate_.enter_until(clock_.now + wait, stop.get_token(), self.weight);
    std::erase(stops_, &stop);
    if (waits && !self.in && !self.refused) {
      self.refused = stop.stop_requested() ? refusal_reason::cancelled : refusal_reason::timed_out;
      std::erase(model_.line, &self);
      model_.settle();
    }
    expect(got.has_value() == self.in.has_value(), "I2: who comes first enters first");
    if (!got) {
      ++model_.refused;
      return expect(got.error().reason == *self.refused, "refused for its reason");
    }
    keep(std::move(*got), *self.in);
  }

  void wait_idle() {
    bool idle = model_.idle();
    std::stop_source stop;
    if (in_.below(4) == 3) stop.request_stop();
    if (!idle) model_.watchers.push_back(&idle);
    stops_.push_back(&stop);
    const auto got = gate_.wait_idle_for(milliseconds{in_.below(3)}, stop.get_token());
    std::erase(stops_, &stop);
    std::erase(model_.watchers, &idle);
    expect(got.has_value() == idle, "idle if for an instant nobody was inside");
    if (got) return;
    ++model_.refused;
    model_.settle();  // whoever leaves looks after those who wait
    expect(
        got.error().reason == (stop.stop_requested() ? refusal_reason::cancelled : refusal_reason::timed_out),
        "not idle for its reason");
  }

  void set_capacity(std::int64_t capacity) {
    gate_.set_capacity(static_cast<std::uint32_t>(capacity));
    model_.capacity = capacity;
    model_.refuse(refusal_reason::exceeds_capacity, [&](const auto& c) { return c.weight > capacity; });
  }

  /// What a task does; throws or not.
  void task() { nested(); }

  void run_if_idle() {
    const bool enters = !model_.closed && model_.fits(1);
    const run_result expected = enters          ? run_result::ran
                                : model_.closed ? run_result::closed
                                                : run_result::skipped;
    const bool throws = in_.below(4) == 3;
    bool ran = false;
    std::size_t stay = 0;
    if (enters) {
      stay = model_.enter(1);
    } else {
      ++(model_.closed ? model_.refused : model_.skipped);
    }
    try {
      const run_result got = gate_.run_if_idle([&] {
        ran = true;
        task();
        model_.ran += model_.stays[stay].over ? 0 : 1;
        model_.leave(stay);
        if (throws) throw thrown{0};
      });
      expect(got == expected && !(ran && throws), "run if idle");
    } catch (const thrown&) {
      expect(ran && throws, "what a task throws comes out");
    }
    expect(ran == enters, "a task runs only inside");
  }

  void run_coalesced() {
    if (model_.closed) {
      ++model_.refused;
      return expect(gate_.run_coalesced([] { expect(false, "no run"); }) == run_result::closed, "closed");
    }
    if (model_.owned) {
      model_.owed = true;
      ++model_.coalesced;
      return expect(gate_.run_coalesced([] { expect(false, "no run"); }) == run_result::coalesced,
                    "left to the owner");
    }
    if (!model_.fits(1)) return;       // it would wait for ever: nobody else is there to leave
    static_cast<void>(gate_.stats());  // idle before the trigger, if only for that instant
    model_.owned = model_.owed = true;
    std::optional<int> first;  // the first that was thrown
    int runs = 0;
    begin_run();
    try {
      const run_result got = gate_.run_coalesced([&] {
        const int number = runs++;
        task();
        make_room();
        const bool throws = in_.below(4) == 3;
        if (throws && !first) first = number;
        end_run();
        if (throws) throw thrown{number};
      });
      expect(got == run_result::ran && !first, "an owner has run");
    } catch (const thrown& what) {
      expect(first == what.number, "the first failure comes out");
    }
    expect(runs > 0 && !model_.owned, "I3: no trigger is lost");
  }

  /// The owner enters for a run; what is owed from here on is another.
  void begin_run() {
    owner_ = model_.enter(1);
    model_.owed = false;
  }
  void end_run() {
    model_.ran += model_.stays[owner_].over ? 0 : 1;
    model_.leave(owner_);
    if (model_.owed) return begin_run();
    model_.owned = false;
    if (!model_.watchers.empty()) model_.settle();
  }

  /// The next run of the owner must find a unit: whoever could leave is on this thread.
  void make_room() {
    const auto used = [this] { return model_.used + (model_.stays[owner_].over ? 1 : 0); };
    while (model_.owed && used() > model_.capacity && !passes_.empty()) release(0);
    if (model_.owed && used() > model_.capacity) set_capacity(used());
    expect(!model_.owed || model_.line.empty(), "nobody waits below a run");
  }

  input& in_;
  leaping_clock clock_;
  naive_gate model_;
  gate_type gate_;
  std::vector<std::pair<gate_type::pass, std::size_t>> passes_;  // with their stays
  std::size_t owner_ = 0;                                        // the stay of the coalesced run
  std::vector<std::stop_source*> stops_;                         // of those who wait
  std::uint64_t last_number_ = 0;
  int depth_ = 0;
};

}  // namespace

void fuzz(input& in) { game{in}.play(); }

}  // namespace weir_test
