// HTTP/1.1 on a socket: bounded reading of heads and bodies, writing that notices a stalled peer, and the
// parsers. Beast's HTTP is included in http_stream.cpp only. Used by http_session (server) and http_client.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/net/io.hpp>

#include "deadline.hpp"
#include "http_head.hpp"
#include "tcp.hpp"

namespace orchestrator::net {

/// The second opinion on a head that head_scanner let through, and its parts. Nothing if Beast refuses it.
std::optional<request_head> parse_request_head(std::string_view head);

/// One answer, parsed as its bytes arrive.
class response_parser {
 public:
  /// `head_only`: the answer to HEAD, which has no body whatever its Content-Length says.
  response_parser(bool head_only, std::optional<std::size_t> body_limit);
  ~response_parser();
  /// Takes the next bytes; an error means that this is no answer.
  error_code put(std::string_view bytes);
  /// The connection ended, which ends a body without length. An error if the answer is incomplete.
  error_code put_eof();
  bool has_head() const;
  bool done() const;
  bool keep_alive() const;
  int status() const;
  std::map<std::string, std::string> headers() const;
  /// What arrived of the body since the last call.
  std::string take_body();

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

class http_stream {
 public:
  explicit http_stream(tcp::socket socket);

  enum class head_outcome { complete, refused, idle_or_closed, timed_out };
  struct head_result {
    head_outcome outcome = head_outcome::idle_or_closed;
    head_scanner::verdict verdict = head_scanner::verdict::complete;  ///< why it was refused
    std::string head;
  };
  /// Waits up to `idle` for the first byte, then up to `limit` for the rest of the head.
  asio::awaitable<head_result> read_head(std::chrono::nanoseconds idle, std::chrono::nanoseconds limit);
  /// Exactly `size` bytes. Nothing if they did not come within `limit`.
  asio::awaitable<std::optional<std::string>> read_body(std::size_t size, std::chrono::nanoseconds limit);
  /// Writes the three parts; false if the peer is gone or took nothing for `stall`.
  asio::awaitable<bool> write(std::string_view a, std::string_view b, std::string_view c,
                              std::chrono::nanoseconds stall);
  /// Whatever comes next, at most 64 KiB; "" with `eof` or another error at the end. For http_client.
  asio::awaitable<error_code> read_some(std::string& out);
  /// Says that nothing more comes and waits up to `limit` for the peer to close, so that it can read our
  /// answer.
  asio::awaitable<void> close_gracefully(std::chrono::nanoseconds limit);
  /// Completes when the peer closed its side or sent something: true if it is gone.
  asio::awaitable<bool> wait_until_gone();

  bool has_unread() const { return !received_.empty(); }
  tcp::socket& socket() { return socket_; }
  tcp::socket release() { return std::move(socket_); }
  void cancel();
  void abort();

 private:
  asio::awaitable<error_code> fill(std::size_t at_most);

  tcp::socket socket_;
  std::string received_;  // read from the socket, not used yet
  deadline deadline_;
};

}  // namespace orchestrator::net
