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

}  // namespace orchestrator::server
