// Connections of workers: what is owed to each, in which order it leaves, and how a connection ends. Used by
// on_worker, registration, on_output, on_result, lease_table and by step.cpp at the gate.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "state.hpp"

namespace orchestrator::engine {

namespace close_code {
inline constexpr std::uint16_t protocol_error = 1008;    ///< bad frames, a gap in seq
inline constexpr std::uint16_t try_again = 1013;         ///< more is parked than we hold
inline constexpr std::uint16_t replaced = 4001;          ///< the same worker connected again
inline constexpr std::uint16_t bad_registration = 4002;  ///< none in time, or one that cannot be taken
inline constexpr std::uint16_t id_in_use = 4009;         ///< another worker of that name is alive
inline constexpr std::uint16_t no_common_protocol = 4010;
inline constexpr std::uint16_t lease_lost = 4011;  ///< a lease of it was declared lost
}  // namespace close_code

/// Whether a close waits for its cause to be durable. Protocol errors have no cause in the store.
enum class close_kind { gated, direct };

session_entry* find_session(core& c, session_id id);
/// Ends it from our side: what it was owed is dropped, what it says from now on has no effect.
void end_session(core& c, session_entry& s, std::uint16_t code, std::string_view reason, close_kind kind);
/// Takes the worker off it and settles what was never sent.
void detach_worker(core& c, session_entry& s);
void set_session_timer(core& c, session_entry& s, std::optional<mono_time> at);
/// Something was read from it.
void hear(core& c, session_entry& s);

/// The ack of one message, through the gate; for a result with what it led to.
void acknowledge(core& c, session_entry& s, const protocol::worker_message& m,
                 std::optional<disposition> what = std::nullopt, bool waits_for_output = false);
/// The ack of a heartbeat: at once, alone, never cumulative.
void acknowledge_now(core& c, session_entry& s, const protocol::worker_message& m);
/// {"type":"error"}: this message will never be taken.
void reject_message(core& c, session_entry& s, const protocol::worker_message& m, const refusal& why,
                    bool final);

/// The first parked message waits for rows, or for output to be durable.
void wait_for_rows(core& c, session_entry& s, lease_id lease);
void wait_for_output(core& c, session_entry& s, std::uint64_t number);

/// What left the gate: merges acks, puts seq on our messages, holds back what a legacy peer would choke on.
void deliver(core& c, std::vector<output> released, std::vector<output>& out);

/// The newcomers that waited whether `s` lives: it does, or it is gone (registration.cpp).
void refuse_challengers(core& c, session_entry& s);
void admit_challengers(core& c, session_entry& s);
/// When nobody holds the name any more, an instance that was let in for its leases only becomes its worker.
void pass_on_name(core& c, const std::string& name);

}  // namespace orchestrator::engine
