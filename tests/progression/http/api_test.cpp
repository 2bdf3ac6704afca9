// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include "adapters/http/api.hpp"
#include "adapters/http/server.hpp"
#include "adapters/sqlite/sqlite_store.hpp"
#include "application/service.hpp"
#include "load/http_client.hpp"
#include "progression/http/scratch.hpp"

using namespace std::chrono_literals;
using json = nlohmann::json;
using progression::load::connection;
using progression::load::http_reply;

namespace {

/// "e7" of "e" and 7; written so because g++ 12 warns of a literal added in front at -O3.
std::string numbered(const char* prefix, std::size_t n) {
  return std::string{prefix}.append(std::to_string(n));
}

const std::string messages = "/api/v1/message/handle";
const std::string base = "/api/v1/progression";

using progression::test::scratch;

progression::tree small_tree() {
  return progression::tree{{{.key = "root", .name = "Root", .auto_unlock = true},
                            {.key = "a", .name = "A", .prerequisites = {"root"}},
                            {.key = "b", .name = "B", .prerequisites = {"root"}},
                            {.key = "c", .name = "C", .prerequisites = {"root"}}}};
}

struct house {
  explicit house(progression::service_options options = {}, std::string admin_key = {})
      : db{{.path = (directory.path / "db").string(), .synchronous = progression::sqlite_sync::normal}},
        app{small_tree(), db, options,
            [this](const progression::event& e) {
              if (auto* s = listeners.load(std::memory_order_acquire)) {  // acquire: the server is whole
                s->publish(progression::name_of(e), progression::to_json(e));
              }
            }},
        server{{.workers = 8},
               progression::api_routes(app, {.admin_key = std::move(admin_key),
                                             .store_ready = [this] { return store_ready.load(); },
                                             .draining = [this] { return server.draining(); },
                                             .server = [this] { return server.stats(); }})} {
    app.start();
    listeners.store(&server, std::memory_order_release);  // release, pairs with the acquire
    server.start();
  }
  ~house() { server.stop(); }
  house(const house&) = delete;
  house& operator=(const house&) = delete;

  [[nodiscard]] connection connect() const { return connection{{"127.0.0.1", server.port()}}; }
  [[nodiscard]] http_reply get(const std::string& path) const { return connect().request("GET", path); }
  [[nodiscard]] http_reply post(const std::string& path, const json& body, std::string headers = {}) const {
    return connect().request("POST", path, body.dump(), headers);
  }

  scratch directory;
  progression::sqlite_store db;
  std::atomic<bool> store_ready{true};
  std::atomic<progression::http_server*> listeners{nullptr};
  progression::service app;
  progression::http_server server;
};

json a_message(const std::string& event_id) {
  return {{"event_id", event_id},
          {"platform", "p"},
          {"platform_id", "1"},
          {"username", "Una"},
          {"message", "hi"}};
}

json without(json object, const std::string& field) {
  object.erase(field);
  return object;
}

json with(json object, const std::string& field, json value) {
  object[field] = std::move(value);
  return object;
}

void check_invalid(const http_reply& reply, const std::string& field) {
  CAPTURE(field, reply.body);
  CHECK(reply.status == 400);
  const json body = json::parse(reply.body);
  CHECK(body.at("field") == field);
  CHECK_FALSE(body.at("error").get<std::string>().empty());
}

}  // namespace

TEST_CASE("a message is accepted once and a duplicate ever after", "[http]") {
  house it;
  const http_reply first = it.post(messages, a_message("e1"));
  CHECK(first.status == 200);
  CHECK(json::parse(first.body).at("status") == "accepted");
  CHECK(json::parse(first.body).at("points") == 1.0);
  for (int i = 0; i != 2; ++i) {
    const http_reply again = it.post(messages, a_message("e1"));
    CHECK(again.status == 200);
    CHECK(json::parse(again.body).at("status") == "duplicate");
  }
  CHECK(it.db.count_events("e1") == 1);
}

TEST_CASE("a message that is at fault is 400 and names the field", "[http]") {
  house it;
  const json good = a_message("e1");
  for (const char* field : {"event_id", "platform", "platform_id"}) {
    check_invalid(it.post(messages, without(good, field)), field);
    check_invalid(it.post(messages, with(good, field, 7)), field);
    check_invalid(it.post(messages, with(good, field, "")), field);
    check_invalid(it.post(messages, with(good, field, std::string(101, 'x'))), field);
  }
  check_invalid(it.post(messages, with(good, "username", std::string(101, 'x'))), "username");
  check_invalid(it.post(messages, with(good, "username", nullptr)), "username");
  check_invalid(it.post(messages, with(good, "message", 1)), "message");
  check_invalid(it.post(messages, with(good, "message", std::string(10'001, 'x'))), "message");
  check_invalid(it.post(messages, with(good, "value", 0)), "value");
  check_invalid(it.post(messages, with(good, "value", 1.5)), "value");
  check_invalid(it.post(messages, with(good, "value", 18446744073709551615ULL)), "value");
  check_invalid(it.post(messages, with(good, "metric", "")), "metric");
  for (const char* text : {"", "{", "[1]", "7", "\"\xff\"", "{\"a\":1} x"}) {
    CAPTURE(text);
    check_invalid(it.connect().request("POST", messages, text), "body");
  }
  check_invalid(it.connect().request("POST", messages, std::string(500'000, '[')), "body");
  CHECK(it.db.audit().ledger_entries == 0);
}

TEST_CASE("a batch has a verdict for each message, in order", "[http]") {
  house it;
  CHECK(it.post(messages, a_message("old")).status == 200);
  const json list = json::array({a_message("m1"), a_message("old"), without(a_message("m2"), "platform"), 17,
                                 a_message("m1"), with(a_message("m3"), "value", 0), a_message("m4")});
  const http_reply reply = it.post(messages, {{"messages", list}});
  CHECK(reply.status == 200);
  const json body = json::parse(reply.body);
  std::vector<std::string> statuses;
  for (const json& r : body.at("results")) statuses.push_back(r.at("status"));
  CHECK(statuses == std::vector<std::string>{"accepted", "duplicate", "invalid", "invalid", "duplicate",
                                             "invalid", "accepted"});
  CHECK(body.at("results")[2].at("field") == "platform");
  CHECK(body.at("results")[5].at("field") == "value");
  CHECK(body.at("accepted") == 2);
  CHECK(body.at("duplicates") == 2);
  CHECK(body.at("rejected") == 3);
  CHECK(it.db.count_events("m") == 2);

  check_invalid(it.post(messages, {{"messages", "no"}}), "messages");
  json many = json::array();
  for (std::size_t i = 0; i != 1001; ++i) many.push_back(a_message(numbered("x", i)));
  check_invalid(it.post(messages, {{"messages", many}}), "messages");
  CHECK(it.db.count_events("x") == 0);
  CHECK(it.post(messages, {{"messages", json::array()}}).status == 200);
}

TEST_CASE("a user above the rate is 429 with Retry-After, and so is a batch of nothing else", "[http]") {
  house it{{.user_burst = 2, .user_per_second = 1}};
  CHECK(it.post(messages, a_message("e1")).status == 200);
  CHECK(it.post(messages, a_message("e2")).status == 200);
  // The bucket may have gained a token since: ask until it has none.
  http_reply reply;
  std::size_t n = 3;
  do reply = it.post(messages, a_message(numbered("e", n++)));
  while (reply.status == 200);
  CHECK(reply.status == 429);
  CHECK(reply.header("Retry-After") == "1");
  const json body = json::parse(reply.body);
  CHECK(body.at("reason") == "rate_limited");
  CHECK(body.at("retry_after_ms") >= 1);
  CHECK(body.at("retry_after_ms") <= 1000);

  json list = json::array();
  for (std::size_t i = 0; i != 20; ++i) list.push_back(a_message(numbered("batch", i)));
  const json mixed = json::parse(it.post(messages, {{"messages", list}}).body);
  CHECK(mixed.at("rejected") >= 18);
  CHECK(mixed.at("results").back().at("status") == "refused");
  CHECK(mixed.at("results").back().at("reason") == "rate_limited");
  CHECK(it.db.count_events("batch") == mixed.at("accepted").get<std::int64_t>());
}

TEST_CASE("a vote is counted once for each user, by session and option", "[http]") {
  house it;
  const json session = json::parse(it.get(base + "/session").body).at("session");
  const json vote{{"platform", "p"},
                  {"platform_id", "1"},
                  {"username", "Una"},
                  {"session_id", session.at("session_id")},
                  {"option_id", session.at("options")[0].at("option_id")}};
  CHECK(json::parse(it.post(base + "/vote", vote).body) == json{{"status", "counted"}});
  CHECK(json::parse(it.post(base + "/vote", vote).body) == json{{"status", "already_voted"}});
  CHECK(json::parse(it.get(base + "/session").body).at("session").at("options")[0].at("votes") == 1);

  for (const char* field : {"platform", "platform_id", "session_id", "option_id"}) {
    check_invalid(it.post(base + "/vote", without(vote, field)), field);
  }
  check_invalid(it.post(base + "/vote", with(vote, "option_id", "1")), "option_id");
  const http_reply no_session =
      it.post(base + "/vote", with(with(vote, "session_id", 999), "platform_id", "2"));
  CHECK(no_session.status == 404);
  CHECK(json::parse(no_session.body).at("field") == "session_id");
  const http_reply no_option =
      it.post(base + "/vote", with(with(vote, "option_id", 999), "platform_id", "2"));
  CHECK(no_option.status == 404);
  CHECK(json::parse(no_option.body).at("field") == "option_id");

  // The goal is reached: that vote is over.
  CHECK(it.post(base + "/admin/contribution", {{"event_id", "c"}, {"amount", 60}}).status == 200);
  const http_reply over = it.post(base + "/vote", with(vote, "platform_id", "3"));
  CHECK(over.status == 409);
  CHECK(json::parse(over.body).at("field") == "session_id");
}

TEST_CASE("a contribution of an administrator counts once and needs the key", "[http]") {
  house it{{}, "sesame"};
  const json body{{"event_id", "c1"}, {"amount", 5}};
  const std::string path = base + "/admin/contribution";
  for (const char* headers :
       {"", "X-Admin-Key: \r\n", "X-Admin-Key: sesam\r\n", "X-Admin-Key: sesame2\r\n"}) {
    const http_reply reply = it.post(path, body, headers);
    CHECK(reply.status == 401);
    CHECK(json::parse(reply.body).at("field") == "X-Admin-Key");
  }
  const std::string key = "X-Admin-Key: sesame\r\n";
  CHECK(json::parse(it.post(path, body, key).body).at("status") == "accepted");
  CHECK(json::parse(it.post(path, body, key).body).at("status") == "duplicate");
  check_invalid(it.post(path, without(body, "amount"), key), "amount");
  check_invalid(it.post(path, without(body, "event_id"), key), "event_id");
  check_invalid(it.post(path, with(body, "amount", 0), key), "amount");
  check_invalid(it.post(path, with(body, "amount", "5"), key), "amount");
  CHECK(json::parse(it.get(base + "/unlock-progress").body).at("points") == 5.0);
}

TEST_CASE("the reads tell how things stand", "[http]") {
  house it;
  CHECK(it.post(messages, a_message("e1")).status == 200);
  CHECK(it.post(messages, with(with(a_message("e2"), "platform_id", "2"), "value", 3)).status == 200);

  const json tree = json::parse(it.get(base + "/tree").body).at("nodes");
  CHECK(tree.size() == 4);
  std::int64_t unlocked = 0;
  for (const json& n : tree) unlocked += n.at("is_unlocked").get<bool>() ? 1 : 0;
  CHECK(unlocked == 1);

  const json status = json::parse(it.get(base + "/status").body);
  CHECK(status.at("total_nodes") == 4);
  CHECK(status.at("total_unlocked") == 1);
  CHECK(status.at("all_nodes_unlocked") == false);
  CHECK(status.at("pot").at("points") == 4.0);
  CHECK(status.at("active_session").at("accepts_votes") == true);

  const json session = json::parse(it.get(base + "/session").body);
  CHECK(session.at("is_completed") == false);
  CHECK(session.at("session").at("options").size() == 2);

  const json progress = json::parse(it.get(base + "/unlock-progress").body);
  CHECK(progress.at("completion_percentage") == 8);
  CHECK(progress.at("target").at("cost") == 50.0);

  const json leaders = json::parse(it.get(base + "/leaderboard?limit=1").body).at("leaders");
  REQUIRE(leaders.size() == 1);
  CHECK(leaders[0].at("user_id") == "p:2");
  CHECK(leaders[0].at("contribution") == 3.0);
  CHECK(leaders[0].at("rank") == 1);
  CHECK(json::parse(it.get(base + "/leaderboard").body).at("leaders").size() == 2);
  for (const char* limit : {"0", "101", "x", "", "1x", "99999999999999999999"}) {
    check_invalid(it.get(base + "/leaderboard?limit=" + limit), "limit");
  }

  const json engagement = json::parse(it.get(base + "/engagement?platform=p&platform_id=2").body);
  CHECK(engagement.at("total_score") == 3.0);
  CHECK(engagement.at("by_type") == json{{"message", 3}});
  check_invalid(it.get(base + "/engagement?platform=p"), "platform_id");
  check_invalid(it.get(base + "/engagement?platform_id=2"), "platform");

  CHECK(it.get(base + "/nothing").status == 404);
  const http_reply wrong_method = it.get(messages);
  CHECK(wrong_method.status == 405);
  CHECK(wrong_method.header("Allow") == "POST");
}

TEST_CASE("a body above a mebibyte is 413", "[http]") {
  house it;
  CHECK(it.connect().request("POST", messages, std::string(1024 * 1024 + 1, ' ')).status == 413);
}

TEST_CASE("health, readiness and metrics say how the process stands", "[http]") {
  house it;
  CHECK(it.get("/healthz").status == 200);
  CHECK(it.get("/readyz").status == 200);
  it.store_ready = false;
  const http_reply not_ready = it.get("/readyz");
  CHECK(not_ready.status == 503);
  CHECK(json::parse(not_ready.body).at("store") == "unavailable");
  CHECK(it.get("/healthz").status == 200);
  it.store_ready = true;

  CHECK(it.post(messages, a_message("e1")).status == 200);
  CHECK(it.post(messages, a_message("e1")).status == 200);
  const http_reply metrics = it.get("/metrics");
  CHECK(metrics.status == 200);
  CHECK(metrics.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line : {"progression_messages_total{outcome=\"accepted\"} 1\n",
                           "progression_messages_total{outcome=\"duplicate\"} 1\n", "progression_ready 1\n",
                           "weir_breaker_state{name=\"store\",state=\"closed\"} 1\n",
                           "weir_breaker_state{name=\"store\",state=\"open\"} 0\n",
                           "weir_queue_depth{name=\"http\"} 0\n", "weir_queue_capacity{name=\"http\"} 4096\n",
                           "weir_queue_pushed_total{name=\"http\"} 2\n", "http_work_seconds_count 2\n"}) {
    CAPTURE(line);
    CHECK(metrics.body.find(std::string{"\n"}.append(line)) != std::string::npos);
  }
  CHECK(metrics.body.find("progression_store_statements_total ") != std::string::npos);
  CHECK(metrics.body.find("progression_store_commits_total ") != std::string::npos);

  auto kept = it.connect();
  CHECK(kept.request("GET", "/healthz").status == 200);
  it.server.begin_drain();
  const http_reply draining = kept.request("GET", "/readyz");
  CHECK(draining.status == 503);
  CHECK(json::parse(draining.body).at("draining") == true);
}

TEST_CASE("an unlock is told to the subscribers once", "[http]") {
  house it;
  auto listener = it.connect();
  listener.send(progression::load::http_request_text("GET", "/events", {}));
  (void)listener.read_until([](auto s) { return s.find(": listening\n\n") != s.npos; });
  const std::string goal = json::parse(it.get(base + "/status").body).at("pot").at("target").at("node_key");

  constexpr std::size_t count = 60;  // the goal costs 50
  progression::load::crowd all{{{"127.0.0.1", it.server.port()}}, 20};
  std::size_t accepted = 0;
  all.run({.requests = count,
           .text =
               [](std::size_t i) {
                 json m = a_message(numbered("e", i));
                 m["platform_id"] = numbered("u", i);
                 return progression::load::http_request_text("POST", messages, m.dump());
               },
           .on_answer =
               [&](const progression::load::answer& a) {
                 if (a.reply != nullptr && a.reply->status == 200) ++accepted;
               }});
  CHECK(accepted == count);
  const std::string told =
      listener.read_until([](auto s) { return s.find("event: progression.voting_started\n") != s.npos; });
  const std::size_t at = told.find("event: progression.node_unlocked\ndata: ");
  REQUIRE(at != std::string::npos);
  CHECK(told.find("event: progression.node_unlocked\n", at + 1) == std::string::npos);
  const std::size_t data = told.find("data: ", at) + 6;
  const json event = json::parse(told.substr(data, told.find('\n', data) - data));
  CHECK(event.at("node_key") == goal);
  CHECK(event.at("source") == "vote");
  CHECK(it.db.audit().paid_unlocks == 1);
  CHECK(it.db.audit().conserves_points());
}
