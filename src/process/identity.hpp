// Who a process is, beyond its number: boot, PID namespace and start time (guarantees.md, rule 9). Numbers
// are used again; this tuple is not. Used for the lock file, for the record of a lease's session, for kills
// found by number, and by the daemon's registration.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orchestrator::process {

/// The inode of this process's PID namespace, 0 if /proc does not tell.
std::uint64_t read_pid_namespace();

/// One line of /proc/<pid>/stat, the fields we use.
struct process_stat {
  int pid = 0;
  int parent = 0;
  int group = 0;
  int session = 0;
  char state = '?';
  std::uint64_t start_time = 0;  ///< clock ticks after boot
  bool is_dead() const { return state == 'Z' || state == 'X' || state == 'x'; }
};

/// Nothing if there is no such process.
std::optional<process_stat> read_process_stat(int pid);

/// The whole of a small file, at most `limit` bytes; nothing if it cannot be opened or read.
std::optional<std::string> read_small_file(const std::string& path, std::size_t limit);

/// As written into supervisor.lock and LEASE.session.
struct process_identity {
  std::string boot_id;
  std::uint64_t pid_namespace = 0;
  int pid = 0;
  std::uint64_t start_time = 0;
};
process_identity this_process();
std::string to_text(const process_identity& who);
std::optional<process_identity> parse_identity(const std::string& text);
/// Of this boot and PID namespace: elsewhere its number means nothing.
bool is_of_this_system(const process_identity& who);
bool is_alive(const process_identity& who);

}  // namespace orchestrator::process
