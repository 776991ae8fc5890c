// What the listener and all connections of one server share. Owned by shared_ptr, because connections may end
// after the server object is gone.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <orchestrator/net/http.hpp>

#include "http_head.hpp"
#include "router.hpp"
#include "tcp.hpp"
#include "wake_event.hpp"

namespace orchestrator::net {

class http_session;
class ws_session;

struct http_core {
  http_core(asio::any_io_executor executor_, http_server_options options_)
      : executor(executor_),
        options(std::move(options_)),
        acceptor(executor_),
        accept_pause(executor_),
        connection_ended(executor_) {}

  asio::any_io_executor executor;
  http_server_options options;
  tcp::acceptor acceptor;
  asio::steady_timer accept_pause;
  host_policy hosts;
  router routes;
  access_check access;
  bool stopping = false;

  std::size_t connections = 0;      // accepted sockets of both kinds
  std::size_t unauthenticated = 0;  // of those, without a request that passed the access check
  std::size_t being_refused = 0;    // connections over the limit that are told so
  std::map<const void*, std::weak_ptr<http_session>> sessions;
  std::map<const void*, std::weak_ptr<ws_session>> websockets;
  wake_event connection_ended;  // for stop()
};

/// Holds one of the server's connections; shared so that a WebSocket can take it over from its HTTP session.
class connection_slot {
 public:
  explicit connection_slot(std::shared_ptr<http_core> core) : core_(std::move(core)) {
    ++core_->connections;
    ++core_->unauthenticated;
  }
  ~connection_slot() {
    authenticated();
    --core_->connections;
    core_->connection_ended.notify();
  }
  connection_slot(const connection_slot&) = delete;
  connection_slot& operator=(const connection_slot&) = delete;

  void authenticated() {
    if (std::exchange(known_, true)) return;
    --core_->unauthenticated;
  }

 private:
  std::shared_ptr<http_core> core_;
  bool known_ = false;
};

}  // namespace orchestrator::net
