// SPDX-License-Identifier: BSL-1.0
#include "sites.hpp"

namespace weir_model {

namespace {

using std::memory_order;
constexpr memory_order all_orders[] = {memory_order::relaxed, memory_order::acquire, memory_order::release,
                                       memory_order::acq_rel, memory_order::seq_cst};

}  // namespace

const char* name_of(operation_name operation) {
  switch (operation) {
    case operation_name::load:
      return "load";
    case operation_name::store:
      return "store";
    case operation_name::exchange:
      return "exchange";
    case operation_name::compare_exchange:
      return "compare_exchange";
    case operation_name::fence:
      return "fence";
  }
  return "?";
}

const char* name_of(std::memory_order order) {
  switch (order) {
    case std::memory_order::relaxed:
      return "relaxed";
    case std::memory_order::consume:
      return "consume";
    case std::memory_order::acquire:
      return "acquire";
    case std::memory_order::release:
      return "release";
    case std::memory_order::acq_rel:
      return "acq_rel";
    case std::memory_order::seq_cst:
      return "seq_cst";
  }
  return "?";
}

site& site_table::resolve(const void* pc, operation_name operation, std::memory_order order,
                          std::memory_order failure) {
  const source_line where = project_line(pc);
  const std::string name =
      short_name(where) + where.function + name_of(operation) + name_of(order) + name_of(failure);
  site*& known = by_place_[name];
  if (known == nullptr) {
    known = new site{};  // as long as the program
    known->where = where;
    known->operation = operation;
    known->order = known->effective = order;
    known->failure = known->effective_failure = failure;
    known->counter = where.file.ends_with("weir/stats.hpp");
    in_order_.push_back(known);
    const std::string place = short_name(where) + ':' + name_of(operation) + ':';
    for (const memory_order w : all_orders) {
      if (place + name_of(order) + '=' + name_of(w) == weakened_) known->effective = w;
      if (place + name_of(failure) + "/failure=" + name_of(w) == weakened_) known->effective_failure = w;
    }
  }
  by_address_[key(pc, order, failure)] = known;
  return *known;
}

std::vector<site*> site_table::all() const { return in_order_; }

std::vector<std::memory_order> weaker(operation_name operation, std::memory_order order, bool failure) {
  using std::memory_order;
  const bool reads = operation != operation_name::store;
  const bool writes = operation != operation_name::load && !failure;
  switch (order) {
    case memory_order::relaxed:
    case memory_order::consume:
      return {};
    case memory_order::acquire:
    case memory_order::release:
      return {memory_order::relaxed};
    case memory_order::acq_rel:
      return {memory_order::acquire, memory_order::release};
    case memory_order::seq_cst:
      break;
  }
  if (reads && writes) return {memory_order::acq_rel};
  return {reads ? memory_order::acquire : memory_order::release};
}

}  // namespace weir_model
