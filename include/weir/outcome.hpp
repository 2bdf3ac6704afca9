// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/refusal.hpp>

namespace weir::inline v0 {

/// Thrown by `outcome::value()` when there is a refusal instead; misuse, so an exception.
class bad_outcome_access : public std::exception {
 public:
  explicit bad_outcome_access(refusal why) noexcept : why_{why} {}
  [[nodiscard]] const char* what() const noexcept override {
    return "weir::outcome holds a refusal, not a value";
  }
  [[nodiscard]] const refusal& error() const noexcept { return why_; }

 private:
  refusal why_;
};

/// A value, or the refusal that stands in its place.
///
/// The members have the names and meanings of `std::expected<T, refusal>` (C++23), so that it can become one.
///
/// Thread safety  As a plain value.
template <class T = void>
class [[nodiscard]] outcome {
  static_assert(std::is_object_v<T> && !std::is_array_v<T>, "outcome<T> holds an object or void");
  static_assert(!std::same_as<std::remove_cv_t<T>, refusal>, "outcome<refusal> would be ambiguous");

  static constexpr bool may_throw = !std::is_nothrow_move_constructible_v<T>;

 public:
  using value_type = T;
  using error_type = refusal;

  /// A default-constructed value.
  constexpr outcome()
    requires std::default_initializable<T>
      : state_{std::in_place_index<0>} {}

  template <class U = T>
    requires(!std::same_as<std::remove_cvref_t<U>, outcome> &&
             !std::same_as<std::remove_cvref_t<U>, refusal> &&
             !std::same_as<std::remove_cvref_t<U>, std::in_place_t> && std::constructible_from<T, U>)
  constexpr explicit(!std::convertible_to<U, T>) outcome(U&& value)
      : state_{std::in_place_index<0>, std::forward<U>(value)} {}

  template <class... Args>
    requires std::constructible_from<T, Args...>
  constexpr explicit outcome(std::in_place_t, Args&&... args)
      : state_{std::in_place_index<0>, std::forward<Args>(args)...} {}

  /// Implicit: whoever refuses returns the refusal as it is.
  constexpr outcome(refusal why) noexcept  // NOLINT(google-explicit-constructor)
      : state_{std::in_place_index<1>, why} {}

  constexpr outcome(const outcome&) = default;
  constexpr outcome(outcome&&) = default;
  constexpr ~outcome() = default;

  /// If the value cannot be taken, a refusal stays and a value is what its own assignment leaves.
  constexpr outcome& operator=(const outcome&) = default;
  constexpr outcome& operator=(outcome&&) = default;
  constexpr outcome& operator=(const outcome& other)
    requires(may_throw && std::is_copy_assignable_v<std::variant<T, refusal>>)
  {
    return assign(other);
  }
  constexpr outcome& operator=(outcome&& other)  // NOLINT(performance-noexcept-move-constructor)
    requires(may_throw && std::is_move_assignable_v<std::variant<T, refusal>>)
  {
    return assign(std::move(other));
  }

  [[nodiscard]] constexpr bool has_value() const noexcept { return state_.index() == 0; }
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return has_value(); }

  /// The value.  Throws bad_outcome_access if there is a refusal.
  [[nodiscard]] constexpr T& value() & { return check(), *std::get_if<0>(&state_); }
  [[nodiscard]] constexpr const T& value() const& { return check(), *std::get_if<0>(&state_); }
  [[nodiscard]] constexpr T&& value() && { return check(), std::move(*std::get_if<0>(&state_)); }

  /// The value; undefined if there is a refusal.
  [[nodiscard]] constexpr T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] constexpr const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  [[nodiscard]] constexpr T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] constexpr T* operator->() noexcept { return std::get_if<0>(&state_); }
  [[nodiscard]] constexpr const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  /// The refusal; undefined if there is a value.
  [[nodiscard]] constexpr const refusal& error() const noexcept { return *std::get_if<1>(&state_); }

  template <class U>
  [[nodiscard]] constexpr T value_or(U&& other) const& {
    return has_value() ? **this : static_cast<T>(std::forward<U>(other));
  }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& other) && {
    return has_value() ? std::move(**this) : static_cast<T>(std::forward<U>(other));
  }

  /// `f(value)`, itself an outcome, or the refusal unchanged.
  template <class F>
  constexpr auto and_then(F&& f) && -> std::remove_cvref_t<std::invoke_result_t<F, T&&>> {
    if (has_value()) return std::invoke(std::forward<F>(f), std::move(**this));
    return error();
  }

  /// An outcome of `f(value)`, or the refusal unchanged.
  template <class F>
  constexpr auto transform(F&& f) && -> outcome<std::remove_cvref_t<std::invoke_result_t<F, T&&>>> {
    using result = std::remove_cvref_t<std::invoke_result_t<F, T&&>>;
    if (!has_value()) return error();
    if constexpr (std::is_void_v<result>) {
      std::invoke(std::forward<F>(f), std::move(**this));
      return {};
    } else {
      return outcome<result>{std::in_place, std::invoke(std::forward<F>(f), std::move(**this))};
    }
  }

  friend constexpr bool operator==(const outcome& a, const outcome& b)
    requires std::equality_comparable<T>
  {
    return a.state_ == b.state_;
  }

 private:
  constexpr void check() const {
    if (!has_value()) throw bad_outcome_access{error()};
  }

  /// A variant that fails to take a value has lost what it held before.
  template <class Other>
  constexpr outcome& assign(Other&& other) {
    if (has_value() || !other.has_value()) {
      state_ = std::forward<Other>(other).state_;
      return *this;
    }
    const refusal before = error();
    try {
      state_.template emplace<0>(*std::forward<Other>(other));
    } catch (...) {
      state_.template emplace<1>(before);
      throw;
    }
    return *this;
  }

  std::variant<T, refusal> state_;
};

/// Success without a value, or a refusal.
template <>
class [[nodiscard]] outcome<void> {
 public:
  using value_type = void;
  using error_type = refusal;

  constexpr outcome() noexcept = default;
  /// Field by field: a whole refusal, just written piece by piece, is read again at once and has to wait.
  constexpr outcome(const refusal& why) noexcept  // NOLINT(google-explicit-constructor)
      : why_{refused_for_ever(why.reason)}, ok_{false} {
    if (why.retry_after) why_.retry_after.emplace(*why.retry_after);
  }

  [[nodiscard]] constexpr bool has_value() const noexcept { return ok_; }
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return ok_; }
  constexpr void value() const {
    if (!ok_) throw bad_outcome_access{why_};
  }
  constexpr void operator*() const noexcept {}
  [[nodiscard]] constexpr const refusal& error() const noexcept { return why_; }

  template <class F>
  constexpr auto and_then(F&& f) const -> std::remove_cvref_t<std::invoke_result_t<F>> {
    if (ok_) return std::invoke(std::forward<F>(f));
    return why_;
  }

  friend constexpr bool operator==(const outcome&, const outcome&) noexcept = default;

 private:
  refusal why_{refusal_reason::cancelled};  // the same in every success
  bool ok_ = true;
};

}  // namespace weir::inline v0
