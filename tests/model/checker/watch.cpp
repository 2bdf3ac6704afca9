// SPDX-License-Identifier: BSL-1.0
#include "watch.hpp"

#include <algorithm>

namespace weir_model {

namespace {

std::uintptr_t number(const volatile void* p) { return reinterpret_cast<std::uintptr_t>(p); }
const void* address(std::uintptr_t n) { return reinterpret_cast<const void*>(n); }

}  // namespace

std::string watch::wrong() const {
  switch (fault_) {
    case fault::none:
      return {};
    case fault::dead:
      return "use after free";
    case fault::never_allocated:
      return "use of memory that nobody allocated";
    case fault::unordered_write:
    case fault::unordered_use:
      break;
  }
  return std::string{"data race: "} +
         (fault_access_ == access::write  ? "a write"
          : fault_access_ == access::read ? "a read"
                                          : "an atomic operation") +
         " not ordered after the " + (fault_ == fault::unordered_write ? "write" : "use") + " by T" +
         std::to_string(fault_with_);
}

watch::entry& watch::at(const volatile void* p) {
  entry& e = region_.contains(p) ? granules_[region_.granule_of(p)] : elsewhere_[number(p) / granule];
  if (e.execution != execution_) {
    e = entry{};
    e.execution = execution_;
  }
  return e;
}

bool watch::check(record& r, access how, int thread, const vector_clock& clock) {
  const std::size_t me = vector_clock::at(thread);
  if (clock.of[r.writer] < r.written) return is(fault::unordered_write, how, r.writer);
  if (how == access::read && r.atomic_stores) {
    for (std::size_t t = 0; t < r.stored.size(); ++t) {
      if (clock.of[t] < r.stored[t]) return is(fault::unordered_use, how, static_cast<int>(t));
    }
  }
  if (how == access::atomic_store) {
    r.atomic_stores = true;
    r.stored[me] = clock.of[me];
  }
  if (how != access::write) {
    r.used[me] = clock.of[me];
    return true;
  }
  for (std::size_t t = 0; t < r.used.size(); ++t) {
    if (clock.of[t] < r.used[t]) return is(fault::unordered_use, how, static_cast<int>(t));
  }
  r.writer = static_cast<std::uint8_t>(me);
  r.written = clock.of[me];
  return true;
}

void watch::divide(entry& e) {
  if (divided_ == bytes_.size()) bytes_.emplace_back();
  std::array<record, granule>& bytes = bytes_[divided_];
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = ((e.mask >> i) & 1U) != 0 ? e.all : record{};
  e.bytes = ++divided_;
}

bool watch::touch_granule(entry& e, std::uint8_t mask, access how, int thread, const vector_clock& clock) {
  if (e.mask == 0) e.mask = mask;
  if (e.bytes == 0) {
    if (e.mask == mask) return check(e.all, how, thread, clock);
    divide(e);
  }
  std::array<record, granule>& bytes = bytes_[e.bytes - 1];
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (((mask >> i) & 1U) != 0 && !check(bytes[i], how, thread, clock)) return false;
  }
  return true;
}

bool watch::touch(const volatile void* p, std::size_t bytes, access how, int thread,
                  const vector_clock& clock) {
  const std::uintptr_t end = number(p) + bytes;
  met_object_ = false;
  for (std::uintptr_t here = number(p); here < end;) {
    entry& e = at(address(here));
    met_object_ = met_object_ || e.holds_object;
    if (e.state == life::dead) return is(fault::dead);
    if (e.state == life::unknown && region_.in_heap(address(here))) return is(fault::never_allocated);
    const std::uintptr_t offset = here % granule;
    const std::uintptr_t count = std::min<std::uintptr_t>(granule - offset, end - here);
    const auto mask = static_cast<std::uint8_t>(((1U << count) - 1U) << offset);
    if (!touch_granule(e, mask, how, thread, clock)) return false;
    here += count;
  }
  return true;
}

void watch::allocate(const volatile void* p, std::size_t bytes) {
  for (std::uintptr_t a = number(p); a < number(p) + bytes; a += granule) {
    entry& e = at(address(a));
    e = entry{};
    e.execution = execution_;
    e.state = life::alive;
  }
}

bool watch::release(const volatile void* p, std::size_t bytes, int thread, const vector_clock& clock) {
  if (!touch(p, bytes, access::write, thread, clock)) return false;
  for (std::uintptr_t a = number(p); a < number(p) + bytes; a += granule) at(address(a)).state = life::dead;
  return true;
}

bool watch::marked(const volatile void* p, std::size_t bytes) {
  for (std::uintptr_t a = number(p) / granule * granule; a < number(p) + bytes; a += granule) {
    if (at(address(a)).holds_object) return true;
  }
  return false;
}

void watch::mark(const volatile void* p, std::size_t bytes) {
  for (std::uintptr_t a = number(p); a < number(p) + bytes; a += granule) at(address(a)).holds_object = true;
}

void watch::unmark(const volatile void* p, std::size_t bytes) {
  for (std::uintptr_t a = number(p); a < number(p) + bytes; a += granule) at(address(a)).holds_object = false;
}

}  // namespace weir_model
