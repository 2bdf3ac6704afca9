// SPDX-License-Identifier: BSL-1.0
#include <array>
#include <atomic>

#include "progression/store/conformance.hpp"

namespace progression::conformance {

namespace {

const std::vector<node_level> two_options{{.node = "a", .level = 1}, {.node = "b", .level = 1}};

}  // namespace

TEST_CASE("a vote counts for its option and contributes its points", "[store]") {
  fixture f;
  const auto session = open_session(f.store, two_options);
  ballot b = vote_of("chat:ann", session, 1);
  b.points = {2'500};
  CHECK(f.store.vote(b) == vote_status::counted);
  const world w = f.store.read_world();
  CHECK(w.pot.filled == points{2'500});
  CHECK(w.open_session->options.at(0).votes == 0);
  CHECK(w.open_session->options.at(1).votes == 1);
  CHECK(w.open_session->options.at(1).reached_at == b.at);
  CHECK(f.store.leaders(1).at(0).username == "name of chat:ann");
  CHECK(f.store.engagement_of("chat:ann").points == points{2'500});
  CHECK(f.store.engagement_of("chat:ann").by_metric.at("vote_cast") == 1);
  CHECK(f.store.count_events("") == 0);  // not an event of a client
  CHECK(f.store.audit().ledger_entries == 1);
  check_invariants(f.store);
}

TEST_CASE("the time of an option is the time of its last vote, so that ties can be told apart",
          "[store]") {  // I9
  fixture f;
  const auto session = open_session(f.store, two_options);
  const auto cast = [&](const char* user, std::size_t option, std::int64_t when) {
    ballot b = vote_of(user, session, option);
    b.at = at(when);
    return f.store.vote(b);
  };
  CHECK(cast("chat:1", 1, 10) == vote_status::counted);
  CHECK(cast("chat:2", 0, 11) == vote_status::counted);
  CHECK(cast("chat:3", 0, 12) == vote_status::counted);
  CHECK(cast("chat:4", 1, 13) == vote_status::counted);
  CHECK(cast("chat:4", 1, 14) == vote_status::already_voted);  // does not make option 1 any later
  const auto options = f.store.read_world().open_session.value().options;
  CHECK(options.at(0).votes == 2);
  CHECK(options.at(0).reached_at == at(12));
  CHECK(options.at(1).votes == 2);
  CHECK(options.at(1).reached_at == at(13));
}

TEST_CASE("a vote that does not count changes nothing and says why", "[store]") {  // I8
  fixture f;
  const auto ended = open_session(f.store, two_options);
  CHECK(f.store.vote(vote_of("chat:ann", ended, 0)) == vote_status::counted);
  end_session(f.store, ended.id, ended.options[0].id);
  const auto open = open_session(f.store, two_options);
  CHECK(f.store.vote(vote_of("chat:ann", open, 0)) == vote_status::counted);  // each session anew
  const std::string before = describe_all(f.store);

  CHECK(f.store.vote(vote_of("chat:ann", open, 0)) == vote_status::already_voted);
  CHECK(f.store.vote(vote_of("chat:ann", open, 1)) == vote_status::already_voted);

  ballot b = vote_of("chat:bob", open, 0);
  b.session = open.id + 1;
  CHECK(f.store.vote(b) == vote_status::no_such_session);
  b = vote_of("chat:bob", open, 0);
  b.option = open.options[1].id + 1;
  CHECK(f.store.vote(b) == vote_status::no_such_option);
  b.option = ended.options[0].id;
  CHECK(f.store.vote(b) == vote_status::no_such_option);

  CHECK(f.store.vote(vote_of("chat:bob", ended, 0)) == vote_status::session_closed);
  b = vote_of("chat:bob", open, 0);
  b.at = open.ends_at;
  CHECK(f.store.vote(b) == vote_status::session_closed);
  // Whoever asks again because an answer was lost learns that the vote counts, even after the end.
  CHECK(f.store.vote(vote_of("chat:ann", ended, 0)) == vote_status::already_voted);

  b = vote_of("", open, 0);
  CHECK(failure_of([&] { f.store.vote(b); }) == store_failure::rejected);
  b = vote_of("chat:bob", open, 0);
  b.points = {-1};
  CHECK(failure_of([&] { f.store.vote(b); }) == store_failure::rejected);
  CHECK(describe_all(f.store) == before);

  b = vote_of("chat:bob", open, 0);
  b.at = open.ends_at - std::chrono::microseconds{1};
  CHECK(f.store.vote(b) == vote_status::counted);
  check_invariants(f.store);
}

TEST_CASE("of ten votes of one user at once one counts", "[store]") {  // I8
  fixture f;
  const auto session = open_session(f.store, two_options);
  std::atomic<int> counted{0};
  std::atomic<int> refused{0};
  const auto thrown = in_threads(10, [&](std::size_t i) {
    const auto status = persist([&] { return f.store.vote(vote_of("chat:ann", session, i % 2)); });
    // [relaxed] both are read after the join
    if (status == vote_status::counted) counted.fetch_add(1, std::memory_order_relaxed);
    if (status == vote_status::already_voted) refused.fetch_add(1, std::memory_order_relaxed);
  });
  CHECK(thrown.empty());
  CHECK(counted == 1);
  CHECK(refused == 9);
  CHECK(f.store.read_world().pot.filled == points::whole(1));
  check_invariants(f.store);
}

TEST_CASE("votes of many users at once all count", "[store]") {  // I8
  fixture f;
  const auto session = open_session(f.store, two_options);
  const auto thrown = in_threads(30, [&](std::size_t i) {
    persist([&] { return f.store.vote(vote_of("chat:" + std::to_string(i), session, i % 3 == 0 ? 0 : 1)); });
  });
  CHECK(thrown.empty());
  const auto options = f.store.read_world().open_session.value().options;
  CHECK(options.at(0).votes == 10);
  CHECK(options.at(1).votes == 20);
  CHECK(f.store.audit().ledger_points == points::whole(30));
  check_invariants(f.store);
}

TEST_CASE("each vote that meets the end of its session is counted before it or refused after it", "[store]") {
  fixture f;  // I8
  const auto session = open_session(f.store, two_options);
  constexpr std::size_t voters = 16;
  std::atomic<std::int64_t> counted{0};
  std::atomic<std::int64_t> closed{0};
  std::array<std::atomic<std::int64_t>, 2> seen_at_the_end{};
  const auto thrown = in_threads(voters + 1, [&](std::size_t i) {
    if (i == voters / 2) {
      persist([&] {
        return f.store.transition([&](const world& w) {
          step s;
          const auto& options = w.open_session.value().options;
          // [relaxed] read after the join
          for (std::size_t k = 0; k < 2; ++k)
            seen_at_the_end[k].store(options.at(k).votes, std::memory_order_relaxed);
          s.ended = session_end{.session = session.id, .winner = options.at(0).id};
          return s;
        });
      });
      return;
    }
    const auto status =
        persist([&] { return f.store.vote(vote_of("chat:" + std::to_string(i), session, i % 2)); });
    // [relaxed] both are read after the join
    if (status == vote_status::counted) counted.fetch_add(1, std::memory_order_relaxed);
    if (status == vote_status::session_closed) closed.fetch_add(1, std::memory_order_relaxed);
  });
  CHECK(thrown.empty());
  CHECK(counted + closed == std::int64_t{voters});
  const auto last = f.store.latest_session().value();
  CHECK(last.options.at(0).votes == seen_at_the_end[0].load());
  CHECK(last.options.at(1).votes == seen_at_the_end[1].load());
  CHECK(last.options.at(0).votes + last.options.at(1).votes == counted.load());
  CHECK(f.store.vote(vote_of("chat:late", session, 0)) == vote_status::session_closed);
  check_invariants(f.store);
}

}  // namespace progression::conformance
