// The SQL of access_records.hpp. Written by main_writer inside its transactions, read by the reader's thread
// and at a start.
#pragma once

#include <orchestrator/store/access_records.hpp>

#include "connection.hpp"

namespace orchestrator::store {

/// One row, in the open transaction.
void apply_access(connection& db, const access_change& change);
access_snapshot load_access(connection& db);
std::vector<audit_entry> list_audit(connection& db, const audit_filter& filter);

struct audit_trim {
  wall_time before{};
  std::uint64_t count = 0;
};
/// Deletes a few hundred entries in the open transaction; true when there was nothing left to delete.
bool trim_audit(connection& db, const audit_trim& wanted);

}  // namespace orchestrator::store
