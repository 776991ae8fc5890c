// HTTP/1.1 server and client. The server checks heads strictly (guards of interface.md: Host allow-list, no
// Transfer-Encoding, one Content-Length, bounded buffers, deadlines), routes, and hands WebSocket upgrades
// over.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/net/io.hpp>
#include <orchestrator/net/websocket.hpp>

namespace orchestrator::net {

/// Whom the access check let in. This layer only carries it.
struct caller {
  virtual ~caller() = default;
};

struct http_request {
  std::string method;
  std::string path;  ///< percent-decoded, without the query
  std::map<std::string, std::string>
      query;  ///< decoded; a repeated key is refused with 400 before the handler
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  std::string peer_address;
  std::shared_ptr<const net::caller> from;   ///< set by the access check
  std::vector<std::string> path_parameters;  ///< what the route's {…} parts matched, in order
  const std::string* header(std::string_view lower_case_name) const;
};

/// A body that is produced while it is sent (logs -f, SSE). The handler's coroutine writes; write() is false
/// once the peer is gone or was too slow for limits::http_write_stall.
class body_writer {
 public:
  virtual ~body_writer() = default;
  virtual asio::awaitable<bool> write(std::string_view data) = 0;
  /// False once the peer is gone or the server stops: a stream that follows something ends then.
  virtual bool open() const = 0;
};

struct http_response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  /// When set, `body` is ignored and the answer is streamed by this coroutine (chunked, or until close
  /// for 1.0).
  std::function<asio::awaitable<void>(std::shared_ptr<body_writer>)> stream;
};

/// RFC 9457 problem as application/problem+json; status from the one table of errc.
http_response problem(const refusal& r);
int http_status(errc code);

using http_handler = std::function<asio::awaitable<http_response>(http_request)>;

struct route {
  std::string method;
  std::string pattern;  ///< "/api/v1/runs/{id}/cancel": {…} matches one segment
  http_handler handler;
  std::size_t max_body = limits::http_body;
  bool json_body = true;  ///< a body, and any POST, must then be application/json (415 otherwise)
};

/// Called before the handler with the head and, for a request with a body, before the body is read. A refusal
/// is answered as a problem. Authentication lives here: on headers only. It may set `from`.
using access_check = std::function<std::optional<refusal>(http_request& head, const route* matched)>;

struct websocket_endpoint {
  std::string path;  ///< "/ws/heartbeat"
  websocket_options options;
  std::function<std::optional<refusal>(http_request& head)> check;  ///< before the upgrade; may set `from`
  std::function<void(std::shared_ptr<websocket>, const http_request& head)> accepted;
};

/// One answer, for measurements.
struct http_answered {
  std::string_view method;
  std::string_view pattern;  ///< of its route; empty if there is none
  int status = 0;
  nanoseconds took{0};  ///< since its head was whole; a streamed body is not in it
};

struct http_server_options {
  /// Accepted in Host (`name` with any port, or `name:port`), beside the listen address, localhost, the
  /// loopback literals and the literal of the address a connection arrived at.
  std::vector<std::string> allowed_hosts;
  /// After a last answer, how long we wait for the peer to close first (closing at once could lose the
  /// answer).
  std::chrono::milliseconds close_timeout{5'000};
  std::size_t max_connections = limits::connections;
  /// Connections that no request has passed the access check on yet.
  std::size_t max_unauthenticated = limits::connections_unauthenticated;
  std::chrono::milliseconds header_deadline = limits::http_header_deadline;
  std::chrono::milliseconds body_deadline = limits::http_body_deadline;  ///< plus 1 s per 64 KiB
  std::chrono::milliseconds keep_alive = limits::http_keep_alive;
  std::chrono::milliseconds write_stall = limits::http_write_stall;
  std::function<void(const http_answered&)> answered;  ///< called as each answer is about to be sent
};

class http_server {
 public:
  virtual ~http_server() = default;
  virtual void add(route r) = 0;
  virtual void add(websocket_endpoint endpoint) = 0;
  virtual void set_access_check(access_check check) = 0;
  /// Binds and listens. An error has a message for people (address in use, permission).
  virtual boost::system::result<std::uint16_t> listen(const std::string& host, std::uint16_t port) = 0;
  /// Starts accepting.
  virtual void start() = 0;
  /// Ends every connection of a caller that `is_out` names: WebSockets with 1008 and `reason`, others at
  /// once.
  virtual void end_connections(const std::function<bool(const caller&)>& is_out,
                               const std::string& reason) = 0;
  /// Stops accepting, drops half requests, lets answers finish, closes WebSockets with 1001; at most `limit`.
  virtual asio::awaitable<void> stop(std::chrono::milliseconds limit) = 0;
  /// Every route, for the OpenAPI check and `405 Allow`.
  virtual std::vector<std::pair<std::string, std::string>> routes() const = 0;
};
std::unique_ptr<http_server> make_http_server(asio::any_io_executor executor, http_server_options options);

struct http_call {
  std::string method = "GET";
  std::string url;  ///< http://host:port/path?query
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::chrono::milliseconds timeout{30'000};           ///< of the whole call; of silence when streaming
  std::function<bool(std::string_view data)> on_data;  ///< streaming: called per piece; false ends the call
};

struct http_result {
  int status = 0;  ///< 0: no answer came, see `message`
  std::map<std::string, std::string> headers;
  std::string body;
  error_code error;
  std::string message;
};

/// One request on a fresh connection, or on the one kept per host. An answer's body is at most 64 MiB unless
/// streamed.
class http_client {
 public:
  virtual ~http_client() = default;
  virtual asio::awaitable<http_result> call(http_call request) = 0;
};
std::unique_ptr<http_client> make_http_client(asio::any_io_executor executor);

/// http(s)://, ws(s):// or host:port, as --server takes it.
struct server_url {
  bool tls = false;
  std::string host;
  std::uint16_t port = 8000;
  std::string path;  ///< "" when none was given
  std::string user, password;
  std::string http() const;       ///< http://host:port
  std::string websocket() const;  ///< ws://host:port/path, /ws/heartbeat when there was no path
};
result<server_url> parse_server_url(std::string_view text);

}  // namespace orchestrator::net
