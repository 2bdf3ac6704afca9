// SPDX-License-Identifier: BSL-1.0
#include "domain/cycle.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapters/json/tree_file.hpp"
#include "apply.hpp"

using namespace progression;
using namespace std::chrono_literals;
using progression::testing::apply;
using progression::testing::id_source;

namespace {

constexpr wall_time noon{std::chrono::hours{12}};

node plain(std::string key, std::vector<std::string> prerequisites = {}, int max_level = 1) {
  node n;
  n.key = std::move(key);
  n.name = n.key;
  n.max_level = max_level;
  n.prerequisites = std::move(prerequisites);
  return n;
}

node granted(std::string key) {
  node n = plain(std::move(key));
  n.auto_unlock = true;
  return n;
}

/// A world, a tree, and everything done to it by steps.
struct play {
  explicit play(tree shape, std::uint64_t seed = 1) : t{std::move(shape)}, random{seed} {}

  std::optional<step> once() {
    auto s = next_step(t, w, now, random, rules);
    if (s) {
      apply(*s, w, ids);
      steps.push_back(*s);
    }
    return s;
  }
  int settle() {
    int n = 0;
    while (once()) ++n;
    return n;
  }
  vote_option& option(const std::string& key) {
    return *std::ranges::find(w.open_session->options, key, [](const vote_option& o) { return o.what.node; });
  }
  void vote(const std::string& key, std::int64_t votes, wall_time at) {
    option(key).votes = votes;
    option(key).reached_at = at;
  }

  tree t;
  rng random;
  world w = {};
  wall_time now = noon;
  cycle_rules rules = {};
  id_source ids = {};
  std::vector<step> steps = {};
};

std::vector<std::string> keys(const voting_session& s) {
  std::vector<std::string> all;
  for (const vote_option& o : s.options) all.push_back(o.what.node);
  return all;
}

}  // namespace

TEST_CASE("a start grants what is free, sets a goal and opens a vote on the rest", "[progression]") {
  play p{tree{{granted("root"), plain("a", {"root"}), plain("b", {"root"})}}};
  p.settle();
  CHECK(p.w.unlocked == unlock_levels{{"root", 1}});
  REQUIRE(p.w.pot.goal);
  REQUIRE(p.w.open_session);
  CHECK(p.w.pot.goal->cost == points::whole(50));
  CHECK(p.w.open_session->ends_at == noon + 24h);
  CHECK(keys(*p.w.open_session) == std::vector<std::string>{p.w.pot.goal->what.node == "a" ? "b" : "a"});
  CHECK_FALSE(p.once());
}

TEST_CASE("a full pot unlocks its goal, keeps the rollover and makes the winner the next goal",
          "[progression]") {
  play p{tree{{plain("a"), plain("b"), plain("c"), plain("d")}}};
  p.settle();
  const auto goal = *p.w.pot.goal;
  const auto options = keys(*p.w.open_session);
  REQUIRE(options.size() == 3);
  p.vote(options[1], 2, noon);
  p.vote(options[2], 1, noon);
  const auto winner = p.option(options[1]).id;

  p.w.pot.filled = points::whole(60);
  const auto s = p.once();
  REQUIRE(s);
  REQUIRE(s->unlock);
  CHECK(s->unlock->what == goal.what);
  CHECK(s->unlock->rollover == points::whole(10));
  CHECK(s->unlock->discarded == points{0});
  REQUIRE(s->ended);
  CHECK(s->ended->winner == winner);
  REQUIRE(s->next);
  CHECK(s->next->what == node_level{options[1], 1});
  REQUIRE(s->started);
  CHECK(s->started->options.size() == 2);
  CHECK_FALSE(s->all_unlocked);
  CHECK(p.w.pot.cycle == 2);
  CHECK_FALSE(p.once());
}

TEST_CASE("a surplus above the cap is discarded, and accounted for", "[progression]") {  // I2
  struct row {
    std::int64_t filled, cost, rollover, discarded;
  };
  constexpr row rows[] = {
      {50, 50, 0, 0}, {51, 50, 1, 0}, {250, 50, 200, 0}, {251, 50, 200, 1}, {900, 50, 200, 650}};
  for (const row& r : rows) {
    const auto parts = split({r.filled}, {r.cost}, {200});
    CHECK(parts.rollover.milli == r.rollover);
    CHECK(parts.discarded.milli == r.discarded);
  }
}

TEST_CASE("a rollover that pays for the next goal unlocks it at once", "[progression]") {  // W7
  play p{tree{{plain("a"), plain("b"), plain("c"), plain("d"), plain("e"), plain("f")}}};
  p.settle();
  p.w.pot.filled = points::whole(250);
  p.settle();
  CHECK(p.w.unlocked.size() == 5);
  CHECK(p.w.pot.filled == points::whole(0));
}

TEST_CASE("a tie goes to the option that has stood longest, then to the first node", "[progression]") {  // I9
  rng random{1};
  const auto option = [](std::string key, std::int64_t votes, std::optional<wall_time> at) {
    return vote_option{.id = 1, .what = {std::move(key), 1}, .votes = votes, .reached_at = at};
  };
  using options = std::vector<vote_option>;
  CHECK(vote_winner(options{option("a", 1, noon), option("b", 2, noon + 1s)}, random) == 1);
  CHECK(vote_winner(options{option("a", 2, noon + 1s), option("b", 2, noon)}, random) == 1);
  CHECK(vote_winner(options{option("a", 2, std::nullopt), option("b", 2, noon)}, random) == 1);
  CHECK(vote_winner(options{option("b", 2, noon), option("a", 2, noon)}, random) == 1);
  CHECK(vote_winner(options{}, random) == std::nullopt);
}

TEST_CASE("without a vote every option wins equally often, the same under the same seed", "[progression]") {
  std::vector<vote_option> options;
  for (const char* key : {"a", "b", "c", "d"})
    options.push_back({.id = 1, .what = {key, 1}, .votes = 0, .reached_at = {}});
  rng random{42};
  rng again{42};
  std::array<int, 4> won{};
  for (int i = 0; i < 4000; ++i) {
    const auto winner = vote_winner(options, random);
    REQUIRE(winner);
    REQUIRE(winner == vote_winner(options, again));
    ++won.at(*winner);
  }
  for (const int n : won) CHECK((n > 850 && n < 1150));
}

TEST_CASE("drawn options differ, are at most the asked number, and come in order of node", "[progression]") {
  std::vector<node> nodes;
  for (char c = 'a'; c <= 'j'; ++c) nodes.push_back(plain(std::string(1, c)));
  std::set<std::vector<std::string>> draws;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    play p{tree{nodes}, seed};
    p.settle();
    const auto drawn = keys(*p.w.open_session);
    CHECK(drawn.size() == 4);
    CHECK(std::ranges::is_sorted(drawn));
    CHECK(std::ranges::adjacent_find(drawn) == drawn.end());
    CHECK(std::ranges::find(drawn, p.w.pot.goal->what.node) == drawn.end());  // W19
    draws.insert(drawn);
  }
  CHECK(draws.size() > 20);
}

TEST_CASE("a winner that was unlocked meanwhile gives way to the next best option",
          "[progression]") {  // W12, I7
  play p{tree{{plain("a"), plain("b"), plain("c"), plain("d")}}};
  p.settle();
  const auto options = keys(*p.w.open_session);
  p.vote(options[0], 9, noon);
  p.vote(options[2], 1, noon);
  p.w.unlocked[options[0]] = 1;
  p.w.pot.filled = points::whole(50);
  const auto s = p.once();
  REQUIRE(s);
  CHECK(s->next->what.node == options[2]);
  CHECK(s->ended->winner == p.steps.back().ended->winner);
}

TEST_CASE("with no option left to win, anything available becomes the goal", "[progression]") {
  play p{tree{{plain("a"), plain("b"), plain("c", {"a", "b"})}}};
  p.settle();
  const auto option = keys(*p.w.open_session).front();
  const auto session = p.w.open_session->id;
  p.w.unlocked[option] = 1;
  p.w.pot.filled = points::whole(50);
  const auto s = p.once();
  REQUIRE(s);
  REQUIRE(s->ended);
  CHECK(s->ended->session == session);
  CHECK_FALSE(s->ended->winner);
  CHECK(s->next->what.node == "c");
}

TEST_CASE("a goal that was unlocked by other means is replaced, not bought again", "[progression]") {  // W15
  play p{tree{{plain("a"), plain("b"), plain("c")}}};
  p.settle();
  p.w.unlocked[p.w.pot.goal->what.node] = 1;
  p.w.pot.filled = points::whole(70);
  const auto s = p.once();
  REQUIRE(s);
  CHECK_FALSE(s->unlock);
  CHECK(s->ended);
  CHECK(s->next);
  CHECK(p.w.pot.filled == points::whole(70));
  CHECK(p.w.pot.cycle == 1);
  p.settle();
  CHECK(p.w.unlocked.size() == 2);
}

TEST_CASE("a missing goal is taken from the open vote", "[progression]") {  // W14
  play p{tree{{plain("a"), plain("b"), plain("c")}}};
  p.settle();
  const auto options = keys(*p.w.open_session);
  p.vote(options[1], 1, noon);
  p.w.pot.goal.reset();
  const auto s = p.once();
  REQUIRE(s);
  CHECK(s->next->what.node == options[1]);
}

TEST_CASE("when its time is over a vote keeps its winner for the pot", "[progression]") {  // W27
  play p{tree{{plain("a"), plain("b"), plain("c"), plain("d")}}};
  p.settle();
  const auto options = keys(*p.w.open_session);
  p.vote(options[2], 1, noon);
  p.now = noon + 25h;
  CHECK_FALSE(p.once());
  p.now = noon + 48h;
  p.w.pot.filled = points::whole(50);
  const auto s = p.once();
  REQUIRE(s);
  CHECK(s->next->what.node == options[2]);
  CHECK(s->started->ends_at == noon + 72h);
}

TEST_CASE("what the goal opens can be voted for while the pot still fills", "[progression]") {
  play p{tree{{plain("a", {}, 2), plain("b", {"a"})}}};
  p.settle();
  CHECK(p.w.pot.goal->what == node_level{"a", 1});
  REQUIRE(p.w.open_session->options.size() == 2);
  CHECK(p.w.open_session->options[0].what == node_level{"a", 2});
  CHECK(p.w.open_session->options[1].what == node_level{"b", 1});
}

TEST_CASE("the last unlock says so once and leaves no goal and no vote", "[progression]") {  // W12
  play p{tree{{plain("a")}}};
  p.settle();
  CHECK_FALSE(p.w.open_session);
  p.w.pot.filled = points::whole(1000);
  const auto s = p.once();
  REQUIRE(s);
  CHECK(s->all_unlocked);
  CHECK(s->clear_goal);
  CHECK(p.w.pot.filled == points::whole(200));
  CHECK_FALSE(p.once());
  CHECK_FALSE(p.w.pot.goal);
}

TEST_CASE("a step is a pure function of world, time and seed", "[progression]") {
  play p{load_tree(PROGRESSION_TREE)};
  p.once();
  rng one{9};
  rng two{9};
  const auto a = next_step(p.t, p.w, noon, one);
  const auto b = next_step(p.t, p.w, noon, two);
  REQUIRE((a && b && a->next && a->started));
  CHECK(a->next == b->next);
  CHECK(a->started->options == b->started->options);
}

TEST_CASE("the tree of the service can be played to its end under every seed",
          "[progression]") {  // I2, I4, I7
  const tree t = load_tree(PROGRESSION_TREE);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    play p{t, seed};
    rng world_random{seed + 1000};
    std::int64_t put_in = 0;
    std::int64_t consumed = 0;
    std::int64_t discarded = 0;
    int ends = 0;
    int rounds = 0;
    for (; rounds < 5000 && ends == 0; ++rounds) {
      for (int i = 0; i < 20; ++i) {
        const world before = p.w;
        const auto s = p.once();
        if (!s) break;
        REQUIRE(i < 19);                                 // comes to rest
        for (const auto& [key, level] : p.w.unlocked) {  // in order, none twice
          const int had = level_of(before.unlocked, key);
          REQUIRE((level == had || level == had + 1));
          REQUIRE(level <= t.find(key)->max_level);
        }
        if (s->unlock) {
          REQUIRE(level_of(before.unlocked, s->unlock->what.node) == s->unlock->what.level - 1);
          REQUIRE(t.is_available(s->unlock->what, before.unlocked));
          REQUIRE(before.pot.filled >= s->unlock->cost);
          REQUIRE(s->unlock->filled.milli ==
                  s->unlock->cost.milli + s->unlock->rollover.milli + s->unlock->discarded.milli);
          REQUIRE(s->unlock->rollover <= p.rules.rollover_cap);
          consumed += s->unlock->cost.milli;
          discarded += s->unlock->discarded.milli;
        }
        if (s->next) REQUIRE(t.is_available(s->next->what, p.w.unlocked));
        if (s->ended && s->ended->winner) {
          REQUIRE(std::ranges::count(before.open_session->options, *s->ended->winner, &vote_option::id) == 1);
        }
        if (s->started) REQUIRE((!before.open_session || s->ended));  // I3
        if (s->all_unlocked) ++ends;
      }
      REQUIRE(p.w.pot.goal.has_value() == !t.available(p.w.unlocked).empty());  // I7
      REQUIRE_FALSE(p.w.pot.is_full());                                         // I5
      if (p.w.open_session) {
        auto& options = p.w.open_session->options;
        vote_option& o = options[world_random.below(options.size())];
        ++o.votes;
        o.reached_at = p.now;
      }
      p.now += 3h;
      const auto milli = static_cast<std::int64_t>(world_random.below(900'000));
      p.w.pot.filled.milli += milli;
      put_in += milli;
    }
    CHECK(ends == 1);
    CHECK(t.all_unlocked(p.w.unlocked));
    CHECK_FALSE(p.w.open_session);
    CHECK(put_in == p.w.pot.filled.milli + consumed + discarded);
  }
}
