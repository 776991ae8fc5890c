// The SQL of both databases and the steps from one schema version to the next. open.cpp runs them.
#pragma once

#include <cstdint>
#include <span>

namespace orchestrator::store {

inline constexpr std::int64_t main_application_id = 0x4f524348;    // "ORCH"
inline constexpr std::int64_t output_application_id = 0x4f524350;  // the second file of a pair

/// migrations[v] brings a database from version v to v + 1; a new database starts at 0.
std::span<const char* const> main_migrations();
std::span<const char* const> output_migrations();

}  // namespace orchestrator::store
