// Turns the calling process into the parent of a supervisor. Only connect_supervisor calls it, before the
// daemon has threads or sockets.
#pragma once

#include <boost/system/error_code.hpp>

#include "supervisor.hpp"

namespace orchestrator::process {

/// Forks twice, so that the supervisor is nobody's child and in a session of its own: it gets neither Ctrl-C
/// nor hang-ups of the daemon's terminal. Returns in the caller only; `files` stay the caller's to close.
boost::system::error_code fork_supervisor(supervisor_files& files);

}  // namespace orchestrator::process
