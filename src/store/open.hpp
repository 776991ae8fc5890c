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
};

inline constexpr const char* main_file = "orchestrator.db";
inline constexpr const char* output_file = "output.db";

/// `dir` is prepared and locked. Throws open_error.
opened_databases open_databases(const std::filesystem::path& dir, wall_time now);

/// Reads everything the engine continues with.
orchestrator::snapshot load_snapshot(connection& main, connection& output, wall_time now);

/// open_sqlite_store with hooks for tests.
struct store_hooks {
  transaction_hook main, output;
};
boost::system::result<opened_store, open_failure> open_sqlite_store(const std::filesystem::path& dir,
                                                                    wall_time now, store_events events,
                                                                    store_hooks hooks);

}  // namespace orchestrator::store
