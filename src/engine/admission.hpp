// The one admission point. Every run, however it came to be (submitted, scheduled, caught up, tried again,
// made anew by hand), waits behind the same gates: its own, which are here; those of limits it shares
// (limiter.hpp); and workers. The dispatcher offers what is behind no closed gate, and `why` names the closed
// ones; both read these tables, so that they cannot disagree.
#pragma once

#include <span>

#include "state.hpp"

namespace orchestrator::engine {

/// One way in which a waiting run is kept back for itself alone.
struct run_gate {
  blocking_code code;
  bool (*closed)(const core& c, const run_entry& r);
};
std::span<const run_gate> run_gates();
/// True if one of them is closed, that of the overlap rule left aside: such a run does not occupy its job.
bool is_kept_by_itself(const core& c, const run_entry& r);
/// True if it is queued and none of these gates is closed: then it stands in the dispatcher's queue.
bool is_admitted(const core& c, const run_entry& r);

/// A lock makes a lost lease fatal for its process, whatever the specification says.
bool is_killed_when_lost(const run_spec& s);

}  // namespace orchestrator::engine
