// Opens the coordinator's data directory: two SQLite databases, a lock, and the threads that serve them.
#pragma once

#include <filesystem>

#include <orchestrator/store/access_records.hpp>
#include <orchestrator/store/store.hpp>

namespace orchestrator::store {

/// Why a data directory could not be opened; `exit_code` is the daemon's (sysexits): 65 corrupt, 73 cannot
/// create, 74 I/O error, 75 in use, 77 permission, 78 newer schema.
struct open_failure {
  int exit_code = 74;
  std::string message;  ///< what, why, what to do
};

struct opened_store {
  std::unique_ptr<store> store_ptr;
  orchestrator::snapshot snapshot;
  access_records* access = nullptr;  ///< of the same store, and as long as it
  access_snapshot access_found;
};

/// The schema version this binary writes. Older ones are migrated in one transaction, newer ones refused.
int schema_version();

/// Locks `dir` (creating it 0700 with its parent fsynced), recovers, migrates, checkpoints, raises the term
/// under synchronous=FULL, loads the snapshot, and starts the writer, output and reader threads. `now` dates
/// new rows. On a commit or checkpoint error other than FULL or BUSY the writer thread ends the process
/// with 74. An output database that was there once and is not any more is refused (65), unless
/// `accept_lost_output`: then an empty one takes its place, and the snapshot says so.
boost::system::result<opened_store, open_failure> open_sqlite_store(const std::filesystem::path& dir,
                                                                    wall_time now, store_events events,
                                                                    bool accept_lost_output = false);
[[noreturn]] void throw_exception_from_error(const open_failure& f, const boost::source_location& where);

}  // namespace orchestrator::store
