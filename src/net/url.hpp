// Splitting of URLs as users write them. Used by the HTTP client, the WebSocket dialler and parse_server_url.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/base/result.hpp>

namespace orchestrator::net {

struct url {
  std::string scheme;  ///< lower case; "" when the text had none
  std::string user, password;
  std::string host;  ///< lower case, an IPv6 literal without its brackets
  std::optional<std::uint16_t> port;
  std::string target;  ///< path and query as given, "" when there was none; never a fragment
  /// What goes into the Host header: brackets around IPv6, the port always.
  std::string authority(std::uint16_t default_port) const;
};

/// Refuses what cannot be dialled: no host, a bad port, blanks and control characters.
result<url> parse_url(std::string_view text);

/// Undoes %XX. Nothing when an escape is incomplete or not hexadecimal.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);

}  // namespace orchestrator::net
