// SPDX-License-Identifier: BSL-1.0
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>

#include "adapters/sqlite/sqlite_store.hpp"
#include "load/http_client.hpp"
#include "progression/http/scratch.hpp"

using progression::load::answer;
using progression::load::connection;
using progression::load::crowd;
using progression::load::endpoint;
using progression::load::http_request_text;

namespace {

/// The service as a process of its own, by default on an SQLite file.
class service_process {
 public:
  explicit service_process(const std::filesystem::path& file)
      : service_process{{"--sqlite", file.string(), "--no-user-limit"}} {}
  /// `largest_file` in bytes: what the process may write at most.
  explicit service_process(std::vector<std::string> arguments, rlim_t largest_file = RLIM_INFINITY)
      : arguments_{std::move(arguments)}, largest_file_{largest_file} {
    start();
  }
  service_process(const service_process&) = delete;
  service_process& operator=(const service_process&) = delete;
  ~service_process() {
    if (pid_ > 0) (void)end(SIGKILL);
  }

  void start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    std::vector<std::string> words{WEIR_TEST_SERVICE, "--port", "0"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      const rlimit limit{largest_file_, RLIM_INFINITY};
      if (largest_file_ != RLIM_INFINITY) ::setrlimit(RLIMIT_FSIZE, &limit);
      ::execv(WEIR_TEST_SERVICE, argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    // The first line says where it listens; the pipe stays open so that what it says later harms nobody.
    std::string said;
    char c = 0;
    while (::read(ends[0], &c, 1) == 1 && c != '\n') said += c;
    output_ = progression::load::socket_handle{ends[0]};
    const std::size_t at = said.find("http://");
    if (at == std::string::npos) throw std::runtime_error("the service did not start");
    where_ = progression::load::parse_url(said.substr(at));
  }

  void signal(int number) const { ::kill(pid_, number); }

  /// Exit code, or minus the signal that ended it.
  [[nodiscard]] int await_end() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  [[nodiscard]] int end(int number) {
    signal(number);
    return await_end();
  }

  [[nodiscard]] const endpoint& where() const { return where_; }

 private:
  std::vector<std::string> arguments_;
  rlim_t largest_file_ = RLIM_INFINITY;
  pid_t pid_ = -1;
  progression::load::socket_handle output_;
  endpoint where_;
};

using progression::test::scratch;

std::string message(std::size_t i) {
  const std::string n = std::to_string(i);
  return http_request_text("POST", "/api/v1/message/handle",
                           R"({"event_id":"event-)" + n + R"(-","platform":"p","platform_id":")" + n +
                               R"(","username":"u","message":"m"})");
}

/// Plays messages until nobody listens any more; `when` is called once so many were acknowledged.
struct played {
  std::set<std::size_t> acknowledged;
  std::size_t refused = 0;
  std::size_t unanswered = 0;
  std::size_t odd = 0;
};

template <class F>
played play_until_the_end(const endpoint& where, std::size_t enough, F when) {
  played result;
  bool over = false;
  crowd all{{where}, 50};
  try {
    all.run({.requests = 1'000'000,
             .text = message,
             .on_answer =
                 [&](const answer& a) {
                   if (a.reply == nullptr) {
                     ++result.unanswered;
                     over = true;
                   } else if (a.reply->status == 200) {
                     result.acknowledged.insert(a.index);
                     if (result.acknowledged.size() == enough) when();
                   } else if (a.reply->status == 503 && a.reply->header("Retry-After")) {
                     ++result.refused;
                     over = true;
                   } else {
                     ++result.odd;
                   }
                 },
             .stop = [&] { return over; }});
  } catch (const std::runtime_error&) {
    // Nobody listens any more.
  }
  return result;
}

/// Every acknowledged message stands in the ledger once; the ledger adds up.
void check_ledger(const std::filesystem::path& file, const played& p) {
  progression::sqlite_store db{{.path = file.string()}};
  std::size_t missing = 0;
  std::size_t twice = 0;
  for (const std::size_t i : p.acknowledged) {
    const auto n = db.count_events(std::string{"event-"}.append(std::to_string(i)).append("-"));
    missing += n == 0 ? 1 : 0;
    twice += n > 1 ? 1 : 0;
  }
  CHECK(missing == 0);
  CHECK(twice == 0);
  CHECK(db.audit().conserves_points());
  CHECK(db.audit().duplicate_unlocks == 0);
  CHECK(db.audit().open_sessions <= 1);
}

}  // namespace

TEST_CASE("SIGTERM under load loses nothing that was acknowledged, refuses the rest and ends well",
          "[http]") {
  const scratch directory;
  const auto file = directory.path / "db";
  service_process service{file};
  const played p = play_until_the_end(service.where(), 500, [&] { service.signal(SIGTERM); });
  CHECK(service.await_end() == 0);
  CHECK(p.acknowledged.size() >= 500);
  CHECK(p.refused + p.unanswered > 0);
  CHECK(p.odd == 0);
  check_ledger(file, p);
}

TEST_CASE("kill -9 in the middle of a burst loses nothing that was acknowledged", "[http]") {
  const scratch directory;
  const auto file = directory.path / "db";
  service_process service{file};
  const played p = play_until_the_end(service.where(), 500, [&] { service.signal(SIGKILL); });
  CHECK(service.await_end() == -SIGKILL);
  CHECK(p.acknowledged.size() >= 500);
  CHECK(p.odd == 0);

  // After a restart all of it is there, and sent again it is a duplicate.
  service.start();
  std::size_t sent = 0;
  std::size_t duplicates = 0;
  auto client = connection{service.where()};
  for (const std::size_t i : p.acknowledged) {
    if (++sent > 100) break;
    client.send(message(i));
    if (client.receive().body.find("\"duplicate\"") != std::string::npos) ++duplicates;
  }
  CHECK(duplicates == 100);
  CHECK(service.end(SIGTERM) == 0);
  check_ledger(file, p);
}

TEST_CASE("an idle service ends at SIGINT too", "[http]") {
  const scratch directory;
  service_process service{directory.path / "db"};
  auto idle = connection{service.where()};
  CHECK(idle.request("GET", "/readyz").status == 200);
  CHECK(service.end(SIGINT) == 0);
}

TEST_CASE("a service that starts before its database is alive, not ready, and refuses with Retry-After",
          "[http]") {
  const scratch directory;
  service_process service{{"--postgres", "host=" + directory.path.string() + " dbname=none"}};
  auto client = connection{service.where()};
  CHECK(client.request("GET", "/healthz").status == 200);
  CHECK(client.request("GET", "/readyz").status == 503);
  CHECK(client.request("GET", "/metrics").body.find("\nprogression_ready 0\n") != std::string::npos);
  const auto status = client.request("GET", "/api/v1/progression/status");
  CHECK(status.status == 503);
  CHECK(status.header("Retry-After"));
  client.send(message(1));
  const auto refused = client.receive();
  CHECK(refused.status == 503);
  CHECK(refused.header("Retry-After"));
  CHECK(service.end(SIGTERM) == 0);
}

TEST_CASE("an SQLite file that cannot be opened ends the service at once", "[http]") {
  const scratch directory;
  CHECK_THROWS_AS(service_process{directory.path / "nowhere" / "db"}, std::runtime_error);
}

TEST_CASE("a full disk is refused with Retry-After and loses nothing that was acknowledged", "[http]") {
  const scratch directory;
  const auto file = directory.path / "db";
  service_process service{{"--sqlite", file.string(), "--no-user-limit"}, 600'000};
  const played p = play_until_the_end(service.where(), 0, [] {});
  CHECK_FALSE(p.acknowledged.empty());
  CHECK(p.refused > 0);
  CHECK(p.odd == 0);
  auto client = connection{service.where()};
  CHECK(client.request("GET", "/healthz").status == 200);
  CHECK(service.end(SIGTERM) == 0);
  check_ledger(file, p);
}
