// What the engine wants made durable. One step of the engine yields at most one batch, which is one
// transaction: it is stored whole or not at all. Batches are numbered from 1 and committed in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/model/job.hpp>
#include <orchestrator/model/queue.hpp>
#include <orchestrator/model/run.hpp>
#include <orchestrator/model/worker.hpp>

namespace orchestrator {

/// A line of the durable, numbered event log that /events, `event follow` and audits read. The store numbers
/// facts by (batch number, position), in `fact.sequence`.
struct fact {
  std::string
      type;  ///< run.queued, run.active, run.succeeded, attempt.offered, worker.registered, job.applied, ...
  std::string subject;  ///< run/ID, job/NAME, worker/ID
  wall_time at{};
  std::string data;  ///< a JSON object
  bool operator==(const fact&) const = default;
};

/// What became of one instant of a schedule. Stored as numbers, so new ones go to the end.
enum class instant_outcome : std::uint8_t {
  ran,
  late,
  skipped_overlap,
  paused,
  gap_shifted,
  fold_merged,
  missed,
  rejected,
  skipped_calendar
};
const char* to_string(instant_outcome o);

/// Stores a run specification under its id, as JSON text; written before the first run that uses it.
struct put_spec {
  spec_id id;
  std::string text;
  bool operator==(const put_spec&) const = default;
};
/// Stores a job and, if its version is new, that version's definition. `text` is the definition as JSON.
struct put_job {
  orchestrator::job job;
  std::string text;
  bool operator==(const put_job&) const = default;
};
/// Removes a job; its runs, versions and instants stay.
struct delete_job {
  std::string name;
  bool operator==(const delete_job&) const = default;
};
/// Moves a job's schedule cursor without writing the definition again.
struct put_cursor {
  std::string job;
  wall_time cursor;
  bool operator==(const put_cursor&) const = default;
};
struct put_run {
  orchestrator::run run;
  bool operator==(const put_run&) const = default;
};
struct put_attempt {
  orchestrator::attempt attempt;
  bool operator==(const put_attempt&) const = default;
};
struct put_worker {
  orchestrator::worker worker;
  bool operator==(const put_worker&) const = default;
};
struct forget_worker {
  std::string worker_id;
  uuid instance;
  bool operator==(const forget_worker&) const = default;
};
/// The ledger row of (job, instant); unique, so no instant can fire twice. Consecutive instants without a
/// run, of one outcome by one rule, share the row of the first: it is put again with a later `until` and more
/// `count`. A row with a run is never changed.
struct put_instant {
  std::string job;
  wall_time instant;
  instant_outcome outcome;
  std::optional<run_id> run;
  std::string rule;
  std::uint64_t count = 1;
  std::optional<wall_time> until;  ///< the last of several instants
  bool operator==(const put_instant&) const = default;
};
/// Removes the rows without a run that begin after `after`: a clock that was wrong decided them ahead of
/// time.
struct withdraw_instants {
  std::string job;
  wall_time after;
  bool operator==(const withdraw_instants&) const = default;
};
/// A row of the ledger: one instant, or consecutive ones of one outcome without a run.
struct stored_instant {
  wall_time instant{};
  instant_outcome outcome{};
  std::optional<run_id> run;
  std::string rule;
  std::uint64_t count = 1;
  wall_time until{};
  bool operator==(const stored_instant&) const = default;
};
/// A past instant gets a run after all: it leaves the row it shares, if any, and gets its own.
struct backfill_instant {
  std::string job;
  wall_time instant;
  run_id run;
  std::optional<wall_time> shared;    ///< where the row begins that it leaves
  std::vector<stored_instant> parts;  ///< that row's rest: what is before the instant, and what is behind
  bool operator==(const backfill_instant&) const = default;
};
struct put_calendar {
  std::string name;
  std::string text;  ///< the definition as JSON
  wall_time updated_at;
  bool operator==(const put_calendar&) const = default;
};
struct delete_calendar {
  std::string name;
  bool operator==(const delete_calendar&) const = default;
};
/// Lives apart from its run; `fingerprint` is hash64 of the request body.
struct put_idempotency {
  std::string key;
  std::uint64_t fingerprint;
  run_id run;
  bool operator==(const put_idempotency&) const = default;
};
struct put_fact {
  orchestrator::fact fact;
  bool operator==(const put_fact&) const = default;
};
/// The lease counter jumps to `last` (rule 10: after a rolled-back database). Leases from `first` on may have
/// been issued by the database that is gone, so results of them are not ours to settle.
struct put_lease_hole {
  lease_id first;  ///< one that is stored already is extended
  lease_id last;
  bool operator==(const put_lease_hole&) const = default;
};

/// The coordinator's term goes on at `term`: a worker has seen one of a database that is gone (rule 10).
struct raise_term {
  std::uint64_t term;
  bool operator==(const raise_term&) const = default;
};

/// Stores the settings of a queue.
struct put_queue {
  orchestrator::queue queue;
  bool operator==(const put_queue&) const = default;
};
/// The queue is as one that nobody set up.
struct delete_queue {
  std::string name;
  bool operator==(const delete_queue&) const = default;
};
/// A token was taken from the bucket of a rate. `name` is queue/NAME or job/NAME; by `full_at` it will be
/// full again, which is all there is to know of a bucket.
struct put_bucket {
  std::string name;
  wall_time full_at;
  bool operator==(const put_bucket&) const = default;
};

using mutation =
    std::variant<put_spec, put_job, delete_job, put_cursor, put_run, put_attempt, put_worker, forget_worker,
                 put_instant, put_idempotency, put_fact, put_lease_hole, withdraw_instants, backfill_instant,
                 put_calendar, delete_calendar, put_queue, delete_queue, put_bucket, raise_term>;

struct mutation_batch {
  std::uint64_t number = 0;
  std::vector<mutation> mutations;
};

/// A piece of a job's output. It goes to a database and a writer of its own, numbered on its own.
struct output_chunk {
  lease_id lease;
  std::string stream;        ///< "stdout" or "stderr"
  std::uint64_t offset = 0;  ///< byte position in that stream before any trimming; a jump is a gap
  std::string data;          ///< empty: only moves the end, since the worker dropped what lies before
  std::uint64_t limit = limits::output_default;  ///< what the store keeps of this attempt: head and tail
  bool operator==(const output_chunk&) const = default;
};

struct output_batch {
  std::uint64_t number = 0;
  std::vector<output_chunk> chunks;
};

}  // namespace orchestrator
