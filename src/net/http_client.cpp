// The HTTP client of the public header: for the command line and for tests. Keeps one connection per host; a
// kept one that the server closed meanwhile is replaced, and the call repeated if that cannot do anything
// twice.
#include <algorithm>
#include <map>
#include <utility>

#include <sys/socket.h>

#include <fmt/format.h>
#include <boost/asio/this_coro.hpp>

#include <orchestrator/base/text.hpp>

#include "http_stream.hpp"
#include "tcp_connect.hpp"
#include "url.hpp"

namespace orchestrator::net {

namespace {

constexpr std::uint16_t default_port = 8000;
constexpr std::size_t answer_limit = 64 * 1024 * 1024;

http_result failed(error_code error, std::string message) {
  http_result out;
  out.error = error ? error : make_error_code(asio::error::invalid_argument);
  out.message = std::move(message);
  return out;
}

/// True if the server neither closed a kept connection nor sent something unasked.
bool still_usable(tcp::socket& socket) {
  char byte;
  const auto n = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

std::string request_text(const http_call& call, const url& to) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: orchestrator\r\n", call.method,
                                 to.target.empty() ? "/" : to.target, to.authority(default_port));
  bool authorized = false;
  for (const auto& [name, value] : call.headers) {
    head += fmt::format("{}: {}\r\n", name, value);
    authorized = authorized || to_lower(name) == "authorization";
  }
  if (!authorized && !to.user.empty())
    head += fmt::format("Authorization: Basic {}\r\n", base64_encode(to.user + ":" + to.password));
  const bool bodiless = call.body.empty() && (call.method == "GET" || call.method == "HEAD");
  if (!bodiless) head += fmt::format("Content-Type: {}\r\n", call.content_type);
  if (!bodiless) head += fmt::format("Content-Length: {}\r\n", call.body.size());
  return head + "\r\n";
}

bool is_clean(const http_call& call) {
  const auto clean = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  };
  return clean(call.method) && clean(call.content_type) &&
         std::all_of(call.headers.begin(), call.headers.end(),
                     [&](const auto& header) { return clean(header.first) && clean(header.second); });
}

/// Whether the server may get this call twice without harm.
bool may_repeat(const http_call& call) {
  const std::string& m = call.method;
  if (m == "GET" || m == "HEAD" || m == "PUT" || m == "DELETE" || m == "OPTIONS") return true;
  return std::any_of(call.headers.begin(), call.headers.end(),
                     [](const auto& header) { return to_lower(header.first) == "idempotency-key"; });
}

struct exchange {
  http_result result;
  bool request_sent = false;  ///< all of it was handed to the kernel
  bool answer_began = false;
  bool reusable = false;
};

class kept_http_client final : public http_client {
 public:
  explicit kept_http_client(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  asio::awaitable<http_result> call(http_call request) override {
    const result<url> parsed = parse_url(request.url);
    if (parsed.has_error()) co_return failed({}, parsed.error().detail);
    const url& to = *parsed;
    if (to.scheme == "https" || to.scheme == "wss")
      co_return failed({}, to.scheme + ":// is not supported by this version; use http:// on loopback");
    if (!to.scheme.empty() && to.scheme != "http" && to.scheme != "ws")
      co_return failed({}, printable(to.scheme) + ":// is not an HTTP address; use http://HOST:PORT");
    if (!is_clean(request)) co_return failed({}, "a header or the method holds a control character");

    const auto limit = wake_event::clock::now() + request.timeout;
    const std::string key = to.authority(default_port);
    if (std::unique_ptr<http_stream> kept = take_kept(key)) {
      exchange done = co_await exchange_on(*kept, request, to, limit);
      const bool stale =
          done.result.status == 0 && !done.answer_began && done.result.error != asio::error::timed_out;
      if (done.reusable) keep(key, std::move(kept));
      if (!stale || (done.request_sent && !may_repeat(request))) co_return std::move(done.result);
    }
    tcp::socket socket(executor_);
    const error_code refused =
        co_await connect_by_name(socket, to.host, to.port.value_or(default_port), limit);
    if (refused) co_return failed(refused, message_for_people(refused));
    auto fresh = std::make_unique<http_stream>(std::move(socket));
    exchange done = co_await exchange_on(*fresh, request, to, limit);
    if (done.reusable) keep(key, std::move(fresh));
    co_return std::move(done.result);
  }

 private:
  std::unique_ptr<http_stream> take_kept(const std::string& key) {
    const auto at = kept_.find(key);
    if (at == kept_.end()) return nullptr;
    std::unique_ptr<http_stream> stream = std::move(at->second);
    kept_.erase(at);
    return still_usable(stream->socket()) ? std::move(stream) : nullptr;
  }

  void keep(const std::string& key, std::unique_ptr<http_stream> stream) { kept_[key] = std::move(stream); }

  asio::awaitable<exchange> exchange_on(http_stream& stream, const http_call& call, const url& to,
                                        wake_event::clock::time_point limit) {
    exchange out;
    deadline give_up(executor_, [&stream] { stream.abort(); });
    give_up.expires_after(limit - wake_event::clock::now());
    const std::string head = request_text(call, to);
    out.request_sent = co_await stream.write(head, call.body, "", call.timeout);
    // Also after a failed write: a server that refuses a large body answers before it has read it all.
    co_await read_answer(stream, call, give_up, out);
    if (give_up.expired()) {
      out.result =
          failed(asio::error::timed_out, fmt::format("no answer within {} ms", call.timeout.count()));
      out.reusable = false;
    }
    co_return out;
  }

  asio::awaitable<void> read_answer(http_stream& stream, const http_call& call, deadline& give_up,
                                    exchange& out) {
    response_parser parser(call.method == "HEAD", call.on_data ? std::nullopt : std::optional(answer_limit));
    std::string piece;
    bool wanted = true;
    while (!parser.done() && wanted) {
      error_code ec = co_await stream.read_some(piece);
      const bool ended = ec == asio::error::eof;
      out.answer_began = out.answer_began || !piece.empty();
      if (!ec) ec = parser.put(piece);
      if (ended) ec = parser.put_eof();
      if (ec) {
        if (give_up.expired()) co_return;
        out.result = failed(ec, message_for_people(ec));
        // A stream that was cut has said its status, and its pieces have been taken.
        if (call.on_data && parser.has_head()) out.result.status = parser.status();
        co_return;
      }
      if (!parser.has_head()) continue;
      if (call.on_data) {
        give_up.expires_after(call.timeout);  // while streaming, only silence is too long
        const std::string data = parser.take_body();
        if (!data.empty()) wanted = call.on_data(data);
      }
      if (ended) break;
    }
    out.result.status = parser.status();
    out.result.headers = parser.headers();
    out.result.body = parser.take_body();
    out.reusable = wanted && parser.done() && parser.keep_alive() && out.request_sent;
    give_up.off();
  }

  asio::any_io_executor executor_;
  std::map<std::string, std::unique_ptr<http_stream>> kept_;  // idle ones, by authority
};

}  // namespace

std::unique_ptr<http_client> make_http_client(asio::any_io_executor executor) {
  return std::make_unique<kept_http_client>(std::move(executor));
}

}  // namespace orchestrator::net
