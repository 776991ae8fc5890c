// Which file an argv[0] means: the job's own PATH decides, not the supervisor's. Called by the spawner.
#pragma once

#include <string>

#include <orchestrator/process/supervisor.hpp>

namespace orchestrator::process {

/// The path to execute, or errno (ENOENT, EACCES) when no directory of PATH has an executable file of that
/// name.
struct program {
  std::string path;
  int error_number = 0;
};
program find_program(const launch& what);

/// The sentence for a start that failed with `error_number`: what, why and, where it is not obvious, what to
/// do.
std::string describe_start_failure(const launch& what, const std::string& path, int error_number);

}  // namespace orchestrator::process
