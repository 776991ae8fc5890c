// The ledger of instants: what was decided about each (job, instant), written with the decision, and as much
// of it in memory as is needed to decide none twice. Used by schedules.cpp and backfill.cpp.
//
// An instant with a run has a row of its own, for good. Instants without one share a row while outcome and
// rule stay the same and nothing else comes between.
#pragma once

#include <string>

#include "state.hpp"

namespace orchestrator::engine {

/// Rows that reach into these last hours are in memory.
inline constexpr std::chrono::hours instants_kept{48};

/// Takes in rows that the store has; those known already stay as they are.
void remember_rows(core& c, const recent_instants& rows);
/// True if it was decided, with a run or without.
bool is_decided(const core& c, const std::string& job, wall_time instant);
/// The first instant of the job later than `after` that has a run.
std::optional<wall_time> next_fired(const core& c, const std::string& job, wall_time after);

void record_run(core& c, const std::string& job, wall_time instant, instant_outcome outcome,
                const run_id& run, const std::string& rule);
/// Consecutive instants without a run, later than all that was decided of this job.
void record_quiet(core& c, const std::string& job, const instant_span& span, instant_outcome outcome,
                  const std::string& rule);
/// Takes back what a wrong clock decided later than `after` without a run; `times` counts what is left of a
/// row.
void withdraw_after(core& c, const std::string& job, wall_time after, const calendar& times);
/// An instant of the past gets its run.
void record_backfill(core& c, const std::string& job, wall_time instant, const calendar& times,
                     const run_id& run);
/// Rows of the past leave memory, but for the newest, which may go on. Never those ahead of the schedule's
/// cursor: a clock that was years off has decided instants that are still to come.
void forget_old_rows(core& c, const std::string& job, wall_time cursor);

}  // namespace orchestrator::engine
