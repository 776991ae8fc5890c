// A job: a named definition that can be run by hand or by its schedule. A run pins the version it came from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <orchestrator/model/run_spec.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator {

/// What a job file or PUT /jobs/{name} declares.
struct job_definition {
  std::string name;
  std::string description;
  run_spec spec;
  std::optional<orchestrator::schedule> schedule;
  bool operator==(const job_definition&) const = default;
};

struct job {
  std::string name;
  std::uint32_t version = 1;  ///< rises with every changed definition; also the ETag
  job_definition definition;
  bool paused = false;           ///< holds all its runs
  bool schedule_paused = false;  ///< holds only new instants
  wall_time created_at{};
  wall_time updated_at{};
  wall_time schedule_anchor{};      ///< intervals count from here
  std::optional<wall_time> cursor;  ///< instants up to and including this one are decided
  bool operator==(const job&) const = default;
};

}  // namespace orchestrator
