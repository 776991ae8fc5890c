// See http_head.hpp. Order matters: the first guard that fails decides the status, so framing comes first (a
// peer whose framing is unclear must not get to the rest), then who is addressed, then who asks.
#include "http_head.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "url.hpp"

namespace orchestrator::net {

namespace {

using maybe_refusal = std::optional<http_refusal>;

http_refusal bad_request(std::string detail) { return {400, "bad_request", std::move(detail), {}}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Fields that decide something; two of them would let two readers of the same request disagree.
constexpr std::array<std::string_view, 13> single_fields = {"host",
                                                            "content-length",
                                                            "content-type",
                                                            "content-encoding",
                                                            "authorization",
                                                            "origin",
                                                            "expect",
                                                            "upgrade",
                                                            "if-match",
                                                            "idempotency-key",
                                                            "sec-websocket-key",
                                                            "sec-websocket-version",
                                                            "last-event-id"};

maybe_refusal collect_fields(const request_head& head, http_request& out) {
  for (const auto& [name, value] : head.fields) {
    const auto [at, is_new] = out.headers.try_emplace(name, value);
    if (is_new) continue;
    if (std::find(single_fields.begin(), single_fields.end(), name) != single_fields.end())
      return bad_request(fmt::format("the {} header was sent twice", name));
    at->second += (name == "cookie" ? "; " : ", ") + value;
  }
  return std::nullopt;
}

maybe_refusal check_framing(const http_request& request, checked_head& out) {
  if (request.header("transfer-encoding"))
    return http_refusal{411, "length_required", "Transfer-Encoding is not accepted; send Content-Length", {}};
  const std::string* length = request.header("content-length");
  const bool needs_length = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  if (!length && needs_length)
    return http_refusal{411, "length_required", "a request of this method needs Content-Length", {}};
  if (!length) return std::nullopt;
  const bool digits = !length->empty() && std::all_of(length->begin(), length->end(), is_digit);
  const auto [end, ec] = std::from_chars(length->data(), length->data() + length->size(), out.content_length);
  if (!digits || ec != std::errc{} || end != length->data() + length->size())
    return bad_request("Content-Length must be one decimal number");
  return std::nullopt;
}

/// A Host header in its parts. Nothing if it is not host[:port].
struct host_name {
  std::string name;  // lower case, without brackets
  std::string port;  // "" if none was given
};
std::optional<host_name> parse_host(std::string_view text) {
  const std::string lower = to_lower(text);
  std::string_view rest = lower;
  host_name out;
  if (!rest.empty() && rest.front() == '[') {
    const std::size_t end = rest.find(']');
    if (end == rest.npos) return std::nullopt;
    out.name = rest.substr(1, end - 1);
    if (out.name.find_first_not_of("0123456789abcdef:.") != out.name.npos) return std::nullopt;
    rest.remove_prefix(end + 1);
  } else {
    out.name = rest.substr(0, rest.find(':'));
    if (out.name.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz.-_") != out.name.npos)
      return std::nullopt;
    rest.remove_prefix(out.name.size());
  }
  if (out.name.empty()) return std::nullopt;
  if (rest.empty()) return out;
  out.port = rest.substr(1);
  if (rest.front() != ':' || out.port.empty() || out.port.size() > 5) return std::nullopt;
  if (!std::all_of(out.port.begin(), out.port.end(), is_digit)) return std::nullopt;
  return out;
}

bool host_is_ours(const host_name& host, const host_policy& policy, const std::string& local_address) {
  for (const std::string& allowed : policy.allowed_hosts) {
    const auto entry = parse_host(allowed);
    if (entry && entry->name == host.name && (entry->port.empty() || entry->port == host.port)) return true;
  }
  if (!host.port.empty() && host.port != std::to_string(policy.port)) return false;
  // A literal equal to the address the connection arrived at cannot come from DNS, so rebinding cannot forge
  // it.
  return host.name == "localhost" || host.name == "127.0.0.1" || host.name == "::1" ||
         host.name == to_lower(policy.listen_host) || host.name == local_address;
}

maybe_refusal check_host(const http_request& request, const host_policy& policy, const std::string& local) {
  const std::string* given = request.header("host");
  if (!given) return bad_request("the Host header is missing");
  const auto host = parse_host(*given);
  if (!host) return bad_request("the Host header is not host or host:port");
  if (host_is_ours(*host, policy, local)) return std::nullopt;
  return http_refusal{421,
                      "unknown_host",
                      fmt::format("this server does not answer for '{}'; use its address, or allow the name",
                                  printable(*given)),
                      {}};
}

/// A page of another origin may make a browser send requests here; it must not get anything done by that.
maybe_refusal check_origin(const http_request& request) {
  const std::string* origin = request.header("origin");
  if (!origin) return std::nullopt;
  const std::string host = to_lower(*request.header("host"));
  const std::string given = to_lower(*origin);
  if (given == "http://" + host || given == "https://" + host) return std::nullopt;
  return http_refusal{403,
                      "foreign_origin",
                      fmt::format("requests from pages of '{}' are not accepted", printable(*origin)),
                      {}};
}

maybe_refusal parse_query(std::string_view text, http_request& out) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    const auto key = percent_decode(pair.substr(0, equals), true);
    const auto value =
        percent_decode(equals == pair.npos ? std::string_view{} : pair.substr(equals + 1), true);
    if (!key || !value || !is_utf8(*key) || !is_utf8(*value))
      return bad_request("the query is not percent-encoded UTF-8");
    if (!out.query.try_emplace(*key, *value).second)
      return bad_request(fmt::format("the query parameter '{}' was given twice", printable(*key)));
  }
  return std::nullopt;
}

/// Origin form only. Segments are decoded after splitting, so that an encoded slash never makes a new
/// segment.
maybe_refusal parse_target(const std::string& target, checked_head& out) {
  if (target.empty() || target.front() != '/')
    return bad_request("the request target must be a path that starts with /");
  if (target.find('#') != target.npos) return bad_request("the request target must not hold a fragment");
  const std::size_t question = target.find('?');
  std::string_view path = std::string_view(target).substr(0, question);
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    const auto decoded = percent_decode(segment);
    if (!decoded) return bad_request("the path has a broken % escape");
    out.request.path += "/" + *decoded;
    out.segments.push_back(*decoded);
  }
  if (question == target.npos) return std::nullopt;
  return parse_query(std::string_view(target).substr(question + 1), out.request);
}

maybe_refusal check_expectation(checked_head& out) {
  const std::string* expect = out.request.header("expect");
  if (!expect) return std::nullopt;
  if (to_lower(*expect) != "100-continue")
    return http_refusal{417, "expectation_failed", "only Expect: 100-continue is known", {}};
  out.expects_continue = true;
  return std::nullopt;
}

}  // namespace

head_scanner::verdict head_scanner::scan(std::string_view bytes) {
  for (; at_ < bytes.size(); ++at_) {
    if (at_ >= limits::http_header_bytes) return verdict::too_large;
    const char c = bytes[at_];
    const bool after_cr = at_ > line_start_ && bytes[at_ - 1] == '\r';
    if (after_cr != (c == '\n')) return verdict::malformed;  // a bare CR or a bare LF
    if (c == '\n') {
      const bool empty = at_ - line_start_ == 1;
      if (empty && lines_ == 0) return verdict::malformed;
      line_start_ = at_ + 1;
      if (empty) {
        ++at_;
        return verdict::complete;
      }
      if (++lines_ > limits::http_header_count + 1) return verdict::too_many_fields;
    } else if (c != '\r' && !line_byte_is_allowed(c)) {
      return verdict::malformed;
    }
    if (lines_ == 0 && spaces_ == 1 && at_ >= target_start_ + limits::http_target)
      return verdict::target_too_long;
  }
  return verdict::incomplete;
}

bool head_scanner::line_byte_is_allowed(char c) {
  const auto byte = static_cast<unsigned char>(c);
  const bool blank = c == ' ' || c == '\t';
  if (lines_ == 0) {
    if (c == ' ' && ++spaces_ == 1) target_start_ = at_ + 1;
    return byte >= 0x20 && byte < 0x7f;
  }
  if (blank && at_ == line_start_) return false;  // a folded line
  return blank || (byte >= 0x20 && byte != 0x7f);
}

http_refusal refusal_of(head_scanner::verdict v) {
  switch (v) {
    case head_scanner::verdict::target_too_long:
      return {
          414, "target_too_long", fmt::format("the target is longer than {} bytes", limits::http_target), {}};
    case head_scanner::verdict::too_large:
      return {431,
              "head_too_large",
              fmt::format("the head is larger than {} bytes", limits::http_header_bytes),
              {}};
    case head_scanner::verdict::too_many_fields:
      return {431,
              "head_too_large",
              fmt::format("there are more than {} headers", limits::http_header_count),
              {}};
    case head_scanner::verdict::incomplete:
    case head_scanner::verdict::complete:
    case head_scanner::verdict::malformed: break;
  }
  return bad_request("the request head is malformed");
}

maybe_refusal check_version(std::string_view head) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t space = line.rfind(' ');
  const std::string_view version = space == line.npos ? std::string_view{} : line.substr(space + 1);
  if (version == "HTTP/1.1" || version == "HTTP/1.0") return std::nullopt;
  if (version.size() == 8 && version.substr(0, 5) == "HTTP/" && is_digit(version[5]) && is_digit(version[7]))
    return http_refusal{505, "version_not_supported", "HTTP/1.1 is spoken here", {}};
  return bad_request("the request line does not end in an HTTP version");
}

maybe_refusal check_head(const request_head& head, const host_policy& policy,
                         const std::string& local_address, checked_head& out) {
  http_request& request = out.request;
  request.method = head.method;
  if (maybe_refusal r = collect_fields(head, request)) return r;
  if (maybe_refusal r = check_framing(request, out)) return r;
  if (maybe_refusal r = parse_target(head.target, out)) return r;
  if (maybe_refusal r = check_host(request, policy, local_address)) return r;
  if (maybe_refusal r = check_origin(request)) return r;
  if (maybe_refusal r = check_expectation(out)) return r;
  const std::string* connection = request.header("connection");
  const std::string* upgrade = request.header("upgrade");
  out.keep_alive = head.version == 11 && !(connection && has_token(*connection, "close"));
  out.expects_continue = out.expects_continue && head.version == 11;
  out.understands_chunks = head.version == 11;
  out.wants_websocket = upgrade && has_token(*upgrade, "websocket");
  return std::nullopt;
}

maybe_refusal check_upgrade(const checked_head& head) {
  const http_request& request = head.request;
  const std::string* connection = request.header("connection");
  const std::string* key = request.header("sec-websocket-key");
  const std::string* version = request.header("sec-websocket-version");
  http_refusal upgrade_required{426, "upgrade_required", "connect with a WebSocket client of version 13", {}};
  upgrade_required.headers = {{"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}};
  if (!head.wants_websocket) return upgrade_required;
  if (head.content_length > 0) return bad_request("an upgrade request has no body");
  if (!connection || !has_token(*connection, "upgrade"))
    return bad_request("the Connection header must name upgrade");
  if (!version) return bad_request("the Sec-WebSocket-Version header is missing");
  if (*version != "13") return upgrade_required;
  const auto decoded = key ? base64_decode(*key) : std::nullopt;
  if (!decoded || decoded->size() != 16)
    return bad_request("the Sec-WebSocket-Key header must be 16 bytes in base64");
  return std::nullopt;
}

bool is_json_type(std::string_view content_type) {
  const std::string lower = to_lower(content_type);
  const std::size_t semicolon = lower.find(';');
  if (trimmed(std::string_view(lower).substr(0, semicolon)) != "application/json") return false;
  if (semicolon == lower.npos) return true;
  const std::string_view parameter = trimmed(std::string_view(lower).substr(semicolon + 1));
  return parameter == "charset=utf-8" || parameter == "charset=\"utf-8\"";
}

bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find(','));
    if (to_lower(trimmed(item)) == token) return true;
    list.remove_prefix(std::min(item.size() + 1, list.size()));
  }
  return false;
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace orchestrator::net
