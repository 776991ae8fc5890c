// spool/LEASE.session: who leads the session of a lease's processes, so that they are found again when the
// supervisor has died and no daemon remembers it either. The environment alone does not do: `env -i` empties
// it, and that of another user's process cannot be read. Written by the supervisor at the start, removed with
// the lease; read by kill_lease_processes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "identity.hpp"
#include "process_tree.hpp"

namespace orchestrator::process {

/// `spool` is the open directory. A disk that takes no byte costs no job: its processes are then found by
/// their environment only.
void write_session(int spool, std::uint64_t lease, const process_identity& leader);
void remove_session(int spool, std::uint64_t lease);

/// The session of the lease as it can be looked for now; none if it was recorded in another boot or PID
/// namespace, where its number means nothing, or not at all.
lease_session read_session(const std::filesystem::path& work_dir, std::uint64_t lease);

/// The lease, if it is the name of such a file.
std::optional<std::uint64_t> parse_session_name(std::string_view name);

}  // namespace orchestrator::process
