// Two system calls by number: glibc 2.36 declares pidfd_open and pidfd_send_signal without C linkage, so that
// C++ cannot link them.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "unique_fd.hpp"

namespace orchestrator::process {

/// Empty if there is no such process. Readable once the process is dead.
inline unique_fd open_pidfd(int pid) {
  return unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

inline void signal_pidfd(const unique_fd& process, int signal) {
  ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0);
}

}  // namespace orchestrator::process
