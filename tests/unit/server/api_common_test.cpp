// What every resource of the API does with parameters and bodies that cannot be.
#include <doctest/doctest.h>

#include "api.hpp"

using namespace orchestrator;
using namespace orchestrator::server;

namespace {

net::http_request query(std::map<std::string, std::string> parameters) {
  net::http_request r;
  for (auto& [name, value] : parameters) r.query[name] = value;
  return r;
}

net::http_request with_body(std::string text) {
  net::http_request r;
  r.body = std::move(text);
  return r;
}

}  // namespace

TEST_CASE("a number in the query is whole, within its range, and has a default") {
  CHECK(*number_parameter(query({}), "limit", 50, 1, 500) == 50);
  CHECK(*number_parameter(query({{"limit", "500"}}), "limit", 50, 1, 500) == 500);
  for (const char* wrong :
       {"", "0", "501", "-1", "+1", "1.5", " 1", "1 ", "0x10", "one", "18446744073709551616"}) {
    CAPTURE(wrong);
    const auto n = number_parameter(query({{"limit", wrong}}), "limit", 50, 1, 500);
    REQUIRE(n.has_error());
    CHECK(n.error().code == errc::bad_field);
    CHECK(n.error().detail == "`limit` must be a whole number from 1 to 500");
  }
}

TEST_CASE("an unknown parameter is refused with the nearest known one") {
  CHECK_FALSE(check_parameters(query({{"limit", "1"}}), {"cursor", "limit"}).has_value());
  const auto refused = check_parameters(query({{"limt", "1"}}), {"cursor", "limit"});
  REQUIRE(refused.has_value());
  CHECK(refused->code == errc::unknown_field);
  CHECK(refused->detail == "unknown parameter `limt`");
  CHECK(refused->hint == "did you mean `limit`?");
  CHECK(check_parameters(query({{"\n\033[2J", "1"}}), {"limit"})->detail.find('\033') == std::string::npos);
}

TEST_CASE("an unknown key of a body is refused with its pointer") {
  const auto body = body_object(with_body(R"({"jobs":[],"dryrun":true})"));
  REQUIRE(body.has_value());
  const auto refused = check_keys(*body, {"jobs", "dry_run"});
  REQUIRE(refused.has_value());
  CHECK(refused->pointer == "/dryrun");
  CHECK(refused->hint == "did you mean `dry_run`?");
}

TEST_CASE("a body is an object or nothing") {
  CHECK(body_object(with_body(""))->empty());
  CHECK(body_object(with_body("{}"))->empty());
  for (const char* wrong :
       {"[]", "7", "null", "\"text\"", "{", "{}{}", "{\"a\":1,\"a\":2}", "\xef\xbb\xbf{}"}) {
    CAPTURE(wrong);
    CHECK(body_object(with_body(wrong)).error().code == errc::bad_json);
  }
}
