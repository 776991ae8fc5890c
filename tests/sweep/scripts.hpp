// The work during which operations are made to fail: what is there before, the batches that are committed,
// and what else is done. The same seed gives the same work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <orchestrator/model/fact.hpp>

namespace orchestrator::sweep {

enum class deed {
  commits,      ///< the batches, one after the other
  group,        ///< the batches behind the first one in one group commit
  checkpoints,  ///< the batches, with a checkpoint after almost each
  backup,       ///< a backup between the batches
  retention,    ///< old runs are deleted, then the batches
  start,        ///< opening is part of it: faults count from its beginning
  close,        ///< only the end of the process is
};

struct work_item {
  std::vector<output_chunk> output;  ///< committed and awaited before the batch, if there is any
  mutation_batch batch;
};

struct script {
  std::string name;
  deed what = deed::commits;
  bool from_nothing = false;      ///< there is no data directory yet
  bool killed_before = false;     ///< the process before was killed, so its log is still there
  std::vector<work_item> before;  ///< numbered from 1
  std::vector<work_item> work;    ///< numbered on from there
  work_item after;                ///< one more, to see that the store carries on
};

/// Twelve scripts; sizes and counts differ with the seed.
std::vector<script> make_scripts(std::uint64_t seed);

/// When the work is done, and when the old runs of the retention script were.
inline constexpr wall_time script_time = wall_time{std::chrono::hours{24 * 20'000}};
inline constexpr milliseconds retain_age = std::chrono::hours{24 * 30};
/// Whether retention may delete this run of the retention script.
bool is_old(const run& r);

}  // namespace orchestrator::sweep
