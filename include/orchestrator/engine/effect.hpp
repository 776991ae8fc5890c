// What the coordinator's core wants done. `outputs` are already past the commit gate: their causes are on
// disk, and the shell sends them at once and in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/fact.hpp>
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::engine {

// ---- outputs
// ---------------------------------------------------------------------------------------------------

/// A message for the session it was made for. If that session is gone it is dropped, never redirected.
struct send {
  session_id session;
  protocol::coordinator_message message;
};
struct close_session {
  session_id session;
  std::uint16_t code = 1000;
  std::string reason;
};
/// Pings go every so often on this session from now on.
struct set_ping_interval {
  session_id session;
  milliseconds interval{20'000};
};
/// This session registered: larger frames are allowed (limits::frame, legacy: legacy_result_frame), and it
/// counts as authenticated work.
struct session_registered {
  session_id session;
  std::string worker_id;
  bool legacy = false;
  bool batch = false;
};
/// Ask for a pong now: before a loss by silence, and before a duplicate worker id is judged.
struct ping_session {
  session_id session;
};

struct run_answer {
  orchestrator::run run;
  std::optional<run_spec> spec;
  bool created = false;
  bool replayed = false;
};
struct purged_answer {
  run_id id;
};  ///< a replayed key whose run retention has removed
struct jobs_answer {
  struct change {
    std::string name;
    std::uint32_t version = 0;
    bool created = false;
    bool changed = false;
  };
  std::vector<change> changes;
  std::vector<change> calendars;  ///< without a version
};
struct backfill_answer {
  struct item {
    wall_time instant;
    std::optional<run_id> run;  ///< none in a dry run
  };
  std::vector<item> items;
  std::size_t had_runs = 0;  ///< instants of the window that were left alone
};
/// The new runs of retry_runs, in the order of the old ones.
struct retried_answer {
  std::vector<run_id> runs;
};
struct done_answer {};
/// The answer to a request. Exactly one per request_id.
struct answer {
  request_id request;
  std::variant<run_answer, purged_answer, jobs_answer, done_answer, refusal, backfill_answer, retried_answer>
      body;
};

/// Something people may be watching changed, and is durable: waiters of a run, /events, the live feed.
struct notify {
  std::vector<run_id> runs;
  bool facts = false;
  bool output = false;
  std::vector<lease_id> leases;
};

/// A log line; operators grep for some of them (protocol page, "Log lines").
enum class note_level { debug, info, warning, error };
struct note {
  note_level level = note_level::info;
  std::string text;
};

using output = std::variant<send, close_session, set_ping_interval, session_registered, ping_session, answer,
                            notify, note>;

// ---- look-ups
// --------------------------------------------------------------------------------------------------

/// Rows that left memory; comes back as `fetched`. The message that needs them is parked.
struct fetch {
  fetch_id id;
  std::variant<run_id, lease_id, std::string> key;  ///< the string is an idempotency key
};
/// The shell reads the zone's table from the system; comes back as `zone_loaded`.
struct load_zone {
  std::string name;
};
/// The ledger's rows that reach later than `after`, of all jobs, because the wall clock was set to another
/// day; comes back as `instants_loaded`. Schedules wait for it.
struct load_instants {
  wall_time after{};
};
/// The ledger's rows of one job that tell of instants from `from` to `to`, for a backfill; comes back as
/// `window_loaded`.
struct load_window {
  request_id request;
  std::string job;
  wall_time from{}, to{};
};
using lookup = std::variant<fetch, load_zone, load_instants, load_window>;

// ---- the start
// -------------------------------------------------------------------------------------------------

/// A row of the database that a start needs and that cannot be used.
struct unusable_row {
  std::string table;
  std::string row;
  std::string why;
};

struct effects {
  std::optional<unusable_row> cannot_start;   ///< answer to `started`: nothing was begun, nothing may follow
  std::optional<mutation_batch> commit;       ///< hand to store::commit
  std::optional<output_batch> commit_output;  ///< hand to store::commit_output
  std::vector<output> outputs;
  std::vector<lookup> lookups;
  std::optional<std::uint64_t> ballast;  ///< bytes of the disk to hold back from now on: store::hold_ballast
};

}  // namespace orchestrator::engine
