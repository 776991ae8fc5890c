// Read-only answers of the coordinator's core about live state: who is connected, why a run waits, what fires
// next. `issued()` is the number that must be durable before such an answer is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/queue.hpp>
#include <orchestrator/model/schedule.hpp>
#include <orchestrator/protocol/api_json.hpp>

namespace orchestrator::engine {

/// Everything that can keep a run from starting; a contract, so values are only ever added. The first three
/// groups are the gates of admission.hpp, which the dispatcher asks too.
enum class blocking_code : std::uint8_t {
  // The run itself
  held,        ///< a person holds it
  job_paused,  ///< a person paused its job
  not_before,  ///< it was asked to start later
  backoff,     ///< its last attempt ended badly a moment ago
  overlap,     ///< another run of its job goes first, by the overlap rule
  dependency,  ///< a run that it was told to wait for has not ended
  // Limits beside the workers
  queue_paused,  ///< a person paused its queue
  queue_full,    ///< its queue runs as many as it may
  queue_rate,    ///< its queue started as many as it may
  job_full,      ///< max_running: runs of its name
  job_rate,      ///< rate: starts of its name
  lock_held,     ///< somebody has a lock it asks for
  lock_wanted,   ///< an earlier run waits to have a lock alone that it would share
  // Workers
  no_worker,             ///< none is connected
  no_matching_labels,    ///< none that is connected has its labels
  needs_newer_worker,    ///< only workers of the original protocol, which cannot do it
  not_enough_resources,  ///< none of them offers, even idle, what it requires
  worker_draining,       ///< all that fit are draining
  no_free_slot,          ///< all slots of those that fit are taken
  resources_taken,       ///< a slot is free, but what it requires is in use
  // It is on its way
  dispatching,        ///< nothing keeps it: it is about to be offered, or others go first
  active,             ///< an attempt of it is live
  waiting_on_worker,  ///< its attempt waits on its worker for a slot
  cancel_requested,   ///< its attempt is being ended
  unknown,            ///< at_most_once, and its end cannot be known
  expires,            ///< beside the others: its start_within ends the wait
};
const char* to_string(blocking_code c);

/// What is known about when a condition ends by itself.
enum class forecast_kind : std::uint8_t {
  unknown,  ///< it waits for somebody, or for something without a limit
  at,       ///< then
  at_most,  ///< no later than that
};

/// One condition that keeps a run from starting; `detail` and `remedy` are for people.
struct blocking_reason {
  blocking_code code = blocking_code::dispatching;
  std::string detail;
  std::string remedy;                ///< the smallest change that would let it go
  std::vector<std::string> holders;  ///< run/ID and worker/ID of those who have what it waits for; a few
  forecast_kind forecast = forecast_kind::unknown;
  std::optional<wall_time> until;
};

/// A queue as people see it.
struct queue_status {
  orchestrator::queue queue;
  std::size_t waiting = 0;          ///< runs that nothing but the queue, other limits and workers keeps
  int running = 0;                  ///< runs with a live attempt
  std::optional<wall_time> oldest;  ///< when the oldest of `waiting` was submitted
};

/// Of a run in memory, what its row does not say.
struct run_standing {
  std::string queue;
  wall_time might_start;  ///< not before it was submitted, nor before its --at
};

struct upcoming_instant {
  wall_time instant;
  std::int32_t utc_offset = 0;
  std::string note;       ///< "", gap_shifted, gap_merged, fold_second
  milliseconds delay{0};  ///< by the schedule's jitter: it starts so much later
};

/// How much the disk still takes.
enum class space_level {
  ample,
  low,   ///< no new work, and no output of jobs
  full,  ///< nothing is stored at present
};
const char* to_string(space_level l);

class engine_view {
 public:
  virtual ~engine_view() = default;
  /// Number of the last batch issued: answers made now must wait until it is durable.
  virtual std::uint64_t issued() const = 0;
  virtual std::uint64_t durable() const = 0;
  virtual std::uint64_t term() const = 0;
  virtual uuid cluster() const = 0;
  virtual std::vector<protocol::worker_status> workers(mono_time now) const = 0;
  /// Nothing if the run is not in memory (final, or unknown to us).
  virtual std::optional<std::vector<blocking_reason>> why(const run_id& id, engine_time now) const = 0;
  /// Nothing if the run is not in memory. A run that has just ended is, until its end is durable.
  virtual std::optional<run_standing> standing(const run_id& id) const = 0;
  /// The name of the worker with this instance, if it is known.
  virtual std::optional<std::string> worker_of(const uuid& instance) const = 0;
  /// The next `count` instants of a job's schedule after `from`. Refusal: no such job, or its zone is still
  /// loading.
  virtual result<std::vector<upcoming_instant>> next_instants(const std::string& job, wall_time from,
                                                              std::size_t count) const = 0;
  struct totals {
    std::size_t queued = 0, active = 0, retry_wait = 0, unknown = 0, workers_online = 0;
  };
  virtual totals count() const = 0;
  /// Every queue that was set up or has runs, by name.
  virtual std::vector<queue_status> queues() const = 0;
  virtual space_level space() const = 0;
};

}  // namespace orchestrator::engine
