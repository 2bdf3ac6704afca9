// SPDX-License-Identifier: BSL-1.0
// Every verb of a cache whose keys collide, with loaders that fail, find nothing and use the cache
// themselves, against a list with times.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <utility>
#include <vector>

#include <weir/ttl_cache.hpp>

#include "fuzz/input.hpp"
#include "fuzz/leaping_clock.hpp"
#include "ttl_cache/reference.hpp"

namespace weir_test {
namespace {

using std::chrono::milliseconds;
using weir::duration;
using weir::lookup_source;
using weir::refusal_reason;
using weir::removal_cause;
using weir::time_point;
using answer = naive_cache::answer;

struct down {};

struct traits : weir::ttl_cache_traits<int> {
  struct hash {
    std::size_t operator()(int k) const noexcept { return static_cast<std::size_t>(k % 3); }
  };
  struct listener {
    std::vector<std::pair<int, removal_cause>>* told = nullptr;
    void on_removed(int, int value, removal_cause cause) const noexcept {
      if (told != nullptr) told->emplace_back(value, cause);
    }
  };
};
using cache_type = weir::ttl_cache<int, int, leaping_clock::view, traits>;

duration some_time(input& in) { return milliseconds{in.within(1, 40)}; }

weir::ttl_cache_options draw(input& in) {
  weir::ttl_cache_options o{.max_entries = in.within<std::size_t>(1, 8)};
  const unsigned parts = in.byte();
  if ((parts & 1U) != 0) o.expire_after_write = some_time(in);
  if ((parts & 2U) != 0) o.expire_after_access = some_time(in);
  if ((parts & 4U) != 0) o.negative_ttl = some_time(in);
  if ((parts & 8U) != 0) o.error_ttl = some_time(in);
  if ((parts & 16U) != 0) o.stale_for = some_time(in);
  if ((parts & 32U) != 0) o.stale_if_error = some_time(in);
  if ((parts & 64U) != 0) o.load_lease = some_time(in);
  return o;
}

class game {
 public:
  explicit game(input& in) : in_{in}, model_{draw(in)} {
    real_.emplace(model_.options(), clock_.source(), traits::listener{&told_});
  }

  void play() {
    while (!in_.empty()) step();
    model_.erase_if([](const auto&) { return true; }, clock_.now);
    real_.reset();
    std::map<int, removal_cause> left;
    for (const auto& [value, cause] : told_) expect(left.emplace(value, cause).second, "I4: told of once");
    expect(left == model_.left, "each value that left is told of, with its cause");
  }

 private:
  static constexpr int deepest = 3;

  void step() {
    // No two steps are at the same instant: which of two that expire together goes first is nobody's to say.
    clock_.now += duration{1} + (in_.below(4) == 0 ? milliseconds{in_.below(64)} : milliseconds{0});
    const int key = in_.below(12);
    switch (in_.below(20)) {
      case 0:
      case 1:
        expect(real_->get(key) == model_.get(key, clock_.now), "get finds what the list has");
        break;
      case 2:
      case 3:
      case 4:
        put(key);
        break;
      case 5:
        expect(real_->erase(key) == model_.erase(key, clock_.now),
               "erase tells whether a fresh value was there");
        break;
      case 6:
        set_ttl(key);
        break;
      case 7:
        look_back(key);
        break;
      case 8:
        visit(key);
        break;
      case 9:
      case 10:
      case 11:
      case 12:
      case 13:
      case 14:
      case 15:
        get_or_load(key);
        break;
      case 16:
        compute(key);
        break;
      case 17:
        invalidate(key);
        break;
      case 18: {
        const auto budget = in_.below<std::size_t>(4);
        expect(real_->maintain(budget) == model_.reclaim(budget, clock_.now), "as many are reclaimed");
        break;
      }
      default:
        if (in_.below(4) == 0) {
          const auto options = draw(in_);
          real_->reconfigure(options);
          model_.reconfigure(options, clock_.now);
        }
    }
    compare();
  }

  void compare() {
    const auto s = real_->stats();
    expect(s.entries == model_.size() && s.entries <= model_.options().max_entries, "I1");
    expect(s.in_flight == model_.loading(), "as many loads can be joined");
    expect(s.hits == model_.count.hits && s.stale == model_.count.stale, "the counts of hits are right");
    expect(s.negative == model_.count.negative && s.misses == model_.count.misses, "so are those of misses");
    expect(s.loads_ok == model_.count.ok && s.loads_failed == model_.count.failed, "and of loads");
    std::vector<std::pair<int, int>> content;
    real_->for_each([&](int k, int v) { content.emplace_back(k, v); });
    expect(content == model_.content(clock_.now), "the cache holds what the list holds, in the order of use");
    expect(real_->size() == content.size(), "the size is that of what is fresh");
  }

  std::optional<duration> some_ttl() {
    const int how = in_.below(8);
    if (how < 4) return std::nullopt;
    return how == 7 ? duration::max() : some_time(in_);
  }

  void put(int key) {
    const int value = next_++;
    const auto ttl = some_ttl();
    switch (in_.below(4)) {
      case 0:
        expect(real_->insert(key, value, ttl) == model_.put(key, value, ttl, false, clock_.now),
               "inserted if new");
        break;
      case 1:
        expect(real_->try_emplace(key, value) == model_.put(key, value, {}, false, clock_.now),
               "made if new");
        break;
      default:
        expect(real_->insert_or_assign(key, value, ttl) == model_.put(key, value, ttl, true, clock_.now),
               "assigned, and told whether it was new");
    }
  }

  void set_ttl(int key) {
    const duration ttl = in_.flag() ? some_time(in_) : duration{0};
    try {
      const bool set = real_->set_ttl(key, ttl);
      expect(ttl > duration{0} && set == model_.set_ttl(key, ttl, clock_.now),
             "a life is set on what is fresh");
    } catch (const std::invalid_argument&) {
      expect(ttl <= duration{0}, "a life must be positive");
    }
  }

  /// A clock that runs back for a moment: what has expired stays so.
  void look_back(int key) {
    const time_point now = clock_.now;
    static_cast<void>(real_->size());
    clock_.now -= milliseconds{in_.below(64)};
    expect(real_->contains(key) == model_.contains(key, now), "time never runs back");
    clock_.now = now;
  }

  void visit(int key) {
    const auto expected = model_.get(key, clock_.now);
    std::optional<int> seen;
    const bool found = real_->visit(key, [&](int v) { seen = v; });
    expect(found == expected.has_value() && seen == expected, "a visit sees what get would give");
  }

  void nested() {
    if (++depth_ <= deepest) {
      for (int n = in_.below(4); n > 0; --n) step();
    }
    --depth_;
  }

  void get_or_load(int key) {
    std::stop_source stop;
    const bool stopped = in_.below(8) == 7;
    const bool late = in_.below(8) == 7;
    if (stopped) stop.request_stop();
    const weir::deadline until = late ? weir::deadline{clock_.now} : weir::deadline::never();
    naive_cache::load begun;
    auto expected = model_.ask(key, !stopped && !late, clock_.now, begun);
    const bool loads = !expected;
    bool ran = false;
    const auto loader = [&](const int& k) -> weir::outcome<weir::loaded<int>> {
      expect(!ran && loads && k == key, "a loader runs once, and only for what is missing");
      ran = true;
      nested();
      clock_.now += duration{1};
      const int value = next_++;
      const auto ttl = in_.below(8) == 7 ? duration{0} : some_ttl();
      const int kind = in_.below(8);
      const auto how = kind < 4    ? naive_cache::end::value
                       : kind == 4 ? naive_cache::end::none
                       : kind < 7  ? naive_cache::end::thrown
                                   : naive_cache::end::refused;
      expected = model_.land(begun, how, value, ttl, clock_.now);
      said_ = model_.said;
      if (how == naive_cache::end::thrown) throw down{};
      if (how == naive_cache::end::refused) return weir::refusal{refusal_reason::busy};
      if (how == naive_cache::end::none) return weir::loaded<int>{std::nullopt, ttl};
      return weir::loaded<int>{value, ttl};
    };
    said_ = model_.said;
    try {
      const auto got = real_->get_or_load(key, loader, until, stop.get_token());
      expect(ran == loads, "who finds nothing loads");
      if (got) return judge(*got, *expected);
      const refusal_reason why = got.error().reason;
      if (loads)
        return expect(*expected == answer::refused && why == refusal_reason::busy, "refused by the loader");
      expect(*expected == answer::timed_out, "refused only who may not load");
      expect(why == (stopped ? refusal_reason::cancelled : refusal_reason::timed_out),
             "refused for its reason");
    } catch (const down&) {
      expect(*expected == answer::thrown && ran == loads, "a failure is thrown, or remembered");
    } catch (const std::logic_error&) {
      expect(*expected == answer::recursion && !ran, "no load asks for its own key");
    }
  }

  void judge(const weir::lookup<int>& got, answer expected) {
    const lookup_source source = expected == answer::hit        ? lookup_source::hit
                                 : expected == answer::stale    ? lookup_source::stale
                                 : expected == answer::negative ? lookup_source::negative
                                                                : lookup_source::loaded;
    expect(expected <= answer::loaded && got.source == source, "an answer is from where it says");
    expect(got.value.has_value() == (source != lookup_source::negative),
           "only what is negative has no value");
    if (got.value) expect(got.value == said_, "the value is the one that was stored or loaded");
  }

  void compute(int key) {
    bool first = true;
    int value = 0;
    const int kind = in_.below(8);
    const auto ttl = some_ttl();
    const auto f = [&](const int* seen) -> weir::loaded<int> {
      std::optional<int> expected;
      for (const auto& [k, v] : model_.content(clock_.now)) {
        if (k == key) expected = v;
      }
      expect((seen != nullptr) == expected.has_value() && (seen == nullptr || *seen == *expected),
             "compute sees what is stored");
      value = next_++;
      if (std::exchange(first, false)) nested();
      clock_.now += duration{1};  // what is stored here expires with nothing that was stored inside
      if (kind == 7) throw down{};
      if (kind == 6) return {value, duration{0}};
      if (kind == 5) return {std::nullopt};
      return {value, ttl};
    };
    try {
      const bool stored = real_->compute(key, f);
      expect(kind < 6 && stored == (kind != 5), "compute tells whether a value is stored");
      if (stored) {
        model_.put(key, value, ttl, true, clock_.now);
      } else {
        model_.erase(key, clock_.now);
      }
    } catch (const down&) {
      expect(kind == 7, "compute throws what its function throws");
    } catch (const std::invalid_argument&) {
      expect(kind == 6, "a life must be positive");
    }
  }

  void invalidate(int key) {
    switch (in_.below(4)) {
      case 0:
        real_->invalidate_all();
        model_.erase_if([](const auto&) { return true; }, clock_.now);
        return;
      case 1: {
        bool asked = false;
        try {
          real_->invalidate_if([&](int, int) -> bool {
            asked = true;
            throw down{};
          });
          expect(!asked, "a predicate that throws is heard");
        } catch (const down&) {
          expect(asked, "only the predicate throws");
        }
        return model_.forget_loads();
      }
      default: {
        const auto matches = [&](int k) { return k % 4 == key % 4; };
        const std::size_t n = real_->invalidate_if([&](int k, int) { return matches(k); });
        expect(n == model_.erase_if([&](const auto& e) { return e.value && matches(e.key); }, clock_.now),
               "as many fresh values are removed");
      }
    }
  }

  input& in_;
  leaping_clock clock_;
  naive_cache model_;
  std::vector<std::pair<int, removal_cause>> told_;
  std::optional<int> said_;
  int next_ = 0;  // values are never used twice
  int depth_ = 0;
  std::optional<cache_type> real_;
};

/// Lives of any length, spread by the jitter, from any instant on.
void play_lives(input& in) {
  leaping_clock clock;
  clock.now = time_point{duration{in.magnitude()}};
  const duration ttl{in.magnitude()};
  const double jitter = in.byte() / 256.0;
  try {
    cache_type c{{.max_entries = 2, .expire_after_write = ttl, .jitter = jitter, .seed = in.byte()},
                 clock.source()};
    expect(ttl > duration{0}, "a life must be positive");
    c.insert(1, 1);
    const time_point born = clock.now;
    const auto share = static_cast<long double>(ttl.count()) * jitter;
    const auto shortest = static_cast<std::int64_t>(static_cast<long double>(ttl.count()) - share);
    clock.now = weir::saturating_add(born, duration{std::max<std::int64_t>(0, shortest - 2)});
    if (clock.now > born && clock.now != time_point::max())
      expect(c.contains(1), "it lives as long as the jitter leaves");
    const auto longest = static_cast<long double>(ttl.count()) + share + 2;
    if (longest < 9.2e18L) {
      clock.now = weir::saturating_add(born, duration{static_cast<std::int64_t>(longest)});
      expect(!c.contains(1) || clock.now == time_point::max(), "and no longer than it lets");
    }
  } catch (const std::invalid_argument&) {
    expect(ttl <= duration{0}, "a positive life is taken");
  }
}

}  // namespace

void fuzz(input& in) {
  if (in.below(16) == 0) return play_lives(in);
  game{in}.play();
}

}  // namespace weir_test
