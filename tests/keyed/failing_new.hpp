// SPDX-License-Identifier: BSL-1.0
#pragma once

// failing_new.cpp replaces the global operator new, so that a test can let an allocation fail.  It is a
// source of its own: inlined beside their use, the replacements make g++ 12 see a mismatched new and delete.

namespace failing_new {

/// How many more allocations of this thread succeed; negative: all of them.
inline thread_local long allowance = -1;

/// Lets the allocations of this thread fail from the (k+1)-th on, while it lives.
class after {
 public:
  explicit after(long k) noexcept { allowance = k; }
  after(const after&) = delete;
  after& operator=(const after&) = delete;
  ~after() { allowance = -1; }
};

}  // namespace failing_new
