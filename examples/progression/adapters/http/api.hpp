// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "adapters/http/server.hpp"
#include "application/event.hpp"
#include "application/service.hpp"

namespace progression {

/// What the routes need to know of the process around them.  The functions are called on the I/O thread and
/// must not block.
struct api_environment {
  std::string admin_key;                      ///< what X-Admin-Key must say; empty: nothing
  std::function<bool()> store_ready;          ///< whether the store answered when it was last asked
  std::function<bool()> draining;             ///< whether the process is about to end
  std::function<http_server_stats()> server;  ///< for /metrics
};

/// The HTTP interface of the service: JSON in, JSON out, nothing decided here.
///
/// 200 with what became of the request; 400 names the field at fault; 401 without the admin's key; 404, 405,
/// 409 for a vote that is over, 413; 429 and 503 carry Retry-After, {"error", "reason", "retry_after_ms"}.
/// `service` outlives the routes.
[[nodiscard]] std::vector<http_route> api_routes(service& app, api_environment environment);

/// An event as one line of JSON, for /events.
[[nodiscard]] std::string to_json(const event& e);

/// The metrics of the process in the text format of Prometheus.
[[nodiscard]] std::string metrics_text(const service_stats& app, const http_server_stats& server, bool ready);

}  // namespace progression
