// Read-only answers of the coordinator's core about live state: who is connected, why a run waits, what fires
// next. `issued()` is the number that must be durable before such an answer is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/schedule.hpp>
#include <orchestrator/protocol/api_json.hpp>

namespace orchestrator::engine {

/// One condition that keeps a run from starting. `code` is from a closed list (why.cpp); `detail` is for
/// people.
struct blocking_reason {
  std::string code;
  std::string detail;
  std::string remedy;  ///< the smallest change that would let it go
};

struct upcoming_instant {
  wall_time instant;
  std::int32_t utc_offset = 0;
  std::string note;  ///< "", gap_shifted, fold_first, fold_second
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
  /// The next `count` instants of a job's schedule after `from`. Refusal: no such job, or its zone is still
  /// loading.
  virtual result<std::vector<upcoming_instant>> next_instants(const std::string& job, wall_time from,
                                                              std::size_t count) const = 0;
  struct totals {
    std::size_t queued = 0, active = 0, retry_wait = 0, unknown = 0, workers_online = 0;
  };
  virtual totals count() const = 0;
  virtual space_level space() const = 0;
};

}  // namespace orchestrator::engine
