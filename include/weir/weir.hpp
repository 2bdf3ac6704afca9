// SPDX-License-Identifier: BSL-1.0
#pragma once

/// Everything at once.  A program that needs one component includes that one.
#include <weir/batcher.hpp>
#include <weir/bounded_queue.hpp>
#include <weir/circuit_breaker.hpp>
#include <weir/clock.hpp>
#include <weir/deadline.hpp>
#include <weir/keyed.hpp>
#include <weir/keyed_token_bucket.hpp>
#include <weir/multi_token_bucket.hpp>
#include <weir/observer.hpp>
#include <weir/outcome.hpp>
#include <weir/refusal.hpp>
#include <weir/retry.hpp>
#include <weir/single_flight.hpp>
#include <weir/stats.hpp>
#include <weir/task_gate.hpp>
#include <weir/token_bucket.hpp>
#include <weir/ttl_cache.hpp>
#include <weir/version.hpp>
