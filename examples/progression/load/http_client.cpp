// SPDX-License-Identifier: BSL-1.0
#include "load/http_client.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace progression::load {

namespace {

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::optional<std::string_view> find_header(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(std::min(head.size(), line.size() + 2));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !same_name(line.substr(0, colon), name)) continue;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    return value;
  }
  return std::nullopt;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number n{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace

endpoint parse_url(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  std::string_view rest = url;
  if (rest.substr(0, scheme.size()) == scheme) rest.remove_prefix(scheme.size());
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos) {
    if (const auto port = number<std::uint16_t>(rest.substr(colon + 1))) {
      return {std::string{rest.substr(0, colon)}, *port};
    }
  }
  throw std::invalid_argument("url must look like http://127.0.0.1:8080, got " + std::string{url});
}

std::optional<std::string> http_reply::header(std::string_view name) const {
  const auto value = find_header(head, name);
  return value ? std::optional<std::string>{*value} : std::nullopt;
}

std::string http_request_text(std::string_view method, std::string_view target, std::string_view body,
                              std::string_view more_headers) {
  std::string text;
  text.reserve(160 + body.size());
  text.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: weir\r\n").append(more_headers);
  if (!body.empty() || method != "GET") {
    text.append("Content-Type: application/json\r\nContent-Length: ").append(std::to_string(body.size()));
    text.append("\r\n");
  }
  return text.append("\r\n").append(body);
}

std::optional<http_reply> reply_reader::next() {
  const std::size_t end = buffer_.find("\r\n\r\n");
  if (end == std::string::npos) return std::nullopt;
  const std::string_view head{buffer_.data(), end};
  if (head.size() < 12 || head.substr(0, 5) != "HTTP/")
    throw std::runtime_error("the server does not speak HTTP");
  const auto status = number<int>(head.substr(9, 3));
  if (!status) throw std::runtime_error("the server does not speak HTTP");
  std::size_t length = 0;
  if (const auto announced = find_header(head, "Content-Length")) {
    const auto n = number<std::size_t>(*announced);
    if (!n) throw std::runtime_error("the server sent a malformed Content-Length");
    length = *n;
  }
  if (buffer_.size() < end + 4 + length) return std::nullopt;
  http_reply reply{*status, std::string{head}, buffer_.substr(end + 4, length)};
  buffer_.erase(0, end + 4 + length);
  return reply;
}

socket_handle::socket_handle(socket_handle&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}

socket_handle& socket_handle::operator=(socket_handle&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

socket_handle::~socket_handle() {
  if (fd_ >= 0) ::close(fd_);
}

socket_handle connect_to(const endpoint& where) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(where.port);
  if (::inet_pton(AF_INET, where.host.c_str(), &address.sin_addr) != 1) {
    throw std::invalid_argument("url must name an IPv4 address, got " + where.host);
  }
  socket_handle s{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!s.is_open()) throw_errno("socket");
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno("connect");
  const int on = 1;
  ::setsockopt(s.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return s;
}

connection::connection(const endpoint& where, std::chrono::milliseconds timeout)
    : timeout_{timeout}, socket_{connect_to(where)} {}

void connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno("send");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

bool connection::read_some(std::string& out) {
  pollfd p{socket_.get(), POLLIN, 0};
  if (::poll(&p, 1, static_cast<int>(timeout_.count())) <= 0) return false;
  std::array<char, 16384> bytes;
  const ssize_t n = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
  if (n <= 0) return false;
  out.assign(bytes.data(), static_cast<std::size_t>(n));
  return true;
}

http_reply connection::receive() {
  std::string bytes;
  for (;;) {
    if (auto reply = reader_.next()) return *std::move(reply);
    if (!read_some(bytes)) throw std::runtime_error("the server hung up or did not answer in time");
    reader_.append(bytes);
  }
}

http_reply connection::request(std::string_view method, std::string_view target, std::string_view body,
                               std::string_view more_headers) {
  send(http_request_text(method, target, body, more_headers));
  return receive();
}

std::string connection::read_until(const std::function<bool(std::string_view)>& done) {
  std::string all;
  std::string bytes;
  while (!done(all) && read_some(bytes)) all += bytes;
  return all;
}

struct crowd::member {
  std::size_t id = 0;
  socket_handle socket;
  std::string out;
  std::size_t sent = 0;
  bool waits_for_room = false;
  reply_reader reader;
  bool busy = false;
  std::size_t index = 0;
  std::chrono::steady_clock::time_point due;
};

crowd::crowd(std::vector<endpoint> servers, std::size_t connections, std::chrono::milliseconds timeout)
    : servers_{std::move(servers)}, timeout_{timeout}, poll_{::epoll_create1(EPOLL_CLOEXEC)} {
  if (!poll_.is_open()) throw_errno("epoll_create1");
  members_.resize(connections);
  for (std::size_t i = connections; i-- > 0;) {
    members_[i].id = i;
    reopen(members_[i]);
    free_.push_back(i);
  }
}

crowd::~crowd() = default;

void crowd::reopen(member& m) {
  m.socket = connect_to(servers_[m.id % servers_.size()]);
  m.reader = {};
  m.waits_for_room = false;
  const int fd = m.socket.get();
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) throw_errno("fcntl");
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u64 = m.id;
  if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) throw_errno("epoll_ctl");
}

void crowd::flush(member& m) {
  while (m.sent != m.out.size()) {
    const ssize_t n = ::send(m.socket.get(), m.out.data() + m.sent, m.out.size() - m.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;  // no room; or the connection is gone, which the next read tells
    m.sent += static_cast<std::size_t>(n);
  }
  const bool wait = m.sent != m.out.size();
  if (wait == m.waits_for_room) return;
  m.waits_for_room = wait;
  epoll_event e{};
  e.events = EPOLLIN | (wait ? EPOLLOUT : 0U);
  e.data.u64 = m.id;
  ::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, m.socket.get(), &e);
}

void crowd::send(member& m, std::string text, std::size_t index, std::chrono::steady_clock::time_point due) {
  m.out = std::move(text);
  m.sent = 0;
  m.index = index;
  m.due = due;
  m.busy = true;
  ++busy_;
  flush(m);
}

void crowd::finish(member& m, const http_reply* reply, const plan& p) {
  m.busy = false;
  --busy_;
  const bool hung_up = reply == nullptr || reply->header("Connection") == std::optional<std::string>{"close"};
  p.on_answer({m.index, reply, std::chrono::steady_clock::now() - m.due});
  if (hung_up) {
    m.socket = {};
    try {
      reopen(m);
    } catch (const std::system_error&) {
      return;  // nobody listens any more: one connection fewer
    }
  }
  free_.push_back(m.id);
}

void crowd::read(member& m, const plan& p) {
  std::array<char, 65536> bytes;
  for (;;) {
    const ssize_t n = ::recv(m.socket.get(), bytes.data(), bytes.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      if (m.busy) {
        finish(m, nullptr, p);
      } else {  // an idle connection that the server gave up
        m.socket = {};
        std::erase(free_, m.id);
      }
      return;
    }
    m.reader.append({bytes.data(), static_cast<std::size_t>(n)});
    if (const auto reply = m.reader.next()) return finish(m, &*reply, p);
    if (static_cast<std::size_t>(n) < bytes.size()) return;
  }
}

void crowd::run(const plan& p) {
  using clock = std::chrono::steady_clock;
  const bool open_loop = p.per_second > 0;
  // The first wave of a closed loop is made before it leaves, so that its requests leave together.
  std::vector<std::string> first;
  if (!open_loop) {
    first.resize(std::min(p.requests, free_.size()));
    for (std::size_t i = 0; i != first.size(); ++i) first[i] = p.text(i);
  }
  const auto began = clock::now();
  std::size_t next = 0;
  bool stopped = false;
  std::vector<epoll_event> ready(256);
  while ((next < p.requests && !stopped) || busy_ != 0) {
    auto now = clock::now();
    auto wake = now + std::chrono::milliseconds{100};
    while (next < p.requests && !free_.empty() && !stopped) {
      auto due = now;
      if (open_loop) {
        due = began + std::chrono::duration_cast<clock::duration>(
                          std::chrono::duration<double>(static_cast<double>(next) / p.per_second));
        if (due > now) {
          wake = std::min(wake, due);
          break;
        }
      }
      if (p.stop && p.stop()) {
        stopped = true;
        break;
      }
      member& m = members_[free_.back()];
      free_.pop_back();
      send(m, next < first.size() ? std::move(first[next]) : p.text(next), next, due);
      ++next;
    }
    if (busy_ == 0 && free_.empty())
      throw std::runtime_error("the server hung up and nobody listens any more");
    const auto nap = std::chrono::ceil<std::chrono::milliseconds>(wake - now);
    const int n = ::epoll_wait(poll_.get(), ready.data(), static_cast<int>(ready.size()),
                               static_cast<int>(std::max<std::int64_t>(0, nap.count())));
    for (int i = 0; i < n; ++i) {
      member& m = members_[ready[static_cast<std::size_t>(i)].data.u64];
      if (!m.socket.is_open()) continue;
      if (m.waits_for_room) flush(m);
      read(m, p);
    }
    now = clock::now();
    if (n == 0) {
      for (member& m : members_) {
        if (m.busy && now - m.due > timeout_) finish(m, nullptr, p);
      }
    }
  }
}

}  // namespace progression::load
