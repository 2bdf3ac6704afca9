// SPDX-License-Identifier: BSL-1.0
// Keys that are pinned, erased and forced out, with factories that throw and use the map themselves, against
// a list in the order of use; and buckets that fade, against a map without bounds.
#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <weir/keyed.hpp>
#include <weir/token_bucket.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"

namespace weir_test {
namespace {

using weir::duration;
using weir::keyed_overflow;
using weir::refusal_reason;

struct down {};

struct colliding_hash {
  std::size_t operator()(int k) const noexcept { return static_cast<std::size_t>(k % 3); }
};

/// Never fades; knows its number and counts those alive.
struct part {
  explicit part(int n) noexcept : number{n} { ++alive; }
  part(const part&) = delete;
  part& operator=(const part&) = delete;
  ~part() { --alive; }
  static inline int alive = 0;
  const int number;
};

class pins {
  using map_type = weir::keyed<int, part, leaping_clock::view, colliding_hash>;
  struct known {
    int key;
    int number;
    int pinned;
  };
  struct pin {
    map_type::pinned held;
    int number;
  };

 public:
  explicit pins(input& in)
      : in_{in},
        options_{.max_keys = in.within<std::size_t>(1, 12),
                 .shards = 1,
                 .when_full = static_cast<keyed_overflow>(in.below(3))} {
    map_.emplace(options_, [this](int key) { return make(key); }, clock_.source());
  }

  void play() {
    while (!in_.empty()) step();
    if (in_.below(2) == 0) pins_.clear();
    map_.reset();
    for (const pin& p : pins_) expect(p.held->number == p.number, "I2: what is pinned outlives the map");
    pins_.clear();
    expect(part::alive == 0, "no component is left");
  }

 private:
  void step() {
    const int key = in_.below(24);
    switch (in_.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        use(key);
        break;
      case 6: {
        const known* expected = find(key);
        const int number = expected != nullptr ? touch(key).number : -1;
        const auto got = map_->find(key);
        expect(got.has_value() == (number >= 0) && (!got || (*got)->number == number), "found if known");
        break;
      }
      case 7:
        erase(key);
        break;
      case 8:
        expect(map_->evict_as_new() == 0, "what does not fade is never as new");
        break;
      default:
        if (!pins_.empty()) unpin(in_.below(std::min<std::size_t>(256, pins_.size())));
    }
    compare();
  }

  void compare() {
    const auto s = map_->stats();
    expect(s.keys == known_.size() && s.keys <= options_.max_keys, "I1");
    expect(s.created == created_ && s.evicted_forced == forced_ && s.erased == erased_,
           "the counts of keys are right");
    expect(s.created == s.keys + s.evicted_as_new + s.evicted_forced + s.erased && s.evicted_as_new == 0,
           "and add up");
    expect(s.refused == refused_ && s.untracked == untracked_, "so are those of what found no room");
    for (const pin& p : pins_) expect(p.held->number == p.number, "I2: what is pinned stays");
  }

  known* find(int key) {
    const auto at = std::ranges::find(known_, key, &known::key);
    return at == known_.end() ? nullptr : &*at;
  }
  known& touch(int key) {
    const auto at = std::ranges::find(known_, key, &known::key);
    known_.splice(known_.end(), known_, at);
    return known_.back();
  }
  /// Who has to go for one more: the key not used for longest of those that nobody holds.
  auto victim() { return std::ranges::find(known_, 0, &known::pinned); }
  bool room() {
    return known_.size() < options_.max_keys ||
           (options_.when_full == keyed_overflow::evict_oldest && victim() != known_.end());
  }

  /// The factory: runs without a lock, so it may use the map; and it may throw.
  part make(int key) {
    expect(key == wanted_, "a component is made for its key");
    if (++depth_ <= 3) {
      for (int n = in_.below(3); n > 0; --n) step();
    }
    --depth_;
    wanted_ = key;
    if (in_.below(8) == 7) throw down{};
    return part{made_ = next_++};
  }

  void use(int key) {
    const bool there = find(key) != nullptr;
    const bool makes = !there && (room() || options_.when_full == keyed_overflow::fail_open);
    wanted_ = key;
    made_ = -1;
    try {
      auto got = map_->pin(key);
      const int number = std::exchange(made_, -1);
      int expected = -1;
      if (there || (makes && find(key) != nullptr)) {  // known, or made by the factory meanwhile
        known& k = touch(key);
        expected = k.number;
        ++k.pinned;
      } else if (makes && room()) {
        if (known_.size() == options_.max_keys) {
          known_.erase(victim());
          ++forced_;
        }
        known_.push_back({key, number, 1});
        ++created_;
        expected = number;
      } else if (makes && options_.when_full == keyed_overflow::fail_open) {
        ++untracked_;
        expected = number;
      } else {
        ++refused_;
      }
      expect(got.has_value() == (expected >= 0), "there is a component unless there is no room");
      if (!got) return expect(got.error().reason == refusal_reason::full, "no room is no room");
      expect((*got)->number == expected && got->key() == key, "a key has its component");
      pins_.push_back({std::move(*got), expected});
      if (in_.flag()) unpin(pins_.size() - 1);
    } catch (const down&) {
      expect(makes, "only a factory throws");
    }
  }

  void unpin(std::size_t which) {
    const int number = pins_[which].number;
    if (const auto at = std::ranges::find(known_, number, &known::number); at != known_.end()) --at->pinned;
    pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  void erase(int key) {
    const bool there = find(key) != nullptr;
    expect(map_->erase(key) == there, "erased if known");
    std::erase_if(known_, [&](const known& k) { return k.key == key; });
    erased_ += there ? 1U : 0U;
  }

  input& in_;
  leaping_clock clock_;
  const weir::keyed_options options_;
  std::list<known> known_;  // the one not used for longest first
  std::optional<map_type> map_;
  std::vector<pin> pins_;
  std::uint64_t created_ = 0, forced_ = 0, erased_ = 0, refused_ = 0, untracked_ = 0;
  int next_ = 0;
  int made_ = -1;    // by the latest factory that came to its end
  int wanted_ = -1;  // the key that is made next
  int depth_ = 0;
};

/// As long as nothing is forced out, bounded memory answers like unbounded memory (I3).
void play_fading(input& in) {
  using bucket = weir::basic_token_bucket<leaping_clock::view>;
  leaping_clock clock;
  const std::int64_t burst = in.within<std::int64_t>(1, 4);
  weir::token_bucket_options bucket_options{.rate = weir::rate::every(duration{in.within(1, 50)}),
                                            .burst = burst};
  if (in.below(4) == 0) bucket_options.initial = in.within<std::int64_t>(0, burst);
  const auto max_keys = in.within<std::size_t>(1, 24);
  weir::keyed_options options{.max_keys = max_keys, .when_full = static_cast<keyed_overflow>(in.below(3))};
  options.shards = in.within<std::size_t>(1, std::min<std::size_t>(max_keys, 4));
  weir::keyed<int, bucket, leaping_clock::view> bounded{
      options, [&](int) { return bucket{bucket_options, clock.source()}; }, clock.source()};
  std::map<int, bucket> unbounded;
  std::uint64_t untracked = 0, refused = 0;
  while (!in.empty()) {
    clock.now += duration{in.below(4) == 0 ? in.byte() : in.below(8)};
    const int key = in.below(40);
    const auto n = in.within<std::uint64_t>(1, 4);
    switch (in.below(8)) {
      case 0:
        bounded.evict_as_new();
        break;
      case 1:
        if (in.flag() && bounded.erase(key)) unbounded.erase(key);
        break;
      default: {
        const auto got = bounded.try_acquire(key, n);
        const auto s = bounded.stats();
        if (s.evicted_forced != 0) return;  // from here on something is lost
        if (s.refused != refused) {
          refused = s.refused;
          expect(!got && got.error().reason == refusal_reason::full, "no room is no room");
        } else if (s.untracked != untracked) {
          untracked = s.untracked;
          expect(got == bucket(bucket_options, clock.source()).try_acquire(n),
                 "who finds no room gets a new one");
        } else {
          auto& mine = unbounded.try_emplace(key, bucket_options, clock.source()).first->second;
          expect(got == mine.try_acquire(n), "I3: what was forgotten as new was as new");
        }
      }
    }
    const auto s = bounded.stats();
    expect(s.keys <= max_keys && s.created == s.keys + s.evicted_as_new + s.evicted_forced + s.erased,
           "the counts add up");
  }
}

}  // namespace

void fuzz(input& in) {
  if (in.flag()) return play_fading(in);
  pins{in}.play();
}

}  // namespace weir_test
