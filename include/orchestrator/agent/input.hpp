// Everything that can happen to the worker's core.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/agent/effect.hpp>
#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/result.hpp>
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::agent {

/// Fixed at start, from flags and the work dir.
struct config {
  std::string worker_id, hostname, platform, version;
  int slots = 1;
  int credit = 0;  ///< attempts it will hold waiting beyond slots
  std::map<std::string, std::string> labels;
  resource_amounts resources;
  int pid = 0;
  uuid instance;
  std::string boot_id, process;
  std::string url;  ///< for log lines
  milliseconds heartbeat_interval{60'000};
  milliseconds retry_delay{5'000}, retry_max{60'000};
  milliseconds ping_interval{20'000};
  std::map<std::string, std::string> base_env;  ///< PATH, HOME, USER, LANG, TZ of the worker
  std::string start_directory;
  std::string output_directory;  ///< ORCHESTRATOR_OUTPUT is a file of the lease in it; empty: not set
  std::uint64_t seed = 1;
};

/// A record of the outbox as the agent wrote it.
struct stored_record {
  std::uint64_t lease = 0;
  std::string kind, body;
};

struct spool_state {
  std::string stream;
  std::uint64_t end = 0;
};

/// How a process ended, from the supervisor.
struct process_end {
  std::uint64_t lease = 0;
  bool started = true;
  int exit_code = 0, signal = 0;
  bool timed_out = false, killed = false;
  bool lease_lost = false;  ///< the supervisor ended it, or did not start it, because its lease was over
  std::int64_t max_rss_bytes = 0;
  double cpu_seconds = 0, duration_seconds = 0;
  int error_number = 0;
  std::string error;
  bool output_detached = false;
  std::map<std::string, std::uint64_t> output_bytes;
};

/// A process the supervisor had when the daemon came up.
struct supervised_process {
  std::uint64_t lease = 0;
  wall_time started_at{};
  std::vector<spool_state> output;
  std::optional<process_end> end;
};

/// First input, once: the outbox of the last cluster and the supervisor's inventory.
struct started {
  std::vector<stored_record> records;
  std::uint64_t highest_lease = 0;
  std::string cluster;  ///< of that outbox, empty if none yet
  std::uint64_t term = 0;
  std::vector<supervised_process> processes;
  bool supervisor_fresh = true;
  std::set<std::uint64_t> files;  ///< leases of which output is on the disk
  std::string warning;            ///< torn or quarantined bytes, for the log
};
/// The outbox of another cluster is in place (after effect switch_outbox).
struct outbox_switched {
  std::vector<stored_record> records;
  std::uint64_t highest_lease = 0;
};

struct connected {};
/// Connecting failed; `message` is for people ("Connection refused").
struct connect_failed {
  std::string message;
};
struct frame {
  std::vector<protocol::coordinator_message> messages;
  std::string bad;
};  ///< bad: not decodable
/// A ping of ours was answered; `sent` is when it left.
struct pong {
  boot_time sent;
};
struct disconnected {
  std::uint16_t code = 1006;
  std::string reason;
};

struct process_started {
  std::uint64_t lease = 0;
};
struct process_output {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t end = 0;
};
struct process_ended {
  process_end end;
};
/// The supervisor died: the core asks for its processes by kill_leftovers.
struct supervisor_lost {};
/// Every process of the lease was looked for and killed; `none_left` if that worked within the time allowed.
/// `output` is what the spool holds: nobody writes there any more, and nobody but its files knows how far it
/// goes.
struct leftovers_killed {
  std::uint64_t lease = 0;
  bool none_left = true;
  std::vector<spool_state> output;
};
/// Bytes of a stream the agent asked for by read_spool.
struct spool_data {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t asked = 0, offset = 0;
  std::string data;
};

struct load_report {
  double load = 0;
  std::int64_t memory_bytes = 0;
};
struct tick {};
enum class stop_mode { leave, drain, kill };
struct stop {
  stop_mode mode = stop_mode::leave;
};
/// A write to the outbox failed: nothing that depended on it may be acknowledged. `not_done` is the rest of
/// the list of effects, the failed one first; none of it was carried out.
struct outbox_failed {
  std::string message;
  effects not_done;
};

using input = std::variant<started, outbox_switched, connected, connect_failed, frame, pong, disconnected,
                           process_started, process_output, process_ended, supervisor_lost, leftovers_killed,
                           spool_data, load_report, tick, stop, outbox_failed>;

}  // namespace orchestrator::agent
