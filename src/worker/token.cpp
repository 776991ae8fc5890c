// Finds the worker's token. See token.hpp.
#include "token.hpp"

#include <fmt/format.h>

#include <orchestrator/net/local_servers.hpp>

namespace orchestrator::worker_shell {
namespace fs = std::filesystem;

result<std::string> find_worker_token(const fs::path& file, const net::server_url& server) {
  if (!file.empty()) {
    std::string token = net::first_line(file);
    if (token.empty()) {
      return refusal{errc::bad_field, fmt::format("--token-file: cannot read a token from {}", file.string()),
                     "", ""};
    }
    return token;
  }
  return net::find_local_token(server.host, server.port, "worker");
}

}  // namespace orchestrator::worker_shell
