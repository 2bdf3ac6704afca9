// SPDX-License-Identifier: BSL-1.0
#include "../scenario.hpp"

#include "engine.hpp"
#include "runner.hpp"

namespace weir_model {

namespace {

engine& the_engine() { return engine::instance(); }

}  // namespace

void world::own(void* object, void (*destroy)(void*)) {
  const engine::guard inside;
  the_engine().own(object, destroy);
}

void world::start(void* body, void (*run)(void*)) {
  const engine::guard inside;
  static_cast<void>(the_engine().start_thread(run, body));
}

void world::finish(void* check, void (*run)(void*)) {
  const engine::guard inside;
  the_engine().check_with(check, run);
}

report explore(const bounds& limits, const builder& build) {
  engine::make();
  return the_engine().explore(limits, build);
}

scenario::scenario(const char* component, const char* name, const bounds& limits, void (*build)(world&),
                   verdict expected) {
  registered().push_back({component, name, limits, build, expected});
}

void expect(bool holds, std::string_view what, std::source_location where) {
  if (holds) return;
  const engine::guard inside;
  the_engine().fail("not so: " + std::string{what} + " (" +
                    short_name({{}, where.file_name(), static_cast<int>(where.line())}) + ")");
}

int choose(int n) {
  const engine::guard inside;
  return the_engine().choose(n);
}

moment now() {
  const engine::guard inside;
  return the_engine().present_moment();
}

bool happens_before(moment a, moment b) {
  const engine::guard inside;
  return the_engine().happens_before(a, b);
}

int current_thread() { return the_engine().current(); }

long long virtual_time() {
  const engine::guard inside;
  return the_engine().read_clock();
}

void advance(long long nanoseconds) {
  const engine::guard inside;
  the_engine().advance_clock(nanoseconds);
}

void leave() { the_engine().set_inside(true); }
void enter() { the_engine().set_inside(false); }

}  // namespace weir_model
