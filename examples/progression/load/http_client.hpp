// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// HTTP/1.1 from the other side, on plain sockets: it shares no code with the server that it judges.
namespace progression::load {

struct endpoint {
  std::string host;  ///< an IPv4 address
  std::uint16_t port = 0;
};

/// Of "http://127.0.0.1:8080".  Throws std::invalid_argument.
[[nodiscard]] endpoint parse_url(std::string_view url);

struct http_reply {
  int status = 0;
  std::string head;  ///< status line and headers
  std::string body;
  [[nodiscard]] std::optional<std::string> header(std::string_view name) const;
};

/// The bytes of a request.
[[nodiscard]] std::string http_request_text(std::string_view method, std::string_view target,
                                            std::string_view body, std::string_view more_headers = {});

/// Cuts a stream of bytes into replies.
class reply_reader {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }

  /// The next reply once it is complete.  Throws std::runtime_error on what is not HTTP.
  [[nodiscard]] std::optional<http_reply> next();

 private:
  std::string buffer_;
};

/// A socket that closes itself.
class socket_handle {
 public:
  socket_handle() = default;
  explicit socket_handle(int fd) noexcept : fd_{fd} {}
  socket_handle(socket_handle&& other) noexcept;
  socket_handle& operator=(socket_handle&& other) noexcept;
  ~socket_handle();
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Throws std::system_error if nobody listens.
[[nodiscard]] socket_handle connect_to(const endpoint& where);

/// One connection that waits for each answer.  Throws std::system_error, or std::runtime_error if the server
/// hangs up or says nothing for `timeout`.
class connection {
 public:
  explicit connection(const endpoint& where, std::chrono::milliseconds timeout = std::chrono::seconds{15});
  void send(std::string_view bytes);
  [[nodiscard]] http_reply receive();
  [[nodiscard]] http_reply request(std::string_view method, std::string_view target,
                                   std::string_view body = {}, std::string_view more_headers = {});
  /// What arrives until `done` says so, the server hangs up or `timeout` has passed since the last byte.
  [[nodiscard]] std::string read_until(const std::function<bool(std::string_view)>& done);

 private:
  [[nodiscard]] bool read_some(std::string& out);

  std::chrono::milliseconds timeout_;
  socket_handle socket_;
  reply_reader reader_;
};

/// What became of one request of a crowd.
struct answer {
  std::size_t index = 0;              ///< of the request
  const http_reply* reply = nullptr;  ///< nullptr: hung up, or not in time
  std::chrono::nanoseconds took{};    ///< since it was due
};

/// Many connections on one thread.
class crowd {
 public:
  /// Opens all connections, in turn to each of `servers`.
  crowd(std::vector<endpoint> servers, std::size_t connections,
        std::chrono::milliseconds timeout = std::chrono::seconds{10});
  ~crowd();
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;

  struct plan {
    std::size_t requests = 0;                      ///< in all
    double per_second = 0;                         ///< 0: as soon as a connection is free (closed loop)
    std::function<std::string(std::size_t)> text;  ///< of each request
    std::function<void(const answer&)> on_answer;
    std::function<bool()> stop = {};  ///< asked before each request; ends the run early
  };

  /// Returns when every request that was sent has its answer or has failed.  The first requests of a closed
  /// loop are made beforehand and leave together.  In an open loop a request that finds no free connection
  /// waits, and its time counts from when it was due.
  void run(const plan& p);

 private:
  struct member;
  void reopen(member& m);
  void send(member& m, std::string text, std::size_t index, std::chrono::steady_clock::time_point due);
  void flush(member& m);
  void finish(member& m, const http_reply* reply, const plan& p);
  void read(member& m, const plan& p);

  std::vector<endpoint> servers_;
  std::chrono::milliseconds timeout_;
  socket_handle poll_;
  std::vector<member> members_;
  std::vector<std::size_t> free_;
  std::size_t busy_ = 0;
};

}  // namespace progression::load
