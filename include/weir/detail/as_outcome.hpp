// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <type_traits>

#include <weir/outcome.hpp>

namespace weir::inline v0::detail {

/// The outcome that a call of a component gives back for a callable that returns T: T itself if it is one.
template <class T>
struct as_outcome {
  using type = outcome<std::remove_cvref_t<T>>;
  static constexpr bool flat = false;
};
template <class T>
struct as_outcome<outcome<T>> {
  using type = outcome<T>;
  static constexpr bool flat = true;
};
template <class T>
using as_outcome_t = typename as_outcome<T>::type;

}  // namespace weir::inline v0::detail
