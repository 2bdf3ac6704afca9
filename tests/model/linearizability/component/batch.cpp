// SPDX-License-Identifier: BSL-1.0
#include <chrono>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include <weir/batcher.hpp>

#include "../campaign.hpp"
#include "../specification/batch.hpp"

namespace weir_model {
namespace {

using operation = batch_specification::operation;
using answer = batch_specification::answer;
using verb = batch_verb;
using word = batch_word;

struct batch_component {
  static constexpr const char* name = "batcher";
  using specification = batch_specification;
  using setup = batch_setup;

  static setup draw_setup(dice& roll) {
    return {
        .max_batch = 1 + roll(3), .max_waiting = roll.one_of({1, 2, 8}), .linger = roll.one_of({0, 0, 10})};
  }

  static std::vector<operation> draw_thread(dice& roll, const setup&, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) {
      const verb what = roll.one_of({verb::submit, verb::submit, verb::submit, verb::submit, verb::submit_for,
                                     verb::submit_failing, verb::close});
      all.push_back({what, value_of(thread, all.size()), 0});
    }
    return all;
  }

  static operation without_value(operation o) {
    o.argument = 0;
    return o;
  }

  template <class Plan>
  static void complete(Plan& p) {
    p.closing = {{verb::submit, 99, 0}};
  }

  static std::string show(const setup& s) {
    return "max_batch " + std::to_string(s.max_batch) + ", max_waiting " + std::to_string(s.max_waiting) +
           ", linger " + std::to_string(s.linger) + " ns";
  }
};

struct job {
  int value;
  bool fails;
};

struct served {
  int value;
  int number;
};

/// What a job that is to fail is answered with.
struct failure_of {
  served what;
};

using job_batcher = weir::batcher<job, served>;

/// Numbers the jobs.  A plain counter: the checker sees a race if two batches run at once.
struct numbering {
  int next = 0;
  void operator()(std::span<job_batcher::item> batch) {
    for (auto& item : batch) {
      const served result{item.request().value, next++};
      if (item.request().fails) {
        item.set_exception(std::make_exception_ptr(failure_of{result}));
      } else {
        item.set_value(result);
      }
    }
  }
};

/// Planted: the answers of a batch are given in the reverse order.
struct crossing : numbering {
  void operator()(std::span<job_batcher::item> batch) {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      batch[i].set_value({batch[batch.size() - 1 - i].request().value, next++});
    }
  }
};

template <class Call>
class batch_subject {
 public:
  explicit batch_subject(const batch_setup& setup)
      : batcher_{{.max_batch = static_cast<std::size_t>(setup.max_batch),
                  .max_waiting = static_cast<std::size_t>(setup.max_waiting),
                  .linger = weir::duration{setup.linger}},
                 Call{}} {}

  answer apply(int, const operation& o) {
    if (o.verb == verb::close) {
      batcher_.close();
      return {word::done, {}};
    }
    const job what{o.argument, o.verb == verb::submit_failing};
    try {
      const auto result =
          o.verb == verb::submit_for ? batcher_.submit_for(what, weir::duration{10}) : batcher_.submit(what);
      if (result) return {word::served, {result->value, result->number}};
      switch (result.error().reason) {
        case weir::refusal_reason::full:
          return {word::full, {}};
        case weir::refusal_reason::closed:
          return {word::closed, {}};
        default:
          return {word::timed_out, {}};
      }
    } catch (const failure_of& failed) {
      return {word::threw, {failed.what.value, failed.what.number}};
    }
  }

 private:
  job_batcher batcher_;
};

/// Scenarios in which no job fails.
struct batch_of_submits : batch_component {
  static std::vector<operation> draw_thread(dice&, const setup&, int thread, int calls) {
    std::vector<operation> all;
    for (int i = 0; i < calls; ++i) all.push_back({verb::submit, value_of(thread, all.size()), 0});
    return all;
  }
};

}  // namespace

campaigns judge_batch(const campaign_options& options) {
  const auto wanted = [](const batch_setup& s) { return batch_specification{s}; };
  using component = batch_component;
  return {
      campaign<component, batch_subject<numbering>>(options, consistent(options), "histories in real time",
                                                    wanted),
      campaign<component, batch_subject<numbering>>(options, weak(options), "histories by happens-before",
                                                    wanted),
      campaign<batch_of_submits, batch_subject<crossing>>(options, consistent(options),
                                                          "planted: another's answer", wanted, true),
  };
}

}  // namespace weir_model
