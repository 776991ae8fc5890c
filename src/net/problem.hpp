// Error answers of HTTP: statuses that are no domain refusals, and reading a problem back into words.
#pragma once

#include <string>
#include <string_view>

#include <orchestrator/net/http.hpp>

namespace orchestrator::net {

/// A refusal of the protocol itself, which `errc` has no word for (411, 421, 431, ...).
struct http_refusal {
  int status = 400;
  std::string code;  ///< the last part of the problem's type
  std::string detail;
  std::vector<std::pair<std::string, std::string>> headers;
};
http_response problem(const http_refusal& refused);

/// "Not Found"; "Unknown" for a status nobody registered.
std::string_view reason_phrase(int status);

/// What people are told about an error answer: "401 Unauthorized: no token was sent". The detail is taken
/// from a problem's body, else a short text body is quoted.
std::string answer_in_words(int status, std::string_view body);

}  // namespace orchestrator::net
