// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <weir/bounded_queue.hpp>

#include "faults.hpp"
#include "pipeline.hpp"
#include "resources.hpp"

namespace weir_test {

inline constexpr std::uint64_t messages_an_hour = 36'000;
inline constexpr weir::duration between_messages = std::chrono::milliseconds{100};

struct soak_options {
  std::uint64_t hours = 1;
  std::uint64_t seed = 1;
  bool threads = false;
  std::optional<std::uint64_t> lose = std::nullopt;    ///< this message, to see that it is noticed
  std::optional<std::uint64_t> repeat = std::nullopt;  ///< the same; both on one thread only
};

/// What only the driver sees.
struct soak_watch {
  explicit soak_watch(std::uint64_t hours) : resident{60 + std::min<std::uint64_t>(hours, 10'000) * 60} {}

  void sample(weir::duration passed) {
    const std::chrono::duration<double, std::ratio<3600>> hours = passed;
    resident.add(hours.count(), resident_kib());
    most_descriptors = std::max(most_descriptors, open_descriptors());
    most_threads = std::max(most_threads, thread_count());
  }

  /// Whether every message that was accepted is somewhere.
  void check(const ledger_counts& c) {
    most_inside = std::max(most_inside, c.inside);
    unbalanced += c.accepted == c.delivered + c.dead + c.inside ? 0 : 1;
    ++checks;
  }

  trend resident;
  std::size_t most_descriptors = 0;
  std::size_t most_threads = 0;
  std::uint64_t out_of_order = 0;
  std::uint64_t checks = 0;
  std::uint64_t unbalanced = 0;
  std::uint64_t most_inside = 0;
};

[[nodiscard]] inline message make_message(std::uint64_t seed, std::uint64_t id, weir::duration now) {
  const std::uint64_t draw = mixed(seed + id);
  const auto user = static_cast<std::uint32_t>(draw % 100 == 0 ? 0 : (draw >> 8) % pipeline::users);
  return {.id = id, .user = user, .offered = now, .body = std::string(10 + (draw >> 40) % 50, 'm')};
}

/// How many messages of the future a burst brings forward.
[[nodiscard]] constexpr std::uint64_t size_of_burst(const fault& f) noexcept { return 60 + f.size; }

/// One thread, from event to event: the same seed gives the same run.
class single_driver {
 public:
  single_driver(const soak_options& options, virtual_time& time, pipeline& line, soak_watch& watch)
      : options_{options}, time_{time}, line_{line}, watch_{watch}, fault_{fault_of(options.seed, 0)} {}

  void run() {
    const std::uint64_t all = options_.hours * messages_an_hour;
    while (next_id_ != all) step(std::min({next_message_, next_fault(), wakes_}));
    if (begun_) end_fault();
    while (in_hand_ || line_.queue().size_approx() != 0) step(wakes_);
    line_.report_kept();
    line_.queue().close();
  }

 private:
  static constexpr weir::duration never = weir::duration::max();

  [[nodiscard]] weir::duration next_fault() const noexcept {
    return begun_ ? fault_.begins + fault_.lasts : fault_.begins;
  }

  void step(weir::duration at) {
    time_.advance_to(at);
    if (at >= next_fault()) begun_ ? end_fault() : begin_fault();
    while (at >= next_message_ && next_id_ != options_.hours * messages_an_hour) offer(at);
    if (at >= wakes_) consume(at);
  }

  void begin_fault() {
    begun_ = true;
    line_.begin(fault_);
    if (fault_.kind == fault_kind::burst) {
      const std::uint64_t left = options_.hours * messages_an_hour - next_id_;
      const std::uint64_t now = std::min(size_of_burst(fault_), left);
      for (std::uint64_t i = 0; i != now; ++i) offer(fault_.begins);
    }
    if (fault_.kind == fault_kind::consumer_stalls) wakes_ = never;
  }

  void end_fault() {
    line_.end(fault_);
    if (fault_.kind == fault_kind::consumer_stalls) wakes_ = time_.passed();
    begun_ = false;
    watch_.sample(time_.passed());
    const ledger_counts now = line_.book().counts();
    watch_.check(now);
    watch_.unbalanced += now.inside == line_.queue().size_approx() + (in_hand_ ? 1 : 0) ? 0 : 1;
    fault_ = fault_of(options_.seed, ++minute_);
  }

  void offer(weir::duration now) {
    const bool stalled = begun_ && fault_.kind == fault_kind::consumer_stalls;
    const bool idle = !in_hand_ && wakes_ == never;
    if (line_.offer(make_message(options_.seed, next_id_++, now)) && idle && !stalled) wakes_ = now;
    next_message_ += between_messages;
  }

  void consume(weir::duration now) {
    for (;;) {
      if (!in_hand_) {
        auto next = line_.queue().try_pop();
        if (!next) {
          wakes_ = never;
          return;
        }
        if (next_in_order_ > next->id) ++watch_.out_of_order;
        next_in_order_ = next->id + 1;
        in_hand_.emplace(std::move(*next));
      }
      if (in_hand_->id == options_.lose) {
        in_hand_.reset();
        continue;
      }
      if (in_hand_->id == options_.repeat && !std::exchange(repeated_, true)) {
        static_cast<void>(line_.queue().try_push(*in_hand_));
      }
      const pipeline::progress got = line_.attempt(*in_hand_);
      if (!got.settled) {
        wakes_ = now + got.again_in;
        return;
      }
      in_hand_.reset();
    }
  }

  const soak_options options_;
  virtual_time& time_;
  pipeline& line_;
  soak_watch& watch_;

  std::uint64_t minute_ = 0;
  fault fault_;         // of this minute
  bool begun_ = false;  // it has

  std::uint64_t next_id_ = 0;
  weir::duration next_message_{};
  weir::duration wakes_ = never;  // when the consumer looks again
  std::optional<message> in_hand_;
  std::uint64_t next_in_order_ = 0;
  bool repeated_ = false;
};

/// Real producers and consumers that wait in virtual time, which moves only while all of them wait: what is
/// asserted holds in every schedule, the figures depend on it.
class threads_driver {
 public:
  threads_driver(const soak_options& options, virtual_time& time, pipeline& line, soak_watch& watch)
      : options_{options}, time_{time}, line_{line}, watch_{watch}, fault_{fault_of(options.seed, 0)} {}

  void run() {
    std::vector<std::jthread> threads;
    for (std::uint64_t p = 0; p != producers; ++p) threads.emplace_back([this, p] { produce(p); });
    for (std::uint64_t c = 0; c != consumers; ++c) threads.emplace_back([this] { consume(); });
    for (weir::duration now{}; consuming_ != 0; now += tick) {
      time_.clock().await_sleepers(producers + consumers);
      if (producing_ == 0) line_.queue().close();
      time_.advance_to(now);
      meddle(now);
    }
    finished_ = true;
    time_.jump(std::chrono::hours{1});  // wakes whoever still naps
    threads.clear();
    line_.report_kept();
  }

 private:
  static constexpr std::uint64_t producers = 2;
  static constexpr std::uint64_t consumers = 3;
  static constexpr weir::duration tick = std::chrono::milliseconds{50};

  void meddle(weir::duration now) {
    if (!begun_ && now >= fault_.begins && minute_ != options_.hours * 60) {
      begun_ = true;
      stalled_ = fault_.kind == fault_kind::consumer_stalls;
      burst_ = fault_.kind == fault_kind::burst ? static_cast<std::int64_t>(size_of_burst(fault_)) : 0;
      line_.begin(fault_);
    } else if (begun_ && now >= fault_.begins + fault_.lasts) {
      begun_ = false;
      stalled_ = false;
      line_.end(fault_);
      watch_.sample(now);
      watch_.check(line_.book().counts());
      fault_ = fault_of(options_.seed, ++minute_);
    }
  }

  /// Waits in virtual time, in a queue to which nobody pushes.
  void nap(weir::duration d) { static_cast<void>(nothing_.pop_for(d)); }

  /// Time moves only while everybody waits: so does who is done.
  void nap_to_the_end() {
    while (!finished_) nap(std::chrono::minutes{1});
  }

  void produce(std::uint64_t id) {
    for (; id < options_.hours * messages_an_hour; id += producers) {
      const weir::duration due = between_messages * static_cast<std::int64_t>(id);
      if (burst_.fetch_sub(1) <= 0) {
        while (time_.passed() < due) nap(due - time_.passed());
      }
      line_.offer(make_message(options_.seed, id, time_.passed()));
    }
    --producing_;
    nap_to_the_end();
  }

  void consume() {
    for (;;) {
      auto next = line_.queue().pop_for(std::chrono::seconds{10});
      if (!next && next.error().reason == weir::refusal_reason::closed) break;
      if (!next) continue;
      for (;;) {
        while (stalled_) nap(std::chrono::milliseconds{500});
        const pipeline::progress got = line_.attempt(*next);
        if (got.settled) break;
        nap(got.again_in);
      }
    }
    --consuming_;
    nap_to_the_end();
  }

  const soak_options options_;
  virtual_time& time_;
  pipeline& line_;
  soak_watch& watch_;

  std::uint64_t minute_ = 0;
  fault fault_;         // of this minute
  bool begun_ = false;  // it has

  weir::bounded_queue<int, view> nothing_{{.capacity = 1}, time_.source()};
  std::atomic<std::uint64_t> producing_{producers};
  std::atomic<std::uint64_t> consuming_{consumers};
  std::atomic<bool> finished_{false};
  std::atomic<bool> stalled_{false};
  std::atomic<std::int64_t> burst_{0};
};

}  // namespace weir_test
