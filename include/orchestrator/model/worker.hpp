// A worker as the coordinator knows it: registration merged with the last heartbeat. Identity is `instance`
// (kept in the worker's work dir); `worker_id` is its name.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/model/queue.hpp>

namespace orchestrator {

struct worker {
  std::string worker_id;
  uuid instance;  ///< nil for a legacy worker
  std::string boot_id;
  std::string process;  ///< random per daemon start
  std::string hostname, platform, version, python_version;
  int pid = 0;
  int slots = 1;
  int credit = 0;
  bool legacy = false;
  bool draining = false;  ///< asked for by a person; survives restarts
  std::map<std::string, std::string> labels;
  resource_amounts resources;  ///< what it offers beside its slots
  lease_id highest_acked{};    ///< largest lease this instance ever acked
  std::optional<wall_time> registered_at;
  std::optional<wall_time> last_seen;
  std::string status;  ///< as its last heartbeat said: idle, busy, draining
  std::int64_t jobs_processed = 0;
  double uptime_seconds = 0;
  double load = 0;
  std::int64_t memory_bytes = 0;
  bool operator==(const worker&) const = default;
};

}  // namespace orchestrator
