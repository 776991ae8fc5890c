// Time, and what the store and the shell report. See engine.cpp for the order of a step.
#pragma once

#include "state.hpp"

namespace orchestrator::engine {

void on(core& c, const started& in);  // restore.cpp
void on(core& c, const persisted& in);
void on(core& c, const output_persisted& in);
void on(core& c, const fetched& in);
void on(core& c, const stalled& in);
void on(core& c, const tick& in);
void on(core& c, const turn_end& in);
void on(core& c, const stopping& in);

/// When the shell should tick next: recomputed at the end of every step, since a wall-clock instant must be
/// expressed on the monotonic clock of now.
void refresh_deadline(core& c);

}  // namespace orchestrator::engine
