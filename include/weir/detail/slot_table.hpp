// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace weir::inline v0::detail {

/// Spreads what a hash gives over all 64 bits, one to one: a plain std::hash of an integer is the integer.
[[nodiscard]] constexpr std::uint64_t mixed_hash(std::uint64_t x) noexcept {
  // The finalizer of splitmix64.
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

/// Keys with a small state each: a hash table, and the keys in the order of their use.
///
/// Model       Slots in chunks that never move; chains and order of use are slot numbers, so that a key costs
///             16 bytes beside itself and its state, and the table 4 to 8 more.
/// Complexity  O(1), but for the step that doubles the table.
/// Thread safety  None: the lock is the owner's.
template <class Key, class State>
  requires std::is_trivially_copyable_v<State>
class slot_table {
 public:
  using slot = std::uint32_t;
  static constexpr slot none = 0xffff'ffff;

  slot_table() = default;
  slot_table(const slot_table&) = delete;
  slot_table& operator=(const slot_table&) = delete;
  ~slot_table() {
    for (slot s = oldest_; s != none; s = at(s).newer) at(s).key.~Key();
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const Key& key(slot s) const noexcept { return at(s).key; }
  [[nodiscard]] State& state(slot s) noexcept { return at(s).state; }
  [[nodiscard]] const State& state(slot s) const noexcept { return at(s).state; }

  /// Not used for longest; `none` if there are no keys.
  [[nodiscard]] slot oldest() const noexcept { return oldest_; }
  [[nodiscard]] slot newer(slot s) const noexcept { return at(s).newer; }

  template <class K, class Equal>
  [[nodiscard]] slot find(std::uint64_t hash, const K& key, const Equal& equal) const {
    slot s = heads_[head_of(hash)];
    while (s != none && !(at(s).hash == stored(hash) && equal(at(s).key, key))) s = at(s).chain;
    return s;
  }

  /// Adds a key that is not there, as the one used last.
  /// Exceptions  std::bad_alloc, and what the move of the key throws; nothing has changed then.
  slot insert(Key&& key, std::uint64_t hash, State state) {
    if (free_ == none) add_chunk();
    const slot s = free_;
    node& n = at(s);
    const slot next_free = n.chain;
    ::new (static_cast<void*>(std::addressof(n.key))) Key(std::move(key));
    free_ = next_free;
    n.state = state;
    n.hash = stored(hash);
    if (size_ >= heads_.size()) widen();
    slot& head = heads_[head_of(hash)];
    n.chain = std::exchange(head, s);
    link(s);
    ++size_;
    return s;
  }

  /// Takes a key out and returns it.
  [[nodiscard]] Key extract(slot s) noexcept {
    static_assert(std::is_nothrow_move_constructible_v<Key>);
    node& n = at(s);
    slot* place = &heads_[n.hash & (heads_.size() - 1)];
    while (*place != s) place = &at(*place).chain;
    *place = n.chain;
    unlink(s);
    Key taken{std::move(n.key)};
    n.key.~Key();
    n.chain = std::exchange(free_, s);
    --size_;
    return taken;
  }

  /// Makes it the one used last.
  void touch(slot s) noexcept {
    if (newest_ == s) return;
    unlink(s);
    link(s);
  }

  /// The chain at `step`, for who walks through the table a step at a time.
  [[nodiscard]] slot chain_at(std::size_t step) const noexcept { return heads_[step & (heads_.size() - 1)]; }
  [[nodiscard]] slot next_in_chain(slot s) const noexcept { return at(s).chain; }

 private:
  struct node {
    node() noexcept : unused{} {}
    node(const node&) = delete;
    node& operator=(const node&) = delete;
    ~node() {}  // the key is the table's to destroy

    State state{};
    slot chain = none;  // the next in the chain, or among the free
    slot older = none;
    slot newer = none;
    std::uint32_t hash = 0;
    union {
      Key key;
      char unused;
    };
  };

  static constexpr std::size_t chunk_size = 64;
  using chunk = std::array<node, chunk_size>;

  /// The bits that a chain is chosen by come first: the table has fewer heads than they can tell apart.
  static constexpr std::uint32_t stored(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash);
  }
  [[nodiscard]] std::size_t head_of(std::uint64_t hash) const noexcept {
    return stored(hash) & (heads_.size() - 1);
  }

  [[nodiscard]] node& at(slot s) noexcept { return (*chunks_[s / chunk_size])[s % chunk_size]; }
  [[nodiscard]] const node& at(slot s) const noexcept { return (*chunks_[s / chunk_size])[s % chunk_size]; }

  void add_chunk() {
    chunks_.push_back(std::make_unique<chunk>());
    const std::size_t first = (chunks_.size() - 1) * chunk_size;
    for (std::size_t i = chunk_size; i-- > 0;) {
      const auto s = static_cast<slot>(first + i);
      at(s).chain = std::exchange(free_, s);
    }
  }

  void widen() noexcept {
    try {
      std::vector<slot> wider(heads_.size() * 2, none);
      heads_.swap(wider);
    } catch (const std::bad_alloc&) {
      return;  // longer chains serve as well
    }
    for (slot s = oldest_; s != none; s = at(s).newer) {
      at(s).chain = std::exchange(heads_[at(s).hash & (heads_.size() - 1)], s);
    }
  }

  void link(slot s) noexcept {
    at(s).older = newest_;
    at(s).newer = none;
    (newest_ != none ? at(newest_).newer : oldest_) = s;
    newest_ = s;
  }
  void unlink(slot s) noexcept {
    const node& n = at(s);
    (n.older != none ? at(n.older).newer : oldest_) = n.newer;
    (n.newer != none ? at(n.newer).older : newest_) = n.older;
  }

  std::vector<std::unique_ptr<chunk>> chunks_;
  std::vector<slot> heads_ = std::vector<slot>(16, none);  // a power of two
  slot free_ = none;
  slot oldest_ = none;
  slot newest_ = none;
  std::size_t size_ = 0;
};

}  // namespace weir::inline v0::detail
