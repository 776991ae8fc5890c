// Tests binding, the limits on connections, and stopping.
#include <sys/resource.h>

#include "http_core.hpp"
#include "http_test_server.hpp"

using namespace std::chrono_literals;
using namespace orchestrator;
using namespace orchestrator::net;
using namespace orchestrator::testing;
using orchestrator::testing::asio::awaitable;

namespace {
const std::string get_things = "GET /things HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

TEST_CASE("a port in use and a broken address are errors with a message") {
  net_world world;
  http_test_server first(world), second(world);
  first.start();
  const auto taken = second.server->listen("127.0.0.1", first.port);
  REQUIRE(taken.has_error());
  CHECK(taken.error().message() == "Address already in use");
  CHECK(second.server->listen("256.1.1.1", 0).has_error());
  const auto by_name = second.server->listen("localhost", 0);
  CHECK(by_name.has_value());
}

TEST_CASE("a port can be bound again right after its server stopped") {
  net_world world;
  std::uint16_t port = 0;
  {
    http_test_server server(world);
    server.start();
    port = server.port;
    const auto visit = [&]() -> awaitable<void> {
      raw_peer peer(world.io);
      co_await peer.connect(port);
      co_await peer.send(get_things);
      co_await peer.read_answer();
      co_await server.server->stop(1s);
    };
    world.run(visit());
  }
  http_test_server again(world);
  const auto bound = again.server->listen("127.0.0.1", port);
  CHECK(bound.has_value());
}

TEST_CASE("connections over the limit are told so, and a place that is freed is used again") {
  net_world world;
  http_server_options options;
  options.max_connections = 2;
  http_test_server server(world, options);
  server.start();
  const auto crowd = [&]() -> awaitable<void> {
    auto first = std::make_unique<raw_peer>(world.io);
    raw_peer second(world.io), third(world.io), fourth(world.io);
    co_await first->connect(server.port);
    co_await first->send(get_things);
    co_await first->read_answer();
    co_await second.connect(server.port);
    co_await third.connect(server.port);
    const std::string refused = co_await third.read_answer();
    CHECK(status_of(refused) == 503);
    CHECK(refused.find("Retry-After: 1\r\n") != std::string::npos);
    first.reset();
    // The server notices the closed connection when its io thread gets to it.
    int status = 0;
    while (status != 200) {
      raw_peer retry(world.io);
      co_await retry.connect(server.port);
      co_await retry.send(get_things);
      const std::string answer = co_await retry.read_answer();
      status = status_of(answer);
    }
  };
  world.run(crowd());
}

TEST_CASE("connections that never passed the access check have a limit of their own") {
  net_world world;
  http_server_options options;
  options.max_unauthenticated = 1;
  http_test_server server(world, options);
  server.server->set_access_check([](const http_request& head, const route*) -> std::optional<refusal> {
    if (head.header("authorization")) return std::nullopt;
    return refusal{errc::unauthorised, "no token was sent", "", ""};
  });
  server.start();
  const auto crowd = [&]() -> awaitable<void> {
    raw_peer known(world.io), stranger(world.io), late(world.io);
    co_await known.connect(server.port);
    co_await known.send("GET /things HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n");
    const std::string welcome = co_await known.read_answer();
    CHECK(status_of(welcome) == 200);
    co_await stranger.connect(server.port);
    co_await stranger.send(get_things);
    const std::string unknown = co_await stranger.read_answer();
    CHECK(status_of(unknown) == 401);
    co_await late.connect(server.port);
    const std::string full = co_await late.read_answer();
    CHECK(status_of(full) == 503);
  };
  world.run(crowd());
}

TEST_CASE("running out of descriptors delays connections but loses none") {
  net_world world;
  http_test_server server(world);
  server.start();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const auto shortage = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    peer.socket.open(asio::ip::tcp::v4());
    rlimit none = before;
    none.rlim_cur = 3;  // nothing can be opened any more
    ::setrlimit(RLIMIT_NOFILE, &none);
    co_await peer.connect(server.port);
    co_await peer.send(get_things);
    asio::steady_timer timer(world.io, 150ms);  // long enough for an accept to have failed
    co_await timer.async_wait(asio::use_awaitable);
    CHECK(peer.socket.available() == 0);
    ::setrlimit(RLIMIT_NOFILE, &before);
    const std::string answer = co_await peer.read_answer();
    CHECK(status_of(answer) == 200);
  };
  world.run(shortage());
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("stop closes idle connections at once and lets an answer in flight finish") {
  net_world world;
  http_test_server server(world);
  bool asked = false, answer_now = false;
  const auto slow = [&](http_request) -> awaitable<http_response> {
    asked = true;
    co_await eventually(world.io, [&] { return answer_now; });
    http_response response;
    response.body = "done";
    co_return response;
  };
  server.server->add(route{"GET", "/slow", slow});
  server.start();
  bool stopped = false;
  const auto stop = [&]() -> awaitable<void> {
    co_await server.server->stop(10s);
    stopped = true;
  };
  const auto scenario = [&]() -> awaitable<void> {
    raw_peer idle(world.io), busy(world.io), late(world.io);
    co_await idle.connect(server.port);
    co_await idle.send(get_things);
    co_await idle.read_answer();
    co_await busy.connect(server.port);
    co_await busy.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    co_await eventually(world.io, [&] { return asked; });
    asio::co_spawn(world.io, stop(), asio::detached);
    co_await idle.read_to_end();
    CHECK_FALSE(stopped);
    const auto [refused] = co_await late.socket.async_connect({asio::ip::address_v4::loopback(), server.port},
                                                              asio::as_tuple(asio::use_awaitable));
    CHECK(refused);
    answer_now = true;
    co_await busy.read_to_end();
    CHECK(status_of(busy.received) == 200);
    CHECK(busy.received.find("Connection: close\r\n") != std::string::npos);
    busy.socket.close();
    co_await eventually(world.io, [&] { return stopped; });
  };
  world.run(scenario());
}

TEST_CASE("stop drops whoever has not sent a whole request, before it waits for anybody") {
  net_world world;
  http_test_server server(world);
  bool asked = false, answer_now = false, stopped = false;
  const auto slow = [&](http_request) -> awaitable<http_response> {
    asked = true;
    co_await eventually(world.io, [&] { return answer_now; });
    co_return http_response{};
  };
  server.server->add(route{"GET", "/slow", slow});
  server.start();
  const auto stop = [&]() -> awaitable<void> {
    co_await server.server->stop(10s);
    stopped = true;
  };
  const auto scenario = [&]() -> awaitable<void> {
    const std::string posting =
        "POST /things HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    raw_peer silent(world.io), half_head(world.io), half_body(world.io), second(world.io), busy(world.io);
    for (raw_peer* peer : {&silent, &half_head, &half_body, &second, &busy})
      co_await peer->connect(server.port);
    co_await half_head.send("GET /things HTTP/1.1\r\nHos");
    co_await half_body.send(posting + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n");
    co_await half_body.read_until("100 Continue\r\n\r\n");
    half_body.received.clear();
    co_await half_body.send("12345");
    co_await second.send(get_things);
    co_await second.read_answer();
    co_await second.send("GET /th");
    co_await busy.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    co_await eventually(world.io, [&] { return asked; });
    asio::co_spawn(world.io, stop(), asio::detached);
    for (raw_peer* peer : {&silent, &half_head, &half_body, &second}) {
      co_await peer->read_to_end();
      CHECK(peer->received == "");
    }
    CHECK_FALSE(stopped);  // the answer in flight is waited for
    answer_now = true;
    co_await busy.read_to_end();
    CHECK(status_of(busy.received) == 200);
    busy.socket.close();
    co_await eventually(world.io, [&] { return stopped; });
  };
  world.run(scenario());
}

namespace {
struct named_caller final : caller {
  explicit named_caller(std::string n) : name(std::move(n)) {}
  std::string name;
};
}  // namespace

TEST_CASE("the connections of a caller who is out end at once, streams and WebSockets too; others stay") {
  net_world world;
  http_test_server server(world);
  const auto admit = [](http_request& head) -> std::optional<refusal> {
    const std::string* name = head.header("authorization");
    if (name) head.from = std::make_shared<named_caller>(*name);
    return std::nullopt;
  };
  server.server->set_access_check([admit](http_request& head, const route*) { return admit(head); });
  std::shared_ptr<body_writer> body;
  const auto stream = [&](http_request) -> awaitable<http_response> {
    http_response response;
    response.stream = [&](std::shared_ptr<body_writer> out) -> awaitable<void> {
      co_await out->write("begin");
      body = out;
      co_await eventually(world.io, [out] { return !out->open(); });
    };
    co_return response;
  };
  server.server->add(route{"GET", "/stream", stream});
  close_info left;
  bool socket_gone = false;
  std::shared_ptr<websocket> accepted;
  websocket_endpoint endpoint;
  endpoint.path = "/ws";
  endpoint.check = admit;
  endpoint.accepted = [&](std::shared_ptr<websocket> socket, const http_request&) {
    accepted = socket;
    websocket_events events;
    events.message = [](const std::string&) {};
    events.alive = [](std::optional<boot_time>) {};
    events.closed = [&](const close_info& info) {
      left = info;
      socket_gone = true;
    };
    socket->start(std::move(events));
  };
  server.server->add(std::move(endpoint));
  server.start();
  const auto scenario = [&]() -> awaitable<void> {
    raw_peer streaming(world.io), idle(world.io), other(world.io), socket(world.io);
    for (raw_peer* peer : {&streaming, &idle, &other, &socket}) co_await peer->connect(server.port);
    const std::string eve = "Host: localhost\r\nAuthorization: eve\r\n";
    co_await streaming.send("GET /stream HTTP/1.1\r\n" + eve + "\r\n");
    co_await streaming.read_until("begin");
    co_await idle.send("GET /things HTTP/1.1\r\n" + eve + "\r\n");
    co_await idle.read_answer();
    co_await other.send("GET /things HTTP/1.1\r\nHost: localhost\r\nAuthorization: ada\r\n\r\n");
    co_await other.read_answer();
    co_await socket.send("GET /ws HTTP/1.1\r\n" + eve +
                         "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    co_await socket.read_until("\r\n\r\n");
    co_await eventually(world.io, [&] { return accepted != nullptr && body != nullptr; });
    server.server->end_connections(
        [](const caller& from) { return static_cast<const named_caller&>(from).name == "eve"; },
        "out with you");
    co_await streaming.read_to_end();
    co_await idle.read_to_end();
    CHECK_FALSE(body->open());
    co_await socket.read_to_end();  // it never answers the close, and is not waited for
    CHECK(socket.received.find("\x03\xf0out with you") != std::string::npos);  // 1008
    co_await eventually(world.io, [&] { return socket_gone; });
    CHECK(left.code == 1006);
    co_await other.send(get_things);
    CHECK(status_of(co_await other.read_answer()) == 200);
    accepted = nullptr;
  };
  world.run(scenario());
}

TEST_CASE("stop gives up on an answer that does not come within its limit") {
  net_world world;
  http_test_server server(world);
  const auto never = [&](http_request) -> awaitable<http_response> {
    co_await eventually(world.io, [] { return false; });
    co_return http_response{};
  };
  server.server->add(route{"GET", "/never", never});
  server.start();
  const auto scenario = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await peer.connect(server.port);
    co_await peer.send("GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n");
    asio::steady_timer timer(world.io, 20ms);
    co_await timer.async_wait(asio::use_awaitable);
    co_await server.server->stop(50ms);
    co_await peer.read_to_end();
    CHECK(peer.received == "");
  };
  world.run(scenario());
}
