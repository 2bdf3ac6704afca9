// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <unordered_set>
#include <utility>

namespace weir::inline v0::detail {

/// A key on its way to an index, hashed already: the user's hash runs once a call and under no lock.
template <class K>
struct probe {
  const K& key;
  std::size_t hash;
};

/// Hash of what stands in an index: the one it was stored with.
struct stored_hash {
  using is_transparent = void;

  template <class T>
  std::size_t operator()(const std::shared_ptr<T>& stored) const noexcept {
    return stored->hash;
  }
  template <class T>
  std::size_t operator()(const T* stored) const noexcept {
    return stored->hash;
  }
  template <class K>
  std::size_t operator()(const probe<K>& wanted) const noexcept {
    return wanted.hash;
  }
};

/// Equality in an index.  Only a probe asks the user's comparison; two that stand in the index are equal if
/// they are the same object, so that insertion and removal of a known one run no user code and cannot fail.
/// Nor can an exchange of two indexes: the comparison itself stays with the component.
template <class Equal>
struct stored_equal {
  using is_transparent = void;

  template <class T>
  bool operator()(const std::shared_ptr<T>& a, const std::shared_ptr<T>& b) const noexcept {
    return a == b;
  }
  template <class T>
  bool operator()(const T* a, const std::shared_ptr<T>& b) const noexcept {
    return a == b.get();
  }
  template <class T>
  bool operator()(const std::shared_ptr<T>& a, const T* b) const noexcept {
    return a.get() == b;
  }
  template <class T, class K>
  bool operator()(const std::shared_ptr<T>& stored, const probe<K>& wanted) const {
    return stored->hash == wanted.hash && (*equal)(stored->key, wanted.key);
  }
  template <class T, class K>
  bool operator()(const probe<K>& wanted, const std::shared_ptr<T>& stored) const {
    return (*this)(stored, wanted);
  }

  const Equal* equal;
};

/// Shared objects by key; `T` has `key` and `hash`.
template <class T, class Equal>
using key_index = std::unordered_set<std::shared_ptr<T>, stored_hash, stored_equal<Equal>>;

/// Hash and equality are transparent and take a `K` as it is.
template <class K, class Key, class Hash, class Equal>
concept transparent_key = requires(const Hash& hash, const Equal& equal, const Key& key, const K& wanted) {
  typename Hash::is_transparent;
  typename Equal::is_transparent;
  { hash(wanted) } -> std::convertible_to<std::size_t>;
  { equal(key, wanted) } -> std::convertible_to<bool>;
};

/// What a key may be looked up by: itself, what a transparent hash and equality take, what converts to it.
template <class K, class Key, class Hash, class Equal>
concept lookup_key = transparent_key<K, Key, Hash, Equal> || std::convertible_to<const K&, Key>;

/// The key to look up: `key` itself where no conversion is needed, else one made from it.
template <class Key, class Hash, class Equal, class K>
decltype(auto) as_lookup_key(const K& key) {
  if constexpr (std::same_as<K, Key> || transparent_key<K, Key, Hash, Equal>) {
    return (key);
  } else {
    return Key(key);
  }
}

}  // namespace weir::inline v0::detail
