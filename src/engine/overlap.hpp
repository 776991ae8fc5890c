// The overlap rule of a job: with any rule but `allow`, one run of it at a time is under way, however it came
// to be. Each name keeps the line of the runs that occupy it. The first of the line may start; for all others
// the gate `overlap` of admission.hpp is closed. Kept by runs.cpp, where runs change.
//
// The order of the line: who is under way, then who has begun and is to be tried again, then who is ready;
// among equals the older run. Priorities do not count in it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "state.hpp"

namespace orchestrator::engine {

/// The rule that holds for runs of this name; `allow` without a job, and for a job without a schedule.
overlap_policy overlap_rule(const name_entry& n);

/// Where it belongs in the line of its job, by its state and its own gates.
line_place place_in_line(const core& c, const run_entry& r);
/// Files it there. If another one comes to the front, or leaves it, that one is let in or out; the caller
/// does the same for this run, if it waits.
void file_in_line(core& c, run_entry& r);
/// The gate: another run of its job goes first, or would if nothing else kept this one.
bool is_behind_another(const run_entry& r);
/// Those that go before it, the first first.
std::vector<const run_entry*> ahead_in_line(const run_entry& r);
/// An attempt of it may go on, and a lost one live again: nobody else took its place since.
bool may_go_on(const run_entry& r);

/// Why the rule drops an instant that comes on time; nothing: it gets its run.
std::optional<std::string> overlap_objection(const name_entry& n);

/// With cancel_old: it succeeds all that occupy the job now.
void succeed(core& c, const run_entry& r);
/// The rule was changed while runs wait: with cancel_old the last of those that wait is the successor.
void take_up_rule(core& c, name_entry& n);
/// Whom another one succeeds is asked to end: at the end of each step, a bounded number at once. Until all
/// were asked none of them may start.
void end_predecessors(core& c);

}  // namespace orchestrator::engine
