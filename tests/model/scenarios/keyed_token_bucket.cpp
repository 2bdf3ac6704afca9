// SPDX-License-Identifier: BSL-1.0
#include <weir/keyed_token_bucket.hpp>

#include <cstdint>

#include "model/scenario.hpp"
#include "model/scenarios/hand_time.hpp"

namespace {

using namespace weir_model;

using still_limits = weir::keyed_token_bucket<int, standing_clock>;
using hand_limits = weir::keyed_token_bucket<int, hand_time::view>;

constexpr weir::token_bucket_options one_in_ten{.rate = weir::rate{1, weir::duration{10}}, .burst = 1};

void one_token(world& w) {
  auto& map = w.make<still_limits>(weir::keyed_options{.max_keys = 4, .shards = 2}, one_in_ten);
  for (int i = 0; i < 2; ++i) {
    w.thread([&] { static_cast<void>(map.try_acquire(7)); });
  }
  w.after([&] {
    const auto s = map.stats();
    expect(s.granted == 1 && s.rate_limited == 1, "one of two who come at once has the one token");
    expect(s.keys.created == 1, "both found the same key");
  });
}
const scenario one_token_{"keyed", "a key that two make known at once has one bucket", {}, one_token};

void forgotten(world& w) {
  auto& time = w.make<hand_time>();
  auto& map = w.make<hand_limits>(weir::keyed_options{.max_keys = 4, .shards = 1}, one_in_ten, time.source());
  auto& granted = w.make<int>(map.try_acquire(7) ? 1 : 0);
  w.thread([&] {
    time.set(10);
    map.evict_as_new();
  });
  w.thread([&] {
    granted += map.try_acquire(7) ? 1 : 0;
    granted += map.try_acquire(7) ? 1 : 0;
  });
  w.after([&] {
    expect(granted <= 2, "a bucket that is forgotten gives nothing twice");
    expect(map.available_at(at(10), 7) == 2 - granted, "what is left is as if it had never been forgotten");
  });
}
const scenario forgotten_{"keyed", "a bucket that is forgotten gives nothing twice", {}, forgotten};

void forced_out(world& w) {
  auto& map = w.make<still_limits>(weir::keyed_options{.max_keys = 1}, one_in_ten);
  for (int key = 1; key <= 2; ++key) {
    w.thread([&map, key] { expect(map.try_acquire(key).has_value(), "a new key has a full bucket"); });
  }
  w.after([&] {
    const auto s = map.stats().keys;
    expect(s.keys == 1 && s.created == 2 && s.evicted_forced == 1, "the second drove the first out");
  });
}
const scenario forced_out_{"keyed", "of two new buckets with room for one the later stays", {}, forced_out};

void reconfigured(world& w) {
  auto& map = w.make<still_limits>(weir::keyed_options{.max_keys = 4, .shards = 2},
                                   weir::token_bucket_options{weir::rate::zero(), 2});
  for (int key = 1; key <= 2; ++key) {
    w.thread([&map, key] {
      expect(map.try_acquire(key, 2).has_value(), "2 fit into either burst");
      const auto left = map.available_approx(key);
      expect(left == 0 || left == 1 || left == 3, "old or new, never a part of each");
    });
  }
  w.thread([&] { map.reconfigure({weir::rate::zero(), 3}, weir::held_tokens::reset); });
  w.after([&] {
    for (int key = 1; key <= 2; ++key) {
      const auto left = map.available_approx(key);
      expect(left == 1 || left == 3, "taken after it, or before it and then reset");
    }
  });
}
const scenario reconfigured_{
    "keyed", "a reconfiguration reaches the buckets of all shards at one instant", {}, reconfigured};

void counts_read(world& w) {
  auto& map = w.make<still_limits>(weir::keyed_options{.max_keys = 4, .shards = 1}, one_in_ten);
  w.thread([&] {
    static_cast<void>(map.try_acquire(7));
    static_cast<void>(map.erase(7));
  });
  w.thread([&] {
    const auto s = map.stats();
    expect(s.keys.created == s.keys.keys + s.keys.erased && s.granted == s.keys.created, "of one instant");
  });
  w.after([&] { expect(map.stats().keys.erased == 1 && map.size_approx() == 0); });
}
const scenario counts_read_{
    "keyed", "the counts of a shard of buckets are of one instant, while keys come and go", {}, counts_read};

}  // namespace
