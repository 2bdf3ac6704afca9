// SPDX-License-Identifier: BSL-1.0
#include "application/input.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <functional>
#include <string>

#include "fixture.hpp"

using namespace progression;
using namespace progression::testing;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string field_at_fault(const message& m) {
  try {
    input::check(m);
  } catch (const invalid_input& e) {
    return std::string{e.what()}.starts_with(e.field() + " must ") ? e.field() : "an error without its field";
  }
  return "";
}

}  // namespace

TEST_CASE("a message that cannot be accepted names the field at fault", "[progression]") {
  struct row {
    std::function<void(message&)> spoil;
    const char* field;
  };
  const std::string long_name(101, 'x');
  const row rows[] = {
      {[](message&) {}, ""},
      {[](message& m) { m.event_id.clear(); }, "event_id"},
      {[&](message& m) { m.event_id = long_name; }, "event_id"},
      {[](message& m) { m.event_id = "a\nb"; }, "event_id"},
      {[](message& m) { m.event_id = std::string{"a\0b", 3}; }, "event_id"},
      {[](message& m) { m.platform.clear(); }, "platform"},
      {[](message& m) { m.platform = "a:b"; }, "platform"},
      {[](message& m) { m.platform_id.clear(); }, "platform_id"},
      {[](message& m) { m.platform_id = "a:b"; }, ""},
      {[](message& m) { m.platform_id = "\x7f"; }, "platform_id"},
      {[](message& m) { m.username.clear(); }, ""},
      {[&](message& m) { m.username = long_name; }, "username"},
      {[](message& m) { m.username = "\xff"; }, "username"},
      {[](message& m) { m.metric.clear(); }, "metric"},
      {[](message& m) { m.value = 0; }, "value"},
      {[](message& m) { m.value = -5; }, "value"},
      {[](message& m) { m.value = 1'000'000; }, ""},
      {[](message& m) { m.value = 1'000'001; }, "value"},
      {[](message& m) { m.text = std::string(10'000, '\n'); }, ""},
      {[](message& m) { m.text = std::string(10'001, 'x'); }, "message"},
  };
  for (const row& r : rows) {
    message m = chat("e");
    r.spoil(m);
    CHECK(field_at_fault(m) == r.field);
  }
}

TEST_CASE("names are UTF-8, as RFC 3629 has it", "[progression]") {
  struct row {
    const char* text;
    bool valid;
  };
  constexpr row rows[] = {
      {"\xc3\xa9", true},          {"\xe2\x82\xac", true},  {"\xf0\x9f\x8f\x86", true},
      {"\xf4\x8f\xbf\xbf", true},  {"\xc0\xaf", false},     {"\xc3", false},
      {"\xe0\x80\x80", false},     {"\xed\xa0\x80", false}, {"\xf0\x80\x80\x80", false},
      {"\xf4\x90\x80\x80", false}, {"\x80", false},         {"\xe2\x82", false},
      {"\xf5\x80\x80\x80", false},
  };
  for (const row& r : rows) {
    message m = chat("e");
    m.username = r.text;
    CHECK((field_at_fault(m) == "") == r.valid);
  }
}

TEST_CASE("what was sent is never repeated in an error", "[progression]") {
  message m = chat("e");
  m.metric = "secret\n";
  try {
    input::check(m);
    FAIL("accepted");
  } catch (const invalid_input& e) {
    CHECK_THAT(e.what(), !ContainsSubstring("secret"));
  }
}

TEST_CASE("users of different platforms are never the same user", "[progression]") {
  CHECK(input::user_id("a", "b:c") == "a:b:c");
  CHECK_THROWS_AS(input::check_user("a:b", "c"), invalid_input);
}

TEST_CASE("options that make no sense are refused at the start", "[progression]") {
  struct row {
    std::function<void(service_options&)> spoil;
    const char* named;
  };
  const row rows[] = {
      {[](service_options& o) { o.max_messages = 0; }, "max_messages"},
      {[](service_options& o) { o.max_commit = o.max_messages - 1; }, "max_commit"},
      {[](service_options& o) { o.max_batch = 0; }, "max_batch"},
      {[](service_options& o) { o.max_waiting = 0; }, "max_waiting"},
      {[](service_options& o) { o.linger = weir::duration{-1}; }, "linger"},
      {[](service_options& o) { o.max_contribution = 0; }, "max_contribution"},
      {[](service_options& o) { o.check_interval = {}; }, "check_interval"},
      {[](service_options& o) { o.store_timeout = {}; }, "store_timeout"},
      {[](service_options& o) { o.rules.max_options = 0; }, "max_options"},
      {[](service_options& o) { o.rules.rollover_cap = {-1}; }, "rollover_cap"},
      {[](service_options& o) { o.rules.voting_period = {}; }, "voting_period"},
      {[](service_options& o) { o.max_attempts = 0; }, "max_attempts"},
      {[](service_options& o) { o.failures_to_open = 0; }, "consecutive_failures"},
      {[](service_options& o) { o.total_burst = 0; }, "burst"},
      {[](service_options& o) { o.user_burst = 0; }, "burst"},
      {[](service_options& o) { o.max_users = 0; }, "max"},
      {[](service_options& o) { o.now = nullptr; }, "now"},
  };
  memory_store db;
  for (const row& r : rows) {
    service_options o;
    r.spoil(o);
    CAPTURE(r.named);
    try {
      const service s{small_tree(), db, o};
      FAIL_CHECK("accepted");
    } catch (const std::invalid_argument& e) {
      CHECK_THAT(e.what(), ContainsSubstring(r.named));
    }
  }
}
