// The guards on a request's head: what Beast 1.81's parser accepts and this product refuses (folded lines,
// any Transfer-Encoding, repeated Content-Length, no Host, ...). Pure; called by http_session for every
// request.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <orchestrator/net/http.hpp>

#include "problem.hpp"

namespace orchestrator::net {

/// Looks at the bytes of a head as they arrive, each once, and refuses at the first that cannot be right.
class head_scanner {
 public:
  enum class verdict { incomplete, complete, malformed, target_too_long, too_large, too_many_fields };
  /// `bytes` is everything received since the start of this head.
  verdict scan(std::string_view bytes);
  /// Length of a complete head, its empty line included.
  std::size_t size() const { return at_; }

 private:
  bool line_byte_is_allowed(char c);

  std::size_t at_ = 0;
  std::size_t line_start_ = 0;
  std::size_t lines_ = 0;
  std::size_t spaces_ = 0;  // in the request line
  std::size_t target_start_ = 0;
};
http_refusal refusal_of(head_scanner::verdict v);

/// A head as parsed by Beast: names in lower case, repeated fields kept apart.
struct request_head {
  std::string method, target;
  int version = 11;
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Under which names this server answers.
struct host_policy {
  std::string listen_host;  ///< as given to listen()
  std::uint16_t port = 0;
  std::vector<std::string> allowed_hosts;
};

/// A head that passed every guard that does not depend on the route.
struct checked_head {
  http_request request;               ///< without its body
  std::vector<std::string> segments;  ///< of the path, decoded one by one
  std::size_t content_length = 0;
  bool keep_alive = true;
  bool expects_continue = false;
  bool understands_chunks = false;  ///< HTTP/1.1: understands a chunked answer
  bool wants_websocket = false;     ///< Upgrade names websocket
};

/// 505 for an HTTP version not spoken here, 400 if the request line does not end in one. `head` is complete.
std::optional<http_refusal> check_version(std::string_view head);
/// `local_address` is the address the connection arrived at. On refusal `out` is unspecified.
std::optional<http_refusal> check_head(const request_head& head, const host_policy& policy,
                                       const std::string& local_address, checked_head& out);
/// 400 or 426 unless the head is a well-formed WebSocket upgrade of version 13.
std::optional<http_refusal> check_upgrade(const checked_head& head);
/// True for application/json, with no parameter but charset=utf-8.
bool is_json_type(std::string_view content_type);
/// True if the comma-separated `list` holds `token` (in lower case), whatever its case there.
bool has_token(std::string_view list, std::string_view token);
std::string to_lower(std::string_view text);

}  // namespace orchestrator::net
