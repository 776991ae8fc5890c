// Finds the worker's token. See token.hpp.
#include "token.hpp"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include <orchestrator/net/local_servers.hpp>

namespace orchestrator::worker_shell {
namespace fs = std::filesystem;

result<std::string> find_worker_token(const fs::path& file, const net::server_url& server) {
  if (!file.empty()) {
    errno = 0;
    std::string token = net::first_line(file);
    if (!token.empty()) return token;
    return refusal{
        errc::bad_field,
        fmt::format("--token-file: cannot read a token from {}: {}. Give it the file worker.token of the "
                    "server's data directory",
                    file.string(), errno == 0 ? "it is empty" : std::strerror(errno)),
        "", ""};
  }
  return net::find_local_token(server.host, server.port, "worker");
}

}  // namespace orchestrator::worker_shell
