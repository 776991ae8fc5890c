// Requests of people: each is answered exactly once, through the gate. Some wait for rows that left memory;
// their second half is called from on_tick.cpp's `fetched`.
#pragma once

#include "state.hpp"

namespace orchestrator::engine {

void on(core& c, const submit_run& in);
void on(core& c, const cancel_run& in);
void on(core& c, const retry_run& in);
void on(core& c, const retry_runs& in);
void on(core& c, const hold_run& in);
void on(core& c, const resolve_run& in);
void on(core& c, const apply_jobs& in);
void on(core& c, const remove_calendar& in);
void on(core& c, const delete_job& in);
void on(core& c, const backfill_schedule& in);
void on(core& c, const window_loaded& in);
void on(core& c, const pause_job& in);
void on(core& c, const drain_worker& in);
void on(core& c, const remove_worker& in);
void on(core& c, const set_queue& in);
void on(core& c, const zone_loaded& in);

/// A look-up by idempotency key came back.
void on_key_fetched(core& c, const std::string& key, const fetched_rows& rows);
/// A look-up of a run that left memory came back.
void on_run_fetched(core& c, const parked_request& request, const fetched_rows& rows);
/// Parks a request until its run was looked up.
void fetch_run(core& c, const run_id& run, parked_request request);

/// Withdraws a run: at once if it only waits, else by a durable flag and a cancel_job (on_cancel.cpp).
void request_cancel(core& c, run_entry& r, std::string_view reason);

/// The refusal of any other change while there is no room for it on the disk. Cancels are taken all the same.
std::optional<refusal> refuse_change(const core& c);
/// The refusal of new work while there is no room or the end is near.
std::optional<refusal> refuse_new_work(const core& c, std::size_t runs);

}  // namespace orchestrator::engine
