// Everything that can happen to the coordinator's core. Plain structs, comparable, so that tests and traces
// can print and replay them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/engine/config.hpp>
#include <orchestrator/model/snapshot.hpp>
#include <orchestrator/protocol/definitions.hpp>
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::engine {

/// The first input, once: what the store found, and the seed of the one random generator.
struct started {
  orchestrator::snapshot snapshot;
  std::uint64_t seed = 1;
};

// ---- people
// ----------------------------------------------------------------------------------------------------

struct submit_run {
  request_id request;
  protocol::submission what;
  std::vector<dependency> after;             ///< `what.after` with ids
  std::string idempotency_key;               ///< empty: none
  std::uint64_t fingerprint = 0;             ///< hash64 of the request body
  bool replay_only = false;                  ///< makes no run: not_found if the key is new
  std::map<run_id, run_state> ended_before;  ///< of `after`: how those ended that the engine looked up
};
struct cancel_run {
  request_id request;
  run_id run;
};
struct retry_run {
  request_id request;
  run_id run;
  std::string idempotency_key{};  ///< empty: none
  std::uint64_t fingerprint = 0;  ///< hash64 of the request
};
/// Makes a new run of each of these, all or nothing. They have ended and were read from the store, at most
/// limits::retries_a_request.
struct retry_runs {
  request_id request;
  struct ended_run {
    orchestrator::run run;
    std::string spec_text;
  };
  std::vector<ended_run> runs;
};
struct hold_run {
  request_id request;
  run_id run;
  bool held = true;
  bool forget_after = false;  ///< it no longer waits for other runs
  bool start_now = false;     ///< nor for its time, nor for the end of a backoff
};
/// A person settles an `unknown` run.
struct resolve_run {
  request_id request;
  run_id run;
  run_state as = run_state::failed;
};
/// All or nothing: one refusal refuses the whole list and changes nothing.
struct apply_jobs {
  request_id request;
  std::vector<job_definition> jobs;
  std::optional<std::uint32_t> if_version;  ///< If-Match of a single PUT; 0 = must not exist yet
  bool dry_run = false;
  std::vector<day_calendar> calendars;  ///< take effect before the jobs
};
/// Refused while a schedule names it.
struct remove_calendar {
  request_id request;
  std::string name;
};
/// Runs the instants of a past window that have no run.
struct backfill_schedule {
  request_id request;
  std::string job;
  wall_time from{}, to{};  ///< both included
  bool dry_run = false;
};
struct delete_job {
  request_id request;
  std::string name;
  bool cancel_runs = false;
};
struct pause_job {
  request_id request;
  std::string name;
  bool schedule_only = false;
  bool paused = true;
};
struct drain_worker {
  request_id request;
  std::string worker_id;
  bool on = true;
};
/// Changes the settings of a queue that are given; the others stay.
struct set_queue {
  request_id request;
  std::string name;
  std::optional<bool> paused;
  std::optional<int> max_running;                 ///< 0: no limit
  std::optional<std::optional<rate_limit>> rate;  ///< an empty one: no limit
  std::optional<int> priority;
};
/// Forgets a worker that is gone and holds nothing.
struct remove_worker {
  request_id request;
  std::string worker_id;
};

// ---- workers
// ---------------------------------------------------------------------------------------------------

/// A WebSocket was accepted; its messages follow.
struct session_opened {
  session_id session;
  std::string peer;
};
/// One decoded frame, in order.
struct session_frame {
  session_id session;
  std::vector<protocol::worker_message> messages;
};
/// A frame that is not a JSON object with a string `type`.
struct session_bad_frame {
  session_id session;
  refusal why;
};
/// A pong or ping of the WebSocket came.
struct session_alive {
  session_id session;
};
/// The shell stops reading this socket (the disk is behind), or goes on. Silence meanwhile says nothing.
struct session_reading {
  session_id session;
  bool on = true;
};
struct session_closed {
  session_id session;
  std::uint16_t code = 1006;
  std::string reason;
};

// ---- the store and the shell
// -----------------------------------------------------------------------------------

/// All batches up to `number` are on disk.
struct persisted {
  std::uint64_t number = 0;
};
/// All output batches up to `number` are on disk.
struct output_persisted {
  std::uint64_t number = 0;
};
/// A commit met a full disk (mutating requests get no_space), or came through again.
struct space_changed {
  bool full = false;
};
/// What the shell found of the data directory's file system, now and then: bytes that may be used, and all.
struct space_measured {
  std::uint64_t free = 0;
  std::uint64_t total = 0;
};
struct fetched {
  fetch_id fetch;
  fetched_rows rows;
};
/// A zone the core asked for by load_zone; nothing in `table` = no such zone.
struct zone_loaded {
  std::string name;
  std::optional<zone_table> table;
};
/// The answer to load_instants.
struct instants_loaded {
  wall_time after{};
  recent_instants instants;
};
/// The answer to load_window.
struct window_loaded {
  request_id request;
  std::vector<stored_instant> rows;
};
/// The shell was not scheduled for `by`; every socket has been drained since. Every deadline is shifted.
struct stalled {
  nanoseconds by{0};
};
struct tick {};
/// All inputs of this turn are in: dispatch.
struct turn_end {};
/// No new work is offered from here on; the process is about to end.
struct stopping {};

using input =
    std::variant<started, submit_run, cancel_run, retry_run, hold_run, resolve_run, apply_jobs, delete_job,
                 pause_job, drain_worker, session_opened, session_frame, session_bad_frame, session_alive,
                 session_closed, persisted, output_persisted, space_changed, fetched, zone_loaded,
                 instants_loaded, stalled, tick, turn_end, stopping, remove_worker, session_reading,
                 remove_calendar, backfill_schedule, window_loaded, set_queue, retry_runs, space_measured>;

}  // namespace orchestrator::engine
