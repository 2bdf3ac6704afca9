// SPDX-License-Identifier: BSL-1.0
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "adapters/postgres/postgres_store.hpp"
#include "adapters/sqlite/sqlite_store.hpp"
#include "load/scenarios.hpp"

namespace {

using progression::load::report;

nlohmann::json to_json(const report& r) {
  return {{"store", r.store},
          {"offered", r.offered},
          {"accepted", r.accepted},
          {"duplicates", r.duplicates},
          {"rejected", r.rejected},
          {"recorded", r.recorded},
          {"lost", r.lost},
          {"unlocks", r.unlocks},
          {"duplicate_unlocks", r.duplicate_unlocks},
          {"statements", r.statements},
          {"commits", r.commits},
          {"seconds", r.seconds},
          {"p50_ms", r.p50_ms},
          {"p99_ms", r.p99_ms},
          {"verdict", r.passed() ? "pass" : "fail"}};
}

void print_table(const std::vector<report>& reports) {
  std::printf("\n%-12s %-9s %8s %8s %6s %8s %8s %5s %7s %6s %7s %8s %8s %8s  %s\n", "scenario", "store",
              "offered", "accepted", "dupl.", "rejected", "recorded", "lost", "unlocks", "stmts", "commits",
              "seconds", "p50 ms", "p99 ms", "verdict");
  for (const report& r : reports) {
    std::printf("%-12s %-9s %8lld %8lld %6lld %8lld %8lld %5lld %7lld %6lld %7lld %8.3f %8.1f %8.1f  %s\n",
                r.name.c_str(), r.store.c_str(), static_cast<long long>(r.offered),
                static_cast<long long>(r.accepted), static_cast<long long>(r.duplicates),
                static_cast<long long>(r.rejected), static_cast<long long>(r.recorded),
                static_cast<long long>(r.lost), static_cast<long long>(r.unlocks),
                static_cast<long long>(r.statements), static_cast<long long>(r.commits), r.seconds, r.p50_ms,
                r.p99_ms, r.passed() ? "pass" : "FAIL");
  }
  for (const report& r : reports) {
    for (const std::string& why : r.failures) std::printf("%s: %s\n", r.name.c_str(), why.c_str());
  }
}

/// A thousand connections are more than many a shell grants by itself.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string fresh_run_id() {
  std::random_device random;
  char text[24];
  std::snprintf(text, sizeof text, "r%08x%08x", random(), random());
  return text;
}

struct settings {
  std::vector<std::string> urls{"http://127.0.0.1:8080"};
  std::vector<std::string> peers;
  std::string sqlite;
  std::string postgres;
  std::string admin_key;
  std::string json;
  std::vector<std::string> scenarios{"burst100", "burst1000", "unlock_race"};
  std::size_t race_connections = 64;
  std::int64_t most_statements = 10;
  progression::load::sustained_options sustained;
};

void declare(CLI::App& app, settings& s) {
  app.add_option("--url", s.urls, "Of the service; several for several processes on one database")
      ->capture_default_str();
  app.add_option("--peer", s.peers, "A further process of the service that takes part in unlock_race only");
  auto* store = app.add_option_group("store", "The database of the service, to see what it holds");
  store->add_option("--sqlite", s.sqlite, "A file")->type_name("FILE");
  store->add_option("--postgres", s.postgres, "A database of PostgreSQL")->type_name("CONNINFO");
  store->require_option(1);
  app.add_option("--admin-key", s.admin_key, "Of the service")->envname("PROGRESSION_ADMIN_KEY");
  app.add_option("--json", s.json, "Write the verdict here")->type_name("FILE");
  app.add_option("--scenario", s.scenarios, "What to play")
      ->check(CLI::IsMember({"burst100", "burst1000", "unlock_race", "sustained"}))
      ->capture_default_str();
  app.add_option("--connections", s.race_connections, "Of unlock_race and sustained")->capture_default_str();
  app.add_option("--seconds", s.sustained.seconds, "Of sustained")->capture_default_str();
  app.add_option("--batch", s.sustained.batch, "Messages of one request of sustained")->capture_default_str();
  app.add_option("--rate", s.sustained.per_second,
                 "Requests a second of sustained; 0: as many as are answered")
      ->capture_default_str();
}

report play(const std::string& name, const progression::load::target_system& system, const settings& s) {
  using namespace progression::load;
  if (name == "unlock_race") {
    target_system all = system;
    for (const std::string& url : s.peers) all.servers.push_back(parse_url(url));
    return unlock_race(all, s.race_connections);
  }
  if (name == "sustained") {
    sustained_options options = s.sustained;
    options.connections = s.race_connections;
    return sustained(system, options);
  }
  if (name == "burst1000") return burst(system, name, {.messages = 1000});
  report r = burst(system, name, {.messages = 100, .without_unlock = true});
  const bool postgres = system.store_name == "postgres";
  const std::int64_t spent = postgres ? r.statements : r.commits;
  r.require(spent <= s.most_statements, std::to_string(spent) + (postgres ? " statements" : " commits") +
                                            " where " + std::to_string(s.most_statements) + " should do");
  return r;
}

int run(const settings& s) {
  raise_descriptor_limit();
  std::unique_ptr<progression::store> db;
  progression::load::target_system system;
  if (s.postgres.empty()) {
    progression::sqlite_options options;
    options.path = s.sqlite;
    db = std::make_unique<progression::sqlite_store>(options);
    system.store_name = "sqlite";
  } else {
    progression::postgres_options options;
    options.conninfo = s.postgres;
    options.max_connections = 2;
    db = std::make_unique<progression::postgres_store>(options);
    system.store_name = "postgres";
  }
  for (const std::string& url : s.urls) system.servers.push_back(progression::load::parse_url(url));
  system.db = db.get();
  system.admin_key = s.admin_key;
  system.run_id = fresh_run_id();

  std::vector<report> reports;
  for (const std::string& name : s.scenarios) {
    try {
      reports.push_back(play(name, system, s));
    } catch (const std::exception& e) {
      report broken;
      broken.name = name;
      broken.store = system.store_name;
      broken.require(false, e.what());
      reports.push_back(broken);
    }
  }

  print_table(reports);
  bool good = true;
  nlohmann::json all = nlohmann::json::object();
  for (const report& r : reports) {
    good = good && r.passed();
    all[r.name] = to_json(r);
    if (r.name == "sustained" && r.seconds > 0) {
      std::printf("sustained: %.0f messages/s\n", static_cast<double>(r.accepted) / r.seconds);
    }
  }
  if (!s.json.empty()) {
    std::ofstream file{s.json};
    file << all.dump(2) << '\n';
    if (!file.flush()) throw std::runtime_error("cannot write " + s.json);
  }
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    CLI::App app{
        "Plays load against the progression service over real sockets and checks what the database holds."};
    settings s;
    declare(app, s);
    CLI11_PARSE(app, argc, argv);
    return run(s);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "progression_load: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
