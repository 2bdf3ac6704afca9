// SPDX-License-Identifier: BSL-1.0
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <weir/retry.hpp>

#include "adapters/http/api.hpp"
#include "adapters/http/server.hpp"
#include "adapters/json/tree_file.hpp"
#include "adapters/postgres/postgres_store.hpp"
#include "adapters/sqlite/sqlite_store.hpp"
#include "application/late_store.hpp"
#include "application/service.hpp"

namespace {

using namespace std::chrono_literals;

struct settings {
  std::string tree;
  std::string admin_key;
  bool durable = true;
  int drain_seconds = 20;
  progression::sqlite_options sqlite;
  progression::postgres_options postgres;
  progression::http_server_options http;
  progression::service_options service;
};

/// The tree that was put beside the program when it was built.
std::string default_tree() {
  std::error_code ec;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
  return ec ? "tree.json" : (self.parent_path() / "tree.json").string();
}

void declare(CLI::App& app, settings& s) {
  app.set_help_flag("-h,--help", "Print this and exit");
  auto* store = app.add_option_group("store", "Where the progression is kept");
  store->add_option("--sqlite", s.sqlite.path, "A file; made if it is not there")->type_name("FILE");
  store->add_option("--postgres", s.postgres.conninfo, "A database of PostgreSQL")->type_name("CONNINFO");
  store->require_option(1);
  app.add_option("--sqlite-durable", s.durable, "Each commit is on the disk before it is acknowledged")
      ->capture_default_str();
  app.add_option("--postgres-connections", s.postgres.max_connections, "Connections at most")
      ->capture_default_str();
  app.add_option("--tree", s.tree, "The tree of what can be unlocked (default: tree.json beside the program)")
      ->type_name("FILE");

  app.add_option("--address", s.http.address, "IP address to listen on")->capture_default_str();
  app.add_option("--port", s.http.port, "Port to listen on; 0 takes a free one")->capture_default_str();
  app.add_option("--workers", s.http.workers, "Requests in work at once")->capture_default_str();
  app.add_option("--io-threads", s.http.io_threads, "Threads that own the connections")
      ->capture_default_str();
  app.add_option("--queue", s.http.queue_capacity, "Requests that may wait for a worker")
      ->capture_default_str();
  app.add_option("--max-connections", s.http.max_connections, "Open connections")->capture_default_str();
  app.add_option("--max-subscribers", s.http.max_subscribers, "Open event streams")->capture_default_str();
  app.add_option("--deadline", s.http.request_deadline, "After which a request is given up")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, std::int64_t>{{"ms", 1}, {"s", 1000}}))
      ->default_str("5s");
  app.add_option("--drain-seconds", s.drain_seconds, "For what was accepted, after SIGTERM")
      ->check(CLI::Range(0, 24 * 60 * 60))
      ->capture_default_str();
  app.add_option("--admin-key", s.admin_key, "What X-Admin-Key must say (default: nothing)")
      ->envname("PROGRESSION_ADMIN_KEY");

  app.add_option("--max-batch", s.service.max_batch, "Callers that share one commit")->capture_default_str();
  app.add_option_function<double>(
         "--linger-ms",
         [&s](double ms) {
           s.service.linger = std::chrono::nanoseconds{static_cast<std::int64_t>(ms * 1e6)};
         },
         "How long a commit waits for more callers, where there are several")
      ->check(CLI::Range(0.0, 1000.0))
      ->default_str("2");
  app.add_option("--user-rate", s.service.user_per_second, "Messages a second of one user")
      ->capture_default_str();
  app.add_option("--user-burst", s.service.user_burst, "Messages of one user at once")->capture_default_str();
  app.add_option("--total-rate", s.service.total_per_second, "Messages a second of all")
      ->capture_default_str();
  app.add_option("--total-burst", s.service.total_burst, "Messages of all at once")->capture_default_str();
  app.add_option("--seed", s.service.seed, "Of what is left to chance; 0 takes one from the system");

  // Each protection can be taken away, to see what it does.
  app.add_flag("!--no-batching", s.service.batching, "One commit for each message");
  app.add_flag("!--no-cache", s.service.cache_weights, "Read the weights for each message");
  app.add_flag("!--no-gate", s.service.coalesce_checks, "Each message checks for an unlock");
  app.add_flag("!--no-user-limit", s.service.limit_users, "No rate limit for a user");
  app.add_flag("!--no-total-limit", s.service.limit_total, "No rate limit for all");
  app.add_flag("!--no-retry", s.service.retrying, "One attempt at the database");
  app.add_flag("!--no-breaker", s.service.breaking, "Ask the database even while it fails");
}

/// As many descriptors as the system lets us have: every connection is one.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Blocks the signals that end the process in this thread and all it starts; `main` waits for them.
sigset_t block_ending_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like a full disk, not our end
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  return ending;
}

std::unique_ptr<progression::store> open_store(const settings& s) {
  if (!s.postgres.conninfo.empty()) return std::make_unique<progression::postgres_store>(s.postgres);
  progression::sqlite_options sqlite = s.sqlite;
  sqlite.synchronous = s.durable ? progression::sqlite_sync::full : progression::sqlite_sync::normal;
  return std::make_unique<progression::sqlite_store>(sqlite);
}

/// When the store answered last; read without waiting.
class readiness {
 public:
  void answered() noexcept {
    // [relaxed] A lone instant; nothing else is read by its means.
    last_.store(now(), std::memory_order_relaxed);
  }
  void failed() noexcept { last_.store(never, std::memory_order_relaxed); }  // [relaxed] as above
  [[nodiscard]] bool good() const noexcept {
    const auto last = last_.load(std::memory_order_relaxed);  // [relaxed] as above
    return last != never && now() - last < std::chrono::nanoseconds{5s}.count();
  }

 private:
  static constexpr std::int64_t never = -1;
  static std::int64_t now() noexcept { return std::chrono::steady_clock::now().time_since_epoch().count(); }
  std::atomic<std::int64_t> last_{never};
};

/// A database that does not answer may do so later; one that answers with an error will not change.
bool may_answer_later(const progression::store_error& e) {
  return e.kind() == progression::store_failure::unavailable ||
         e.kind() == progression::store_failure::overloaded;
}

struct until_it_answers {
  weir::retry_verdict operator()(const std::exception_ptr& error) const {
    try {
      std::rethrow_exception(error);
    } catch (const progression::store_error& e) {
      if (!may_answer_later(e)) return false;
      std::fprintf(stderr, "progression: not ready: %s\n", e.what());
      return true;
    } catch (...) {
      return false;
    }
  }
};

/// Opens the database and starts the service as soon as that can be done.  Throws if it never can.
void bring_up(const std::stop_token& stop, progression::late_store& db, progression::service& app) {
  weir::basic_retry<weir::steady_clock, until_it_answers> retry{
      {.max_attempts = weir::unlimited_attempts, .backoff = {.cap = 5s}, .budget = weir::no_retry_budget{}}};
  static_cast<void>(retry.call(
      [&] {
        db.open();
        app.start();
        return true;
      },
      {}, stop));
}

void keep_house(const std::stop_token& stop, progression::service& app, readiness& store) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock{mutex};
  while (!wake.wait_for(lock, stop, 1s, [&stop] { return stop.stop_requested(); })) {
    app.ready() ? store.answered() : store.failed();
    app.tick();
  }
}

/// IPv6 addresses stand in brackets in an URL.
std::string url_of(const std::string& address, unsigned port) {
  const bool six = address.find(':') != std::string::npos;
  return "http://" + (six ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

int serve(const settings& s) {
  const sigset_t ending = block_ending_signals();
  raise_descriptor_limit();

  progression::tree tree = progression::load_tree(s.tree.empty() ? default_tree() : s.tree);
  progression::late_store db{[&s] { return open_store(s); }};

  // The service tells the server, the server asks the service: the pointer is set once both stand, and the
  // server outlives the service.
  std::unique_ptr<progression::http_server> server;
  std::atomic<progression::http_server*> listeners{nullptr};
  progression::service app{std::move(tree), db, s.service, [&listeners](const progression::event& e) {
                             // [E] acquire, pairs with [F]: the server is whole when it is seen.
                             if (auto* hub = listeners.load(std::memory_order_acquire)) {
                               hub->publish(progression::name_of(e), progression::to_json(e));
                             }
                           }};
  readiness store;
  bool up = false;
  try {
    db.open();
    app.start();
    store.answered();
    up = true;
  } catch (const progression::store_error& e) {
    // A file that cannot be opened is a mistake; a server may be on its way up.
    if (s.postgres.conninfo.empty() || !may_answer_later(e)) throw;
    std::fprintf(stderr, "progression: not ready, trying again: %s\n", e.what());
  }

  progression::api_environment environment;
  environment.admin_key = s.admin_key;
  environment.store_ready = [&store] { return store.good(); };
  environment.draining = [&server] { return server->draining(); };
  environment.server = [&server] { return server->stats(); };
  server = std::make_unique<progression::http_server>(s.http,
                                                      progression::api_routes(app, std::move(environment)));
  listeners.store(server.get(), std::memory_order_release);  // [F] release, pairs with [E]
  server->start();
  std::printf("progression: listening on %s\n", url_of(s.http.address, server->port()).c_str());
  std::fflush(stdout);

  std::atomic<bool> hopeless{false};
  std::jthread housekeeping{[&](const std::stop_token& stop) {
    try {
      if (!up) {
        bring_up(stop, db, app);
        if (!stop.stop_requested()) store.answered();
      }
      keep_house(stop, app, store);
    } catch (const std::exception& e) {
      if (stop.stop_requested()) return;
      std::fprintf(stderr, "progression: %s\n", e.what());
      hopeless.store(true, std::memory_order_relaxed);  // [relaxed] the signal orders it
      ::kill(::getpid(), SIGTERM);
    }
  }};
  int signal = 0;
  sigwait(&ending, &signal);

  std::printf("progression: signal %d, draining\n", signal);
  std::fflush(stdout);
  const auto wait = std::chrono::seconds{s.drain_seconds};
  const auto until = weir::deadline::after(std::chrono::steady_clock::now(), wait);
  server->begin_drain();
  const bool answered = server->await_drained(wait);
  const std::size_t callers_left = app.drain(until);
  if (!answered || callers_left != 0) {
    // Somebody waits for a database that is silent, and a thread inside it cannot be recalled.  What was
    // acknowledged is committed: nothing is lost by going now.
    std::printf("progression: drain ran out of time; %zu callers were not finished\n", callers_left);
    std::fflush(stdout);
    std::_Exit(EXIT_FAILURE);
  }
  housekeeping = {};
  const std::size_t dropped = server->stop();
  if (dropped == 0) {
    std::printf("progression: drained, nothing left\n");
  } else {
    std::printf("progression: %zu requests were never begun\n", dropped);
  }
  return dropped == 0 && !hopeless.load(std::memory_order_relaxed) ? EXIT_SUCCESS
                                                                   : EXIT_FAILURE;  // [relaxed] as above
}

}  // namespace

int main(int argc, char** argv) {
  try {
    CLI::App app{"The reference service: a community unlocks a tree of features, message by message."};
    settings s;
    declare(app, s);
    CLI11_PARSE(app, argc, argv);
    return serve(s);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "progression: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
