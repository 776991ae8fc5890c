// Runs that wait for other runs (`after`). Whether they may start is a gate of admission.hpp; here is how
// that gate opens. An end is settled with those that wait for it in the step that made it or, if they are
// many, in the next ones; what a kill leaves unsettled the next start settles anew, since the rows of both
// say all.
#pragma once

#include <optional>

#include "state.hpp"

namespace orchestrator::engine {

/// True while the run has not ended.
bool is_open(const core& c, const run_id& id);

/// The first of `after` whose state is not known here: its row must be looked up.
std::optional<std::size_t> unknown_dependency(const core& c, const submit_run& in);
/// A fault of the list itself: a run named twice, or too many that wait for one.
std::optional<refusal> refuse_dependencies(core& c, const submit_run& in);

/// Files a new run under each open run it waits for.
void wait_for_others(core& c, run_entry& r);
/// Files a restored run also under those that have ended, as far as `ended` knows them.
void wait_again(core& c, run_entry& r, const std::map<run_id, run_state>& ended);
/// A run it is to wait for has ended otherwise than it asks.
bool waits_in_vain(const core& c, const submit_run& in);
/// It waits for nobody any more.
void forget_dependencies(core& c, run_entry& r);

/// Lets go or skips those that wait for runs that ended, and those that wait for the skipped, and so on; at
/// most limits::dependents_a_step at once.
void settle_dependents(core& c);

}  // namespace orchestrator::engine
