// SPDX-License-Identifier: BSL-1.0
#include "runner.hpp"

#include <getopt.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "engine.hpp"
#include "faults.hpp"
#include "json.hpp"
#include "orders.hpp"

namespace weir_model {

std::vector<registered_scenario>& registered() {
  static std::vector<registered_scenario> all;
  return all;
}

bounds long_form(bounds limits) {
  if (limits.preemptions >= 0) ++limits.preemptions;
  limits.random_executions *= 50;
  return limits;
}

report run(const registered_scenario& s, const bounds& limits) { return explore(limits, s.build); }

bool as_expected(const registered_scenario& s, const report& found) {
  return found.failure.empty() == (s.expected == verdict::holds);
}

namespace {

struct options {
  bool list = false;
  bool quiet = false;
  bool extended = false;
  std::string only;
  std::string json;
  std::string orders;
  std::string weaken;
};

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr,
               "usage: %s [--list] [--only TEXT] [--long] [--quiet] [--json FILE]\n"
               "       %s --orders FILE       weakens every memory order of the library, one at a time\n"
               "       %s --weaken FILE:LINE:OPERATION:ORDER[/failure]=ORDER   with one of them weakened\n",
               program, program, program);
  std::exit(2);
}

options parse(int count, char** words) {
  enum : int { list = 'l', only = 'o', extended = 'L', quiet = 'q', json = 'j', orders = 'O', weaken = 'w' };
  static const ::option known[] = {
      {"list", no_argument, nullptr, list},           {"only", required_argument, nullptr, only},
      {"long", no_argument, nullptr, extended},       {"quiet", no_argument, nullptr, quiet},
      {"json", required_argument, nullptr, json},     {"orders", required_argument, nullptr, orders},
      {"weaken", required_argument, nullptr, weaken}, {nullptr, 0, nullptr, 0}};
  options o;
  for (int c; (c = ::getopt_long(count, words, "", known, nullptr)) != -1;) {
    switch (c) {
      case list:
        o.list = true;
        break;
      case only:
        o.only = ::optarg;
        break;
      case extended:
        o.extended = true;
        break;
      case quiet:
        o.quiet = true;
        break;
      case json:
        o.json = ::optarg;
        break;
      case orders:
        o.orders = ::optarg;
        break;
      case weaken:
        o.weaken = ::optarg;
        break;
      default:
        usage(words[0]);
    }
  }
  if (::optind != count) usage(words[0]);
  return o;
}

std::string bound_text(const bounds& limits) {
  if (limits.preemptions < 0) return "none";
  std::string text = std::to_string(limits.preemptions);
  if (limits.random_executions > 0) text += " + pct " + std::to_string(limits.random_depth);
  return text;
}

std::string row(const registered_scenario& s, const bounds& limits, const report& found) {
  json_object o;
  o.add("component", s.component);
  o.add("scenario", s.name);
  o.add("verdict", found.failure.empty() ? "holds" : s.expected == verdict::found ? "found" : "fails");
  o.add("executions", found.executions);
  if (limits.preemptions < 0) {
    o.add_null("bound");
  } else {
    o.add("bound", static_cast<long>(limits.preemptions));
  }
  o.add("complete", found.complete);
  o.add("redundant", found.redundant);
  o.add("random", limits.preemptions < 0 && found.complete ? 0L : limits.random_executions);
  o.add("any_compiler", limits.failed_exchanges == 0);  // clang does not tell weak exchanges from strong ones
  o.add("seconds", found.seconds);
  o.add("failure", found.failure);
  return o.text();
}

void print(const registered_scenario& s, const bounds& limits, const report& found, bool quiet) {
  const bool right = as_expected(s, found);
  if (quiet && right) return;
  std::printf("%-16s %-66s %-6s %10ld %-10s %8.2f\n", s.component.c_str(), s.name.c_str(),
              found.failure.empty()          ? right ? "holds" : "MISSED"
              : s.expected == verdict::found ? "found"
                                             : "FAILS",
              found.executions, bound_text(limits).c_str(), found.seconds);
  if (!right && !found.failure.empty()) std::printf("  %s\n%s", found.failure.c_str(), found.trace.c_str());
  std::fflush(stdout);
}

}  // namespace

int run_program(int count, char** words) {
  const options o = parse(count, words);
  catch_faults();
  std::atexit([] {
    if (!engine::active()) return;
    std::fputs("a scenario ended the program\n", stderr);
    std::_Exit(1);
  });
  std::vector<registered_scenario> chosen;
  for (const registered_scenario& s : registered()) {
    if ((s.component + ": " + s.name).find(o.only) != std::string::npos) chosen.push_back(s);
  }
  if (chosen.empty()) {
    std::fprintf(stderr, "%s: no scenario is named '%s'\n", words[0], o.only.c_str());
    return 2;
  }
  if (o.list) {
    for (const registered_scenario& s : chosen) std::printf("%s: %s\n", s.component.c_str(), s.name.c_str());
    return 0;
  }
  if (!o.orders.empty()) return weaken_all(chosen, o.orders);
  if (!o.weaken.empty()) weaken_one(o.weaken);
  std::string rows;
  bool right = true;
  for (const registered_scenario& s : chosen) {
    const bounds limits = o.extended ? long_form(s.limits) : s.limits;
    const report found = run(s, limits);
    right = right && as_expected(s, found);
    print(s, limits, found, o.quiet);
    rows += (rows.empty() ? "" : ",\n") + row(s, limits, found);
  }
  if (!o.json.empty()) std::ofstream{o.json} << "[\n" << rows << "\n]\n";
  return right ? 0 : 1;
}

}  // namespace weir_model
