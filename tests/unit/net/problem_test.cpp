// Tests the bodies of error answers and the table of statuses.
#include "problem.hpp"

#include <doctest/doctest.h>
#include <boost/json.hpp>

using namespace orchestrator;
using namespace orchestrator::net;

namespace {
const std::string* header_of(const http_response& r, const std::string& name) {
  for (const auto& [key, value] : r.headers)
    if (key == name) return &value;
  return nullptr;
}
}  // namespace

TEST_CASE("a refusal becomes an RFC 9457 problem") {
  const http_response r = problem(refusal{errc::bad_field, "priority must be 0 to 9", "/priority", "give 5"});
  CHECK(r.status == 400);
  CHECK(r.content_type == "application/problem+json");
  const auto body = boost::json::parse(r.body).as_object();
  CHECK(body.at("type").as_string() == "/problems/bad_field");
  CHECK(body.at("status").as_int64() == 400);
  CHECK(body.at("title").as_string().size() > 0);
  CHECK(body.at("detail").as_string() == "priority must be 0 to 9");
  CHECK(body.at("hint").as_string() == "give 5");
  CHECK(body.at("errors").as_array().at(0).at("pointer").as_string() == "/priority");
}

TEST_CASE("members that say nothing are left out, and any bytes make valid JSON") {
  const http_response r = problem(refusal{errc::not_found, "no run \xff\x01", "", ""});
  const auto body = boost::json::parse(r.body).as_object();
  CHECK_FALSE(body.contains("errors"));
  CHECK_FALSE(body.contains("hint"));
  CHECK(r.status == 404);
}

TEST_CASE("every refusal has its status, and two of them a header") {
  const std::pair<errc, int> table[] = {
      {errc::bad_json, 400},  {errc::bad_field, 400},    {errc::unknown_field, 400}, {errc::not_found, 404},
      {errc::conflict, 409},  {errc::precondition, 412}, {errc::key_reused, 422},    {errc::limit, 429},
      {errc::no_space, 507},  {errc::unavailable, 503},  {errc::unauthorised, 401},  {errc::forbidden, 403},
      {errc::too_large, 413}, {errc::unsupported, 415}};
  for (const auto& [code, status] : table) {
    CHECK(http_status(code) == status);
    CHECK(problem(refusal{code, "x", "", ""}).status == status);
    CHECK(reason_phrase(status) != "Unknown");
  }
  CHECK(*header_of(problem(refusal{errc::unavailable, "x", "", ""}), "Retry-After") == "1");
  CHECK(*header_of(problem(refusal{errc::unauthorised, "x", "", ""}), "WWW-Authenticate") == "Bearer");
}

TEST_CASE("an error answer reads as one line for people") {
  CHECK(answer_in_words(401, R"({"detail":"no token was sent"})") == "401 Unauthorized: no token was sent");
  CHECK(answer_in_words(403, "") == "403 Forbidden");
  CHECK(answer_in_words(502, "upstream is down\nmore") == "502 Bad Gateway: upstream is down");
  CHECK(answer_in_words(404, "<html>no</html>") == "404 Not Found");
}
