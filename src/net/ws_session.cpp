// Three coroutines per connection. The reader always has a read pending unless paused (pongs arrive only
// through it), the writer sends the queue and then the close frame, the pinger keeps the keepalive. The
// reader starts the other two, outlives them and reports `closed`. Whoever notices the end calls end(); the
// first call decides what is told.
#include "ws_session.hpp"

#include <utility>

#include <boost/asio/error.hpp>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

namespace orchestrator::net {

namespace {

constexpr std::uint16_t close_unsupported_data = 1003;
constexpr std::uint16_t close_abnormal = 1006;
constexpr std::uint16_t close_policy = 1008;
constexpr std::uint16_t close_slow_consumer = 4008;
constexpr std::size_t close_reason_max = 123;  // what fits into a control frame beside the code
constexpr auto late_timer = limits::stall_threshold;

std::string fitting_reason(std::string reason) {
  if (reason.size() > close_reason_max) reason.resize(close_reason_max);
  reason.resize(utf8_complete_prefix(reason));
  return reason;
}

}  // namespace

ws_session::ws_session(asio::any_io_executor executor, std::unique_ptr<ws_stream> stream,
                       websocket_options options, std::string peer_address)
    : executor_(executor),
      stream_(std::move(stream)),
      options_(options),
      peer_address_(std::move(peer_address)),
      reader_wake_(executor),
      writer_wake_(executor),
      pinger_wake_(executor),
      close_deadline_(executor, [this] { deadline_reached(); }) {}

ws_session::~ws_session() { tell_gone(); }

void ws_session::tell_gone() {
  if (const auto gone = std::exchange(gone_, nullptr)) gone();
}

// --- What the owner calls. Nothing here calls back: each sets state and wakes a coroutine. ---

void ws_session::start(websocket_events events) {
  ORC_CHECK(!started_, "a WebSocket is started once");
  started_ = true;
  events_ = std::move(events);
  stream_->on_control([this](ws_control kind) { control_seen(kind); });
  running_ = 2;
  const auto self = shared_from_this();
  spawn(executor_, "websocket reader", run_reader(self));
  spawn(executor_, "websocket writer", run_writer(self));
  spawn(executor_, "websocket pinger", run_pinger(self));
}

bool ws_session::send(std::string frame) {
  if (over_ || closing_) return false;
  if (queued_bytes_ + frame.size() > options_.max_queue_bytes) {
    // What waits is given up: the peer proved that it does not read, and the memory is wanted back now.
    for (const std::string& dropped : queue_) queued_bytes_ -= dropped.size();
    queue_.clear();
    close(close_slow_consumer, "slow consumer");
    return false;
  }
  queued_bytes_ += frame.size();
  queue_.push_back(std::move(frame));
  writer_wake_.notify();
  return true;
}

void ws_session::close(std::uint16_t code, std::string reason) {
  if (over_ || closing_) return;
  closing_ = close_info{code, fitting_reason(std::move(reason)), false, {}};
  close_deadline_.expires_after(options_.close_timeout);
  writer_wake_.notify();
  pinger_wake_.notify();
  reader_wake_.notify();
}

void ws_session::abort() { end({close_abnormal, "", false, asio::error::operation_aborted}, false); }

void ws_session::ping() {
  ping_requested_ = true;
  pinger_wake_.notify();
}

void ws_session::pause_reading(bool paused) {
  paused_ = paused;
  if (paused) return;
  patience_from_ = clock::now();  // pongs that came meanwhile are only read now
  reader_wake_.notify();
  pinger_wake_.notify();
}

void ws_session::set_max_message(std::size_t bytes) {
  options_.max_message = bytes;
  stream_->set_max_message(bytes);
}

void ws_session::set_ping_interval(std::chrono::milliseconds interval) {
  options_.ping_interval = interval;
  pinger_wake_.notify();
}

// --- The end of a connection ---

void ws_session::end(close_info info, bool by_close_frame) {
  if (over_) return;
  over_ = true;
  ended_as_ = std::move(info);
  closed_by_frames_ = by_close_frame;
  if (by_close_frame)
    close_deadline_.expires_after(options_.close_timeout);  // for the lingering that follows
  else
    stream_->abort();
  reader_wake_.notify();
  writer_wake_.notify();
  pinger_wake_.notify();
}

void ws_session::transport_failed(const error_code& ec) {
  close_info info = closing_.value_or(close_info{});
  info.error = ec;
  end(std::move(info), false);
}

/// Our close frame stayed unanswered, the peer stopped inside its close handshake, or the lingering was
/// enough.
void ws_session::deadline_reached() {
  transport_failed(asio::error::timed_out);
  stream_->abort();
}

void ws_session::message_failed(const ws_message& message) {
  if (close_sent_ && message.closed_by_frame) return end(*closing_, true);  // both close frames crossed
  if (close_sent_) return;  // the writer's close handshake took the reading over, and will report
  if (message.close_code == 0) return transport_failed(message.error);
  close_info info{message.close_code, message.close_reason, message.closed_by_frame, {}};
  if (!message.closed_by_frame) {
    info.reason = message.error.message();
    info.error = message.error;
  }
  end(std::move(info), true);
}

asio::awaitable<void> ws_session::finish() {
  if (closed_by_frames_) co_await stream_->linger();
  close_deadline_.off();
  stream_->abort();
  queue_.clear();
  queued_bytes_ = 0;
  const websocket_events events = std::exchange(events_, {});
  tell_gone();
  if (events.closed) events.closed(ended_as_);
}

// --- Reader ---

asio::awaitable<void> ws_session::run_reader([[maybe_unused]] std::shared_ptr<ws_session> self) {
  co_await read_messages();
  while (running_ > 0) co_await reader_wake_.wait();
  if (!over_) transport_failed(asio::error::operation_aborted);
  co_await finish();
}

asio::awaitable<void> ws_session::read_messages() {
  while (!over_) {
    if (closing_ && paused_) {  // the close handshake reads for itself, and nobody wants more messages
      co_await reader_wake_.wait();
      continue;
    }
    ws_message message = co_await stream_->read();
    if (message.error) {
      message_failed(message);
      co_return;
    }
    if (!message.text || message.too_many_pieces) {
      if (!message.text)
        close(close_unsupported_data, "only text frames are spoken here");
      else
        close(close_policy, "too many fragments");
      co_return;  // the rest of the message is discarded by the close handshake
    }
    co_await deliver(std::move(message.data));
  }
}

asio::awaitable<void> ws_session::deliver(std::string data) {
  while (paused_ && !over_ && !closing_) co_await reader_wake_.wait();
  if (over_ || closing_ || !events_.message) co_return;
  events_.message(std::move(data));
}

void ws_session::control_seen(ws_control kind) {
  if (kind == ws_control::close) {
    // Beast answers it inside the read, where 1.81 has no limit of time.
    if (!closing_) close_deadline_.expires_after(options_.close_timeout);
    return;
  }
  std::optional<boot_time> answered;
  if (kind == ws_control::pong) {
    if (!pong_seen_) answered = pinged_at_;
    pong_seen_ = true;
    pinger_wake_.notify();
  }
  if (!over_ && !closing_ && events_.alive) events_.alive(answered);
}

// --- Writer ---

asio::awaitable<void> ws_session::run_writer([[maybe_unused]] std::shared_ptr<ws_session> self) {
  while (!over_) {
    if (queue_.empty() && closing_) break;
    if (queue_.empty()) {
      co_await writer_wake_.wait();
      continue;
    }
    std::string frame = std::move(queue_.front());
    queue_.pop_front();
    const std::size_t size = frame.size();
    const error_code ec = co_await stream_->write(std::move(frame));
    queued_bytes_ -= size;
    // The reader reports what ended the connection; an aborted write is only its echo.
    if (ec && ec != asio::error::operation_aborted) transport_failed(ec);
    if (ec) break;
  }
  if (!over_ && closing_ && queue_.empty()) {
    close_sent_ = true;
    const close_info how = *closing_;
    std::string reason = how.reason;
    const error_code ec = co_await stream_->close(how.code, std::move(reason));
    if (ec)
      transport_failed(ec);
    else
      end(how, true);
  }
  --running_;
  reader_wake_.notify();
}

// --- Pinger ---

asio::awaitable<void> ws_session::run_pinger([[maybe_unused]] std::shared_ptr<ws_session> self) {
  clock::time_point last = clock::now();
  while (!over_ && !closing_) {
    const bool woken = co_await pinger_wake_.wait_until(last + options_.ping_interval);
    if (over_ || closing_) break;
    if (woken && !ping_requested_ && clock::now() < last + options_.ping_interval)
      continue;  // new interval, stray pong
    last = clock::now();
    co_await wait_for_pong();
  }
  --running_;
  reader_wake_.notify();
}

void ws_session::send_ping() {
  ping_requested_ = false;
  if (ping_in_flight_) return;  // one is still waiting to be written: its pong will prove the same
  ping_in_flight_ = true;
  pong_seen_ = false;
  pinged_at_ = read_boot_clock();
  stream_->ping([self = shared_from_this()](error_code) { self->ping_in_flight_ = false; });
}

asio::awaitable<void> ws_session::wait_for_pong() {
  send_ping();
  patience_from_ = clock::now();
  bytes_at_last_check_ = stream_->bytes_read();
  while (!pong_seen_) {
    // While paused no pong can be seen; resuming sets patience_from_ anew.
    const clock::time_point due = paused_ ? clock::time_point::max() : patience_from_ + options_.ping_timeout;
    co_await pinger_wake_.wait_until(due);
    if (over_ || closing_) co_return;
    if (ping_requested_) send_ping();
    if (!pong_seen_ && pong_is_overdue(clock::now())) {
      end({close_abnormal, "no pong within the ping timeout", false, asio::error::timed_out}, false);
      co_return;
    }
  }
}

/// Excuses are: not due yet, paused, we were late ourselves (then the pong may lie unread in the socket), or
/// a large message is arriving, which a pong cannot overtake.
bool ws_session::pong_is_overdue(clock::time_point now) {
  const clock::time_point due = patience_from_ + options_.ping_timeout;
  if (paused_ || now < due) return false;
  const bool arriving = stream_->in_message() && stream_->bytes_read() != bytes_at_last_check_;
  bytes_at_last_check_ = stream_->bytes_read();
  if (now - due <= late_timer && !arriving) return true;
  patience_from_ = now;
  return false;
}

}  // namespace orchestrator::net
