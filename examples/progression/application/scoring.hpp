// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include <weir/deadline.hpp>
#include <weir/outcome.hpp>
#include <weir/stats.hpp>
#include <weir/ttl_cache.hpp>

#include "application/service.hpp"
#include "application/service_clock.hpp"
#include "application/store_port.hpp"
#include "domain/score.hpp"
#include "domain/tree.hpp"

namespace progression {

/// All that a score depends on besides the engagement, read together.
struct score_table {
  std::map<std::string, std::int64_t, std::less<>> weights;  ///< in thousandths
  std::int64_t rate_milli = 0;

  /// A metric that nobody gave a weight counts simply.
  [[nodiscard]] points score_of(std::string_view metric, std::int64_t value) const {
    const auto at = weights.find(metric);
    return score(value, at == weights.end() ? 1000 : at->second, rate_milli);
  }
};

/// The score table, loaded whole by one caller at a time and kept for a while; when it cannot be loaded, the
/// last one does.
class scoring {
 public:
  using snapshot = std::shared_ptr<const score_table>;

  scoring(const tree& t, store& db, store_port& port, const service_options& o)
      : tree_{t},
        db_{db},
        port_{port},
        cached_{o.cache_weights},
        cache_{{.max_entries = 1,
                .expire_after_write = o.weights_ttl,
                .stale_for = std::chrono::seconds{5},
                .stale_if_error = std::chrono::hours{1}},
               service_clock{o.now}} {}

  [[nodiscard]] weir::outcome<snapshot> get(weir::deadline until, std::stop_token stop) {
    if (!cached_) return load();
    auto found = cache_.get_or_load(0, [this] { return load(); }, until, std::move(stop));
    if (!found) return found.error();
    return **found;
  }

  void forget() { cache_.invalidate_all(); }

  [[nodiscard]] std::uint64_t loads() const noexcept { return loads_.value(); }
  [[nodiscard]] std::uint64_t hits() const { return cache_.stats().hits; }

 private:
  weir::outcome<snapshot> load() {
    loads_.add();
    return port_.call([this]() -> snapshot {
      auto weights = db_.weights();
      return std::make_shared<const score_table>(
          score_table{std::move(weights), tree_.rate_milli(db_.read_world().unlocked)});
    });
  }

  const tree& tree_;
  store& db_;
  store_port& port_;
  const bool cached_;
  weir::event_counter loads_;
  weir::ttl_cache<int, snapshot, service_clock> cache_;
};

}  // namespace progression
