// SPDX-License-Identifier: BSL-1.0
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <random>

#include "progression/store/conformance.hpp"
#include "progression/store/sqlite_file.hpp"

namespace progression::conformance {

namespace {

std::string prefix(int round, std::uint32_t batch) {
  return std::to_string(round) + '-' + std::to_string(batch) + '-';
}

constexpr int batch_size = 3;

/// Records, votes and unlocks for ever, and tells the number of each batch once it is recorded.
[[noreturn]] void serve(const std::string& path, int round, int acknowledge) {
  try {
    sqlite_store s{{.path = path}};
    for (std::uint32_t n = 0;; ++n) {
      s.record(messages(prefix(round, n), batch_size), at(n));
      if (::write(acknowledge, &n, sizeof n) != sizeof n) ::_exit(2);
      const auto session = s.latest_session().value();
      s.vote(vote_of("chat:" + prefix(round, n), session, n % 2));
      s.transition([&](const world& w) {
        auto next = buy_levels(points::whole(2))(w);
        if (next) {
          next->ended = session_end{.session = w.open_session.value().id,
                                    .winner = w.open_session.value().options.at(0).id};
          next->started = session_start{.started_at = at(0),
                                        .ends_at = at(3600),
                                        .options = {{.node = "a", .level = 1}, {.node = "b", .level = 1}}};
        }
        return next;
      });
    }
  } catch (...) {
    ::_exit(3);
  }
}

}  // namespace

TEST_CASE("whatever was acknowledged before a kill is there after it, once", "[sqlite_store]") {  // I16
  const std::uint64_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const temporary_directory directory;
  {
    sqlite_store s{{.path = directory.file()}};
    set_goal(s, {.node = "lamp", .level = 1}, points::whole(10));
    open_session(s, {{.node = "a", .level = 1}, {.node = "b", .level = 1}});
  }
  std::int64_t acknowledged_events = 0;
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(pipe_ends[0]);
      serve(directory.file(), round, pipe_ends[1]);
    }
    ::close(pipe_ends[1]);
    // The child is killed wherever it is by the time that a random number of batches has been read, and a
    // random number of instructions later.
    const auto wanted = random() % 20;
    std::uint64_t acknowledged = 0;
    std::uint32_t number = 0;
    while (acknowledged < wanted && ::read(pipe_ends[0], &number, sizeof number) == sizeof number)
      ++acknowledged;
    random.discard(random() % 200'000);
    ::kill(child, SIGKILL);
    while (::read(pipe_ends[0], &number, sizeof number) == sizeof number) ++acknowledged;
    ::close(pipe_ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));  // neither a failure nor the end of the pipe
    CHECK(acknowledged >= wanted);

    sqlite_store s{{.path = directory.file()}};
    for (std::uint32_t n = 0; n < acknowledged; ++n) {
      CHECK(s.count_events(prefix(round, n)) == batch_size);
    }
    const std::int64_t kept = s.count_events(std::to_string(round) + '-');
    CHECK(kept % batch_size == 0);  // batches are whole
    CHECK(kept >= static_cast<std::int64_t>(acknowledged) * batch_size);
    CHECK(kept <= static_cast<std::int64_t>(acknowledged + 1) * batch_size);
    acknowledged_events += static_cast<std::int64_t>(acknowledged) * batch_size;
    check_invariants(s);
    CHECK(s.audit().open_sessions == 1);
  }
  CHECK(acknowledged_events > 0);
}

}  // namespace progression::conformance
