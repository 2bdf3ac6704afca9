// SPDX-License-Identifier: BSL-1.0
#include "adapters/http/server.hpp"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>

#include <weir/bounded_queue.hpp>

namespace progression {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;

namespace {

using steady = std::chrono::steady_clock;

constexpr auto sse_heartbeat = std::chrono::seconds{15};
constexpr std::size_t refusing_connections =
    64;  // above the cap, so many are told; the rest is closed at once

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

class histogram {
 public:
  void add(steady::duration took) noexcept {
    const double seconds = std::chrono::duration<double>(took).count();
    const auto* const bucket = std::lower_bound(http_buckets.begin(), http_buckets.end(), seconds);
    counts_[static_cast<std::size_t>(bucket - http_buckets.begin())].add();
    nanoseconds_.add(static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::nanoseconds>(took).count())));
  }
  [[nodiscard]] http_histogram read() const {
    http_histogram result;
    for (std::size_t i = 0; i != counts_.size(); ++i) result.count[i] = counts_[i].value();
    result.sum_seconds = static_cast<double>(nanoseconds_.value()) * 1e-9;
    return result;
  }

 private:
  std::array<weir::event_counter, http_buckets.size() + 1> counts_;
  weir::event_counter nanoseconds_;
};

/// Accepted requests that are not answered yet; the drain waits for zero.
class in_flight {
 public:
  class token {
   public:
    token() = default;
    explicit token(in_flight& owner) : owner_{&owner} {
      // seq_cst: this store, then the load of `draining`, against the drain's store of it, then its load of
      // this.
      owner.count_.fetch_add(1, std::memory_order_seq_cst);
    }
    token(token&& other) noexcept : owner_{std::exchange(other.owner_, nullptr)} {}
    token& operator=(token&& other) noexcept {
      if (this != &other) {
        leave();
        owner_ = std::exchange(other.owner_, nullptr);
      }
      return *this;
    }
    ~token() { leave(); }

   private:
    void leave() noexcept {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->leave();
    }
    in_flight* owner_ = nullptr;
  };

  [[nodiscard]] bool await_none(std::chrono::milliseconds wait) {
    std::unique_lock lock{mutex_};
    // seq_cst: see token; [A] and acquire, pairs with [B]: what was answered is done when zero is seen.
    return none_.wait_for(lock, wait, [this] { return count_.load(std::memory_order_seq_cst) == 0; });
  }

 private:
  void leave() noexcept {
    // [B] release, pairs with [A].
    if (count_.fetch_sub(1, std::memory_order_release) == 1) {
      const std::lock_guard lock{mutex_};
      none_.notify_all();
    }
  }

  std::atomic<std::int64_t> count_{0};
  std::mutex mutex_;
  std::condition_variable none_;
};

void append_number(std::string& out, std::uint64_t n) {
  std::array<char, 24> digits;
  out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), n).ptr);
}

http_response error_reply(int status, std::string_view error) {
  return {.status = status, .body = R"({"error":")" + std::string{error} + "\"}"};
}

http_response refusal_reply(std::string_view error, weir::refusal_reason reason, std::chrono::seconds after) {
  http_response r{.status = 503, .retry_after = after};
  r.body = R"({"error":")" + std::string{error} + R"(","reason":")" + std::string{to_string(reason)} +
           R"(","retry_after_ms":)" +
           std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(after).count()) + "}";
  return r;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string url_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

std::optional<std::string> http_request::parameter(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (url_decoded(pair.substr(0, equals)) == name) {
      return url_decoded(pair.substr(std::min(pair.size(), equals + 1)));
    }
  }
  return std::nullopt;
}

class http_session;

namespace {

struct job {
  std::shared_ptr<http_session> session;
  const http_route* route = nullptr;
  steady::time_point pushed;
};

using text = std::shared_ptr<const std::string>;

}  // namespace

struct http_server::impl {
  impl(http_server_options chosen, std::vector<http_route> table);

  void accept();
  void on_accept(error_code ec, tcp::socket socket);
  void work();
  void subscribe(const std::shared_ptr<http_session>& session);

  const http_server_options options;
  const std::vector<http_route> routes;

  std::atomic<bool> draining{false};
  in_flight pending;
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> subscribers{0};
  weir::event_counter accepted, refused, events_dropped, pushed, rejected_full, rejected_closed,
      rejected_deadline;
  std::array<weir::event_counter, 600> responses;  // by status
  histogram queue_wait, work_time;

  weir::bounded_queue<job> queue;
  std::mutex lifecycle;  // guards the threads and `ended`
  std::vector<std::jthread> workers;
  bool ended = false;

  std::mutex hub_lock;                           // a leaf
  std::vector<std::weak_ptr<http_session>> hub;  // guarded by hub_lock

  // Last, so that it goes first: the handlers that it still holds own sessions, which use what stands above.
  asio::io_context io;
  tcp::acceptor acceptor;  // on a strand of its own, as is the timer
  asio::steady_timer accept_pause;
  std::uint16_t bound_port = 0;
  std::vector<std::jthread> io_threads;
};

/// One connection.  Everything but `handle` runs on its strand.
class http_session : public std::enable_shared_from_this<http_session> {
 public:
  http_session(http_server::impl& server, tcp::socket socket)
      : server_{server},
        stream_{std::move(socket)},
        // Bounded: what the parser cannot take yet, such as a chunk header without an end, stays in here.
        buffer_{std::size_t{server.options.header_limit} + most_at_once} {
    // [relaxed] A count of connections orders nothing.
    server_.connections.fetch_add(1, std::memory_order_relaxed);
  }
  http_session(const http_session&) = delete;
  http_session& operator=(const http_session&) = delete;
  ~http_session() {
    server_.connections.fetch_sub(1, std::memory_order_relaxed);                // [relaxed] as above
    if (backlog_) server_.subscribers.fetch_sub(1, std::memory_order_relaxed);  // [relaxed] as above
  }

  void start() {
    asio::dispatch(stream_.get_executor(), [self = shared_from_this()] { self->read(); });
  }

  void start_refusing() {
    asio::dispatch(stream_.get_executor(), [self = shared_from_this()] {
      self->keep_alive_ = false;
      self->respond(refusal_reply("too many connections", weir::refusal_reason::full,
                                  self->server_.options.retry_after));
    });
  }

  /// On a worker thread: runs the handler and sends its answer.
  void handle(const http_route& route) {
    http_response r;
    try {
      r = route.handle(request_);
    } catch (...) {
      r = error_reply(500, "internal error");
    }
    server_.work_time.add(steady::now() - received_);
    answer(std::move(r));
  }

  void refuse_late() {
    answer(refusal_reply("the request waited too long", weir::refusal_reason::timed_out,
                         server_.options.retry_after));
  }

  [[nodiscard]] weir::deadline deadline() const noexcept { return request_.deadline; }

  /// From any thread.
  void offer(const text& event) {
    (void)backlog_->try_push(text{event});
    // [C] acq_rel, pairs with [D]: whoever finds the wake-up pending knows that it will see this event.
    if (!wake_pending_.exchange(true, std::memory_order_acq_rel)) {
      asio::post(stream_.get_executor(), [self = shared_from_this()] {
        self->wake_pending_.exchange(false, std::memory_order_acq_rel);  // [D] acq_rel, pairs with [C]
        if (!self->writing_) self->write_next();
      });
    }
  }

 private:
  void answer(http_response r) {
    asio::post(stream_.get_executor(),
               [self = shared_from_this(), r = std::move(r)]() mutable { self->respond(std::move(r)); });
  }

  void read() {
    parser_.emplace();
    parser_->header_limit(server_.options.header_limit);
    parser_->body_limit(server_.options.body_limit);
    stream_.expires_after(server_.options.idle_timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            beast::bind_front_handler(&http_session::on_header, shared_from_this()));
  }

  void on_header(error_code ec, std::size_t) {
    if (ec) return on_read_error(ec);
    const auto& message = parser_->get();
    if (const auto length = parser_->content_length(); length && *length > 4096)
      buffer_.reserve(most_at_once);
    if (!parser_->is_done() && message.version() == 11 &&
        beast::iequals(message[http::field::expect], "100-continue")) {
      asio::async_write(stream_, asio::buffer(go_ahead.data(), go_ahead.size()),
                        [self = shared_from_this()](error_code e, std::size_t) {
                          if (!e) self->read_body();
                        });
      return;
    }
    read_body();
  }

  void read_body() {
    if (parser_->is_done()) return on_request();
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code ec, std::size_t) {
      if (ec) return self->on_read_error(ec);
      self->on_request();
    });
  }

  void on_read_error(error_code ec) {
    keep_alive_ = false;
    if (ec == http::error::body_limit) return respond(error_reply(413, "body too large"));
    if (ec == http::error::header_limit) return respond(error_reply(431, "header too large"));
    if (ec == http::error::end_of_stream || ec == http::error::partial_message) return close();
    if (ec.category() == http::make_error_code(http::error::bad_method).category()) {
      return respond(error_reply(400, "malformed request"));
    }
    // Anything else is the connection itself: nobody is there to answer.
  }

  void on_request() {
    received_ = steady::now();
    const auto& message = parser_->get();
    request_.method = view(message.method_string());
    const std::string_view target = view(message.target());
    const std::size_t mark = std::min(target.find('?'), target.size());
    request_.path = target.substr(0, mark);
    request_.query = target.substr(std::min(target.size(), mark + 1));
    request_.body = message.body();
    request_.deadline = weir::deadline::after(received_, server_.options.request_deadline);
    request_.fields_ = &message.base();
    request_.find_ = [](const void* fields, std::string_view name) {
      return view((*static_cast<const http::fields*>(fields))[beast::string_view{name.data(), name.size()}]);
    };
    version_ = message.version();
    keep_alive_ = message.keep_alive();
    head_only_ = message.method() == http::verb::head;

    const http_route* found = nullptr;
    allowed_.clear();
    for (const http_route& route : server_.routes) {
      if (route.path != request_.path) continue;
      const bool has_head = route.method == "GET" && route.lane != http_lane::events;
      if (route.method == request_.method || (head_only_ && has_head)) {
        found = &route;
        break;
      }
      if (!allowed_.empty()) allowed_ += ", ";
      allowed_ += route.method;
      if (has_head) allowed_ += ", HEAD";
    }
    if (found == nullptr) {
      return respond(allowed_.empty() ? error_reply(404, "no such path")
                                      : error_reply(405, "method not allowed"));
    }
    allowed_.clear();
    if (found->lane == http_lane::events) return stream_events();
    if (found->lane == http_lane::io) {
      http_response r;
      try {
        r = found->handle(request_);
      } catch (...) {
        r = error_reply(500, "internal error");
      }
      return respond(std::move(r));
    }
    enqueue(*found);
  }

  void enqueue(const http_route& route) {
    pending_ = in_flight::token{server_.pending};
    // seq_cst: see in_flight::token.  Who misses the flag is counted, and the drain waits for it.
    if (server_.draining.load(std::memory_order_seq_cst)) {
      server_.rejected_closed.add();
      return respond(refusal_reply("the service is shutting down", weir::refusal_reason::closed,
                                   server_.options.retry_after));
    }
    if (!server_.queue.try_push(job{shared_from_this(), &route, steady::now()})) {
      server_.rejected_full.add();
      return respond(refusal_reply("the service is overloaded", weir::refusal_reason::full,
                                   server_.options.retry_after));
    }
    server_.pushed.add();
  }

  void respond(http_response r) {
    // [relaxed] Advice to the client only.
    if (server_.draining.load(std::memory_order_relaxed)) keep_alive_ = false;
    const int status = r.status >= 100 && r.status < 600 ? r.status : 500;
    server_.responses[static_cast<std::size_t>(status)].add();

    out_.clear();
    out_ += "HTTP/1.1 ";
    append_number(out_, static_cast<std::uint64_t>(status));
    out_ += ' ';
    out_ += view(http::obsolete_reason(static_cast<http::status>(status)));
    out_ += "\r\nContent-Type: ";
    out_ += r.content_type;
    out_ += "\r\nContent-Length: ";
    append_number(out_, r.body.size());
    if (r.retry_after) {
      out_ += "\r\nRetry-After: ";
      append_number(out_, static_cast<std::uint64_t>(std::max<std::int64_t>(1, r.retry_after->count())));
    }
    if (!allowed_.empty()) {
      out_ += "\r\nAllow: ";
      out_ += allowed_;
    }
    if (!keep_alive_) {
      out_ += "\r\nConnection: close";
    } else if (version_ < 11) {
      out_ += "\r\nConnection: keep-alive";
    }
    out_ += "\r\n\r\n";
    if (!head_only_) out_ += r.body;

    stream_.expires_after(server_.options.write_timeout);
    asio::async_write(stream_, asio::buffer(out_),
                      beast::bind_front_handler(&http_session::on_written, shared_from_this()));
  }

  void on_written(error_code ec, std::size_t) {
    pending_ = {};
    if (ec) return;
    if (out_.capacity() > 64 * 1024) out_ = {};
    if (keep_alive_) return read();
    close();
  }

  /// Ends our side first and reads what is still under way, so that the last answer is not lost to a reset.
  void close() {
    error_code ignored;
    std::ignore = stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(std::chrono::seconds{1});
    discard(0);
  }

  void discard(std::size_t so_far) {
    if (so_far > 4 * 1024 * 1024) return;
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(16 * 1024),
                            [self = shared_from_this(), so_far](error_code ec, std::size_t n) {
                              if (!ec) self->discard(so_far + n);
                            });
  }

  // Server-sent events.  The stream ends with the connection, so it needs no chunks.
  void stream_events() {
    // [relaxed] The cap is exact because the count itself is what is tested.
    if (server_.subscribers.fetch_add(1, std::memory_order_relaxed) >= server_.options.max_subscribers) {
      server_.subscribers.fetch_sub(1, std::memory_order_relaxed);  // [relaxed] as above
      return respond(
          refusal_reply("too many subscribers", weir::refusal_reason::full, server_.options.retry_after));
    }
    backlog_.emplace(weir::bounded_queue_options{.capacity = server_.options.subscriber_backlog,
                                                 .overflow = weir::overflow_policy::drop_oldest},
                     [&dropped = server_.events_dropped](text&&) { dropped.add(); });
    server_.responses[200].add();
    server_.subscribe(shared_from_this());
    out_ =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n: listening\n\n";
    heartbeat_.emplace(stream_.get_executor());
    write_event(nullptr);
    watch_for_close();
    beat();
  }

  void write_next() {
    if (auto event = backlog_->try_pop()) write_event(std::move(*event));
  }

  /// `event`, or what stands in `out_` if there is none.
  void write_event(text event) {
    writing_ = true;
    const auto bytes = event ? asio::buffer(*event) : asio::buffer(std::as_const(out_));
    stream_.expires_after(server_.options.write_timeout);
    asio::async_write(stream_, bytes,
                      [self = shared_from_this(), event = std::move(event)](error_code ec, std::size_t) {
                        self->writing_ = false;
                        if (ec) return self->abandon();
                        self->stream_.expires_never();
                        self->write_next();
                      });
  }

  void beat() {
    heartbeat_->expires_after(sse_heartbeat);
    heartbeat_->async_wait([weak = weak_from_this()](error_code ec) {
      const auto self = weak.lock();
      if (ec || !self) return;
      static const text comment = std::make_shared<const std::string>(": still here\n\n");
      if (!self->writing_) self->write_event(comment);
      self->beat();
    });
  }

  /// A subscriber says nothing more, so that a read ends only when it leaves.
  void watch_for_close() {
    buffer_.clear();
    stream_.socket().async_read_some(buffer_.prepare(512),
                                     [self = shared_from_this()](error_code ec, std::size_t) {
                                       if (ec) return self->abandon();
                                       self->watch_for_close();
                                     });
  }

  void abandon() {
    heartbeat_->cancel();
    error_code ignored;
    std::ignore = stream_.socket().close(ignored);
  }

  static constexpr std::size_t most_at_once = std::size_t{64} * 1024;
  static constexpr std::string_view go_ahead = "HTTP/1.1 100 Continue\r\n\r\n";

  http_server::impl& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http_request request_;
  steady::time_point received_;
  in_flight::token pending_;
  std::string out_;
  std::string allowed_;
  unsigned version_ = 11;
  bool keep_alive_ = true;
  bool head_only_ = false;

  std::optional<weir::bounded_queue<text>> backlog_;  // set before the hub knows this session
  std::atomic<bool> wake_pending_{false};
  std::optional<asio::steady_timer> heartbeat_;
  bool writing_ = false;
};

namespace {

const http_server_options& checked(const http_server_options& options) {
  const auto require = [](bool good, const char* what) {
    if (!good) throw std::invalid_argument(std::string{"http_server: "} + what);
  };
  require(options.io_threads > 0, "io_threads must be positive, got 0");
  require(options.workers > 0, "workers must be positive, got 0");
  require(options.queue_capacity > 0, "queue_capacity must be positive, got 0");
  require(options.max_connections > 0, "max_connections must be positive, got 0");
  require(options.subscriber_backlog > 0, "subscriber_backlog must be positive, got 0");
  const auto require_time = [](std::chrono::milliseconds time, const std::string& name) {
    if (time.count() <= 0) {
      throw std::invalid_argument("http_server: " + name + " must be positive, got " +
                                  std::to_string(time.count()) + " ms");
    }
  };
  require_time(options.idle_timeout, "idle_timeout");
  require_time(options.write_timeout, "write_timeout");
  require_time(options.request_deadline, "request_deadline");
  return options;
}

}  // namespace

http_server::impl::impl(http_server_options chosen, std::vector<http_route> table)
    : options{std::move(chosen)},
      routes{std::move(table)},
      queue{weir::bounded_queue_options{.capacity = checked(options).queue_capacity}},
      io{static_cast<int>(options.io_threads)},
      acceptor{asio::make_strand(io)},
      accept_pause{acceptor.get_executor()} {
  error_code ec;
  const auto address = asio::ip::make_address(options.address, ec);
  if (ec) throw std::invalid_argument("http_server: address must be an IP address, got " + options.address);
  const tcp::endpoint endpoint{address, options.port};
  const auto check = [&](const char* what) {
    if (ec) throw std::system_error(ec.value(), std::system_category(), what);
  };
  acceptor.open(endpoint.protocol(), ec), check("http_server: socket");
  acceptor.set_option(tcp::acceptor::reuse_address(true), ec), check("http_server: SO_REUSEADDR");
  acceptor.bind(endpoint, ec), check("http_server: bind");
  acceptor.listen(asio::socket_base::max_listen_connections, ec), check("http_server: listen");
  bound_port = acceptor.local_endpoint(ec).port(), check("http_server: getsockname");
}

void http_server::impl::accept() {
  acceptor.async_accept(asio::make_strand(io),
                        [this](error_code ec, tcp::socket socket) { on_accept(ec, std::move(socket)); });
}

void http_server::impl::on_accept(error_code ec, tcp::socket socket) {
  if (!acceptor.is_open()) return;
  if (ec) {  // out of descriptors, most likely: wait a little instead of spinning
    accept_pause.expires_after(std::chrono::milliseconds{50});
    accept_pause.async_wait([this](error_code stopped) {
      if (!stopped && acceptor.is_open()) accept();
    });
    return;
  }
  error_code ignored;
  std::ignore = socket.set_option(tcp::no_delay(true), ignored);
  accepted.add();
  const std::size_t open = connections.load(std::memory_order_relaxed);  // [relaxed] a count orders nothing
  if (open < options.max_connections) {
    std::make_shared<http_session>(*this, std::move(socket))->start();
  } else {
    refused.add();
    if (open < options.max_connections + refusing_connections) {
      std::make_shared<http_session>(*this, std::move(socket))->start_refusing();
    }
  }
  accept();
}

void http_server::impl::work() {
  while (auto next = queue.pop()) {
    const auto now = steady::now();
    queue_wait.add(now - next->pushed);
    if (next->session->deadline().reached(now)) {
      rejected_deadline.add();
      next->session->refuse_late();
    } else {
      next->session->handle(*next->route);
    }
  }
}

void http_server::impl::subscribe(const std::shared_ptr<http_session>& session) {
  const std::lock_guard lock{hub_lock};
  std::erase_if(hub, [](const auto& s) { return s.expired(); });
  hub.push_back(session);
}

http_server::http_server(http_server_options options, std::vector<http_route> routes)
    : impl_{std::make_unique<impl>(std::move(options), std::move(routes))} {}

http_server::~http_server() { stop(); }

void http_server::start() {
  impl& self = *impl_;
  const std::lock_guard lock{self.lifecycle};
  if (self.ended || !self.io_threads.empty()) return;
  for (unsigned i = 0; i != self.options.workers; ++i) self.workers.emplace_back([&self] { self.work(); });
  asio::post(self.acceptor.get_executor(), [&self] { self.accept(); });
  for (unsigned i = 0; i != self.options.io_threads; ++i) {
    self.io_threads.emplace_back([&self] {
      const auto keep_running = asio::make_work_guard(self.io);
      self.io.run();
    });
  }
}

std::uint16_t http_server::port() const noexcept { return impl_->bound_port; }

void http_server::begin_drain() {
  impl& self = *impl_;
  // seq_cst: see in_flight::token.
  if (self.draining.exchange(true, std::memory_order_seq_cst)) return;
  asio::post(self.acceptor.get_executor(), [&self] {
    error_code ignored;
    std::ignore = self.acceptor.close(ignored);
    self.accept_pause.cancel();
  });
}

bool http_server::draining() const noexcept {
  return impl_->draining.load(std::memory_order_relaxed);  // [relaxed] a hint to whoever asks
}

bool http_server::await_drained(std::chrono::milliseconds wait) { return impl_->pending.await_none(wait); }

std::size_t http_server::stop() {
  impl& self = *impl_;
  begin_drain();
  const std::lock_guard lock{self.lifecycle};
  if (std::exchange(self.ended, true)) return 0;
  const std::size_t dropped = self.queue.close_and_take().size();
  self.workers.clear();
  self.io.stop();
  self.io_threads.clear();
  return dropped;
}

void http_server::publish(std::string_view event, std::string_view data) {
  std::string line = "event: ";
  line.append(event).append("\ndata: ").append(data).append("\n\n");
  const text shared = std::make_shared<const std::string>(std::move(line));
  std::vector<std::shared_ptr<http_session>> listeners;
  {
    const std::lock_guard lock{impl_->hub_lock};
    listeners.reserve(impl_->hub.size());
    for (const auto& weak : impl_->hub) {
      if (auto session = weak.lock()) listeners.push_back(std::move(session));
    }
  }
  for (const auto& session : listeners) session->offer(shared);
}

http_server_stats http_server::stats() const {
  const impl& self = *impl_;
  http_server_stats s;
  s.connections_accepted = self.accepted.value();
  s.connections_refused = self.refused.value();
  s.connections = self.connections.load(std::memory_order_relaxed);  // [relaxed] a recent value will do
  s.subscribers = self.subscribers.load(std::memory_order_relaxed);  // [relaxed] a recent value will do
  s.events_dropped = self.events_dropped.value();
  s.queue_depth = self.queue.size_approx();
  s.queue_capacity = self.options.queue_capacity;
  s.queue_pushed = self.pushed.value();
  s.rejected_full = self.rejected_full.value();
  s.rejected_closed = self.rejected_closed.value();
  s.rejected_deadline = self.rejected_deadline.value();
  for (std::size_t status = 0; status != self.responses.size(); ++status) {
    if (const auto n = self.responses[status].value(); n != 0) {
      s.responses.emplace_back(static_cast<int>(status), n);
    }
  }
  s.queue_wait = self.queue_wait.read();
  s.work_time = self.work_time.read();
  return s;
}

}  // namespace progression
