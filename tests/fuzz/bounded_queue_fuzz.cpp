// SPDX-License-Identifier: BSL-1.0
// Every verb of a queue, also while others wait for it, and with moves that throw, against the naive queue.
#include <algorithm>
#include <optional>
#include <stop_token>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "bounded_queue/reference.hpp"
#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using std::chrono::milliseconds;
using weir::duration;
using weir::refusal_reason;

struct blown {};

/// What is queued: counts itself; the move or copy that finds the fuse at 1 throws and leaves the source as
/// it was.
struct element_base {
  static inline int fuse = 0;
  static inline int alive = 0;
  static constexpr int moved_from = -1;
};

template <bool Throws, bool Copies>
struct element : element_base {
  explicit element(int v) noexcept : value{v} { ++alive; }
  element(element&& other) noexcept(!Throws) : value{other.value} {
    spend();
    other.value = moved_from;
    ++alive;
  }
  element(const element& other)
    requires Copies
      : value{other.value} {
    spend();
    ++alive;
  }
  element& operator=(const element&) = delete;
  ~element() { --alive; }

  static void spend() noexcept(!Throws) {
    if constexpr (Throws) {
      if (fuse > 0 && --fuse == 0) throw blown{};
    }
  }

  int value;
};

struct counting_observer {
  int* told;
  void on_refused(const weir::refusal&) noexcept { ++*told; }
};

template <class T>
class game {
 public:
  explicit game(input& in)
      : in_{in},
        model_{.capacity = in.within<std::size_t>(1, 7),
               .overflow = static_cast<weir::overflow_policy>(in.below(4)),
               .tells_drops = in.flag(),
               .hands_over = !throws} {
    if (model_.tells_drops) {
      queue_.emplace(
          options(),
          [this](T&& v) {
            dropped_.push_back(v.value);
            if (handler_throws_) throw blown{};
          },
          clock_.source(), counting_observer{&told_});
    } else {
      queue_.emplace(options(), clock_.source(), counting_observer{&told_});
    }
    clock_.meanwhile = [this] { meanwhile(); };
  }

  void play() {
    while (!in_.empty()) step();
    const std::vector<int> left(model_.values.begin(), model_.values.end());
    if (model_.tells_drops) model_.dropped.insert(model_.dropped.end(), left.begin(), left.end());
    queue_.reset();
    expect(dropped_ == model_.dropped, "each dropped value is told of once, in order");
    expect(element_base::alive == 0, "no value outlives the queue");
  }

 private:
  static constexpr int deepest = 3;
  static constexpr bool throws = !std::is_nothrow_move_constructible_v<T>;

  [[nodiscard]] weir::bounded_queue_options options() const {
    return {.capacity = model_.capacity, .overflow = model_.overflow};
  }

  /// What happens while somebody waits.
  void meanwhile() {
    if (++depth_ <= deepest) {
      for (int n = in_.below(4); n > 0; --n) step();
    }
    --depth_;
  }

  void step() {
    const int kind = in_.below(16);
    element_base::fuse = model_.fuse = throws && in_.below(4) == 0 ? in_.below(4) : 0;
    switch (kind) {
      case 0:
      case 1:
      case 2:
        try_push();
        break;
      case 3:
      case 4:
        wait_to_push();
        break;
      case 5:
      case 6:
      case 7:
        try_pop();
        break;
      case 8:
      case 9:
        wait_to_pop();
        break;
      case 10:
        try_pop_n();
        break;
      case 11:
        pop_up_to();
        break;
      case 12:
        push_range();
        break;
      case 13:
        if (!stops_.empty())
          stops_[static_cast<std::size_t>(in_.below(static_cast<int>(stops_.size())))]->request_stop();
        break;
      case 14:
        if (in_.below(4) == 0) close_and_take();
        break;
      default:
        if (in_.below(4) == 0) {
          queue_->close();
          model_.close();
        }
    }
    element_base::fuse = model_.fuse = 0;
    compare();
  }

  void compare() {
    const weir::bounded_queue_stats s = queue_->stats();
    expect(s.pushed == model_.pushed && s.popped == model_.popped,
           "the counts of pushed and popped are right");
    expect(s.dropped == model_.lost && s.rejected == model_.rejected,
           "the counts of dropped and rejected are right");
    expect(s.left == model_.values.size() && queue_->size_approx() == s.left, "as many are left");
    expect(s.pushed == s.popped + s.dropped + s.left, "I1");
    expect(s.waiting_producers == model_.producers.size(), "as many producers wait");
    expect(s.waiting_consumers == model_.consumers.size(), "as many consumers wait");
    expect(queue_->closed() == model_.closed, "closed if closed");
    expect(dropped_ == model_.dropped, "drops are told in order");
    expect(told_ == refused_, "each refusal is told of once");
  }

  /// The push as the queue makes it; whether it threw.
  template <class Push>
  std::optional<weir::outcome<>> attempt(Push push) {
    try {
      return push();
    } catch (const blown&) {
      return std::nullopt;
    }
  }

  void judge(const std::optional<weir::outcome<>>& got, const naive_queue::pushed_result& expected,
             const T& value, bool handler_threw) {
    expect(got.has_value() == !(expected.thrown || handler_threw),
           "a push throws if a move or the handler does");
    if (got) expect(got->has_value() == !expected.refused, "a push is taken or refused");
    if (got && !*got) {
      ++refused_;
      expect(got->error().reason == *expected.refused, "a push is refused for its reason");
    }
    if (!expected.taken) expect(value.value != T::moved_from, "I4: what was not taken stays with the caller");
  }

  void try_push() {
    T value{next_++};
    const std::size_t told = model_.dropped.size();
    const auto expected = model_.push(value.value);
    handler_throws_ = in_.below(8) == 7;
    const bool handler_threw = handler_throws_ && model_.dropped.size() != told;
    const auto got = attempt([&] { return queue_->try_push(std::move(value)); });
    handler_throws_ = false;
    judge(got, expected, value, handler_threw);
  }

  /// A wait as long as the input says: none, or up to 16 ms; never without end.
  duration patience() { return milliseconds{in_.below(16) - 2}; }

  void wait_to_push() {
    T value{next_++};
    std::stop_source stop;
    const bool stopped = in_.below(4) == 0;
    if (stopped) stop.request_stop();
    const duration wait = patience();
    const bool endless = stopped && in_.flag();
    if (!(model_.overflow == weir::overflow_policy::block && model_.full() && !model_.closed)) {
      const auto expected = model_.push(value.value);
      const auto got = attempt([&] { return push_somehow(value, wait, stop, endless); });
      return judge(got, expected, value, false);
    }
    naive_queue::waiting self{.value = value.value};
    model_.producers.push_back(&self);
    stops_.push_back(&stop);
    const auto got = attempt([&] { return push_somehow(value, wait, stop, endless); });
    std::erase(stops_, &stop);
    std::erase(model_.producers, &self);
    naive_queue::pushed_result expected;
    switch (self.how) {
      case naive_queue::end::granted:
        expected.taken = true;
        break;
      case naive_queue::end::thrown:
        expected.thrown = true;
        break;
      case naive_queue::end::closed:
        expected.refused = refusal_reason::closed;
        break;
      case naive_queue::end::none:
        expected.refused = stop.stop_requested() ? refusal_reason::cancelled : refusal_reason::timed_out;
    }
    model_.rejected += expected.refused ? 1U : 0U;
    judge(got, expected, value, false);
    if (expected.taken) expect(value.value == T::moved_from, "a taken value was moved from");
  }

  weir::outcome<> push_somehow(T& value, duration wait, const std::stop_source& stop, bool endless) {
    if (endless) return queue_->push(std::move(value), stop.get_token());
    if (wait.count() % 2 == 0) return queue_->push_for(std::move(value), wait, stop.get_token());
    return queue_->push_until(std::move(value), clock_.now + wait, stop.get_token());
  }

  void try_pop() {
    if (model_.available() == 0) {
      const auto got = queue_->try_pop();
      expect(!got && got.error().reason == model_.nothing_there(), "nothing comes out of an empty queue");
      ++refused_;
      return;
    }
    pop_now([&] { return queue_->try_pop(); });
  }

  template <class Pop>
  void pop_now(Pop pop) {
    bool thrown = false;
    const auto expected = model_.pop(thrown);
    try {
      const weir::outcome<T> got = pop();
      expect(!thrown && got && got->value == *expected, "the oldest value comes out");
    } catch (const blown&) {
      expect(thrown, "a pop throws only if a move does");
    }
  }

  template <class Pop>
  void pop_waiting(Pop pop, const std::stop_source& stop) {
    naive_queue::waiting self;
    model_.consumers.push_back(&self);
    try {
      const auto got = pop();
      conclude(self, got, stop);
      if (got && model_.hands_over) {
        expect(got->value == self.value, "a waiter gets the value that he was handed");
      } else if (got) {
        bool thrown = false;
        expect(got->value == model_.pop(thrown) && !thrown, "a waiter gets the oldest value");
      }
    } catch (const blown&) {
      expect(self.how == naive_queue::end::granted, "only one who was granted a value moves it");
      --model_.promised;
      bool thrown = false;
      model_.pop(thrown);
      expect(thrown, "a pop throws only if a move does");
    }
  }

  template <class Outcome>
  void conclude(naive_queue::waiting& self, const Outcome& got, const std::stop_source& stop) {
    std::erase(model_.consumers, &self);
    if (self.how == naive_queue::end::granted) {
      expect(got.has_value(), "who was granted a value gets one");
      if (!model_.hands_over) --model_.promised;
      return;
    }
    ++refused_;
    const refusal_reason why = self.how == naive_queue::end::closed ? refusal_reason::closed
                               : stop.stop_requested()              ? refusal_reason::cancelled
                                                                    : refusal_reason::timed_out;
    expect(!got && got.error().reason == why, "a waiting pop ends for its reason");
  }

  void wait_to_pop() {
    std::stop_source stop;
    const bool stopped = in_.below(4) == 0;
    if (stopped) stop.request_stop();
    const duration wait = patience();
    const bool endless = stopped && in_.flag();
    const auto pop = [&] {
      if (endless) return queue_->pop(stop.get_token());
      if (wait.count() % 2 == 0) return queue_->pop_for(wait, stop.get_token());
      return queue_->pop_until(clock_.now + wait, stop.get_token());
    };
    if (model_.available() != 0) return pop_now(pop);
    if (model_.closed) {
      const auto got = pop();
      ++refused_;
      return expect(!got && got.error().reason == refusal_reason::closed, "a drained queue is closed");
    }
    stops_.push_back(&stop);
    pop_waiting(pop, stop);
    std::erase(stops_, &stop);
  }

  /// What a batch of at most `max` takes now; true if a move threw.
  bool take_into(std::vector<int>& out, std::size_t max) {
    bool thrown = false;
    while (out.size() < max && model_.available() != 0) {
      const auto v = model_.pop(thrown);
      if (thrown) return true;
      out.push_back(*v);
    }
    return false;
  }

  static bool same(const std::vector<T>& got, const std::vector<int>& expected) {
    return std::ranges::equal(got, expected, {}, &T::value);
  }

  void try_pop_n() {
    const auto max = in_.below<std::size_t>(10);
    std::vector<T> out;
    std::vector<int> expected;
    if (max != 0 && model_.available() == 0) {
      const auto got = queue_->try_pop_n(out, max);
      ++refused_;
      return expect(!got && got.error().reason == model_.nothing_there() && out.empty(),
                    "no batch of nothing");
    }
    const bool thrown = take_into(expected, std::min(max, model_.capacity));
    try {
      const auto got = queue_->try_pop_n(out, max);
      expect(!thrown && got && *got == expected.size(), "a batch has the values that are there");
    } catch (const blown&) {
      expect(thrown, "a batch throws only if a move does");
    }
    expect(same(out, expected), "a batch is the oldest values, in order");
  }

  void pop_up_to() {
    const auto max = in_.below<std::size_t>(10);
    std::stop_source stop;
    if (in_.below(4) == 0) stop.request_stop();
    const weir::deadline until = clock_.now + patience();
    // With a linger the waits are many; it is played where it leads to none.
    const bool lingers = in_.flag() && (model_.closed || model_.available() >= max);
    const duration linger = lingers ? duration{milliseconds{5}} : duration{0};
    const std::size_t batch = lingers ? max : std::min(max, model_.capacity);
    if (batch > model_.capacity) element_base::fuse = model_.fuse = 0;  // `out` grows on the way, by moves
    std::vector<T> out;
    std::vector<int> expected;
    const auto pop = [&] { return queue_->pop_up_to_until(out, max, linger, until, stop.get_token()); };
    const bool waits = max != 0 && model_.available() == 0 && !model_.closed;
    naive_queue::waiting self;
    if (waits) {
      model_.consumers.push_back(&self);
      stops_.push_back(&stop);
      element_base::fuse = model_.fuse = 0;
    }
    bool thrown = !waits && take_into(expected, batch);
    try {
      const auto got = pop();
      if (waits) {
        std::erase(stops_, &stop);
        conclude(self, got, stop);
        if (got && model_.hands_over) expected.push_back(self.value);
        if (got) thrown = take_into(expected, batch);
      } else if (!got) {
        ++refused_;
        expect(expected.empty() && model_.closed && got.error().reason == refusal_reason::closed,
               "closed, drained");
      }
      expect(!thrown && got.value_or(0) == expected.size(), "a batch has the values that are there");
    } catch (const blown&) {
      if (waits) {
        std::erase(stops_, &stop);
        std::erase(model_.consumers, &self);
        --model_.promised;
        thrown = take_into(expected, batch);
      }
      expect(thrown, "a batch throws only if a move does");
    }
    expect(same(out, expected), "a batch is the oldest values, in order");
  }

  void push_range() {
    std::vector<T> values;
    values.reserve(8);
    const int fuse = std::exchange(element_base::fuse, 0);
    for (int n = in_.below(8); n > 0; --n) values.emplace_back(next_++);
    element_base::fuse = fuse;
    naive_queue::pushed_result expected;
    std::size_t taken = 0;
    for (const T& v : values) {
      expected = model_.push(v.value);
      if (expected.thrown || expected.refused) break;
      ++taken;
    }
    try {
      const auto got = queue_->try_push_range(values);
      refused_ += got.ended ? 0 : 1;
      expect(!expected.thrown && got.pushed == taken && got.ended.has_value() == !expected.refused,
             "a range is taken up to the first that is refused");
      for (std::size_t i = taken; i < values.size(); ++i) {
        expect(values[i].value != T::moved_from, "I4: what was not taken stays with the caller");
      }
    } catch (const blown&) {
      expect(expected.thrown, "a range throws only if a move does");
    }
  }

  void close_and_take() {
    if constexpr (!std::copy_constructible<T>) element_base::fuse = model_.fuse = 0;
    const std::size_t moves = model_.values.size() - model_.promised;
    const bool blows = model_.fuse > 0 && static_cast<std::size_t>(model_.fuse) <= moves;
    try {
      const std::vector<T> got = queue_->close_and_take();
      expect(!blows && same(got, model_.close_and_take()), "what was left is given back");
    } catch (const blown&) {
      expect(blows, "closing throws only if a copy does");
    }
  }

  input& in_;
  naive_queue model_;
  leaping_clock clock_;
  std::vector<int> dropped_;
  int told_ = 0;     // refusals, by the observer
  int refused_ = 0;  // and as they came back
  int next_ = 0;
  int depth_ = 0;
  bool handler_throws_ = false;
  std::vector<std::stop_source*> stops_;  // of those who wait
  std::optional<weir::bounded_queue<T, leaping_clock::view, counting_observer>> queue_;
};

}  // namespace

void fuzz(input& in) {
  switch (in.below(3)) {
    case 0:
      return game<element<false, false>>{in}.play();
    case 1:
      return game<element<true, false>>{in}.play();
    default:
      return game<element<true, true>>{in}.play();
  }
}

}  // namespace weir_test
