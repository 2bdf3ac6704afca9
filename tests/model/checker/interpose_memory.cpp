// SPDX-License-Identifier: BSL-1.0
// Plain reads and writes of code that is compiled with -fsanitize=thread, and its heap.
#include <cerrno>
#include <cstdlib>
#include <new>

#include "engine.hpp"

namespace weir_model {

namespace {

/// The fibers have one in turn, as they have the machine's thread.
const volatile void* const place_of_errno = &errno;

void touch(const volatile void* p, std::size_t bytes, access how) {
  if (bytes == 0 || !engine::watching() || engine::instance().is_thread_local(p) || p == place_of_errno)
    return;
  const engine::guard inside;
  engine::instance().plain(p, bytes, how);
}

void* allocate(std::size_t bytes, std::size_t alignment, const void* pc) {
  if (engine::watching()) {
    const engine::guard inside;
    return engine::instance().allocate(bytes, alignment, pc);
  }
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  return alignment <= alignof(std::max_align_t) ? std::malloc(bytes == 0 ? 1 : bytes)
                                                : std::aligned_alloc(alignment, size);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment, const void* pc) {
  if (void* const p = allocate(bytes, alignment, pc)) return p;
  throw std::bad_alloc{};
}

void release(void* p) noexcept {
  if (p == nullptr) return;
  if (!engine::in_heap(p)) return std::free(p);
  if (!engine::watching()) return;  // of an execution that is over
  const engine::guard inside;
  engine::instance().release(p);
}

}  // namespace

}  // namespace weir_model

using weir_model::access;
using weir_model::touch;

#define INTERPOSE(BYTES)                                                                            \
  extern "C" void __tsan_read##BYTES(void* p) { touch(p, BYTES, access::read); }                    \
  extern "C" void __tsan_write##BYTES(void* p) { touch(p, BYTES, access::write); }                  \
  extern "C" void __tsan_unaligned_read##BYTES(const void* p) { touch(p, BYTES, access::read); }    \
  extern "C" void __tsan_unaligned_write##BYTES(void* p) { touch(p, BYTES, access::write); }        \
  extern "C" void __tsan_volatile_read##BYTES(void* p) { touch(p, BYTES, access::read); }           \
  extern "C" void __tsan_volatile_write##BYTES(void* p) { touch(p, BYTES, access::write); }         \
  extern "C" void __tsan_read_write##BYTES(void* p) { touch(p, BYTES, access::write); }             \
  extern "C" void __tsan_unaligned_read_write##BYTES(void* p) { touch(p, BYTES, access::write); }   \
  extern "C" void __tsan_unaligned_volatile_read##BYTES(void* p) { touch(p, BYTES, access::read); } \
  extern "C" void __tsan_unaligned_volatile_write##BYTES(void* p) { touch(p, BYTES, access::write); }

INTERPOSE(1)
INTERPOSE(2)
INTERPOSE(4)
INTERPOSE(8)
INTERPOSE(16)

#undef INTERPOSE

extern "C" void __tsan_read_range(void* p, unsigned long bytes) { touch(p, bytes, access::read); }
extern "C" void __tsan_write_range(void* p, unsigned long bytes) { touch(p, bytes, access::write); }
extern "C" void __tsan_vptr_update(void** p, void*) { touch(p, sizeof *p, access::write); }
extern "C" void __tsan_vptr_read(void** p) { touch(p, sizeof *p, access::read); }

extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

extern "C" void* __real_memset(void*, int, std::size_t);
extern "C" void* __real_memmove(void*, const void*, std::size_t);

// clang calls these; g++ calls the functions themselves, which the linker turns to the ones below (--wrap).
extern "C" void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  touch(from, bytes, access::read);
  touch(to, bytes, access::write);
  return __real_memmove(to, from, bytes);
}
extern "C" void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  return __tsan_memcpy(to, from, bytes);
}
extern "C" void* __tsan_memset(void* p, int value, std::size_t bytes) {
  touch(p, bytes, access::write);
  return __real_memset(p, value, bytes);
}
extern "C" void* __wrap_memcpy(void* to, const void* from, std::size_t bytes) {
  touch(from, bytes, access::read);
  touch(to, bytes, access::write);
  return __real_memmove(to, from, bytes);
}
extern "C" void* __wrap_memmove(void* to, const void* from, std::size_t bytes) {
  return __wrap_memcpy(to, from, bytes);
}
extern "C" void* __wrap_memset(void* p, int value, std::size_t bytes) {
  return __tsan_memset(p, value, bytes);
}

extern "C" int __real_memcmp(const void*, const void*, std::size_t);
extern "C" void* __real_memchr(const void*, int, std::size_t);
extern "C" std::size_t __real_strlen(const char*);

extern "C" int __wrap_memcmp(const void* a, const void* b, std::size_t bytes) {
  touch(a, bytes, access::read);
  touch(b, bytes, access::read);
  return __real_memcmp(a, b, bytes);
}
extern "C" void* __wrap_memchr(const void* p, int value, std::size_t bytes) {
  void* const found = __real_memchr(p, value, bytes);
  const auto* const begin = static_cast<const char*>(p);
  touch(p, found == nullptr ? bytes : static_cast<std::size_t>(static_cast<char*>(found) - begin) + 1,
        access::read);
  return found;
}
extern "C" std::size_t __wrap_strlen(const char* text) {
  const std::size_t length = __real_strlen(text);
  touch(text, length + 1, access::read);
  return length;
}

#define CALLER __builtin_return_address(0)

void* operator new(std::size_t bytes) { return weir_model::allocate_or_throw(bytes, 16, CALLER); }
void* operator new[](std::size_t bytes) { return weir_model::allocate_or_throw(bytes, 16, CALLER); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return weir_model::allocate_or_throw(bytes, static_cast<std::size_t>(alignment), CALLER);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return weir_model::allocate_or_throw(bytes, static_cast<std::size_t>(alignment), CALLER);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return weir_model::allocate(bytes, 16, CALLER);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return weir_model::allocate(bytes, 16, CALLER);
}
void operator delete(void* p) noexcept { weir_model::release(p); }
void operator delete[](void* p) noexcept { weir_model::release(p); }
void operator delete(void* p, std::size_t) noexcept { weir_model::release(p); }
void operator delete[](void* p, std::size_t) noexcept { weir_model::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { weir_model::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { weir_model::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { weir_model::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { weir_model::release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { weir_model::release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { weir_model::release(p); }
