// Who may call what. Two tokens are made at the first start, in files of mode 0600 in the data directory:
// admin for the HTTP API, worker for the worker endpoint. A worker's token cannot call the API and the other
// way round.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <orchestrator/base/result.hpp>
#include <orchestrator/net/http.hpp>

namespace orchestrator::server {

class authenticator {
 public:
  /// Everybody is let in; for loopback only, which server.cpp checks.
  static authenticator off();
  /// Reads `data_dir`/admin.token and worker.token, making those that are missing. A refusal names the file.
  static result<authenticator> from_files(const std::filesystem::path& data_dir);

  /// For API routes: `Authorization: Bearer` with the admin token.
  std::optional<refusal> check_api(const net::http_request& head) const;
  /// For /ws/heartbeat: Bearer, or Basic with user `worker`, with the worker token.
  std::optional<refusal> check_worker(const net::http_request& head) const;

 private:
  bool enabled_ = false;
  std::string admin_, worker_;
};

/// Remembers under $XDG_STATE_HOME/orchestrator/servers/HOST:PORT which data directory serves that address,
/// so that the CLI and workers of the same user find their tokens. Failure is not fatal: it is returned for
/// the log.
std::optional<std::string> record_server(const std::string& host, std::uint16_t port,
                                         const std::filesystem::path& data_dir);

}  // namespace orchestrator::server
