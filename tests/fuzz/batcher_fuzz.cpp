// SPDX-License-Identifier: BSL-1.0
// Calls that answer, refuse, throw, answer twice or not at all, requests that give up, and batches that are
// cut by count and weight.
#include <algorithm>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <weir/batcher.hpp>
#include <weir/testing/manual_clock.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using weir::duration;
using weir::refusal_reason;
using weir::time_point;

struct down {
  int number;
};

/// An answer whose k-th move throws.
struct brittle {
  explicit brittle(int n) noexcept : number{n} {}
  brittle(brittle&& other) : number{other.number} {
    if (fuse > 0 && --fuse == 0) throw down{-1};
  }
  brittle(const brittle&) = delete;
  brittle& operator=(const brittle&) = delete;
  brittle& operator=(brittle&&) = delete;
  ~brittle() = default;
  static inline int fuse = 0;
  int number;
};

/// How a request ended.
struct ending {
  enum class kind : std::uint8_t { value, refused, thrown, misuse };
  kind how = kind::misuse;
  int number = 0;  // the value, or what was thrown
  refusal_reason why{};
  friend bool operator==(const ending&, const ending&) = default;
};

template <class Submit>
ending end_of(Submit submit) {
  try {
    auto got = submit();
    if (got) return {ending::kind::value, got->number, {}};
    return {ending::kind::refused, 0, got.error().reason};
  } catch (const down& what) {
    return {ending::kind::thrown, what.number, {}};
  } catch (const std::logic_error&) {
    return {ending::kind::misuse, 0, {}};
  }
}

/// One thread: every batch is of one, and what the call does with it is in the input.
class alone {
  using batcher_type = weir::batcher<int, brittle, leaping_clock::view>;

 public:
  explicit alone(input& in) : in_{in} {
    weir::batcher_options<int> options{.max_batch = in.within<std::size_t>(1, 4),
                                       .max_waiting = in.within<std::size_t>(1, 4),
                                       .linger = duration{in.below(3)}};
    if (in.flag()) {
      max_weight_ = in.within<std::uint64_t>(1, 8);
      options.max_weight = *max_weight_;
      options.weigh = [this](const int& n) { return weigh(n); };
    }
    batcher_.emplace(
        std::move(options), [this](std::span<batcher_type::item> batch) { serve(batch); }, clock_.source());
  }

  void play() {
    while (!in_.empty()) submit();
    const auto s = batcher_->stats();
    expect(s.batches == batches_ && s.requests == batches_ && s.largest_batch == (batches_ == 0 ? 0U : 1U),
           "a lone caller is served alone");
    expect(s.refused == refused_ && s.abandoned == abandoned_ && s.waiting == 0,
           "the counts of the others are right");
  }

 private:
  std::uint64_t weigh(int n) {
    expect(n == current_, "what is weighed is the request");
    const int kind = in_.below(8);
    if (kind == 7) {
      weighing_throws_ = true;
      throw down{-2};
    }
    if (kind == 6 && ++depth_ < 4) {  // it runs without a lock, so it may ask for something else
      submit();
      current_ = n;
      served_ = false;
    }
    weighing_throws_ = false;
    return weight_ = in_.below<std::uint64_t>(10);
  }

  void submit() {
    const int number = current_ = next_++;
    std::stop_source stop;
    const bool stopped = in_.below(8) == 7;
    const bool late = in_.below(8) == 7;
    if (stopped) stop.request_stop();
    served_ = false;
    weighing_throws_ = false;
    weight_ = 0;
    const bool inside = serving_;
    const weir::deadline until =
        late ? weir::deadline{clock_.now} : weir::deadline{clock_.now + duration{in_.below(2) * 100}};
    const bool reached = until.reached(clock_.now);
    const ending got = end_of([&] { return batcher_->submit(number, until, stop.get_token()); });
    const int fuse = std::exchange(brittle::fuse, 0);
    ending expected;
    if (weighing_throws_) {
      expected = {ending::kind::thrown, -2, {}};
    } else if (inside) {
      expected = {ending::kind::misuse, 0, {}};
    } else if (refused(expected.why)) {
      expected.how = ending::kind::refused;
    } else if (stopped || reached) {
      ++abandoned_;
      expected = {ending::kind::refused, 0, stopped ? refusal_reason::cancelled : refusal_reason::timed_out};
    } else {
      expect(served_, "who is not refused is served");
      expected = answer_;
      if (expected.how == ending::kind::value && fuse == 0 && lit_) expected = {ending::kind::thrown, -1, {}};
    }
    expect(got == expected, "a request ends as the reference ends it");
    weighing_throws_ = false;
  }

  bool refused(refusal_reason& why) {
    if (!closed_before_ && !(max_weight_ && weight_ > *max_weight_)) return closed_before_ = closed_, false;
    why = closed_before_ ? refusal_reason::closed : refusal_reason::exceeds_capacity;
    ++refused_;
    return true;
  }

  void serve(std::span<batcher_type::item> batch) {
    expect(batch.size() == 1 && batch.front().request() == current_ && !served_, "one call for one request");
    const int number = current_;
    served_ = serving_ = true;
    ++batches_;
    std::optional<ending> said;
    for (int n = in_.below(4); n > 0; --n) act(batch.front(), number, said);
    lit_ = in_.below(8) == 7;
    const bool throws = in_.below(4) == 3;
    answer_ = said.value_or(throws ? ending{ending::kind::thrown, number, {}} : ending{});
    if (in_.below(16) == 15) {
      batcher_->close();
      closed_ = true;
    }
    served_ = true;
    serving_ = false;
    current_ = number;
    if (lit_) brittle::fuse = 1;
    if (throws) throw down{number};
  }

  void act(batcher_type::item& item, int number, std::optional<ending>& said) {
    bool misused = false;
    const int kind = in_.below(6);
    try {
      switch (kind) {
        case 0:
        case 1:
          item.set_value(brittle{number});
          if (!said) said = {ending::kind::value, number, {}};
          break;
        case 2:
          item.set_refusal({refusal_reason::busy});
          if (!said) said = {ending::kind::refused, 0, refusal_reason::busy};
          break;
        case 3:
          item.set_exception(std::make_exception_ptr(down{number}));
          if (!said) said = {ending::kind::thrown, number, {}};
          break;
        case 4:
          item.set_exception(nullptr);
          expect(false, "an exception must not be empty");
          break;
        default: {
          const bool weighs = max_weight_.has_value();
          if (weighs) return;  // it would be weighed first
          const ending nested = end_of([&] { return batcher_->submit(-1); });
          expect(nested == ending{}, "the call does not submit to its own batcher");
          return;
        }
      }
    } catch (const std::invalid_argument&) {
      misused = true;
      expect(kind == 4 && !said, "only an empty exception is no exception");
    } catch (const std::logic_error&) {
      misused = true;
      expect(said.has_value(), "only a second answer is one too many");
    }
    expect(item.answered() == said.has_value() && (kind != 4 || misused), "answered if answered");
  }

  input& in_;
  leaping_clock clock_;
  std::optional<std::uint64_t> max_weight_;
  std::optional<batcher_type> batcher_;
  std::uint64_t batches_ = 0, refused_ = 0, abandoned_ = 0;
  std::uint64_t weight_ = 0;
  int current_ = 0;
  int next_ = 0;
  int depth_ = 0;
  bool served_ = false, serving_ = false, weighing_throws_ = false;
  bool closed_ = false, closed_before_ = false;
  bool lit_ = false;  // the next move of the answer throws
  ending answer_;
};

/// Many threads, who come one by one while the first batch is served: the batches after it are the queue, cut
/// by count and weight.
class company {
  using manual_clock = weir::testing::manual_clock;
  using batcher_type = weir::batcher<int, brittle, manual_clock::view>;
  enum class fate : std::uint8_t { stays, late, stopped };
  struct follower {
    int weight;
    fate what;
    int answer;  // 0: none, 1: refused, else a value
    std::stop_source stop{};
    ending got{};
    bool door = false;  // refused there
  };

 public:
  explicit company(input& in)
      : max_batch_{in.within<std::size_t>(1, 4)},
        max_weight_{in.within(1, 8)},
        max_waiting_{in.within<std::size_t>(1, 6)},
        throws_{in.below(8) == 7},
        closes_{in.below(8) == 7},
        followers_(in.below<std::size_t>(7)) {
    for (follower& f : followers_) {
      f.weight = in.below(10);
      f.what = static_cast<fate>(std::max(0, in.below(5) - 2));
      f.answer = in.below(5);
    }
    batcher_.emplace(
        weir::batcher_options<int>{.max_batch = max_batch_,
                                   .max_waiting = max_waiting_,
                                   .max_weight = static_cast<std::uint64_t>(max_weight_),
                                   .weigh = [this](const int& n) { return weigh(n); }},
        [this](std::span<batcher_type::item> batch) { serve(batch); }, clock_.source());
  }

  void play() {
    const ending first = end_of([&] { return batcher_->submit(-1); });
    expect(first == ending{ending::kind::value, -1, {}}, "the first is served first");
    for (std::thread& t : threads_) t.join();
    judge();
  }

 private:
  [[nodiscard]] std::uint64_t weigh(int n) const {
    return n < 0 ? 0 : static_cast<std::uint64_t>(followers_[static_cast<std::size_t>(n)].weight);
  }

  /// One batch at a time, so no two threads are here at once.
  void serve(std::span<batcher_type::item> batch) {
    std::vector<int> numbers;
    for (const auto& item : batch) numbers.push_back(item.request());
    batches_.push_back(numbers);
    if (batches_.size() == 1) gather();
    for (auto& item : batch) {
      const int n = item.request();
      const int answer = n < 0 ? 2 : followers_[static_cast<std::size_t>(n)].answer;
      if (answer == 1) item.set_refusal({refusal_reason::busy});
      if (answer > 1) item.set_value(brittle{n});
    }
    std::ranges::reverse(batch);  // the order of the items is the call's own
    if (throws_) throw down{7};
  }

  [[nodiscard]] std::size_t settled() const {
    const auto s = batcher_->stats();
    return s.waiting + s.refused + s.abandoned;
  }

  void gather() {
    for (std::size_t i = 0; i < followers_.size(); ++i) {
      follower& f = followers_[i];
      const std::size_t refused = batcher_->stats().refused;
      const weir::deadline until =
          f.what == fate::late ? weir::deadline{time_point{duration{5}}} : weir::deadline{};
      threads_.emplace_back([this, &f, until, n = static_cast<int>(i)] {
        f.got = end_of([&] { return batcher_->submit(n, until, f.stop.get_token()); });
      });
      while (settled() != i + 1) std::this_thread::yield();
      f.door = batcher_->stats().refused != refused;
    }
    for (follower& f : followers_) {
      if (f.what == fate::stopped) f.stop.request_stop();
    }
    clock_.advance(duration{5});
    const auto gone = static_cast<std::uint64_t>(std::ranges::count_if(
        followers_, [](const follower& f) { return !f.door && f.what != fate::stays; }));
    while (batcher_->stats().abandoned != gone) std::this_thread::yield();
    if (closes_) batcher_->close();
  }

  void judge() {
    std::vector<std::vector<int>> expected{{-1}};
    std::vector<int> current;
    int weight = 0;
    std::size_t accepted = 0;
    for (std::size_t i = 0; i < followers_.size(); ++i) {
      const follower& f = followers_[i];
      const bool too_heavy = f.weight > max_weight_;
      const bool door = too_heavy || accepted == max_waiting_;
      expect(f.door == door, "refused at the door if too heavy or too many");
      const int n = static_cast<int>(i);
      if (door) {
        expect(f.got == ending{ending::kind::refused, 0,
                               too_heavy ? refusal_reason::exceeds_capacity : refusal_reason::full},
               "and told why");
        continue;
      }
      ++accepted;
      if (f.what != fate::stays) {
        const auto why = f.what == fate::late ? refusal_reason::timed_out : refusal_reason::cancelled;
        expect(f.got == ending{ending::kind::refused, 0, why}, "I2: who gave up was part of no call");
        continue;
      }
      if (!current.empty() && (current.size() == max_batch_ || weight + f.weight > max_weight_)) {
        expected.push_back(std::exchange(current, {}));
        weight = 0;
      }
      current.push_back(n);
      weight += f.weight;
      const ending answer = f.answer == 1  ? ending{ending::kind::refused, 0, refusal_reason::busy}
                            : f.answer > 1 ? ending{ending::kind::value, n, {}}
                            : throws_      ? ending{ending::kind::thrown, 7, {}}
                                           : ending{};
      expect(f.got == answer, "every caller gets its own answer");
    }
    if (!current.empty()) expected.push_back(current);
    expect(batches_ == expected, "I1: the batches are the queue, cut by count and weight");
    expect(batcher_->stats().batches == expected.size(), "and are counted");
  }

  const std::size_t max_batch_;
  const int max_weight_;
  const std::size_t max_waiting_;
  const bool throws_, closes_;
  manual_clock clock_;
  std::vector<follower> followers_;
  std::vector<std::thread> threads_;
  std::vector<std::vector<int>> batches_;
  std::optional<batcher_type> batcher_;
};

}  // namespace

void fuzz(input& in) {
  if (in.below(8) == 7) return company{in}.play();
  alone{in}.play();
}

}  // namespace weir_test
