// The messages of the worker protocol as plain structs; names here are the wire's names, and the examples in
// tests/golden/wire show each message as text. An optional that is empty is not on the wire, which is how
// nothing of ours goes to a peer that did not show it knows it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/result.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/model/queue.hpp>
#include <orchestrator/model/run.hpp>

namespace orchestrator::protocol {

/// An opaque job id, echoed back as it came: a string, or an integer from legacy servers.
struct job_ref {
  std::variant<std::string, std::int64_t> id;
  bool operator==(const job_ref&) const = default;
};

struct lease_ref {
  job_ref job_id;
  lease_id lease;
  bool operator==(const lease_ref&) const = default;
};

// ---- worker -> coordinator
// -------------------------------------------------------------------------------------

struct worker_register {
  std::string worker_id, hostname, platform;
  std::optional<std::string> python_version;
  std::optional<int> protocol;  ///< absent: a legacy worker
  std::vector<std::string> features;
  std::optional<int> slots, credit;
  std::map<std::string, std::string> labels;
  resource_amounts resources;  ///< {k: n}, offered beside the slots
  std::string version;
  std::optional<int> pid;
  std::optional<uuid> instance;
  std::string boot_id, process;
  std::optional<std::int64_t> opened;  ///< CLOCK_BOOTTIME ns, read before connecting
  std::optional<uuid> cluster;         ///< last known
  std::optional<std::uint64_t> term;
  std::optional<lease_id> highest_lease;  ///< ever written to this outbox
  std::vector<lease_ref> running, unacked, lost;
  bool operator==(const worker_register&) const = default;
};

struct heartbeat {
  std::string worker_id, status;
  std::int64_t jobs_processed = 0;
  double uptime_seconds = 0;
  std::string timestamp;
  std::optional<int> running;
  std::optional<double> load;
  std::optional<std::int64_t> memory_bytes;
  bool operator==(const heartbeat&) const = default;
};

/// Any event but job_output. `text` is the whole message as JSON, stored and broadcast untouched.
struct event {
  std::string name, worker_id;
  std::optional<job_ref> job_id;
  std::optional<lease_id> lease;
  std::optional<std::uint64_t> n;  ///< numbered per lease in the worker's outbox
  std::string text;
  bool operator==(const event&) const = default;
};

struct job_output {
  std::string worker_id;
  std::optional<job_ref> job_id;
  lease_id lease;
  std::string stream;  ///< stdout, stderr
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> gap_from;
  std::string data;  ///< decoded bytes; the codec chooses text or base64
  bool operator==(const job_output&) const = default;
};

enum class result_status : std::uint8_t { success, failure, error, timeout, cancelled, rejected, lost };
const char* to_string(result_status s);  ///< SUCCESS, FAILURE, ...

struct job_result {
  job_ref job_id;
  std::string worker_id;
  result_status status = result_status::success;
  std::string log_output;  ///< legacy: whole output; ours: text of ERROR and REJECTED
  std::string run_time;    ///< ISO 8601 with +00:00
  double duration_seconds = 0;
  std::optional<lease_id> lease;
  std::optional<int> exit_code, signal;
  std::optional<std::int64_t> max_rss_bytes;
  std::optional<double> cpu_seconds;
  std::map<std::string, std::uint64_t> output_bytes;
  bool output_lost = false;  ///< a minimal result in place of one that was refused
  bool operator==(const job_result&) const = default;
};

/// The worker's ack of execute_job, cancel_job and drain; also the original's unconditional acks.
struct worker_ack {
  std::optional<std::uint64_t> seq;
  bool cumulative = false;
  bool operator==(const worker_ack&) const = default;
};

/// Parses, has a type nobody knows: acknowledged all the same.
struct unknown_message {
  std::string type, worker_id;
  bool operator==(const unknown_message&) const = default;
};

/// An object with a type we know whose fields cannot be taken; `why` names the field.
struct invalid_message {
  std::string type;
  std::string worker_id;
  refusal why;
  // Of an execute_job, if at least these can be read: then its attempt is answered as rejected.
  std::optional<job_ref> job_id{};
  std::optional<lease_id> lease{};
  bool operator==(const invalid_message&) const = default;
};

struct worker_message {
  std::optional<std::uint64_t> seq;  ///< as the peer sent it
  std::variant<worker_register, heartbeat, event, job_output, job_result, worker_ack, unknown_message,
               invalid_message>
      body;
  std::uint32_t content_crc = 0;  ///< crc32c of a job_result's text without seq; else 0
  bool operator==(const worker_message&) const = default;
};

// ---- coordinator -> worker
// -------------------------------------------------------------------------------------

struct execute_job {
  job_ref job_id;
  std::string script_path, script_args;  ///< always on the wire for a script, as the original sent them
  std::vector<std::string> command;
  std::string builtin;
  std::map<std::string, std::string> env;
  std::string cwd, stdin_text;
  std::optional<double> timeout_seconds, kill_grace_seconds;
  std::optional<lease_id> lease;
  std::optional<int> attempt;
  std::optional<std::uint64_t> term;
  std::optional<double> lease_ttl_seconds;
  std::optional<std::string> on_lease_lost;  ///< keep, kill
  std::optional<bool> at_most_once;
  std::optional<std::uint64_t> output_limit_bytes;
  std::string traceparent;
  std::string run_id, job;                  ///< for ORCHESTRATOR_RUN_ID and ORCHESTRATOR_JOB; ours only
  std::optional<std::string> scheduled_at;  ///< RFC 3339, for ORCHESTRATOR_SCHEDULED_AT; ours only
  bool operator==(const execute_job&) const = default;
};

struct cancel_job {
  job_ref job_id;
  lease_id lease;
  double grace_seconds = 10;
  bool operator==(const cancel_job&) const = default;
};

/// Finish what runs and take no more, or take work again. Holds for the connection: the worker forgets it
/// when it registers, and the coordinator sends it again if it still holds.
struct drain {
  bool on = true;
  bool operator==(const drain&) const = default;
};

struct ack {
  bool registered = false;  ///< {"type":"ack","msg":"registered"} instead of received:true
  std::optional<std::uint64_t> seq;
  bool cumulative = false;
  std::optional<orchestrator::disposition> disposition;             ///< single ack of a result
  std::map<std::uint64_t, orchestrator::disposition> dispositions;  ///< cumulative: those not `accepted`
  bool operator==(const ack&) const = default;
};

/// What the registration ack says to a peer with `protocol`.
struct registration {
  std::optional<std::uint64_t> seq;
  std::string session;
  uuid cluster;
  std::uint64_t term = 0;
  int protocol = 1;
  std::vector<std::string> features;
  double lease_ttl_seconds = 60;
  std::uint64_t max_message_bytes = limits::frame;
  std::vector<lease_ref> keep, abandon;
  bool operator==(const registration&) const = default;
};

struct error_message {
  std::string code, detail;
  std::optional<std::uint64_t> seq;
  bool final = false;  ///< this message will never be taken: quarantine it
  bool operator==(const error_message&) const = default;
};

struct coordinator_message {
  std::optional<std::uint64_t> seq;  ///< put on execute_job, cancel_job and drain for peers with protocol
  std::variant<execute_job, cancel_job, drain, ack, registration, error_message, unknown_message,
               invalid_message>
      body;
  bool operator==(const coordinator_message&) const = default;
};

}  // namespace orchestrator::protocol
