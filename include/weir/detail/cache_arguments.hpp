// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include <weir/clock.hpp>
#include <weir/ttl_cache_types.hpp>

namespace weir::inline v0::detail {

inline void check_ttl(duration ttl) {
  if (ttl > duration::zero()) return;
  throw std::invalid_argument{"ttl_cache: ttl must be positive, got " + std::to_string(ttl.count()) + " ns"};
}

inline const ttl_cache_options& checked(const ttl_cache_options& o) {
  const auto fail = [](const std::string& what, const std::string& got) {
    throw std::invalid_argument{"ttl_cache: " + what + ", got " + got};
  };
  const auto positive = [&](const char* name, const std::optional<duration>& d) {
    if (d && *d <= duration::zero()) {
      fail(std::string{name} + " must be positive", std::to_string(d->count()) + " ns");
    }
  };
  const auto not_negative = [&](const char* name, duration d) {
    if (d < duration::zero()) {
      fail(std::string{name} + " must not be negative", std::to_string(d.count()) + " ns");
    }
  };
  if (o.max_entries == 0) fail("max_entries must be positive", "0");
  if (!(o.jitter >= 0.0 && o.jitter < 1.0)) fail("jitter must be in [0, 1)", std::to_string(o.jitter));
  positive("expire_after_write", o.expire_after_write);
  positive("expire_after_access", o.expire_after_access);
  positive("negative_ttl", o.negative_ttl);
  positive("error_ttl", o.error_ttl);
  positive("load_lease", o.load_lease);
  not_negative("stale_for", o.stale_for);
  not_negative("stale_if_error", o.stale_if_error);
  return o;
}

}  // namespace weir::inline v0::detail
