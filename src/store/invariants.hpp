// The invariants of the guarantees that can be judged on the databases alone, each implemented once: most are
// a query whose rows are the offenders. `server check`, the chaos tests (through it) and the storage sweep
// run them all.
#pragma once

#include <vector>

#include <orchestrator/store/maintenance.hpp>

#include "connection.hpp"

namespace orchestrator::store {

/// Appends one finding for each check. Both connections should be in a read transaction.
void check_invariants(connection& main, connection& output, std::vector<check_finding>& out);

}  // namespace orchestrator::store
