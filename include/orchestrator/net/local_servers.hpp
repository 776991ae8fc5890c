// Coordinators of the same user on this machine: which data directory serves which address, so that commands
// and workers find their token without being told. Written by the server when it listens; read by the
// command line and by workers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <boost/system/error_code.hpp>

namespace orchestrator::net {

/// $XDG_STATE_HOME/orchestrator, or ~/.local/state/orchestrator.
std::filesystem::path state_dir();

/// The first line of a file without trailing spaces; empty if it cannot be read.
std::string first_line(const std::filesystem::path& file);
/// Makes the file hold that one line, readable by its owner only: on disk and whole, or as it was.
boost::system::error_code write_line(const std::filesystem::path& file, const std::string& line);

/// localhost, ::1 or 127.*: only there a token may be looked for.
bool is_loopback_name(const std::string& host);

/// Remembers that this data directory serves that address; what went wrong, if it could not.
std::optional<std::string> record_server(const std::string& host, std::uint16_t port,
                                         const std::filesystem::path& data_dir);

/// Removes what was recorded for a data directory that is going to be removed itself.
void forget_server(const std::filesystem::path& data_dir);

/// The token of that kind ("admin", "worker") of the coordinator that was recorded for a loopback address.
/// Empty if there is none: the coordinator then says what it wants.
std::string find_local_token(const std::string& host, std::uint16_t port, const std::string& kind);

}  // namespace orchestrator::net
