// supervisor.lock and supervisor.sock: at most one supervisor per work dir, and a way to it whatever the
// length of the work dir's path. Used by connect_supervisor in the daemon, before the fork; the supervisor
// inherits the results.
#pragma once

#include <filesystem>
#include <optional>

#include <boost/system/result.hpp>

#include "identity.hpp"
#include "unique_fd.hpp"

namespace orchestrator::process {

/// Opens the work dir, creating it and its spool with mode 0700.
boost::system::result<unique_fd> open_work_dir(const std::filesystem::path& work_dir);
boost::system::result<unique_fd> open_spool_dir(int work_dir);

/// The lock file, held. An empty descriptor means that a living supervisor holds it.
boost::system::result<unique_fd> try_lock(int work_dir);
/// Writes down who holds the lock; the lock itself is the truth, this is for people and for foreign
/// namespaces.
void write_lock_owner(int lock, const process_identity& owner);
std::optional<process_identity> read_lock_owner(int work_dir);

/// A listening socket at work_dir/supervisor.sock, mode 0600. A stale one is removed: call with the lock
/// held.
boost::system::result<unique_fd> listen_in(int work_dir);
/// A non-blocking connection to it.
boost::system::result<unique_fd> connect_in(int work_dir);

}  // namespace orchestrator::process
