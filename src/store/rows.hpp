// Rows of orchestrator.db as model values and back. Writers bind by the statements of apply.cpp; everyone who
// reads selects the column lists below, in that order.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/snapshot.hpp>

#include "connection.hpp"

namespace orchestrator::store {

inline constexpr const char* run_columns =
    "runs.id,runs.state,runs.job,runs.job_version,runs.spec,runs.has_args,runs.cancel_requested,runs.held,"
    "runs.attempts,runs.failures,runs.losses,runs.rejections,runs.submitted_at,runs.instant,runs.not_before,"
    "runs.started_at,runs.finished_at,runs.retry_of,runs.deciding_lease,runs.args,runs.reason,runs.after";
/// The column runs.after: one after the other, the id and one byte for the condition.
inline constexpr std::size_t dependency_bytes = 17;
std::string pack_dependencies(const std::vector<dependency>& after);
std::vector<dependency> unpack_dependencies(std::string_view bytes);
inline constexpr const char* attempt_columns =
    "attempts.lease,attempts.run,attempts.state,attempts.number,attempts.term,attempts.worker_id,"
    "attempts.instance,attempts.reason,attempts.offered_at,attempts.started_at,attempts.finished_at,"
    "attempts.exit_code,attempts.signal,attempts.max_rss_bytes,attempts.cpu_seconds,"
    "attempts.duration_seconds,attempts.output_bytes,attempts.error,attempts.late,"
    "attempts.superseded_status,attempts.result_crc,attempts.last_event";
inline constexpr const char* job_columns =
    "jobs.name,jobs.version,jobs.paused,jobs.schedule_paused,jobs.created_at,jobs.updated_at,"
    "jobs.schedule_anchor,jobs.cursor,job_versions.text";
inline constexpr const char* job_source =
    " FROM jobs LEFT JOIN job_versions ON job_versions.name=jobs.name AND job_versions.version=jobs.version ";
inline constexpr const char* worker_columns =
    "worker_id,instance,boot_id,process,hostname,platform,version,python_version,pid,slots,credit,legacy,"
    "draining,labels,highest_acked,registered_at,last_seen,status,jobs_processed,uptime_seconds,load,"
    "memory_bytes,resources";
inline constexpr const char* queue_columns = "name,paused,max_running,rate_count,rate_period,priority";

/// A range that the lease counter jumped over is a row of `meta`: its first lease in the key, its last the
/// value.
std::string lease_hole_key(lease_id first);
std::optional<lease_id> lease_hole_of(std::string_view key);

run read_run(const statement& row);
attempt read_attempt(const statement& row);
stored_job read_job(const statement& row);
worker read_worker(const statement& row);
queue read_queue(const statement& row);

/// All attempts of a run, by lease.
std::vector<attempt> load_attempts(connection& db, const run_id& id);
std::string load_spec(connection& db, spec_id id);
/// A row of `instant,outcome,run,rule,count,until`.
stored_instant read_instant(const statement& row, int first = 0);
/// The ledger's rows that reach later than `after`, ascending, by job.
recent_instants load_instants(connection& db, wall_time after);
std::vector<stored_calendar> load_calendars(connection& db);

}  // namespace orchestrator::store
