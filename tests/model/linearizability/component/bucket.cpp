// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <weir/token_bucket.hpp>

#include "../campaign.hpp"
#include "../specification/bucket.hpp"

namespace weir_model {
namespace {

using operation = bucket_specification::operation;
using answer = bucket_specification::answer;
using verb = bucket_verb;
using word = bucket_word;

struct bucket_component {
  static constexpr const char* name = "token_bucket";
  using specification = bucket_specification;
  using setup = bucket_setup;

  static setup draw_setup(dice& roll) {
    const int burst = 1 + roll(3);
    return {.burst = burst, .interval = 10, .initial = roll(burst + 1)};
  }

  static std::vector<operation> draw_thread(dice& roll, const setup& s, int, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what = roll.one_of(
          {verb::try_acquire, verb::try_acquire, verb::try_acquire, verb::available, verb::advance});
      const int wanted = roll(6) == 0 ? s.burst + 1 : 1 + roll(s.burst);
      all.push_back({what,
                     what == verb::try_acquire ? wanted
                     : what == verb::advance   ? 5 + 5 * roll(3)
                                               : 0,
                     0});
    }
    return all;
  }

  static operation without_value(const operation& o) { return o; }

  template <class Plan>
  static void complete(Plan& p) {
    p.closing = {{verb::available, 0, 0}, {verb::try_acquire, p.setup.burst, 0}};
  }

  static std::string show(const setup& s) {
    return "burst " + std::to_string(s.burst) + ", a token every " + std::to_string(s.interval) + " ns, " +
           std::to_string(s.initial) + " at first";
  }
};

answer granted_or(const weir::outcome<void>& result) {
  if (result) return {word::granted, {}};
  if (!result.error().retry_after) return {word::never, {}};
  return {word::refused, {result.error().retry_after->count()}};
}

class bucket_subject {
 public:
  explicit bucket_subject(const bucket_setup& setup)
      : bucket_{{.rate = weir::rate::every(weir::duration{setup.interval}),
                 .burst = setup.burst,
                 .initial = setup.initial}} {}

  answer apply(int, const operation& o) {
    switch (o.verb) {
      case verb::try_acquire:
        return granted_or(bucket_.try_acquire(static_cast<std::uint64_t>(o.argument)));
      case verb::available:
        return {word::tokens, {bucket_.available_approx()}};
      case verb::advance:
        advance(o.argument);
        return {word::done, {}};
    }
    return {};
  }

 private:
  weir::token_bucket bucket_;
};

/// While the time stands still.  Under a weak memory it must: neither does a grant order memory, nor a clock
/// of the system, so that two threads need not agree on what came first, a grant or a reading of the clock.
struct bucket_at_rest : bucket_component {
  static std::vector<operation> draw_thread(dice& roll, const setup& s, int thread, int calls) {
    auto all = bucket_component::draw_thread(roll, s, thread, calls);
    for (operation& o : all) {
      if (o.verb == verb::advance) o = {verb::try_acquire, 1, 0};
    }
    return all;
  }
};

/// Planted: the word is read, then written, so that two may be granted the same token.
class doubling_bucket {
 public:
  explicit doubling_bucket(const bucket_setup& setup)
      : interval_{setup.interval},
        capacity_{setup.burst * setup.interval},
        full_at_{virtual_time() + capacity_ - setup.initial * setup.interval} {}

  answer apply(int, const operation& o) {
    if (o.verb == verb::advance) {
      advance(o.argument);
      return {word::done, {}};
    }
    const long long now = virtual_time();
    const long long debt = std::max(0LL, full_at_.load() - now);
    if (o.verb == verb::available) return {word::tokens, {(capacity_ - debt) / interval_}};
    const long long wanted = o.argument * interval_;
    if (wanted > capacity_) return {word::never, {}};
    if (debt + wanted > capacity_) return {word::refused, {debt + wanted - capacity_}};
    full_at_.store(now + debt + wanted);
    return {word::granted, {}};
  }

 private:
  const long long interval_;
  const long long capacity_;
  std::atomic<long long> full_at_;
};

}  // namespace

campaigns judge_bucket(const campaign_options& options) {
  const auto wanted = [](const bucket_setup& s) { return bucket_specification{s, false}; };
  using component = bucket_component;
  return {
      campaign<component, bucket_subject>(options, consistent(options), "histories in real time", wanted),
      campaign<bucket_at_rest, bucket_subject>(options, weak(options), "histories by happens-before", wanted),
      campaign<component, doubling_bucket>(options, consistent(options), "planted: a token granted twice",
                                           wanted, true),
  };
}

}  // namespace weir_model
