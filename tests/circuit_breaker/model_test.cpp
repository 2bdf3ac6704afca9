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

#include "circuit_breaker/reference.hpp"

using weir::basic_circuit_breaker;
using weir::breaker_state;
using weir::call_verdict;
using weir::circuit_breaker_options;
using weir::duration;
using weir::time_point;
using weir::testing::manual_clock;
using weir_test::literal_breaker;

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
                                    .half_open_max_wait = duration{*model.max_wait}};
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
          model.look(now);
          same = same && breaker.state() == model.state;
      }
      same = same && breaker.state_approx() == model.state;
      ++visits[static_cast<int>(model.state)];
    }
    CHECK(same);
  }
  for (const int n : visits) CHECK(n > 500);
}
