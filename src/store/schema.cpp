// Schema of orchestrator.db and output.db. The shape follows the volume (a million queued runs, ten million
// kept): rows are inserted in the order of their keys wherever possible, because a commit writes every page
// it touched, and an index that changes with each state is partial, so that finished runs are not in it.
//
// There are no foreign keys: runs, attempts, specifications and instants are purged on rules of their own
// (retention.cpp), and a late result may name a run that was purged a moment ago.
#include "schema.hpp"

#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store {
namespace {

// States are stored as the numbers of run_state and attempt_state, which therefore never change their order:
// run state 4 is succeeded, 4 and above are final; attempt states 0..2 are live, 9 is lost.
constexpr const char* main_1 = R"sql(
CREATE TABLE meta(
  key TEXT PRIMARY KEY NOT NULL,
  value ANY
) STRICT, WITHOUT ROWID;

-- One row, rewritten by every commit.
CREATE TABLE progress(
  one INTEGER PRIMARY KEY CHECK (one = 1),
  last_number INTEGER NOT NULL,
  lease_counter INTEGER NOT NULL,
  spec_counter INTEGER NOT NULL,
  fact_sequence INTEGER NOT NULL
) STRICT;

CREATE TABLE specs(
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL
) STRICT;

-- Specifications whose last run was purged at `since`; they go an hour later if no new run took them up.
CREATE TABLE spent_specs(
  id INTEGER PRIMARY KEY,
  since INTEGER NOT NULL
) STRICT;

CREATE TABLE runs(
  id BLOB PRIMARY KEY NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 8),
  job TEXT NOT NULL,
  job_version INTEGER NOT NULL,
  spec INTEGER NOT NULL,
  has_args INTEGER NOT NULL,
  cancel_requested INTEGER NOT NULL,
  held INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  rejections INTEGER NOT NULL,
  submitted_at INTEGER NOT NULL,
  instant INTEGER,
  not_before INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  retry_of BLOB,
  deciding_lease INTEGER NOT NULL,
  args TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_unsuccessful ON runs(state, id) WHERE state <> 4;
CREATE INDEX runs_job ON runs(job, id);
CREATE INDEX runs_spec ON runs(spec);
CREATE TRIGGER runs_end_once BEFORE UPDATE OF state ON runs WHEN OLD.state >= 4 AND NEW.state <> OLD.state
BEGIN
  SELECT RAISE(ABORT, 'a run that is final was given another state');
END;

-- How many runs are in each state, kept by the writer so that nobody has to count millions of rows.
CREATE TABLE run_counts(
  state INTEGER PRIMARY KEY,
  count INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts(
  lease INTEGER PRIMARY KEY,
  run BLOB NOT NULL,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 9),
  number INTEGER NOT NULL,
  term INTEGER NOT NULL,
  worker_id TEXT NOT NULL,
  instance BLOB NOT NULL,
  reason TEXT NOT NULL,
  offered_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  exit_code INTEGER,
  signal INTEGER,
  max_rss_bytes INTEGER,
  cpu_seconds REAL,
  duration_seconds REAL,
  output_bytes BLOB NOT NULL,
  error TEXT NOT NULL,
  late INTEGER NOT NULL,
  superseded_status TEXT NOT NULL,
  result_crc INTEGER NOT NULL,
  last_event INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_run ON attempts(run);
CREATE UNIQUE INDEX attempts_live ON attempts(run) WHERE state <= 2;
CREATE INDEX attempts_lost ON attempts(state) WHERE state = 9;
CREATE INDEX attempts_worker ON attempts(worker_id, run);

CREATE TABLE jobs(
  name TEXT PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  schedule_paused INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  schedule_anchor INTEGER NOT NULL,
  cursor INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE job_versions(
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE instants(
  job TEXT NOT NULL,
  instant INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  run BLOB,
  rule TEXT NOT NULL,
  PRIMARY KEY (job, instant)
) STRICT, WITHOUT ROWID;
CREATE INDEX instants_time ON instants(instant);

-- Keys are random, and an index over all of them would change a page for every row. So the index is one over
-- groups of rows that came after each other: a commit touches a few pages, a look-up asks each group, and
-- look-ups are rare because the engine holds the hashes of all keys. `ended` is filled in when the run is
-- purged before its key may be.
CREATE TABLE idempotency(
  id INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  fingerprint INTEGER NOT NULL,
  run BLOB NOT NULL,
  ended INTEGER,
  key TEXT NOT NULL
) STRICT;
CREATE INDEX idempotency_hash ON idempotency(id >> 12, hash);
CREATE INDEX idempotency_run ON idempotency(run);

CREATE TABLE workers(
  worker_id TEXT NOT NULL,
  instance BLOB NOT NULL,
  boot_id TEXT NOT NULL,
  process TEXT NOT NULL,
  hostname TEXT NOT NULL,
  platform TEXT NOT NULL,
  version TEXT NOT NULL,
  python_version TEXT NOT NULL,
  pid INTEGER NOT NULL,
  slots INTEGER NOT NULL,
  credit INTEGER NOT NULL,
  legacy INTEGER NOT NULL,
  draining INTEGER NOT NULL,
  labels BLOB NOT NULL,
  highest_acked INTEGER NOT NULL,
  registered_at INTEGER,
  last_seen INTEGER,
  status TEXT NOT NULL,
  jobs_processed INTEGER NOT NULL,
  uptime_seconds REAL NOT NULL,
  load REAL NOT NULL,
  memory_bytes INTEGER NOT NULL,
  PRIMARY KEY (worker_id, instance)
) STRICT, WITHOUT ROWID;

-- Facts of one commit share a row (fact_pages.hpp); `first` is the sequence of the first of them.
CREATE TABLE facts(
  first INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  newest_at INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- Leases whose attempt was purged and whose output is still to be deleted from output.db.
CREATE TABLE dropped_output(
  lease INTEGER PRIMARY KEY
) STRICT;
)sql";

// The ledger's rows stand for spans of instants; named calendars. Limits beside the workers, and what those
// offer beside their slots. A bucket's row lives until it is full.
constexpr const char* main_2 = R"sql(
CREATE TABLE instants_2(
  job TEXT NOT NULL,
  instant INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  run BLOB,
  rule TEXT NOT NULL,
  count INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (job, instant)
) STRICT, WITHOUT ROWID;
INSERT INTO instants_2(job,instant,outcome,run,rule,count,until)
  SELECT job,instant,outcome,run,rule,1,instant FROM instants ORDER BY job,instant;
DROP TABLE instants;
ALTER TABLE instants_2 RENAME TO instants;
CREATE INDEX instants_until ON instants(until);

CREATE TABLE calendars(
  name TEXT PRIMARY KEY NOT NULL,
  text TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE queues(
  name TEXT PRIMARY KEY NOT NULL,
  paused INTEGER NOT NULL,
  max_running INTEGER NOT NULL,
  rate_count INTEGER,
  rate_period INTEGER,
  priority INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE buckets(
  name TEXT PRIMARY KEY NOT NULL,
  full_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE workers ADD COLUMN resources BLOB NOT NULL DEFAULT x'';

CREATE INDEX runs_retry ON runs(retry_of) WHERE retry_of IS NOT NULL;
)sql";

// The runs that a run waits for: 17 bytes each, the id and the number of after_condition.
constexpr const char* main_3 = R"sql(
ALTER TABLE runs ADD COLUMN after BLOB NOT NULL DEFAULT x'';
)sql";

// Who may call and who did (access_rows.cpp). Of secrets only SHA-256 is here. `token` of a session is an id,
// or the name of a token file.
constexpr const char* main_4 = R"sql(
CREATE TABLE tokens(
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  worker_id TEXT NOT NULL,
  hash BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions(
  id TEXT PRIMARY KEY NOT NULL,
  token TEXT NOT NULL,
  hash BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  remembered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit(
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  address TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  status INTEGER,
  made TEXT NOT NULL,
  count INTEGER NOT NULL,
  refused INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_kind ON audit(refused);
)sql";

constexpr const char* output_1 = R"sql(
CREATE TABLE meta(
  key TEXT PRIMARY KEY NOT NULL,
  value ANY
) STRICT, WITHOUT ROWID;

-- `end` is where the stream's next byte belongs, `bytes` how many of its bytes are stored.
CREATE TABLE streams(
  id INTEGER PRIMARY KEY,
  lease INTEGER NOT NULL,
  name TEXT NOT NULL,
  end INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  UNIQUE (lease, name)
) STRICT;

CREATE TABLE chunks(
  stream INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (stream, offset)
) STRICT;
)sql";

constexpr const char* main_steps[] = {main_1, main_2, main_3, main_4};
constexpr const char* output_steps[] = {output_1};

}  // namespace

std::span<const char* const> main_migrations() { return main_steps; }
std::span<const char* const> output_migrations() { return output_steps; }
int schema_version() { return static_cast<int>(main_migrations().size()); }

}  // namespace orchestrator::store
