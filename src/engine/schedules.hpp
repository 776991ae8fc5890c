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
/// Without room for new work the instants wait, and then follow their catch-up rule; likewise while the
/// server stops or what was decided before is being read again.
bool may_fire(const core& c);
/// Decides the instants that are due. Bounded: true if more are due still.
bool fire_due(core& c);
/// Decides what is due of one job now, by the rule that held until now: a pause or an edit at the very
/// instant neither loses nor doubles it.
void fire_before_change(core& c, job_entry& j);
/// The job is about to be deleted: what is due of it is missed, and the ledger says so.
void miss_before_end(core& c, job_entry& j);
/// The wall clock went back: cursors far in the future would silence their jobs.
void recheck_cursors(core& c);
/// How far the wall clock is ahead of the monotonic one: it changes when the clock is set.
nanoseconds wall_offset(const core& c);
/// After the clock was set by a day or more, schedules wait until the instants decided around its new time
/// are in memory again (promise 8: an instant fires at most once across clock steps).
void watch_wall_clock(core& c);
/// Asks for them, once every row that was issued before is on disk.
void ask_for_instants(core& c);
void on(core& c, const instants_loaded& in);

}  // namespace orchestrator::engine
