// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <type_traits>

#include <weir/outcome.hpp>

namespace weir::inline v0::detail {

/// The outcome that a call of a component gives back for a callable that returns T: an outcome as it is, or a
/// copy of the one that T refers to; otherwise an outcome of the value.
template <class T>
struct as_outcome {
  using type = outcome<T>;
  static constexpr bool flat = false;
};
template <class T>
struct as_outcome<outcome<T>> {
  using type = outcome<T>;
  static constexpr bool flat = true;
};
template <class T>
  requires(!std::is_same_v<T, std::remove_cvref_t<T>>)
struct as_outcome<T> : as_outcome<std::remove_cvref_t<T>> {};

template <class T>
using as_outcome_t = typename as_outcome<T>::type;

}  // namespace weir::inline v0::detail
