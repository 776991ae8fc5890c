// A server with a handful of routes, for the tests of this folder.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <orchestrator/net/http.hpp>

#include <support/net_world.hpp>

namespace orchestrator::testing {

inline asio::awaitable<net::http_response> answer_echo(net::http_request request) {
  net::http_response response;
  response.content_type = "text/plain";
  response.body = request.method + " " + request.path + " " + request.body;
  for (const std::string& parameter : request.path_parameters) response.body += " {" + parameter + "}";
  for (const auto& [key, value] : request.query) response.body += " " + key + "=" + value;
  co_return response;
}

inline asio::awaitable<net::http_response> answer_by_throwing(net::http_request) {
  throw std::runtime_error("on purpose");
  co_return net::http_response{};
}

class http_test_server {
 public:
  explicit http_test_server(net_world& world, net::http_server_options options = {})
      : server(net::make_http_server(world.io.get_executor(), std::move(options))) {
    server->add(net::route{"GET", "/things", answer_echo});
    server->add(net::route{"POST", "/things", answer_echo, 1000});
    server->add(net::route{"GET", "/things/{id}/part", answer_echo});
    server->add(net::route{"GET", "/things/last/part", answer_last});
    server->add(net::route{"DELETE", "/things/{id}", answer_echo});
    server->add(net::route{"POST", "/text", answer_echo, limits::http_body, false});
    server->add(net::route{"GET", "/bug", answer_by_throwing});
  }

  void start() {
    const auto bound = server->listen("127.0.0.1", 0);
    REQUIRE(bound.has_value());
    port = *bound;
    server->start();
  }
  std::string host() const { return "127.0.0.1:" + std::to_string(port); }
  std::string url(const std::string& path) const { return "http://" + host() + path; }

  std::unique_ptr<net::http_server> server;
  std::uint16_t port = 0;

 private:
  static asio::awaitable<net::http_response> answer_last(net::http_request) {
    net::http_response response;
    response.body = "the literal route";
    co_return response;
  }
};

}  // namespace orchestrator::testing
