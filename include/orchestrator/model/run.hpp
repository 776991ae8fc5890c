// A run: one requested execution of a job, what users see. It ends exactly once. And its attempts: one try on
// one worker, fenced by its lease.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator {

enum class run_state : std::uint8_t {
  queued,      ///< waits for a worker
  active,      ///< has a live attempt
  retry_wait,  ///< waits for its backoff to pass
  unknown,     ///< at_most_once and its end cannot be known; a late result or a person settles it
  succeeded,   ///< final
  failed,      ///< final
  cancelled,   ///< final
  expired,     ///< final: its start deadline passed before a real offer
  skipped,     ///< final: a rule said no (overlap, dependency)
};
constexpr bool is_final(run_state s) { return s >= run_state::succeeded; }
const char* to_string(run_state s);
std::optional<run_state> parse_run_state(std::string_view text);

enum class attempt_state : std::uint8_t {
  offered,      ///< durable here, sent or about to be sent
  accepted,     ///< in the worker's outbox
  running,      ///< its process was started
  succeeded,    ///< end: exit status 0
  failed,       ///< end: any other exit status, a signal, or it could not be run
  timed_out,    ///< end: killed at its timeout
  cancelled,    ///< end: killed on request
  rejected,     ///< end: the worker refused; nothing ran
  not_started,  ///< end: the worker proved it never had it; nothing ran
  lost,         ///< silence or positive evidence of death; a late result may still come
};
constexpr bool is_live(attempt_state s) { return s <= attempt_state::running; }
const char* to_string(attempt_state s);
std::optional<attempt_state> parse_attempt_state(std::string_view text);

/// True if the table in guarantees.md ("States") has this step. Used before every change, also in release.
bool may_change(run_state from, run_state to);
bool may_change(attempt_state from, attempt_state to);

/// What an earlier run must have come to before a run that waits for it may start. Stored as these numbers.
enum class after_condition : std::uint8_t {
  ok,      ///< it succeeded
  any,     ///< it ended, however
  failed,  ///< it was started, or given up before, and did not succeed: failed, cancelled, expired
};
const char* to_string(after_condition c);
/// Whether a run that ended so lets go those that wait for it.
bool is_met(after_condition c, run_state end);

/// One run that another one waits for. It was there first, so such waits cannot form a ring.
struct dependency {
  run_id run;
  after_condition on = after_condition::ok;
  bool operator==(const dependency&) const = default;
};

struct run {
  run_id id;
  std::string job;                ///< the job's name, or the name given to an ad hoc run; never empty
  std::uint32_t job_version = 0;  ///< 0: not from a stored job
  spec_id spec{};
  std::string args;  ///< overrides the spec's args when `has_args`
  bool has_args = false;
  run_state state = run_state::queued;
  std::string reason;  ///< why it is in this state, a slug: worker_lost, exit_code, timeout, overlap, ...
  wall_time submitted_at{};
  std::optional<wall_time> instant;      ///< the schedule's instant that made it
  std::optional<wall_time> not_before;   ///< --at, --in, or the end of a backoff
  std::optional<wall_time> started_at;   ///< first attempt's start
  std::optional<wall_time> finished_at;  ///< when its end was decided; its process may have ended before
  int failures = 0;                      ///< failed and timed-out attempts
  int losses = 0;                        ///< lost attempts
  int rejections = 0;                    ///< rejected and not_started attempts
  int attempts = 0;                      ///< offers made so far
  bool cancel_requested = false;         ///< durable: nothing is queued again, the end will be cancelled
  bool held = false;
  std::optional<run_id> retry_of;
  std::vector<dependency> after;  ///< the runs it waited, or waits, for before its first attempt
  lease_id deciding_lease{};      ///< the attempt whose end decided the final state
  bool operator==(const run&) const = default;
};

struct attempt {
  lease_id lease;
  run_id run;
  int number = 1;          ///< 1, 2, ... within its run
  std::uint64_t term = 0;  ///< the coordinator's term that issued it
  std::string worker_id;
  uuid instance;  ///< the worker's identity; worker_id is only its name. Nil for a legacy worker
  attempt_state state = attempt_state::offered;
  std::string reason;
  wall_time offered_at{};
  std::optional<wall_time> started_at;
  std::optional<wall_time> finished_at;  ///< when its process ended, as its worker measured, or was given up
  std::optional<int> exit_code;
  std::optional<int> signal;
  std::optional<std::int64_t> max_rss_bytes;
  std::optional<double> cpu_seconds;
  std::optional<double> duration_seconds;
  std::map<std::string, std::uint64_t> output_bytes;  ///< per stream, as the worker counted them
  std::string error;                                  ///< text of an ERROR or REJECTED result, at most 64 KiB
  bool late = false;                                  ///< its end came after it had been declared lost
  std::string superseded_status;  ///< status of a result that came after a newer lease was offered
  std::uint32_t result_crc = 0;   ///< of the recorded result, to tell duplicate from duplicate_conflict
  std::uint64_t last_event = 0;   ///< highest event number `n` stored
  bool operator==(const attempt&) const = default;
};

/// What a message about an attempt led to; sent back to workers that know the protocol.
enum class disposition : std::uint8_t {
  accepted,            ///< decided the attempt
  adopted,             ///< came after a loss was declared, and still decided it
  duplicate,           ///< the same as what is recorded
  duplicate_conflict,  ///< another result than the recorded one: the first one stays
  superseded,          ///< a newer lease had been offered: stored, changes nothing
  unknown_lease,       ///< never issued by this database: the worker keeps it seven days
};
const char* to_string(disposition d);

}  // namespace orchestrator
