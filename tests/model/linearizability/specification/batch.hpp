// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <compare>
#include <string>
#include <vector>

#include "request.hpp"

namespace weir_model {

enum class batch_verb { submit, submit_for, submit_failing, close };
enum class batch_word { served, threw, full, closed, timed_out, done };

struct batch_setup {
  int max_batch = 8;
  int max_waiting = 8;
  int linger = 0;
};

/// batcher whose call numbers the requests that it serves: each is answered once, by its own value and the
/// next number, in the order of acceptance.
///
/// `submit` is two steps: it is accepted or refused, then it is taken into a batch.
class batch_specification {
 public:
  using operation = request<batch_verb>;  // value
  using answer = reply<batch_word>;
  using batch_event = event<operation, answer>;

  struct state {
    std::vector<int> line{};  // values accepted and not yet taken
    int served = 0;
    bool closed = false;
    per_thread<phase> at{};
    friend auto operator<=>(const state&, const state&) = default;
  };

  explicit batch_specification(const batch_setup& setup) : setup_{setup} {}

  [[nodiscard]] static state initial() { return {}; }
  [[nodiscard]] static int steps(const operation& o) { return o.verb == batch_verb::close ? 1 : 2; }

  [[nodiscard]] bool step(state& s, const batch_event& e) const {
    if (e.operation.verb == batch_verb::close) {
      s.closed = true;
      return e.allows({batch_word::done, {}});
    }
    const int value = e.operation.argument;
    phase& at = of(s.at, e.thread);
    if (e.step == 0) {
      const bool full = static_cast<int>(s.line.size()) >= setup_.max_waiting;
      at = s.closed || full ? phase::settled : phase::waiting;
      if (at == phase::settled) return e.allows({s.closed ? batch_word::closed : batch_word::full, {}});
      s.line.push_back(value);
      return true;
    }
    if (std::exchange(at, phase::idle) == phase::settled) return true;
    const bool first = s.line.front() == value;
    std::erase(s.line, value);
    if (e.answer != nullptr && e.answer->word == batch_word::timed_out) {
      return e.operation.verb == batch_verb::submit_for;
    }
    const bool fails = e.operation.verb == batch_verb::submit_failing;
    return first && e.allows({fails ? batch_word::threw : batch_word::served, {value, s.served++}});
  }

  [[nodiscard]] static std::string show(const operation& o) {
    static constexpr const char* names[] = {"submit ", "submit_for ", "submit (to fail) ", "close"};
    const std::string name = names[static_cast<int>(o.verb)];
    return name.back() == ' ' ? name + std::to_string(o.argument) : name;
  }
  [[nodiscard]] static std::string show(const answer& a) {
    static constexpr const char* words[] = {"served", "threw", "full", "closed", "timed_out", "done"};
    return show_reply(words[static_cast<int>(a.word)], a);
  }
  [[nodiscard]] static std::string show(const state& s) {
    return "in line " + show_list(s.line) + ", served " + std::to_string(s.served) +
           (s.closed ? ", closed" : "");
  }

 private:
  batch_setup setup_;
};

static_assert(specification<batch_specification>);

}  // namespace weir_model
