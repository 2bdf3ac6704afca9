// SPDX-License-Identifier: BSL-1.0
#include "orders.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>

#include "engine.hpp"
#include "faults.hpp"
#include "json.hpp"

namespace weir_model {

namespace {

constexpr unsigned patience = 60;  // seconds for one exploration with a weakened order

/// Whether the order is written there: an operation that the standard library makes in a function of ours has its own.
bool of_the_library(const site& s) {
  if (s.where.file.find("include/weir/") == std::string::npos) return false;
  constexpr int longest_call = 5;  // lines
  std::ifstream source{s.where.file};
  std::string line;
  for (int n = 1; n < s.where.line + longest_call && std::getline(source, line); ++n) {
    if (n >= s.where.line && line.find("memory_order") != std::string::npos) return true;
  }
  return false;
}

/// One operation as it is written: the sites of every instantiation of the template that it stands in.
using place = std::vector<site*>;

/// The operations that were executed, in the order in which they first were.
std::vector<place> places() {
  std::vector<place> all;
  std::map<std::string, std::size_t> known;
  for (site* const s : engine::instance().sites().all()) {
    if (!of_the_library(*s) || s->executed == 0) continue;
    const std::string name =
        short_name(s->where) + name_of(s->operation) + name_of(s->order) + name_of(s->failure);
    const auto [at, is_new] = known.emplace(name, all.size());
    if (is_new) all.emplace_back();
    all[at->second].push_back(s);
  }
  return all;
}

/// One order of one operation.
struct experiment {
  const place* at;
  bool failure;
  memory_order written;
  memory_order weakened;

  void begin() const { set(weakened); }
  void end() const { set(written); }
  void set(memory_order order) const {
    for (site* const s : *at) (failure ? s->effective_failure : s->effective) = order;
  }

  [[nodiscard]] const site& first() const { return *at->front(); }
  [[nodiscard]] std::string name() const {
    return short_name(first().where) + ':' + name_of(first().operation) + ':' + name_of(written) +
           (failure ? "/failure" : "") + '=' + name_of(weakened);
  }
};

std::vector<experiment> experiments_on(const place& p) {
  const site& s = *p.front();
  std::vector<experiment> all;
  for (const memory_order w : weaker(s.operation, s.order, false)) all.push_back({&p, false, s.order, w});
  if (s.operation == operation_name::compare_exchange) {
    for (const memory_order w : weaker(s.operation, s.failure, true)) all.push_back({&p, true, s.failure, w});
  }
  return all;
}

struct reached {
  const registered_scenario* scenario;
  long executions;
  std::set<const site*> sites;
};

/// Every scenario once, as it is.
std::vector<reached> explore_as_written(const std::vector<registered_scenario>& scenarios) {
  std::vector<reached> all;
  for (const registered_scenario& s : scenarios) {
    std::map<const site*, long> before;
    for (const site* at : engine::instance().sites().all()) before[at] = at->executed;
    const report found = run(s, s.limits);
    if (s.expected == verdict::found || !as_expected(s, found)) continue;
    reached r{&s, found.executions, {}};
    for (const site* at : engine::instance().sites().all()) {
      if (at->executed > before[at]) r.sites.insert(at);
    }
    all.push_back(std::move(r));
  }
  std::sort(all.begin(), all.end(),
            [](const reached& a, const reached& b) { return a.executions < b.executions; });
  return all;
}

/// The first scenario that fails, and how; empty if none does.
std::pair<std::string, std::string> witness(const experiment& e, const std::vector<reached>& scenarios) {
  e.begin();
  std::pair<std::string, std::string> answer;
  for (const reached& r : scenarios) {
    const auto reaches = [&r](const site* s) { return r.sites.contains(s); };
    if (std::none_of(e.at->begin(), e.at->end(), reaches)) continue;
    limit_seconds(patience);
    const report found = run(*r.scenario, r.scenario->limits);
    limit_seconds(0);
    if (found.failure.empty()) continue;
    answer = {r.scenario->component + ": " + r.scenario->name, found.failure};
    break;
  }
  e.end();
  return answer;
}

}  // namespace

int weaken_all(const std::vector<registered_scenario>& scenarios, const std::string& file) {
  engine::make();
  const std::vector<reached> written = explore_as_written(scenarios);
  std::string rows;
  for (const place& p : places()) {
    const site* const s = p.front();
    std::vector<experiment> experiments = experiments_on(p);
    if (experiments.empty()) experiments.push_back({&p, false, s->order, s->order});  // reached, and relaxed
    for (const experiment& e : experiments) {
      const bool weakest = e.written == e.weakened;
      const auto [scenario, failure] = weakest ? std::pair<std::string, std::string>{} : witness(e, written);
      json_object row;
      row.add("file", s->where.file.substr(s->where.file.find("include/weir/")));
      row.add("line", static_cast<long>(s->where.line));
      row.add("function", s->where.function);
      row.add("operation", name_of(s->operation));
      row.add("argument", e.failure ? "failure" : "order");
      row.add("order", name_of(e.written));
      row.add("weakened", weakest ? "" : name_of(e.weakened));
      row.add("scenario", scenario);
      row.add("failure", failure);
      rows += (rows.empty() ? "" : ",\n") + row.text();
      if (!weakest)
        std::printf("%-8s %s  %s\n", scenario.empty() ? "SURVIVED" : "killed", e.name().c_str(),
                    scenario.c_str());
      std::fflush(stdout);
    }
  }
  std::ofstream out{file};
  out << "[\n" << rows << "\n]\n";
  return out.good() ? 0 : 2;
}

void weaken_one(const std::string& what) {
  engine::make();
  engine::instance().sites().weaken(what);
}

}  // namespace weir_model
