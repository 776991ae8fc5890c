// Tests the pure guards on request heads: bytes in, verdict or refusal out.
#include "http_head.hpp"

#include <doctest/doctest.h>

#include "http_stream.hpp"

using namespace orchestrator;
using namespace orchestrator::net;
using verdict = head_scanner::verdict;

namespace {

verdict scan_at_once(std::string_view text) { return head_scanner{}.scan(text); }

verdict scan_bytewise(std::string_view text) {
  head_scanner scanner;
  verdict v = verdict::incomplete;
  for (std::size_t n = 1; n <= text.size() && v == verdict::incomplete; ++n)
    v = scanner.scan(text.substr(0, n));
  return v;
}

verdict scan(std::string_view text) {
  const verdict v = scan_at_once(text);
  CHECK(scan_bytewise(text) == v);
  return v;
}

/// 0 if the head is accepted, else the status of the refusal.
int judge(const std::string& text, checked_head* out = nullptr) {
  const verdict v = scan(text);
  if (v != verdict::complete) return refusal_of(v).status;
  if (const auto refused = check_version(text)) return refused->status;
  const auto head = parse_request_head(text);
  if (!head) return 400;
  const host_policy policy{"10.1.2.3", 8000, {"jobs.example", "exact.example:99"}};
  checked_head unused;
  const auto refused = check_head(*head, policy, "192.0.2.7", out ? *out : unused);
  return refused ? refused->status : 0;
}

std::string get(const std::string& headers) { return "GET / HTTP/1.1\r\n" + headers + "\r\n"; }

}  // namespace

TEST_CASE("a head is complete at its empty line, whatever follows") {
  head_scanner scanner;
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  CHECK(scanner.scan(head + "body") == verdict::complete);
  CHECK(scanner.size() == head.size());
}

TEST_CASE("bytes that cannot be part of a head are refused as they arrive") {
  CHECK(scan("GET / HTTP/1.1\nHost: a\n\n") == verdict::malformed);
  CHECK(scan("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n") == verdict::malformed);
  CHECK(scan("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n") == verdict::malformed);
  CHECK(scan("GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n") == verdict::malformed);
  CHECK(scan(std::string_view("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29)) == verdict::malformed);
  CHECK(scan("GET /\x01 HTTP/1.1\r\n\r\n") == verdict::malformed);
  CHECK(scan("GET /\xc3\xa9 HTTP/1.1\r\n\r\n") == verdict::malformed);
  CHECK(scan("GET\t/ HTTP/1.1\r\n\r\n") == verdict::malformed);
  CHECK(scan("\r\nGET / HTTP/1.1\r\n\r\n") == verdict::malformed);
  CHECK(scan("GET / HTTP/1.1\r\nX: caf\xc3\xa9\r\n\r\n") == verdict::complete);
}

TEST_CASE("heads, targets and numbers of headers have limits, and the limits themselves are allowed") {
  std::string fields;
  for (int i = 0; i < 64; ++i) fields += "a" + std::to_string(i) + ": b\r\n";
  CHECK(scan("GET / HTTP/1.1\r\n" + fields + "\r\n") == verdict::complete);
  CHECK(scan("GET / HTTP/1.1\r\n" + fields + "more: c\r\n\r\n") == verdict::too_many_fields);

  const std::string longest(limits::http_target - 1, 'a');
  CHECK(scan("GET /" + longest + " HTTP/1.1\r\n\r\n") == verdict::complete);
  CHECK(scan("GET /" + longest + "a HTTP/1.1\r\n\r\n") == verdict::target_too_long);

  const std::string start = "GET / HTTP/1.1\r\na: ";
  const std::string filling(limits::http_header_bytes - start.size() - 4, 'x');
  CHECK(scan(start + filling + "\r\n\r\n") == verdict::complete);
  CHECK(scan(start + filling + "x\r\n\r\n") == verdict::too_large);
}

TEST_CASE("framing headers must be unmistakable") {
  const std::string host = "Host: localhost\r\n";
  const std::string post = "POST / HTTP/1.1\r\n" + host;
  CHECK(judge(post + "Content-Length: 5\r\n\r\n") == 0);
  CHECK(judge(post + "\r\n") == 411);
  CHECK(judge("DELETE / HTTP/1.1\r\n" + host + "\r\n") == 0);
  for (const char* value : {"+5", "0x5", "-1", "5, 5", "5 5", "", "18446744073709551616", "5;", "1e3"}) {
    CAPTURE(value);
    CHECK(judge(post + "Content-Length: " + value + "\r\n\r\n") == 400);
  }
  CHECK(judge(post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n") == 400);
  CHECK(judge(post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n") == 400);
  for (const char* value : {"chunked", "gzip", "xchunked", "chunked, identity", "chunked, chunked"}) {
    CAPTURE(value);
    CHECK(judge(post + "Transfer-Encoding: " + value + "\r\n\r\n") == 411);
  }
  for (const char* both : {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                           "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"}) {
    const int status = judge(post + both + "\r\n");
    CHECK((status == 400 || status == 411));
  }
}

TEST_CASE("a request is for this server or refused") {
  CHECK(judge(get("")) == 400);
  CHECK(judge(get("Host: localhost\r\nHost: localhost\r\n")) == 400);
  for (const char* ours :
       {"localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "[::1]", "10.1.2.3:8000",
        "192.0.2.7:8000", "jobs.example", "jobs.example:1234", "exact.example:99"}) {
    CAPTURE(ours);
    CHECK(judge(get(std::string("Host: ") + ours + "\r\n")) == 0);
  }
  for (const char* foreign : {"evil.example", "localhost:8001", "127.0.0.1.evil.example", "10.1.2.4:8000",
                              "exact.example", "localhost."}) {
    CAPTURE(foreign);
    CHECK(judge(get(std::string("Host: ") + foreign + "\r\n")) == 421);
  }
  for (const char* broken :
       {"a@localhost", "localhost:", "localhost:8000:1", "localhost/", "[::1", "", "a b"}) {
    CAPTURE(broken);
    CHECK(judge(get(std::string("Host: ") + broken + "\r\n")) == 400);
  }
}

TEST_CASE("a page of another origin is refused, one of this server is not") {
  const std::string host = "Host: localhost:8000\r\n";
  CHECK(judge(get(host + "Origin: http://localhost:8000\r\n")) == 0);
  CHECK(judge(get(host + "Origin: https://LOCALHOST:8000\r\n")) == 0);
  for (const char* foreign : {"null", "http://evil.example", "http://localhost", "http://localhost:8001",
                              "http://localhost:8000.evil.example", "ftp://localhost:8000"}) {
    CAPTURE(foreign);
    CHECK(judge(get(host + "Origin: " + foreign + "\r\n")) == 403);
  }
}

TEST_CASE("only paths are targets, and only HTTP/1.0 and 1.1 are versions") {
  const auto line = [](const std::string& text) { return judge(text + "\r\nHost: localhost\r\n\r\n"); };
  CHECK(line("GET http://localhost/ HTTP/1.1") == 400);
  CHECK(line("CONNECT localhost:80 HTTP/1.1") == 400);
  CHECK(line("OPTIONS * HTTP/1.1") == 400);
  CHECK(line("GET /a#b HTTP/1.1") == 400);
  CHECK(line("GET /%zz HTTP/1.1") == 400);
  CHECK(line("GET /?a=1&a=2 HTTP/1.1") == 400);
  CHECK(line("GET /?a=%ff HTTP/1.1") == 400);
  CHECK(line("GET /") == 400);
  CHECK(line("GET / HTTP/2.0") == 505);
  CHECK(line("PRI * HTTP/2.0") == 505);
  CHECK(line("GET / HTTP/1.0") == 0);
  CHECK(line("GET  / HTTP/1.1") == 400);
  CHECK(judge("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n") == 400);
}

TEST_CASE("headers that decide something come once; others are joined") {
  const std::string host = "Host: localhost\r\n";
  CHECK(judge(get(host + "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")) == 400);
  CHECK(judge(get(host + "Content-Type: a/b\r\nContent-Type: a/c\r\n")) == 400);
  checked_head head;
  REQUIRE(judge(get(host + "Accept: a\r\nACCEPT: b\r\n"), &head) == 0);
  CHECK(head.request.headers.at("accept") == "a, b");
}

TEST_CASE("path and query are decoded segment by segment") {
  checked_head head;
  REQUIRE(judge("GET /a%2Fb/c%20d?x=1+2&y=%26 HTTP/1.1\r\nHost: localhost\r\n\r\n", &head) == 0);
  CHECK(head.segments == std::vector<std::string>{"a/b", "c d"});
  CHECK(head.request.query.at("x") == "1 2");
  CHECK(head.request.query.at("y") == "&");
}

TEST_CASE("a WebSocket upgrade names its version and a key of 16 bytes") {
  const auto upgrade = [](const std::string& headers) {
    checked_head head;
    REQUIRE(judge(get("Host: localhost\r\n" + headers), &head) == 0);
    const auto refused = check_upgrade(head);
    return refused ? refused->status : 0;
  };
  const std::string names = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  CHECK(upgrade(names + key + "Sec-WebSocket-Version: 13\r\n") == 0);
  CHECK(upgrade(names + key + "Sec-WebSocket-Version: 12\r\n") == 426);
  CHECK(upgrade(names + key) == 400);
  CHECK(upgrade(names + "Sec-WebSocket-Version: 13\r\n") == 400);
  CHECK(upgrade(names + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n") == 400);
  CHECK(upgrade("Upgrade: websocket\r\n" + key + "Sec-WebSocket-Version: 13\r\n") == 400);
  CHECK(upgrade("Connection: upgrade\r\nUpgrade: h2c\r\n") == 426);
  CHECK(upgrade("") == 426);
}

TEST_CASE("JSON is application/json in UTF-8 and nothing else") {
  CHECK(is_json_type("application/json"));
  CHECK(is_json_type("Application/JSON; charset=UTF-8"));
  CHECK_FALSE(is_json_type("application/json; charset=utf-16"));
  CHECK_FALSE(is_json_type("text/plain"));
  CHECK_FALSE(is_json_type("application/jsonp"));
  CHECK_FALSE(is_json_type(""));
}
