// Runs in memory: how they are made, what they pin, where they wait and how they end. Used by every on_*.cpp.
#pragma once

#include <string>
#include <string_view>

#include "state.hpp"

namespace orchestrator::engine {

/// The row as the store keeps it.
orchestrator::run to_row(const run_entry& r);
run_details& details(run_entry& r);

/// The shared entry of a specification; kept while runs or job versions hold it, and a little longer. One
/// that limits runs of one name is shared within that name only.
spec_entry& intern_spec(core& c, const run_spec& spec, std::string_view name);
/// The name, if the specification limits runs of one name.
std::string group_of(const run_spec& spec, std::string_view name);
void hold_spec(core& c, spec_entry& s);
void drop_spec(core& c, spec_entry& s);
name_entry& hold_name(core& c, std::string_view name);
void drop_name(core& c, name_entry& n);
/// Counts a run on its name and spec; used for new and for restored runs.
void attach_run(core& c, run_entry& r, name_entry& name, spec_entry& spec);

/// What a new run is made from.
struct run_origin {
  std::string name;
  std::uint32_t job_version = 0;
  spec_entry* spec = nullptr;
  std::optional<std::string> args;
  std::optional<wall_time> instant, not_before;
  std::optional<run_id> retry_of;
  std::vector<dependency> after;  ///< runs that were there before it, ended or not
  bool in_vain = false;           ///< of these, one ended otherwise than it asks: it ends at once
  bool held = false;
};
run_entry& create_run(core& c, const run_origin& from);

/// Marks it as changed, and tells whoever watches it when that is durable.
void announce(core& c, run_entry& r);
/// Checks the step against the table of states, counts it and marks the run as changed.
void set_state(core& c, run_entry& r, run_state to, std::string_view reason);
/// Ends it: out of every index, and out of memory once that is durable.
void finish_run(core& c, run_entry& r, run_state to, std::string_view reason, lease_id deciding = {});
/// Its end cannot be known: it waits for a late result or a person.
void make_unknown(core& c, run_entry& r, std::string_view reason, lease_id lease);
/// Waits `delay`, then is queued again.
void retry_run_later(core& c, run_entry& r, milliseconds delay, std::string_view reason);
/// Its backoff is over.
void requeue(core& c, run_entry& r);
/// A person ends its wait for a time or for the end of a backoff; the other gates stay.
void start_now(core& c, run_entry& r);
/// A lost attempt of it lives after all: it no longer waits for another try.
void reactivate_run(core& c, run_entry& r);
/// Puts it where it belongs now: the dispatcher's queue, or waiting for a time, a person or another run.
/// Whatever may have opened or closed one of its own gates calls this.
void place_run(core& c, run_entry& r);
/// The last part of it: into the dispatcher's queue, or out of it, by what its gates say now.
void let_in_or_out(core& c, run_entry& r);
/// The same for every waiting run of a name, after a pause, an edit or a deletion.
void place_runs_of(core& c, name_entry& n);
/// The attempt takes from, or gives back to, its limits and its worker's resources.
void hold_limits(core& c, run_entry& r, worker_entry& w);
void free_limits(core& c, run_entry& r, worker_entry& w);
/// Arms the limit of start_within, unless the run is still to wait for its --at or --in.
void watch_start(core& c, run_entry& r);
/// True if it was never really offered: not at all, or only to workers that refused or never got it (rule 8).
bool is_unstarted(const run_entry& r);
/// Ends a waiting run whose start_within has passed.
void expire_if_due(core& c, run_entry& r);
bool is_paused(const run_entry& r);
/// Drops the runs whose end is durable.
void let_depart(core& c);

/// The newest attempt that was offered, or null.
attempt_entry* newest_attempt(const run_entry& r);
attempt_entry* live_attempt(const run_entry& r);
/// Its kind was short lately; what is not known to be short is long.
bool is_brief(const run_entry& r);
/// May be handed out ahead of a free slot: short, and harmless if it waits.
bool creditable(const run_entry& r);
requirement_class& class_of(core& c, run_entry& r);
/// The same of a run that waits or is active, whose class is known.
const requirement_class& known_class(const run_entry& r);
run_id new_run_id(core& c);

}  // namespace orchestrator::engine
