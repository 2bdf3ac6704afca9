// SPDX-License-Identifier: BSL-1.0
// The threads of an execution: fibers on one thread of the machine, each with what a thread has of its own.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir_model {

/// The program's thread_local variables: a block of memory that is exchanged when fibers are.
class thread_locals {
 public:
  thread_locals();

  [[nodiscard]] bool contains(const volatile void* p) const {
    return reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(block_) < size_;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  void save(std::vector<char>& into) const;
  void restore(const std::vector<char>& from) const;
  /// As a thread finds them that begins.
  void fresh(std::vector<char>& into) const;

 private:
  char* block_ = nullptr;
  std::size_t size_ = 0;
  const char* image_ = nullptr;
  std::size_t image_size_ = 0;
};

/// One fiber.  Runs `entry` for ever: what it does next is the owner's to say before it is entered again.
class fiber {
 public:
  /// (Re)makes the fiber, so that it begins with `entry` when it is entered next.
  void make(char* stack, std::size_t size, void (*entry)());

  /// Leaves `from` and enters this.  `locals` belong to the program, `kept` to the fibers.
  void enter(fiber& from, const thread_locals& locals);

  /// Enters from outside.
  void enter(const thread_locals& locals);

  /// Leaves for outside; goes on from here when it is entered again.
  void leave(jmp_buf& outside);

  /// A thread begins: its thread_local variables are new.
  void begin_thread(const thread_locals& locals) { locals.fresh(locals_); }

  /// The lowest address in use while the fiber does not run.
  [[nodiscard]] const char* stack_pointer() const { return stack_pointer_; }

 private:
  struct exceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;
  };
  static exceptions& current_exceptions();

  jmp_buf state_{};
  ucontext_t start_{};
  bool started_ = false;
  exceptions exceptions_;
  std::vector<char> locals_;
  const char* stack_pointer_ = nullptr;
};

}  // namespace weir_model
