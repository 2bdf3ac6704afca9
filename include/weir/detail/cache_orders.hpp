// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <weir/clock.hpp>
#include <weir/ttl_cache_types.hpp>

namespace weir::inline v0::detail {

/// The order in which entries expire: a binary heap whose members know their place.
template <class Entry>
class expiry_heap {
 public:
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] Entry& first() const noexcept { return *heap_.front(); }

  /// After it the next `push` cannot fail.
  void make_room() {
    if (heap_.size() == heap_.capacity()) heap_.reserve(std::max<std::size_t>(16, heap_.size() * 2));
  }
  void push(Entry& e) noexcept {
    heap_.push_back(&e);
    e.place = heap_.size() - 1;
    up(e.place);
  }
  void remove(Entry& e) noexcept {
    Entry& last = *heap_.back();
    heap_.pop_back();
    if (&last != &e) substitute(e, last);
  }
  void substitute(const Entry& old, Entry& e) noexcept {
    put(old.place, e);
    settle(e.place);
  }
  /// `e.expires` has changed.
  void moved(const Entry& e) noexcept { settle(e.place); }

  /// Calls `f` for each entry with `expires <= now`, at a cost in proportion to their number.
  template <class F>
  void for_each_expired(time_point now, F&& f, std::size_t from = 0) const {
    if (from >= heap_.size() || heap_[from]->fresh(now)) return;
    f(*heap_[from]);
    for_each_expired(now, f, 2 * from + 1);
    for_each_expired(now, f, 2 * from + 2);
  }

 private:
  void put(std::size_t at, Entry& e) noexcept {
    heap_[at] = &e;
    e.place = at;
  }
  void settle(std::size_t at) noexcept { down(up(at)); }
  std::size_t up(std::size_t at) noexcept {
    Entry& e = *heap_[at];
    while (at > 0 && e.expires < heap_[(at - 1) / 2]->expires) {
      put(at, *heap_[(at - 1) / 2]);
      at = (at - 1) / 2;
    }
    put(at, e);
    return at;
  }
  void down(std::size_t at) noexcept {
    Entry& e = *heap_[at];
    for (std::size_t child = 2 * at + 1; child < heap_.size(); child = 2 * at + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->expires < heap_[child]->expires) ++child;
      if (heap_[child]->expires >= e.expires) break;
      put(at, *heap_[child]);
      at = child;
    }
    put(at, e);
  }

  std::vector<Entry*> heap_;
};

/// The order in which entries are given up: least recently used first.
///
/// The whole eviction policy is behind these members.
template <class Entry>
class use_order {
 public:
  [[nodiscard]] Entry* newest() const noexcept { return newest_; }
  [[nodiscard]] Entry* victim() const noexcept { return oldest_; }

  void inserted(Entry& e) noexcept {
    e.newer = nullptr;
    e.older = newest_;
    (newest_ ? newest_->newer : oldest_) = &e;
    newest_ = &e;
  }
  void removed(Entry& e) noexcept {
    (e.newer ? e.newer->older : newest_) = e.older;
    (e.older ? e.older->newer : oldest_) = e.newer;
  }
  void used(Entry& e) noexcept {
    if (newest_ == &e) return;
    removed(e);
    inserted(e);
  }

 private:
  Entry* newest_ = nullptr;
  Entry* oldest_ = nullptr;
};

/// Entries on their way out, chained through themselves: to remove cannot fail.
template <class Entry>
class removal_chain {
 public:
  [[nodiscard]] bool empty() const noexcept { return !first_; }
  void push(std::shared_ptr<Entry> e, removal_cause cause) noexcept {
    e->cause = cause;
    Entry* const last = e.get();
    (first_ ? last_->next_removed : first_) = std::move(e);
    last_ = last;
  }
  [[nodiscard]] std::shared_ptr<Entry> pop() noexcept {
    std::shared_ptr<Entry> e = std::move(first_);
    first_ = std::move(e->next_removed);
    return e;
  }

 private:
  std::shared_ptr<Entry> first_;
  Entry* last_ = nullptr;
};

}  // namespace weir::inline v0::detail
