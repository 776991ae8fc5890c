// What one step gathers and how it leaves: records marked as changed become one batch of mutations, outputs
// go through the commit gate, and at the gate acks are merged and messages get their seq. Used by every
// on_*.cpp.
#pragma once

#include <string>
#include <string_view>

#include "facts.hpp"
#include "state.hpp"

namespace orchestrator::engine {

/// Marks a record as changed: its row is written once, at the end of the step.
void touch(core& c, run_entry& r);
void touch(core& c, attempt_entry& a);
void touch(core& c, worker_entry& w);

void put_fact(core& c, std::string_view type, std::string subject, std::string data);
std::string subject_of(const run_entry& r);

/// Through the gate: leaves when everything issued so far, this step included, is durable.
void send_to(core& c, const session_entry& s, protocol::coordinator_message m, bool waits_for_output = false);
void respond(core& c, request_id request, decltype(answer::body) body);
refusal refuse(errc code, std::string detail, std::string pointer = "", std::string hint = "");

/// Past the gate, exempt by name: heartbeat acks, protocol errors, pings, notes, and answers that the disk is
/// full.
void send_now(core& c, const session_entry& s, protocol::coordinator_message m);
void log(core& c, note_level level, std::string text);

/// Turns what the step gathered into effects.
void finish_step(core& c, effects& out);

}  // namespace orchestrator::engine
