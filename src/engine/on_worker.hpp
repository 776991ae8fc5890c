// Messages of workers, each handled by one function. A handler says whether the message is done with; if not,
// it has said what it waits for, and later messages of that session wait behind it.
#pragma once

#include "state.hpp"

namespace orchestrator::engine {

void on(core& c, const session_opened& in);
void on(core& c, const session_frame& in);
void on(core& c, const session_bad_frame& in);
void on(core& c, const session_alive& in);
void on(core& c, const session_reading& in);
void on(core& c, const session_closed& in);

/// A worker_register, or the first message of a legacy worker that sent none (registration.cpp).
void on_register(core& c, session_entry& s, const protocol::worker_message& m);
void register_implicitly(core& c, session_entry& s, const std::string& worker_id);
/// A legacy worker registers again on its connection.
void refresh_registration(core& c, session_entry& s, const protocol::worker_register& r);
/// What the worker holds against what we think it holds: fills the lists of the answer (reconcile.cpp).
void reconcile(core& c, worker_entry& w, const protocol::worker_register& r, protocol::registration& answer);
/// Challenge over, by silence of the one who holds the name.
void end_challenge(core& c, session_entry& s);

/// `rows`: what a look-up found, when the message waited for one.
bool on_event(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows);
bool on_job_output(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows);
bool on_job_result(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows);

/// Handles the parked messages until one waits again.
void resume(core& c, session_entry& s, const fetched_rows* rows);
/// Lists an instance under its name; `before` is the name it had, or empty.
void list_under_name(core& c, worker_entry& w, const std::string& before);
/// Forgets a worker's entry and row.
void forget(core& c, worker_entry& w);

/// The lease a message speaks of: ours carry it, a legacy worker's job id is it.
lease_id lease_of(const std::optional<lease_id>& lease, const std::optional<protocol::job_ref>& job,
                  bool legacy);

}  // namespace orchestrator::engine
