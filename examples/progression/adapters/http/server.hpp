// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weir/deadline.hpp>
#include <weir/stats.hpp>

/// An HTTP/1.1 server that sheds instead of queueing without bound.  It knows nothing of what it serves.
namespace progression {

/// One request.  The views are valid while its handler runs.
class http_request {
 public:
  std::string_view method;  ///< "GET", "POST", ...
  std::string_view path;    ///< without the query
  std::string_view query;   ///< what follows '?', as it was sent
  std::string_view body;
  weir::deadline deadline;  ///< an answer after this instant is of no use

  /// The value of a header, empty if it was not sent.  Names compare without case.
  [[nodiscard]] std::string_view header(std::string_view name) const {
    return find_ == nullptr ? std::string_view{} : find_(fields_, name);
  }

  /// The decoded value of `name` in the query, if it stands there.
  [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const;

 private:
  friend class http_session;
  using finder = std::string_view (*)(const void*, std::string_view);
  finder find_ = nullptr;
  const void* fields_ = nullptr;
};

struct http_response {
  int status = 200;
  std::string body = {};
  std::string content_type = "application/json";
  std::optional<std::chrono::seconds> retry_after = std::nullopt;
};

enum class http_lane : std::uint8_t {
  io,     ///< answered on the I/O thread at once: the handler must not block
  work,   ///< through the bounded work queue; the handler may block on a worker thread
  events  ///< becomes a stream of server-sent events; there is no handler
};

/// A GET answers HEAD too, except a stream.
struct http_route {
  std::string method;
  std::string path;
  http_lane lane = http_lane::work;
  std::function<http_response(const http_request&)> handle = {};
};

struct http_server_options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  ///< 0: any free one
  unsigned io_threads = 1;
  unsigned workers = 64;  ///< callers that may block in a handler at once
  std::size_t queue_capacity = 4096;
  std::size_t max_connections = 4096;
  std::size_t max_subscribers = 32;
  std::size_t subscriber_backlog = 64;  ///< events held for one subscriber; the oldest go first
  std::uint32_t header_limit = 8 * 1024;
  std::uint64_t body_limit = 1024 * 1024;
  std::chrono::milliseconds idle_timeout{30'000};  ///< for one whole request to arrive
  std::chrono::milliseconds write_timeout{5'000};
  std::chrono::milliseconds request_deadline{5'000};
  std::chrono::seconds retry_after{1};  ///< advice that goes with a full queue
};

/// Upper bounds in seconds of the buckets of `http_histogram`; one more bucket holds the rest.
inline constexpr std::array http_buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                         0.05,   0.1,   0.25,   0.5,   1.0,  2.5};

struct http_histogram {
  std::array<std::uint64_t, http_buckets.size() + 1> count{};  ///< by bucket, not cumulative
  double sum_seconds = 0;
};

struct http_server_stats {
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_refused = 0;  ///< above max_connections
  std::uint64_t connections = 0;
  std::uint64_t subscribers = 0;
  std::uint64_t events_dropped = 0;  ///< not sent because a subscriber was too slow
  std::uint64_t queue_depth = 0;
  std::uint64_t queue_capacity = 0;
  std::uint64_t queue_pushed = 0;
  std::uint64_t rejected_full = 0;
  std::uint64_t rejected_closed = 0;    ///< while draining
  std::uint64_t rejected_deadline = 0;  ///< the deadline came while the request waited in the queue
  std::vector<std::pair<int, std::uint64_t>> responses;  ///< by status
  http_histogram queue_wait;
  http_histogram work_time;  ///< from the last byte of the request to the answer
};

/// Serves `routes` until it is stopped.
///
/// Model       I/O threads own the connections and never block.  A request of the work lane waits in one
/// bounded
///             queue for one of the workers, or is refused with 503 and Retry-After when that is full.
/// Shutdown    `begin_drain` refuses what is new, `await_drained` waits for what was accepted, `stop` ends.
/// Thread safety  Every member from any thread, except the destructor.
class http_server {
 public:
  /// Binds and listens.  Throws std::system_error if that fails, std::invalid_argument for a bad option.
  http_server(http_server_options options, std::vector<http_route> routes);
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;
  ~http_server();

  /// Starts the threads; returns at once.
  void start();

  /// The port that was bound.
  [[nodiscard]] std::uint16_t port() const noexcept;

  /// Stops accepting connections; every new request of the work lane is refused with 503, Retry-After and
  /// Connection: close.  Idempotent.
  void begin_drain();
  [[nodiscard]] bool draining() const noexcept;

  /// Waits until everything that was accepted has been answered.  False if that took longer than `wait`.
  [[nodiscard]] bool await_drained(std::chrono::milliseconds wait);

  /// Ends: what still waits in the queue is dropped unanswered, running handlers are awaited, connections are
  /// closed.  Returns how many accepted requests were dropped.  Idempotent.
  std::size_t stop();

  /// Sends an event to every subscriber; never blocks.  `data` is one line.
  void publish(std::string_view event, std::string_view data);

  [[nodiscard]] http_server_stats stats() const;

 private:
  friend class http_session;
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace progression
