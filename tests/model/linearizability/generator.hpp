// SPDX-License-Identifier: BSL-1.0
// Random small scenarios over the verbs of a component, as Lincheck makes them (Koval et al., CAV 2023).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace weir_model {

/// Random numbers, the same from the same seed with every library.
class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_{seed} {}

  /// One of 0 .. n - 1.
  int operator()(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }

  template <class T>
  T one_of(std::initializer_list<T> all) {
    return all.begin()[(*this)(static_cast<int>(all.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

/// A scenario: how the component is set up, and what each thread calls, one call after the other.
template <class Component>
struct plan {
  using operation = typename Component::specification::operation;

  typename Component::setup setup{};
  std::vector<std::vector<operation>> threads{};
  std::vector<operation> closing{};  ///< called when the threads have ended: what has become of it

  [[nodiscard]] std::size_t calls() const {
    std::size_t n = closing.size();
    for (const auto& t : threads) n += t.size();
    return n;
  }

  [[nodiscard]] std::string show() const {
    std::string text = "  " + Component::show(setup) + '\n';
    for (std::size_t t = 0; t < threads.size(); ++t)
      text += show("thread " + std::to_string(t + 1), threads[t]);
    return text + show("at the end", closing);
  }

 private:
  static std::string show(const std::string& who, const std::vector<operation>& calls) {
    std::string text;
    for (const operation& o : calls) {
      text += (text.empty() ? "  " + who + ": " : "; ") + Component::specification::show(o);
    }
    return text.empty() ? text : text + '\n';
  }
};

/// Names the values of a thread's calls: no two calls of a scenario bring the same.
[[nodiscard]] inline int value_of(int thread, std::size_t place) {
  return 10 * thread + static_cast<int>(place) + 1;
}

/// Draws scenarios of a component, no two of them equal but for the order of the threads.
///
/// A component says how it is drawn:
///   setup draw_setup(dice&)
///   std::vector<operation> draw_thread(dice&, const setup&, int thread, int calls)
///   void complete(plan&)    adds what makes every execution end, and what looks at the end
///   std::string show(const setup&)
template <class Component>
class generator {
 public:
  explicit generator(std::uint64_t seed) : roll_{seed} {}

  /// Nothing if there are no more, as far as a thousand tries can tell.
  [[nodiscard]] std::optional<plan<Component>> next() {
    for (int tries = 0; tries < 1000; ++tries) {
      plan<Component> drawn;
      drawn.setup = Component::draw_setup(roll_);
      const int threads = 2 + roll_(2);
      for (int t = 1; t <= threads; ++t) {
        drawn.threads.push_back(
            Component::draw_thread(roll_, drawn.setup, t, 2 + roll_(threads == 2 ? 2 : 1)));
      }
      const std::string name = name_of(drawn);
      Component::complete(drawn);
      if (drawn_.insert(name).second) return drawn;
    }
    return std::nullopt;
  }

 private:
  /// The verbs and what tells them apart, the threads in order.  Values only name themselves: left out.
  static std::string name_of(const plan<Component>& p) {
    std::vector<std::string> threads;
    for (const auto& thread : p.threads) {
      std::string text;
      for (auto o : thread) text += Component::specification::show(Component::without_value(o)) + ';';
      threads.push_back(text);
    }
    std::sort(threads.begin(), threads.end());
    std::string name = Component::show(p.setup);
    for (const std::string& text : threads) name += '|' + text;
    return name;
  }

  dice roll_;
  std::set<std::string> drawn_;
};

}  // namespace weir_model
