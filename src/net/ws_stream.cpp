// The only file that includes Beast's WebSocket. Beast frames, masks, checks UTF-8 and answers pings;
// what 1.81 leaves open is closed here: permessage-deflate is compiled out, fragments are counted, the
// teardown after a close never loops over what a flooding peer still sends (Beast's own reads until it would
// block, which a fast peer prevents), and a read and a close never wait for each other for ever. That is what
// they do when async_close, holding the write lock, waits for the read lock, and the read finds the peer's
// close frame or a fault: then no operation is left that closing the socket would end.
#include "ws_stream.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/websocket.hpp>

namespace orchestrator::net {

namespace beast = boost::beast;
namespace ws = boost::beast::websocket;

namespace {

constexpr std::size_t first_piece = 512;  // small, because it is held while a connection is idle
constexpr std::size_t later_piece = 16 * 1024;
constexpr std::size_t free_pieces = 4096;        // a byte at a time is slow, but a small message may come so
constexpr std::size_t bytes_per_piece = 256;     // beyond, pieces must hold at least this much on average
constexpr std::size_t write_buffer = 16 * 1024;  // in which a client masks what it sends

/// The layer under Beast: the socket, and the place where small writes can be joined into one.
class transport {
 public:
  using executor_type = tcp::socket::executor_type;

  explicit transport(tcp::socket socket) : socket_(std::move(socket)) {}
  executor_type get_executor() { return socket_.get_executor(); }
  tcp::socket& socket() { return socket_; }
  void close() {
    error_code ignored;
    socket_.close(ignored);
  }

  template <class Buffers, class Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    return socket_.async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <class Buffers, class Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    return socket_.async_write_some(buffers, std::forward<Handler>(handler));
  }

 private:
  tcp::socket socket_;
};

/// Found by Beast through argument-dependent look-up when its timer gives up.
void beast_close_socket(transport& t) { t.close(); }

/// Likewise, after a close handshake: only says that nothing more comes from us. ws_stream::linger waits for
/// the peer.
template <class Handler>
void async_teardown(beast::role_type, transport& t, Handler&& handler) {
  error_code ec;
  t.socket().shutdown(tcp::socket::shutdown_send, ec);
  if (ec == asio::error::not_connected) ec = {};
  asio::post(t.get_executor(), beast::bind_front_handler(std::forward<Handler>(handler), ec));
}

/// The close code Beast sent on its own for an error of ours to judge; 0 when it sent none.
std::uint16_t code_sent_for(const error_code& ec) {
  if (ec == ws::error::message_too_big) return ws::close_code::too_big;
  if (ec == ws::error::bad_frame_payload) return ws::close_code::bad_payload;
  if (ec == ws::condition::protocol_violation) return ws::close_code::protocol_error;
  return 0;
}

constexpr std::uint16_t no_status_code = 1005;

/// Ends operations that wait for a lock of Beast's instead of for the socket.
struct canceller {
  asio::cancellation_signal read, write, ping;

  void emit() {
    for (asio::cancellation_signal* signal : {&read, &write, &ping})
      signal->emit(asio::cancellation_type::terminal);
  }
};

auto until_aborted(asio::cancellation_signal& signal) {
  return asio::bind_cancellation_slot(signal.slot(), asio::as_tuple(asio::use_awaitable));
}

class beast_ws_stream final : public ws_stream {
 public:
  beast_ws_stream(tcp::socket socket, std::size_t max_message) : stream_(transport(std::move(socket))) {
    stream_.auto_fragment(false);
    stream_.write_buffer_bytes(write_buffer);
    stream_.read_message_max(max_message);
    stream_.text(true);
  }

  asio::awaitable<error_code> accept(ws_upgrade upgrade) override {
    stream_.set_option(ws::stream_base::decorator([](ws::response_type& response) {
      response.set(beast::http::field::server, "orchestrator");  // else Beast names itself and its version
      response.set(beast::http::field::cache_control, "no-store");
    }));
    beast::http::request<beast::http::empty_body> request{beast::http::verb::get, upgrade.target, 11};
    request.set(beast::http::field::host, upgrade.host);
    request.set(beast::http::field::connection, "upgrade");
    request.set(beast::http::field::upgrade, "websocket");
    request.set(beast::http::field::sec_websocket_key, upgrade.key);
    request.set(beast::http::field::sec_websocket_version, "13");
    const auto [ec] = co_await stream_.async_accept(request, asio::as_tuple(asio::use_awaitable));
    co_return ec;
  }

  asio::awaitable<ws_answer> handshake(ws_offer offer) override {
    stream_.set_option(
        ws::stream_base::decorator([authorization = offer.authorization](ws::request_type& request) {
          request.set(beast::http::field::user_agent, "orchestrator");
          if (!authorization.empty()) request.set(beast::http::field::authorization, authorization);
        }));
    ws::response_type response;
    const auto [ec] = co_await stream_.async_handshake(response, offer.host, offer.target,
                                                       asio::as_tuple(asio::use_awaitable));
    ws_answer answer;
    answer.error = ec;
    if (!ec || ec == ws::error::upgrade_declined) answer.status = static_cast<int>(response.result_int());
    answer.body = std::move(response.body());
    co_return answer;
  }

  asio::awaitable<ws_message> read() override {
    ws_message message;
    std::size_t pieces = 0;
    do {
      const std::size_t used = message.data.size();
      const std::size_t room = stream_.read_size_hint(pieces == 0 ? first_piece : later_piece);
      message.data.resize(used + std::min(room, later_piece));
      const auto buffer = asio::buffer(message.data) + used;
      const auto [ec, n] = co_await stream_.async_read_some(buffer, until_aborted(cancel_->read));
      message.data.resize(used + n);
      bytes_read_ += n;
      if (ec) {
        explain(ec, message);
        co_return message;
      }
      in_message_ = !stream_.is_message_done();
      message.text = stream_.got_text();
      message.too_many_pieces = ++pieces > free_pieces + message.data.size() / bytes_per_piece;
    } while (in_message_ && message.text && !message.too_many_pieces);
    co_return message;
  }

  asio::awaitable<error_code> write(std::string frame) override {
    const auto [ec, n] = co_await stream_.async_write(asio::buffer(frame), until_aborted(cancel_->write));
    co_return ec;
  }

  asio::awaitable<error_code> close(std::uint16_t code, std::string reason) override {
    ws::close_reason why;
    why.code = code;
    why.reason = beast::string_view(reason).substr(0, why.reason.max_size());
    // For its sake a read leaves the thread between finding a frame and handling it, with the lock held.
    stream_.control_callback();
    const auto [ec] = co_await stream_.async_close(why, until_aborted(cancel_->write));
    co_return ec;
  }

  asio::awaitable<void> linger() override { co_await drain_until_closed(stream_.next_layer().socket()); }

  void ping(std::function<void(error_code)> sent) override {
    stream_.async_ping({}, asio::bind_cancellation_slot(cancel_->ping.slot(), std::move(sent)));
  }

  void on_control(std::function<void(ws_control)> seen) override {
    stream_.control_callback([seen = std::move(seen)](ws::frame_type kind, beast::string_view) {
      seen(kind == ws::frame_type::ping   ? ws_control::ping
           : kind == ws::frame_type::pong ? ws_control::pong
                                          : ws_control::close);
    });
  }

  void set_max_message(std::size_t bytes) override { stream_.read_message_max(bytes); }
  std::uint64_t bytes_read() const override { return bytes_read_; }
  bool in_message() const override { return in_message_; }
  void abort() override {
    stream_.next_layer().close();
    // Behind what the closed socket ends by itself, and not from inside the call.
    asio::post(stream_.get_executor(), [cancel = std::weak_ptr(cancel_)] {
      if (const auto alive = cancel.lock()) alive->emit();
    });
  }

 private:
  void explain(const error_code& ec, ws_message& message) {
    message.error = ec;
    message.closed_by_frame = ec == ws::error::closed;
    message.close_code = code_sent_for(ec);
    if (!message.closed_by_frame) return;
    const ws::close_reason& why = stream_.reason();
    message.close_code = why.code == ws::close_code::none ? no_status_code : why.code;
    message.close_reason = std::string(why.reason.data(), why.reason.size());
  }

  std::shared_ptr<canceller> cancel_ = std::make_shared<canceller>();
  ws::stream<transport, false> stream_;
  std::uint64_t bytes_read_ = 0;
  bool in_message_ = false;
};

}  // namespace

std::unique_ptr<ws_stream> make_ws_stream(tcp::socket socket, std::size_t max_message) {
  return std::make_unique<beast_ws_stream>(std::move(socket), max_message);
}

}  // namespace orchestrator::net
