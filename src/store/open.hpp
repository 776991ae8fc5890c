// Opens the two databases of a data directory as every start has to: checked, migrated, checkpointed, and
// with the new term durable before anybody sees a row. sqlite_store.cpp calls it.
#pragma once

#include <filesystem>

#include <orchestrator/model/snapshot.hpp>
#include <orchestrator/store/sqlite_store.hpp>

#include "commit_thread.hpp"
#include "connection.hpp"
#include "data_dir.hpp"

namespace orchestrator::store {

struct opened_databases {
  connection main;
  connection output;
  orchestrator::snapshot snapshot;
  std::vector<lease_id> output_to_drop;  ///< a purge that the last process did not finish
  access_snapshot access;
};

inline constexpr const char* main_file = "orchestrator.db";
inline constexpr const char* output_file = "output.db";

/// While this file is there a restore was cut short, and what lies beside it is neither the old data nor the
/// new.
inline constexpr const char* restoring_file = "orchestrator.db.restoring";

/// One of the two databases of `dir`, recognised as a start would and not touched: read-only, and in a read
/// transaction from here on. Throws open_error.
connection open_read_only(const std::filesystem::path& dir, const char* file);
/// Throws the open_error that a failure of SQLite means for this file.
[[noreturn]] void refuse_failed(const std::filesystem::path& file, const SQLite::Exception& e);
/// Refuses what `PRAGMA integrity_check` complains about.
void check_integrity(connection& db, const std::filesystem::path& file);

/// `dir` is prepared and locked. Throws open_error.
opened_databases open_databases(const std::filesystem::path& dir, wall_time now, bool accept_lost_output);

/// Reads everything the engine continues with.
orchestrator::snapshot load_snapshot(connection& main, connection& output, wall_time now);

/// open_sqlite_store with hooks for tests.
struct store_hooks {
  writer_settings main, output;
  bool accept_lost_output = false;
};
boost::system::result<opened_store, open_failure> open_sqlite_store(const std::filesystem::path& dir,
                                                                    wall_time now, store_events events,
                                                                    store_hooks hooks);

}  // namespace orchestrator::store
