// SPDX-License-Identifier: BSL-1.0
#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "adapters/http/api.hpp"

namespace progression {

namespace {

/// Writes families of samples; a family's header goes before its first sample.
class exposition {
 public:
  exposition& family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    out_.append("# HELP ").append(name).append(" ").append(help).append("\n");
    out_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
    return *this;
  }
  exposition& counter(std::string_view name, std::string_view help) { return family(name, "counter", help); }
  exposition& gauge(std::string_view name, std::string_view help) { return family(name, "gauge", help); }

  template <class Number>
  exposition& sample(std::string_view labels, Number value) {
    return line("", labels, value);
  }

  void histogram(std::string_view name, std::string_view help, std::string_view labels,
                 const http_histogram& h) {
    family(name, "histogram", help);
    const std::string prefix = labels.empty() ? std::string{} : std::string{labels} + ",";
    std::uint64_t total = 0;
    for (std::size_t i = 0; i != h.count.size(); ++i) {
      total += h.count[i];
      std::string bound = "+Inf";
      if (i != http_buckets.size()) bound = text(http_buckets[i]);
      line("_bucket", prefix + "le=\"" + bound + "\"", total);
    }
    line("_sum", labels, h.sum_seconds);
    line("_count", labels, total);
  }

  [[nodiscard]] std::string take() && { return std::move(out_); }

 private:
  template <class Number>
  static std::string text(Number value) {
    std::array<char, 40> digits;
    return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
  }

  template <class Number>
  exposition& line(std::string_view suffix, std::string_view labels, Number value) {
    out_.append(name_).append(suffix);
    if (!labels.empty()) out_.append("{").append(labels).append("}");
    out_.append(" ").append(text(value)).append("\n");
    return *this;
  }

  std::string out_;
  std::string name_;
};

std::string label(std::string_view name, std::string_view value) {
  return std::string{name}.append("=\"").append(value).append("\"");
}

}  // namespace

std::string metrics_text(const service_stats& app, const http_server_stats& server, bool ready) {
  exposition e;
  e.gauge("progression_ready", "Whether the store answered when it was last asked.")
      .sample("", ready ? 1 : 0);
  e.counter("progression_messages_total", "Messages by what became of them.")
      .sample(label("outcome", "accepted"), app.accepted)
      .sample(label("outcome", "duplicate"), app.duplicates)
      .sample(label("outcome", "invalid"), app.invalid)
      .sample(label("outcome", "rate_limited_user"), app.refused_user_rate)
      .sample(label("outcome", "rate_limited_total"), app.refused_total_rate)
      .sample(label("outcome", "circuit_open"), app.refused_circuit)
      .sample(label("outcome", "full"), app.refused_full)
      .sample(label("outcome", "timed_out"), app.refused_timed_out)
      .sample(label("outcome", "closed"), app.refused_closed)
      .sample(label("outcome", "store_error"), app.store_errors);

  e.counter("progression_store_statements_total",
            "Statements sent to the database, BEGIN and COMMIT included.")
      .sample("", app.store.statements);
  e.counter("progression_store_commits_total", "Transactions that changed something.")
      .sample("", app.store.commits);
  e.gauge("progression_store_connections", "Connections to the database.")
      .sample(label("state", "open"), app.store.connections_open)
      .sample(label("state", "used"), app.store.connections_in_use);
  e.counter("progression_store_acquire_timeouts_total", "Waits for a connection that ended without one.")
      .sample("", app.store.acquire_timeouts);

  e.counter("progression_batches_total", "Commits of the batcher.").sample("", app.batches);
  e.counter("progression_batched_messages_total", "Messages in those commits.")
      .sample("", app.batched_messages);
  e.gauge("progression_largest_batch", "Messages in the largest commit.").sample("", app.largest_batch);
  e.gauge("progression_waiting_callers", "Callers that wait for their commit.").sample("", app.waiting);

  e.counter("progression_unlocks_total", "Unlocks committed by this process.").sample("", app.unlocks);
  e.counter("progression_steps_total", "Steps of the cycle committed by this process.").sample("", app.steps);
  e.counter("progression_sink_errors_total", "Events that a listener threw on.").sample("", app.sink_errors);

  // What the parts of weir say, under the names of their kind.
  e.counter("weir_cache_gets_total", "Lookups.")
      .sample(R"(name="weights",result="hit")", app.weight_hits)
      .sample(R"(name="weights",result="miss")", app.weight_loads);
  e.counter("weir_cache_loads_total", "Loads by the cache.").sample(R"(name="weights")", app.weight_loads);
  const std::uint64_t runs = app.checks + app.failed_checks;
  e.counter("weir_gate_runs_total", "Triggers of a gated task by what became of them.")
      .sample(R"(name="unlock_check",outcome="ran")", app.checks)
      .sample(R"(name="unlock_check",outcome="skipped")",
              app.check_triggers > runs ? app.check_triggers - runs : std::uint64_t{0})
      .sample(R"(name="unlock_check",outcome="failed")", app.failed_checks);
  e.counter("weir_limiter_permits_total", "Requests for a permit.")
      .sample(R"(name="user",outcome="denied")", app.refused_user_rate)
      .sample(R"(name="total",outcome="denied")", app.refused_total_rate);
  e.gauge("weir_limiter_keys", "Keys that the limiter remembers.")
      .sample(R"(name="user")", app.tracked_users);
  e.gauge("weir_breaker_state", "1 for the state that the breaker is in.");
  for (const std::string_view state : {"closed", "open", "half_open", "off"}) {
    e.sample(R"(name="store",)" + label("state", state), app.circuit == state ? 1 : 0);
  }
  e.counter("weir_breaker_transitions_total", "Changes of state.")
      .sample(R"(name="store",to="open")", app.circuit_opened);
  e.counter("weir_breaker_calls_total", "Calls through the breaker.")
      .sample(R"(name="store",outcome="rejected")", app.refused_circuit);
  e.counter("weir_retry_attempts_total", "Attempts, the first included.")
      .sample(R"(name="store")", app.attempts);
  e.counter("weir_retry_retries_total", "Attempts after the first.").sample(R"(name="store")", app.retries);

  constexpr std::string_view queue = R"(name="http")";
  e.gauge("weir_queue_depth", "Items that wait.").sample(queue, server.queue_depth);
  e.gauge("weir_queue_capacity", "Items that may wait.").sample(queue, server.queue_capacity);
  e.counter("weir_queue_pushed_total", "Items taken.").sample(queue, server.queue_pushed);
  e.counter("weir_queue_rejected_total", "Items not taken, or given up when their deadline came.")
      .sample(R"(name="http",reason="full")", server.rejected_full)
      .sample(R"(name="http",reason="closed")", server.rejected_closed)
      .sample(R"(name="http",reason="deadline")", server.rejected_deadline);
  e.histogram("weir_queue_wait_seconds", "Time in the queue.", queue, server.queue_wait);

  e.counter("http_responses_total", "Responses by status.");
  for (const auto& [status, n] : server.responses) e.sample(label("code", std::to_string(status)), n);
  e.histogram("http_work_seconds", "From the last byte of a request to its answer, work lane.", "",
              server.work_time);
  e.gauge("http_connections", "Open connections.").sample("", server.connections);
  e.counter("http_connections_accepted_total", "Connections taken.").sample("", server.connections_accepted);
  e.counter("http_connections_refused_total", "Connections above the cap.")
      .sample("", server.connections_refused);
  e.gauge("http_subscribers", "Open event streams.").sample("", server.subscribers);
  e.counter("http_events_dropped_total", "Events not sent because a subscriber was too slow.")
      .sample("", server.events_dropped);
  return std::move(e).take();
}

}  // namespace progression
