// Schedules: which instant of which job comes next, and what becomes of it. Used by on_jobs, restore and
// on_tick.
#pragma once

#include <string>

#include "state.hpp"

namespace orchestrator::engine {

/// Asks the shell for a zone's table unless it is here or on its way. UTC needs none.
void want_zone(core& c, const std::string& name);
/// True if calendars in that zone can be made now.
bool has_zone(const core& c, const std::string& name);
/// Makes the job's calendar if its zone is here, and files its next instant.
void arm_schedule(core& c, job_entry& j);
void disarm_schedule(core& c, job_entry& j);
/// Decides the instants that are due. Bounded: true if more are due still.
bool fire_due(core& c);
/// The wall clock went back: cursors far in the future would silence their jobs.
void recheck_cursors(core& c);

}  // namespace orchestrator::engine
