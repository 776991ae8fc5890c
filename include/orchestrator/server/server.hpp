// The coordinator's shell: opens the store, listens, and moves bytes between sockets, the engine and the
// disk. It decides nothing. Called by main.cpp for --role=server.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/engine/config.hpp>
#include <orchestrator/net/websocket.hpp>

namespace orchestrator::server {

enum class auth_mode { token, off };

struct server_options {
  std::string listen_host = "127.0.0.1";
  std::uint16_t listen_port = 8000;  ///< 0 picks a free one
  std::filesystem::path data_dir;    ///< empty: the default one, see default_data_dir
  auth_mode auth = auth_mode::token;
  bool insecure_plaintext = false;  ///< listen beyond loopback without TLS, knowingly
  std::vector<std::string> allowed_hosts;
  engine::config engine;
  net::websocket_options websocket;
  milliseconds retain_age = std::chrono::hours{24 * 30};
  std::uint64_t retain_count = 1'000'000;
  bool accept_lost_output = false;  ///< go on with an empty output database if it is gone
  bool trust_clock = false;         ///< retention goes by the wall clock, however far ahead it is
  milliseconds audit_age = std::chrono::hours{24 * 365};
  std::uint64_t audit_count = 1'000'000;
};

/// $XDG_STATE_HOME/orchestrator/server, else ~/.local/state/orchestrator/server.
std::filesystem::path default_data_dir();

/// Runs until SIGTERM or SIGINT and returns the exit code (sysexits). Prints `listening on http://HOST:PORT`
/// at INFO once it is ready to serve.
int run_server(server_options options);

}  // namespace orchestrator::server
