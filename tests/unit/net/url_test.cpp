// Tests how addresses of servers are read.
#include "url.hpp"

#include <doctest/doctest.h>

#include <orchestrator/net/http.hpp>

using namespace orchestrator;
using namespace orchestrator::net;

TEST_CASE("a server may be given as host:port, http or ws") {
  const auto plain = parse_server_url("build-1:9000");
  REQUIRE(plain.has_value());
  CHECK(plain->http() == "http://build-1:9000");
  CHECK(plain->websocket() == "ws://build-1:9000/ws/heartbeat");
  CHECK(parse_server_url("localhost")->http() == "http://localhost:8000");
  CHECK(parse_server_url("http://LocalHost:1/")->http() == "http://localhost:1");
  CHECK(parse_server_url("ws://h:2/other")->websocket() == "ws://h:2/other");
  CHECK(parse_server_url("ws://h:2/other")->http() == "http://h:2");
  CHECK(parse_server_url("wss://h")->tls);
  CHECK(parse_server_url("https://h")->http() == "https://h:8000");
}

TEST_CASE("an IPv6 address keeps its brackets where they are needed") {
  const auto v6 = parse_server_url("http://[::1]:7000");
  REQUIRE(v6.has_value());
  CHECK(v6->host == "::1");
  CHECK(v6->port == 7000);
  CHECK(v6->http() == "http://[::1]:7000");
  CHECK(parse_server_url("::1").has_error());
}

TEST_CASE("user and password are decoded") {
  const auto url = parse_server_url("ws://worker:to%40ken@host:1");
  REQUIRE(url.has_value());
  CHECK(url->user == "worker");
  CHECK(url->password == "to@ken");
  CHECK(url->host == "host");
}

TEST_CASE("what cannot be dialled is refused with a reason") {
  for (const char* text :
       {"", "http://", "http://:80", "h:0", "h:65536", "h:12x", "h:", "ftp://h", "http://a b",
        "http://h/?q=1", "http://[::1", "http://[::1]x", "h\n:1", "ws://u%zz@h"}) {
    CAPTURE(text);
    const auto url = parse_server_url(text);
    REQUIRE(url.has_error());
    CHECK(url.error().code == errc::bad_field);
    CHECK(url.error().detail.size() > 20);
  }
}

TEST_CASE("percent escapes must be whole") {
  CHECK(percent_decode("a%20b%2f") == "a b/");
  CHECK(percent_decode("a+b", true) == "a b");
  CHECK(percent_decode("a+b") == "a+b");
  CHECK_FALSE(percent_decode("%2"));
  CHECK_FALSE(percent_decode("%"));
  CHECK_FALSE(percent_decode("%g0"));
}
