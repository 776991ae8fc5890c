// Attempts and their leases: offered, accepted, started, ended, lost, heard of again; and every deadline that
// can end one. Used by on_worker, on_output, on_result and on_tick.
#pragma once

#include <string_view>

#include "state.hpp"

namespace orchestrator::engine {

attempt_entry* find_attempt(const core& c, lease_id lease);
/// Files a new or restored attempt under its lease, run and worker.
attempt_entry& file_attempt(core& c, run_entry& r, worker_entry& w, attempt row);

/// Issues the next lease for a placed run and holds its execute_job in the gate (offers.cpp).
void make_offer(core& c, run_entry& r, worker_entry& w);
/// A worker closes the connection on a frame that is too long, so a run that needs one would come back for
/// ever: it is refused when it is submitted or applied.
std::optional<refusal> refuse_oversize(const run_spec& s, const std::string& args);
void send_cancel(core& c, attempt_entry& a);

void accept_attempt(core& c, attempt_entry& a);
void start_attempt(core& c, attempt_entry& a);
/// Takes it off its slot and sets its end; what becomes of the run is decided by after_attempt (retry.cpp).
void end_attempt(core& c, attempt_entry& a, attempt_state to, std::string_view reason,
                 std::optional<wall_time> ended = std::nullopt);
void after_attempt(core& c, attempt_entry& a);
/// Ends a live attempt as lost and decides about its run.
void lose_attempt(core& c, attempt_entry& a, std::string_view reason);
void end_not_started(core& c, attempt_entry& a, std::string_view reason);
/// A lost attempt was heard of again and nothing newer was offered.
void revive_attempt(core& c, attempt_entry& a);
bool is_newest(const attempt_entry& a);

milliseconds ttl_of(const core& c, const run_spec& s);
/// Silence after which a lease of such a run is lost.
milliseconds silence_limit(const core& c, const run_spec& s);
/// The worker's earliest deadline is at `at` or later: makes sure its timer is not.
void arm_worker(core& c, worker_entry& w, mono_time at);
/// Its timer fired: ends what is due and arms the timer again.
void check_worker(core& c, worker_entry& w);
/// Tells the dispatcher what it may still take.
void refresh_capacity(core& c, worker_entry& w);
/// Pings must come at least three times per smallest TTL on its connection.
void refresh_ping_interval(core& c, worker_entry& w);
/// Rule 10: the counter jumps 2^32 beyond `seen`. Leases up to there may have been issued by a database that
/// is gone, and are not ours to settle.
void jump_lease_counter(core& c, lease_id seen);
/// The same if a worker has seen more than we issued: the database was rolled back.
void raise_lease_counter(core& c, lease_id seen, std::string_view worker_id);
/// Rule 10 for terms: a worker refuses every offer of a term below one that it has seen, so ours goes on
/// above that.
void raise_own_term(core& c, std::uint64_t seen, std::string_view worker_id);
/// Whether this database ever issued that lease; one that a jump of the counter left out it did not.
bool was_issued(const core& c, lease_id lease);

/// The row of an attempt that left memory, as it will be when everything issued is durable; null if there is
/// none.
const attempt* stored_row(const core& c, const fetched_rows& rows, lease_id lease);
/// The same, if it is this worker's.
const attempt* loose_row(const core& c, const worker_entry* w, const fetched_rows& rows, lease_id lease);
/// Writes such a row anew.
void put_loose(core& c, attempt row);
/// Forgets the rows of that kind which a look-up finds by now.
void drop_durable_loose(core& c);

/// Attempts belong to an instance; a legacy worker has only its name.
bool owns(const worker_entry& w, const attempt& row);

}  // namespace orchestrator::engine
