// URLs of servers and calls. Pure text work; called by the clients of this layer and by the command line.
#include "url.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/net/http.hpp>

namespace orchestrator::net {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

refusal bad_url(std::string_view text, std::string_view why) {
  return {errc::bad_field, fmt::format("'{}' is not a server address: {}", printable(text), why), "",
          "give http://HOST:PORT, ws://HOST:PORT/PATH or HOST:PORT"};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Splits "host", "host:port", "[v6]" or "[v6]:port" into the two parts of `out`; says what is wrong
/// otherwise.
const char* split_host_port(std::string_view text, url& out) {
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text.front() == '[') {
    const std::size_t end = text.find(']');
    if (end == text.npos) return "the bracket of the IPv6 address is not closed";
    out.host = lower(text.substr(1, end - 1));
    const std::string_view rest = text.substr(end + 1);
    has_port = !rest.empty();
    if (has_port && rest.front() != ':') return "there is text between the IPv6 address and the port";
    if (has_port) port = rest.substr(1);
  } else {
    const std::size_t colon = text.find(':');
    if (colon != text.npos && text.find(':', colon + 1) != text.npos)
      return "an IPv6 address needs brackets, as in [::1]:8000";
    has_port = colon != text.npos;
    out.host = lower(text.substr(0, colon));
    if (has_port) port = text.substr(colon + 1);
  }
  if (out.host.empty()) return "the host is missing";
  if (!has_port) return nullptr;
  unsigned value = 0;
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), value);
  if (ec != std::errc{} || end != port.data() + port.size() || value == 0 || value > 65535)
    return "the port must be a number from 1 to 65535";
  out.port = static_cast<std::uint16_t>(value);
  return nullptr;
}

/// user:password before the '@', percent-decoded.
const char* split_userinfo(std::string_view text, url& out) {
  const std::size_t colon = text.find(':');
  const auto user = percent_decode(text.substr(0, colon));
  const auto password = percent_decode(colon == text.npos ? std::string_view{} : text.substr(colon + 1));
  if (!user || !password) return "the user or password has a broken % escape";
  if (user->find(':') != user->npos) return "a user name cannot hold a colon";
  out.user = *user;
  out.password = *password;
  return nullptr;
}

std::string bracketed(const std::string& host) {
  return host.find(':') == host.npos ? host : "[" + host + "]";
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string url::authority(std::uint16_t default_port) const {
  return bracketed(host) + ":" + std::to_string(port.value_or(default_port));
}

result<url> parse_url(std::string_view text) {
  const bool clean = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (text.empty()) return bad_url(text, "it is empty");
  if (!clean) return bad_url(text, "it holds blanks, control or non-ASCII characters");
  url out;
  std::string_view rest = text;
  if (const std::size_t scheme = rest.find("://"); scheme != rest.npos) {
    out.scheme = lower(rest.substr(0, scheme));
    rest.remove_prefix(scheme + 3);
  }
  rest = rest.substr(0, rest.find('#'));
  const std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, authority_end);
  out.target = rest.substr(authority_end);
  if (!out.target.empty() && out.target.front() == '?') out.target.insert(0, "/");
  const char* wrong = nullptr;
  if (const std::size_t at = authority.rfind('@'); at != authority.npos) {
    wrong = split_userinfo(authority.substr(0, at), out);
    authority.remove_prefix(at + 1);
  }
  if (!wrong) wrong = split_host_port(authority, out);
  if (wrong) return bad_url(text, wrong);
  return out;
}

result<server_url> parse_server_url(std::string_view text) {
  const result<url> parsed = parse_url(text);
  if (parsed.has_error()) return parsed.error();
  const std::string& scheme = parsed->scheme;
  if (!scheme.empty() && scheme != "http" && scheme != "https" && scheme != "ws" && scheme != "wss")
    return bad_url(text, "the scheme must be http, https, ws or wss");
  if (parsed->target.find('?') != parsed->target.npos) return bad_url(text, "a query has no meaning here");
  server_url out;
  out.tls = scheme == "https" || scheme == "wss";
  out.host = parsed->host;
  out.port = parsed->port.value_or(out.port);
  out.path = parsed->target == "/" ? "" : parsed->target;
  out.user = parsed->user;
  out.password = parsed->password;
  return out;
}

std::string server_url::http() const {
  return fmt::format("{}://{}:{}", tls ? "https" : "http", bracketed(host), port);
}

std::string server_url::websocket() const {
  const std::string_view where = path.empty() ? std::string_view("/ws/heartbeat") : std::string_view(path);
  return fmt::format("{}://{}:{}{}", tls ? "wss" : "ws", bracketed(host), port, where);
}

}  // namespace orchestrator::net
