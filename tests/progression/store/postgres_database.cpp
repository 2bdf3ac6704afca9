// SPDX-License-Identifier: BSL-1.0
#include "progression/store/postgres_database.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <catch2/catch_test_macros.hpp>

// libpqxx 6.4 never frees the answer of a connection that died.  Without effect but under the address sanitizer.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libpqxx-6.";
}  // NOLINT(bugprone-reserved-identifier)

namespace progression::test {
namespace {

/// A private cluster that lives as long as this process holds its end of a pipe.
class private_cluster {
 public:
  private_cluster() {
    char name[] = "/tmp/weir-test.XXXXXX";
    if (::mkdtemp(name) == nullptr) return;
    directory_ = name;
    const std::string command = "'" WEIR_TEST_CLUSTER "' run " + directory_ + " -- cat >/dev/null";
    pipe_ = ::popen(command.c_str(), "we");
    // The file appears when the server answers; that the script failed shows in its directory being gone.
    for (int i = 0; i < 600 && ::access(directory_.c_str(), F_OK) == 0; ++i) {
      if (std::ifstream file{directory_ + "/conninfo"}; std::getline(file, conninfo_)) return;
      std::this_thread::sleep_for(std::chrono::milliseconds{100});
    }
  }
  private_cluster(const private_cluster&) = delete;
  private_cluster& operator=(const private_cluster&) = delete;
  ~private_cluster() {
    if (pipe_ != nullptr) ::pclose(pipe_);
  }

  [[nodiscard]] const std::string& conninfo() const noexcept { return conninfo_; }

 private:
  std::string directory_;
  std::FILE* pipe_ = nullptr;
  std::string conninfo_;
};

const std::string& cluster() {
  static const std::string conninfo = [] {
    if (const char* given = std::getenv("WEIR_TEST_POSTGRES"); given != nullptr && *given != '\0') {
      return std::string{given};
    }
    static const private_cluster own;
    return own.conninfo();
  }();
  if (conninfo.empty()) {
    SKIP("no PostgreSQL here: set WEIR_TEST_POSTGRES, or install the server so that " WEIR_TEST_CLUSTER
         " can start one");
  }
  return conninfo;
}

std::string ask_at(const std::string& conninfo, const std::string& sql) {
  pqxx::connection connection{conninfo};
  pqxx::nontransaction transaction{connection};
  const pqxx::result rows = transaction.exec(sql);
  return rows.empty() || rows[0][0].is_null() ? std::string{} : std::string{rows[0][0].c_str()};
}

}  // namespace

postgres_database::postgres_database() {
  static std::atomic<int> number{0};
  // [relaxed] a plain count
  name_ = "weir_test_" + std::to_string(::getpid()) + "_" +
          std::to_string(number.fetch_add(1, std::memory_order_relaxed));
  ask_at(cluster(), "CREATE ROLE " + name_ + " LOGIN");
  ask_at(cluster(), "CREATE DATABASE " + name_ + " OWNER " + name_);
}

postgres_database::~postgres_database() {
  try {
    ask_at(cluster(), "DROP DATABASE " + name_ + " WITH (FORCE)");
    ask_at(cluster(), "DROP ROLE " + name_);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "postgres_database: %s is left behind: %s\n", name_.c_str(), e.what());
  }
}

std::string postgres_database::conninfo() const { return superuser_conninfo() + " user=" + name_; }
std::string postgres_database::superuser_conninfo() const { return cluster() + " dbname=" + name_; }

std::string postgres_database::ask(const std::string& sql) const { return ask_at(superuser_conninfo(), sql); }

void postgres_database::kill_backends() const {
  // pg_terminate_backend with a time-out waits for the backend to be gone.
  ask("SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE usename = '" + name_ + "'");
}

}  // namespace progression::test
