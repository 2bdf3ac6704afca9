// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <string>

#include <weir/keyed_token_bucket.hpp>
#include <weir/outcome.hpp>
#include <weir/stats.hpp>
#include <weir/token_bucket.hpp>

#include "application/service.hpp"
#include "application/service_clock.hpp"

namespace progression {

/// How often: for each user first, then for all together, so that whoever is refused for himself takes
/// nothing from the others.
class admission {
 public:
  explicit admission(const service_options& o)
      : clock_{o.now},
        limit_users_{o.limit_users},
        limit_total_{o.limit_total},
        total_{{.rate = weir::rate::per_second(o.total_per_second),
                .burst = o.total_burst,
                .initial = o.total_burst},
               clock_},
        users_{{.max_keys = o.max_users},
               {.rate = weir::rate::per_second(o.user_per_second), .burst = o.user_burst},
               clock_} {}

  [[nodiscard]] weir::outcome<> admit(const std::string& user) {
    if (limit_users_) {
      if (const auto own = users_.try_acquire(user); !own) {
        refused_user_.add();
        return own;
      }
    }
    if (limit_total_) {
      if (const auto all = total_.try_acquire(); !all) {
        refused_total_.add();
        return all;
      }
    }
    return {};
  }

  [[nodiscard]] std::uint64_t refused_user() const noexcept { return refused_user_.value(); }
  [[nodiscard]] std::uint64_t refused_total() const noexcept { return refused_total_.value(); }
  [[nodiscard]] std::uint64_t tracked() const noexcept { return users_.size_approx(); }

 private:
  const service_clock clock_;
  const bool limit_users_;
  const bool limit_total_;
  weir::basic_token_bucket<service_clock> total_;
  weir::keyed_token_bucket<std::string, service_clock> users_;
  weir::event_counter refused_user_;
  weir::event_counter refused_total_;
};

}  // namespace progression
