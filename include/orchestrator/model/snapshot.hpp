// Everything the engine needs to carry on after a start: what the store found on disk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/model/fact.hpp>

namespace orchestrator {

/// End of what is stored of one stream of one attempt.
struct output_end {
  lease_id lease;
  std::string stream;
  std::uint64_t end = 0;
  bool operator==(const output_end&) const = default;
};

struct stored_spec {
  spec_id id;
  std::string text;
};

struct stored_job {
  orchestrator::job job;  ///< definition left empty: the engine decodes `text`
  std::string text;
};

using recent_instants = std::map<std::string, std::vector<stored_instant>>;

struct stored_calendar {
  std::string name;
  std::string text;
  wall_time updated_at{};
};

struct snapshot {
  uuid cluster;
  std::uint64_t term = 0;         ///< already raised and committed for this start
  std::uint64_t last_number = 0;  ///< number of the last batch committed; the engine continues after it
  lease_id lease_counter{};       ///< largest lease ever issued
  std::map<lease_id, lease_id> lease_holes;  ///< first and last of each range that the counter jumped over
  /// This database was put back from a backup at that time: what came between is not in it.
  std::optional<wall_time> restored_at;
  bool restored_now = false;  ///< and this is the first start since
  /// The output database was gone, and whoever started this was content with an empty one.
  bool output_lost_now = false;
  /// The newest time that retention went by, or that anything is dated; none: there is nothing to delete yet.
  std::optional<wall_time> retained_at;
  spec_id spec_counter{};
  std::vector<stored_spec> specs;  ///< those that `runs` refer to
  std::vector<stored_job> jobs;
  std::vector<run> runs;                           ///< not final
  std::map<run_id, run_state> ended_dependencies;  ///< how runs ended that the queued ones of `runs` wait for
  std::vector<attempt> attempts;  ///< of those runs, and every attempt live or lost without a result
  std::vector<worker> workers;
  std::vector<queue> queues;                      ///< those that somebody set up
  std::map<std::string, wall_time> buckets;       ///< as put_bucket names them
  std::vector<output_end> outputs;                ///< of live attempts
  std::vector<std::uint64_t> idempotency_hashes;  ///< hash64 of every stored key
  /// Per job, the rows that reach later than now - 48 h or lie ahead of its cursor, and the newest one.
  orchestrator::recent_instants instants;
  std::vector<stored_calendar> calendars;
};

/// What a look-up of rows that left the engine's memory found.
struct fetched_rows {
  std::optional<orchestrator::run> run;
  std::vector<attempt> attempts;  ///< all of that run, by lease
  std::string spec_text;
  bool key_found = false;  ///< for a look-up by idempotency key
  std::uint64_t key_fingerprint = 0;
  run_id key_run;  ///< also set when the run itself is purged
};

}  // namespace orchestrator
