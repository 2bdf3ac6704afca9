// SPDX-License-Identifier: BSL-1.0
// The operations of the engine that are templates.
#pragma once

#include <cstdio>
#include <utility>

#include "engine.hpp"

namespace weir_model {

template <class F>
std::uint64_t engine::exchange(const volatile void* p, std::size_t bytes, std::uint64_t initial,
                               memory_order order, const site& at, F change) {
  const int l = location(p, bytes, initial, access::atomic_store);
  const operation write{operation::kind::write, l};
  if (at.counter) {
    perform(write);
  } else {
    arrive(write);
    check_frame(p);
  }
  const std::uint64_t old = memory_.value(l, memory_.newest(l));
  if (!memory_.exchange(current_, l, change(old), order)) fail("too many stores to one atomic");
  trace("exchange", l, change(old), name_of(order), false);
  return old;
}

}  // namespace weir_model
