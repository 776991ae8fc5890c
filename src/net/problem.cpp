// RFC 9457 problems, and the one table from refusal codes to HTTP statuses. Called by http_session for what
// it refuses itself and by every handler for what the product refuses.
#include "problem.hpp"

#include <fmt/format.h>
#include <boost/json.hpp>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

namespace orchestrator::net {

namespace {

namespace json = boost::json;

/// Details may quote input; a problem must be valid JSON whatever that was.
std::string text_of(std::string_view text) {
  return is_utf8(text) ? std::string(text) : printable(text, text.size() * 4);
}

http_response answer(int status, std::string_view code, std::string_view title, std::string_view detail,
                     const refusal* source) {
  json::object body;
  body["type"] = fmt::format("/problems/{}", code);
  body["title"] = title;
  body["status"] = status;
  body["detail"] = text_of(detail);
  if (source && !source->pointer.empty()) {
    json::object error;
    error["pointer"] = text_of(source->pointer);
    error["detail"] = text_of(detail);
    body["errors"] = json::array({json::value(std::move(error))});
  }
  if (source && !source->hint.empty()) body["hint"] = text_of(source->hint);
  http_response out;
  out.status = status;
  out.content_type = "application/problem+json";
  out.body = protocol::write_json(body);
  return out;
}

std::string_view title_of(errc code) {
  switch (code) {
    case errc::bad_json: return "The body is not acceptable JSON";
    case errc::bad_field: return "A value is outside its type or range";
    case errc::unknown_field: return "A key is not known";
    case errc::not_found: return "There is no such thing";
    case errc::conflict: return "The present state forbids it";
    case errc::precondition: return "The version has changed";
    case errc::key_reused: return "The idempotency key belongs to another request";
    case errc::limit: return "A limit is reached";
    case errc::no_space: return "The disk is full";
    case errc::unavailable: return "Not possible right now";
    case errc::unauthorised: return "No valid credential was given";
    case errc::forbidden: return "The credential does not allow this";
    case errc::too_large: return "The request is too large";
    case errc::unsupported: return "This form is not supported";
  }
  ORC_CHECK(false, "an errc outside its enumeration");
}

}  // namespace

int http_status(errc code) {
  switch (code) {
    case errc::bad_json:
    case errc::bad_field:
    case errc::unknown_field: return 400;
    case errc::not_found: return 404;
    case errc::conflict: return 409;
    case errc::precondition: return 412;
    case errc::key_reused: return 422;
    case errc::limit: return 429;
    case errc::no_space: return 507;
    case errc::unavailable: return 503;
    case errc::unauthorised: return 401;
    case errc::forbidden: return 403;
    case errc::too_large: return 413;
    case errc::unsupported: return 415;
  }
  ORC_CHECK(false, "an errc outside its enumeration");
}

http_response problem(const refusal& r) {
  http_response out = answer(http_status(r.code), to_string(r.code), title_of(r.code), r.detail, &r);
  if (r.code == errc::unavailable) out.headers.emplace_back("Retry-After", "1");
  if (r.code == errc::unauthorised) out.headers.emplace_back("WWW-Authenticate", "Bearer");
  return out;
}

http_response problem(const http_refusal& refused) {
  http_response out =
      answer(refused.status, refused.code, reason_phrase(refused.status), refused.detail, nullptr);
  out.headers = refused.headers;
  return out;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
  }
}

std::string answer_in_words(int status, std::string_view body) {
  std::string out = fmt::format("{} {}", status, reason_phrase(status));
  error_code ec;
  const json::value parsed = json::parse(body, ec);
  const json::value* detail = !ec && parsed.is_object() ? parsed.get_object().if_contains("detail") : nullptr;
  if (detail && detail->is_string()) {
    out += ": " + printable(detail->get_string());
  } else if (ec && !body.empty() && body.find('<') == body.npos) {
    out += ": " + printable(body.substr(0, body.find_first_of("\r\n")));
  }
  return out;
}

}  // namespace orchestrator::net
