// SPDX-License-Identifier: BSL-1.0
#include "watch.hpp"

#include <algorithm>

namespace weir_model {

namespace {

std::string conflict(const char* what, const char* with, int other) {
  return std::string{"data race: "} + what + " not ordered after " + with + " T" + std::to_string(other);
}

std::uintptr_t number(const volatile void* p) { return reinterpret_cast<std::uintptr_t>(p) / granule; }

}  // namespace

watch::entry& watch::at(const volatile void* p) {
  entry& e = region_.contains(p) ? granules_[region_.granule_of(p)] : elsewhere_[number(p)];
  if (e.execution != execution_) {
    e = entry{};
    e.execution = execution_;
  }
  return e;
}

std::string watch::check(record& r, access how, int thread, const vector_clock& clock) {
  const std::size_t me = vector_clock::at(thread);
  if (clock.of[r.writer] < r.written) {
    return conflict(how == access::write    ? "a write"
                    : how == access::atomic ? "an atomic operation"
                                            : "a read",
                    "the write by", r.writer);
  }
  if (how != access::write) {
    r.used[me] = clock.of[me];
    return {};
  }
  for (std::size_t t = 0; t < r.used.size(); ++t) {
    if (clock.of[t] < r.used[t]) return conflict("a write", "the use by", static_cast<int>(t));
  }
  r.writer = static_cast<std::uint8_t>(me);
  r.written = clock.of[me];
  return {};
}

void watch::divide(entry& e) {
  if (divided_ == bytes_.size()) bytes_.emplace_back();
  std::array<record, granule>& bytes = bytes_[divided_];
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = ((e.mask >> i) & 1U) != 0 ? e.all : record{};
  e.bytes = ++divided_;
}

std::string watch::touch_granule(entry& e, std::uint8_t mask, access how, int thread,
                                 const vector_clock& clock) {
  if (e.mask == 0) e.mask = mask;
  if (e.bytes == 0) {
    if (e.mask == mask) return check(e.all, how, thread, clock);
    divide(e);
  }
  std::array<record, granule>& bytes = bytes_[e.bytes - 1];
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (((mask >> i) & 1U) == 0) continue;
    if (std::string wrong = check(bytes[i], how, thread, clock); !wrong.empty()) return wrong;
  }
  return {};
}

std::string watch::touch(const volatile void* p, std::size_t bytes, access how, int thread,
                         const vector_clock& clock) {
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(p);
  const std::uintptr_t end = address + bytes;
  while (address < end) {
    const void* const here = reinterpret_cast<const void*>(address);
    entry& e = at(here);
    if (e.state == life::dead) return "use after free";
    if (e.state == life::unknown && region_.in_heap(here)) return "use of memory that nobody allocated";
    const std::uintptr_t offset = address % granule;
    const std::uintptr_t count = std::min<std::uintptr_t>(granule - offset, end - address);
    const std::uint8_t mask = static_cast<std::uint8_t>(((1U << count) - 1U) << offset);
    if (std::string wrong = touch_granule(e, mask, how, thread, clock); !wrong.empty()) {
      return wrong;
    }
    address += count;
  }
  return {};
}

void watch::allocate(const volatile void* p, std::size_t bytes) {
  const char* const begin = const_cast<const char*>(static_cast<const volatile char*>(p));
  for (std::size_t i = 0; i < bytes; i += granule) {
    entry& e = at(begin + i);
    e = entry{};
    e.execution = execution_;
    e.state = life::alive;
  }
}

std::string watch::release(const volatile void* p, std::size_t bytes, int thread, const vector_clock& clock) {
  if (std::string wrong = touch(p, bytes, access::write, thread, clock); !wrong.empty()) return wrong;
  const char* const begin = const_cast<const char*>(static_cast<const volatile char*>(p));
  for (std::size_t i = 0; i < bytes; i += granule) at(begin + i).state = life::dead;
  return {};
}

bool watch::marked(const volatile void* p, std::size_t bytes) {
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(p);
  for (std::uintptr_t a = begin / granule * granule; a < begin + bytes; a += granule) {
    if (at(reinterpret_cast<const void*>(a)).holds_object) return true;
  }
  return false;
}

void watch::mark(const volatile void* p, std::size_t bytes) {
  const char* const begin = const_cast<const char*>(static_cast<const volatile char*>(p));
  for (std::size_t i = 0; i < bytes; i += granule) at(begin + i).holds_object = true;
}

void watch::unmark(const volatile void* p, std::size_t bytes) {
  const char* const begin = const_cast<const char*>(static_cast<const volatile char*>(p));
  for (std::size_t i = 0; i < bytes; i += granule) at(begin + i).holds_object = false;
}

}  // namespace weir_model
