// Tests WebSocket connections over loopback: sessions of ours at both ends, and raw peers that break the
// rules or say nothing. Short intervals stand in for the defaults of 20, 10 and 5 seconds.
#include "ws_session.hpp"

#include <functional>
#include <random>

#include <unistd.h>
#include <boost/asio/post.hpp>

#include "http_test_server.hpp"

using namespace std::chrono_literals;
using namespace orchestrator;
using namespace orchestrator::net;
using namespace orchestrator::testing;
using orchestrator::testing::asio::awaitable;

namespace {

/// What one end of a connection was told.
struct observed {
  std::vector<std::string> messages;
  std::vector<close_info> closed;
  int alive = 0;
  int pongs = 0;  // of those, answers to our own pings
  boot_time newest_ping{};
  int after_closed = 0;  // events after the last one

  websocket_events events() {
    websocket_events e;
    e.message = [this](std::string text) {
      messages.push_back(std::move(text));
      after_closed += static_cast<int>(closed.size());
    };
    e.alive = [this](std::optional<boot_time> pinged) {
      ++alive;
      pongs += pinged ? 1 : 0;
      if (pinged) newest_ping = *pinged;
      after_closed += static_cast<int>(closed.size());
    };
    e.closed = [this](close_info info) { closed.push_back(std::move(info)); };
    return e;
  }
};

websocket_options quick() {
  websocket_options options;
  options.ping_interval = 1h;
  options.close_timeout = 2s;
  return options;
}

/// A server with one endpoint, /ws, that keeps the last connection it accepted.
class ws_test_server : public http_test_server {
 public:
  explicit ws_test_server(net_world& world, websocket_options options = quick()) : http_test_server(world) {
    websocket_endpoint endpoint;
    endpoint.path = "/ws";
    endpoint.options = options;
    endpoint.check = [](const http_request& head) -> std::optional<refusal> {
      if (head.query.contains("refuse")) return refusal{errc::unauthorised, "no token was sent", "", ""};
      return std::nullopt;
    };
    endpoint.accepted = [this](std::shared_ptr<websocket> socket, const http_request& head) {
      accepted = socket;
      upgrade = head;
      websocket_events events = seen.events();
      events.message = [this, tell = std::move(events.message)](std::string text) {
        tell(std::move(text));
        if (on_message) on_message();
      };
      socket->start(std::move(events));
    };
    server->add(std::move(endpoint));
    start();
  }
  std::string ws_url(const std::string& path = "/ws") const { return "ws://" + host() + path; }
  bool closed() const { return !seen.closed.empty(); }

  std::shared_ptr<websocket> accepted;
  http_request upgrade;
  observed seen;
  std::function<void()> on_message;  // called from inside the handler of each
};

dial_result dial(net_world& world, dial_request request) {
  dial_result out;
  const auto run = [&]() -> awaitable<void> { out = co_await dial_websocket(request); };
  world.run(run());
  return out;
}

dial_request to(std::string url, websocket_options options = quick()) {
  dial_request request;
  request.url = std::move(url);
  request.options = options;
  return request;
}

const std::string upgrade_head =
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A client's frame with the mask 0, which leaves the payload as it is.
std::string frame(int first_byte, std::string_view payload, bool masked = true) {
  std::string out(1, static_cast<char>(first_byte));
  const int mask_bit = masked ? 0x80 : 0;
  if (payload.size() < 126) {
    out += static_cast<char>(mask_bit | static_cast<int>(payload.size()));
  } else {
    const bool short_form = payload.size() < 65536;
    out += static_cast<char>(mask_bit | (short_form ? 126 : 127));
    for (int shift = short_form ? 8 : 56; shift >= 0; shift -= 8)
      out += static_cast<char>(payload.size() >> shift);
  }
  if (masked) out += std::string(4, '\0');
  return out.append(payload);
}
constexpr int fin = 0x80, text_frame = 0x81, binary_frame = 0x82, close_frame = 0x88, ping_frame = 0x89;

/// The code of the close frame at the end of what a raw peer received; 0 if there is none.
int close_code_in(const std::string& received) {
  const std::size_t at = received.rfind(static_cast<char>(close_frame));
  if (at == received.npos || at + 4 > received.size()) return 0;
  return static_cast<unsigned char>(received[at + 2]) << 8 | static_cast<unsigned char>(received[at + 3]);
}

awaitable<void> raw_upgrade(raw_peer& peer, std::uint16_t port) {
  co_await peer.connect(port);
  co_await peer.send(upgrade_head + "\r\n");
  co_await peer.read_until("\r\n\r\n");
  CHECK(peer.received.starts_with("HTTP/1.1 101"));
  peer.received.erase(0, peer.received.find("\r\n\r\n") + 4);
}

}  // namespace

TEST_CASE("text goes both ways, and a close by either side is told to both once") {
  for (const bool by_server : {false, true}) {
    CAPTURE(by_server);
    net_world world;
    ws_test_server server(world);
    dial_request request = to(server.ws_url("/ws?x=1"));
    request.bearer_token = "secret";
    const dial_result dialled = dial(world, request);
    REQUIRE(dialled.socket);
    CHECK(server.upgrade.headers.at("authorization") == "Bearer secret");
    CHECK(dialled.socket->peer_address() == server.host());
    observed mine;
    dialled.socket->start(mine.events());
    const std::string large(1024 * 1024, 'l');
    dialled.socket->send("hello");
    dialled.socket->send(large);
    dialled.socket->send("");
    world.run(eventually(world.io, [&] { return server.seen.messages.size() == 3; }));
    CHECK(server.seen.messages == std::vector<std::string>{"hello", large, ""});
    for (int i = 0; i < 1000; ++i) server.accepted->send(std::to_string(i));
    (by_server ? server.accepted : dialled.socket)->close(4001, "replaced");
    CHECK_FALSE(server.accepted->queued_bytes() == 0);
    world.run(eventually(world.io, [&] { return server.closed() && !mine.closed.empty(); }));
    world.io.restart();
    world.io.run_for(20ms);
    REQUIRE(server.seen.closed.size() == 1);
    REQUIRE(mine.closed.size() == 1);
    for (const close_info& info : {server.seen.closed[0], mine.closed[0]}) {
      CHECK(info.code == 4001);
      CHECK(info.reason == "replaced");
    }
    CHECK(server.seen.closed[0].by_peer == !by_server);
    CHECK(mine.closed[0].by_peer == by_server);
    CHECK(server.seen.after_closed + mine.after_closed == 0);
    if (by_server)
      CHECK(mine.messages.size() == 1000);  // what was queued before close() is sent before the frame
    CHECK_FALSE(dialled.socket->send("too late"));
    CHECK(dialled.socket->queued_bytes() == 0);
  }
}

TEST_CASE("nothing is called back from inside a call") {
  net_world world;
  ws_test_server server(world);
  const dial_result dialled = dial(world, to(server.ws_url()));
  REQUIRE(dialled.socket);
  bool inside = false, called_inside = false;
  websocket_events events;
  events.closed = [&](close_info) { called_inside = inside; };
  events.message = [&](std::string) { called_inside = called_inside || inside; };
  const auto run = [&]() -> awaitable<void> {
    inside = true;
    dialled.socket->start(events);
    dialled.socket->send("x");
    dialled.socket->close(1000, "done");
    inside = false;
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(run());
  CHECK_FALSE(called_inside);
}

TEST_CASE("a peer that breaks the protocol is closed with the code for it") {
  struct row {
    const char* name;
    std::string bytes;
    int code;
  };
  std::string endless = frame(0x01, "a");
  for (int i = 0; i < 10'000; ++i) endless += frame(0x00, "a");
  const row rows[] = {
      {"binary", frame(binary_frame, "x"), 1003},
      {"large binary", frame(binary_frame, std::string(100'000, 'x')), 1003},
      {"bad UTF-8", frame(text_frame, "\xc3\x28"), 1007},
      {"overlong UTF-8", frame(text_frame, "\xc0\xaf"), 1007},
      {"surrogate", frame(text_frame, "\xed\xa0\x80"), 1007},
      {"half a character", frame(text_frame, "\xe2\x82"), 1007},
      {"too large", frame(text_frame, std::string(limits::frame + 1, 'x')), 1009},
      {"4 GiB announced", std::string("\x81\xff\0\0\0\1\0\0\0\0\0\0\0\0", 14), 1009},
      {"unmasked", frame(text_frame, "x", false), 1002},
      {"RSV1", frame(0xc1, "x"), 1002},
      {"opcode 3", frame(0x83, "x"), 1002},
      {"opcode 11", frame(0x8b, "x"), 1002},
      {"fragmented ping", frame(0x09, "x"), 1002},
      {"long ping", frame(ping_frame, std::string(126, 'x')), 1002},
      {"stray continuation", frame(0x80, "x"), 1002},
      {"one-byte fragments", endless, 1008},
      {"length not minimal", std::string("\x81\xfe\0\1\0\0\0\0x", 9), 1002},
      {"close code 999", frame(close_frame, std::string("\x03\xe7", 2)), 1002},
      {"close code 1005", frame(close_frame, std::string("\x03\xed", 2)), 1002},
      {"close of one byte", frame(close_frame, "x"), 1002},
  };
  for (const row& r : rows) {
    CAPTURE(std::string(r.name));
    net_world world;
    ws_test_server server(world);
    raw_peer peer(world.io);
    const auto attack = [&]() -> awaitable<void> {
      co_await raw_upgrade(peer, server.port);
      co_await peer.send(r.bytes);
      co_await peer.more();
      peer.socket.shutdown(asio::ip::tcp::socket::shutdown_send);
      co_await peer.read_to_end();
      co_await eventually(world.io, [&] { return server.closed(); });
    };
    world.run(attack());
    CHECK(close_code_in(peer.received) == r.code);
    REQUIRE(server.seen.closed.size() == 1);
    CHECK(server.seen.closed[0].code == r.code);
    CHECK_FALSE(server.seen.closed[0].by_peer);
    CHECK(server.seen.messages.empty());
  }
}

TEST_CASE("a message in a few fragments is one message, and a close without a code is 1005") {
  net_world world;
  ws_test_server server(world);
  raw_peer peer(world.io);
  const auto talk = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    std::string bytes =
        frame(0x01, "one ") + frame(ping_frame, "p") + frame(0x00, "") + frame(fin, "message");
    bytes += frame(close_frame, "");
    co_await peer.send(std::move(bytes));
    co_await peer.read_to_end();
    peer.socket.close();
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(talk());
  CHECK(server.seen.messages == std::vector<std::string>{"one message"});
  CHECK(server.seen.alive == 1);
  CHECK(server.seen.pongs == 0);
  CHECK(server.seen.closed[0].code == 1005);
  CHECK(server.seen.closed[0].by_peer);
}

TEST_CASE("a message that arrives byte by byte is taken") {
  net_world world;
  ws_test_server server(world);
  raw_peer peer(world.io);
  const auto talk = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    const std::string bytes = frame(text_frame, std::string(300, 'x'));
    for (const char c : bytes) co_await peer.send(std::string(1, c));
    co_await eventually(world.io, [&] { return !server.seen.messages.empty(); });
  };
  world.run(talk());
  CHECK(server.seen.messages[0].size() == 300);
}

TEST_CASE("a connection that is cut is 1006 with the transport's error") {
  for (const bool reset : {false, true}) {
    CAPTURE(reset);
    net_world world;
    ws_test_server server(world);
    const auto cut = [&]() -> awaitable<void> {
      raw_peer peer(world.io);
      co_await raw_upgrade(peer, server.port);
      co_await peer.send(frame(text_frame, "whole") + std::string("\x81\x85\0\0\0\0half", 10).substr(0, 8));
      if (reset) peer.socket.set_option(asio::socket_base::linger(true, 0));
      peer.socket.close();
      co_await eventually(world.io, [&] { return server.closed(); });
    };
    world.run(cut());
    CHECK(server.seen.closed[0].code == 1006);
    CHECK_FALSE(server.seen.closed[0].by_peer);
    CHECK(server.seen.closed[0].error);
    if (!reset) CHECK(server.seen.messages == std::vector<std::string>{"whole"});
  }
}

TEST_CASE("a peer that answers no ping is dead after the ping timeout, whatever else it says") {
  websocket_options options = quick();
  options.ping_interval = 30ms;
  options.ping_timeout = 60ms;
  for (const bool chatty : {false, true}) {
    CAPTURE(chatty);
    net_world world;
    ws_test_server server(world, options);
    const auto silence = [&]() -> awaitable<void> {
      raw_peer peer(world.io);
      co_await raw_upgrade(peer, server.port);
      asio::steady_timer timer(world.io);
      while (!server.closed()) {
        if (chatty) co_await peer.send(frame(text_frame, "still here"));
        timer.expires_after(5ms);
        co_await timer.async_wait(asio::use_awaitable);
      }
    };
    const auto start = std::chrono::steady_clock::now();
    world.run(silence());
    CHECK(std::chrono::steady_clock::now() - start >= 90ms);
    CHECK(server.seen.closed[0].code == 1006);
    CHECK(server.seen.closed[0].error == asio::error::timed_out);
    CHECK(server.seen.alive == 0);
  }
}

TEST_CASE("pings are answered by our own sessions, so a healthy connection lives on") {
  websocket_options options = quick();
  options.ping_interval = 5ms;
  options.ping_timeout = 500ms;
  net_world world;
  ws_test_server server(world, options);
  const dial_result dialled = dial(world, to(server.ws_url(), options));
  observed mine;
  dialled.socket->start(mine.events());
  world.run(eventually(world.io, [&] { return server.seen.alive > 20 && mine.alive > 20; }));
  CHECK_FALSE(server.closed());
}

TEST_CASE("ping() asks at once, and a new interval holds at once") {
  net_world world;
  ws_test_server server(world);
  const dial_result dialled = dial(world, to(server.ws_url()));
  observed mine;
  dialled.socket->start(mine.events());
  const boot_time before = read_boot_clock();
  dialled.socket->ping();
  world.run(eventually(world.io, [&] { return mine.alive == 1; }));
  CHECK(mine.pongs == 1);
  CHECK(mine.newest_ping >= before);
  CHECK(mine.newest_ping <= read_boot_clock());
  dialled.socket->set_ping_interval(1ms);
  world.run(eventually(world.io, [&] { return mine.alive > 5; }));
}

TEST_CASE("a pong may come late when our own thread was away for over a second") {
  websocket_options options = quick();
  options.ping_interval = 10ms;
  options.ping_timeout = 50ms;
  net_world world;
  ws_test_server server(world, options);
  bool stalled = false;
  const auto stall = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await raw_upgrade(peer, server.port);
    co_await peer.read_until(std::string(1, static_cast<char>(ping_frame)));
    ::usleep(1'200'000);  // the io thread stands still, as on an overloaded or stopped machine
    stalled = true;
    peer.received.clear();
    co_await peer.send(frame(0x8a, ""));
    co_await peer.read_until(std::string(1, static_cast<char>(ping_frame)));
    CHECK_FALSE(server.closed());
  };
  world.run(stall());
  CHECK(stalled);
}

TEST_CASE("a large message that is still arriving excuses the pong behind it") {
  websocket_options options = quick();
  options.ping_interval = 20ms;
  options.ping_timeout = 60ms;
  net_world world;
  ws_test_server server(world, options);
  const auto upload = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await raw_upgrade(peer, server.port);
    const std::string bytes = frame(text_frame, std::string(1000, 'x'));
    asio::steady_timer timer(world.io);
    for (std::size_t at = 0; at < bytes.size(); at += 50) {
      co_await peer.send(bytes.substr(at, 50));
      timer.expires_after(15ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
    co_await eventually(world.io, [&] { return server.closed() || !server.seen.messages.empty(); });
  };
  world.run(upload());
  CHECK(server.seen.messages.size() == 1);
}

TEST_CASE("a peer that does not read is closed with 4008 when its queue is full, and its memory freed") {
  websocket_options options = quick();
  options.close_timeout = 50ms;
  options.max_queue_bytes = 1024 * 1024;
  net_world world;
  ws_test_server server(world, options);
  const auto flood = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await raw_upgrade(peer, server.port);
    bool taken = true;
    asio::steady_timer timer(world.io);
    while (taken) {
      taken = server.accepted->send(std::string(100'000, 'x'));
      CHECK(server.accepted->queued_bytes() <= options.max_queue_bytes);
      timer.expires_after(0ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
    CHECK(server.accepted->queued_bytes() <= 100'000);
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(flood());
  CHECK(server.seen.closed[0].code == 4008);
  CHECK_FALSE(server.seen.closed[0].by_peer);
}

TEST_CASE("a close that nobody answers ends at the close timeout") {
  websocket_options options = quick();
  options.close_timeout = 50ms;
  net_world world;
  ws_test_server server(world, options);
  raw_peer peer(world.io);
  const auto ignore = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    server.accepted->close(1001, "going away");
    co_await eventually(world.io, [&] { return server.closed(); });
    co_await peer.read_to_end();
  };
  const auto start = std::chrono::steady_clock::now();
  world.run(ignore());
  CHECK(std::chrono::steady_clock::now() - start < 2s);
  CHECK(close_code_in(peer.received) == 1001);
  CHECK(server.seen.closed[0].code == 1001);
  CHECK(server.seen.closed[0].error == asio::error::timed_out);
}

TEST_CASE("closes that cross inside what was already read end at once") {
  // The second text frame lets our close frame leave before the reader comes to the peer's, which lies ready.
  net_world world;
  ws_test_server server(world);
  raw_peer peer(world.io);
  const auto cross = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    server.on_message = [&] { server.accepted->close(4001, "enough"); };
    co_await peer.send(frame(text_frame, "one") + frame(text_frame, "two") +
                       frame(close_frame, std::string("\x03\xe8", 2)));
    co_await peer.read_to_end();
    peer.socket.close();
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(cross());
  CHECK(server.seen.closed.size() == 1);
  CHECK_FALSE(server.seen.closed[0].error);  // not the close timeout's
  CHECK(server.seen.closed[0].code == 4001);
}

TEST_CASE("whatever a peer does about our close, the end is told once") {
  using deed = std::function<awaitable<void>(raw_peer&)>;
  const auto say = [](std::string bytes) -> deed {
    return [bytes](raw_peer& peer) -> awaitable<void> { co_await peer.send(bytes); };
  };
  const auto say_and_leave = [](std::string bytes) -> deed {
    return [bytes](raw_peer& peer) -> awaitable<void> {
      co_await peer.send(bytes);
      peer.socket.close();
    };
  };
  const std::string half_message = frame(text_frame, "0123456789").substr(0, 8);
  const std::string bye = frame(close_frame, std::string("\x03\xe8", 2));
  std::string many_pings;
  for (int i = 0; i < 100; ++i) many_pings += frame(ping_frame, "p");
  struct row {
    const char* name;
    std::string first;  // sent and seen before the close
    deed then;
  };
  const row rows[] = {
      {"says nothing", "", say("")},
      {"answers", "", say_and_leave(bye)},
      {"answers and keeps TCP open", "", say(bye)},
      {"answers behind other frames", "", say(frame(text_frame, "a") + frame(ping_frame, "p") + bye)},
      {"answers twice", "", say(bye + bye)},
      {"closes TCP without a frame", "", say_and_leave("")},
      {"closes TCP inside a frame", "", say_and_leave(half_message)},
      {"resets", "",
       [](raw_peer& peer) -> awaitable<void> {
         peer.socket.set_option(asio::socket_base::linger(true, 0));
         peer.socket.close();
         co_return;
       }},
      {"ends its half of TCP", "",
       [](raw_peer& peer) -> awaitable<void> {
         peer.socket.shutdown(asio::ip::tcp::socket::shutdown_send);
         co_return;
       }},
      {"breaks the protocol", "", say(frame(0xc1, "x"))},
      {"answers with a wrong code", "", say(frame(close_frame, std::string("\x03\xe7", 2)))},
      {"is inside a message and says nothing", half_message, say("")},
      {"is inside a message and ends it", half_message, say("23456789" + bye)},
      {"is inside a message and makes it bad UTF-8", half_message, say("\xff\xff\xff\xff\xff\xff\xff\xff")},
      {"is inside a message and closes TCP", half_message, say_and_leave("")},
      {"goes on with pings", "", say(many_pings)},
      {"goes on with pings and answers", many_pings, say(many_pings + bye)},
      {"goes on with messages", "", say(frame(text_frame, std::string(300'000, 'x')))},
  };
  for (const bool paused : {false, true}) {
    for (const row& r : rows) {
      CAPTURE(std::string(r.name));
      CAPTURE(paused);
      websocket_options options = quick();
      options.close_timeout = 50ms;
      net_world world;
      ws_test_server server(world, options);
      raw_peer peer(world.io);
      const auto talk = [&]() -> awaitable<void> {
        co_await raw_upgrade(peer, server.port);
        co_await peer.send(frame(text_frame, "here") + r.first);
        co_await eventually(world.io, [&] { return !server.seen.messages.empty(); });
        server.accepted->pause_reading(paused);
        server.accepted->close(4001, "enough");
        server.accepted->close(4002, "a second close changes nothing");
        co_await peer.read_until(std::string(1, static_cast<char>(close_frame)));
        co_await r.then(peer);
        co_await eventually(world.io, [&] { return server.closed(); });
      };
      world.run(talk());
      world.io.restart();
      world.io.poll();
      CHECK(server.seen.closed.size() == 1);
      CHECK(server.seen.closed[0].code == 4001);
      CHECK(server.seen.after_closed == 0);
    }
  }
}

TEST_CASE("a close behind messages and a ping that the peer does not take ends at the close timeout") {
  websocket_options options = quick();
  options.close_timeout = 50ms;
  options.max_queue_bytes = 64 * 1024 * 1024;
  net_world world;
  ws_test_server server(world, options);
  raw_peer peer(world.io);
  const auto stuck = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    for (int i = 0; i < 30; ++i) server.accepted->send(std::string(500'000, 'x'));
    server.accepted->ping();
    co_await peer.send(frame(ping_frame, "p"));  // its pong waits behind the messages, too
    co_await eventually(world.io, [&] { return server.seen.alive > 0; });
    server.accepted->close(1001, "going away");
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(stuck());
  CHECK(server.seen.closed.size() == 1);
  CHECK(server.seen.closed[0].error == asio::error::timed_out);
  CHECK(server.accepted->queued_bytes() == 0);
}

TEST_CASE("close may be called from inside the handlers, and before anything ran") {
  for (const std::string where : {"message", "alive", "start"}) {
    CAPTURE(where);
    net_world world;
    ws_test_server server(world);
    const dial_result dialled = dial(world, to(server.ws_url()));
    REQUIRE(dialled.socket);
    int closed = 0;
    websocket_events events;
    const auto leave = [&](std::string_view here) {
      if (where == here) dialled.socket->close(4001, "enough");
    };
    events.message = [&](std::string) { leave("message"); };
    events.alive = [&](std::optional<boot_time>) { leave("alive"); };
    events.closed = [&](close_info) { ++closed; };
    dialled.socket->start(events);
    leave("start");
    server.accepted->send("x");
    server.accepted->ping();
    world.run(eventually(world.io, [&] { return closed > 0 && server.closed(); }));
    CHECK(closed == 1);
    CHECK(server.seen.closed.size() == 1);
    CHECK(server.seen.closed[0].code == 4001);
  }
}

TEST_CASE("however two ends ping, talk, pause and close across each other, each is told its end once") {
  std::mt19937 dice(1);
  const auto one_of = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(dice); };
  websocket_options options = quick();
  options.close_timeout = 50ms;
  net_world world;
  ws_test_server server(world, options);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    server.seen = {};
    const dial_result dialled = dial(world, to(server.ws_url(), options));
    REQUIRE(dialled.socket);
    observed mine;
    dialled.socket->start(mine.events());
    const auto act = [&](websocket& end) {
      switch (one_of(8)) {
        case 0: end.close(4001, "enough"); break;
        case 1: end.ping(); break;
        case 2: end.pause_reading(one_of(2) == 0); break;
        case 3: end.send(std::string(static_cast<std::size_t>(one_of(100'000)), 'x')); break;
        default: end.send("x"); break;
      }
    };
    const auto walk = [&]() -> awaitable<void> {
      for (int steps = one_of(30); steps > 0; --steps) {
        act(one_of(2) == 0 ? *server.accepted : *dialled.socket);
        for (int turns = one_of(4); turns > 0; --turns) co_await asio::post(world.io, asio::use_awaitable);
      }
      if (one_of(2) == 0) server.accepted->close(4002, "the last word");
      if (one_of(2) == 0) co_await asio::post(world.io, asio::use_awaitable);
      dialled.socket->close(4003, "the last word");
      server.accepted->pause_reading(false);
      co_await eventually(world.io, [&] { return server.closed() && !mine.closed.empty(); });
    };
    world.run(walk());
    CHECK(server.seen.closed.size() == 1);
    CHECK(mine.closed.size() == 1);
    CHECK(server.seen.after_closed + mine.after_closed == 0);
  }
}

TEST_CASE("a peer that closes with a frame but keeps TCP open is let go at the close timeout") {
  websocket_options options = quick();
  options.close_timeout = 50ms;
  net_world world;
  ws_test_server server(world, options);
  raw_peer peer(world.io);
  const auto half_closed = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    co_await peer.send(frame(close_frame, std::string("\x03\xe8", 2) + "bye"));
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(half_closed());
  CHECK(server.seen.closed[0].code == 1000);
  CHECK(server.seen.closed[0].reason == "bye");
  CHECK(server.seen.closed[0].by_peer);
}

TEST_CASE("a paused connection pushes back on its peer and loses nothing") {
  net_world world;
  ws_test_server server(world);
  const dial_result dialled = dial(world, to(server.ws_url()));
  observed mine;
  dialled.socket->start(mine.events());
  dialled.socket->send("first");
  world.run(eventually(world.io, [&] { return server.seen.messages.size() == 1; }));
  server.accepted->pause_reading(true);
  int sent = 1;
  const auto fill = [&]() -> awaitable<void> {
    asio::steady_timer timer(world.io);
    // Until the buffers of the kernel are full and the sender's own queue begins to grow.
    for (int quiet = 0; quiet < 20;) {
      const bool room = dialled.socket->queued_bytes() < 500'000;
      if (room) dialled.socket->send(std::string(100'000, 'x'));
      sent += room ? 1 : 0;
      quiet = room ? 0 : quiet + 1;
      timer.expires_after(1ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
  };
  world.run(fill());
  CHECK(server.seen.messages.size() == 1);
  server.accepted->pause_reading(false);
  world.run(eventually(world.io, [&] { return static_cast<int>(server.seen.messages.size()) == sent; }));
  CHECK_FALSE(server.closed());
}

TEST_CASE("while paused nobody is declared dead, and close() still works") {
  websocket_options options = quick();
  options.ping_interval = 10ms;
  options.ping_timeout = 20ms;
  net_world world;
  ws_test_server server(world, options);
  const dial_result dialled = dial(world, to(server.ws_url()));
  observed mine;
  dialled.socket->start(mine.events());
  server.accepted->pause_reading(true);
  world.io.restart();
  world.io.run_for(100ms);
  CHECK_FALSE(server.closed());
  server.accepted->close(1001, "going away");
  world.run(eventually(world.io, [&] { return server.closed() && !mine.closed.empty(); }));
  CHECK(mine.closed[0].code == 1001);
  CHECK_FALSE(server.seen.closed[0].error);
}

TEST_CASE("a flood of pings from a peer that reads nothing grows nothing here and ends by the ping timeout") {
  websocket_options options = quick();
  options.ping_interval = 200ms;
  options.ping_timeout = 200ms;
  net_world world;
  ws_test_server server(world, options);
  std::size_t pings = 0;
  const auto flood = [&]() -> awaitable<void> {
    raw_peer peer(world.io);
    co_await raw_upgrade(peer, server.port);
    std::string many;
    for (int i = 0; i < 1000; ++i) many += frame(ping_frame, std::string(125, 'p'));
    const auto push = [&]() -> awaitable<void> {
      bool taken = true;
      while (taken) {
        taken = co_await peer.send(many);
        pings += 1000;
        CHECK(server.accepted->queued_bytes() == 0);
      }
    };
    co_await push();
    co_await eventually(world.io, [&] { return server.closed(); });
  };
  world.run(flood());
  CHECK(pings >= 1000);
  CHECK(server.seen.closed.size() == 1);
}

TEST_CASE("a lower limit on messages can be raised while connected") {
  websocket_options options = quick();
  options.max_message = 100;
  net_world world;
  ws_test_server server(world, options);
  const dial_result dialled = dial(world, to(server.ws_url()));
  observed mine;
  dialled.socket->start(mine.events());
  dialled.socket->send(std::string(100, 'x'));
  world.run(eventually(world.io, [&] { return server.seen.messages.size() == 1; }));
  server.accepted->set_max_message(1000);
  dialled.socket->send(std::string(1000, 'x'));
  world.run(eventually(world.io, [&] { return server.seen.messages.size() == 2; }));
  dialled.socket->send(std::string(1001, 'x'));
  world.run(eventually(world.io, [&] { return !mine.closed.empty(); }));
  CHECK(mine.closed[0].code == 1009);
  CHECK(mine.closed[0].by_peer);
}

TEST_CASE("the server's stop closes its WebSockets with 1001") {
  net_world world;
  ws_test_server server(world);
  const dial_result dialled = dial(world, to(server.ws_url()));
  observed mine;
  dialled.socket->start(mine.events());
  const auto start = std::chrono::steady_clock::now();
  world.run(server.server->stop(10s));
  CHECK(std::chrono::steady_clock::now() - start < 5s);
  world.run(eventually(world.io, [&] { return !mine.closed.empty(); }));
  CHECK(mine.closed[0].code == 1001);
  CHECK(mine.closed[0].by_peer);
  CHECK(server.seen.closed.size() == 1);
}

TEST_CASE("the server's stop waits for no goodbye longer than its limit") {
  websocket_options options = quick();
  options.close_timeout = 1h;
  net_world world;
  ws_test_server server(world, options);
  raw_peer peer(world.io);
  const auto ignore = [&]() -> awaitable<void> {
    co_await raw_upgrade(peer, server.port);
    co_await server.server->stop(50ms);
    co_await peer.read_to_end();
  };
  world.run(ignore());
  CHECK(close_code_in(peer.received) == 1001);
}

TEST_CASE("upgrades are refused as plain HTTP answers") {
  net_world world;
  ws_test_server server(world);
  const auto status = [&](std::string text) {
    int out = 0;
    const auto ask = [&]() -> awaitable<void> {
      raw_peer peer(world.io);
      co_await peer.connect(server.port);
      co_await peer.send(text);
      const std::string answer = co_await peer.read_answer();
      out = status_of(answer);
    };
    world.run(ask());
    return out;
  };
  const std::string get = "GET /ws HTTP/1.1\r\nHost: localhost\r\n";
  CHECK(status(get + "\r\n") == 426);
  CHECK(status(get + "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n") == 426);
  CHECK(status(get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n") == 400);
  CHECK(status(upgrade_head + "Origin: http://evil.example\r\n\r\n") == 403);
  CHECK(status("POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n") == 405);
  CHECK(status(upgrade_head + "\r\n" + frame(text_frame, "early")) == 400);
  CHECK_FALSE(server.accepted);
}

TEST_CASE("a refused or failed dial says why in words people know") {
  net_world world;
  ws_test_server server(world);
  CHECK(dial(world, to(server.ws_url("/ws?refuse=1"))).message == "401 Unauthorized: no token was sent");
  CHECK(dial(world, to(server.ws_url("/nothing"))).message ==
        "400 Bad Request: this path is no WebSocket endpoint");
  CHECK(dial(world, to("wss://localhost:1/ws")).message ==
        "wss:// is not supported by this version; use ws:// on loopback");
  CHECK(dial(world, to("ftp://localhost:1/ws")).message.find("not a WebSocket address") != std::string::npos);
  std::uint16_t closed_port = 0;
  asio::ip::tcp::acceptor silent(world.io, {asio::ip::address_v4::loopback(), 0});
  {
    asio::ip::tcp::acceptor unused(world.io, {asio::ip::address_v4::loopback(), 0});
    closed_port = unused.local_endpoint().port();
  }
  const dial_result refused = dial(world, to("ws://localhost:" + std::to_string(closed_port) + "/ws"));
  CHECK(refused.message == "Connection refused");
  CHECK(refused.error == asio::error::connection_refused);
  CHECK_FALSE(refused.socket);
  dial_request patient = to("ws://127.0.0.1:" + std::to_string(silent.local_endpoint().port()) + "/ws");
  patient.handshake_timeout = 50ms;
  const dial_result timed_out = dial(world, patient);
  CHECK(timed_out.message == "timed out");
  CHECK(timed_out.error == asio::error::timed_out);
}

TEST_CASE("user and password of the URL are sent as Basic when there is no token") {
  net_world world;
  ws_test_server server(world);
  std::string url = server.ws_url();
  url.insert(5, "worker:secret@");
  const dial_result dialled = dial(world, to(url));
  REQUIRE(dialled.socket);
  CHECK(server.upgrade.headers.at("authorization") == "Basic d29ya2VyOnNlY3JldA==");
}

TEST_CASE("a session that is dropped without being started closes its socket and frees its place") {
  net_world world;
  ws_test_server server(world);
  {
    const dial_result dropped = dial(world, to(server.ws_url()));
    REQUIRE(dropped.socket);
  }
  world.run(eventually(world.io, [&] { return server.closed(); }));
  CHECK(server.seen.closed[0].code == 1006);
}
