// Starts one process: own session, default signals, no descriptor but 0, 1 and 2, stdout and stderr as pipes.
// Called by the supervisor, which is single-threaded, so that no descriptor can slip into another child.
#pragma once

#include <sys/resource.h>

#include <optional>
#include <string>

#include <orchestrator/process/supervisor.hpp>

#include "unique_fd.hpp"

namespace orchestrator::process {

struct spawned {
  int pid = 0;  ///< 0: not started, see the error. Also its session and process group
  unique_fd stdout_pipe;
  unique_fd stderr_pipe;
  int error_number = 0;
  std::string error;
};

class spawner {
 public:
  /// Opens /dev/null once for all children without input.
  spawner();
  spawned spawn(const launch& what);

 private:
  bool is_near_descriptor_limit(int fd) const;
  bool raise_descriptor_limit();

  unique_fd null_;
  rlimit limit_{};
  std::optional<rlimit> original_limit_;  ///< what children get back after we had to raise ours
};

}  // namespace orchestrator::process
