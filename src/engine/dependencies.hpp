// Runs that wait for other runs (`after`). Whether they may start is a gate of admission.hpp; here is how
// that gate opens: in the very step in which the last run it waits for ends, so that both are durable
// together. What a restart finds is therefore simple: a run that waits for one that is no longer open had its
// condition met.
#pragma once

#include <optional>

#include "state.hpp"

namespace orchestrator::engine {

/// True while the run has not ended.
bool is_open(const core& c, const run_id& id);

/// The first of `after` whose state is not known here: its row must be looked up.
std::optional<std::size_t> unknown_dependency(const core& c, const submit_run& in);
/// A fault of the list itself: a run named twice, or too many that wait for one.
std::optional<refusal> refuse_dependencies(const core& c, const submit_run& in);

/// Files a run that is new or was restored under each open run it waits for.
void wait_for_others(core& c, run_entry& r);
/// Of a new run: ends it as skipped if a run it waits for has ended otherwise than it asks. Call it once it
/// is filed.
void skip_if_unmet(core& c, run_entry& r, const submit_run& in);
/// It waits for nobody any more.
void forget_dependencies(core& c, run_entry& r);

/// Lets go or skips those that wait for a run that ended in this step, and those that wait for the skipped,
/// and so on.
void settle_dependents(core& c);

}  // namespace orchestrator::engine
