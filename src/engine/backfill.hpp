// Backfill of a schedule's past window; its requests are in requests.hpp. Used by on_tick.cpp.
#pragma once

#include "state.hpp"

namespace orchestrator::engine {

/// Asks which instants of the first request's window have a run, once all that was issued before it is
/// durable.
void ask_for_window(core& c);

}  // namespace orchestrator::engine
