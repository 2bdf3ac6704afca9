// SPDX-License-Identifier: BSL-1.0
#include <weir/task_gate.hpp>

#include "model/scenario.hpp"

namespace {

using namespace weir_model;

const scenario three_try{"task_gate", "of three that try, one at a time is inside", {}, [](world& w) {
                           auto& gate = w.make<weir::task_gate>();
                           auto& inside = w.make<int>(0);
                           for (int i = 0; i < 3; ++i) {
                             w.thread([&] {
                               if (const auto pass = gate.try_enter()) {
                                 expect(++inside == 1);
                                 --inside;
                               }
                             });
                           }
                         }};

}  // namespace
