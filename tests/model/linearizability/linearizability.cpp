// SPDX-License-Identifier: BSL-1.0
// Random small scenarios of every component, each execution of which is judged by a sequential specification.
#include <getopt.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "campaign.hpp"

namespace weir_model {
namespace {

struct judge {
  const char* component;
  campaigns (*run)(const campaign_options&);
};

constexpr judge judges[] = {
    {"bounded_queue", judge_queue},     {"task_gate", judge_gate},
    {"task_gate", judge_lease},         {"token_bucket", judge_bucket},
    {"circuit_breaker", judge_breaker}, {"single_flight", judge_flight},
    {"ttl_cache", judge_cache},         {"keyed", judge_keyed},
    {"batcher", judge_batch},
};

struct settings {
  campaign_options campaign{};
  std::string only;
  std::string json;
  std::string orders;
  bool quiet = false;
};

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr,
               "usage: %s [--only TEXT] [--long] [--scenarios N] [--preemptions N] [--executions N]\n"
               "       [--seed N] [--quiet] [--json FILE]\n",
               program);
  std::exit(2);
}

settings parse(int count, char** words) {
  static const ::option known[] = {{"only", required_argument, nullptr, 'o'},
                                   {"long", no_argument, nullptr, 'L'},
                                   {"scenarios", required_argument, nullptr, 'n'},
                                   {"preemptions", required_argument, nullptr, 'p'},
                                   {"executions", required_argument, nullptr, 'e'},
                                   {"seed", required_argument, nullptr, 's'},
                                   {"quiet", no_argument, nullptr, 'q'},
                                   {"json", required_argument, nullptr, 'j'},
                                   {"orders", required_argument, nullptr, 'O'},
                                   {nullptr, 0, nullptr, 0}};
  settings s;
  for (int c = 0; (c = ::getopt_long(count, words, "", known, nullptr)) != -1;) {
    const auto number = [] { return std::atol(::optarg); };
    switch (c) {
      case 'o':
        s.only = ::optarg;
        break;
      case 'L':
        s.campaign = {.scenarios = 500, .seed = 2, .preemptions = 3, .executions = 2000};
        break;
      case 'n':
        s.campaign.scenarios = static_cast<int>(number());
        break;
      case 'p':
        s.campaign.preemptions = static_cast<int>(number());
        break;
      case 'e':
        s.campaign.executions = number();
        break;
      case 's':
        s.campaign.seed = static_cast<std::uint64_t>(number());
        break;
      case 'q':
        s.quiet = true;
        break;
      case 'j':
        s.json = ::optarg;
        break;
      case 'O':
        s.orders = ::optarg;
        break;
      default:
        usage(words[0]);
    }
  }
  if (::optind != count) usage(words[0]);
  return s;
}

const char* verdict_of(const campaign_result& c) {
  if (c.planted) return c.violations > 0 ? "found" : "missed";
  return c.as_expected() ? "holds" : "fails";
}

std::string row(const campaign_result& c, const std::string& note) {
  const auto text = [](const std::string& s) { return '"' + s + '"'; };
  return R"({"component": )" + text(c.component) + R"(, "scenario": )" + text(c.name) + R"(, "verdict": )" +
         text(verdict_of(c)) + R"(, "executions": )" + std::to_string(c.executions) + R"(, "bound": )" +
         std::to_string(c.preemptions) + R"(, "random": )" + std::to_string(c.random) + R"(, "complete": )" +
         (c.complete == c.scenarios ? "true" : "false") + R"(, "seconds": )" + std::to_string(c.seconds) +
         R"(, "scenarios": )" + std::to_string(c.scenarios) + R"(, "histories": )" +
         std::to_string(c.histories) + R"(, "operations": )" + std::to_string(c.calls) +
         R"(, "violations": )" + std::to_string(c.violations) +
         (note.empty() ? "" : R"(, "notes": [)" + text(note) + "]") + "}";
}

void print(const campaign_result& c, bool quiet) {
  if (!quiet || !c.as_expected()) {
    std::printf(
        "%-15s %-54s %-6s %3d scenarios, %3d complete, %8ld histories, %9ld operations, %d violations, %.1f "
        "s\n",
        c.component.c_str(), c.name.c_str(), verdict_of(c), c.scenarios, c.complete, c.histories, c.calls,
        c.violations, c.seconds);
  }
  if (!c.planted && c.violations > 0) std::printf("%s\n", c.first_violation.c_str());
  std::fflush(stdout);
}

}  // namespace
}  // namespace weir_model

int main(int count, char** words) {
  using namespace weir_model;
  const settings s = parse(count, words);
  if (!s.orders.empty()) {  // the scenarios written by hand are the witnesses of orders
    std::ofstream{s.orders} << "[]\n";
    return 0;
  }
  std::vector<campaign_result> all;
  for (const judge& j : judges) {
    if (std::string{j.component}.find(s.only) == std::string::npos) continue;
    for (const campaign_result& c : j.run(s.campaign)) {
      print(c, s.quiet);
      all.push_back(c);
    }
  }
  if (all.empty()) usage(words[0]);
  bool right = true;
  campaign_result total;
  for (const campaign_result& c : all) {
    right = right && c.as_expected();
    if (c.planted) continue;
    total.scenarios += c.scenarios;
    total.histories += c.histories;
    total.calls += c.calls;
    total.violations += c.violations;
  }
  const std::string note = "Linearizability: " + std::to_string(total.scenarios) + " random scenarios, " +
                           std::to_string(total.histories) + " histories, " + std::to_string(total.calls) +
                           " operations, " + std::to_string(total.violations) + " violations.";
  std::printf("%s\n", note.c_str());
  if (!s.json.empty()) {
    std::ofstream out{s.json};
    out << '[';
    for (const campaign_result& c : all) {
      out << (&c == all.data() ? "\n" : ",\n") << row(c, &c == all.data() ? note : "");
    }
    out << "\n]\n";
  }
  return right ? 0 : 1;
}
