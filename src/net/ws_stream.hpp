// One WebSocket as a stream of whole messages: the narrow interface behind which Beast's WebSocket stays in
// one translation unit. ws_session drives it and keeps its rules: one read, one write and one ping at a time,
// close once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <orchestrator/net/io.hpp>

#include "tcp.hpp"

namespace orchestrator::net {

enum class ws_control { ping, pong, close };

struct ws_message {
  error_code error;              ///< set: the connection is over, the rest says how
  bool text = true;              ///< false: a binary message
  bool too_many_pieces = false;  ///< reading stopped in a message that came in absurdly many fragments
  std::string data;
  bool closed_by_frame = false;  ///< the peer's close frame ended it
  std::uint16_t close_code =
      0;  ///< the peer's, or the one Beast sent for a violation; 0: no close frame at all
  std::string close_reason;
};

/// What an upgrade request carried; everything in it was checked by http_session.
struct ws_upgrade {
  std::string host, target, key;
};

/// What a dialler says in its upgrade request.
struct ws_offer {
  std::string host, target;
  std::string authorization;  ///< the header's value, "" for none
};

struct ws_answer {
  error_code error;
  int status = 0;    ///< of the HTTP answer, 0 if there was none
  std::string body;  ///< of an answer that was not 101
};

class ws_stream {
 public:
  virtual ~ws_stream() = default;
  virtual asio::awaitable<error_code> accept(ws_upgrade upgrade) = 0;
  virtual asio::awaitable<ws_answer> handshake(ws_offer offer) = 0;

  virtual asio::awaitable<ws_message> read() = 0;
  virtual asio::awaitable<error_code> write(std::string frame) = 0;
  /// Sends a close frame and discards input until the peer's.
  virtual asio::awaitable<error_code> close(std::uint16_t code, std::string reason) = 0;
  /// After the close handshake: waits until the peer closes TCP, so that it surely sees our close frame.
  virtual asio::awaitable<void> linger() = 0;
  virtual void ping(std::function<void(error_code)> sent) = 0;
  /// `seen` is called while a read is under way, for each control frame.
  virtual void on_control(std::function<void(ws_control)> seen) = 0;

  virtual void set_max_message(std::size_t bytes) = 0;
  /// Bytes of messages read so far, unfinished ones included, and whether one is unfinished now.
  virtual std::uint64_t bytes_read() const = 0;
  virtual bool in_message() const = 0;
  /// Closes the socket at once; every pending operation ends with an error.
  virtual void abort() = 0;
};

std::unique_ptr<ws_stream> make_ws_stream(tcp::socket socket, std::size_t max_message);

}  // namespace orchestrator::net
