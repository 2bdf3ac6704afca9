// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <latch>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "adapters/http/server.hpp"
#include "load/http_client.hpp"

using namespace std::chrono_literals;
using progression::http_lane;
using progression::http_request;
using progression::http_response;
using progression::http_route;
using progression::http_server;
using progression::http_server_options;
using progression::load::connection;
using progression::load::endpoint;
using progression::load::http_reply;
using progression::load::http_request_text;

namespace {

/// "e7" of "e" and 7; written so because g++ 12 warns of a literal added in front at -O3.
std::string numbered(const char* prefix, std::size_t n) {
  return std::string{prefix}.append(std::to_string(n));
}

/// Looks again and again, without a bound of its own: the test's time-out is one.
void await(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

/// A handler that says that it was entered and stays until it is released.
struct turnstile {
  std::atomic<int> entered{0};
  std::promise<void> open;
  std::shared_future<void> opened{open.get_future().share()};

  std::function<http_response(const http_request&)> handler() {
    return [this](const http_request&) {
      ++entered;
      opened.wait();
      return http_response{.body = "through"};
    };
  }
};

std::vector<http_route> with(std::vector<http_route> more) {
  more.push_back(
      {"GET", "/alive", http_lane::io, [](const http_request&) { return http_response{.body = "yes"}; }});
  more.push_back({"POST", "/echo", http_lane::work, [](const http_request& r) {
                    return http_response{.body = std::string{r.body}, .content_type = "text/plain"};
                  }});
  more.push_back({"GET", "/events", http_lane::events});
  return more;
}

struct running {
  explicit running(http_server_options options = {}, std::vector<http_route> routes = {})
      : server{std::move(options), with(std::move(routes))} {
    server.start();
  }
  [[nodiscard]] endpoint where() const { return {"127.0.0.1", server.port()}; }
  [[nodiscard]] connection connect() const { return connection{where()}; }
  http_server server;
};

bool says_close(const http_reply& reply) {
  return reply.header("Connection") == std::optional<std::string>{"close"};
}

}  // namespace

TEST_CASE("a route answers with the body of the request that came", "[http]") {
  running it;
  auto c = it.connect();
  const http_reply reply = c.request("POST", "/echo", "hello");
  CHECK(reply.status == 200);
  CHECK(reply.body == "hello");
  CHECK(reply.header("Content-Type") == "text/plain");
  CHECK(reply.header("Content-Length") == "5");
}

TEST_CASE("an unknown path is 404 and a known one with another method is 405 that names what is allowed",
          "[http]") {
  running it;
  auto c = it.connect();
  CHECK(c.request("GET", "/nothing").status == 404);
  const http_reply reply = c.request("GET", "/echo");
  CHECK(reply.status == 405);
  CHECK(reply.header("Allow") == "POST");
  CHECK(c.request("GET", "/alive").status == 200);  // the connection goes on
}

TEST_CASE("a request's query, headers and deadline reach its handler", "[http]") {
  std::optional<std::string> name;
  std::optional<std::string> absent;
  std::string header;
  bool in_time = false;
  running it{{}, {{"GET", "/look", http_lane::work, [&](const http_request& r) {
                     name = r.parameter("na me");
                     absent = r.parameter("other");
                     header = r.header("x-KEY");
                     in_time =
                         !r.deadline.is_never() && !r.deadline.reached(std::chrono::steady_clock::now());
                     return http_response{};
                   }}}};
  auto c = it.connect();
  c.send("GET /look?x=1&na%20me=a%2Fb+c HTTP/1.1\r\nHost: h\r\nX-Key: secret\r\n\r\n");
  CHECK(c.receive().status == 200);
  CHECK(name == "a/b c");
  CHECK_FALSE(absent);
  CHECK(header == "secret");
  CHECK(in_time);
}

TEST_CASE("requests that are sent together are answered one by one, in their order", "[http]") {
  running it;
  auto c = it.connect();
  std::string all;
  for (int i = 0; i != 50; ++i) {
    all += i % 3 == 0 ? http_request_text("GET", "/alive", {})
                      : http_request_text("POST", "/echo", std::to_string(i));
  }
  c.send(all);
  std::vector<std::string> got;
  std::vector<std::string> wanted;
  for (int i = 0; i != 50; ++i) {
    got.push_back(c.receive().body);
    wanted.push_back(i % 3 == 0 ? "yes" : std::to_string(i));
  }
  CHECK(got == wanted);
  CHECK(it.server.stats().connections_accepted == 1);
}

TEST_CASE("a client of HTTP/1.0 is served, and kept only if it asks", "[http]") {
  running it;
  auto c = it.connect();
  c.send("GET /alive HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const http_reply kept = c.receive();
  CHECK(kept.body == "yes");
  CHECK(kept.header("Connection") == "keep-alive");
  c.send("GET /alive HTTP/1.0\r\n\r\n");
  CHECK(says_close(c.receive()));
  CHECK(c.read_until([](auto) { return false; }).empty());
}

TEST_CASE("what is not HTTP is 400 and ends the connection", "[http]") {
  running it;
  for (const char* text :
       {"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /alive HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n"}) {
    CAPTURE(text);
    auto c = it.connect();
    c.send(text);
    const http_reply reply = c.receive();
    CHECK(reply.status == 400);
    CHECK(says_close(reply));
  }
  CHECK(it.connect().request("GET", "/alive").status == 200);
}

TEST_CASE("a body above the limit is 413, a header above its own is 431", "[http]") {
  running it{{.header_limit = 1024, .body_limit = 1000}};
  CHECK(it.connect().request("POST", "/echo", std::string(1000, 'x')).status == 200);
  const http_reply large = it.connect().request("POST", "/echo", std::string(200'000, 'x'));
  CHECK(large.status == 413);
  CHECK(says_close(large));
  CHECK(it.connect().request("GET", "/alive", {}, "X-Long: " + std::string(2000, 'x') + "\r\n").status ==
        431);
}

TEST_CASE("a chunk header without an end is refused before it fills the memory", "[http]") {
  running it;
  auto c = it.connect();
  const std::string much(1024 * 1024, 'x');
  try {
    c.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + much);
  } catch (const std::system_error&) {
    // Refused while it was still being sent: just as well.
  }
  const http_reply reply = c.receive();
  CHECK(reply.status == 400);
  CHECK(says_close(reply));
}

TEST_CASE("HEAD is answered like GET, without the body", "[http]") {
  running it;
  auto c = it.connect();
  c.send(http_request_text("HEAD", "/alive", {}) + http_request_text("GET", "/alive", {}));
  const std::string all = c.read_until([](std::string_view s) { return s.find("\r\n\r\nyes") != s.npos; });
  CHECK(all.find("HTTP/1.1 200") == 0);
  CHECK(all.find("Content-Length: 3\r\n\r\nHTTP/1.1 200") != std::string::npos);
  const http_reply no_post = it.connect().request("POST", "/alive", "x");
  CHECK(no_post.status == 405);
  CHECK(no_post.header("Allow") == "GET, HEAD");
  const http_reply no_stream = it.connect().request("POST", "/events", "x");
  CHECK(no_stream.header("Allow") == "GET");
}

TEST_CASE("a client that expects 100-continue is told to go on", "[http]") {
  running it;
  auto c = it.connect();
  c.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  CHECK(c.receive().status == 100);
  c.send("body");
  CHECK(c.receive().body == "body");
}

TEST_CASE("a handler that throws is a 500 and nothing more", "[http]") {
  const auto fail = [](const http_request&) -> http_response { throw std::runtime_error("secret detail"); };
  running it{{}, {{"GET", "/work", http_lane::work, fail}, {"GET", "/io", http_lane::io, fail}}};
  auto c = it.connect();
  for (const char* path : {"/work", "/io"}) {
    const http_reply reply = c.request("GET", path);
    CHECK(reply.status == 500);
    CHECK(reply.body.find("secret") == std::string::npos);
  }
  CHECK(c.request("GET", "/alive").status == 200);
}

TEST_CASE("64 clients with half a request open do not keep another one waiting", "[http]") {
  running it{{.workers = 1}};
  std::vector<connection> slow;
  for (int i = 0; i != 64; ++i) {
    slow.push_back(it.connect());
    slow.back().send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhal");
  }
  await([&] { return it.server.stats().connections == 64; });
  CHECK(it.connect().request("POST", "/echo", "whole").body == "whole");
  for (auto& c : slow) c.send("f, then");
  for (auto& c : slow) CHECK(c.receive().body == "half, then");
}

TEST_CASE("half a request is given up after the idle time", "[http]") {
  running it{{.idle_timeout = 20ms}};
  auto c = it.connect();
  c.send("POST /echo HTTP/1.1\r\nHost: h\r\n");
  CHECK(c.read_until([](auto) { return false; }).empty());
  await([&] { return it.server.stats().connections == 0; });
}

TEST_CASE("a full queue is 503 with Retry-After while the I/O lane answers", "[http]") {
  turnstile block;
  running it{{.workers = 1, .queue_capacity = 1}, {{"GET", "/block", http_lane::work, block.handler()}}};
  auto in_work = it.connect();
  in_work.send(http_request_text("GET", "/block", {}));
  await([&] { return block.entered == 1; });
  auto queued = it.connect();
  queued.send(http_request_text("GET", "/block", {}));
  await([&] { return it.server.stats().queue_depth == 1; });

  auto c = it.connect();
  for (int i = 0; i != 3; ++i) {
    const http_reply refused = c.request("POST", "/echo", "x");
    CHECK(refused.status == 503);
    CHECK(refused.header("Retry-After") == "1");
    CHECK(refused.body.find(R"("reason":"full")") != std::string::npos);
    CHECK(refused.body.find(R"("retry_after_ms":1000)") != std::string::npos);
    CHECK_FALSE(says_close(refused));
    CHECK(c.request("GET", "/alive").status == 200);
  }
  CHECK(it.server.stats().rejected_full == 3);

  block.open.set_value();
  CHECK(in_work.receive().body == "through");
  CHECK(queued.receive().body == "through");
  CHECK(c.request("POST", "/echo", "x").status == 200);
}

TEST_CASE("a request whose deadline came in the queue is refused without being handled", "[http]") {
  turnstile block;
  std::atomic<int> handled{0};
  running it{{.workers = 1, .request_deadline = 1ms},
             {{"GET", "/block", http_lane::work, block.handler()},
              {"GET", "/count", http_lane::work, [&](const http_request&) {
                 ++handled;
                 return http_response{};
               }}}};
  // On a busy machine the one that is to block may itself be late: again, then.
  std::vector<connection> in_work;
  std::uint64_t late_before = 0;
  while (block.entered == 0) {
    late_before = it.server.stats().rejected_deadline;
    in_work.push_back(it.connect());
    in_work.back().send(http_request_text("GET", "/block", {}));
    await([&] { return block.entered == 1 || it.server.stats().rejected_deadline != late_before; });
  }
  late_before = it.server.stats().rejected_deadline;
  auto late = it.connect();
  late.send(http_request_text("GET", "/count", {}));
  await([&] { return it.server.stats().queue_depth == 1; });
  const auto queued = std::chrono::steady_clock::now();
  await([&] { return std::chrono::steady_clock::now() > queued + 1ms; });
  block.open.set_value();
  const http_reply refused = late.receive();
  CHECK(refused.status == 503);
  CHECK(refused.header("Retry-After") == "1");
  CHECK(refused.body.find(R"("reason":"timed_out")") != std::string::npos);
  CHECK(handled == 0);
  CHECK(it.server.stats().rejected_deadline == late_before + 1);
}

TEST_CASE("a connection above the cap is told so and closed", "[http]") {
  running it{{.max_connections = 2}};
  auto a = it.connect();
  auto b = it.connect();
  CHECK(a.request("GET", "/alive").status == 200);
  CHECK(b.request("GET", "/alive").status == 200);
  auto c = it.connect();
  const http_reply refused = c.receive();
  CHECK(refused.status == 503);
  CHECK(refused.header("Retry-After") == "1");
  CHECK(says_close(refused));
  CHECK(a.request("GET", "/alive").status == 200);
  CHECK(it.server.stats().connections_refused == 1);
}

TEST_CASE("subscribers receive what is published, in order, up to their cap", "[http]") {
  running it{{.max_subscribers = 2}};
  std::vector<connection> listeners;
  for (int i = 0; i != 2; ++i) {
    listeners.push_back(it.connect());
    listeners.back().send(http_request_text("GET", "/events", {}));
    const auto head = listeners.back().read_until([](auto s) { return s.find(": listening\n\n") != s.npos; });
    CHECK(head.find("200 OK") != std::string::npos);
    CHECK(head.find("text/event-stream") != std::string::npos);
  }
  const http_reply refused = it.connect().request("GET", "/events");
  CHECK(refused.status == 503);
  CHECK(refused.header("Retry-After") == "1");

  std::string wanted;
  for (int i = 0; i != 10; ++i) {
    it.server.publish("n", std::to_string(i));
    wanted += "event: n\ndata: " + std::to_string(i) + "\n\n";
  }
  for (auto& listener : listeners) {
    CHECK(listener.read_until([&](auto s) { return s.size() >= wanted.size(); }) == wanted);
  }

  // One who leaves makes room.
  listeners.pop_back();
  await([&] { return it.server.stats().subscribers == 1; });
  auto next = it.connect();
  next.send(http_request_text("GET", "/events", {}));
  CHECK(next.read_until([](auto s) { return s.find(": listening") != s.npos; }).find("200 OK") !=
        std::string::npos);
}

TEST_CASE("a subscriber that does not read loses the oldest events, never the newest", "[http]") {
  running it{{.subscriber_backlog = 4}};
  auto listener = it.connect();
  listener.send(http_request_text("GET", "/events", {}));
  (void)listener.read_until([](auto s) { return s.find(": listening\n\n") != s.npos; });
  const std::string large(256 * 1024, 'x');
  await([&] {
    it.server.publish("large", large);
    return it.server.stats().events_dropped > 0;
  });
  it.server.publish("last", "1");
  const std::string all = listener.read_until([](auto s) { return s.ends_with("event: last\ndata: 1\n\n"); });
  CHECK(all.ends_with("event: last\ndata: 1\n\n"));
}

TEST_CASE("a drain answers what was accepted, refuses the rest and takes no connection", "[http]") {
  turnstile block;
  running it{{.workers = 1}, {{"GET", "/block", http_lane::work, block.handler()}}};
  auto in_work = it.connect();
  in_work.send(http_request_text("GET", "/block", {}));
  await([&] { return block.entered == 1; });
  auto queued = it.connect();
  queued.send(http_request_text("GET", "/block", {}));
  await([&] { return it.server.stats().queue_depth == 1; });
  auto idle = it.connect();
  CHECK(idle.request("GET", "/alive").status == 200);
  auto idle_too = it.connect();
  CHECK(idle_too.request("GET", "/alive").status == 200);

  CHECK_FALSE(it.server.draining());
  it.server.begin_drain();
  it.server.begin_drain();  // once more changes nothing
  CHECK(it.server.draining());
  const http_reply alive = idle_too.request("GET", "/alive");
  CHECK(alive.status == 200);
  CHECK(says_close(alive));
  const http_reply refused = idle.request("POST", "/echo", "late");
  CHECK(refused.status == 503);
  CHECK(refused.header("Retry-After") == "1");
  CHECK(refused.body.find(R"("reason":"closed")") != std::string::npos);
  CHECK(says_close(refused));
  await([&] {
    try {
      (void)progression::load::connect_to(it.where());
      return false;
    } catch (const std::system_error&) {
      return true;
    }
  });
  CHECK_FALSE(it.server.await_drained(0ms));

  block.open.set_value();
  for (connection* c : {&in_work, &queued}) {
    const http_reply reply = c->receive();
    CHECK(reply.body == "through");
    CHECK(says_close(reply));
  }
  CHECK(it.server.await_drained(10s));
  CHECK(it.server.stop() == 0);
}

TEST_CASE("stopping before the drain is over drops what was never begun, unanswered, and says how much",
          "[http]") {
  turnstile block;
  running it{{.workers = 1}, {{"GET", "/block", http_lane::work, block.handler()}}};
  auto in_work = it.connect();
  in_work.send(http_request_text("GET", "/block", {}));
  await([&] { return block.entered == 1; });
  auto queued = it.connect();
  queued.send(http_request_text("GET", "/block", {}));
  await([&] { return it.server.stats().queue_depth == 1; });

  it.server.begin_drain();
  CHECK_FALSE(it.server.await_drained(1ms));
  std::jthread opener{[&] {
    await([&] { return it.server.stats().queue_depth == 0; });
    block.open.set_value();
  }};
  CHECK(it.server.stop() == 1);
  CHECK(it.server.stop() == 0);
  CHECK(block.entered == 1);
  CHECK(queued.read_until([](auto) { return false; }).empty());
}

TEST_CASE("a server can be destroyed while clients are connected, working and listening", "[http]") {
  std::optional<running> it{std::in_place};
  auto idle = it->connect();
  CHECK(idle.request("GET", "/alive").status == 200);
  auto half = it->connect();
  half.send("GET /al");
  auto listener = it->connect();
  listener.send(http_request_text("GET", "/events", {}));
  (void)listener.read_until([](auto s) { return s.find(": listening") != s.npos; });
  it.reset();
  CHECK(idle.read_until([](auto) { return false; }).empty());
}

TEST_CASE("a server that cannot be made says why", "[http]") {
  CHECK_THROWS_AS((http_server{{.address = "nowhere"}, {}}), std::invalid_argument);
  CHECK_THROWS_AS((http_server{{.workers = 0}, {}}), std::invalid_argument);
  CHECK_THROWS_AS((http_server{{.queue_capacity = 0}, {}}), std::invalid_argument);
  CHECK_THROWS_AS((http_server{{.idle_timeout = 0ms}, {}}), std::invalid_argument);
  CHECK_THROWS_AS((http_server{{.write_timeout = -1ms}, {}}), std::invalid_argument);
  CHECK_THROWS_AS((http_server{{.request_deadline = 0ms}, {}}), std::invalid_argument);
  running first;
  CHECK_THROWS_AS((http_server{{.port = first.server.port()}, {}}), std::system_error);
}

TEST_CASE("every request of many clients on several I/O threads has its own answer", "[http][stress]") {
  running it{{.io_threads = 2, .workers = 8}};
  constexpr std::size_t requests = 2000;
  std::vector<int> answered(requests, 0);
  std::vector<int> wrong;
  progression::load::crowd all{{it.where()}, 50};
  all.run({.requests = requests,
           .text = [](std::size_t i) { return http_request_text("POST", "/echo", numbered("n", i)); },
           .on_answer =
               [&](const progression::load::answer& a) {
                 ++answered[a.index];
                 if (a.reply == nullptr || a.reply->body != numbered("n", a.index)) wrong.push_back(1);
               }});
  CHECK(wrong.empty());
  CHECK(answered == std::vector<int>(requests, 1));
}
