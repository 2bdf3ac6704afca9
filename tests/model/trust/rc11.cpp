// SPDX-License-Identifier: BSL-1.0
#include "rc11.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace weir_test {
namespace {

using std::memory_order;
using event_set = std::uint32_t;

constexpr std::size_t max_events = 24;

event_set bit(std::size_t event) { return event_set{1} << event; }

/// A binary relation on events; the row of an event is the set of those it is related to.
struct relation {
  std::array<event_set, max_events> row{};

  [[nodiscard]] bool has(std::size_t a, std::size_t b) const { return (row[a] & bit(b)) != 0; }
  void add(std::size_t a, std::size_t b) { row[a] |= bit(b); }
  void remove(std::size_t a, std::size_t b) { row[a] &= ~bit(b); }

  friend relation operator|(relation a, const relation& b) {
    for (std::size_t i = 0; i < max_events; ++i) a.row[i] |= b.row[i];
    return a;
  }

  /// Composition: a, then b.
  friend relation operator*(const relation& a, const relation& b) {
    relation result;
    for (std::size_t i = 0; i < max_events; ++i) {
      for (event_set rest = a.row[i]; rest != 0; rest &= rest - 1) {
        result.row[i] |= b.row[static_cast<std::size_t>(std::countr_zero(rest))];
      }
    }
    return result;
  }
};

relation identity(event_set on) {
  relation result;
  for (std::size_t i = 0; i < max_events; ++i) result.row[i] = on & bit(i);
  return result;
}

relation transitive(relation r) {
  for (std::size_t via = 0; via < max_events; ++via) {
    if (r.row[via] == 0) continue;
    for (std::size_t i = 0; i < max_events; ++i) {
      if (r.has(i, via)) r.row[i] |= r.row[via];
    }
  }
  return r;
}

bool irreflexive(const relation& r) {
  for (std::size_t i = 0; i < max_events; ++i) {
    if (r.has(i, i)) return false;
  }
  return true;
}

bool acyclic(const relation& r) { return irreflexive(transitive(r)); }

bool releases(memory_order order) {
  return order == memory_order::release || order == memory_order::acq_rel || order == memory_order::seq_cst;
}

bool acquires(memory_order order) {
  return order == memory_order::acquire || order == memory_order::acq_rel || order == memory_order::seq_cst;
}

/// How the events of one location may see each other: its modification order, and the store that each read reads.
struct history {
  std::vector<std::size_t> stores;  ///< in modification order
  std::vector<std::pair<std::size_t, std::size_t>>
      reads;                ///< a reading event, and the position it reads from
  std::vector<int> values;  ///< of the stores
  event_set failed = 0;     ///< compare-exchanges that do
};

class enumerator {
 public:
  explicit enumerator(const program& code) : code_{code} {
    for (int l = 0; l < code.locations; ++l) {
      events_.push_back({.thread = 0, .what = action::store, .location = l});
    }
    events_.insert(events_.end(), code.events.begin(), code.events.end());
    if (events_.size() > max_events) throw std::invalid_argument{"rc11: too many events"};
    relate_program();
  }

  outcome_sets run() {
    for (int l = 0; l < code_.locations; ++l) histories_.push_back(histories_of(l));
    chosen_.resize(histories_.size());
    combine(0);
    return std::move(found_);
  }

 private:
  [[nodiscard]] std::size_t first_event() const { return static_cast<std::size_t>(code_.locations); }

  void relate_program() {
    for (std::size_t i = 0; i < events_.size(); ++i) {
      for (std::size_t j = 0; j < events_.size(); ++j) {
        const bool initial = i < first_event() && j >= first_event();
        const bool later = i >= first_event() && i < j && events_[i].thread == events_[j].thread;
        if (!initial && !later) continue;
        program_order_.add(i, j);
        if (!same_location(i, j)) program_order_elsewhere_.add(i, j);
      }
      if (events_[i].what == action::fence) fences_ |= bit(i);
    }
  }

  [[nodiscard]] bool same_location(std::size_t a, std::size_t b) const {
    return events_[a].what != action::fence && events_[b].what != action::fence &&
           events_[a].location == events_[b].location;
  }

  // ---- one location: everything that agrees with its program order

  [[nodiscard]] std::vector<history> histories_of(int location) const {
    std::vector<std::size_t> exchanges;
    for (std::size_t i = first_event(); i < events_.size(); ++i) {
      if (events_[i].what == action::compare_exchange && events_[i].location == location)
        exchanges.push_back(i);
    }
    std::vector<history> result;
    for (event_set guess = 0; guess < bit(exchanges.size()); ++guess) {
      event_set failed = 0;
      for (std::size_t k = 0; k < exchanges.size(); ++k) {
        if ((guess & bit(k)) != 0) failed |= bit(exchanges[k]);
      }
      order_stores(location, failed, result);
    }
    return result;
  }

  void order_stores(int location, event_set failed, std::vector<history>& result) const {
    std::vector<std::size_t> stores;
    std::vector<std::size_t> loads;
    for (std::size_t i = first_event(); i < events_.size(); ++i) {
      if (events_[i].what == action::fence || events_[i].location != location) continue;
      const bool reads_only = events_[i].what == action::load || (failed & bit(i)) != 0;
      (reads_only ? loads : stores).push_back(i);
    }
    do {
      history h;
      h.failed = failed;
      h.stores.push_back(static_cast<std::size_t>(location));
      h.values.push_back(0);
      if (write(stores, h)) read(loads, 0, h, result);
    } while (std::next_permutation(stores.begin(), stores.end()));
  }

  /// Whether the stores, in this order, can have happened: a compare-exchange finds what it expects.
  bool write(const std::vector<std::size_t>& stores, history& h) const {
    for (const std::size_t s : stores) {
      const event& e = events_[s];
      const int before = h.values.back();
      if (e.what == action::compare_exchange && before != e.expected) return false;
      if (e.what != action::store) h.reads.emplace_back(s, h.stores.size() - 1);
      h.stores.push_back(s);
      h.values.push_back(e.what == action::fetch_add ? before + e.value : e.value);
    }
    return true;
  }

  /// Every choice of a store for each load from `next` on.
  void read(const std::vector<std::size_t>& loads, std::size_t next, history& h,
            std::vector<history>& result) const {
    if (next == loads.size()) {
      if (coherent(h)) result.push_back(h);
      return;
    }
    const std::size_t load = loads[next];
    for (std::size_t position = 0; position < h.stores.size(); ++position) {
      if ((h.failed & bit(load)) != 0 && h.values[position] == events_[load].expected) continue;
      h.reads.emplace_back(load, position);
      read(loads, next + 1, h, result);
      h.reads.pop_back();
    }
  }

  /// A thread never goes back in the modification order.
  [[nodiscard]] bool coherent(const history& h) const {
    std::array<std::size_t, max_events> reads_at{};
    std::array<std::size_t, max_events> writes_at{};
    for (std::size_t p = 1; p < h.stores.size(); ++p) writes_at[h.stores[p]] = p;
    for (const auto& [load, position] : h.reads) reads_at[load] = position;
    event_set readers = 0;
    for (const auto& [load, position] : h.reads) readers |= bit(load);

    std::array<std::size_t, max_events> seen{};  // by thread
    const int location = events_[h.stores.front()].location;
    for (std::size_t i = first_event(); i < events_.size(); ++i) {
      if (events_[i].what == action::fence || events_[i].location != location) continue;
      std::size_t& at = seen[static_cast<std::size_t>(events_[i].thread)];
      if ((readers & bit(i)) != 0) {
        if (reads_at[i] < at) return false;
        at = reads_at[i];
      }
      if (writes_at[i] != 0) {
        if (writes_at[i] <= at) return false;
        at = writes_at[i];
      }
    }
    return true;
  }

  // ---- all locations together

  void combine(std::size_t location) {
    if (location == histories_.size()) {
      judge();
      return;
    }
    for (const history& h : histories_[location]) {
      chosen_[location] = &h;
      combine(location + 1);
    }
  }

  void judge() {
    relation reads_from;
    relation modifies_from;  // reads-from into an event that also stores
    relation modification_order;
    relation reads_before;
    event_set failed = 0;
    for (const history* const h : chosen_) {
      failed |= h->failed;
      for (std::size_t a = 0; a < h->stores.size(); ++a) {
        for (std::size_t b = a + 1; b < h->stores.size(); ++b) {
          modification_order.add(h->stores[a], h->stores[b]);
        }
      }
      for (const auto& [load, position] : h->reads) {
        reads_from.add(h->stores[position], load);
        const bool modifies = events_[load].what != action::load && (h->failed & bit(load)) == 0;
        if (modifies) modifies_from.add(h->stores[position], load);
        for (std::size_t p = position + 1; p < h->stores.size(); ++p) {
          if (h->stores[p] != load) reads_before.add(load, h->stores[p]);
        }
      }
    }

    event_set stores = 0;
    event_set release = 0;
    event_set acquire = 0;
    event_set seq_cst = 0;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const event& e = events_[i];
      const bool fails = (failed & bit(i)) != 0;
      const memory_order order = fails ? e.failure : e.order;
      const bool stores_only = e.what == action::store;
      const bool loads_only = e.what == action::load || fails;
      if (!loads_only && e.what != action::fence) stores |= bit(i);
      if (!loads_only && releases(order)) release |= bit(i);
      if (!stores_only && acquires(order)) acquire |= bit(i);
      if (order == memory_order::seq_cst) seq_cst |= bit(i);
    }

    const event_set all = bit(events_.size()) - 1;
    const relation same = identity(all);
    const relation& po = program_order_;

    // Synchronizes-with, through release sequences and through fences on either side.
    const relation release_sequence = identity(stores) * (same | transitive(modifies_from));
    const relation from_fence = same | identity(fences_) * po;
    const relation to_fence = same | po * identity(fences_);
    const relation synchronizes =
        identity(release) * from_fence * release_sequence * reads_from * to_fence * identity(acquire);
    const relation happens_before = transitive(po | synchronizes);
    if (!irreflexive(happens_before)) return;

    // Coherence.
    const relation coherence = transitive(reads_from | modification_order | reads_before);
    const relation then_coherent = happens_before * coherence;
    if (!irreflexive(then_coherent)) return;

    outcome seen(code_.events.size(), -1);
    for (const history* const h : chosen_) {
      for (const auto& [load, position] : h->reads) seen[load - first_event()] = h->values[position];
      seen.push_back(h->values.back());
    }

    const relation execution = po | reads_from;
    const bool in_order = acyclic(execution);
    const relation strong = identity(seq_cst & ~fences_);
    const relation fence = identity(fences_ & seq_cst);
    const relation maybe_before = happens_before | same;
    const relation from = strong | fence * maybe_before;
    const relation to = strong | maybe_before * fence;

    // The order of seq_cst: RC11.
    relation before_same_location = happens_before;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      for (std::size_t j = 0; j < events_.size(); ++j) {
        if (!same_location(i, j)) before_same_location.remove(i, j);
      }
    }
    const relation& elsewhere = program_order_elsewhere_;
    const relation base = po | elsewhere * happens_before * elsewhere | before_same_location |
                          modification_order | reads_before;
    const relation rc11 =
        from * base * to | fence * (happens_before | then_coherent * happens_before) * fence;
    if (in_order && acyclic(rc11)) found_.rc11.insert(seen);

    // The order of seq_cst: [atomics.order], 4.
    const relation both = identity(seq_cst);
    const relation strongly_before =
        transitive(po | strong * synchronizes * strong | po * happens_before * po);
    const relation cpp20 = both * strongly_before * both | from * coherence * to;
    if (!acyclic(cpp20)) return;
    found_.buffering.insert(seen);
    if (!in_order) return;
    found_.cpp20.insert(seen);
    if (acyclic(execution | modification_order | cpp20)) found_.append_only.insert(seen);
  }

  const program& code_;
  std::vector<event> events_;
  relation program_order_;
  relation program_order_elsewhere_;  // between different locations, or to or from a fence
  event_set fences_ = 0;
  std::vector<std::vector<history>> histories_;
  std::vector<const history*> chosen_;
  outcome_sets found_;
};

}  // namespace

outcome_sets enumerate(const program& code) { return enumerator{code}.run(); }

}  // namespace weir_test
