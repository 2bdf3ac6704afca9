// SPDX-License-Identifier: BSL-1.0
#include "adapters/http/api.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <variant>

#include <nlohmann/json.hpp>

namespace progression {

using json = nlohmann::json;

namespace {

constexpr auto unavailable_retry = std::chrono::seconds{1};

// Out of the domain into JSON
// ------------------------------------------------------------------------------------

double number(points p) { return static_cast<double>(p.milli) / 1000.0; }

std::string instant(wall_time t) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{std::chrono::floor<std::chrono::milliseconds>(t - day)};
  std::array<char, 40> text;
  const int n = std::snprintf(
      text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
      static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
      static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
  return {text.data(), static_cast<std::size_t>(std::max(0, n))};
}

std::string_view name_of_source(unlock_source s) {
  switch (s) {
    case unlock_source::vote:
      return "vote";
    case unlock_source::admin:
      return "admin";
    case unlock_source::automatic:
      return "auto";
  }
  return "unknown";
}

json of(const node_level& what) { return {{"node_key", what.node}, {"level", what.level}}; }

json of(const pot& p) {
  json j{{"cycle", p.cycle}, {"points", number(p.filled)}, {"target", nullptr}};
  if (p.goal) {
    j["target"] = {
        {"node_key", p.goal->what.node}, {"level", p.goal->what.level}, {"cost", number(p.goal->cost)}};
  }
  return j;
}

json of(const voting_session& s) {
  json options = json::array();
  for (const vote_option& o : s.options) {
    options.push_back(
        {{"option_id", o.id}, {"node_key", o.what.node}, {"level", o.what.level}, {"votes", o.votes}});
  }
  return {{"session_id", s.id},
          {"status", to_string(s.status)},
          {"started_at", instant(s.started_at)},
          {"ends_at", instant(s.ends_at)},
          {"winning_option_id", s.winner ? json(*s.winner) : json(nullptr)},
          {"options", std::move(options)}};
}

json of(const session_view& s) {
  json j = of(s.session);
  j["accepts_votes"] = s.accepts_votes;
  return j;
}

// Replies
// --------------------------------------------------------------------------------------------------------

http_response ok(const json& body) {
  return {.body = body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

http_response failed(int status, std::string_view error, std::string_view field = {}) {
  json body{{"error", error}};
  if (!field.empty()) body["field"] = field;
  return {.status = status, .body = body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

std::chrono::milliseconds in_milliseconds(weir::duration d) {
  return std::max(std::chrono::milliseconds{1}, std::chrono::ceil<std::chrono::milliseconds>(d));
}

std::chrono::seconds in_seconds(weir::duration d) {
  return std::max(std::chrono::seconds{1}, std::chrono::ceil<std::chrono::seconds>(d));
}

std::string_view sentence(weir::refusal_reason reason) {
  switch (reason) {
    case weir::refusal_reason::rate_limited:
      return "too many messages";
    case weir::refusal_reason::circuit_open:
      return "the database is not available";
    case weir::refusal_reason::timed_out:
      return "not done in time; sent again under its event_id it is recorded once";
    case weir::refusal_reason::closed:
      return "the service is shutting down";
    default:
      return "the service is overloaded";
  }
}

http_response refused(const weir::refusal& why) {
  if (!why.retry_after) return failed(400, "more was asked for than can ever be granted");
  const bool rate = why.reason == weir::refusal_reason::rate_limited;
  const json body{{"error", sentence(why.reason)},
                  {"reason", to_string(why.reason)},
                  {"retry_after_ms", in_milliseconds(*why.retry_after).count()}};
  return {.status = rate ? 429 : 503, .body = body.dump(), .retry_after = in_seconds(*why.retry_after)};
}

http_response unavailable(store_failure kind) {
  if (kind == store_failure::rejected) return failed(400, "the database refused the request");
  const json body{{"error", "the database is not available"},
                  {"reason", to_string(kind)},
                  {"retry_after_ms", in_milliseconds(unavailable_retry).count()}};
  return {.status = 503, .body = body.dump(), .retry_after = unavailable_retry};
}

/// Turns what a use case throws into its reply.
template <class F>
auto guarded(F f) {
  return [f = std::move(f)](const http_request& request) -> http_response {
    try {
      return f(request);
    } catch (const invalid_input& e) {
      return failed(400, e.what(), e.field());
    } catch (const store_error& e) {
      return unavailable(e.kind());
    }
  };
}

template <class T, class F>
http_response reply(weir::outcome<T> result, F f) {
  if (!result) return refused(result.error());
  return ok(f(*result));
}

// Out of JSON
// ----------------------------------------------------------------------------------------------------

json parsed(std::string_view body) {
  json j = json::parse(body, nullptr, false);
  if (j.is_discarded()) throw invalid_input{"body", "must be JSON in UTF-8"};
  if (!j.is_object()) throw invalid_input{"body", "must be a JSON object"};
  return j;
}

std::string text_of(json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end()) throw invalid_input{name, "is missing"};
  if (!it->is_string()) throw invalid_input{name, "must be a string"};
  return std::move(it->get_ref<std::string&>());
}

std::string text_of(json& object, const char* name, const char* otherwise) {
  return object.contains(name) ? text_of(object, name) : std::string{otherwise};
}

std::int64_t integer_of(const json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end()) throw invalid_input{name, "is missing"};
  if (!it->is_number_integer() ||
      (it->is_number_unsigned() &&
       it->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
    throw invalid_input{name, "must be an integer"};
  }
  return it->get<std::int64_t>();
}

message message_of(json& object) {
  if (!object.is_object()) throw invalid_input{"messages", "must hold JSON objects"};
  message m;
  m.event_id = text_of(object, "event_id");
  m.platform = text_of(object, "platform");
  m.platform_id = text_of(object, "platform_id");
  m.username = text_of(object, "username", "");
  m.metric = text_of(object, "metric", "message");
  if (object.contains("value")) m.value = integer_of(object, "value");
  m.text = text_of(object, "message", "");
  return m;
}

json of(const handled& h) {
  return {{"status", h.status == record_status::accepted ? "accepted" : "duplicate"},
          {"points", number(h.points)}};
}

// Routes
// ---------------------------------------------------------------------------------------------------------

json refusal_verdict(std::string_view reason, weir::duration after) {
  return {{"status", "refused"}, {"reason", reason}, {"retry_after_ms", in_milliseconds(after).count()}};
}

http_response handle_batch(service& app, json& list, weir::deadline deadline) {
  if (!list.is_array()) throw invalid_input{"messages", "must be an array"};
  // One that cannot be read has its verdict at once; the others go on together.
  std::vector<message> messages;
  std::vector<std::optional<invalid_input>> unreadable;
  messages.reserve(list.size());
  unreadable.resize(list.size());
  for (std::size_t i = 0; i != list.size(); ++i) {
    try {
      messages.push_back(message_of(list[i]));
    } catch (const invalid_input& e) {
      unreadable[i] = e;
    }
  }
  std::vector<verdict> verdicts = app.handle_batch(messages, deadline);

  json results = json::array();
  std::int64_t accepted = 0;
  std::int64_t duplicates = 0;
  std::optional<http_response> first_refusal;
  const auto refuse = [&](http_response r) {
    if (!first_refusal) first_refusal = std::move(r);
  };
  auto next = verdicts.begin();
  for (const auto& broken : unreadable) {
    const verdict v = broken ? verdict{*broken} : std::move(*next++);
    if (const auto* done = std::get_if<handled>(&v)) {
      (done->status == record_status::accepted ? accepted : duplicates) += 1;
      results.push_back(of(*done));
    } else if (const auto* why = std::get_if<weir::refusal>(&v)) {
      results.push_back(refusal_verdict(to_string(why->reason), why->retry_after.value_or(weir::duration{})));
      refuse(refused(*why));
    } else if (const auto* wrong = std::get_if<invalid_input>(&v)) {
      results.push_back({{"status", "invalid"}, {"error", wrong->what()}, {"field", wrong->field()}});
    } else {
      const store_failure kind = std::get<store_failure>(v);
      results.push_back(refusal_verdict(to_string(kind), unavailable_retry));
      refuse(unavailable(kind));
    }
  }
  const auto rejected = static_cast<std::int64_t>(results.size()) - accepted - duplicates;
  json body{{"accepted", accepted},
            {"duplicates", duplicates},
            {"rejected", rejected},
            {"results", std::move(results)}};
  if (accepted + duplicates != 0 || !first_refusal) return ok(body);
  // Nothing was taken and something was refused: the reply as a whole is that refusal.
  body.update(json::parse(first_refusal->body));
  first_refusal->body = body.dump();
  return *std::move(first_refusal);
}

http_response handle_message(service& app, const http_request& request) {
  json body = parsed(request.body);
  if (const auto list = body.find("messages"); list != body.end())
    return handle_batch(app, *list, request.deadline);
  return reply(app.handle(message_of(body), request.deadline), [](const handled& h) { return of(h); });
}

http_response cast_vote(service& app, const http_request& request) {
  json body = parsed(request.body);
  vote_request v;
  v.platform = text_of(body, "platform");
  v.platform_id = text_of(body, "platform_id");
  v.username = text_of(body, "username", "");
  v.session = integer_of(body, "session_id");
  v.option = integer_of(body, "option_id");
  const auto result = app.vote(v, request.deadline);
  if (!result) return refused(result.error());
  switch (*result) {
    case vote_status::counted:
      return ok({{"status", "counted"}});
    case vote_status::already_voted:
      return ok({{"status", "already_voted"}});
    case vote_status::no_such_session:
      return failed(404, "there is no such session", "session_id");
    case vote_status::no_such_option:
      return failed(404, "the session has no such option", "option_id");
    case vote_status::session_closed:
      return failed(409, "the vote is over", "session_id");
  }
  throw std::logic_error{"vote: unknown status"};
}

/// Takes as long for a wrong key as for the right one.
bool same_secret(std::string_view given, std::string_view wanted) {
  unsigned difference = given.size() == wanted.size() ? 0U : 1U;
  for (std::size_t i = 0; i != wanted.size(); ++i) {
    const char c = i < given.size() ? given[i] : '\0';
    difference |= static_cast<unsigned char>(c) ^ static_cast<unsigned char>(wanted[i]);
  }
  return difference == 0;
}

http_response contribute(service& app, const std::string& admin_key, const http_request& request) {
  if (!admin_key.empty() && !same_secret(request.header("X-Admin-Key"), admin_key)) {
    return failed(401, "the admin key is missing or wrong", "X-Admin-Key");
  }
  json body = parsed(request.body);
  contribution c;
  c.event_id = text_of(body, "event_id");
  c.amount = integer_of(body, "amount");
  return reply(app.contribute(c, request.deadline), [](const handled& h) { return of(h); });
}

http_response tree_of(service& app) {
  return reply(app.tree(), [](const std::vector<node_view>& views) {
    json nodes = json::array();
    for (const node_view& v : views) {
      const node& n = *v.definition;
      nodes.push_back({{"key", n.key},
                       {"name", n.name},
                       {"type", to_string(n.type)},
                       {"description", n.description},
                       {"category", n.category},
                       {"tier", n.tier},
                       {"size", to_string(n.size)},
                       {"max_level", n.max_level},
                       {"prerequisites", n.prerequisites},
                       {"unlock_cost", number(v.cost)},
                       {"is_unlocked", v.level > 0},
                       {"unlocked_level", v.level},
                       {"available_level", v.available_level}});
    }
    return json{{"nodes", std::move(nodes)}};
  });
}

http_response status(service& app) {
  return reply(app.status(), [](const status_view& s) {
    return json{{"total_unlocked", s.unlocked_nodes},
                {"total_nodes", s.total_nodes},
                {"unlocked_levels", s.unlocked_levels},
                {"total_levels", s.total_levels},
                {"all_nodes_unlocked", s.all_unlocked},
                {"pot", of(s.pot)},
                {"active_session", s.session ? of(*s.session) : json(nullptr)}};
  });
}

http_response session(service& app) {
  return reply(app.session(), [](const std::optional<session_view>& s) {
    return json{{"session", s ? of(*s) : json(nullptr)},
                {"is_completed", s && s->session.status == session_status::completed}};
  });
}

http_response unlock_progress(service& app) {
  return reply(app.unlock_progress(), [](const progress_view& p) {
    json j = of(p.pot);
    j["target_node_name"] = p.target_name;
    j["completion_percentage"] = p.percent;
    return j;
  });
}

http_response leaderboard(service& app, const http_request& request) {
  std::int64_t limit = 10;
  if (const auto given = request.parameter("limit")) {
    const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), limit);
    if (error != std::errc{} || end != given->data() + given->size()) {
      throw invalid_input{"limit", "must be an integer"};
    }
  }
  return reply(app.leaderboard(limit), [](const std::vector<leader>& leaders) {
    json list = json::array();
    for (const leader& l : leaders) {
      list.push_back({{"user_id", l.user_id},
                      {"username", l.username},
                      {"contribution", number(l.points)},
                      {"rank", l.rank}});
    }
    return json{{"leaders", std::move(list)}};
  });
}

http_response engagement_of_user(service& app, const http_request& request) {
  const auto platform = request.parameter("platform");
  if (!platform) throw invalid_input{"platform", "is missing"};
  const auto platform_id = request.parameter("platform_id");
  if (!platform_id) throw invalid_input{"platform_id", "is missing"};
  return reply(app.engagement(*platform, *platform_id), [](const user_engagement& e) {
    json by_type = json::object();
    for (const auto& [metric, value] : e.by_metric) by_type[metric] = value;
    return json{{"total_score", number(e.points)}, {"by_type", std::move(by_type)}};
  });
}

http_response readiness(const api_environment& environment) {
  const bool draining = environment.draining && environment.draining();
  const bool store = !environment.store_ready || environment.store_ready();
  const json body{
      {"ready", store && !draining}, {"store", store ? "ok" : "unavailable"}, {"draining", draining}};
  if (store && !draining) return ok(body);
  return {.status = 503, .body = body.dump(), .retry_after = unavailable_retry};
}

}  // namespace

std::vector<http_route> api_routes(service& app, api_environment environment) {
  using request = http_request;
  const auto env = std::make_shared<const api_environment>(std::move(environment));
  const std::string base = "/api/v1/progression";
  const auto work = http_lane::work;
  const auto io = http_lane::io;
  return {
      {"POST", "/api/v1/message/handle", work,
       guarded([&app](const request& r) { return handle_message(app, r); })},
      {"POST", base + "/vote", work, guarded([&app](const request& r) { return cast_vote(app, r); })},
      {"POST", base + "/admin/contribution", work,
       guarded([&app, env](const request& r) { return contribute(app, env->admin_key, r); })},
      {"GET", base + "/tree", work, guarded([&app](const request&) { return tree_of(app); })},
      {"GET", base + "/status", work, guarded([&app](const request&) { return status(app); })},
      {"GET", base + "/session", work, guarded([&app](const request&) { return session(app); })},
      {"GET", base + "/unlock-progress", work,
       guarded([&app](const request&) { return unlock_progress(app); })},
      {"GET", base + "/leaderboard", work, guarded([&app](const request& r) { return leaderboard(app, r); })},
      {"GET", base + "/engagement", work,
       guarded([&app](const request& r) { return engagement_of_user(app, r); })},
      {"GET", "/healthz", io, [](const request&) { return ok({{"status", "alive"}}); }},
      {"GET", "/readyz", io, [env](const request&) { return readiness(*env); }},
      {"GET", "/metrics", io,
       [&app, env](const request&) {
         const bool ready = !env->store_ready || env->store_ready();
         return http_response{
             .body = metrics_text(app.stats(), env->server ? env->server() : http_server_stats{}, ready),
             .content_type = "text/plain; version=0.0.4; charset=utf-8"};
       }},
      {"GET", "/events", http_lane::events},
  };
}

std::string to_json(const event& e) {
  struct writer {
    json operator()(const node_unlocked& u) const {
      json j = of(u.what);
      j["name"] = u.name;
      j["source"] = name_of_source(u.source);
      return j;
    }
    json operator()(const target_set& t) const {
      json j = of(t.goal.what);
      j["name"] = t.name;
      j["cost"] = number(t.goal.cost);
      j["cycle"] = t.cycle;
      return j;
    }
    json operator()(const voting_started& v) const { return of(v.session); }
    json operator()(const cycle_completed& c) const {
      json j = of(c.unlock.what);
      j["cycle"] = c.cycle;
      j["points"] = number(c.unlock.filled);
      j["cost"] = number(c.unlock.cost);
      j["rollover"] = number(c.unlock.rollover);
      j["discarded"] = number(c.unlock.discarded);
      return j;
    }
    json operator()(const all_unlocked&) const { return {{"message", "everything is unlocked"}}; }
  };
  return std::visit(writer{}, e).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace progression
