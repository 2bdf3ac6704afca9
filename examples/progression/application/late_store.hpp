// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "application/store.hpp"

namespace progression {

/// A store that may be asked before it is open: until then every call is told `unavailable`.  So a service can
/// start before its database does, and say that it is not ready instead of not being there.
class late_store final : public store {
 public:
  /// Opens the store, or throws.
  using opener = std::function<std::unique_ptr<store>()>;

  explicit late_store(opener open) : open_{std::move(open)} {}

  /// One attempt; does nothing if it is open.  Throws what the opener throws.
  void open() {
    const std::lock_guard lock{opening_};
    if (owner_) return;
    owner_ = open_();
    store_.store(owner_.get(), std::memory_order_release);  // [A] release, pairs with [B]
  }

  [[nodiscard]] bool is_open() const noexcept { return find() != nullptr; }

  record_result record(std::span<const engagement> batch, wall_time at) override {
    return opened().record(batch, at);
  }
  vote_status vote(const ballot& b) override { return opened().vote(b); }
  std::optional<transitioned> transition(const decide& d) override { return opened().transition(d); }
  [[nodiscard]] world read_world() override { return opened().read_world(); }
  [[nodiscard]] std::optional<voting_session> latest_session() override { return opened().latest_session(); }
  [[nodiscard]] std::map<std::string, std::int64_t, std::less<>> weights() override {
    return opened().weights();
  }
  [[nodiscard]] std::vector<leader> leaders(int limit) override { return opened().leaders(limit); }
  [[nodiscard]] user_engagement engagement_of(std::string_view user_id) override {
    return opened().engagement_of(user_id);
  }
  [[nodiscard]] audit_report audit() override { return opened().audit(); }
  [[nodiscard]] std::int64_t count_events(std::string_view prefix) override {
    return opened().count_events(prefix);
  }
  void ping() override { opened().ping(); }
  [[nodiscard]] store_stats stats() const override {
    const store* s = find();
    return s != nullptr ? s->stats() : store_stats{};
  }

 private:
  [[nodiscard]] store* find() const noexcept {
    return store_.load(std::memory_order_acquire);  // [B] acquire, pairs with [A]: the store is whole
  }
  [[nodiscard]] store& opened() const {
    if (store* s = find()) return *s;
    throw store_error{store_failure::unavailable, "the database has not been reached yet"};
  }

  const opener open_;
  std::mutex opening_;
  std::unique_ptr<store> owner_;  // guarded by opening_
  std::atomic<store*> store_{nullptr};
};

}  // namespace progression
