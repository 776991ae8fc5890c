// Where a worker's token comes from.
#pragma once

#include <filesystem>
#include <string>

#include <orchestrator/base/result.hpp>
#include <orchestrator/net/http.hpp>

namespace orchestrator::worker_shell {

/// The first line of `file`; or, when that is empty, the worker token of a coordinator of the same user that
/// serves this loopback address. Empty if there is none: the coordinator then says what it wants. Read again
/// at each connection, so that a coordinator started later is found.
result<std::string> find_worker_token(const std::filesystem::path& file, const net::server_url& server);

}  // namespace orchestrator::worker_shell
