// Drives the HTTP server over loopback with raw bytes: what is answered, what closes, and in which order
// guards act.
#include "http_session.hpp"

#include <boost/json.hpp>

#include "http_test_server.hpp"

using namespace std::chrono_literals;
using namespace orchestrator;
using namespace orchestrator::net;
using namespace orchestrator::testing;
using orchestrator::testing::asio::awaitable;

namespace {

struct exchange_result {
  std::string answer;
  bool closed = false;  // the server ended the connection afterwards
};

awaitable<void> exchange_raw(net_world& world, std::uint16_t port, std::string text, exchange_result& out) {
  raw_peer peer(world.io);
  co_await peer.connect(port);
  co_await peer.send(std::move(text));
  out.answer = co_await peer.read_answer();
  // A connection that stays open answers a second, harmless request.
  co_await peer.send("GET /things HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string second = co_await peer.read_answer();
  out.closed = status_of(second) != 200;
}

exchange_result ask(net_world& world, const http_test_server& server, const std::string& text) {
  exchange_result out;
  world.run(exchange_raw(world, server.port, text, out));
  return out;
}

const std::string host = "Host: localhost\r\n";
const std::string json_type = "Content-Type: application/json\r\n";

}  // namespace

TEST_CASE("a request is answered with the headers every answer carries") {
  net_world world;
  http_test_server server(world);
  server.start();
  const exchange_result got = ask(world, server, "GET /things?a=1 HTTP/1.1\r\n" + host + "\r\n");
  CHECK(status_of(got.answer) == 200);
  CHECK_FALSE(got.closed);
  for (const char* part : {"\r\nContent-Type: text/plain\r\n", "\r\nCache-Control: no-store\r\n",
                           "\r\nX-Content-Type-Options: nosniff\r\n", "\r\nContent-Length: 16\r\n", "GMT\r\n",
                           "\r\n\r\nGET /things  a=1"}) {
    CAPTURE(std::string(part));
    CHECK(got.answer.find(part) != std::string::npos);
  }
  CHECK(got.answer.find("Server:") == std::string::npos);
}

TEST_CASE("HEAD is GET without the body") {
  net_world world;
  http_test_server server(world);
  server.start();
  exchange_result got;
  const auto head = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send("HEAD /things HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n");
    co_await peer.read_to_end();
    got.answer = peer.received;
  };
  world.run(head());
  CHECK(status_of(got.answer) == 200);
  CHECK(got.answer.find("Content-Length: 13\r\n") != std::string::npos);
  CHECK(got.answer.substr(got.answer.size() - 4) == "\r\n\r\n");
}

TEST_CASE("every guard answers with its status as a problem, and closes when framing or trust is lost") {
  net_world world;
  http_test_server server(world);
  server.start();
  const std::string post = "POST /things HTTP/1.1\r\n" + host;
  struct row {
    const char* name;
    std::string request;
    int status;
    bool closed;
  };
  const row rows[] = {
      {"Transfer-Encoding", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, true},
      {"no length", post + "\r\n", 411, true},
      {"two lengths", post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, true},
      {"no host", "GET /things HTTP/1.1\r\n\r\n", 400, true},
      {"foreign host", "GET /things HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, true},
      {"foreign origin", "GET /things HTTP/1.1\r\n" + host + "Origin: http://evil.example\r\n\r\n", 403,
       true},
      {"null origin", "GET /things HTTP/1.1\r\n" + host + "Origin: null\r\n\r\n", 403, true},
      {"bare LF", "GET /things HTTP/1.1\nHost: localhost\n\n", 400, true},
      {"folded", "GET /things HTTP/1.1\r\n" + host + " more\r\n\r\n", 400, true},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, true},
      {"no version", "GET /things\r\n\r\n", 400, true},
      {"long head", "GET /things HTTP/1.1\r\na: " + std::string(9000, 'x') + "\r\n\r\n", 431, true},
      {"long target", "GET /" + std::string(5000, 'x') + " HTTP/1.1\r\n\r\n", 414, true},
      {"unknown path", "GET /nothing HTTP/1.1\r\n" + host + "\r\n", 404, false},
      {"dots", "GET /../etc/passwd HTTP/1.1\r\n" + host + "\r\n", 404, false},
      {"encoded dots", "GET /things/%2e%2e/part HTTP/1.1\r\n" + host + "\r\n", 404, false},
      {"NUL", "GET /things/%00/part HTTP/1.1\r\n" + host + "\r\n", 404, false},
      {"other method", "PUT /things HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n", 405, false},
      {"unknown method", "FOO /things HTTP/1.1\r\n" + host + "\r\n", 501, false},
      {"lower case", "get /things HTTP/1.1\r\n" + host + "\r\n", 501, false},
      {"no type", post + "Content-Length: 2\r\n\r\n{}", 415, true},
      {"no type and no body", post + "Content-Length: 0\r\n\r\n", 415, true},
      {"wrong type and no body", post + "Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n", 415, true},
      {"wrong type", post + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, true},
      {"utf-16", post + "Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}", 415,
       true},
      {"gzip", post + json_type + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415, true},
      {"large", post + json_type + "Content-Length: 1001\r\n\r\n", 413, true},
      {"strange expectation", post + json_type + "Expect: magic\r\nContent-Length: 2\r\n\r\n{}", 417, true},
      {"two credentials",
       "GET /things HTTP/1.1\r\n" + host + "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400,
       true},
      {"upgrade of a route",
       "GET /things HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400, false},
      {"throwing handler", "GET /bug HTTP/1.1\r\n" + host + "\r\n", 500, true},
  };
  for (const row& r : rows) {
    CAPTURE(std::string(r.name));
    const exchange_result got = ask(world, server, r.request);
    CHECK(status_of(got.answer) == r.status);
    CHECK(got.closed == r.closed);
    CHECK(got.answer.find("Content-Type: application/problem+json\r\n") != std::string::npos);
    const std::size_t body = got.answer.find("\r\n\r\n");
    REQUIRE(body != std::string::npos);
    const auto problem = boost::json::parse(got.answer.substr(body + 4)).as_object();
    CHECK(problem.at("status").as_int64() == r.status);
    CHECK(problem.at("type").as_string().starts_with("/problems/"));
  }
}

TEST_CASE("bodies up to the limit of their route arrive whole") {
  net_world world;
  http_test_server server(world);
  server.start();
  const std::string body(1000, 'b');
  const std::string request =
      "POST /things HTTP/1.1\r\n" + host + json_type + "Content-Length: 1000\r\n\r\n" + body;
  const exchange_result got = ask(world, server, request);
  CHECK(status_of(got.answer) == 200);
  CHECK(got.answer.find(body) != std::string::npos);
  CHECK_FALSE(got.closed);
  const std::string text = "POST /text HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\nhi";
  CHECK(status_of(ask(world, server, text).answer) == 200);
  const std::string empty = "POST /things HTTP/1.1\r\n" + host + json_type + "Content-Length: 0\r\n\r\n";
  CHECK(status_of(ask(world, server, empty).answer) == 200);
}

TEST_CASE("a route's parameters and the literal before them are matched") {
  net_world world;
  http_test_server server(world);
  server.start();
  CHECK(ask(world, server, "GET /things/a%20b/part HTTP/1.1\r\n" + host + "\r\n").answer.find("{a b}") !=
        std::string::npos);
  CHECK(ask(world, server, "GET /things/last/part HTTP/1.1\r\n" + host + "\r\n")
            .answer.find("the literal route") != std::string::npos);
  CHECK(ask(world, server, "PUT /things HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n")
            .answer.find("\r\nAllow: GET, HEAD, POST\r\n") != std::string::npos);
}

TEST_CASE("100-continue is sent for a body that will be taken, and only then") {
  net_world world;
  http_test_server server(world);
  server.start();
  const auto expecting = [&](std::string length, std::string& out) -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    std::string head = "POST /things HTTP/1.1\r\n" + host + json_type;
    head += "Expect: 100-continue\r\nConnection: close\r\nContent-Length: " + length + "\r\n\r\n";
    co_await peer.send(head);
    co_await peer.read_until("\r\n\r\n");
    if (peer.received.starts_with("HTTP/1.1 100")) co_await peer.send("{\"a\": 1}");
    co_await peer.read_to_end();
    out = peer.received;
  };
  std::string taken, refused;
  world.run(expecting("8", taken));
  CHECK(taken.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
  world.run(expecting("1000000000000", refused));
  CHECK(status_of(refused) == 413);
}

TEST_CASE("pipelined requests are answered in order, and HTTP/1.0 closes") {
  net_world world;
  http_test_server server(world);
  server.start();
  std::string received;
  const auto pipeline = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    std::string text;
    for (int i = 0; i < 200; ++i)
      text += "GET /things?n=" + std::to_string(i) + " HTTP/1.1\r\n" + host + "\r\n";
    text += "GET /things?n=last HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n";
    co_await peer.send(std::move(text));
    co_await peer.read_to_end();
    received = peer.received;
  };
  world.run(pipeline());
  std::size_t at = 0;
  for (int i = 0; i < 200 && at != std::string::npos; ++i)
    at = received.find("n=" + std::to_string(i) + "HTTP/1.1", at);
  CHECK(at != std::string::npos);
  CHECK(received.substr(received.size() - 6) == "n=last");
}

TEST_CASE("a slow head, a slow body and a forgotten connection are ended") {
  net_world world;
  http_server_options options;
  options.header_deadline = 50ms;
  options.body_deadline = 50ms;
  options.keep_alive = 50ms;
  http_test_server server(world, options);
  server.start();
  const auto say = [&](std::string text, std::string& out) -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send(std::move(text));
    co_await peer.read_to_end();
    out = peer.received;
  };
  std::string out;
  world.run(say("GET /things HT", out));
  CHECK(status_of(out) == 408);
  world.run(say("POST /things HTTP/1.1\r\n" + host + json_type + "Content-Length: 9\r\n\r\n{", out));
  CHECK(status_of(out) == 408);
  world.run(say("", out));
  CHECK(out == "");
  world.run(say("GET /things HTTP/1.1\r\n" + host + "\r\n", out));
  CHECK(status_of(out) == 200);  // and then the idle connection was closed, or say() would not have ended
}

TEST_CASE("a trickle of bytes does not extend the deadline of the head") {
  net_world world;
  http_server_options options;
  options.header_deadline = 60ms;
  http_test_server server(world, options);
  server.start();
  std::string received;
  const auto trickle = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    const std::string text = "GET /things HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(1000, 'x');
    asio::steady_timer timer(world.io);
    for (const char c : text) {
      const bool taken = co_await peer.send(std::string(1, c));
      if (!taken || peer.socket.available() > 0) break;
      timer.expires_after(5ms);
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_await peer.read_to_end();
    received = peer.received;
  };
  const auto start = std::chrono::steady_clock::now();
  world.run(trickle());
  CHECK(status_of(received) == 408);
  CHECK(std::chrono::steady_clock::now() - start < 3s);
}

TEST_CASE("the access check runs on the head: before routing, and before a body is read or asked for") {
  net_world world;
  http_test_server server(world);
  std::vector<std::string> seen;
  server.server->set_access_check([&](const http_request& head,
                                      const route* matched) -> std::optional<refusal> {
    seen.push_back(head.path + (matched ? " matched" : " unmatched") + (head.body.empty() ? "" : " body"));
    if (head.header("authorization")) return std::nullopt;
    return refusal{errc::unauthorised, "no token was sent", "", ""};
  });
  server.start();
  const std::string post = "POST /things HTTP/1.1\r\n" + host + json_type + "Content-Length: 9\r\n";
  const exchange_result no = ask(world, server, post + "Expect: 100-continue\r\n\r\n");
  CHECK(status_of(no.answer) == 401);
  CHECK(no.answer.find("\r\nWWW-Authenticate: Bearer\r\n") != std::string::npos);
  CHECK(status_of(ask(world, server, "GET /nothing HTTP/1.1\r\n" + host + "\r\n").answer) == 401);
  CHECK(status_of(ask(world, server, post + "Authorization: Bearer x\r\n\r\n{\"a\": 11}").answer) == 200);
  REQUIRE(seen.size() >= 2);
  CHECK(seen[0] == "/things matched");
  CHECK(std::find(seen.begin(), seen.end(), "/nothing unmatched") != seen.end());
}

TEST_CASE("a streamed answer is chunked for HTTP/1.1 and plain for 1.0") {
  net_world world;
  http_test_server server(world);
  const auto stream = [](http_request) -> awaitable<http_response> {
    http_response response;
    response.content_type = "text/plain";
    response.stream = [](std::shared_ptr<body_writer> out) -> awaitable<void> {
      co_await out->write("one");
      co_await out->write("");
      co_await out->write("twotwotwotwotwotwo");
    };
    co_return response;
  };
  server.server->add(route{"GET", "/stream", stream});
  server.start();
  std::string received;
  const auto read = [&](std::string version) -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send("GET /stream HTTP/" + version + "\r\n" + host + "\r\n");
    co_await peer.read_to_end();
    received = peer.received;
  };
  world.run(read("1.1"));
  CHECK(received.find("\r\nTransfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(received.substr(received.find("\r\n\r\n") + 4) ==
        "3\r\none\r\n12\r\ntwotwotwotwotwotwo\r\n0\r\n\r\n");
  world.run(read("1.0"));
  CHECK(received.substr(received.find("\r\n\r\n") + 4) == "onetwotwotwotwotwotwo");
}

TEST_CASE("a stream that fails ends without its last chunk") {
  net_world world;
  http_test_server server(world);
  const auto stream = [](http_request) -> awaitable<http_response> {
    http_response response;
    response.stream = [](std::shared_ptr<body_writer> out) -> awaitable<void> {
      co_await out->write("one");
      throw std::runtime_error("on purpose");
    };
    co_return response;
  };
  server.server->add(route{"GET", "/stream", stream});
  server.start();
  std::string received;
  const auto read = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send("GET /stream HTTP/1.1\r\n" + host + "\r\n");
    co_await peer.read_to_end();
    received = peer.received;
  };
  world.run(read());
  CHECK(received.ends_with("3\r\none\r\n"));
}

TEST_CASE("a stream notices that its reader left, also when it does not write") {
  net_world world;
  http_test_server server(world);
  std::shared_ptr<body_writer> writer;
  bool ended = false;
  const auto stream = [&](http_request) -> awaitable<http_response> {
    http_response response;
    response.stream = [&](std::shared_ptr<body_writer> out) -> awaitable<void> {
      writer = out;
      co_await out->write("hello");
      co_await eventually(world.io, [out] { return !out->open(); });
      const bool written = co_await out->write("more");
      CHECK_FALSE(written);
      ended = true;
    };
    co_return response;
  };
  server.server->add(route{"GET", "/stream", stream});
  server.start();
  const auto leave = [&]() -> awaitable<void> {
    {
      raw_peer peer(world.io);
      co_await peer.connect(server.port);
      co_await peer.send("GET /stream HTTP/1.1\r\n" + host + "\r\n");
      co_await peer.read_until("hello");
      CHECK(writer->open());
    }
    co_await eventually(world.io, [&] { return ended; });
  };
  world.run(leave());
}

TEST_CASE("a reader that takes nothing for too long is given up") {
  net_world world;
  http_server_options options;
  options.write_stall = 50ms;
  http_test_server server(world, options);
  bool ended = false;
  const auto stream = [&](http_request) -> awaitable<http_response> {
    http_response response;
    response.stream = [&](std::shared_ptr<body_writer> out) -> awaitable<void> {
      const std::string block(1024 * 1024, 'x');
      bool open = true;
      while (open) open = co_await out->write(block);
      ended = true;
    };
    co_return response;
  };
  server.server->add(route{"GET", "/stream", stream});
  server.start();
  const auto stall = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send("GET /stream HTTP/1.1\r\n" + host + "\r\n");
    co_await eventually(world.io, [&] { return ended; });
  };
  world.run(stall());
}

TEST_CASE("a handler cannot be made to write headers of somebody else") {
  net_world world;
  http_test_server server(world);
  const auto split = [](http_request request) -> awaitable<http_response> {
    http_response response;
    response.headers.emplace_back("Location", "/" + request.query["to"]);
    co_return response;
  };
  server.server->add(route{"GET", "/go", split});
  server.start();
  const exchange_result got =
      ask(world, server, "GET /go?to=%0d%0aSet-Cookie:x HTTP/1.1\r\n" + host + "\r\n");
  CHECK(status_of(got.answer) == 500);
  CHECK(got.answer.find("Set-Cookie") == std::string::npos);
}
