// The WebSocket of the public header over a ws_stream: reader, writer and ping coroutine, their queue and
// their deadlines. Made by http_session (accepted) and dial_websocket (dialled). Runs on the io thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <orchestrator/net/websocket.hpp>

#include "deadline.hpp"
#include "wake_event.hpp"
#include "ws_stream.hpp"

namespace orchestrator::net {

struct caller;

class ws_session final : public websocket, public std::enable_shared_from_this<ws_session> {
 public:
  ws_session(asio::any_io_executor executor, std::unique_ptr<ws_stream> stream, websocket_options options,
             std::string peer_address);
  ~ws_session() override;

  /// Called once when nothing of the connection is left: after `closed`, or when an unstarted session is
  /// dropped.
  void on_gone(std::function<void()> gone) { gone_ = std::move(gone); }
  /// Whom the access check let in, if there was one.
  void held_by(std::shared_ptr<const caller> from) { from_ = std::move(from); }
  const std::shared_ptr<const caller>& from() const { return from_; }
  /// Ends the connection without a close frame.
  void abort();

  void start(websocket_events events) override;
  bool send(std::string frame) override;
  void close(std::uint16_t code, std::string reason) override;
  void ping() override;
  void pause_reading(bool paused) override;
  void set_max_message(std::size_t bytes) override;
  void set_ping_interval(std::chrono::milliseconds interval) override;
  std::size_t queued_bytes() const override { return queued_bytes_; }
  std::string peer_address() const override { return peer_address_; }

 private:
  using clock = wake_event::clock;

  asio::awaitable<void> run_reader(std::shared_ptr<ws_session> self);
  asio::awaitable<void> run_writer(std::shared_ptr<ws_session> self);
  asio::awaitable<void> run_pinger(std::shared_ptr<ws_session> self);
  asio::awaitable<void> read_messages();
  asio::awaitable<void> deliver(std::string data);
  asio::awaitable<void> wait_for_pong();
  asio::awaitable<void> finish();

  void send_ping();
  bool pong_is_overdue(clock::time_point now);
  void control_seen(ws_control kind);
  void message_failed(const ws_message& message);
  void transport_failed(const error_code& ec);
  void end(close_info info, bool by_close_frame);
  void deadline_reached();
  void tell_gone();

  asio::any_io_executor executor_;
  std::unique_ptr<ws_stream> stream_;
  websocket_options options_;
  std::string peer_address_;
  std::shared_ptr<const caller> from_;
  websocket_events events_;
  std::function<void()> gone_;

  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;  // of queue_ and of the frame being written

  bool started_ = false;
  bool paused_ = false;
  bool over_ = false;              // the connection has ended: `ended_as_` says how, every loop leaves
  bool closed_by_frames_ = false;  // it ended with close frames, so the peer may still be reading ours
  close_info ended_as_;
  std::optional<close_info> closing_;  // close() was called with this
  bool close_sent_ = false;

  bool ping_requested_ = false;
  bool ping_in_flight_ = false;
  bool pong_seen_ = false;
  boot_time pinged_at_{};
  clock::time_point patience_from_;  // the pong is due ping_timeout after this
  std::uint64_t bytes_at_last_check_ = 0;

  int running_ = 0;
  wake_event reader_wake_, writer_wake_, pinger_wake_;
  deadline close_deadline_;
};

}  // namespace orchestrator::net
