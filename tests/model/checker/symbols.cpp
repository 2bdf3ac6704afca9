// SPDX-License-Identifier: BSL-1.0
#include "symbols.hpp"

#include <execinfo.h>
#include <link.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

namespace weir_model {

namespace {

/// Where the program was loaded; its symbols count from there.
std::uintptr_t load_address() {
  std::uintptr_t base = 0;
  // The program itself comes first.
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        *static_cast<std::uintptr_t*>(out) = info->dlpi_addr;
        return 1;
      },
      &base);
  return base;
}

/// One addr2line for the life of the program: it reads the debug information once.
class addr2line {
 public:
  addr2line() {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe(in.data()) != 0 || ::pipe(out.data()) != 0) std::abort();
    const std::string self = "/proc/" + std::to_string(::getpid()) + "/exe";
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int end : {in[0], in[1], out[0], out[1]}) ::close(end);
      ::execlp("addr2line", "addr2line", "-i", "-f", "-C", "-e", self.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    ask_ = ::fdopen(in[1], "w");
    answer_ = ::fdopen(out[0], "r");
  }

  std::vector<source_line> resolve(std::uintptr_t address) {
    // An address that is nowhere answers with one unknown line, which ends the answer before it.
    std::fprintf(ask_, "0x%zx\n0x0\n", static_cast<std::size_t>(address));
    std::fflush(ask_);
    std::vector<source_line> lines;
    for (bool first = true;; first = false) {
      const std::string function = line();
      const std::string place = line();
      if (place.empty() || (function == "??" && !first)) return lines;
      if (function == "??") continue;
      const std::size_t colon = place.rfind(':');
      lines.push_back({function, place.substr(0, colon), std::atoi(place.c_str() + colon + 1)});
    }
  }

 private:
  std::string line() {
    std::string text;
    for (int c = std::fgetc(answer_); c != EOF && c != '\n'; c = std::fgetc(answer_)) {
      text += static_cast<char>(c);
    }
    return text;
  }

  std::FILE* ask_;
  std::FILE* answer_;
};

bool of_the_system(const source_line& where) {
  return where.file.starts_with("/usr/") || where.file.starts_with("??");
}

}  // namespace

const std::vector<source_line>& lines_of(const void* pc) {
  static const std::uintptr_t base = load_address();
  static addr2line tool;
  static std::unordered_map<const void*, std::vector<source_line>> known;
  const auto [at, fresh] = known.try_emplace(pc);
  // The return address stands behind the call.
  if (fresh) at->second = tool.resolve(reinterpret_cast<std::uintptr_t>(pc) - base - 1);
  return at->second;
}

source_line project_line(const void* pc) {
  for (const source_line& where : lines_of(pc)) {
    if (!of_the_system(where)) return where;
  }
  return {};
}

source_line project_line_of_stack() {
  std::array<void*, 64> frames{};
  const int depth = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 0; i < depth; ++i) {
    const source_line where = project_line(frames[static_cast<std::size_t>(i)]);
    if (where.file.empty() || where.file.find("/model/checker/") != std::string::npos) continue;
    return where;
  }
  return {};
}

std::string short_name(const source_line& where) {
  if (where.file.empty()) return "?";
  return where.file.substr(where.file.rfind('/') + 1) + ':' + std::to_string(where.line);
}

}  // namespace weir_model
