// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/clock.hpp>
#include <weir/detail/flight.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/ttl_cache_types.hpp>

namespace weir::inline v0::detail {

/// What a loader said, whatever form it chose.
template <class Value>
struct load_reply {
  std::optional<Value> value;
  std::optional<duration> ttl;
  std::optional<refusal> why;
};

template <class T>
inline constexpr bool is_outcome = false;
template <class T>
inline constexpr bool is_outcome<outcome<T>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class Value, class R>
load_reply<Value> reply_of(R&& said) {
  using given = std::remove_cvref_t<R>;
  load_reply<Value> reply;
  if constexpr (std::same_as<given, Value>) {
    reply.value.emplace(std::forward<R>(said));
  } else if constexpr (is_outcome<given>) {
    if (said) return reply_of<Value>(*std::forward<R>(said));
    reply.why = said.error();
  } else if constexpr (std::same_as<given, loaded<Value>>) {
    reply.ttl = said.ttl;
    if (said.value) reply.value.emplace(*std::forward<R>(said).value);
  } else if constexpr (is_optional<given> || std::same_as<given, std::nullopt_t>) {
    if constexpr (is_optional<given>) {
      if (said) reply.value.emplace(*std::forward<R>(said));
    }
  } else {
    static_assert(
        std::convertible_to<R, Value>,
        "a loader gives back a Value, optional<Value>, loaded<Value>, or an outcome of one of these");
    reply.value.emplace(static_cast<Value>(std::forward<R>(said)));
  }
  return reply;
}

/// How a load ended: an entry (without a value: there is none), an exception or a refusal.
template <class Entry>
struct load_landing {
  std::shared_ptr<Entry> item;
  std::exception_ptr error;
  std::optional<refusal> why;
  bool stale = false;
};

template <class Key, class Entry>
struct cache_load : flight<Key, load_landing<Entry>> {
  using flight<Key, load_landing<Entry>>::flight;
  std::shared_ptr<Entry> held;  // what the key had when the load began
  time_point began;             // both written once, before the load is listed
};

}  // namespace weir::inline v0::detail
