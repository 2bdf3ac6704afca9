// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weir/batcher.hpp>
#include <weir/bounded_queue.hpp>
#include <weir/circuit_breaker.hpp>
#include <weir/keyed.hpp>
#include <weir/testing/manual_clock.hpp>
#include <weir/token_bucket.hpp>
#include <weir/ttl_cache.hpp>

#include "faults.hpp"
#include "latency.hpp"
#include "ledger.hpp"

namespace weir_test {

using view = weir::testing::manual_clock::view;

struct message {
  std::uint64_t id = 0;
  std::uint32_t user = 0;
  weir::duration offered{};  ///< since the start of the run
  std::string body;
  unsigned attempts = 0;
  bool within_share = false;  ///< the user's own limit was passed
};

enum class dead_reason : std::uint8_t { too_old, failed_too_often, over_share };
inline constexpr std::size_t dead_reasons = 3;

/// Virtual time, of which a part is jumps: those are nobody's latency.
class virtual_time {
 public:
  [[nodiscard]] view source() noexcept { return clock_.source(); }
  [[nodiscard]] weir::testing::manual_clock& clock() noexcept { return clock_; }

  /// Since the start, without the jumps.
  [[nodiscard]] weir::duration passed() const noexcept {
    return clock_.now() - weir::time_point{} - weir::duration{jumped_.load()};
  }
  [[nodiscard]] weir::duration jumped() const noexcept { return weir::duration{jumped_.load()}; }

  void advance_to(weir::duration passed_then) {
    if (passed_then > passed()) clock_.advance(passed_then - passed());
  }
  void jump(weir::duration by) {
    jumped_ += by.count();
    clock_.advance(by);
  }

 private:
  weir::testing::manual_clock clock_;
  std::atomic<weir::duration::rep> jumped_{0};
};

/// queue -> a share for each user -> limiter -> breaker -> cache with loader -> batching sink
///
/// Thread safety  `offer`, `take` and `attempt` from any thread.
class pipeline {
 public:
  using message_queue = weir::bounded_queue<message, view>;
  using limiter = weir::basic_token_bucket<view>;
  using breaker = weir::basic_circuit_breaker<view>;
  using profile_cache = weir::ttl_cache<std::uint32_t, std::string, view>;
  using limiter_of_user = weir::keyed<std::uint32_t, limiter, view>;
  using writer = weir::batcher<message*, void, view>;

  static constexpr std::uint32_t users = 2'000;

  explicit pipeline(virtual_time& time) : time_{time} {}

  /// Whether the queue had room.
  bool offer(message&& m) {
    const std::uint64_t id = m.id;
    book_.offered(id);
    if (queue_.try_push(std::move(m))) return true;
    book_.refused(id);
    return false;
  }

  struct progress {
    bool settled;             ///< delivered or dead
    weir::duration again_in;  ///< if not
  };

  /// One attempt to deliver it.
  progress attempt(message& m) {
    if (time_.passed() - m.offered > too_old) return bury(m, dead_reason::too_old);
    if (!m.within_share && !shares_.try_acquire(m.user)) return bury(m, dead_reason::over_share);
    m.within_share = true;
    if (const auto token = limiter_.try_acquire(); !token) {
      ++limited_;
      return later(token.error());
    }
    auto permit = breaker_.try_acquire();
    if (!permit) return later(permit.error());
    try {
      const auto profile = profiles_.get_or_load(
          m.user, [this](std::uint32_t user) { return load(user); },
          weir::deadline::after(time_.source().now(), too_old));
      if (!profile) {
        std::move(*permit).ignore();
        return later(profile.error());
      }
      if (const auto written = writer_.submit(&m, weir::deadline::after(time_.source().now(), too_old));
          !written) {
        std::move(*permit).ignore();
        return later(written.error());
      }
      end(std::move(*permit), weir::call_verdict::success);
      return {true, {}};
    } catch (const std::runtime_error&) {
      ++failed_;
      end(std::move(*permit), weir::call_verdict::failure);
      if (++m.attempts == most_attempts) return bury(m, dead_reason::failed_too_often);
      return {false, std::chrono::milliseconds{100}};
    }
  }

  void begin(const fault& f) {
    ++befallen_[static_cast<std::size_t>(f.kind)];
    report_kept();
    switch (f.kind) {
      case fault_kind::sink_fails:
        sink_down_ = true;
        break;
      case fault_kind::probe_is_lost:
        sink_down_ = true;
        keep_one_ = true;
        keep_probe_ = true;
        break;
      case fault_kind::loader_throws:
        profiles_.invalidate_all();
        loader_down_ = true;
        break;
      case fault_kind::clock_jumps:
        time_.jump(std::chrono::seconds{1 + 6 * f.size});
        break;
      case fault_kind::reconfiguration:
        reconfigure(options_of_limiter(40), options_of_breaker(3));
        break;
      case fault_kind::invalidation:
        profiles_.invalidate_all();
        break;
      case fault_kind::consumer_stalls:
      case fault_kind::burst:
        break;  // the drivers' own
    }
  }

  void end(const fault& f) {
    sink_down_ = false;
    loader_down_ = false;
    keep_one_ = false;
    keep_probe_ = false;
    if (f.kind == fault_kind::reconfiguration) reconfigure(options_of_limiter(20), options_of_breaker(2));
  }

  /// The permits that were kept are reported on, late.
  void report_kept() {
    const std::lock_guard lock{mutex_};
    for (auto& permit : kept_) std::move(permit).success();
    kept_.clear();
  }

  [[nodiscard]] message_queue& queue() noexcept { return queue_; }
  [[nodiscard]] const ledger& book() const noexcept { return book_; }
  [[nodiscard]] auto stats_of_breaker() const { return breaker_.stats(); }
  [[nodiscard]] auto stats_of_cache() const { return profiles_.stats(); }
  [[nodiscard]] auto stats_of_shares() const { return shares_.stats(); }
  [[nodiscard]] auto stats_of_writer() const { return writer_.stats(); }
  [[nodiscard]] const latency_histogram& latencies() const noexcept { return latencies_; }
  [[nodiscard]] std::uint64_t befallen(fault_kind k) const { return befallen_[static_cast<std::size_t>(k)]; }
  [[nodiscard]] std::uint64_t dead(dead_reason why) const { return dead_[static_cast<std::size_t>(why)]; }
  [[nodiscard]] std::uint64_t limited() const { return limited_; }
  [[nodiscard]] std::uint64_t failed() const { return failed_; }
  [[nodiscard]] std::uint64_t kept() const { return kept_in_all_; }

 private:
  static constexpr weir::duration too_old = std::chrono::seconds{30};
  static constexpr unsigned most_attempts = 3;

  static weir::token_bucket_options options_of_limiter(std::int64_t a_second) {
    return {.rate = weir::rate::per_second(a_second), .burst = a_second};
  }
  static weir::token_bucket_options options_of_share() {
    return {.rate = weir::rate::every(std::chrono::seconds{20}), .burst = 5};
  }
  static weir::circuit_breaker_options options_of_breaker(std::uint32_t probes) {
    return {.window = weir::count_window{10},
            .minimum_calls = 5,
            .open_for = std::chrono::seconds{2},
            .open_for_factor = 2.0,
            .open_for_max = std::chrono::seconds{8},
            .open_for_jitter = 0.1,
            .probes = probes,
            .seed = 7};
  }
  static weir::ttl_cache_options options_of_cache() {
    return {.max_entries = 400, .expire_after_write = std::chrono::seconds{60}, .jitter = 0.1};
  }

  void reconfigure(const weir::token_bucket_options& rate, const weir::circuit_breaker_options& when) {
    limiter_.reconfigure(rate);
    breaker_.reconfigure(when);
  }

  progress bury(const message& m, dead_reason why) {
    book_.dead(m.id);
    ++dead_[static_cast<std::size_t>(why)];
    return {true, {}};
  }

  /// Not before it can be of use, nor at once where nothing is known.
  static progress later(const weir::refusal& why) {
    return {false,
            std::max<weir::duration>(why.retry_after.value_or(too_old), std::chrono::milliseconds{50})};
  }

  std::string load(std::uint32_t user) {
    if (loader_down_) throw std::runtime_error{"the loader is down"};
    return std::string(20 + user % 50, 'p');
  }

  /// Reports, or keeps the permit for later if a fault wants that.
  void end(breaker::permit&& permit, weir::call_verdict verdict) {
    const bool probes = breaker_.state_approx() == weir::breaker_state::half_open;
    if (keep_one_.exchange(false) || (probes && keep_probe_.exchange(false))) {
      const std::lock_guard lock{mutex_};
      ++kept_in_all_;
      kept_.push_back(std::move(permit));
      return;
    }
    std::move(permit).report(verdict);
  }

  /// The sink itself: all of a batch, or nothing of it.
  void write(std::span<writer::item> batch) {
    if (sink_down_) throw std::runtime_error{"the sink is down"};
    for (writer::item& item : batch) {
      const message& m = *item.request();
      book_.delivered(m.id);
      latencies_.add(time_.passed() - m.offered);  // one batch at a time
      item.set_value();
    }
  }

  virtual_time& time_;
  ledger book_;
  latency_histogram latencies_;

  std::atomic<bool> sink_down_{false};
  std::atomic<bool> loader_down_{false};
  std::atomic<bool> keep_one_{false};
  std::atomic<bool> keep_probe_{false};

  message_queue queue_{{.capacity = 256}, time_.source()};
  limiter_of_user shares_{{.max_keys = 128},
                          [this](std::uint32_t) { return limiter{options_of_share(), time_.source()}; },
                          time_.source()};
  limiter limiter_{options_of_limiter(20), time_.source()};
  breaker breaker_{options_of_breaker(2), time_.source()};
  profile_cache profiles_{options_of_cache(), time_.source()};
  writer writer_{{.max_batch = 16, .max_waiting = 64, .linger = std::chrono::milliseconds{20}},
                 [this](std::span<writer::item> batch) { write(batch); },
                 time_.source()};

  std::mutex mutex_;
  std::vector<breaker::permit> kept_;  // guarded by mutex_
  std::atomic<std::uint64_t> kept_in_all_{0};
  std::array<std::uint64_t, fault_kinds> befallen_{};  // of the thread that begins the faults
  std::array<std::atomic<std::uint64_t>, dead_reasons> dead_{};
  std::atomic<std::uint64_t> limited_{0};
  std::atomic<std::uint64_t> failed_{0};
};

}  // namespace weir_test
