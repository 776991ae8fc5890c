// Tests the HTTP client against the real server and against raw peers that misbehave.
#include <orchestrator/net/http.hpp>

#include "http_test_server.hpp"

using namespace std::chrono_literals;
using namespace orchestrator;
using namespace orchestrator::net;
using namespace orchestrator::testing;
using orchestrator::testing::asio::awaitable;
using orchestrator::testing::asio::ip::tcp;

namespace {

/// Accepts connections one after another and answers each request on them with the next of `answers`; ""
/// closes the connection. Counts both.
class scripted_server {
 public:
  explicit scripted_server(asio::io_context& io)
      : acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), io_(io) {}
  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()) + "/x";
  }

  void start() { asio::co_spawn(io_, serve(), asio::detached); }

  tcp::acceptor acceptor;
  std::vector<std::string> answers;
  std::vector<std::string> requests;
  int connections = 0;

 private:
  awaitable<void> serve() {
    std::size_t next = 0;
    while (next < answers.size()) {
      raw_peer peer(io_);
      co_await acceptor.async_accept(peer.socket, asio::use_awaitable);
      ++connections;
      while (next < answers.size()) {
        const std::string request = co_await peer.read_answer();
        if (request.empty()) break;
        requests.push_back(request);
        const std::string answer = answers[next++];
        if (answer.empty()) break;
        co_await peer.send(answer);
      }
    }
  }
  asio::io_context& io_;
};

http_call get(std::string url) {
  http_call call;
  call.url = std::move(url);
  return call;
}

http_result do_call(net_world& world, http_client& client, http_call call) {
  http_result out;
  const auto run = [&]() -> awaitable<void> { out = co_await client.call(call); };
  world.run(run());
  return out;
}

const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("a call brings back status, headers and body, and the connection is used again") {
  net_world world;
  http_test_server server(world);
  std::vector<std::string> peers;
  const auto note_peer = [&](http_request request) -> awaitable<http_response> {
    peers.push_back(request.peer_address);
    http_response response;
    response.status = 201;
    response.headers.emplace_back("X-Kind", "sample");
    response.body = request.body;
    co_return response;
  };
  server.server->add(route{"POST", "/note", note_peer});
  server.start();
  const auto client = make_http_client(world.io.get_executor());
  http_call call = get(server.url("/note"));
  call.method = "POST";
  call.body = "{\"a\": 1}";
  for (int i = 0; i < 3; ++i) {
    const http_result got = do_call(world, *client, call);
    CHECK(got.status == 201);
    CHECK(got.body == "{\"a\": 1}");
    CHECK(got.headers.at("x-kind") == "sample");
  }
  REQUIRE(peers.size() == 3);
  CHECK(peers[0] == peers[2]);
  CHECK(do_call(world, *client, get(server.url("/nothing?q=1"))).status == 404);
  http_call head = get(server.url("/things"));
  head.method = "HEAD";
  const http_result headed = do_call(world, *client, head);
  CHECK(headed.status == 200);
  CHECK(headed.body == "");
}

TEST_CASE("a kept connection that the server closed is replaced without anybody noticing") {
  net_world world;
  scripted_server server(world.io);
  server.answers = {ok, "", ok};
  server.start();
  const auto client = make_http_client(world.io.get_executor());
  CHECK(do_call(world, *client, get(server.url())).status == 200);
  const http_result second = do_call(world, *client, get(server.url()));
  CHECK(second.status == 200);
  CHECK(second.body == "ok");
  CHECK(server.connections == 2);
}

TEST_CASE("a request that may have been carried out is not sent twice, unless a key makes that harmless") {
  for (const bool with_key : {false, true}) {
    CAPTURE(with_key);
    net_world world;
    scripted_server server(world.io);
    server.answers = {ok, "", ok};
    server.start();
    const auto client = make_http_client(world.io.get_executor());
    CHECK(do_call(world, *client, get(server.url())).status == 200);
    http_call post = get(server.url());
    post.method = "POST";
    if (with_key) post.headers.emplace_back("Idempotency-Key", "k1");
    const http_result got = do_call(world, *client, post);
    CHECK(got.status == (with_key ? 200 : 0));
    CHECK(server.requests.size() == (with_key ? 3 : 2));
    if (!with_key) CHECK(got.message == "connection closed by the other side");
  }
}

TEST_CASE("what goes wrong is said in words people know") {
  net_world world;
  const auto client = make_http_client(world.io.get_executor());
  std::uint16_t closed_port = 0;
  {
    scripted_server unused(world.io);
    closed_port = unused.acceptor.local_endpoint().port();
  }
  const http_result refused = do_call(world, *client, get("127.0.0.1:" + std::to_string(closed_port)));
  CHECK(refused.status == 0);
  CHECK(refused.message == "Connection refused");
  CHECK(do_call(world, *client, get("https://localhost:1/")).message ==
        "https:// is not supported by this version; use http:// on loopback");
  CHECK(do_call(world, *client, get("http://a b")).status == 0);
  http_call split = get("http://127.0.0.1:1/");
  split.headers.emplace_back("X", "a\r\nY: b");
  CHECK(do_call(world, *client, split).message == "a header or the method holds a control character");
}

TEST_CASE("a server that does not answer is given up after the timeout") {
  net_world world;
  tcp::acceptor silent(world.io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const auto client = make_http_client(world.io.get_executor());
  http_call call = get("127.0.0.1:" + std::to_string(silent.local_endpoint().port()));
  call.timeout = 50ms;
  const http_result got = do_call(world, *client, call);
  CHECK(got.status == 0);
  CHECK(got.error == asio::error::timed_out);
  CHECK(got.message == "no answer within 50 ms");
}

TEST_CASE("answers in every framing are understood, broken ones are errors") {
  struct row {
    const char* name;
    std::string answer;
    int status;
    std::string body;
  };
  const std::string start = "HTTP/1.1 200 OK\r\n";
  const row rows[] = {
      {"chunked", start + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "abcde"},
      {"until close", start + "\r\nall of it", 200, "all of it"},
      {"interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok, 200, "ok"},
      {"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
      {"cut off", start + "Content-Length: 10\r\n\r\nabc", 0, ""},
      {"cut chunk", start + "Transfer-Encoding: chunked\r\n\r\n3\r\nab", 0, ""},
      {"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 0, ""},
  };
  for (const row& r : rows) {
    CAPTURE(std::string(r.name));
    net_world world;
    scripted_server server(world.io);
    server.answers = {r.answer};
    server.start();
    const auto client = make_http_client(world.io.get_executor());
    const http_result got = do_call(world, *client, get(server.url()));
    CHECK(got.status == r.status);
    CHECK(got.body == r.body);
    if (r.status == 0) CHECK(got.message != "");
  }
}

TEST_CASE("a streamed answer arrives piece by piece and can be ended by the reader") {
  net_world world;
  http_test_server server(world);
  bool writer_noticed = false;
  const auto stream = [&](http_request) -> awaitable<http_response> {
    http_response response;
    response.stream = [&](std::shared_ptr<body_writer> out) -> awaitable<void> {
      bool open = true;
      while (open) open = co_await out->write("line\n");
      writer_noticed = true;
    };
    co_return response;
  };
  server.server->add(route{"GET", "/follow", stream});
  server.start();
  const auto client = make_http_client(world.io.get_executor());
  std::size_t bytes = 0;
  http_call call = get(server.url("/follow"));
  call.on_data = [&](std::string_view data) {
    bytes += data.size();
    return bytes < 1000;
  };
  const http_result got = do_call(world, *client, call);
  CHECK(got.status == 200);
  CHECK(bytes >= 1000);
  world.run(eventually(world.io, [&] { return writer_noticed; }));
}

TEST_CASE("user and password of the URL are sent as Basic") {
  net_world world;
  scripted_server server(world.io);
  server.answers = {ok};
  server.start();
  const auto client = make_http_client(world.io.get_executor());
  std::string url = server.url();
  url.insert(7, "worker:secret@");
  CHECK(do_call(world, *client, get(url)).status == 200);
  REQUIRE(server.requests.size() == 1);
  CHECK(server.requests[0].find("Authorization: Basic d29ya2VyOnNlY3JldA==\r\n") != std::string::npos);
}
