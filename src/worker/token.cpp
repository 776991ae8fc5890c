// Finds the worker's token. See token.hpp.
#include "token.hpp"

#include <cstdlib>
#include <fstream>

#include <fmt/format.h>

namespace orchestrator::worker_shell {
namespace fs = std::filesystem;
namespace {

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

fs::path servers_dir() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "orchestrator/servers";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr && *home == '/' ? home : "/") / ".local/state/orchestrator/servers";
}

}  // namespace

result<std::string> find_worker_token(const fs::path& file, const net::server_url& server) {
  if (!file.empty()) {
    std::string token = first_line(file);
    if (token.empty()) {
      return refusal{errc::bad_field, fmt::format("--token-file: cannot read a token from {}", file.string()),
                     "", ""};
    }
    return token;
  }
  const bool loopback = server.host == "localhost" || server.host == "::1" || server.host.starts_with("127.");
  if (!loopback) return std::string{};
  for (const std::string& name : {server.host, std::string("127.0.0.1"), std::string("localhost")}) {
    const std::string dir = first_line(servers_dir() / fmt::format("{}:{}", name, server.port) / "data_dir");
    if (!dir.empty()) return first_line(fs::path(dir) / "worker.token");
  }
  return std::string{};
}

}  // namespace orchestrator::worker_shell
