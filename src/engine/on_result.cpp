// Results: each lease's is recorded exactly once, whatever is sent again, late or by whom. See on_worker.hpp.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "attempt_output.hpp"
#include "leases.hpp"
#include "on_worker.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

using protocol::result_status;

constexpr std::size_t error_text = 64 * 1024;
constexpr std::size_t legacy_tail = 8 * 1024 * 1024;
constexpr double average_weight = 0.2;               ///< of the newest duration in the running average
constexpr std::size_t run_text = 64;                 ///< of what a worker calls a run that we do not know
constexpr std::size_t unknown_results_told = 1'000;  ///< of one worker

// Why nothing here is about a result: for the fact, and for the log.
struct unknown_reason {
  const char* code;
  const char* text;
};
constexpr unknown_reason anothers{"anothers_lease", "is another's here"};
constexpr unknown_reason never_issued{"never_issued", "this database never issued"};

attempt_state state_for(result_status status) {
  switch (status) {
    case result_status::success: return attempt_state::succeeded;
    case result_status::failure:
    case result_status::error: return attempt_state::failed;
    case result_status::timeout: return attempt_state::timed_out;
    case result_status::cancelled: return attempt_state::cancelled;
    case result_status::rejected: return attempt_state::rejected;
    case result_status::lost: return attempt_state::lost;
  }
  return attempt_state::failed;
}

const char* reason_for(const protocol::job_result& r) {
  switch (r.status) {
    case result_status::success: return "";
    case result_status::failure: return r.signal ? "signal" : "exit_code";
    case result_status::error: return "error";
    case result_status::timeout: return "timeout";
    case result_status::cancelled: return "cancelled";
    case result_status::rejected: return "rejected";
    case result_status::lost: return "worker_reported";
  }
  return "";
}

// When its process ended. A result may wait for hours until we are back, and the worker's wall clock is its
// own; but how long the process ran it measured on one clock. So the end is that long after the start, never
// before it and never later than now; a start that we heard of too late for that is moved back.
wall_time place_in_time(attempt& row, const protocol::job_result& r, wall_time now) {
  const milliseconds took{static_cast<std::int64_t>(std::clamp(r.duration_seconds, 0.0, 1e9) * 1000)};
  const bool ran = r.status != result_status::rejected && r.status != result_status::error;
  if (!row.started_at && !ran) return now;
  if (!row.started_at || *row.started_at + took > now) row.started_at = std::max(row.offered_at, now - took);
  if (r.duration_seconds <= 0) return now;  // not told
  return std::max(*row.started_at, std::min(*row.started_at + took, now));
}

void fill_row(attempt& row, const protocol::job_result& r, std::uint32_t crc) {
  row.result_crc = crc;
  row.exit_code = r.exit_code;
  row.signal = r.signal;
  row.max_rss_bytes = r.max_rss_bytes;
  row.cpu_seconds = r.cpu_seconds;
  row.duration_seconds = r.duration_seconds;
  row.output_bytes = r.output_bytes;
  const bool has_text = r.status == result_status::error || r.status == result_status::rejected;
  if (has_text) {
    const std::string_view head = std::string_view(r.log_output).substr(0, error_text);
    row.error = head.substr(0, utf8_complete_prefix(head));
  }
}

// Runs that were short lately may be handed out ahead; a single long one ends that at once.
void learn_duration(run_entry& r, double seconds_taken) {
  double& average = r.spec->average_seconds;
  const bool first_or_longer = average < 0 || seconds_taken > 10 * average + 0.05;
  average = first_or_longer ? seconds_taken : average + average_weight * (seconds_taken - average);
}

void apply_result(core& c, attempt_entry& a, const protocol::job_result& r, std::uint32_t crc) {
  const std::optional<wall_time> started_before = a.row.started_at;
  fill_row(a.row, r, crc);
  const wall_time ended = place_in_time(a.row, r, c.now.wall);
  if (r.output_lost) {
    put_fact(c, "attempt.output_lost", subject_of(*a.run),
             fact_data().add("lease", a.row.lease).add("worker", a.row.worker_id).take());
  }
  run_details& d = details(*a.run);
  if (!d.started_at || d.started_at == started_before) d.started_at = a.row.started_at;
  if (r.status == result_status::success) learn_duration(*a.run, r.duration_seconds);
  touch(c, *a.run);
  attempt_state to = state_for(r.status);
  // It said that it ran, so it cannot have been refused; what it says now is that it could not go on.
  if (to == attempt_state::rejected && a.row.state == attempt_state::running) to = attempt_state::failed;
  if (to == attempt_state::lost) return lose_attempt(c, a, reason_for(r));
  end_attempt(c, a, to, reason_for(r), ended);
  after_attempt(c, a);
}

void note_superseded(core& c, const attempt& row, const char* status) {
  put_fact(c, "attempt.superseded", "run/" + to_string(row.run),
           fact_data().add("lease", row.lease).add("worker", row.worker_id).add("status", status).take());
}

// What a result leads to whose attempt has ended without one, or with one.
disposition judge_again(const attempt& row, std::uint32_t crc) {
  if (row.result_crc == crc)
    return row.superseded_status.empty() ? disposition::duplicate : disposition::superseded;
  return disposition::duplicate_conflict;
}

// Every end but these two came from a result.
bool has_result(const attempt& row) {
  const bool ended_without = row.state == attempt_state::lost || row.state == attempt_state::not_started;
  return !ended_without || row.result_crc != 0 || !row.superseded_status.empty();
}

disposition record_result(core& c, attempt_entry& a, const protocol::job_result& r, std::uint32_t crc) {
  if (is_live(a.row.state)) {
    apply_result(c, a, r, crc);
    return disposition::accepted;
  }
  if (has_result(a.row) && !planted(defect::duplicate_result_recorded)) return judge_again(a.row, crc);
  const bool newest = is_newest(a) || planted(defect::late_result_always_counts);
  const bool counts = a.row.state == attempt_state::lost && newest && !is_final(a.run->state);
  if (counts && r.status == result_status::lost) {
    a.row.result_crc = crc;
    touch(c, a);
    return disposition::duplicate;
  }
  if (counts) {
    a.row.late = true;
    apply_result(c, a, r, crc);
    return disposition::adopted;
  }
  a.row.superseded_status = to_string(r.status);
  a.row.result_crc = crc;
  touch(c, a);
  note_superseded(c, a.row, to_string(r.status));
  return disposition::superseded;
}

// Whether a message over this connection is about the attempt of that run.
bool names_run(const session_entry& s, const protocol::job_ref& job, const run_id& run) {
  if (s.legacy) return true;  // its job id is the lease by which the attempt was found
  const auto* text = std::get_if<std::string>(&job.id);
  return text != nullptr && *text == to_string(run);
}

bool speaks_of(const attempt_entry& a, const session_entry& s, const protocol::job_ref& job) {
  return a.holder == s.worker && names_run(s, job, a.row.run);
}

// A result that nothing in this database is about. An older copy of it that was put back may have given the
// lease to somebody else since, or not have come to it: so the worker keeps what it has, and people are told,
// once in our life however often it comes.
disposition keep_with_worker(core& c, session_entry& s, const protocol::job_result& r, lease_id lease,
                             const unknown_reason& why) {
  if (planted(defect::anothers_result_settled)) return disposition::superseded;
  worker_entry& w = *s.worker;
  if (w.unknown_results.size() < unknown_results_told && w.unknown_results.insert(lease).second) {
    const auto* run = std::get_if<std::string>(&r.job_id.id);
    put_fact(c, "worker.unknown_result", "worker/" + w.row.worker_id,
             fact_data()
                 .add("lease", lease)
                 .add_if("run", run == nullptr ? std::string{} : printable(*run, run_text))
                 .add("status", to_string(r.status))
                 .add("reason", why.code)
                 .take());
    log(c, note_level::warning,
        fmt::format(
            "Worker {} sent a result ({}) for lease {}, which {}: the database seems to be older than "
            "the worker. {}",
            s.worker_name, to_string(r.status), lease.value, why.text,
            s.legacy ? "A worker of that kind keeps nothing, so this line and its event are all there is."
                     : fmt::format("The worker keeps it for {} days.", limits::unknown_results_kept_days)));
  }
  return disposition::unknown_lease;
}

// The same for an attempt whose run has ended and left memory.
disposition record_fetched(core& c, session_entry& s, const fetched_rows& rows, lease_id lease,
                           const protocol::job_result& r, std::uint32_t crc) {
  const attempt* row = stored_row(c, rows, lease);
  if (row == nullptr) return disposition::superseded;  // rule 11: issued, but its row is gone by retention
  if (!owns(*s.worker, *row) || !names_run(s, r.job_id, row->run))
    return keep_with_worker(c, s, r, lease, anothers);
  if (has_result(*row)) return judge_again(*row, crc);
  attempt changed = *row;
  changed.superseded_status = to_string(r.status);
  changed.result_crc = crc;
  note_superseded(c, changed, to_string(r.status));
  put_loose(c, std::move(changed));
  return disposition::superseded;
}

// A legacy worker sends its whole log with the result: the first 2 and the last 8 MiB of it are kept.
void store_legacy_log(core& c, attempt_entry& a, std::string_view log) {
  if (log.size() <= limits::output_head + legacy_tail) return store_output(c, a, "stdout", 0, log);
  store_output(c, a, "stdout", 0, log.substr(0, limits::output_head));
  const std::size_t tail = log.size() - legacy_tail;
  store_output(c, a, "stdout", tail, log.substr(tail));
}

}  // namespace

bool on_job_result(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows) {
  const auto& r = std::get<protocol::job_result>(m.body);
  const lease_id lease = lease_of(r.lease, r.job_id, s.legacy);
  if (!lease && s.protocol) {
    reject_message(c, s, m, refuse(errc::bad_field, "A job_result must carry its lease.", "/lease"), true);
    return true;
  }
  if (!was_issued(c, lease)) {
    acknowledge(c, s, m, keep_with_worker(c, s, r, lease, never_issued));
    return true;
  }
  attempt_entry* a = find_attempt(c, lease);
  if (a == nullptr) {
    if (rows == nullptr) return wait_for_rows(c, s, lease), false;
    acknowledge(c, s, m, record_fetched(c, s, *rows, lease, r, m.content_crc));
    return true;
  }
  if (!speaks_of(*a, s, r.job_id)) {
    acknowledge(c, s, m, keep_with_worker(c, s, r, lease, anothers));
    return true;
  }
  if (s.legacy && !r.log_output.empty()) store_legacy_log(c, *a, r.log_output);
  // Output is durable no later than the commit that records its length (rule 13).
  const bool output_pends = a->output_number > c.gate.durable_output();
  if (output_pends && !planted(defect::result_before_output))
    return wait_for_output(c, s, a->output_number), false;
  acknowledge(c, s, m, record_result(c, *a, r, m.content_crc));
  return true;
}

}  // namespace orchestrator::engine
