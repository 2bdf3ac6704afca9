// SPDX-License-Identifier: BSL-1.0
#include "application/recorder.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

namespace progression {

recorder::recorder(store& db, store_port& port, std::function<wall_time()> wall_now, const service_options& o)
    : db_{db},
      port_{port},
      wall_now_{std::move(wall_now)},
      batching_{o.batching},
      batcher_{options_of(o), [this](std::span<batcher::item> batch) { write_all(batch); },
               service_clock{o.now}} {}

weir::batcher_options<recorder::work> recorder::options_of(const service_options& o) {
  return {.max_batch = o.max_batch,
          .max_waiting = o.max_waiting,
          .linger = o.linger,
          .max_weight = o.max_commit,
          .weigh = [](const work& w) { return std::uint64_t{w.entries.size()}; }};
}

weir::outcome<full_cycle> recorder::record(std::span<engagement> entries, std::span<record_answer> answers,
                                           weir::deadline until, std::stop_token stop) {
  if (batching_) return batcher_.submit({entries, answers}, until, std::move(stop));
  return write(entries, answers);
}

void recorder::write_all(std::span<batcher::item> batch) {
  if (batch.size() == 1) {
    const work& only = batch.front().request();
    batch.front().set_value(write(only.entries, only.answers));
    return;
  }
  std::vector<engagement> entries;
  for (const auto& item : batch) std::ranges::move(item.request().entries, std::back_inserter(entries));
  std::vector<record_answer> answers(entries.size());
  const full_cycle full = write(entries, answers);
  auto next = answers.begin();
  for (auto& item : batch) {
    const auto mine = item.request().answers;
    const auto end = next + static_cast<std::ptrdiff_t>(mine.size());
    std::move(next, end, mine.begin());
    next = end;
    item.set_value(full);
  }
}

full_cycle recorder::write(std::span<const engagement> entries, std::span<record_answer> answers) {
  try {
    const auto done = port_.call([&] { return db_.record(entries, wall_now_()); });
    if (done) {
      std::ranges::copy(done->status, answers.begin());
      written_.add(entries.size());
      return done->pot.is_full() ? full_cycle{done->pot.cycle} : std::nullopt;
    }
    std::ranges::fill(answers, record_answer{done.error()});
  } catch (const store_error& e) {
    // One bad entry must not take the others with it: halve until it stands alone.
    if (e.kind() == store_failure::rejected && entries.size() > 1) {
      const std::size_t half = entries.size() / 2;
      const full_cycle first = write(entries.first(half), answers.first(half));
      const full_cycle second = write(entries.subspan(half), answers.subspan(half));
      return second ? second : first;
    }
    std::ranges::fill(answers, record_answer{store_fault{e.kind(), e.what()}});
  }
  return std::nullopt;
}

}  // namespace progression
