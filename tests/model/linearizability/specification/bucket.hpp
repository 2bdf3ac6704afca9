// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <string>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class bucket_verb { try_acquire, available, advance };
enum class bucket_word { granted, refused, never, tokens, done };

/// One token every `interval` nanoseconds.
struct bucket_setup {
  int burst = 1;
  int interval = 10;
  int initial = 1;
};

/// token_bucket: the instant when it is full again, and the time.
///
/// A call is three steps: it reads the clock, looks at the bucket, and decides, as of its reading or of
/// a later instant at which tokens were taken.  What takes tokens takes them from what is there when it
/// decides; what only tells (a refusal with its `retry_after`, `available_approx`) tells of what it
/// looked at, as of no later instant than was known then, though others may have taken tokens since.
/// `in_one_step` is stricter than the contract: all of it at one instant.
class bucket_specification {
 public:
  using operation = request<bucket_verb>;
  using answer = reply<bucket_word>;
  using bucket_event = event<operation, answer>;

  struct state {
    int now = 0;
    int full_at = 0;
    std::vector<int> taken_at{};  // the instants at which tokens were taken, in order
    per_thread<int> read{};       // the clock, by calls between their steps
    per_thread<int> seen{};       // `full_at`, likewise
    per_thread<int> known{};      // the latest of `taken_at`, likewise
    friend auto operator<=>(const state&, const state&) = default;
  };

  bucket_specification(const bucket_setup& setup, bool in_one_step)
      : setup_{setup}, in_one_step_{in_one_step} {}

  [[nodiscard]] state initial() const {
    state s;
    s.full_at = (setup_.burst - setup_.initial) * setup_.interval;
    return s;
  }

  [[nodiscard]] int steps(const operation& o) const {
    return in_one_step_ || o.verb == bucket_verb::advance ? 1 : 3;
  }

  template <class Emit>
  void successors(const state& s, const bucket_event& e, Emit emit) const {
    state next = s;
    if (e.operation.verb == bucket_verb::advance) {
      next.now += e.operation.argument;
      if (e.allows({bucket_word::done, {}})) emit(next);
    } else if (in_one_step_) {
      if (decide(next, e, s.now, s.now)) emit(next);
    } else if (e.step == 0) {
      of(next.read, e.thread) = s.now;
      emit(next);
    } else if (e.step == 1) {
      of(next.seen, e.thread) = s.full_at;
      of(next.known, e.thread) = s.taken_at.empty() ? 0 : s.taken_at.back();
      emit(next);
    } else {
      const int read = std::exchange(of(next.read, e.thread), 0);
      const int seen = std::exchange(of(next.seen, e.thread), 0);
      const int known = std::max(read, std::exchange(of(next.known, e.thread), 0));
      const auto as_of = [&](int instant) {
        state after = next;
        if (decide(after, e, read, instant)) return emit(after);
        if (instant > known) return;
        state looked_at = next;
        looked_at.full_at = seen;
        if (decide(looked_at, e, read, instant) && looked_at.full_at == seen) emit(next);
      };
      as_of(read);
      for (const int taken : s.taken_at) {
        if (taken > read) as_of(taken);
      }
    }
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"try_acquire ", "available", "advance "};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"granted", "refused, retry after", "never", "tokens", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "time " + std::to_string(s.now) + ", full at " + std::to_string(s.full_at);
  }

 private:
  /// `read` is what the clock said, `instant` when the call decides.
  [[nodiscard]] bool decide(state& s, const bucket_event& e, int read, int instant) const {
    const int capacity = setup_.burst * setup_.interval;
    const int debt = std::max(0, s.full_at - instant);
    if (e.operation.verb == bucket_verb::available) {
      // Rounded down, also below zero.
      const int held = capacity - debt;
      return e.allows(
          {bucket_word::tokens,
           {held >= 0 ? held / setup_.interval : -((-held + setup_.interval - 1) / setup_.interval)}});
    }
    const int wanted = e.operation.argument;
    if (wanted == 0) return e.allows({bucket_word::granted, {}});
    if (wanted > setup_.burst) return e.allows({bucket_word::never, {}});
    const int excess = debt + wanted * setup_.interval - capacity;
    if (excess > 0) return e.allows({bucket_word::refused, {instant - read + excess}});
    s.full_at = instant + debt + wanted * setup_.interval;
    if (!std::binary_search(s.taken_at.begin(), s.taken_at.end(), instant)) {
      s.taken_at.insert(std::lower_bound(s.taken_at.begin(), s.taken_at.end(), instant), instant);
    }
    return e.allows({bucket_word::granted, {}});
  }

  bucket_setup setup_;
  bool in_one_step_;
};

static_assert(specification<bucket_specification>);

}  // namespace weir_model
