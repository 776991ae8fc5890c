// All state of the worker's core in one place, and the functions of its parts. Private to the agent; every
// .cpp of the layer works on a `core&`. Containers that are walked are ordered, so that a replay makes the
// same effects.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <orchestrator/agent/agent.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/protocol/ack_window.hpp>
#include <orchestrator/protocol/codec.hpp>

namespace orchestrator::agent {

using namespace std::chrono_literals;

/// Bytes, as they will be encoded, that may be unacknowledged on one connection; below the peer's 4 MiB of
/// unread.
inline constexpr std::size_t window_bytes = 2 * 1024 * 1024;
inline constexpr std::size_t window_bytes_of_lease = 1024 * 1024;
inline constexpr std::size_t window_messages = 4096;
/// While a stream has a chunk on the way, less than this waits for its ack: a chatty job must not cost the
/// coordinator one durable message per line.
inline constexpr std::size_t small_chunk = 16 * 1024;
/// The acknowledged end of a stream is recorded, and its spool released, in steps of this (a segment of the
/// spool).
inline constexpr std::uint64_t release_step = 1024 * 1024;
inline constexpr auto registration_patience = 30s;  ///< without an ack the connection is given up
inline constexpr auto stop_patience = 5s;           ///< for the close handshake before the daemon ends anyway
inline constexpr auto outbox_retry = 1s;            ///< after a failed write
inline constexpr auto refused_retry = 5s;           ///< after an error that is not final
inline constexpr auto leftover_retry = 10s;         ///< when processes of a lost lease did not die
inline constexpr auto legacy_patience = 5s;         ///< for a legacy coordinator's ack, then a heartbeat asks
inline constexpr auto probation = 5s;               ///< registered that long: reconnect at once
inline constexpr auto settled_connection = 60s;     ///< registered that long: the backoff starts anew
inline constexpr auto parked_results_kept = std::chrono::hours{24 * limits::unknown_results_kept_days};
/// The outbox's name for coordinators that have no cluster.
inline constexpr const char* legacy_cluster = "legacy";

/// Kinds of outbox records. A lease has an offer or a start first, or a result or tombstone alone.
namespace record {
inline constexpr const char* offer = "offer";  ///< accepted, waits; body: execute_job
inline constexpr const char* start =
    "start";  ///< may have a process from here on; body: execute_job, or empty after an offer
inline constexpr const char* result = "result";        ///< body: job_result; the last one counts
inline constexpr const char* tombstone = "tombstone";  ///< cancelled before it came
inline constexpr const char* acked = "acked";  ///< output acknowledged up to here; body: "STREAM OFFSET"
inline constexpr const char* parked =
    "parked";  ///< its result is of an unknown lease; body: wall clock in ms
inline constexpr const char* killed = "killed";  ///< we have its process killed; body: why, as a kill_reason
inline constexpr const char* contact = "contact";  ///< own lease counts from here; body: CLOCK_BOOTTIME in ns
}  // namespace record

enum class attempt_phase : std::uint8_t {
  waiting,     ///< in the outbox, no process yet
  running,     ///< handed to the supervisor
  leftover,    ///< its supervisor is gone; its processes are being killed
  collecting,  ///< ended; its output is read into the result for a legacy coordinator
  finished,    ///< has its result
};

/// Why we had a process killed, which decides what its end is called.
enum class kill_reason : std::uint8_t {
  none,
  cancelled,   ///< cancel_job, or told to abandon it: CANCELLED
  lease_lost,  ///< our own lease ran out: LOST, because the coordinator may start it elsewhere
  stopping,    ///< the daemon was told to kill: FAILURE by that signal
};

struct stream_state {
  std::uint64_t end = 0;   ///< as far as the supervisor has named it
  std::uint64_t sent = 0;  ///< on this connection, gaps included
  std::uint64_t acked = 0;
  std::uint64_t recorded = 0;      ///< of `acked`, in the outbox
  std::uint64_t waits_beyond = 0;  ///< the last bytes are half a character: read on when `end` exceeds this
  bool reading = false;            ///< a read_spool is out
};

struct attempt {
  std::uint64_t lease = 0;
  protocol::job_ref job_id;
  attempt_phase phase = attempt_phase::waiting;
  protocol::execute_job offer;  ///< until its process has started
  bool admitted = false;        ///< in `keep`, or offered on the present connection
  int records = 0;              ///< of it in the outbox
  bool supervised = false;      ///< the supervisor was handed it
  kill_reason killed = kill_reason::none;
  bool kill_on_loss = false;
  milliseconds ttl{0};  ///< 0: that of the registration
  milliseconds kill_grace{0};
  boot_time contact{};  ///< own lease counts at least from here
  boot_time contact_recorded{};
  boot_time contact_told{};   ///< to the supervisor
  boot_time contact_asked{};  ///< when its start was put off for a heartbeat to be answered first
  std::optional<wall_time> started_at;
  bool start_told = false;  ///< job_started was sent on this connection, or acknowledged on any
  bool start_acked = false;
  std::map<std::string, stream_state> streams;
  std::size_t unacked_bytes = 0;  ///< of output on this connection
  bool output_lost = false;       ///< the coordinator will not take it, or it is gone
  std::optional<process_end> end;
  std::optional<protocol::job_result> result;
  bool stored = false;   ///< the result is in the outbox
  bool passing = false;  ///< a refusal the outbox could not take: told once, forgotten with the connection
  bool due = false;      ///< is in results_due
  bool sent = false;     ///< the result, on this connection
  std::optional<wall_time> parked_since;
  std::optional<boot_time> not_before;  ///< of the next try, after an error that is not final
};

enum class message_kind : std::uint8_t { registration, heartbeat, started_event, output, result };

/// A message of ours on this connection that was not acknowledged yet.
struct unacked_message {
  std::uint64_t seq = 0;
  message_kind kind = message_kind::heartbeat;
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t begin = 0, end = 0;  ///< of output; begin is where the gap begins if there is one
  std::size_t bytes = 0;
  boot_time sent_at{};
  bool settled = false;
};

enum class link_phase : std::uint8_t {
  idle,     ///< before `started`
  pausing,  ///< until retry_at
  dialling,
  registering,  ///< worker_register is out
  switching,    ///< registered, but the outbox of its cluster is not in place yet
  registered,
  closing,  ///< we closed it; `disconnected` follows
  stopped,
};

struct link_state {
  link_phase phase = link_phase::idle;
  bool legacy = false;
  bool batch = false;
  int failures = 0;  ///< in a row, since the backoff was last reset
  boot_time retry_at{};
  boot_time opened{};  ///< before dialling
  boot_time registering_since{}, registered_at{};
  boot_time heartbeat_at{};
  milliseconds ttl{60'000};
  milliseconds ping_interval{0};
  boot_time contact{};  ///< send time of the newest message of ours that was answered
  std::uint64_t last_seq = 0;
  protocol::sequence_check incoming;
  std::deque<unacked_message> unacked;  ///< seq without gaps
  std::size_t unacked_bytes = 0;
  int bad_in_a_row = 0;
  protocol::registration greeting;
  std::vector<protocol::coordinator_message> parked;  ///< came while switching
};

/// What is known of how a legacy coordinator acknowledges: the published one answers only heartbeats.
enum class legacy_habit : std::uint8_t { unknown, acks_all, acks_heartbeats };

struct legacy_message {
  message_kind kind = message_kind::heartbeat;
  std::uint64_t lease = 0;
  boot_time sent_at{};
  std::optional<boot_time> asked_at;  ///< a heartbeat was sent after it
  bool handled = false;               ///< proved; whether one more ack is to come is not known yet
};

struct legacy_state {
  legacy_habit habit = legacy_habit::unknown;
  std::optional<legacy_message> outstanding;
  std::deque<std::pair<message_kind, std::uint64_t>> queue;
};

/// Reading a process's output into the log_output of a legacy result.
struct collection {
  struct part {
    std::string stream;
    std::uint64_t head_end = 0, tail_begin = 0, end = 0;
  };
  std::vector<part> parts;
  std::size_t at_part = 0;
  std::uint64_t at = 0;
  std::string text;
};

struct core {
  config settings;
  random_source random;
  agent_time now;
  effects out;
  boot_time born{};

  link_state link;
  legacy_state legacy;
  std::string cluster;
  std::uint64_t term = 0;

  std::map<std::uint64_t, attempt> attempts;
  std::set<std::uint64_t> waiting;       ///< of phase waiting: started in the order of their leases
  std::set<std::uint64_t> kill_on_loss;  ///< of phase running
  std::set<std::uint64_t> tombstones;
  std::map<std::uint64_t, collection> collections;
  std::uint64_t highest = 0;  ///< lease ever written to this outbox
  std::size_t running = 0;
  std::size_t leftovers = 0;
  std::vector<start_process> starting;  ///< of this step, after its acks
  std::deque<std::uint64_t> results_due, events_due;
  std::set<std::uint64_t> output_due;
  std::set<std::uint64_t> unstored;  ///< results the outbox did not take
  std::set<std::uint64_t> delayed;   ///< results with not_before
  std::set<std::uint64_t> parked;
  std::size_t reads_out = 0;

  bool draining = false;
  std::optional<stop_mode> stopping;
  std::optional<boot_time> stop_by;
  bool supervisor_gone = false;
  bool exited = false;
  std::optional<boot_time> outbox_retry_at, leftover_retry_at;
  std::int64_t jobs_processed = 0;
  load_report load;

  bool registered() const { return link.phase == link_phase::registered; }
  bool is_legacy() const { return cluster == legacy_cluster; }
};

template <class... Args>
void say(core& c, note_level level, fmt::format_string<Args...> format, Args&&... args) {
  c.out.emplace_back(note{level, fmt::format(format, std::forward<Args>(args)...)});
}

// link.cpp: connecting, registering, backoff, heartbeats, and every message's number.
void begin_dialling(core& c);
void on_connected(core& c);
void on_connect_failed(core& c, const connect_failed& in);
void on_disconnected(core& c, const disconnected& in);
void on_frame(core& c, const frame& in);
void on_outbox_switched(core& c, const outbox_switched& in);
using message_body = decltype(protocol::worker_message::body);
/// What is remembered of a message until it is acknowledged.
inline unacked_message about(message_kind kind, std::uint64_t lease = 0, std::size_t bytes = 0) {
  unacked_message m;
  m.kind = kind;
  m.lease = lease;
  m.bytes = bytes;
  return m;
}
/// Stamps, remembers and sends. `remembered.bytes` counts against the window.
void send_message(core& c, message_body body, unacked_message remembered);
void send_heartbeat(core& c);
void close_link(core& c, std::uint16_t code, std::string reason);
void tick_link(core& c);
/// The pings must be frequent enough for this lease too.
void adapt_pings(core& c, milliseconds ttl);
milliseconds heartbeat_interval(const core& c);

// acks.cpp: what the coordinator says about our messages.
void on_ack(core& c, const protocol::ack& ack);
void on_error(core& c, const protocol::error_message& error);
/// Takes `kind` of `lease` as durably received.
void settle_result(core& c, std::uint64_t lease, disposition d);

// offers.cpp: execute_job, cancel_job, drain, keep and abandon; slots and the queue.
void on_execute(core& c, const protocol::execute_job& offer);
/// A job of which no more than its lease could be read.
void refuse_unreadable(core& c, const protocol::invalid_message& bad);
void on_cancel(core& c, const protocol::cancel_job& cancel);
void on_drain(core& c, const protocol::drain& drain);
void reconcile(core& c, const protocol::registration& greeting);
void start_waiting(core& c);
/// Its rules from the offer (also one recovered): what happens on lease loss, TTL, grace.
void apply_rules(attempt& a, const protocol::execute_job& offer);
/// Writes it to the outbox, then starts it or lets it wait. `a.offer` is set.
void take_into_queue(core& c, attempt& a);
void kill_attempt(core& c, attempt& a, milliseconds grace, kill_reason why);

// launch.cpp: what a job means as a process.
result<start_process> plan_launch(const config& settings, const protocol::execute_job& offer,
                                  std::uint64_t lease);

// results.cpp: how attempts end, and their results until they are acknowledged.
void on_process_started(core& c, const process_started& in);
void on_process_ended(core& c, const process_end& end);
void on_supervisor_lost(core& c);
void on_leftovers_killed(core& c, const leftovers_killed& in);
void finish_with(core& c, attempt& a, protocol::result_status status, std::string text);
void finish_ended(core& c, attempt& a, std::string text);
void store_result(core& c, attempt& a);
void result_may_be_due(core& c, attempt& a);
void forget_attempt(core& c, std::uint64_t lease);
void send_results(core& c);
void send_events(core& c);
/// Errors that were not final are over after a while; parked results after a week.
void tick_results(core& c);

// output.cpp: the output of jobs, from the spool to the coordinator.
void on_process_output(core& c, const process_output& in);
void on_spool_data(core& c, const spool_data& in);
void send_output(core& c);
void output_acked(core& c, const unacked_message& m);
void request_read(core& c, std::uint64_t lease, const std::string& stream, std::uint64_t offset,
                  std::size_t limit);
/// Somebody who knows says that the stream goes this far.
void adopt_stream(attempt& a, const std::string& name, std::uint64_t end);
bool output_sent(const attempt& a);
void lose_output(core& c, attempt& a);

// own_lease.cpp: our own view of how long a lease runs.
void note_contact(core& c, boot_time sent);
/// Whether enough of its lease is left to start it. If not, a heartbeat is sent: its ack renews the lease.
bool may_start_under_lease(core& c, attempt& a);
/// From its start on. How long it runs as of now; nothing if losing it does not kill.
std::optional<boot_time> watch_lease(core& c, attempt& a);
void tick_leases(core& c);
std::optional<boot_time> next_lease_deadline(const core& c);

// outbox.cpp: records, recovery, failed writes.
void write_record(core& c, attempt& a, const char* kind, std::string body);
void recover(core& c, const std::vector<stored_record>& records,
             const std::vector<supervised_process>& processes);
/// Output of leases that were settled, whose `forget_process` a dying supervisor did not hear.
void forget_files(core& c, const started& in);
void on_outbox_failed(core& c, const outbox_failed& in);
void retry_outbox(core& c);

// legacy.cpp: the original Python coordinator.
void on_legacy_registered(core& c);
void on_legacy_execute(core& c, const protocol::execute_job& offer);
void on_legacy_ack(core& c);
void legacy_say(core& c, message_kind kind, std::uint64_t lease);
void send_legacy(core& c);
void collect_output(core& c, attempt& a);
void on_collected(core& c, attempt& a, const spool_data& in);
std::optional<boot_time> next_legacy_deadline(const core& c);
/// Well-formed UTF-8 without NUL: what does not fit becomes U+FFFD.
std::string readable_text(std::string_view bytes);

// stop.cpp: ending the daemon.
void on_stop(core& c, stop_mode mode);
void continue_stopping(core& c);

}  // namespace orchestrator::agent
