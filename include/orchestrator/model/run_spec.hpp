// What a run executes and under which rules: the part of a job that a run pins. Shared by all runs of one job
// version, so it is immutable once made.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/model/queue.hpp>

namespace orchestrator {

/// What a worker does with a process whose lease it could not renew.
enum class on_lease_lost {
  keep,  ///< let it run and report late (default)
  kill,  ///< end it before somebody else may start it
};

struct retry_policy {
  int max_attempts = 1;                   ///< failed and timed-out attempts before the run fails, 1..100
  int max_lost = limits::losses_default;  ///< the n-th loss fails the run with reason worker_lost
  milliseconds backoff = limits::backoff_default;  ///< before the 2nd attempt; doubles each time
  milliseconds max_backoff = std::chrono::hours{1};
  std::vector<int> on_exit;  ///< exit codes after which it is tried again, rising; empty: after any failure
  bool operator==(const retry_policy&) const = default;
};

/// Exactly one of script, command and builtin is set.
struct run_spec {
  std::string script;                ///< path; .py by python3, .sh by bash, anything else must be executable
  std::string args;                  ///< of a script, split as a POSIX shell splits words
  std::vector<std::string> command;  ///< argv
  std::string builtin;               ///< "noop": the worker answers without starting a process
  std::map<std::string, std::string> env;
  std::string cwd;
  std::string stdin_text;
  milliseconds timeout = limits::timeout_default;
  milliseconds kill_grace = limits::kill_grace_default;
  std::optional<milliseconds> lost_after;  ///< the lease TTL of this run; the server's when absent
  std::optional<milliseconds>
      start_within;  ///< it expires unless it is started by then; no limit when absent
  orchestrator::on_lease_lost on_lease_lost = on_lease_lost::keep;
  bool at_most_once = false;
  std::uint64_t output_limit = limits::output_default;
  retry_policy retry;
  std::map<std::string, std::string> required_labels;
  int priority = 0;  ///< larger goes first, -1000..1000
  std::string queue = "default";
  std::vector<lock_request> locks;  ///< by name, each once; with any the process ends when its lease is lost
  int max_running = 0;              ///< runs of this name that may be active at once; 0: no limit
  std::optional<rate_limit> rate;   ///< starts of runs of this name
  resource_amounts required_resources;
  std::map<std::string, std::string> tags;
  bool operator==(const run_spec&) const = default;
};

}  // namespace orchestrator
