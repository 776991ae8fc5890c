// One WebSocket connection, accepted or dialled, in text frames. Keeps the protocol-level keepalive (ping
// every 20 s, pong within 10 s, close within 5 s by default) and writes through one coroutine that gathers
// what is queued. Decides nothing: the server and worker shells own the meaning of frames.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/net/io.hpp>

namespace orchestrator::net {

struct websocket_options {
  std::chrono::milliseconds ping_interval{20'000};
  std::chrono::milliseconds ping_timeout{10'000};  ///< not counted while our own timer fired over 1 s late
  std::chrono::milliseconds close_timeout{5'000};
  std::size_t max_message = limits::frame;
  std::size_t max_queue_bytes = limits::outbound_queue_bytes;
};

struct close_info {
  std::uint16_t code = 1006;  ///< as received, or sent by us; 1006: no close frame
  std::string reason;
  bool by_peer = false;  ///< the peer's close frame came first
  error_code error;      ///< the transport's error when there was no close frame
};

/// What the owner of a connection is told, always on the io thread and never from inside a call to the
/// session.
struct websocket_events {
  std::function<void(std::string frame)> message;  ///< one whole text message
  /// A ping came, or the pong to a ping of ours, with the time at which that was handed to the socket.
  std::function<void(std::optional<boot_time> pinged)> alive;
  std::function<void(close_info)> closed;  ///< exactly once, last
};

class websocket {
 public:
  virtual ~websocket() = default;
  /// Attaches the owner and starts reading, writing and pinging. Once.
  virtual void start(websocket_events events) = 0;
  /// Queues a text frame. When the queue is over its limit the connection is closed with 4008 and false
  /// returned.
  virtual bool send(std::string frame) = 0;
  /// After what is queued, sends a close frame and waits for the peer's; all of it at most close_timeout.
  /// Later sends are dropped, and `message` and `alive` are not called any more.
  virtual void close(std::uint16_t code, std::string reason) = 0;
  /// Sends a ping now; `alive` tells when it was answered.
  virtual void ping() = 0;
  /// Stops or goes on reading (TCP backpressure). Pongs are not seen while paused.
  virtual void pause_reading(bool paused) = 0;
  virtual void set_max_message(std::size_t bytes) = 0;
  virtual void set_ping_interval(std::chrono::milliseconds interval) = 0;
  virtual std::size_t queued_bytes() const = 0;
  virtual std::string peer_address() const = 0;
};

struct dial_result {
  std::shared_ptr<websocket> socket;  ///< null on failure
  error_code error;
  std::string message;  ///< for people: "Connection refused", "401 Unauthorized: ..."
};

struct dial_request {
  std::string url;           ///< ws://[user:password@]host:port/path (wss later)
  std::string bearer_token;  ///< sent as Authorization: Bearer, if not empty; else the URL's user as Basic
  websocket_options options;
  std::chrono::milliseconds handshake_timeout{10'000};
};

/// Connects and upgrades. Never throws for what the network does.
asio::awaitable<dial_result> dial_websocket(dial_request request);

}  // namespace orchestrator::net
