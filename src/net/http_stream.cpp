// The only file that includes Beast's HTTP, and only its parsers: reading is done here, so that every buffer
// has its bound and every wait its deadline before a byte is interpreted.
#include "http_stream.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace orchestrator::net {

namespace http = boost::beast::http;

namespace {
constexpr std::size_t read_step = 4096;
}  // namespace

std::optional<request_head> parse_request_head(std::string_view head) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(limits::http_header_bytes));
  parser.body_limit(boost::none);  // http_session judges the length by the route
  error_code ec;
  parser.put(asio::buffer(head), ec);
  if (ec || !parser.is_header_done()) return std::nullopt;
  const auto& parsed = parser.get();
  request_head out;
  out.method = std::string(parsed.method_string());
  out.target = std::string(parsed.target());
  out.version = static_cast<int>(parsed.version());
  for (const auto& field : parsed) {
    const auto name = field.name_string();
    const auto value = field.value();
    out.fields.emplace_back(to_lower({name.data(), name.size()}), std::string(value));
  }
  return out;
}

// --- response_parser ---

struct response_parser::impl {
  impl(bool head_only_, std::optional<std::size_t> body_limit_)
      : head_only(head_only_), body_limit(body_limit_) {
    start();
  }
  void start() {
    parser.emplace();
    parser->eager(true);
    parser->skip(head_only);
    parser->header_limit(static_cast<std::uint32_t>(4 * limits::http_header_bytes));
    if (body_limit)
      parser->body_limit(*body_limit);
    else
      parser->body_limit(boost::none);
  }
  bool head_only;
  std::optional<std::size_t> body_limit;
  std::optional<http::response_parser<http::string_body>> parser;
  std::string pending;
};

response_parser::response_parser(bool head_only, std::optional<std::size_t> body_limit)
    : impl_(std::make_unique<impl>(head_only, body_limit)) {}
response_parser::~response_parser() = default;

error_code response_parser::put(std::string_view bytes) {
  impl_->pending.append(bytes);
  while (!impl_->pending.empty()) {
    error_code ec;
    const std::size_t used = impl_->parser->put(asio::buffer(impl_->pending), ec);
    impl_->pending.erase(0, used);
    if (ec == http::error::need_more) return {};
    if (ec) return ec;
    if (!impl_->parser->is_done()) {
      if (used == 0) return {};
      continue;
    }
    if (status() / 100 != 1 || status() == 101) return {};
    impl_->start();  // an interim answer; the real one follows
  }
  return {};
}

error_code response_parser::put_eof() {
  error_code ec;
  if (!has_head()) return asio::error::eof;
  impl_->parser->put_eof(ec);
  return ec;
}

bool response_parser::has_head() const { return impl_->parser->is_header_done(); }
bool response_parser::done() const { return impl_->parser->is_done(); }
bool response_parser::keep_alive() const { return impl_->parser->keep_alive() && impl_->pending.empty(); }
int response_parser::status() const { return static_cast<int>(impl_->parser->get().result_int()); }

std::map<std::string, std::string> response_parser::headers() const {
  std::map<std::string, std::string> out;
  for (const auto& field : impl_->parser->get()) {
    const auto name = field.name_string();
    const auto [at, is_new] = out.try_emplace(to_lower({name.data(), name.size()}), field.value());
    if (!is_new) at->second += ", " + std::string(field.value());
  }
  return out;
}

std::string response_parser::take_body() { return std::exchange(impl_->parser->get().body(), {}); }

// --- http_stream ---

http_stream::http_stream(tcp::socket socket)
    : socket_(std::move(socket)), deadline_(socket_.get_executor(), [this] { cancel(); }) {}

void http_stream::cancel() {
  error_code ignored;
  socket_.cancel(ignored);
}

void http_stream::abort() {
  error_code ignored;
  socket_.close(ignored);
}

/// Appends at least one byte to received_, or returns why not.
asio::awaitable<error_code> http_stream::fill(std::size_t at_most) {
  const std::size_t used = received_.size();
  received_.resize(used + at_most);
  const auto room = asio::buffer(received_) + used;
  const auto [ec, n] = co_await socket_.async_read_some(room, asio::as_tuple(asio::use_awaitable));
  received_.resize(used + n);
  co_return ec;
}

asio::awaitable<http_stream::head_result> http_stream::read_head(std::chrono::nanoseconds idle,
                                                                 std::chrono::nanoseconds limit) {
  head_result result;
  head_scanner scanner;
  bool nothing_came = received_.empty();
  deadline_.expires_after(nothing_came ? idle : limit);
  for (;;) {
    const head_scanner::verdict verdict = scanner.scan(received_);
    if (verdict != head_scanner::verdict::incomplete) {
      deadline_.off();
      result.verdict = verdict;
      const bool complete = verdict == head_scanner::verdict::complete;
      result.outcome = complete ? head_outcome::complete : head_outcome::refused;
      if (complete) {
        result.head = received_.substr(0, scanner.size());
        received_.erase(0, scanner.size());
      }
      co_return result;
    }
    const error_code ec = co_await fill(read_step);
    if (ec || deadline_.expired()) {
      const bool late = deadline_.expired() && !received_.empty();
      result.outcome = late ? head_outcome::timed_out : head_outcome::idle_or_closed;
      deadline_.off();
      co_return result;
    }
    if (std::exchange(nothing_came, false)) deadline_.expires_after(limit);
  }
}

asio::awaitable<std::optional<std::string>> http_stream::read_body(std::size_t size,
                                                                   std::chrono::nanoseconds limit) {
  const std::size_t here = std::min(size, received_.size());
  std::string body = received_.substr(0, here);
  received_.erase(0, here);
  deadline_.expires_after(limit);
  std::size_t filled = here;
  while (filled < size) {
    // Memory follows what arrives, not what was announced.
    const std::size_t step = std::min(size - filled, limits::http_read_buffer);
    body.resize(filled + step);
    const auto room = asio::buffer(body) + filled;
    const auto [ec, n] = co_await socket_.async_read_some(room, asio::as_tuple(asio::use_awaitable));
    filled += n;
    if (ec || deadline_.expired()) break;
  }
  deadline_.off();
  if (filled < size) co_return std::nullopt;
  co_return body;
}

asio::awaitable<bool> http_stream::write(std::string_view a, std::string_view b, std::string_view c,
                                         std::chrono::nanoseconds stall) {
  std::array<std::string_view, 3> parts = {a, b, c};
  for (;;) {
    const std::array<asio::const_buffer, 3> buffers = {asio::buffer(parts[0]), asio::buffer(parts[1]),
                                                       asio::buffer(parts[2])};
    if (asio::buffer_size(buffers) == 0) break;
    deadline_.expires_after(stall);
    const auto [ec, n] = co_await socket_.async_write_some(buffers, asio::as_tuple(asio::use_awaitable));
    const bool failed = ec || deadline_.expired();
    deadline_.off();
    if (failed) co_return false;
    std::size_t written = n;
    for (std::string_view& part : parts) {
      const std::size_t of_part = std::min(written, part.size());
      part.remove_prefix(of_part);
      written -= of_part;
    }
  }
  co_return true;
}

asio::awaitable<error_code> http_stream::read_some(std::string& out) {
  out.resize(limits::http_read_buffer);
  const auto [ec, n] =
      co_await socket_.async_read_some(asio::buffer(out), asio::as_tuple(asio::use_awaitable));
  out.resize(n);
  co_return ec;
}

asio::awaitable<void> http_stream::close_gracefully(std::chrono::nanoseconds limit) {
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  if (!ec) {
    deadline drain_no_longer(socket_.get_executor(), [this] { abort(); });
    drain_no_longer.expires_after(limit);
    co_await drain_until_closed(socket_);
  }
  abort();
}

asio::awaitable<bool> http_stream::wait_until_gone() {
  const auto [ec] = co_await socket_.async_wait(tcp::socket::wait_read, asio::as_tuple(asio::use_awaitable));
  if (ec || !socket_.is_open()) co_return ec != asio::error::operation_aborted;
  char byte;
  const auto n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  co_return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

}  // namespace orchestrator::net
