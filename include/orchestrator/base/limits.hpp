// Every limit of the product in one place. Each queue, buffer, table and string is bounded by one of these;
// exceeding one is a named refusal, never a crash.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace orchestrator::limits {

using namespace std::chrono_literals;

// Wire (worker protocol)
inline constexpr std::size_t frame_before_registration =
    1024 * 1024;  ///< a registration lists every lease of its worker
inline constexpr std::size_t frame = 1024 * 1024;
inline constexpr std::size_t legacy_result_frame =
    16 * 1024 * 1024;                                ///< the original sends whole logs at once
inline constexpr std::size_t batch_messages = 1024;  ///< messages in one JSON array
inline constexpr int bad_messages_in_a_row = 10;     ///< then close 1008
inline constexpr auto registration_deadline = 10s;   ///< then close 4002
inline constexpr std::size_t outbound_queue_bytes = 4 * 1024 * 1024;  ///< per peer; beyond: close 4008
inline constexpr std::size_t store_backlog =
    64 * 1024 * 1024;  ///< waits for the disk; beyond: workers that add to it are not read
inline constexpr int legacy_acks_while_busy = 16;  ///< its library stops reading after 32 unread frames
inline constexpr std::size_t legacy_waiting_jobs = 1000;  ///< execute_jobs a legacy coordinator may stack up
inline constexpr std::size_t inventory_leases = 10'000;   ///< per list of a registration
inline constexpr std::size_t slots_max = 10'000;
inline constexpr std::size_t credit_per_slot_max = 64;

// JSON
inline constexpr std::size_t json_depth = 32;
inline constexpr std::size_t json_members = 10'000;
inline constexpr std::size_t json_key = 256;

// HTTP
inline constexpr std::size_t http_header_bytes = 8 * 1024;
inline constexpr std::size_t http_header_count = 64;
inline constexpr std::size_t http_target = 4 * 1024;
inline constexpr std::size_t http_body = 1024 * 1024;
inline constexpr std::size_t http_import_body = 8 * 1024 * 1024;
inline constexpr std::size_t http_read_buffer = 64 * 1024;
inline constexpr auto http_header_deadline = 5s;
inline constexpr auto http_body_deadline = 10s;
inline constexpr auto http_keep_alive = 30s;
inline constexpr auto http_write_stall = 30s;
inline constexpr std::size_t connections = 32'768;
inline constexpr std::size_t connections_unauthenticated = 4'096;
inline constexpr std::size_t page_default = 50;
inline constexpr std::size_t page_max = 500;

// Jobs and runs
inline constexpr std::size_t argv_items = 256;
inline constexpr std::size_t argv_bytes = 64 * 1024;
inline constexpr std::size_t argv_item_bytes = 32 * 1024;
inline constexpr std::size_t env_items = 128;
inline constexpr std::size_t env_bytes = 64 * 1024;
inline constexpr std::size_t stdin_bytes = 512 * 1024;
inline constexpr std::size_t labels = 64;
inline constexpr std::size_t label_bytes = 128;
inline constexpr std::size_t locks_of_run = 16;
inline constexpr std::size_t resources_of_run = 32;  ///< also of a worker
inline constexpr int max_running_max = 1'000'000;    ///< of a job or a queue
inline constexpr std::size_t queues = 10'000;        ///< that somebody set up
inline constexpr std::size_t retries_a_request = 1'000;
inline constexpr std::size_t dependencies = 1'000;       ///< runs that one run waits for
inline constexpr std::size_t dependents = 10'000;        ///< runs that wait for one run
inline constexpr std::size_t dependents_a_step = 1'000;  ///< told of an end in one step of the engine
inline constexpr auto timeout_default = 1h;
inline constexpr auto timeout_min = 1s;
inline constexpr auto timeout_max = 24h * 30;
inline constexpr auto kill_grace_default = 10s;
inline constexpr auto kill_grace_max = 1h;
inline constexpr int attempts_max = 100;
inline constexpr int losses_default = 3;
inline constexpr int rejections_max = 10;  ///< the tenth refusal by workers fails the run
inline constexpr auto backoff_default = 10s;
inline constexpr auto backoff_max = 24h;
inline constexpr std::size_t output_default = 10 * 1024 * 1024;  ///< kept per attempt: first 2, last 8 MiB
inline constexpr std::size_t output_head = 2 * 1024 * 1024;
inline constexpr std::size_t output_max = 1024 * 1024 * 1024;
inline constexpr std::size_t output_chunk = 64 * 1024;  ///< data bytes in one job_output
inline constexpr std::size_t queued_runs = 1'000'000;
inline constexpr std::size_t jobs = 100'000;
inline constexpr std::size_t schedules = 10'000;
inline constexpr std::size_t catch_up_runs = 10;
inline constexpr std::size_t backfill_runs = 1'000;  ///< of one request
inline constexpr std::size_t calendars = 1'000;
inline constexpr std::size_t calendar_days = 2'000;    ///< items of one calendar
inline constexpr std::size_t schedule_calendars = 16;  ///< named by one schedule, each way
inline constexpr std::size_t idempotency_key = 255;
inline constexpr std::size_t unknown_results_kept_days = 7;

// Leases (guarantees.md, "Lease and time")
inline constexpr auto lease_ttl_default = 60s;
inline constexpr auto lease_ttl_min = 2s;
inline constexpr auto lease_ttl_max = 24h;
inline constexpr auto lease_slack = 10s;        ///< lost at TTL + slack of silence
inline constexpr auto restart_grace_min = 60s;  ///< lost no earlier than start + max(TTL, this) + extra
inline constexpr auto restart_grace_extra = 25s;
inline constexpr auto stall_threshold = 1s;  ///< a longer pause of ours shifts every deadline
inline constexpr auto offer_ack_deadline = 30s;
inline constexpr auto run_deadline_slack = 60s;  ///< after timeout + grace the attempt ends anyway

// Store
inline constexpr std::size_t commit_mutations = 4'096;
inline constexpr std::size_t commit_bytes = 4 * 1024 * 1024;
inline constexpr std::size_t wal_checkpoint_bytes = 4 * 1024 * 1024;
inline constexpr std::uint64_t disk_reserve =
    512 * 1024 * 1024;  ///< less than this is left: new work is refused, output of jobs is dropped
inline constexpr std::uint64_t disk_reserve_share = 20;  ///< but never more than a twentieth of the disk
inline constexpr std::uint64_t ballast =
    64 * 1024 * 1024;  ///< held on the disk for commits in flight when it is full; at most half the reserve
inline constexpr std::size_t metric_queues =
    200;  ///< with a label of their own at /metrics; the rest share one
inline constexpr std::size_t restored_instants = 100;  ///< recorded as missed per job after a restore
inline constexpr std::size_t outbox_segment = 8 * 1024 * 1024;
inline constexpr std::size_t outbox_bytes = 1024 * 1024 * 1024;

// Who may call, and who did
inline constexpr std::size_t tokens = 1'000;            ///< those that ended go first when room is needed
inline constexpr std::size_t browser_sessions_a_token = 20;
inline constexpr std::size_t browser_sessions = 1'000;  ///< the one that ends soonest goes first
inline constexpr auto session_idle = 12h;               ///< a login in a browser ends when unused for so long
inline constexpr auto session_remembered = 24h * 30;    ///< the same for one that is to be remembered
inline constexpr auto token_expires_default = 24h * 90;  ///< of read, operator and admin
inline constexpr auto token_expires_max = 24h * 3650;
inline constexpr auto access_mark_interval = 10min;  ///< when something was last used is stored no more often
inline constexpr std::size_t audit_rows_waiting = 10'000;  ///< for the disk; beyond: no change is taken
inline constexpr std::size_t audit_path_bytes = 256;       ///< of a path in an entry
inline constexpr auto refusals_gathered = 1min;           ///< refusals of one kind share an entry for so long
inline constexpr std::size_t refusal_kinds = 32;          ///< told apart at a time
inline constexpr std::uint64_t audit_refused_share = 10;  ///< refusals kept: a tenth of the changes

// Log
inline constexpr std::size_t log_lines = 8'192;  ///< waiting for stderr; newer ones are dropped and counted
inline constexpr std::size_t log_line_bytes =
    4'000;  ///< of one line's text: with level and time below PIPE_BUF

}  // namespace orchestrator::limits
