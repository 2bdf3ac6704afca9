// SPDX-License-Identifier: BSL-1.0
// Random scripts against a breaker written down in the most literal way.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include <weir/circuit_breaker.hpp>
#include <weir/testing/manual_clock.hpp>

using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::duration;
using weir::time_point;
using weir::testing::manual_clock;

namespace {

struct literal_breaker {
  enum class kind { count, time, run };
  kind window;
  std::int64_t size;  // calls; or buckets of 10 ns; or failures in a row
  std::int64_t minimum, percent, open_for, cap, probes;
  std::optional<std::int64_t> needed;
  std::int64_t max_wait;

  struct call {
    std::int64_t at;
    bool failed;
  };
  breaker_state state = breaker_state::closed;
  int generation = 0;
  std::vector<call> calls{};  // of this generation
  std::int64_t since = 0, wait = 0, opens = 0, out = 0, progress = 0;

  void enter(breaker_state to, std::int64_t now) {
    state = to;
    ++generation;
    calls.clear();
    since = now;
    out = 0;
    if (to == breaker_state::closed) opens = 0;
    if (to == breaker_state::open) wait = std::min(cap, open_for << std::min<std::int64_t>(opens++, 20));
  }
  void advance(std::int64_t now) {
    if (state == breaker_state::open && now - since >= wait) {
      enter(breaker_state::half_open, now);
    } else if (state == breaker_state::half_open && out > 0 && now - progress >= max_wait) {
      enter(breaker_state::open, now);
    }
  }
  bool admit(std::int64_t now) {
    advance(now);
    if (state == breaker_state::open) return false;
    if (state != breaker_state::half_open) return true;
    if (out + static_cast<std::int64_t>(calls.size()) >= probes) return false;
    if (out++ == 0) progress = now;
    return true;
  }
  void report(int of, std::int64_t now, call_verdict verdict) {
    if (of != generation) return;
    if (state == breaker_state::half_open) {
      --out;
      progress = now;
    }
    if (verdict == call_verdict::ignore) return;
    calls.push_back({now, verdict == call_verdict::failure});
    if (state == breaker_state::half_open) {
      judge_probes(now);
    } else if (must_open(now)) {
      enter(breaker_state::open, now);
    }
  }
  void judge_probes(std::int64_t now) {
    const auto failed = std::ranges::count_if(calls, &call::failed);
    const auto all = static_cast<std::int64_t>(calls.size());
    if (needed) {
      if (all - failed >= *needed) {
        enter(breaker_state::closed, now);
      } else if (failed > probes - *needed) {
        enter(breaker_state::open, now);
      }
    } else if (all == probes) {
      enter(failed * 100 >= percent * all ? breaker_state::open : breaker_state::closed, now);
    }
  }
  [[nodiscard]] bool must_open(std::int64_t now) const {
    std::int64_t all = 0, failed = 0, run = 0;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      run = calls[i].failed ? run + 1 : 0;
      if (window == kind::count && static_cast<std::int64_t>(calls.size() - i) > size) continue;
      if (window == kind::time && now / 10 - calls[i].at / 10 >= size) continue;
      ++all;
      failed += calls[i].failed ? 1 : 0;
    }
    if (window == kind::run) return run >= size;
    const std::int64_t least = window == kind::count ? std::min(minimum, size) : minimum;
    return all >= least && failed * 100 >= percent * all;
  }
};

}  // namespace

TEST_CASE("every state is that of the literal breaker", "[circuit_breaker][model]") {
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  int visits[3]{};
  for (int round = 0; round < 300; ++round) {
    literal_breaker model{.window = static_cast<literal_breaker::kind>(below(3)),
                          .size = 1 + below(12),
                          .minimum = 1 + below(10),
                          .percent = 1 + below(100),
                          .open_for = 1 + below(100),
                          .cap = 100 + below(300),
                          .probes = 1 + below(4),
                          .needed = std::nullopt,
                          .max_wait = 1 + below(200)};
    if (below(2) == 0) model.needed = 1 + below(static_cast<int>(model.probes));
    const auto size = static_cast<std::uint32_t>(model.size);
    circuit_breaker_options options{.failure_rate = {static_cast<std::uint32_t>(model.percent)},
                                    .minimum_calls = static_cast<std::uint32_t>(model.minimum),
                                    .open_for = duration{model.open_for},
                                    .open_for_factor = 2.0,
                                    .open_for_max = duration{model.cap},
                                    .probes = static_cast<std::uint32_t>(model.probes),
                                    .half_open_max_wait = duration{model.max_wait}};
    if (model.needed) options.probe_successes = static_cast<std::uint32_t>(*model.needed);
    if (model.window == literal_breaker::kind::count) options.window = weir::count_window{size};
    if (model.window == literal_breaker::kind::time) {
      options.window = weir::time_window{duration{10 * model.size}, size};
    }
    if (model.window == literal_breaker::kind::run) options.window = weir::consecutive_failures{size};

    manual_clock clock;
    using breaker_type = basic_circuit_breaker<manual_clock::view>;
    breaker_type breaker{options, clock.source()};
    struct held {
      breaker_type::permit permit;
      int generation;
    };
    std::vector<held> permits;
    const int bad = 1 + below(9);  // of ten calls
    bool same = true;
    for (int i = 0; i < 500 && same; ++i) {
      clock.advance(duration{below(4) == 0 ? below(60) : below(3)});
      const std::int64_t now = clock.now().time_since_epoch().count();
      switch (below(4)) {
        case 0:
        case 1: {
          auto p = breaker.try_acquire();
          same = same && p.has_value() == model.admit(now);
          if (p) permits.push_back({std::move(*p), model.generation});
          break;
        }
        case 2: {
          if (permits.empty()) break;
          const auto which = permits.begin() + below(static_cast<int>(permits.size()));
          const call_verdict verdict = below(8) == 0     ? call_verdict::ignore
                                       : below(10) < bad ? call_verdict::failure
                                                         : call_verdict::success;
          std::move(which->permit).report(verdict);
          model.report(which->generation, now, verdict);
          permits.erase(which);
          break;
        }
        default:
          model.advance(now);
          same = same && breaker.state() == model.state;
      }
      same = same && breaker.state_approx() == model.state;
      ++visits[static_cast<int>(model.state)];
    }
    CHECK(same);
  }
  for (const int n : visits) CHECK(n > 500);
}
