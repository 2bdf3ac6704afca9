// SPDX-License-Identifier: BSL-1.0

// Ten messages a second for N virtual hours through
//
//   bounded_queue -> keyed<token_bucket> -> token_bucket -> circuit_breaker -> ttl_cache -> batcher -> sink
//
// with one fault in each virtual minute, and an account of every message.
//
//   soak [--hours N] [--threads] [--seed S] [--json FILE] [--lose ID] [--repeat ID]
//
// --threads         real producers and consumers; else one thread, and the same seed gives the same run
// --lose, --repeat  does that to a message, which must be noticed; not with --threads
// Exit status       0 if all that must hold did, 1 if not, 2 if the arguments are wrong

#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "drivers.hpp"
#include "faults.hpp"
#include "latency.hpp"
#include "ledger.hpp"
#include "pipeline.hpp"
#include "resources.hpp"

namespace {

using namespace weir_test;

// From so many hours on the slope is that of the run, not of its beginning.
constexpr std::uint64_t hours_of_the_long_form = 100;
constexpr double most_kib_an_hour = 1.0;

/// Figures by name, and what of them must hold.
class account {
 public:
  void figure(std::string name, std::uint64_t value) { figures_.emplace_back(std::move(name), value); }
  void figure(std::string name, double value) { figures_.emplace_back(std::move(name), value); }
  void must(std::string what, bool holds) { claims_.emplace_back(std::move(what), holds); }

  [[nodiscard]] bool good() const {
    for (const auto& [what, holds] : claims_) {
      if (!holds) return false;
    }
    return true;
  }

  void print(std::ostream& out) const {
    for (const auto& [name, value] : figures_) {
      out << std::left << std::setw(40) << name << std::right << std::setw(14) << text_of(value) << '\n';
    }
    for (const auto& [what, holds] : claims_) {
      if (!holds) out << "does not hold: " << what << '\n';
    }
    out << claims_.size() << " claims, " << (good() ? "all hold" : "not all hold") << '\n';
  }

  void write_json(std::ostream& out) const {
    out << "{\n";
    for (const auto& [name, value] : figures_) out << "  \"" << name << "\": " << text_of(value) << ",\n";
    out << "  \"claims\": {\n";
    for (std::size_t i = 0; i != claims_.size(); ++i) {
      out << "    \"" << claims_[i].first << "\": " << (claims_[i].second ? "true" : "false")
          << (i + 1 == claims_.size() ? "\n" : ",\n");
    }
    out << "  },\n  \"verdict\": \"" << (good() ? "holds" : "violated") << "\"\n}\n";
  }

 private:
  using number = std::variant<std::uint64_t, double>;

  static std::string text_of(const number& n) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(3);
    std::visit([&](auto value) { out << value; }, n);
    return out.str();
  }

  std::vector<std::pair<std::string, number>> figures_;
  std::vector<std::pair<std::string, bool>> claims_;
};

void judge_messages(account& to, const soak_options& options, pipeline& line, const soak_watch& watch) {
  const ledger_counts c = line.book().counts();
  const weir::bounded_queue_stats q = line.queue().stats();
  to.figure("messages offered", c.offered);
  to.figure("messages refused at the door", c.refused);
  to.figure("messages accepted", c.accepted);
  to.figure("messages delivered", c.delivered);
  to.figure("dead: too old", line.dead(dead_reason::too_old));
  to.figure("dead: failed too often", line.dead(dead_reason::failed_too_often));
  to.figure("dead: over the share of the user", line.dead(dead_reason::over_share));
  to.figure("most inside", watch.most_inside);
  to.figure("inside after draining", c.inside);
  to.figure("lost", c.lost);
  to.figure("duplicated", c.duplicated);
  to.figure("out of order", watch.out_of_order);

  to.must("every message of the hours was offered", c.offered == options.hours * messages_an_hour);
  to.must("offered == accepted + refused", c.offered == c.accepted + c.refused);
  to.must("accepted == delivered + dead + inside", c.accepted == c.delivered + c.dead + c.inside);
  to.must("so it was at the end of each fault", watch.checks > 0 && watch.unbalanced == 0);
  to.must("many were inside at some time", watch.most_inside > 100);
  to.must("nothing is left inside", c.inside == 0 && q.left == 0);
  to.must("nothing is lost", c.lost == 0);
  to.must("nothing is duplicated", c.duplicated == 0);
  to.must("nothing is out of order", watch.out_of_order == 0);
  to.must("the queue counts the same",
          q.pushed == c.accepted && q.popped == c.accepted && q.rejected == c.refused && q.dropped == 0);
  to.must("each delivery has a latency", line.latencies().count() == c.delivered);
  to.must("most messages are delivered", c.delivered * 10 >= c.offered * 8);
}

void judge_components(account& to, const soak_options& options, pipeline& line) {
  const auto breaker = line.stats_of_breaker();
  const auto cache = line.stats_of_cache();
  const auto shares = line.stats_of_shares();
  const auto writer = line.stats_of_writer();
  to.figure("limiter refusals", line.limited());
  to.figure("attempts that failed", line.failed());
  to.figure("breaker opened", breaker.opened);
  to.figure("breaker refusals", breaker.refused);
  to.figure("breaker late results", breaker.late);
  to.figure("permits kept past a fault", line.kept());
  to.figure("cache hits", cache.hits);
  to.figure("cache loads", cache.loads_ok);
  to.figure("cache loads that failed", cache.loads_failed);
  to.figure("cache loads joined", cache.joined);
  to.figure("keys made", shares.created);
  to.figure("keys forgotten as new", shares.evicted_as_new);
  to.figure("keys forgotten for room", shares.evicted_forced);
  to.figure("batches", writer.batches);
  to.figure("largest batch", writer.largest_batch);
  std::uint64_t kinds = 0;
  std::uint64_t faults = 0;
  for (std::size_t i = 0; i != fault_kinds; ++i) {
    const auto kind = static_cast<fault_kind>(i);
    to.figure("fault: " + std::string{to_string(kind)}, line.befallen(kind));
    faults += line.befallen(kind);
    kinds += line.befallen(kind) > 0 ? 1 : 0;
  }

  to.must("each minute has its fault", faults == options.hours * 60);
  to.must("each kind of fault occurred", kinds == fault_kinds);
  to.must("the queue was full", line.book().counts().refused > 0);
  to.must("limiter and breaker refused", line.limited() > 0 && breaker.refused > 0);
  // Once for each takes that it closed in between.
  to.must("the breaker opened for each failing sink",
          breaker.opened >= line.befallen(fault_kind::sink_fails));
  to.must("results came late", breaker.late > 0 && line.kept() > 0);
  to.must("loads succeeded and failed", cache.loads_ok > 0 && cache.loads_failed > 0 && cache.hits > 0);
  to.must("no load is left running", cache.in_flight == 0);
  to.must("the cache holds what was loaded and has not left",
          cache.loads_ok == cache.entries + cache.explicit_ + cache.replaced + cache.expired + cache.evicted +
                                cache.rejected);
  to.must("every key made is there or was forgotten",
          shares.created == shares.keys + shares.evicted_as_new + shares.evicted_forced + shares.erased);
  to.must("keys were forgotten, as new and for room", shares.evicted_as_new > 0 && shares.evicted_forced > 0);
  to.must("values left the cache for each reason",
          cache.expired > 0 && cache.evicted > 0 && cache.explicit_ > 0);
  to.must("messages died of each reason", line.dead(dead_reason::too_old) > 0 &&
                                              line.dead(dead_reason::failed_too_often) > 0 &&
                                              line.dead(dead_reason::over_share) > 0);
  to.must("nobody waits for a batch", writer.waiting == 0);
}

/// A thread that was joined is still listed for a moment.
bool settles_at(std::size_t threads) {
  for (int i = 0; i != 10'000 && thread_count() > threads; ++i) std::this_thread::yield();
  return thread_count() <= threads;
}

void judge_resources(account& to, const soak_options& options, const soak_watch& watch, std::size_t files,
                     std::size_t threads) {
  to.figure("resident KiB at first", watch.resident.first());
  to.figure("resident KiB at last", watch.resident.last());
  to.figure("resident KiB per virtual hour", watch.resident.slope());
  to.figure("most open descriptors", watch.most_descriptors);
  to.figure("most threads", watch.most_threads);

  to.must("as many descriptors are open as at first", open_descriptors() == files);
  to.must("no descriptor was opened on the way", watch.most_descriptors <= files);
  to.must("no more threads run than at first", settles_at(threads));
  if (options.hours >= hours_of_the_long_form) {
    to.must("resident memory grows by less than 1 KiB per virtual hour",
            watch.resident.slope() < most_kib_an_hour);
  }
}

account soak(const soak_options& options) {
  const auto began = std::chrono::steady_clock::now();
  soak_watch watch{options.hours};
  const std::size_t files = open_descriptors();
  std::jthread{[] {}}.join();  // a sanitizer starts its own thread with the first
  const std::size_t threads = settles_at(1) ? 1 : thread_count();
  virtual_time time;
  pipeline line{time};
  if (options.threads) {
    threads_driver{options, time, line, watch}.run();
  } else {
    single_driver{options, time, line, watch}.run();
  }

  account to;
  to.figure("virtual hours", options.hours);
  to.figure("seed", options.seed);
  to.figure("clock jumped, s", std::chrono::duration<double>(time.jumped()).count());
  judge_messages(to, options, line, watch);
  const latency_histogram& l = line.latencies();
  to.figure("virtual latency p50, ms", l.percentile_ms(0.5));
  to.figure("virtual latency p99, ms", l.percentile_ms(0.99));
  to.figure("virtual latency p99.9, ms", l.percentile_ms(0.999));
  to.figure("virtual latency max, ms", l.max_ms());
  judge_components(to, options, line);
  judge_resources(to, options, watch, files, threads);
  to.figure("wall seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  return to;
}

}  // namespace

int main(int count, char** words) try {
  soak_options options;
  std::string json;
  const std::vector<std::string_view> arguments(words + 1, words + count);
  for (std::size_t i = 0; i != arguments.size(); ++i) {
    const auto value = [&] { return std::string{arguments.at(++i)}; };
    if (arguments[i] == "--hours") {
      options.hours = std::stoull(value());
    } else if (arguments[i] == "--seed") {
      options.seed = std::stoull(value());
    } else if (arguments[i] == "--json") {
      json = value();
    } else if (arguments[i] == "--lose") {
      options.lose = std::stoull(value());
    } else if (arguments[i] == "--repeat") {
      options.repeat = std::stoull(value());
    } else if (arguments[i] == "--threads") {
      options.threads = true;
    } else {
      throw std::invalid_argument{"unknown argument"};
    }
  }
  if (options.hours == 0) throw std::invalid_argument{"--hours must be positive"};

  const account got = soak(options);
  got.print(std::cout);
  if (!json.empty()) {
    std::ofstream out{json};
    got.write_json(out);
    if (!out.flush()) throw std::runtime_error{"cannot write " + json};
  }
  return got.good() ? 0 : 1;
} catch (const std::exception& e) {
  std::cerr << "soak: " << e.what()
            << "\nusage: soak [--hours N] [--threads] [--seed S] [--json FILE] [--lose ID] [--repeat ID]\n";
  return 2;
}
