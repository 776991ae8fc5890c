// The worker's shell: work dir, supervisor, connection and outbox around the agent core. It decides nothing.
// Called by main.cpp for --role=worker, before the process has any thread or socket: the supervisor is forked
// first.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <orchestrator/base/time.hpp>
#include <orchestrator/model/queue.hpp>
#include <orchestrator/net/websocket.hpp>
#include <orchestrator/telemetry/log.hpp>

// Not orchestrator::worker, which is the model's record of a worker.
namespace orchestrator::worker_shell {

/// What a stop signal does to running jobs.
enum class on_stop {
  automatic,  ///< leave on SIGTERM; kill on Ctrl-C and as pid 1
  leave,      ///< they run on under the supervisor, for a restart
  drain,      ///< wait for them, take no more
  kill,
};

struct worker_options {
  std::string server = "127.0.0.1:8000";  ///< as --server takes it
  int slots = 1;
  int credit = -1;  ///< -1: limits::credit_per_slot_max for each slot
  std::map<std::string, std::string> labels;
  resource_amounts resources;      ///< what it offers; cpu and memory are the machine's unless they are here
  std::string worker_id;           ///< empty: made once and kept in the work dir
  std::filesystem::path work_dir;  ///< empty: $XDG_STATE_HOME/orchestrator/workers/<n>, the first unlocked
  std::filesystem::path token_file;  ///< empty: found for a coordinator of the same user on loopback
  net::websocket_options websocket;
  milliseconds heartbeat_interval{60'000};
  milliseconds retry_delay{5'000}, retry_max{60'000};
  on_stop stop = on_stop::automatic;
  /// When it needs another supervisor (its own died, or the coordinator serves another cluster) the program
  /// begins anew in the same process; without this run_worker returns 75 instead, for a caller that starts it
  /// again.
  bool start_again = true;
  telemetry::level log_level = telemetry::level::info;
  bool log_time = false;
};

/// Runs until a stop signal and returns the exit code (sysexits): 64 usage, 73 cannot create, 74 I/O error,
/// 75 work dir in use. Starts the logging itself, after the supervisor was forked.
int run_worker(worker_options options);

}  // namespace orchestrator::worker_shell
