// Resources of the HTTP API as JSON: the versioned contract that the server writes and the CLI prints.
#pragma once

#include <span>
#include <string>

#include <boost/json/object.hpp>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/job.hpp>
#include <orchestrator/model/run.hpp>
#include <orchestrator/model/worker.hpp>

namespace orchestrator::protocol {

namespace json = boost::json;

/// {"id","job","job_version","state","reason","spec":{…},"attempts":[…],"submitted_at","finished_at",…}; null
/// for what is not known yet. Times RFC 3339 UTC with ms, durations in seconds.
json::object run_to_json(const run& r, const run_spec* spec, std::span<const attempt> attempts);
json::object attempt_to_json(const attempt& a);
json::object job_to_json(const job& j);
json::object fact_to_json(std::uint64_t sequence, const fact& f);

/// What people see of a worker's presence, by time since its last frame: online, stale, offline.
enum class presence { online, stale, offline };
const char* to_string(presence p);
struct worker_status {
  orchestrator::worker worker;
  presence state = presence::offline;
  bool connected = false;
  int running = 0;  ///< attempts accepted or running there
  int waiting = 0;  ///< attempts handed out ahead
};
json::object worker_to_json(const worker_status& w);
/// The original's GET /api/worker-status entry: registration merged with the last heartbeat,
/// `last_seen_server`, `state`.
json::object worker_to_legacy_json(const worker_status& w);

}  // namespace orchestrator::protocol
