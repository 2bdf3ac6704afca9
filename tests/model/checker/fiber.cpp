// SPDX-License-Identifier: BSL-1.0
#include "fiber.hpp"

#include <cxxabi.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace weir_model {

thread_locals::thread_locals() {
  // The program itself comes first, and its block is always there.
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        thread_locals& self = *static_cast<thread_locals*>(out);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_TLS) continue;
          self.block_ = static_cast<char*>(info->dlpi_tls_data);
          self.size_ = segment.p_memsz;
          self.image_ = reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
          self.image_size_ = segment.p_filesz;
        }
        return 1;
      },
      this);
}

void thread_locals::save(std::vector<char>& into) const { into.assign(block_, block_ + size_); }

void thread_locals::restore(const std::vector<char>& from) const {
  if (from.size() == size_ && size_ != 0) std::memcpy(block_, from.data(), size_);
}

void thread_locals::fresh(std::vector<char>& into) const {
  into.assign(size_, 0);
  if (size_ != 0) std::copy_n(image_, image_size_, into.begin());
}

fiber::exceptions& fiber::current_exceptions() {
  return *reinterpret_cast<exceptions*>(abi::__cxa_get_globals());
}

void fiber::make(char* stack, std::size_t size, void (*entry)()) {
  ::getcontext(&start_);
  start_.uc_stack.ss_sp = stack;
  start_.uc_stack.ss_size = size;
  start_.uc_link = nullptr;
  ::makecontext(&start_, entry, 0);
  started_ = false;
  exceptions_ = {};
  stack_pointer_ = stack + size;
}

void fiber::enter(const thread_locals& locals) {
  current_exceptions() = exceptions_;
  locals.restore(locals_);
  if (started_) _longjmp(state_, 1);
  started_ = true;
  ::setcontext(&start_);
}

void fiber::enter(fiber& from, const thread_locals& locals) {
  from.exceptions_ = current_exceptions();
  if (locals.size() != 0) locals.save(from.locals_);
  from.stack_pointer_ = static_cast<const char*>(__builtin_frame_address(0));
  if (_setjmp(from.state_) == 0) enter(locals);
}

void fiber::leave(jmp_buf& outside) {
  exceptions_ = current_exceptions();
  if (_setjmp(state_) == 0) _longjmp(outside, 1);
}

}  // namespace weir_model
