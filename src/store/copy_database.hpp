// Copies a database page by page into a new file, while others write to the original. Used for backups and
// for restoring them.
#pragma once

#include <filesystem>

#include "connection.hpp"

namespace orchestrator::store {

/// Copies what `from` sees in its open read transaction to `file`, which must not exist, reads the copy
/// through and makes it durable; its directory is the caller's. The copy has no log of its own, so that it
/// can be copied as one file. `stamp` is run on it. Throws open_error.
void copy_database(connection& from, const std::filesystem::path& file, const std::string& stamp);

}  // namespace orchestrator::store
