// One accepted connection: its requests one after another, until it closes or becomes a WebSocket. Made by
// the listener; kept alive by its own coroutine. Runs on the io thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <orchestrator/net/http.hpp>

#include "http_core.hpp"
#include "http_stream.hpp"
#include "ws_stream.hpp"

namespace orchestrator::net {

class http_session : public std::enable_shared_from_this<http_session> {
 public:
  http_session(std::shared_ptr<http_core> core, tcp::socket socket);
  ~http_session();

  asio::awaitable<void> run(std::shared_ptr<http_session> self);
  /// It is between two requests, or still sends one: nothing was begun for it.
  bool without_request() const { return without_request_; }
  void abort() { stream_.abort(); }
  /// Whose the newest request is; null before one passed the access check.
  const std::shared_ptr<const caller>& from() const { return from_; }

  const std::shared_ptr<http_core>& core() const { return core_; }
  http_stream& stream() { return stream_; }

 private:
  enum class next { keep_open, close, handed_over };

  asio::awaitable<next> serve_one(bool first);
  asio::awaitable<next> serve_checked(checked_head head);
  asio::awaitable<next> serve_route(checked_head head, router::match match);
  asio::awaitable<next> upgrade(checked_head head, const websocket_endpoint* endpoint);
  void hand_over(std::unique_ptr<ws_stream> stream, const checked_head& head,
                 const websocket_endpoint& endpoint);
  /// How an answer is sent. For HEAD the body stays here.
  struct manner {
    bool to_head = false;
    bool keep_open = false;
    bool chunked = false;  ///< a streamed body
  };
  asio::awaitable<next> send(http_response response, manner how);
  asio::awaitable<next> send_stream(http_response response, manner how);
  /// Answers a refusal and closes: what follows on the connection cannot be trusted or was not read.
  asio::awaitable<next> refuse(http_refusal refused, bool to_head);
  /// Tells the owner of an answer that is about to be sent.
  void note_answer(int status);
  std::optional<http_response> check_access(checked_head& head, const router::match& match);

  std::shared_ptr<http_core> core_;
  std::shared_ptr<connection_slot> slot_;
  http_stream stream_;
  std::shared_ptr<const caller> from_;
  std::string peer_address_;
  std::string local_address_;
  bool without_request_ = true;
  mono_time head_read_at_{};  ///< of the present request
  std::string method_;        ///< likewise, as far as it is known
  std::string_view pattern_;  ///< of its route, which lives as long as the server
};

}  // namespace orchestrator::net
