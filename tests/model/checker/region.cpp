// SPDX-License-Identifier: BSL-1.0
#include "region.hpp"

#include <sys/mman.h>

#include <cstdlib>

namespace weir_model {

region::region() {
  void* const at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) std::abort();
  base_ = static_cast<char*>(at);
  for (int t = 0; t < max_threads; ++t) ::mprotect(stack(t) - guard, guard, PROT_NONE);
}

region::~region() { ::munmap(base_, size); }

}  // namespace weir_model
